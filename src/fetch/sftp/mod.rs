//! Files on SFTP servers. libssh2 blocks, so it works on threads of its own; whoever stops waiting hangs up on them.

mod banner;
mod connection;
mod transfer;

use std::os::linux::net::TcpStreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use ssh2::{
    ErrorCode, HashType, HostKeyType, KeyboardInteractivePrompt, MethodType, Prompt, Session,
};
use tokio::net::TcpStream;

use self::banner::BannerState;
use self::connection::{Connection, SOCKET_TIMEOUT, ShutdownGuard, TIMEOUT};
use self::transfer::Transfer;
use super::network::{NetworkPolicy, connect, connection_lost};
use super::throughput::TransferMonitor;
use super::{Credentials, FetchError, LastStat, Limits, Outcome, Validators};
use crate::address::SftpAddress;
use crate::model::host_key::{HostKeyKind, OfferedHostKey};
use crate::telemetry::run_blocking;

/// What an RSA key signs with; SHA-1 comes last.
const RSA_SIGNATURE_ALGORITHMS: &str = "rsa-sha2-512,rsa-sha2-256,ssh-rsa";
/// How long OpenSSH may take to say what it has to say after a log-in.
const POST_LOGIN_WAIT: Duration = Duration::from_millis(100);

/// A server with which keys were exchanged.
pub(super) struct SftpClient {
    // Dropped first: then the session has nobody left to take leave of, which would block.
    shutdown_guard: ShutdownGuard,
    session: Session,
    host_key: OfferedHostKey,
}

impl SftpClient {
    /// Connects to an address that the policy allows, and exchanges keys: the host key is of the first of `kinds` that the
    /// server has.
    pub(super) async fn connect(
        address: &SftpAddress,
        policy: &NetworkPolicy,
        limits: Limits,
        kinds: &[HostKeyKind],
    ) -> Result<Self, FetchError> {
        let host = address.endpoint();
        let addresses = policy.resolve(&address.host, address.port).await?;
        let mut stream = connect(&addresses, &host, limits.connect_timeout).await?;
        let banner = banner::wait_for_banner(&mut stream, &host, limits.idle_timeout).await?;
        let (stream, shutdown_stream) =
            blocking_pair(stream).map_err(|error| connection_lost(&host, &error))?;
        let shutdown_guard = ShutdownGuard(Arc::new(Connection {
            stream: shutdown_stream,
            host: host.clone(),
            timeout: limits.idle_timeout,
        }));
        let kinds = algorithm_list(kinds);
        let start_session =
            run_blocking(move || start_session(stream, limits.idle_timeout, &kinds));
        // libssh2 listens to a greeting for as long as it goes on.
        let session_result = tokio::time::timeout(limits.idle_timeout, start_session);
        let session_result = session_result.await.map_err(|_| FetchError::TimedOut {
            host: host.clone(),
            reason: "it does not finish its greeting",
        })?;
        let session = join_result(session_result)?.map_err(|error| match error.code() {
            ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => FetchError::TimedOut {
                host: host.clone(),
                reason: "it does not finish its greeting",
            },
            // Whoever speaks and hangs up in the middle may have too many guests.
            _ if banner == BannerState::Received && shutdown_guard.0.is_closed() => {
                FetchError::ConnectFailed {
                    host: host.clone(),
                    reason: format!("SSH: {}", error.message()),
                }
            }
            _ => FetchError::ProtocolError {
                host: host.clone(),
                reason: format!("SSH: {}", error.message()),
            },
        })?;
        let host_key = shown_key(&session).ok_or_else(|| FetchError::ProtocolError {
            host: host.clone(),
            reason: "SSH: it shows no host key".to_owned(),
        })?;
        Ok(Self {
            shutdown_guard,
            session,
            host_key,
        })
    }

    /// By which it is known again.
    pub(super) fn host_key(&self) -> &OfferedHostKey {
        &self.host_key
    }

    /// Logs in, with one attempt: a few wrong ones lock an account.
    pub(super) async fn log_in(&self, credentials: &Credentials) -> Result<(), FetchError> {
        let (session, credentials) = (self.session.clone(), credentials.clone());
        let connection = Arc::clone(&self.shutdown_guard.0);
        let logged_in = run_blocking(move || log_in(&session, &connection, &credentials));
        match join_result(logged_in.await)?? {
            None => self.wait_for_post_login_message().await,
            Some(offered) => Err(FetchError::PasswordLoginUnavailable {
                host: self.shutdown_guard.0.host.clone(),
                offered,
            }),
        }
    }

    /// OpenSSH lists its host keys after a log-in, once that is acknowledged, and has an answer to a request that crosses
    /// them wait until they are, too (Nagle's algorithm). Left to themselves, acknowledgements take 40 ms each: the first one
    /// is sent at once, and the next request comes after the keys and acknowledges them.
    async fn wait_for_post_login_message(&self) -> Result<(), FetchError> {
        if !self
            .session
            .banner()
            .is_some_and(|it| it.contains("OpenSSH"))
        {
            return Ok(());
        }
        let connection = &self.shutdown_guard.0;
        let stream = connection.stream.try_clone().and_then(|stream| {
            stream.set_quickack(true)?;
            stream.set_nonblocking(true)?;
            TcpStream::from_std(stream)
        });
        let stream = stream.map_err(|error| connection_lost(&connection.host, &error))?;
        // An old one has nothing to say, and one that hung up is noticed by the next request.
        let _ = tokio::time::timeout(POST_LOGIN_WAIT, stream.readable()).await;
        Ok(())
    }

    /// Reads the file, or finds that it is the known one. `now` tells how old it is.
    pub(super) async fn read(
        &self,
        address: &SftpAddress,
        previous: Option<&Validators>,
        last_stat: &LastStat,
        now: DateTime<Utc>,
        limit: u64,
        monitor: &Arc<TransferMonitor>,
    ) -> Result<Outcome, FetchError> {
        let work = Transfer {
            session: self.session.clone(),
            connection: Arc::clone(&self.shutdown_guard.0),
            paths: address.paths.clone(),
            previous: previous.and_then(|previous| previous.size_and_mtime),
            last_stat: last_stat.clone(),
            now,
            limit,
            monitor: Arc::clone(monitor),
        };
        join_result(run_blocking(move || work.run()).await)?
    }
}

fn join_result<T>(done: Result<T, tokio::task::JoinError>) -> Result<T, FetchError> {
    done.map_err(|error| FetchError::Internal(format!("reading over SFTP: {error}")))
}

/// A connection for libssh2, and the same once more to hang up on.
fn blocking_pair(stream: TcpStream) -> std::io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    // Requests are small and follow one another, and none is to wait for the last one's acknowledgement.
    stream.set_nodelay(true)?;
    let shutdown_stream = stream.try_clone()?;
    Ok((stream, shutdown_stream))
}

/// In an order of ours: were it left to the library, a new version could ask for another key, and a pinned one look changed.
fn algorithm_list(kinds: &[HostKeyKind]) -> String {
    let algorithm_list = kinds.iter().map(|kind| match kind {
        HostKeyKind::Rsa => RSA_SIGNATURE_ALGORITHMS,
        other => other.as_str(),
    });
    algorithm_list.collect::<Vec<_>>().join(",")
}

fn shown_key(session: &Session) -> Option<OfferedHostKey> {
    let hash = session.host_key_hash(HashType::Sha256)?;
    let kind = match session.host_key()?.1 {
        HostKeyType::Ed25519 => HostKeyKind::Ed25519,
        HostKeyType::Ecdsa256 => HostKeyKind::Ecdsa256,
        HostKeyType::Ecdsa384 => HostKeyKind::Ecdsa384,
        HostKeyType::Ecdsa521 => HostKeyKind::Ecdsa521,
        HostKeyType::Rsa => HostKeyKind::Rsa,
        // Never asked for.
        HostKeyType::Dss | HostKeyType::Unknown => return None,
    };
    Some(OfferedHostKey {
        fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(hash)),
        kind,
    })
}

fn start_session(
    stream: std::net::TcpStream,
    timeout: Duration,
    host_keys: &str,
) -> Result<Session, ssh2::Error> {
    let mut session = Session::new()?;
    session.set_timeout(timeout.as_millis().try_into().unwrap_or(u32::MAX));
    session.method_pref(MethodType::HostKey, host_keys)?;
    session.set_tcp_stream(stream);
    session.handshake()?;
    Ok(session)
}

/// `Some` lists the methods of a server that takes no passwords.
fn log_in(
    session: &Session,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Option<String>, FetchError> {
    let (user, password) = (&credentials.username, &credentials.password);
    let methods = connection.call("", || {
        let methods = session.auth_methods(user).map(str::to_owned);
        // Asked what it offers, a server may let everybody in.
        if session.authenticated() {
            return Ok(None);
        }
        methods.map(Some)
    });
    let Some(methods) = methods? else {
        // Nobody was asked for a password.
        return Ok(None);
    };
    let offers = |method| methods.split(',').any(|offered| offered == method);
    if offers("password") {
        let login_result = connection.call("", || {
            session.userauth_password(user, password.expose_secret())
        });
        login_result.map_err(Connection::after_password_sent)?;
    } else if offers("keyboard-interactive") {
        let mut answer = PasswordPrompt(Some(password));
        let started = Instant::now();
        let interactive_result = session.userauth_keyboard_interactive(user, &mut answer);
        let password_sent = answer.0.is_none();
        interactive_result.map_err(|error| {
            let error = connection.classify_interactive_error(started.elapsed(), &error);
            if password_sent {
                Connection::after_password_sent(error)
            } else {
                error
            }
        })?;
    } else {
        return Ok(Some(methods));
    }
    Ok(None)
}

/// Gives the password to the first question that hides what is typed, and nothing to any other.
struct PasswordPrompt<'a>(Option<&'a SecretString>);

impl KeyboardInteractivePrompt for PasswordPrompt<'_> {
    fn prompt<'a>(&mut self, _: &str, _: &str, prompts: &[Prompt<'a>]) -> Vec<String> {
        let answer = |prompt: &Prompt<'a>| {
            let password = if prompt.echo { None } else { self.0.take() };
            password.map_or_else(String::new, |password| password.expose_secret().to_owned())
        };
        prompts.iter().map(answer).collect()
    }
}
