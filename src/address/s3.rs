//! Parses addresses of objects in AWS S3 or an S3-compatible service.

use percent_encoding::percent_decode_str;
use url::Url;

use super::aws::{AwsHost, is_aws_host, is_express_host};
use super::{UrlError, check_port, redact, scheme_of};

/// The expected form of an S3 address.
const EXPECTED_FORM: &str =
    "the S3 object URL (https://bucket.s3.region.amazonaws.com/key) or s3://bucket/key";

/// An object in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Address {
    /// Scheme, host and port of an S3-compatible service; `None` for AWS.
    pub endpoint: Option<Url>,
    /// Name of the bucket.
    pub bucket: String,
    /// Keys to try in this order, each only if there is no object under the previous one.
    pub keys: Vec<String>,
    /// The region in the address.
    pub region: Option<String>,
}

impl S3Address {
    /// Parses an object URL (virtual-hosted or path style) or `s3://bucket/key`. A host that does not belong to AWS is an
    /// S3-compatible service with the bucket in the path.
    ///
    /// A `+` in an object URL is a plus sign, or a space if there is no such object, because the AWS console encodes spaces
    /// as `+`. In `s3://`, the key is used unchanged, or percent-decoded if there is no such object.
    ///
    /// # Errors
    /// [`UrlError`] if bucket or key is missing, the scheme is another one, or the URL has a query.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let malformed = || UrlError::Malformed {
            address: redact(text),
            expected: EXPECTED_FORM,
        };
        let scheme = scheme_of(text).ok_or_else(malformed)?.to_ascii_lowercase();
        if scheme == "s3" {
            let (bucket, key) = text[5..].split_once('/').unwrap_or((&text[5..], ""));
            // A secret key may contain slashes.
            if bucket.contains('@') || bucket.contains(':') && key.contains('@') {
                return Err(UrlError::HasCredentials);
            }
            return Self::new(
                None,
                bucket,
                vec![key.to_owned(), percent_decode(key).ok_or_else(malformed)?],
                None,
            );
        }
        if scheme != "https" && scheme != "http" {
            return Err(UrlError::WrongScheme {
                scheme,
                expected: "https:// or s3://",
            });
        }
        if has_dot_segment(raw_path(text)) {
            return Err(UrlError::DotSegmentInKey);
        }
        let url = Url::parse(text).map_err(|_| malformed())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::HasCredentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::HasQuery);
        }
        check_port(url.port())?;
        // Only the first slash is a separator, because a key may start with a slash.
        let path = url.path().strip_prefix('/').unwrap_or_default();
        let host = url.host_str().ok_or_else(malformed)?.trim_end_matches('.');
        let aws = AwsHost::parse(host);
        if aws.is_none() && is_express_host(host) {
            let bucket = host.split_once('.').map_or(host, |(label, _)| label);
            return Err(UrlError::DirectoryBucket(bucket.to_owned()));
        }
        // Other AWS hosts (websites, access points, other services) do not serve the object under this address.
        if aws.is_none() && is_aws_host(host) {
            return Err(malformed());
        }
        let endpoint = aws.is_none().then(|| {
            let mut endpoint = url.clone();
            endpoint.set_path("");
            endpoint
        });
        let region = aws.as_ref().and_then(|aws| aws.region);
        let split_path = || {
            let path = path.trim_start_matches('/');
            path.split_once('/').unwrap_or((path, ""))
        };
        let bucket_in_host = aws.as_ref().and_then(|aws| aws.bucket);
        let (bucket, key) = bucket_in_host.map_or_else(split_path, |bucket| (bucket, path));
        let mut keys = Vec::new();
        // An extra slash is more often a typing mistake than a part of the key.
        for key in [key, key.trim_start_matches('/')] {
            keys.push(percent_decode(key).ok_or_else(malformed)?);
            keys.push(percent_decode(&key.replace('+', " ")).ok_or_else(malformed)?);
        }
        Self::new(endpoint, bucket, keys, region.map(str::to_owned))
    }

    fn new(
        endpoint: Option<Url>,
        bucket: &str,
        candidate_keys: Vec<String>,
        region: Option<String>,
    ) -> Result<Self, UrlError> {
        let mut keys: Vec<String> = Vec::new();
        for key in candidate_keys {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty()
            || bucket.len() > 63
            || !bucket.chars().all(is_name)
            || bucket.starts_with('.')
        {
            // The text after a colon may be a secret.
            let shown = bucket.split(':').next().unwrap_or_default();
            return Err(UrlError::InvalidBucket(shown.to_owned()));
        }
        if is_directory_bucket(bucket) {
            return Err(UrlError::DirectoryBucket(bucket.to_owned()));
        }
        if keys.iter().any(|key| key.is_empty() || key.ends_with('/')) {
            return Err(UrlError::NoFilePath(EXPECTED_FORM));
        }
        keys.retain(|key| !has_dot_segment(key));
        if keys.is_empty() {
            return Err(UrlError::DotSegmentInKey);
        }
        Ok(Self {
            endpoint,
            bucket: bucket.to_owned(),
            keys,
            region,
        })
    }

    /// The origin that a secret is bound to: endpoint and bucket.
    #[must_use]
    pub fn origin(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}/{}", super::origin(endpoint), self.bucket),
            None => format!("s3://{}", self.bucket),
        }
    }
}

/// Whether AWS reserves the name for directory buckets and their access points. For such a name, the SDK asks the server for a session
/// before it requests the object.
fn is_directory_bucket(bucket: &str) -> bool {
    let bucket = bucket.to_ascii_lowercase();
    bucket.ends_with("--x-s3") || bucket.ends_with("--xa-s3")
}

/// Whether a key has a segment `.` or `..`. HTTP clients resolve such segments, so the request would be signed for one key
/// and sent for another.
fn has_dot_segment(key: &str) -> bool {
    key.split('/').any(|part| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == "." || part == ".."
    })
}

/// The path of an address before `.` and `..` are resolved.
fn raw_path(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    path.split(['?', '#']).next().unwrap_or_default()
}

fn percent_decode(key: &str) -> Option<String> {
    Some(percent_decode_str(key).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, bucket: &str, keys: &[&str], region: Option<&str>, origin: &str) {
        let address = S3Address::parse(text).unwrap();
        assert_eq!(address.bucket, bucket, "{text}");
        assert_eq!(address.keys, keys, "{text}");
        assert_eq!(address.region.as_deref(), region, "{text}");
        assert_eq!(address.origin(), origin, "{text}");
    }

    #[test]
    fn every_object_url_form_is_parsed() {
        let key = ["lists/équipe 1.csv"];
        for (text, region) in [
            (
                "https://sar.s3.ca-central-1.amazonaws.com/lists/%C3%A9quipe%201.csv",
                Some("ca-central-1"),
            ),
            (
                "https://sar.s3-us-east-2.amazonaws.com/lists/%C3%A9quipe%201.csv",
                Some("us-east-2"),
            ),
            ("https://sar.s3.amazonaws.com/lists/équipe 1.csv", None),
            (
                "https://sar.s3-fips.dualstack.us-east-2.amazonaws.com/lists/équipe 1.csv",
                Some("us-east-2"),
            ),
            (
                "https://sar.s3-fips-us-gov-west-1.amazonaws.com/lists/équipe 1.csv",
                Some("us-gov-west-1"),
            ),
            (
                "https://sar.s3-external-1.amazonaws.com/lists/équipe 1.csv",
                Some("us-east-1"),
            ),
            (
                "https://sar.s3-accelerate.amazonaws.com/lists/équipe 1.csv",
                None,
            ),
            (
                "https://sar.s3-accelerate.dualstack.amazonaws.com/lists/équipe 1.csv",
                None,
            ),
            (
                "https://sar.s3.dualstack.us-east-2.amazonaws.com/lists/équipe 1.csv",
                Some("us-east-2"),
            ),
            (
                "https://s3.us-east-2.amazonaws.com/sar/lists/équipe 1.csv",
                Some("us-east-2"),
            ),
            ("https://s3.amazonaws.com/sar/lists/équipe 1.csv", None),
            ("s3://sar/lists/équipe 1.csv", None),
        ] {
            check(text, "sar", &key, region, "s3://sar");
        }
        check(
            "https://north.shore.s3.us-east-2.amazonaws.com/a.csv",
            "north.shore",
            &["a.csv"],
            Some("us-east-2"),
            "s3://north.shore",
        );
        check(
            "http://127.0.0.1:9000/sar/a.csv",
            "sar",
            &["a.csv"],
            None,
            "http://127.0.0.1:9000/sar",
        );
        check(
            "https://files.example.org/sar/a/b.csv",
            "sar",
            &["a/b.csv"],
            None,
            "https://files.example.org/sar",
        );
    }

    #[test]
    fn ambiguous_key_encoding_yields_all_candidates() {
        check(
            "https://s3.amazonaws.com/b/a+b%2Bc.csv",
            "b",
            &["a+b+c.csv", "a b+c.csv"],
            None,
            "s3://b",
        );
        check(
            "s3://b/100%25.csv",
            "b",
            &["100%25.csv", "100%.csv"],
            None,
            "s3://b",
        );
        check("s3://b/a+b.csv", "b", &["a+b.csv"], None, "s3://b");
        check(
            "s3://b/a%2F..%2Fb.csv",
            "b",
            &["a%2F..%2Fb.csv"],
            None,
            "s3://b",
        );
        check("s3://b//a.csv", "b", &["/a.csv"], None, "s3://b");
        check(
            "https://s3.amazonaws.com//b//a.csv",
            "b",
            &["/a.csv", "a.csv"],
            None,
            "s3://b",
        );
    }

    #[test]
    fn invalid_object_urls_are_refused() {
        let error_of = |text| S3Address::parse(text).unwrap_err();
        assert!(matches!(error_of("sar/a.csv"), UrlError::Malformed { .. }));
        assert!(matches!(
            error_of("sftp://sar/a.csv"),
            UrlError::WrongScheme { .. }
        ));
        assert!(matches!(
            error_of("https://sar.s3.amazonaws.com/"),
            UrlError::NoFilePath(_)
        ));
        for host in [
            "sar.s3-website-eu-west-1",
            "sar.s3-website.eu-west-1",
            "ours-123.s3-accesspoint.eu-west-1",
            "ours.s3-object-lambda.eu-west-1",
            "sts",
        ] {
            let text = format!("https://{host}.amazonaws.com/sar/a.csv");
            let error = S3Address::parse(&text).unwrap_err();
            assert!(matches!(error, UrlError::Malformed { .. }), "{host}");
        }
        assert!(matches!(
            error_of("s3://sar/folder/"),
            UrlError::NoFilePath(_)
        ));
        assert_eq!(error_of("s3://sar/a/../b.csv"), UrlError::DotSegmentInKey);
        assert_eq!(
            error_of("https://sar.s3.amazonaws.com/a%2F..%2Fb.csv"),
            UrlError::DotSegmentInKey
        );
        assert_eq!(
            error_of("https://s3.amazonaws.com/sar/%2E%2e/north/b.csv"),
            UrlError::DotSegmentInKey
        );
        // The text before a later `://` is not a scheme and may contain a token.
        let error = error_of("sar.s3.amazonaws.com/k?X-Amz-Signature=token&r=https://x");
        assert!(!error.to_string().contains("token"), "{error}");
        assert!(matches!(
            error_of("https://h/a?X-Amz-Signature=1"),
            UrlError::HasQuery
        ));
        assert!(matches!(
            error_of("s3://../a.csv"),
            UrlError::InvalidBucket(_)
        ));
        assert!(matches!(
            error_of("https://k:s@h/b/a.csv"),
            UrlError::HasCredentials
        ));
        for address in [
            "s3://sar--usw2-az1--x-s3/a.csv",
            "s3://sar--X-S3/a.csv",
            "https://files.example.org/sar--x-s3/a.csv",
            "https://s3.us-west-2.amazonaws.com/sar--usw2-az1--xa-s3/a.csv",
            "https://sar--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com/a.csv",
        ] {
            let error = error_of(address);
            assert!(matches!(error, UrlError::DirectoryBucket(_)), "{error}");
        }
        assert!(S3Address::parse("s3://sar-x-s3/a.csv").is_ok());
        // S3 secret keys may contain slashes.
        assert!(matches!(
            error_of("s3://K:sec/ret@b/a.csv"),
            UrlError::HasCredentials
        ));
        let error = error_of("s3://K:secret/a.csv").to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
