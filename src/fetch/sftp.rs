//! Files on SFTP servers. libssh2 blocks, so it works on threads of its own; whoever stops waiting hangs up on them.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use ssh2::{ErrorCode, FileStat, HashType, KeyboardInteractivePrompt, MethodType, Prompt, Session};
use tokio::net::TcpStream;

use super::greeting::{self, Speaks};
use super::intake::Intake;
use super::meter::Meter;
use super::network::{NetworkPolicy, connect, lost};
use super::{Credentials, FetchError, Limits, Outcome, Validators};
use crate::model::source::SftpAddress;
use crate::telemetry::blocking;

/// libssh2 asks for as much at once as it is given room for: with 32 KiB it is six times slower.
const READ_SIZE: usize = 2 << 20;
/// A file younger than this may still be being written.
const SETTLED: TimeDelta = TimeDelta::seconds(10);
/// A time of modification further ahead than clocks differ says nothing.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(60);
/// In an order of ours: were it left to the library, a new version could ask for another key, and a pinned one look changed.
const HOST_KEYS: &str = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256,ssh-rsa";

// Codes of libssh2 (libssh2.h, libssh2_sftp.h).
const TIMEOUT: i32 = -9;
const SOCKET_TIMEOUT: i32 = -30;
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
struct Hangup(Arc<Line>);

/// The connection as it is seen beside the library, which has one word for what was refused and what was lost.
struct Line {
    stream: std::net::TcpStream,
    /// Host and port.
    host: String,
    patience: Duration,
}

impl Line {
    /// Whether the other side has hung up, once nobody waits for it any more.
    fn is_closed(&self) -> bool {
        let at_once = self.stream.set_nonblocking(true);
        let heard = at_once.and_then(|()| self.stream.peek(&mut [0]));
        match heard {
            Ok(length) => length == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Puts a question to the server, about a file or none.
    fn ask<T>(
        &self,
        file: &str,
        question: impl FnOnce() -> Result<T, ssh2::Error>,
    ) -> Result<T, FetchError> {
        let asked = Instant::now();
        question().map_err(|error| self.explain(asked.elapsed(), file, &error))
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
            ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => FetchError::TimedOut {
                host,
                what: "it stopped sending",
            },
            ErrorCode::SFTP(CONNECTION_LOST) => self.lost(),
            _ if self.is_closed() => self.lost(),
            // The library counts whole seconds, and may end its wait one too early.
            _ if waited + Duration::from_secs(1) > self.patience => FetchError::TimedOut {
                host,
                what: "it stopped sending",
            },
            // The channel was closed, and the connection stands.
            ErrorCode::Session(SOCKET_SEND | SOCKET_DISCONNECT | SOCKET_RECV) => self.lost(),
            _ => FetchError::ProtocolError {
                host,
                why: format!("SFTP: {}", error.message()),
            },
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

/// A server with which keys were exchanged.
pub(super) struct Server {
    // Dropped first: then the session has nobody left to take leave of, which would block.
    hangup: Hangup,
    session: Session,
    host_key: String,
}

impl Server {
    /// Connects to an address that the policy allows, and exchanges keys.
    pub(super) async fn connect(
        address: &SftpAddress,
        policy: &NetworkPolicy,
        limits: Limits,
    ) -> Result<Self, FetchError> {
        let host = address.endpoint();
        let addresses = policy.resolve(&address.host, address.port).await?;
        let mut stream = connect(&addresses, &host, limits.connect_timeout).await?;
        let speaks = greeting::wait(&mut stream, &host, limits.idle_timeout).await?;
        let (stream, second) = blocking_pair(stream).map_err(|error| lost(&host, &error))?;
        let hangup = Hangup(Arc::new(Line {
            stream: second,
            host: host.clone(),
            patience: limits.idle_timeout,
        }));
        let greet = blocking(move || greet(stream, limits.idle_timeout));
        // libssh2 listens to a greeting for as long as it goes on.
        let greeted = tokio::time::timeout(limits.idle_timeout, greet);
        let greeted = greeted.await.map_err(|_| FetchError::TimedOut {
            host: host.clone(),
            what: "it does not finish its greeting",
        })?;
        let session = finished(greeted)?.map_err(|error| match error.code() {
            ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => FetchError::TimedOut {
                host: host.clone(),
                what: "it does not finish its greeting",
            },
            // Whoever speaks and hangs up in the middle may have too many guests.
            _ if speaks == Speaks::First && hangup.0.is_closed() => FetchError::ConnectFailed {
                host: host.clone(),
                why: format!("SSH: {}", error.message()),
            },
            _ => FetchError::ProtocolError {
                host: host.clone(),
                why: format!("SSH: {}", error.message()),
            },
        })?;
        let hash =
            session
                .host_key_hash(HashType::Sha256)
                .ok_or_else(|| FetchError::ProtocolError {
                    host: host.clone(),
                    why: "SSH: it shows no host key".to_owned(),
                })?;
        let host_key = format!("SHA256:{}", STANDARD_NO_PAD.encode(hash));
        Ok(Self {
            hangup,
            session,
            host_key,
        })
    }

    /// As OpenSSH shows it.
    pub(super) fn host_key(&self) -> &str {
        &self.host_key
    }

    /// Logs in, with one attempt: a few wrong ones lock an account.
    pub(super) async fn log_in(&self, credentials: &Credentials) -> Result<(), FetchError> {
        let (session, credentials) = (self.session.clone(), credentials.clone());
        let line = Arc::clone(&self.hangup.0);
        let logged_in = blocking(move || line.ask("", || log_in(&session, &credentials)));
        match finished(logged_in.await)?? {
            None => Ok(()),
            Some(offered) => Err(FetchError::NoPasswordLogin {
                host: self.hangup.0.host.clone(),
                offered,
            }),
        }
    }

    /// Reads the file, or finds that it is the known one. `now` tells how old it is.
    pub(super) async fn read(
        &self,
        address: &SftpAddress,
        known: Option<&Validators>,
        now: DateTime<Utc>,
        limit: u64,
        meter: &Arc<Meter>,
    ) -> Result<Outcome, FetchError> {
        let work = Reading {
            session: self.session.clone(),
            line: Arc::clone(&self.hangup.0),
            paths: address.paths.clone(),
            known: known.and_then(|known| known.size_and_mtime),
            now,
            limit,
            meter: Arc::clone(meter),
        };
        finished(blocking(move || work.run()).await)?
    }
}

fn finished<T>(done: Result<T, tokio::task::JoinError>) -> Result<T, FetchError> {
    done.map_err(|error| FetchError::Defect(format!("reading over SFTP: {error}")))
}

/// A connection for libssh2, and the same once more to hang up on.
fn blocking_pair(stream: TcpStream) -> std::io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let second = stream.try_clone()?;
    Ok((stream, second))
}

fn greet(stream: std::net::TcpStream, patience: Duration) -> Result<Session, ssh2::Error> {
    let mut session = Session::new()?;
    session.set_timeout(patience.as_millis().try_into().unwrap_or(u32::MAX));
    session.method_pref(MethodType::HostKey, HOST_KEYS)?;
    session.set_tcp_stream(stream);
    session.handshake()?;
    Ok(session)
}

/// `Some` lists the methods of a server that takes no passwords.
fn log_in(session: &Session, credentials: &Credentials) -> Result<Option<String>, ssh2::Error> {
    let (user, password) = (&credentials.username, &credentials.password);
    let methods = match session.auth_methods(user) {
        Ok(methods) => methods.to_owned(),
        // Nobody was asked for a password.
        Err(_) if session.authenticated() => return Ok(None),
        Err(error) => return Err(error),
    };
    let offers = |method| methods.split(',').any(|offered| offered == method);
    if offers("password") {
        session.userauth_password(user, password.expose_secret())?;
    } else if offers("keyboard-interactive") {
        let mut answer = Answer(Some(password));
        session.userauth_keyboard_interactive(user, &mut answer)?;
    } else {
        return Ok(Some(methods));
    }
    Ok(None)
}

/// Gives the password to the first question that hides what is typed, and nothing to any other.
struct Answer<'a>(Option<&'a SecretString>);

impl KeyboardInteractivePrompt for Answer<'_> {
    fn prompt<'a>(&mut self, _: &str, _: &str, prompts: &[Prompt<'a>]) -> Vec<String> {
        let answer = |prompt: &Prompt<'a>| {
            let password = if prompt.echo { None } else { self.0.take() };
            password.map_or_else(String::new, |password| password.expose_secret().to_owned())
        };
        prompts.iter().map(answer).collect()
    }
}

/// One reading of one file.
struct Reading {
    session: Session,
    line: Arc<Line>,
    paths: Vec<String>,
    known: Option<(u64, DateTime<Utc>)>,
    now: DateTime<Utc>,
    limit: u64,
    meter: Arc<Meter>,
}

impl Reading {
    fn run(&self) -> Result<Outcome, FetchError> {
        let sftp = self.line.ask("", || self.session.sftp())?;
        let mut missing = None;
        for path in &self.paths {
            match self.ask(path, || sftp.stat(Path::new(path))) {
                Ok(found) => return self.read(&sftp, path, &found),
                // A folder of the server's may be closed that the user's own has a name in common with.
                Err(error @ (FetchError::NotFound(_) | FetchError::Forbidden(_))) => {
                    missing.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(missing.unwrap_or_else(|| FetchError::NotFound(self.line.host.clone())))
    }

    fn read(
        &self,
        sftp: &ssh2::Sftp,
        path: &str,
        before: &FileStat,
    ) -> Result<Outcome, FetchError> {
        // Not every server says what sort of thing it is; then it is a folder if it can be opened as one.
        let is_file = match before.perm {
            Some(_) => before.is_file(),
            None => sftp.opendir(Path::new(path)).is_err(),
        };
        if !is_file {
            return Err(FetchError::NotAFile(self.shown(path)));
        }
        let mtime = modified(before);
        let present = before.size.zip(mtime);
        if self.known.is_some() && self.known == present {
            return Ok(Outcome::NotModified);
        }
        if let Some(wait) = mtime.and_then(|mtime| still_fresh(mtime, self.now)) {
            return Err(self.changed(Some(wait)));
        }
        let mut file = self.ask(path, || sftp.open(Path::new(path)))?;
        let mut content = Intake::new(self.limit, before.size, &self.meter)?;
        let mut piece = vec![0; READ_SIZE];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => content.push(&piece[..length])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut(&error)),
            }
        }
        // The open file, and what stands under its name by now.
        let after = [
            self.ask(path, || file.stat()),
            self.ask(path, || sftp.stat(Path::new(path))),
        ];
        for after in after {
            let after = after.map_err(|error| match error {
                FetchError::NotFound(_) => self.changed(None),
                other => other,
            })?;
            if (after.size, after.mtime) != (before.size, before.mtime) {
                return Err(self.changed(None));
            }
        }
        let validators = Validators {
            size_and_mtime: present,
            ..Validators::default()
        };
        content
            .finish(&self.line.host, validators)
            .map(Outcome::File)
    }

    fn ask<T>(
        &self,
        path: &str,
        question: impl FnOnce() -> Result<T, ssh2::Error>,
    ) -> Result<T, FetchError> {
        self.line.ask(&self.shown(path), question)
    }

    fn shown(&self, path: &str) -> String {
        format!("sftp://{}/{}", self.line.host, path.trim_start_matches('/'))
    }

    fn changed(&self, wait: Option<Duration>) -> FetchError {
        FetchError::ChangedWhileReading {
            host: self.line.host.clone(),
            wait,
        }
    }

    fn cut(&self, error: &std::io::Error) -> FetchError {
        if error.kind() == ErrorKind::TimedOut {
            return FetchError::TimedOut {
                host: self.line.host.clone(),
                what: "it stopped sending",
            };
        }
        FetchError::Incomplete {
            host: self.line.host.clone(),
        }
    }
}

fn modified(stat: &FileStat) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(stat.mtime?).ok()?, 0)
}

/// How long until a file that was just written may be trusted.
fn still_fresh(mtime: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    let age = now - mtime;
    if age >= SETTLED || age < -CLOCKS_DIFFER {
        return None;
    }
    // A second more: times of modification are whole seconds. Not longer than a file is to rest, whatever its clock says.
    (SETTLED - age.max(TimeDelta::zero()) + TimeDelta::seconds(1))
        .to_std()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_rests_ten_seconds_before_it_is_read() {
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let wait = |age| still_fresh(now - TimeDelta::seconds(age), now).map(|wait| wait.as_secs());
        assert_eq!(wait(10), None);
        assert_eq!(wait(9), Some(2));
        assert_eq!(wait(0), Some(11));
        // The server's clock is ahead of ours, and one that is set wrong says nothing.
        assert_eq!(wait(-30), Some(11));
        assert_eq!(wait(-61), None);
    }
}
