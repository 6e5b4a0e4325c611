//! Parses the address of an account's file (URL, SFTP or S3). Does not fetch it.

mod aws;
mod s3;
mod sftp;

use url::Url;

use crate::model::settings::SourceKind;

pub use aws::is_region;
pub use s3::S3Address;
pub use sftp::SftpAddress;

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be parsed.
    #[error("`{address}` is not the address of a file; enter {expected}")]
    Malformed {
        /// The address without parts that may be secret.
        address: String,
        /// The expected form.
        expected: &'static str,
    },
    /// Its scheme belongs to another kind of source.
    #[error(
        "addresses that begin with {scheme}: cannot be used with this source; enter one that begins with {expected}"
    )]
    WrongScheme {
        /// The scheme of the address.
        scheme: String,
        /// The expected start of the address.
        expected: &'static str,
    },
    /// It has another port than the settings.
    #[error(
        "the address has port {url_port}, but the settings have port {settings_port}; remove one of them"
    )]
    ConflictingPorts {
        /// Port in the address.
        url_port: u16,
        /// Port in the settings.
        settings_port: u16,
    },
    /// The port is 0.
    #[error("port 0 is not valid; check the address")]
    PortZero,
    /// It is the address of a server or a folder.
    #[error("the address does not contain the path of a file; enter {0}")]
    NoFilePath(&'static str),
    /// The bucket name is not valid.
    #[error("`{0}` is not a valid bucket name; check the S3 object URL")]
    InvalidBucket(String),
    /// The bucket is a directory bucket (S3 Express), or has the name of one.
    #[error(
        "`{0}` is the name of an S3 directory bucket, and directory buckets are not supported; store the file in another bucket"
    )]
    DirectoryBucket(String),
    /// The S3 key has a segment `.` or `..`.
    #[error(
        "S3 keys with a path segment `.` or `..` are not supported; store the object under another key"
    )]
    DotSegmentInKey,
    /// The S3 URL has a query or fragment, as signed and versioned URLs have.
    #[error(
        "the S3 address contains `?` or `#`; enter the object URL without them and what follows"
    )]
    HasQuery,
    /// It contains a user name or password.
    #[error(
        "the address contains a user name or password; remove them and enter them as separate settings"
    )]
    HasCredentials,
}

/// Parses the URL of an `https` or `https_basic` source.
///
/// # Errors
/// [`UrlError`] if it is not an HTTP URL with a host, or contains credentials.
pub fn parse_http_url(text: &str) -> Result<Url, UrlError> {
    let text = text.trim();
    let url = Url::parse(text).map_err(|_| malformed(text))?;
    let is_web = ["https", "http"].contains(&url.scheme());
    if !is_web && (scheme_of(text).is_some() || ["file", "data"].contains(&url.scheme())) {
        return Err(UrlError::WrongScheme {
            scheme: url.scheme().to_owned(),
            expected: "https://",
        });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::HasCredentials);
    }
    if url.host().is_none() {
        return Err(malformed(text));
    }
    check_port(url.port())?;
    Ok(url)
}

fn check_port(port: Option<u16>) -> Result<(), UrlError> {
    match port {
        Some(0) => Err(UrlError::PortZero),
        _ => Ok(()),
    }
}

/// The scheme before `://`; `None` if the address does not start with one.
fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    let starts_with_letter = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    (starts_with_letter && scheme.chars().all(is_part)).then_some(scheme)
}

/// The address of an account's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On a web server.
    Http(Url),
    /// On an SFTP server.
    Sftp(SftpAddress),
    /// In S3.
    S3(S3Address),
}

impl Address {
    /// Parses the address of a source of this kind; `sftp_port` is the port in the settings.
    ///
    /// # Errors
    /// [`UrlError`] with the reason and the expected form.
    pub fn parse(kind: SourceKind, url: &str, sftp_port: Option<u16>) -> Result<Self, UrlError> {
        match kind {
            SourceKind::Https | SourceKind::HttpsBasic => parse_http_url(url).map(Self::Http),
            SourceKind::Sftp => SftpAddress::parse(url, sftp_port).map(Self::Sftp),
            SourceKind::S3 => S3Address::parse(url).map(Self::S3),
        }
    }

    /// The origin that a secret is bound to: scheme, host and port, or endpoint and bucket for S3.
    #[must_use]
    pub fn origin(&self) -> String {
        match self {
            Self::Http(url) => origin(url),
            Self::Sftp(address) => address.origin(),
            Self::S3(address) => address.origin(),
        }
    }
}

/// Scheme, host and port of a URL.
#[must_use]
pub fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The URL for messages and logs: without query and fragment, which may contain tokens, and without credentials.
#[must_use]
pub fn display_url(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn malformed(text: &str) -> UrlError {
    UrlError::Malformed {
        address: redact(text),
        expected: "one that begins with https://",
    }
}

/// The part of an unparsable address that can be shown: without anything that may be a password or a token.
fn redact(text: &str) -> String {
    let plain = text.split(['?', '#']).next().unwrap_or_default();
    if text[plain.len()..].contains('@') {
        // The text from `?` or `#` may be part of a password.
        return "…".to_owned();
    }
    match plain.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_includes_scheme_host_and_port() {
        let origin_of = |text| origin(&parse_http_url(text).unwrap());
        assert_eq!(
            origin_of("https://Files.Example.org/a.csv"),
            "https://files.example.org"
        );
        assert_eq!(
            origin_of("https://files.example.org:443/b"),
            "https://files.example.org"
        );
        assert_eq!(
            origin_of("https://files.example.org:8443/b"),
            "https://files.example.org:8443"
        );
        assert_ne!(
            origin_of("http://files.example.org/"),
            origin_of("https://files.example.org/")
        );
    }

    #[test]
    fn refused_url_error_never_repeats_secrets() {
        assert_eq!(
            parse_http_url("https://jane:secret@h/x"),
            Err(UrlError::HasCredentials)
        );
        let error = parse_http_url("jane:secret@").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        for address in ["https://jane:secret#1@h/x", "https://jane:secret?1@h/x"] {
            let error = parse_http_url(address).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(parse_http_url("contacts.csv").is_err());
        for address in [
            "localhost:8443/contacts.csv",
            "h.example:8443/x?u=https://y",
            "jane:secret@h/x?u=https://y",
        ] {
            assert!(
                matches!(
                    parse_http_url(address),
                    Err(UrlError::Malformed { .. } | UrlError::HasCredentials)
                ),
                "{address}"
            );
        }
        for scheme in ["file:///etc/passwd", "ftp://h/x", "sftp://h/x", "file:x"] {
            assert!(
                matches!(parse_http_url(scheme), Err(UrlError::WrongScheme { .. })),
                "{scheme}"
            );
        }
    }

    #[test]
    fn port_zero_is_refused() {
        for (kind, address) in [
            (SourceKind::Https, "https://h:0/x.csv"),
            (SourceKind::Sftp, "sftp://h:0/x.csv"),
            (SourceKind::Sftp, "h:0/x.csv"),
            (SourceKind::S3, "https://h:0/sar/x.csv"),
        ] {
            let parsed = Address::parse(kind, address, None);
            assert_eq!(parsed, Err(UrlError::PortZero), "{address}");
        }
    }

    #[test]
    fn display_url_omits_query_tokens() {
        assert_eq!(
            display_url(&Url::parse("https://h/x.csv?sig=abc#f").unwrap()),
            "https://h/x.csv"
        );
    }
}
