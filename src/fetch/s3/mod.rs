//! Objects in AWS S3 and compatible servers.
//!
//! The AWS SDK signs requests and parses responses. It must not connect by itself: requests go through [`HttpFetcher`], with the same
//! policy, limits and certificates as for any other file.

mod connector;
mod errors;

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials as SdkCredentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};
use secrecy::ExposeSecret;
use url::Url;

use super::content_encoding::ContentEncoding;
use super::download::Download;
use super::error::FetchErrorKind;
use super::error_chain::find_cause;
use super::error_detail::TimeoutReason;
use super::http::{HttpFetcher, connecting_stage};
use super::throughput::TransferMonitor;
use super::{Credentials, FetchStage, FetchedFile, Outcome, Validators};
use crate::address::S3Address;
use connector::Connector;

/// The host name of a bucket at AWS.
pub(super) fn aws_host(address: &S3Address, region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    if needs_path_style(&address.bucket) {
        format!("s3.{region}.amazonaws.com{suffix}")
    } else {
        format!("{}.s3.{region}.amazonaws.com{suffix}", address.bucket)
    }
}

/// Whether the name of a bucket at AWS cannot be part of a host name. A certificate for `*.s3…` does not cover names with dots,
/// and old buckets may have capital letters and underscores.
fn needs_path_style(bucket: &str) -> bool {
    bucket.contains(|c: char| c == '.' || c == '_' || c.is_ascii_uppercase())
}

/// A bucket with the credentials for it.
pub(super) struct Bucket<'a> {
    client: Client,
    address: &'a S3Address,
    region: &'a str,
    host: String,
    idle_timeout: Duration,
    monitor: &'a TransferMonitor,
}

impl<'a> Bucket<'a> {
    pub(super) fn new(
        fetcher: HttpFetcher,
        address: &'a S3Address,
        region: &'a str,
        credentials: &Credentials,
        host: String,
        monitor: &'a TransferMonitor,
    ) -> Self {
        let idle_timeout = fetcher.idle_timeout();
        let connector = SharedHttpConnector::new(Connector(fetcher));
        Self {
            client: build_client(address, region, credentials, connector),
            address,
            region,
            host,
            idle_timeout,
            monitor,
        }
    }

    pub(super) async fn fetch(
        &self,
        previous: Option<&Validators>,
        limit: u64,
    ) -> Result<Outcome, FetchErrorKind> {
        let etag = previous.and_then(|previous| previous.etag.as_deref());
        let mut first_error = None;
        for key in &self.address.keys {
            match self.get_object(key, etag).await {
                Ok(Some(object)) => {
                    self.monitor.enter(FetchStage::File);
                    return self.download_body(object, limit).await.map(Outcome::File);
                }
                Ok(None) => return Ok(Outcome::NotModified),
                // Without permission to list the bucket, S3 responds with 403 for a missing key.
                Err((
                    error @ (FetchErrorKind::NotFound(_) | FetchErrorKind::Forbidden { .. }),
                    deleted,
                )) => {
                    first_error.get_or_insert((error, deleted));
                }
                Err((error, _)) => return Err(error),
            }
        }
        let no_bucket = || FetchErrorKind::S3NoBucket(self.address.bucket.clone());
        let (first_error, deleted) = first_error.unwrap_or_else(|| (no_bucket(), false));
        // Some servers do not say whether the object or the bucket is missing.
        if !deleted
            && matches!(first_error, FetchErrorKind::NotFound(_))
            && self.is_bucket_missing().await
        {
            return Err(no_bucket());
        }
        Err(first_error)
    }

    async fn is_bucket_missing(&self) -> bool {
        let response = self
            .client
            .head_bucket()
            .bucket(&self.address.bucket)
            .send()
            .await;
        response.is_err_and(|error| {
            error
                .raw_response()
                .is_some_and(|raw| raw.status().as_u16() == 404)
        })
    }

    /// Requests an object. Returns `None` if it is unchanged. An error comes with whether the object has a delete marker.
    async fn get_object(
        &self,
        key: &str,
        etag: Option<&str>,
    ) -> Result<Option<GetObjectOutput>, (FetchErrorKind, bool)> {
        let scheme = self.address.endpoint.as_ref().map_or("https", Url::scheme);
        self.monitor.enter(connecting_stage(scheme));
        let request = self
            .client
            .get_object()
            .bucket(&self.address.bucket)
            .key(key);
        let request = request.set_if_none_match(etag.map(str::to_owned));
        match request.send().await {
            Ok(object) => Ok(Some(object)),
            Err(error) => match error.raw_response() {
                Some(raw) if raw.status().as_u16() == 304 && etag.is_some() => Ok(None),
                raw => {
                    let marker = raw.and_then(|raw| raw.headers().get("x-amz-delete-marker"));
                    let classified = self.classify_error(key, &error);
                    self.monitor.enter(classified.stage);
                    Err((classified.kind, marker.is_some()))
                }
            },
        }
    }

    async fn download_body(
        &self,
        mut object: GetObjectOutput,
        limit: u64,
    ) -> Result<FetchedFile, FetchErrorKind> {
        let declared_len = object
            .content_length
            .and_then(|length| u64::try_from(length).ok());
        let encoding =
            ContentEncoding::parse(object.content_encoding.as_deref().into_iter(), &self.host)?;
        let mut download = Download::new(&self.host, limit, declared_len, encoding, self.monitor)?;
        while let Some(chunk) = object.body.next().await {
            download.push(&chunk.map_err(|error| self.body_error(&error))?)?;
        }
        let validators = Validators {
            etag: object.e_tag.filter(|etag| (1..=1024).contains(&etag.len())),
            ..Validators::default()
        };
        download.finish(validators)
    }

    /// The error for a body that ended too early.
    fn body_error(&self, error: &(dyn std::error::Error + 'static)) -> FetchErrorKind {
        let host = self.host.clone();
        if find_cause::<reqwest::Error>(error).is_some_and(reqwest::Error::is_timeout) {
            return FetchErrorKind::TimedOut {
                host,
                reason: TimeoutReason::Idle(self.idle_timeout),
            };
        }
        FetchErrorKind::Incomplete { host }
    }
}

/// An SDK client that uses this connector.
fn build_client(
    address: &S3Address,
    region: &str,
    credentials: &Credentials,
    connector: SharedHttpConnector,
) -> Client {
    // Static credentials: the SDK must not look for others in the environment.
    let keys = SdkCredentials::new(
        &credentials.username,
        credentials.password.expose_secret(),
        None,
        None,
        "import settings",
    );
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(keys)
        .http_client(http_client_fn(move |_, _| connector.clone()))
        // Time limits and retries are the same for all sources, so those of the SDK are disabled.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // With it, the name of a bucket makes the SDK ask the server for a session first.
        .disable_s3_express_session_auth(true)
        // Compatible servers may not support the newer checksums.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    let config = match &address.endpoint {
        Some(endpoint) => config
            .endpoint_url(endpoint.as_str())
            .force_path_style(true),
        None => config.force_path_style(needs_path_style(&address.bucket)),
    };
    Client::from_conf(config.build())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use aws_smithy_runtime_api::client::result::ConnectorError;

    use super::*;

    /// Records the URIs of requests and sends nothing.
    #[derive(Debug, Clone, Default)]
    struct RecordingConnector(Arc<Mutex<Vec<String>>>);

    impl HttpConnector for RecordingConnector {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            self.0.lock().unwrap().push(request.uri().to_owned());
            HttpConnectorFuture::ready(Err(ConnectorError::user("not sent".into())))
        }
    }

    #[tokio::test]
    async fn directory_bucket_name_starts_no_session() {
        // S3Address::parse refuses this name.
        let bucket = "sar--usw2-az1--x-s3".to_owned();
        let keys = vec!["a.csv".to_owned()];
        for endpoint in [Url::parse("https://files.example.org").ok(), None] {
            let address = S3Address {
                endpoint,
                bucket: bucket.clone(),
                keys: keys.clone(),
                region: None,
            };
            let credentials = Credentials {
                username: "id".to_owned(),
                password: "secret".into(),
            };
            let recorder = RecordingConnector::default();
            let connector = SharedHttpConnector::new(recorder.clone());
            let client = build_client(&address, "us-west-2", &credentials, connector);
            let request = client.get_object().bucket(&bucket).key("a.csv");
            assert!(request.send().await.is_err());
            for uri in recorder.0.lock().unwrap().iter() {
                assert!(
                    connector::is_object_request(&Url::parse(uri).unwrap()),
                    "{uri}"
                );
            }
        }
    }

    #[tokio::test]
    async fn request_goes_to_displayed_host_and_object() {
        for (url, region, host, path) in [
            (
                "s3://sar/a b.csv",
                "us-west-2",
                "sar.s3.us-west-2.amazonaws.com",
                "/a%20b.csv",
            ),
            (
                "https://sar.s3.us-west-2.amazonaws.com/lists/c.csv",
                "us-west-2",
                "sar.s3.us-west-2.amazonaws.com",
                "/lists/c.csv",
            ),
            (
                "https://s3.ca-central-1.amazonaws.com/sar/c.csv",
                "ca-central-1",
                "sar.s3.ca-central-1.amazonaws.com",
                "/c.csv",
            ),
            (
                "s3://north.shore/c.csv",
                "eu-west-1",
                "s3.eu-west-1.amazonaws.com",
                "/north.shore/c.csv",
            ),
            (
                "s3://North_Shore/c.csv",
                "us-east-1",
                "s3.us-east-1.amazonaws.com",
                "/North_Shore/c.csv",
            ),
            (
                "https://sar.s3.us-west-2.amazonaws.com//c+d//e.csv",
                "us-west-2",
                "sar.s3.us-west-2.amazonaws.com",
                "//c%2Bd//e.csv",
            ),
            (
                "s3://sar//c.csv",
                "us-west-2",
                "sar.s3.us-west-2.amazonaws.com",
                "//c.csv",
            ),
            (
                "s3://sar/c.csv",
                "cn-north-1",
                "sar.s3.cn-north-1.amazonaws.com.cn",
                "/c.csv",
            ),
        ] {
            let address = S3Address::parse(url).unwrap();
            let credentials = Credentials {
                username: "id".to_owned(),
                password: "secret".into(),
            };
            let recorder = RecordingConnector::default();
            let connector = SharedHttpConnector::new(recorder.clone());
            let bucket = Bucket {
                client: build_client(&address, region, &credentials, connector),
                address: &address,
                region,
                host: aws_host(&address, region),
                idle_timeout: Duration::MAX,
                monitor: &TransferMonitor::new(Arc::new(|_| {})),
            };
            assert_eq!(bucket.host, host, "{url}");
            assert!(bucket.get_object(&address.keys[0], None).await.is_err());
            let requested = Url::parse(&recorder.0.lock().unwrap()[0]).unwrap();
            assert_eq!(
                (requested.host_str(), requested.path()),
                (Some(host), path),
                "{url}"
            );
        }
    }
}
