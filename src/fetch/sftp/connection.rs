//! The TCP connection below a libssh2 session: maps errors of libssh2 to fetch errors, and closes the connection to end a blocking
//! call.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ssh2::ErrorCode;

use crate::fetch::error::FetchErrorKind;
use crate::fetch::error_detail::{ConnectFault, ProtocolFault, ServerReply, TimeoutReason};

// Error codes of libssh2 (libssh2.h, libssh2_sftp.h)
pub(super) const TIMEOUT: i32 = -9;
pub(super) const SOCKET_TIMEOUT: i32 = -30;
const PASSWORD_EXPIRED: i32 = -15;
const AUTHENTICATION_FAILED: i32 = -18;
const SOCKET_SEND: i32 = -7;
const SOCKET_DISCONNECT: i32 = -13;
const SOCKET_RECV: i32 = -43;
const NO_SUCH_FILE: i32 = 2;
const PERMISSION_DENIED: i32 = 3;
const CONNECTION_LOST: i32 = 7;
const NO_SUCH_PATH: i32 = 10;

/// Closes the connection when dropped. This ends a call of libssh2 that still blocks on another thread.
pub(super) struct ShutdownGuard(pub(super) Arc<Connection>);

/// A second handle of the connection. libssh2 uses the same error codes for refusals and lost connections, so the socket must be
/// checked to tell them apart.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Host and port.
    pub(super) host: String,
    /// Idle timeout of the session.
    pub(super) timeout: Duration,
}

impl Connection {
    /// Whether the server has closed the connection. Leaves the socket in non-blocking mode, so call it only after an error.
    pub(super) fn is_closed(&self) -> bool {
        let nonblocking = self.stream.set_nonblocking(true);
        let peeked = nonblocking.and_then(|()| self.stream.peek(&mut [0]));
        match peeked {
            Ok(length) => length == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Runs a blocking operation and maps its error. `file` is the URL of the file that it is about, or empty.
    pub(super) fn call<T>(
        &self,
        file: &str,
        operation: impl FnOnce() -> Result<T, ssh2::Error>,
    ) -> Result<T, FetchErrorKind> {
        let started = Instant::now();
        operation().map_err(|error| self.classify_error(started.elapsed(), file, &error))
    }

    /// Converts an error that occurred after the password was sent. The server may have counted the password as wrong although it
    /// did not reply, so the error must be permanent.
    pub(super) fn after_password_sent(error: FetchErrorKind) -> FetchErrorKind {
        match error {
            FetchErrorKind::ConnectFailed { host, .. } => {
                FetchErrorKind::ConnectionClosedAfterPassword(host)
            }
            FetchErrorKind::TimedOut { host, reason } => {
                FetchErrorKind::NoReplyAfterPassword { host, reason }
            }
            other => other,
        }
    }

    /// Maps an error of a call that took `elapsed`.
    fn classify_error(&self, elapsed: Duration, file: &str, error: &ssh2::Error) -> FetchErrorKind {
        let host = self.host.clone();
        match error.code() {
            ErrorCode::SFTP(NO_SUCH_FILE | NO_SUCH_PATH) => {
                FetchErrorKind::NotFound(file.to_owned())
            }
            ErrorCode::SFTP(PERMISSION_DENIED) => FetchErrorKind::Forbidden {
                host,
                reply: ServerReply::SftpPermissionDenied,
            },
            ErrorCode::Session(AUTHENTICATION_FAILED) => FetchErrorKind::Unauthorized {
                host,
                reply: ServerReply::SshAuthenticationFailed,
            },
            ErrorCode::Session(PASSWORD_EXPIRED) => FetchErrorKind::Unauthorized {
                host,
                reply: ServerReply::SshPasswordExpired,
            },
            ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => self.timeout_error(),
            ErrorCode::SFTP(CONNECTION_LOST) => self.closed_error(),
            _ if self.is_closed() => self.closed_error(),
            // libssh2 counts whole seconds and may time out up to one second too early.
            _ if elapsed + Duration::from_secs(1) > self.timeout => self.timeout_error(),
            // The channel was closed, but the connection is still open.
            ErrorCode::Session(SOCKET_SEND | SOCKET_DISCONNECT | SOCKET_RECV) => {
                self.closed_error()
            }
            _ => FetchErrorKind::ProtocolError {
                host,
                reason: ProtocolFault::Sftp(error.message().to_owned()),
            },
        }
    }

    /// Maps an error of keyboard-interactive authentication, where libssh2 reports every error as a refusal.
    pub(super) fn classify_interactive_error(
        &self,
        elapsed: Duration,
        error: &ssh2::Error,
    ) -> FetchErrorKind {
        if self.is_closed() {
            return self.closed_error();
        }
        if elapsed >= self.timeout {
            return self.timeout_error();
        }
        self.classify_error(elapsed, "", error)
    }

    /// The error for a server that sent nothing for the idle timeout.
    pub(super) fn timeout_error(&self) -> FetchErrorKind {
        FetchErrorKind::TimedOut {
            host: self.host.clone(),
            reason: TimeoutReason::Idle(self.timeout),
        }
    }

    fn closed_error(&self) -> FetchErrorKind {
        FetchErrorKind::ConnectFailed {
            host: self.host.clone(),
            reason: ConnectFault::Closed,
        }
    }
}

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        // Fails if the connection is already closed, which is fine.
        let _ = self.0.stream.shutdown(Shutdown::Both);
    }
}
