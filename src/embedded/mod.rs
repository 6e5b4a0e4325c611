//! A private Postgres server, run from the machine's binaries when no database is configured. Does not depend on the schema.
//!
//! A process that finds no running server starts one and stops it at the end. Commands join the server of a running daemon.
//! The server is a child process that dies with its parent, even after `kill -9`. Postgres refuses to run as root, so root
//! starts it as `postgres` (or `nobody`) and passes the data directory as an open file. The data directory can therefore be
//! in a directory that only root can enter.

mod cluster;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::cluster::Cluster;

/// Interval for polling locks and other processes, which cannot notify this process.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum length of the socket directory's path in bytes: the limit for Unix sockets minus the file name.
const MAX_SOCKET_DIR_BYTES: usize = 88;
const DATABASE_USER: &str = "rosterd";

/// Whether other processes can join the server that this process starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The daemon: commands join its server.
    Daemon,
    /// A short-lived command: others wait until it has ended.
    Command,
}

/// Why the private Postgres is not available.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Postgres is not installed.
    #[error(
        "no Postgres binaries found on this machine; install the Debian package `postgresql`, or set DATABASE_URL"
    )]
    NoBinaries,
    /// The user is root, and neither `postgres` nor `nobody` exists.
    #[error(
        "Postgres refuses to run as root, and there is no user `postgres` or `nobody` to run it as; run rosterd as another user, or set DATABASE_URL"
    )]
    NoUnprivilegedUser,
    /// An operation on a file or process failed.
    #[error("private Postgres in `{path}`: cannot {operation}: {source}")]
    Io {
        /// The data directory.
        path: PathBuf,
        /// The failed operation, as an infinitive phrase.
        operation: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The server did not start.
    #[error("the private Postgres in `{path}` did not start: {reason}; see `{}`", .path.join("postgres.log").display())]
    NotStarted {
        /// The data directory.
        path: PathBuf,
        /// What happened instead.
        reason: String,
    },
}

/// A private Postgres that this process has started or joined. If it was started, it ends with
/// [`EmbeddedPostgres::stop`] or with the process.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    data_dir: PathBuf,
    socket_dir: PathBuf,
    server: Option<Server>,
    /// Shared lock. The owner of the server waits until it is released before it stops the server.
    _users_lock: Option<File>,
}

#[derive(Debug)]
struct Server {
    stop: mpsc::Sender<()>,
    supervisor: JoinHandle<()>,
    _owner_lock: File,
}

impl EmbeddedPostgres {
    /// Starts the server in `data_dir`, or joins the one that a daemon runs there. Waits while another command uses it,
    /// then blocks for up to a minute. `settings` are additional server settings (`name=value`).
    ///
    /// # Errors
    /// [`EmbeddedError`] if the server cannot be started.
    pub fn start(data_dir: &Path, role: Role, settings: &[&str]) -> Result<Self, EmbeddedError> {
        let io_error = |operation| {
            move |source| EmbeddedError::Io {
                path: data_dir.to_owned(),
                operation,
                source,
            }
        };
        std::fs::create_dir_all(data_dir).map_err(io_error("create the directory"))?;
        let data_dir = &data_dir
            .canonicalize()
            .map_err(io_error("resolve the path"))?;
        let mut owner_lock =
            lock_file(&data_dir.join("owner.lock")).map_err(io_error("open owner.lock"))?;
        let cluster = Cluster::new(data_dir)?;
        let mut logged = false;
        loop {
            match owner_lock.try_lock() {
                Ok(()) => break,
                Err(std::fs::TryLockError::Error(source)) => {
                    return Err(io_error("lock owner.lock")(source));
                }
                Err(std::fs::TryLockError::WouldBlock) => {}
            }
            let mut owner_role = String::new();
            owner_lock
                .rewind()
                .and_then(|()| owner_lock.read_to_string(&mut owner_role))
                .map_err(io_error("read owner.lock"))?;
            if owner_role == "daemon" && cluster.is_ready() {
                let users =
                    lock_file(&data_dir.join("users.lock")).map_err(io_error("open users.lock"))?;
                users.lock_shared().map_err(io_error("lock users.lock"))?;
                let socket_dir = cluster.socket_dir.clone();
                return Ok(Self {
                    data_dir: data_dir.clone(),
                    socket_dir,
                    server: None,
                    _users_lock: Some(users),
                });
            }
            if !logged {
                tracing::info!(
                    "waiting for another rosterd command to stop using the private Postgres"
                );
                logged = true;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        let role_name: &[u8] = if role == Role::Daemon {
            b"daemon"
        } else {
            b"command"
        };
        owner_lock
            .set_len(0)
            .and_then(|()| owner_lock.rewind())
            .and_then(|()| owner_lock.write_all(role_name))
            .map_err(io_error("write owner.lock"))?;
        cluster.init()?;
        let (stop, supervisor) = cluster.start(settings)?;
        let server = Some(Server {
            stop,
            supervisor,
            _owner_lock: owner_lock,
        });
        Ok(Self {
            data_dir: data_dir.clone(),
            socket_dir: cluster.socket_dir,
            server,
            _users_lock: None,
        })
    }

    /// Canonical path of the data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether this process started the server.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.server.is_some()
    }

    /// Connection URL of a database in this server.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let host: String =
            url::form_urlencoded::byte_serialize(self.socket_dir.as_os_str().as_encoded_bytes())
                .collect();
        format!(
            "postgres://{DATABASE_USER}@localhost/{database}?host={}",
            host.replace('+', "%20")
        )
    }

    /// Shell command that opens a database in this server with `psql`.
    #[must_use]
    pub fn psql_command(&self, database: &str) -> String {
        format!(
            "psql -h {} -U {DATABASE_USER} {database}",
            self.socket_dir.display()
        )
    }

    /// Stops the server if this process started it. Waits up to 10 s for processes that joined to end.
    pub fn stop(mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        if let Ok(users) = lock_file(&self.data_dir.join("users.lock")) {
            let deadline = Instant::now() + Duration::from_secs(10);
            while users.try_lock().is_err() && Instant::now() < deadline {
                std::thread::sleep(POLL_INTERVAL);
            }
        }
        // Sending fails only if the supervisor thread has ended, and then the server has ended, too.
        let _ = server.stop.send(());
        let _ = server.supervisor.join();
    }
}

fn lock_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}
