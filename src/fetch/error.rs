//! What can go wrong on the way to a file, named by what happened, each with the sentence for an admin.

use std::time::Duration;

use crate::model::failure::{Failure, FailureCode};

use super::BlockedAddress;
use super::network::{LookupFailed, ResolveError};
use crate::temp_file::TempFileError;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The network policy forbids it.
    #[error(
        "{0}; use a public address, or have the operator allow this one (`fetch.allow_networks`)"
    )]
    AddressRefused(BlockedAddress),
    /// No such name.
    #[error(
        "the server name {0} does not exist or can't be looked up; check the address of the file"
    )]
    NameNotFound(String),
    /// No name server could tell whether there is such a name.
    #[error(
        "the server name {0} can't be looked up just now: no name server answers; check the network of this machine"
    )]
    NameServerUnavailable(String),
    /// No connection.
    #[error("no connection to {host} ({reason}); check the address and that the server is up")]
    ConnectFailed {
        /// Host and port.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// Too slow.
    #[error(
        "{host} did not answer in time ({reason}); check that the server is up and not overloaded"
    )]
    TimedOut {
        /// Host.
        host: String,
        /// Which limit was exceeded.
        reason: &'static str,
    },
    /// Certificate.
    #[error(
        "the certificate of {host} is not valid ({reason}); the server's administrator must renew or correct it"
    )]
    TlsInvalid {
        /// Host.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not https.
    #[error(
        "addresses that begin with {0}:// are not fetched; enter one that begins with https://"
    )]
    SchemeRefused(String),
    /// Redirect to somewhere we don't follow.
    #[error(
        "{host} redirects to {to}, which is not followed; enter the address of the file itself"
    )]
    RedirectRefused {
        /// Host.
        host: String,
        /// Where to.
        to: String,
    },
    /// Redirects without end.
    #[error("{0} redirects again and again; enter the address of the file itself")]
    TooManyRedirects(String),
    /// 401, 407.
    #[error("{0} refuses the user name or password; enter them anew in the import settings")]
    Unauthorized(String),
    /// 401 where no user was named.
    #[error(
        "{0} asks for a user name and a password; choose the source `https_basic` for it, or share the file so that it needs none"
    )]
    LoginRequired(String),
    /// 401 after a redirect to where the credentials are not sent.
    #[error(
        "{host} sends on to {redirect_host}, which asks for a user name and a password, too; they are sent to {host} only. Use the address at {redirect_host} itself"
    )]
    LoginRequiredAfterRedirect {
        /// Host and port of the settings.
        host: String,
        /// Host and port that it leads to.
        redirect_host: String,
    },
    /// 403.
    #[error(
        "{0} does not allow this file to be read; change its sharing, or the rights of the user"
    )]
    Forbidden(String),
    /// 404, 410.
    #[error(
        "there is no file at {0}; check the address, and whether the file was moved or renamed"
    )]
    NotFound(String),
    /// 429.
    #[error(
        "{host} says that it is asked too often{}; import less often, or ask its administrator", retry_hint(*.retry_after)
    )]
    RateLimited {
        /// Host.
        host: String,
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error(
        "{host} has a fault of its own (status {status}){}; try later, or tell its administrator", retry_hint(*.retry_after)
    )]
    ServerError {
        /// Host.
        host: String,
        /// HTTP status.
        status: u16,
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    #[error("{host} answered with status {status} instead of the file; check the address")]
    HttpStatus {
        /// Host.
        host: String,
        /// HTTP status.
        status: u16,
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// Not HTTP, not SSH.
    #[error(
        "{host} does not speak the protocol as it should ({reason}); check the address and its port"
    )]
    ProtocolError {
        /// Host.
        host: String,
        /// What was wrong.
        reason: String,
    },
    /// Beyond the limit.
    #[error(
        "the file is larger than {limit} bytes; delete what does not belong to the contact list"
    )]
    TooLarge {
        /// Largest size, bytes.
        limit: u64,
    },
    /// A directory, a device.
    #[error("{0} is not a file; enter the address of the file itself")]
    NotAFile(String),
    /// Another host key than the pinned one.
    #[error(
        "{host} shows another host key ({found}) than the one pinned before ({pinned}): either the server was set up anew, \
         or something else answers in its place. Nothing was sent to it. If its administrator confirms the new key, run \
         `rosterd settings trust --fingerprint {found}` for the account"
    )]
    HostKeyChanged {
        /// Host and port.
        host: String,
        /// As OpenSSH shows it.
        pinned: String,
        /// As OpenSSH shows it.
        found: String,
    },
    /// No way to log in with a password.
    #[error(
        "{host} lets nobody in with a password (it offers: {offered}); have its administrator allow passwords for this user"
    )]
    PasswordLoginUnavailable {
        /// Host and port.
        host: String,
        /// Methods, as the server lists them.
        offered: String,
    },
    /// Nobody knows whether it was refused, and a few refused ones lock an account.
    #[error(
        "{0} closed the connection when it was given the user name and the password; check both, and enter the password again. They were sent once only"
    )]
    ConnectionClosedAfterPassword(String),
    /// Nor here.
    #[error(
        "{0} took too long to answer to the user name and the password (`fetch.idle_timeout`, `fetch.total_timeout`); they were sent once only, for a few wrong ones lock an account"
    )]
    NoReplyAfterPassword(String),
    /// Changed under our hands, or just now.
    #[error(
        "the file at {host} is being written while it is read, or has been just now by the clocks of both; let the upload end before the import begins"
    )]
    ChangedWhileReading {
        /// Host.
        host: String,
        /// When it may be still.
        retry_after: Option<Duration>,
    },
    /// S3: unknown access key id.
    #[error(
        "{0} does not know the S3 access key id; check it, and whether the key was deleted or disabled"
    )]
    S3UnknownKeyId(String),
    /// S3: wrong secret.
    #[error("the S3 secret key does not belong to the access key id, says {0}; enter both anew")]
    S3WrongSecret(String),
    /// S3: wrong region.
    #[error("the bucket `{bucket}` is not in the region {configured_region}{}; correct the S3 region in the import settings", .actual_region.as_ref().map_or_else(String::new, |actual_region| format!(", but in {actual_region}")))]
    S3WrongRegion {
        /// Bucket.
        bucket: String,
        /// Region in the settings.
        configured_region: String,
        /// Where it is.
        actual_region: Option<String>,
    },
    /// S3: no such bucket.
    #[error("there is no bucket `{0}`; check the S3 object URL")]
    S3NoBucket(String),
    /// S3: in an archive.
    #[error(
        "the object `{0}` is archived and must be restored before it can be read; store the file in a class that is read at once"
    )]
    S3Archived(String),
    /// S3: our clock.
    #[error("{0} says that this machine's clock is wrong; the operator must set it (NTP)")]
    ClockSkew(String),
    /// No room on this machine.
    #[error(
        "the file can't be kept on this machine meanwhile ({0}); the operator must look at the space in TMPDIR"
    )]
    LocalStorage(std::io::Error),
    /// Of ours.
    #[error("a defect in rosterd stopped the transfer ({0}); please report it")]
    Internal(String),
    /// Cut off.
    #[error("{host} ended the file before it was complete; try again, or tell its administrator")]
    Incomplete {
        /// Host.
        host: String,
    },
}

impl FetchError {
    /// The fixed word for it.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        match self {
            Self::AddressRefused(_) => FailureCode::AddressRefused,
            Self::NameNotFound(_) | Self::NameServerUnavailable(_) => FailureCode::NameNotFound,
            Self::ConnectFailed { .. } => FailureCode::ConnectFailed,
            Self::TimedOut { .. } | Self::NoReplyAfterPassword(_) => FailureCode::TimedOut,
            Self::TlsInvalid { .. } => FailureCode::TlsInvalid,
            Self::SchemeRefused(_) => FailureCode::SchemeRefused,
            Self::RedirectRefused { .. } => FailureCode::RedirectRefused,
            Self::TooManyRedirects(_) => FailureCode::TooManyRedirects,
            Self::Unauthorized(_)
            | Self::LoginRequired(_)
            | Self::LoginRequiredAfterRedirect { .. }
            | Self::ConnectionClosedAfterPassword(_)
            | Self::PasswordLoginUnavailable { .. } => FailureCode::Unauthorized,
            Self::Forbidden(_) => FailureCode::Forbidden,
            Self::NotFound(_) => FailureCode::NotFound,
            Self::RateLimited { .. } => FailureCode::RateLimited,
            Self::ServerError { .. } => FailureCode::ServerError,
            Self::HttpStatus { .. } => FailureCode::HttpStatus,
            Self::ProtocolError { .. } => FailureCode::ProtocolError,
            Self::TooLarge { .. } => FailureCode::TooLarge,
            Self::Incomplete { .. } => FailureCode::Incomplete,
            Self::NotAFile(_) => FailureCode::NotAFile,
            Self::HostKeyChanged { .. } => FailureCode::HostKeyChanged,
            Self::ChangedWhileReading { .. } => FailureCode::ChangedWhileReading,
            Self::S3UnknownKeyId(_) => FailureCode::S3UnknownKeyId,
            Self::S3WrongSecret(_) => FailureCode::S3WrongSecret,
            Self::S3WrongRegion { .. } => FailureCode::S3WrongRegion,
            Self::S3NoBucket(_) => FailureCode::S3NoBucket,
            Self::S3Archived(_) => FailureCode::S3Archived,
            Self::ClockSkew(_) => FailureCode::ClockSkew,
            Self::LocalStorage(_) | Self::Internal(_) => FailureCode::Internal,
        }
    }

    /// Whether it may pass by itself. Refusals never do: a password refused three times locks an account.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NameServerUnavailable(_)
            | Self::ConnectFailed { .. }
            | Self::TimedOut { .. }
            | Self::RateLimited { .. }
            | Self::ServerError { .. }
            | Self::Incomplete { .. }
            | Self::ChangedWhileReading { .. } => true,
            Self::HttpStatus { status, .. } => matches!(status, 408 | 425),
            _ => false,
        }
    }

    /// How long the server asks us to stay away.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::ServerError { retry_after, .. }
            | Self::HttpStatus { retry_after, .. } => *retry_after,
            Self::ChangedWhileReading { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The failure to record.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::new(self.code(), self.to_string())
    }
}

/// What a server asks for that wants to be left alone for some minutes.
fn retry_hint(retry_after: Option<Duration>) -> String {
    let minutes = retry_after.map_or(0, |wait| wait.as_secs().div_ceil(60));
    match minutes {
        0 | 1 => String::new(),
        _ => format!(" and asks to be left alone for {minutes} minutes"),
    }
}

impl From<ResolveError> for FetchError {
    fn from(reason: ResolveError) -> Self {
        match reason {
            ResolveError::Blocked(blocked) => Self::AddressRefused(blocked),
            ResolveError::LookupFailed(lookup_failed) => lookup_failed.into(),
        }
    }
}

impl From<LookupFailed> for FetchError {
    fn from(lookup_failed: LookupFailed) -> Self {
        if lookup_failed.is_transient {
            return Self::NameServerUnavailable(lookup_failed.host);
        }
        Self::NameNotFound(lookup_failed.host)
    }
}

impl From<TempFileError> for FetchError {
    fn from(error: TempFileError) -> Self {
        match error {
            TempFileError::TooLarge(limit) => Self::TooLarge { limit },
            TempFileError::Io(error) => Self::LocalStorage(error),
        }
    }
}
