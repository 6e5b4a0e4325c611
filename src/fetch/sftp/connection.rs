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
pub(super) struct Hangup(pub(super) Arc<Line>);

/// The connection as it is seen beside the library, which has one word for what was refused and what was lost.
pub(super) struct Line {
    pub(super) stream: TcpStream,
    /// Host and port.
    pub(super) host: String,
    pub(super) patience: Duration,
}

impl Line {
    /// Whether the other side has hung up, once nobody waits for it any more.
    pub(super) fn is_closed(&self) -> bool {
        let at_once = self.stream.set_nonblocking(true);
        let heard = at_once.and_then(|()| self.stream.peek(&mut [0]));
        match heard {
            Ok(length) => length == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Puts a question to the server, about a file or none.
    pub(super) fn ask<T>(
        &self,
        file: &str,
        question: impl FnOnce() -> Result<T, ssh2::Error>,
    ) -> Result<T, FetchError> {
        let asked = Instant::now();
        question().map_err(|error| self.explain(asked.elapsed(), file, &error))
    }

    /// What became of a password that was given. Whether one counts that got no answer, nobody knows: it is not given again.
    pub(super) fn once_given(error: FetchError) -> FetchError {
        match error {
            FetchError::ConnectFailed { host, .. } => FetchError::HungUpOnPassword(host),
            FetchError::TimedOut { host, .. } => FetchError::NoWordOnPassword(host),
            other => other,
        }
    }

    /// What an error after so long a wait means.
    fn explain(&self, waited: Duration, file: &str, error: &ssh2::Error) -> FetchError {
        let host = self.host.clone();
        match error.code() {
            ErrorCode::SFTP(NO_SUCH_FILE | NO_SUCH_PATH) => FetchError::NotFound(file.to_owned()),
            ErrorCode::SFTP(PERMISSION_DENIED) => FetchError::Forbidden(host),
            ErrorCode::Session(AUTHENTICATION_FAILED | PASSWORD_EXPIRED) => {
                FetchError::Unauthorized(host)
            }
            ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => self.silent(),
            ErrorCode::SFTP(CONNECTION_LOST) => self.lost(),
            _ if self.is_closed() => self.lost(),
            // The library counts whole seconds, and may end its wait one too early.
            _ if waited + Duration::from_secs(1) > self.patience => self.silent(),
            // The channel was closed, and the connection stands.
            ErrorCode::Session(SOCKET_SEND | SOCKET_DISCONNECT | SOCKET_RECV) => self.lost(),
            _ => FetchError::ProtocolError {
                host,
                why: format!("SFTP: {}", error.message()),
            },
        }
    }

    /// The same of a log-in by questions, where the library calls everything a refusal.
    pub(super) fn explain_interactive(&self, waited: Duration, error: &ssh2::Error) -> FetchError {
        if self.is_closed() {
            return self.lost();
        }
        if waited >= self.patience {
            return self.silent();
        }
        self.explain(waited, "", error)
    }

    fn silent(&self) -> FetchError {
        FetchError::TimedOut {
            host: self.host.clone(),
            what: "it stopped sending",
        }
    }

    fn lost(&self) -> FetchError {
        FetchError::ConnectFailed {
            host: self.host.clone(),
            why: "the server closed the connection".to_owned(),
        }
    }
}

impl Drop for Hangup {
    fn drop(&mut self) {
        // Closed already, if it went well.
        let _ = self.0.stream.shutdown(Shutdown::Both);
    }
}
