//! What to fetch: target, credentials, and validators of the last applied file. Does not connect to anything.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use url::Url;

use super::{HostKeyVerifier, http, s3};
use crate::address::{S3Address, SftpAddress};

/// A user name and password. They are sent to a single origin only.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User name, or S3 access key ID.
    pub username: String,
    /// Password, or S3 secret key.
    pub password: SecretString,
}

/// The location of a file, with the credentials for it.
#[derive(Debug, Clone)]
pub enum FetchTarget {
    /// A file over HTTPS.
    Http {
        /// Address of the file.
        url: Url,
        /// For Basic authentication. They are sent to the origin of `url` only.
        credentials: Option<Credentials>,
    },
    /// A file on an SFTP server.
    Sftp {
        /// Server and path.
        address: SftpAddress,
        /// User name and password.
        credentials: Credentials,
        /// Verifies the server's host key.
        host_key: HostKeyVerifier,
    },
    /// An object in S3.
    S3 {
        /// Bucket and key, and the endpoint outside of AWS.
        address: S3Address,
        /// Region that requests are signed for. At AWS it is also part of the host name.
        region: String,
        /// Access key id and secret key.
        credentials: Credentials,
    },
}

impl FetchTarget {
    /// Host, with the port if it is not the default one. Used in messages and for the limit per host.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Http { url, .. } => http::host_of(url),
            Self::Sftp { address, .. } => address.endpoint(),
            Self::S3 {
                address, region, ..
            } => address
                .endpoint
                .as_ref()
                .map_or_else(|| s3::aws_host(address, region), http::host_of),
        }
    }

    pub(super) fn host_and_port(&self) -> (String, u16) {
        let from_url = |url: &Url| {
            let host = url.host_str().unwrap_or_default();
            let host = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            (host, url.port_or_known_default().unwrap_or(443))
        };
        match self {
            Self::Http { url, .. } => from_url(url),
            Self::Sftp { address, .. } => (address.host.clone(), address.port),
            Self::S3 {
                address, region, ..
            } => match &address.endpoint {
                Some(endpoint) => from_url(endpoint),
                None => (s3::aws_host(address, region), 443),
            },
        }
    }
}

/// A request for a file.
#[derive(Debug, Clone)]
pub struct Request {
    /// Location of the file.
    pub target: FetchTarget,
    /// Validators of the last applied file, for a conditional request. `None` fetches the file in any case.
    pub previous: Option<Validators>,
    /// Shared by all attempts of an import.
    pub last_stat: LastStat,
}

impl Request {
    /// An unconditional request.
    #[must_use]
    pub fn new(target: FetchTarget) -> Self {
        Self {
            target,
            previous: None,
            last_stat: LastStat::default(),
        }
    }
}

/// Size and modification time of a file on an SFTP server whose clock is ahead, as seen by the previous attempt. The age of such
/// a file is unknown, so it is read once two attempts see the same values.
#[derive(Debug, Clone, Default)]
pub struct LastStat(Arc<Mutex<Option<StatSnapshot>>>);

/// Size in bytes and modification time.
type StatSnapshot = (Option<u64>, DateTime<Utc>);

impl LastStat {
    /// Stores the values and returns whether the previous attempt saw the same ones.
    pub(super) fn replace_and_compare(&self, snapshot: StatSnapshot) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(snapshot) == Some(snapshot)
    }
}

/// Values that show whether a file has changed since it was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validators {
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified` as sent by the server.
    pub last_modified: Option<String>,
    /// Size in bytes and modification time (SFTP only).
    pub size_and_mtime: Option<(u64, DateTime<Utc>)>,
}
