//! What is asked for, and what is known of it.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use url::Url;

use super::{HostKeyVerifier, http, s3};
use crate::address::{S3Address, SftpAddress};

/// A user name and password, for one origin only.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User name, or access key id.
    pub username: String,
    /// Password, or secret key.
    pub password: SecretString,
}

/// Where a file lies, and how to get in.
#[derive(Debug, Clone)]
pub enum FetchTarget {
    /// Over HTTPS.
    Http {
        /// Where.
        url: Url,
        /// Sent to the origin of `url` only.
        credentials: Option<Credentials>,
    },
    /// Over SFTP.
    Sftp {
        /// Where.
        address: SftpAddress,
        /// User name and password.
        credentials: Credentials,
        /// What is known of the server's key.
        host_key: HostKeyVerifier,
    },
    /// In S3.
    S3 {
        /// Where.
        address: S3Address,
        /// Region that requests are signed for; part of the host name at AWS.
        region: String,
        /// Access key id and secret key.
        credentials: Credentials,
    },
}

impl FetchTarget {
    /// Host and port as people write them.
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
        let of_url = |url: &Url| {
            let host = url.host_str().unwrap_or_default();
            let host = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            (host, url.port_or_known_default().unwrap_or(443))
        };
        match self {
            Self::Http { url, .. } => of_url(url),
            Self::Sftp { address, .. } => (address.host.clone(), address.port),
            Self::S3 {
                address, region, ..
            } => match &address.endpoint {
                Some(endpoint) => of_url(endpoint),
                None => (s3::aws_host(address, region), 443),
            },
        }
    }
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Request {
    /// From where.
    pub target: FetchTarget,
    /// What the last applied file was, if it would not have to be read again.
    pub previous: Option<Validators>,
    /// What earlier attempts saw.
    pub last_stat: LastStat,
}

impl Request {
    /// For a file of which nothing is known.
    #[must_use]
    pub fn new(target: FetchTarget) -> Self {
        Self {
            target,
            previous: None,
            last_stat: LastStat::default(),
        }
    }
}

/// How a file on an SFTP server looked whose time of modification was still to come: the clock there is ahead, and whether
/// the file rests can be told only by looking again.
#[derive(Debug, Clone, Default)]
pub struct LastStat(Arc<Mutex<Option<StatSnapshot>>>);

/// Size and time of modification.
type StatSnapshot = (Option<u64>, DateTime<Utc>);

impl LastStat {
    /// Whether an earlier attempt saw the file just so.
    pub(super) fn replace_and_compare(&self, snapshot: StatSnapshot) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(snapshot) == Some(snapshot)
    }
}

/// What tells that a file is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validators {
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified`, as sent.
    pub last_modified: Option<String>,
    /// Size in bytes and time of modification, of a file on an SFTP server.
    pub size_and_mtime: Option<(u64, DateTime<Utc>)>,
}
