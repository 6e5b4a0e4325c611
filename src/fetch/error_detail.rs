//! Details that the sentences of fetch errors contain, such as the exceeded time limit or the reply of the server. Each is a
//! phrase; the sentences are in `error`.

use std::time::Duration;

/// The time limit that was exceeded.
#[derive(Debug, thiserror::Error)]
pub(super) enum TimeoutReason {
    #[error("no connection within {0:?}, `fetch.connect_timeout`")]
    Connect(Duration),
    /// Both limits together: the HTTP client does not report when it is connected.
    #[error("no response within {0:?}, `fetch.connect_timeout` plus `fetch.idle_timeout`")]
    Response(Duration),
    #[error("no data for {0:?}, `fetch.idle_timeout`")]
    Idle(Duration),
    #[error("no complete SSH handshake within {0:?}, `fetch.idle_timeout`")]
    SshHandshake(Duration),
    #[error("more than {0} bytes before the SSH banner")]
    LongSshBanner(usize),
    #[error("less than {min_rate} bytes/s for {period:?}, `fetch.min_rate`")]
    TooSlow { min_rate: u64, period: Duration },
    #[error("not finished after {0:?}, `fetch.total_timeout`")]
    Total(Duration),
    #[error("the server reports that it waited too long for the request, {0}")]
    ReportedByServer(ServerReply),
}

/// What the server replied instead of the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerReply {
    #[error("HTTP {0}")]
    Http(u16),
    #[error("HTTP {status}, {code}")]
    S3 { status: u16, code: String },
    #[error("SFTP: permission denied")]
    SftpPermissionDenied,
    #[error("SSH: authentication failed")]
    SshAuthenticationFailed,
    #[error("SSH: password expired")]
    SshPasswordExpired,
}

impl ServerReply {
    /// The reply of an S3 server. Anyone can run such a server, so only what looks like an error code is shown.
    pub(super) fn s3(status: u16, code: &str) -> Self {
        let is_error_code =
            (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_error_code {
            Self::S3 {
                status,
                code: code.to_owned(),
            }
        } else {
            Self::Http(status)
        }
    }

    pub(super) fn http_status(&self) -> Option<u16> {
        match self {
            Self::Http(status) | Self::S3 { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Why a connection failed or was lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectFault {
    /// Reported by the operating system or the HTTP library.
    #[error("{0}")]
    Network(String),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server closed the connection before its SSH banner")]
    ClosedBeforeSshBanner,
    #[error("the server closed the connection during the SSH handshake: {0}")]
    ClosedDuringSshHandshake(String),
    #[error("the request was not sent")]
    NotSent,
}

/// How a server violated the protocol.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtocolFault {
    #[error("TLS: {0}")]
    Tls(String),
    #[error("HTTP: {0}")]
    Http(String),
    #[error("SSH: {0}")]
    Ssh(String),
    #[error("SFTP: {0}")]
    Sftp(String),
    #[error("the server uses another protocol than SSH")]
    NotSsh,
    #[error("the server has no SSH host key of a supported type")]
    NoHostKey,
    #[error("the file is compressed as `{0}`, which is not supported")]
    UnsupportedEncoding(String),
    #[error("the response has invalid headers")]
    InvalidHeaders,
}

/// A redirect target that is not followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedirectFault {
    #[error("an invalid address")]
    InvalidUrl,
    #[error("an address that begins with {0}:")]
    OtherScheme(String),
    #[error("an address with a user name or password")]
    HasCredentials,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_reply_shows_only_error_codes() {
        let displayed = |code: &str| ServerReply::s3(403, code).to_string();
        assert_eq!(displayed("AccessDenied"), "HTTP 403, AccessDenied");
        for other in ["", "a b", "<b>", "\u{1b}[31m", "x".repeat(65).as_str()] {
            assert_eq!(displayed(other), "HTTP 403", "{other:?}");
        }
    }
}
