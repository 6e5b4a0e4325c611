//! Files on SFTP servers. libssh2 blocks, so its calls run on separate threads. Dropping [`SftpClient`] closes the connection, which
//! ends them.

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
use super::error::FetchErrorKind;
use super::error_detail::{ConnectFault, ProtocolFault, TimeoutReason};
use super::network::{NetworkPolicy, connect, connection_lost};
use super::throughput::TransferMonitor;
use super::{Credentials, FetchStage, LastStat, Limits, Outcome, Validators};
use crate::address::SftpAddress;
use crate::model::host_key::{HostKeyKind, OfferedHostKey};
use crate::telemetry::run_blocking;

/// Signature algorithms for RSA keys. SHA-1 comes last.
const RSA_SIGNATURE_ALGORITHMS: &str = "rsa-sha2-512,rsa-sha2-256,ssh-rsa";
/// Maximum wait for the message that OpenSSH sends after a log-in.
const POST_LOGIN_WAIT: Duration = Duration::from_millis(100);

/// A connection to an SFTP server after the key exchange.
pub(super) struct SftpClient {
    // Must be dropped first: dropping an open session blocks while libssh2 closes it with the server.
    shutdown_guard: ShutdownGuard,
    session: Session,
    host_key: OfferedHostKey,
}

impl SftpClient {
    /// Connects to an address that the policy allows and exchanges keys. The server presents a host key of the first type in `kinds`
    /// that it has.
    pub(super) async fn connect(
        address: &SftpAddress,
        policy: &NetworkPolicy,
        limits: Limits,
        kinds: &[HostKeyKind],
        monitor: &TransferMonitor,
    ) -> Result<Self, FetchErrorKind> {
        let host = address.endpoint();
        monitor.enter(FetchStage::Resolve);
        let addresses = policy.resolve(&address.host, address.port).await?;
        monitor.enter(FetchStage::Connect);
        let mut stream = connect(&addresses, &host, limits.connect_timeout).await?;
        monitor.enter(FetchStage::HostKey);
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
        // The timeout of libssh2 does not apply while the server keeps sending lines before the banner.
        let session_result = tokio::time::timeout(limits.idle_timeout, start_session);
        let timed_out = || FetchErrorKind::TimedOut {
            host: host.clone(),
            reason: TimeoutReason::SshHandshake(limits.idle_timeout),
        };
        let session_result = session_result.await.map_err(|_| timed_out())?;
        let session = join_result(session_result)?.map_err(|error| match error.code() {
            ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => timed_out(),
            // An SSH server that closes the connection in the handshake may have too many connections, so this is worth a retry.
            _ if banner == BannerState::Received && shutdown_guard.0.is_closed() => {
                FetchErrorKind::ConnectFailed {
                    host: host.clone(),
                    reason: ConnectFault::ClosedDuringSshHandshake(error.message().to_owned()),
                }
            }
            _ => FetchErrorKind::ProtocolError {
                host: host.clone(),
                reason: ProtocolFault::Ssh(error.message().to_owned()),
            },
        })?;
        let host_key = offered_key(&session).ok_or_else(|| FetchErrorKind::ProtocolError {
            host: host.clone(),
            reason: ProtocolFault::NoHostKey,
        })?;
        Ok(Self {
            shutdown_guard,
            session,
            host_key,
        })
    }

    /// The host key that the server presented.
    pub(super) fn host_key(&self) -> &OfferedHostKey {
        &self.host_key
    }

    /// Logs in, with one attempt: a few wrong passwords lock an account on some servers.
    pub(super) async fn log_in(&self, credentials: &Credentials) -> Result<(), FetchErrorKind> {
        let (session, credentials) = (self.session.clone(), credentials.clone());
        let connection = Arc::clone(&self.shutdown_guard.0);
        let logged_in = run_blocking(move || log_in(&session, &connection, &credentials));
        match join_result(logged_in.await)?? {
            None => self.wait_for_post_login_message().await,
            Some(offered) => Err(FetchErrorKind::PasswordLoginUnavailable {
                host: self.shutdown_guard.0.host.clone(),
                offered,
            }),
        }
    }

    /// Waits for the list of host keys that OpenSSH sends after a log-in. OpenSSH uses Nagle's algorithm: it sends the list once its
    /// previous packet is acknowledged, and delays its reply to the next request until the list is acknowledged, too. Delayed
    /// acknowledgments would cost 40 ms each. So the first one is sent immediately (`TCP_QUICKACK`), and the next request, sent after
    /// the list has arrived, carries the second one.
    async fn wait_for_post_login_message(&self) -> Result<(), FetchErrorKind> {
        if !self
            .session
            .banner()
            .is_some_and(|banner| banner.contains("OpenSSH"))
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
        // Old versions send no list. A closed connection is detected by the next request.
        let _ = tokio::time::timeout(POST_LOGIN_WAIT, stream.readable()).await;
        Ok(())
    }

    /// Reads the file unless it is unchanged. Its age is measured by `now`.
    pub(super) async fn read(
        &self,
        address: &SftpAddress,
        previous: Option<&Validators>,
        last_stat: &LastStat,
        now: DateTime<Utc>,
        limit: u64,
        monitor: &Arc<TransferMonitor>,
    ) -> Result<Outcome, FetchErrorKind> {
        let transfer = Transfer {
            session: self.session.clone(),
            connection: Arc::clone(&self.shutdown_guard.0),
            paths: address.paths.clone(),
            previous: previous.and_then(|previous| previous.size_and_mtime),
            last_stat: last_stat.clone(),
            now,
            limit,
            monitor: Arc::clone(monitor),
        };
        join_result(run_blocking(move || transfer.run()).await)?
    }
}

fn join_result<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, FetchErrorKind> {
    result.map_err(|error| FetchErrorKind::Internal(format!("SFTP: {error}")))
}

/// Returns the connection for libssh2, and a second handle to close it.
fn blocking_pair(stream: TcpStream) -> std::io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    // Requests are small and must not wait for the acknowledgment of the previous one.
    stream.set_nodelay(true)?;
    let shutdown_stream = stream.try_clone()?;
    Ok((stream, shutdown_stream))
}

/// The order is explicit: with the default order, a new version of libssh2 could request another key, and the pinned key would
/// seem changed.
fn algorithm_list(kinds: &[HostKeyKind]) -> String {
    let algorithms = kinds.iter().map(|kind| match kind {
        HostKeyKind::Rsa => RSA_SIGNATURE_ALGORITHMS,
        other => other.as_str(),
    });
    algorithms.collect::<Vec<_>>().join(",")
}

fn offered_key(session: &Session) -> Option<OfferedHostKey> {
    let hash = session.host_key_hash(HashType::Sha256)?;
    let kind = match session.host_key()?.1 {
        HostKeyType::Ed25519 => HostKeyKind::Ed25519,
        HostKeyType::Ecdsa256 => HostKeyKind::Ecdsa256,
        HostKeyType::Ecdsa384 => HostKeyKind::Ecdsa384,
        HostKeyType::Ecdsa521 => HostKeyKind::Ecdsa521,
        HostKeyType::Rsa => HostKeyKind::Rsa,
        // Never requested.
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

/// Logs in with the password. If the server does not accept passwords, returns `Some` with the methods that it offers.
fn log_in(
    session: &Session,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<Option<String>, FetchErrorKind> {
    let (user, password) = (&credentials.username, &credentials.password);
    let methods = connection.call("", || {
        let methods = session.auth_methods(user).map(str::to_owned);
        // Asking for the methods is itself an authentication attempt (`none`), which a server may accept.
        if session.authenticated() {
            return Ok(None);
        }
        methods.map(Some)
    });
    let Some(methods) = methods? else {
        // Logged in without a password.
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

/// Answers the first prompt that hides its input with the password, and all others with an empty text.
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
