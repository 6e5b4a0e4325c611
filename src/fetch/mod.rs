//! Brings an account's file onto this machine, or says why it could not.
//!
//! Knows the network; nothing of what is in the file. Retries are not decided here: an error says whether it may pass
//! by itself ([`FetchError::is_transient`]), and `import` does the rest.

mod error;
mod https;
mod network;
mod share_link;

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

pub use error::FetchError;
pub use https::HttpFetcher;
pub use network::{NetworkPolicy, Refusal};
pub use share_link::direct_download_hint;

/// Bounds on a fetch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest file, bytes, also after decompression.
    pub max_bytes: u64,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest silence.
    pub idle_timeout: Duration,
    /// Longest time for the attempt as a whole.
    pub total_timeout: Duration,
    /// Most files fetched from one host at once.
    pub per_host: usize,
}

/// A user name and password, for one origin only.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: SecretString,
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where.
    pub url: Url,
    /// Sent to the origin of `url` only.
    pub credentials: Option<Credentials>,
    /// What the last applied file was, if it would not have to be read again.
    pub known: Option<Validators>,
}

/// What tells that a file is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validators {
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified`, as sent.
    pub last_modified: Option<String>,
}

impl Validators {
    fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// The source says that the file is the known one.
    NotModified,
    /// The file.
    File(Fetched),
}

/// A file, whole.
#[derive(Debug)]
pub struct Fetched {
    /// Its bytes, decompressed.
    pub bytes: Vec<u8>,
    /// By which it is known next time.
    pub validators: Validators,
}
