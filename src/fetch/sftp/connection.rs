//! A connection as it is seen beside libssh2: what the library's errors mean, and how to hang up on it.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ssh2::ErrorCode;

use crate::fetch::FetchError;

// Codes of libssh2 (libssh2.h, libssh2_sftp.h).
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

/// Ends what libssh2 waits for on its thread once nobody waits for that thread.
pub(super) struct ShutdownGuard(pub(super) Arc<Connection>);

/// The connection as it is seen beside the library, which has one word for what was refused and what was lost.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Host and port.
    pub(super) host: String,
    pub(super) timeout: Duration,
}

impl Connection {
    /// Whether the other side has hung up, once nobody waits for it any more.
    pub(super) fn is_closed(&self) -> bool {
        let nonblocking = self.stream.set_nonblocking(true);
        let peeked = nonblocking.and_then(|()| self.stream.peek(&mut [0]));
        match peeked {
            Ok(length) => length == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Puts a question to the server, about a file or none.
    pub(super) fn call<T>(
        &self,
        file: &str,
        operation: impl FnOnce() -> Result<T, ssh2::Error>,
    ) -> Result<T, FetchError> {
        let started = Instant::now();
        operation().map_err(|error| self.classify_error(started.elapsed(), file, &error))
    }

    /// What became of a password that was given. Whether one counts that got no answer, nobody knows: it is not given again.
    pub(super) fn after_password_sent(error: FetchError) -> FetchError {
        match error {
            FetchError::ConnectFailed { host, .. } => {
                FetchError::ConnectionClosedAfterPassword(host)
            }
            FetchError::TimedOut { host, .. } => FetchError::NoReplyAfterPassword(host),
            other => other,
        }
    }

    /// What an error after so long a wait means.
    fn classify_error(&self, elapsed: Duration, file: &str, error: &ssh2::Error) -> FetchError {
        let host = self.host.clone();
        match error.code() {
            ErrorCode::SFTP(NO_SUCH_FILE | NO_SUCH_PATH) => FetchError::NotFound(file.to_owned()),
            ErrorCode::SFTP(PERMISSION_DENIED) => FetchError::Forbidden(host),
            ErrorCode::Session(AUTHENTICATION_FAILED | PASSWORD_EXPIRED) => {
                FetchError::Unauthorized(host)
            }
            ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => self.timeout_error(),
            ErrorCode::SFTP(CONNECTION_LOST) => self.closed_error(),
            _ if self.is_closed() => self.closed_error(),
            // The library counts whole seconds, and may end its wait one too early.
            _ if elapsed + Duration::from_secs(1) > self.timeout => self.timeout_error(),
            // The channel was closed, and the connection stands.
            ErrorCode::Session(SOCKET_SEND | SOCKET_DISCONNECT | SOCKET_RECV) => {
                self.closed_error()
            }
            _ => FetchError::ProtocolError {
                host,
                reason: format!("SFTP: {}", error.message()),
            },
        }
    }

    /// The same of a log-in by questions, where the library calls everything a refusal.
    pub(super) fn classify_interactive_error(
        &self,
        elapsed: Duration,
        error: &ssh2::Error,
    ) -> FetchError {
        if self.is_closed() {
            return self.closed_error();
        }
        if elapsed >= self.timeout {
            return self.timeout_error();
        }
        self.classify_error(elapsed, "", error)
    }

    fn timeout_error(&self) -> FetchError {
        FetchError::TimedOut {
            host: self.host.clone(),
            reason: "it stopped sending",
        }
    }

    fn closed_error(&self) -> FetchError {
        FetchError::ConnectFailed {
            host: self.host.clone(),
            reason: "the server closed the connection".to_owned(),
        }
    }
}

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        // Closed already, if it went well.
        let _ = self.0.stream.shutdown(Shutdown::Both);
    }
}
