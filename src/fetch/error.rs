//! Why a file could not be fetched and at which stage, with the sentence for the admin. Says whether a failure is temporary,
//! but not whether to retry.

use std::time::Duration;

use crate::model::failure::{Failure, FailureCode};
use crate::temp_file::{SizeLimit, TempFileError};

use super::BlockedAddress;
use super::error_detail::{ConnectFault, ProtocolFault, RedirectFault, ServerReply, TimeoutReason};
use super::network::{LookupFailed, ResolveError};

/// A stage of a fetch, in the order in which they are passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchStage {
    /// Checking the address, before anything is sent.
    Address,
    /// Resolving the host name and checking its addresses against the network policy.
    Resolve,
    /// Opening the TCP connection.
    Connect,
    /// TLS handshake. Over `https://` it includes opening the connection, which the HTTP client does not report separately.
    Tls,
    /// SSH handshake and check of the host key.
    HostKey,
    /// Log-in with user name and password, or a signed S3 request.
    Authenticate,
    /// Everything about the file itself, including redirects.
    File,
}

/// Why a file could not be fetched, and at which stage.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct FetchError {
    pub(super) stage: FetchStage,
    pub(super) kind: FetchErrorKind,
}

impl FetchError {
    /// The stage at which the fetch failed.
    #[must_use]
    pub fn stage(&self) -> FetchStage {
        self.stage
    }

    /// The failure code.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        self.kind.code()
    }

    /// Whether a retry may succeed. Refusals are permanent: servers may lock an account after three wrong passwords.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind.is_transient()
    }

    /// How long to wait before a retry: what the server asks for, or until a file is old enough to be read.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.kind.retry_after()
    }

    /// The failure to record.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::new(self.code(), self.to_string())
    }
}

/// What went wrong. `host` is the host name, with the port where it is not the usual one.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchErrorKind {
    /// The network policy forbids the address.
    #[error(
        "{0}; use a public address, or ask the operator to allow this one (`fetch.allow_networks`)"
    )]
    AddressRefused(BlockedAddress),
    #[error("host name `{0}` could not be resolved; check the address of the file")]
    NameNotFound(String),
    /// Unlike `NameNotFound`, the name may exist.
    #[error(
        "host name `{0}` could not be resolved because no name server responded; check the network of this machine"
    )]
    NameServerUnavailable(String),
    #[error(
        "connection to `{host}` failed ({reason}); check the address and whether the server is running"
    )]
    ConnectFailed { host: String, reason: ConnectFault },
    #[error(
        "fetching from `{host}` timed out ({reason}); check that the server is up and not overloaded"
    )]
    TimedOut { host: String, reason: TimeoutReason },
    #[error(
        "the certificate of `{host}` is not valid ({reason}); the server's administrator must renew or correct it"
    )]
    TlsInvalid { host: String, reason: String },
    #[error(
        "addresses that begin with {0}:// are not fetched; enter one that begins with https://"
    )]
    SchemeRefused(String),
    #[error(
        "`{host}` redirects to {target}, which is not followed; enter the address of the file itself"
    )]
    RedirectRefused { host: String, target: RedirectFault },
    #[error("`{host}` redirects more than {limit} times; enter the address of the file itself")]
    TooManyRedirects { host: String, limit: usize },
    #[error(
        "`{host}` refused the user name or password ({reply}); enter them again in the import settings"
    )]
    Unauthorized { host: String, reply: ServerReply },
    /// 401 although the settings have no user name.
    #[error(
        "`{0}` requires a user name and password (HTTP 401); choose the source `https_basic`, or share the file without a login"
    )]
    LoginRequired(String),
    /// 401 after a redirect to an origin that the credentials are not sent to.
    #[error(
        "`{host}` redirects to `{redirect_host}`, which requires a user name and password (HTTP 401), but they are only sent to `{host}`; enter the address of the file at `{redirect_host}` instead"
    )]
    LoginRequiredAfterRedirect { host: String, redirect_host: String },
    #[error(
        "`{host}` refused access to the file ({reply}); check its sharing settings or the permissions of the user"
    )]
    Forbidden { host: String, reply: ServerReply },
    #[error(
        "there is no file at `{0}`; check the address and whether the file was moved or renamed"
    )]
    NotFound(String),
    #[error(
        "`{host}` received too many requests ({reply}){}; import less often, or ask its administrator",
        wait_hint(*.retry_after)
    )]
    RateLimited {
        host: String,
        reply: ServerReply,
        retry_after: Option<Duration>,
    },
    #[error(
        "`{host}` returned a server error ({reply}){}; try again later, or tell its administrator",
        wait_hint(*.retry_after)
    )]
    ServerError {
        host: String,
        reply: ServerReply,
        retry_after: Option<Duration>,
    },
    /// Any other HTTP status.
    #[error("`{host}` did not return the file ({reply}); check the address")]
    HttpStatus {
        host: String,
        reply: ServerReply,
        retry_after: Option<Duration>,
    },
    #[error("unexpected response from `{host}` ({reason}); check the address and its port")]
    ProtocolError { host: String, reason: ProtocolFault },
    #[error(
        "the file is larger than {0} (`fetch.max_bytes`); remove data that does not belong to the contact list"
    )]
    TooLarge(SizeLimit),
    /// A directory or a device.
    #[error("`{0}` is not a file; enter the address of the file itself")]
    NotAFile(String),
    #[error(
        "`{host}` presented another host key ({offered}) than the pinned one ({pinned}): either the server was reinstalled, \
         or another machine responds at its address. No user name or password was sent. If its administrator confirms the \
         new key, run `rosterd settings trust ACCOUNT --fingerprint {offered}`"
    )]
    HostKeyChanged {
        host: String,
        pinned: String,
        offered: String,
    },
    #[error(
        "`{host}` does not allow password logins (it offers: {offered}); ask its administrator to allow passwords for this user"
    )]
    PasswordLoginUnavailable {
        host: String,
        /// Methods as the server lists them.
        offered: String,
    },
    /// The server may have counted this as a wrong password, so it is not retried.
    #[error(
        "`{0}` closed the connection after receiving the user name and password; check both, and enter the password again. They were sent once only, because several wrong passwords can lock an account"
    )]
    ConnectionClosedAfterPassword(String),
    /// The server may have counted this as a wrong password, so it is not retried.
    #[error(
        "`{host}` did not respond to the user name and password in time ({reason}); check that the server is up and not overloaded. They were sent once only, because several wrong passwords can lock an account"
    )]
    NoReplyAfterPassword { host: String, reason: TimeoutReason },
    #[error(
        "the file on `{0}` changed while it was being read and may still be uploading; let the upload finish before the import starts"
    )]
    ChangedWhileReading(String),
    /// Younger than `sftp::transfer::MIN_FILE_AGE`, or its modification time is in the future.
    #[error(
        "the file on `{host}` was modified less than 10 s ago and may still be uploading; let the upload finish before the import starts"
    )]
    RecentlyModified {
        host: String,
        /// Time until the file is old enough.
        retry_after: Duration,
    },
    #[error(
        "`{host}` rejected the S3 access key ID ({reply}); check it, and whether the key was deleted or disabled"
    )]
    S3UnknownKeyId { host: String, reply: ServerReply },
    #[error(
        "the S3 secret key does not match the access key ID, according to `{host}` ({reply}); enter both again"
    )]
    S3WrongSecret { host: String, reply: ServerReply },
    #[error(
        "the bucket `{bucket}` is not in the region {configured_region} but in {actual_region}; correct the S3 region in the import settings"
    )]
    S3OtherRegion {
        bucket: String,
        configured_region: String,
        actual_region: String,
    },
    /// The server does not say which region is right.
    #[error(
        "the bucket `{bucket}` is not in the region {configured_region}; correct the S3 region in the import settings"
    )]
    S3WrongRegion {
        bucket: String,
        configured_region: String,
    },
    #[error("there is no bucket `{0}`; check the S3 object URL")]
    S3NoBucket(String),
    #[error(
        "the object `{0}` is archived and must be restored before it can be read; store the file in a storage class with immediate access"
    )]
    S3Archived(String),
    #[error(
        "`{host}` reports that the clock of this machine is wrong ({reply}); the operator must set it (NTP)"
    )]
    ClockSkew { host: String, reply: ServerReply },
    #[error(
        "the file could not be stored temporarily on this machine ({0}); the operator must check the free space in TMPDIR"
    )]
    LocalStorage(std::io::Error),
    #[error("the certificates of this system cannot be used ({0}); the operator must check them")]
    SystemCertificates(reqwest::Error),
    #[error("an internal error in rosterd stopped the transfer ({0}); please report it")]
    Internal(String),
    #[error(
        "the file from `{host}` arrived incomplete or damaged; try again, or tell the server's administrator"
    )]
    Incomplete { host: String },
}

impl FetchErrorKind {
    pub(super) fn at(self, stage: FetchStage) -> FetchError {
        FetchError { stage, kind: self }
    }

    pub(super) fn code(&self) -> FailureCode {
        match self {
            Self::AddressRefused(_) => FailureCode::AddressRefused,
            Self::NameNotFound(_) | Self::NameServerUnavailable(_) => FailureCode::NameNotFound,
            Self::ConnectFailed { .. } => FailureCode::ConnectFailed,
            Self::TimedOut { .. } | Self::NoReplyAfterPassword { .. } => FailureCode::TimedOut,
            Self::TlsInvalid { .. } => FailureCode::TlsInvalid,
            Self::SchemeRefused(_) => FailureCode::SchemeRefused,
            Self::RedirectRefused { .. } => FailureCode::RedirectRefused,
            Self::TooManyRedirects { .. } => FailureCode::TooManyRedirects,
            Self::Unauthorized { .. }
            | Self::LoginRequired(_)
            | Self::LoginRequiredAfterRedirect { .. }
            | Self::ConnectionClosedAfterPassword(_)
            | Self::PasswordLoginUnavailable { .. } => FailureCode::Unauthorized,
            Self::Forbidden { .. } => FailureCode::Forbidden,
            Self::NotFound(_) => FailureCode::NotFound,
            Self::RateLimited { .. } => FailureCode::RateLimited,
            Self::ServerError { .. } => FailureCode::ServerError,
            Self::HttpStatus { .. } => FailureCode::HttpStatus,
            Self::ProtocolError { .. } => FailureCode::ProtocolError,
            Self::TooLarge(_) => FailureCode::TooLarge,
            Self::Incomplete { .. } => FailureCode::Incomplete,
            Self::NotAFile(_) => FailureCode::NotAFile,
            Self::HostKeyChanged { .. } => FailureCode::HostKeyChanged,
            Self::ChangedWhileReading(_) | Self::RecentlyModified { .. } => {
                FailureCode::ChangedWhileReading
            }
            Self::S3UnknownKeyId { .. } => FailureCode::S3UnknownKeyId,
            Self::S3WrongSecret { .. } => FailureCode::S3WrongSecret,
            Self::S3OtherRegion { .. } | Self::S3WrongRegion { .. } => FailureCode::S3WrongRegion,
            Self::S3NoBucket(_) => FailureCode::S3NoBucket,
            Self::S3Archived(_) => FailureCode::S3Archived,
            Self::ClockSkew { .. } => FailureCode::ClockSkew,
            Self::LocalStorage(_) | Self::SystemCertificates(_) | Self::Internal(_) => {
                FailureCode::Internal
            }
        }
    }

    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::NameServerUnavailable(_)
            | Self::ConnectFailed { .. }
            | Self::TimedOut { .. }
            | Self::RateLimited { .. }
            | Self::ServerError { .. }
            | Self::Incomplete { .. }
            | Self::ChangedWhileReading(_)
            | Self::RecentlyModified { .. } => true,
            Self::HttpStatus { reply, .. } => matches!(reply.http_status(), Some(408 | 425)),
            _ => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::ServerError { retry_after, .. }
            | Self::HttpStatus { retry_after, .. } => *retry_after,
            Self::RecentlyModified { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// Completes the sentence if the server asks for a wait of more than a minute.
fn wait_hint(retry_after: Option<Duration>) -> String {
    match retry_after.map_or(0, |wait| wait.as_secs().div_ceil(60)) {
        0 | 1 => String::new(),
        minutes => format!(" and asks to wait {minutes} minutes"),
    }
}

impl From<ResolveError> for FetchErrorKind {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Blocked(blocked) => Self::AddressRefused(blocked),
            ResolveError::LookupFailed(lookup_failed) => lookup_failed.into(),
        }
    }
}

impl From<LookupFailed> for FetchErrorKind {
    fn from(lookup_failed: LookupFailed) -> Self {
        if lookup_failed.is_transient {
            return Self::NameServerUnavailable(lookup_failed.host);
        }
        Self::NameNotFound(lookup_failed.host)
    }
}

impl From<TempFileError> for FetchErrorKind {
    fn from(error: TempFileError) -> Self {
        match error {
            TempFileError::TooLarge(limit) => Self::TooLarge(SizeLimit(limit)),
            TempFileError::Io(error) => Self::LocalStorage(error),
        }
    }
}
