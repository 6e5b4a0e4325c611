//! A private Postgres from the machine's binaries, for whoever has not set up one.
//!
//! Who finds no server running starts one and stops it at the end; commands that come while a daemon owns it join. The
//! server is a child that dies with its starter, even by `kill -9`. Postgres refuses to run as root, so root starts it
//! as `postgres` (or `nobody`), and hands over the data directory as an open file: so it may lie below folders that
//! only root may enter.

mod cluster;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::cluster::Cluster;

/// Neither file locks nor `pg_isready` call back: other processes are looked at so often.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest path of a Unix socket, bytes, less the file's name.
const MAX_SOCKET_DIR_BYTES: usize = 88;
const DATABASE_USER: &str = "rosterd";

/// Whether others may join the server that this process starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The daemon: others join.
    Daemon,
    /// A command that is soon over: others wait.
    Command,
}

/// Why there is no private Postgres.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Not installed.
    #[error(
        "no Postgres programs were found on this machine; install the Debian package `postgresql`, or set DATABASE_URL"
    )]
    NoBinaries,
    /// Neither `postgres` nor `nobody`.
    #[error(
        "Postgres does not run as root, and there is neither a user `postgres` nor `nobody` to run it as; set DATABASE_URL"
    )]
    NoUnprivilegedUser,
    /// A file or process could not be had.
    #[error("private Postgres under `{path}`: {operation}: {source}")]
    Io {
        /// The data directory.
        path: PathBuf,
        /// What was attempted.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Did not start.
    #[error("the private Postgres under `{path}` did not start: {reason}; see `{}`", .path.join("postgres.log").display())]
    NotStarted {
        /// The data directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A private Postgres that this process has started or joined; ends with [`Embedded::stop`] or the process.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    data_dir: PathBuf,
    socket_dir: PathBuf,
    server: Option<Server>,
    /// Held as long as this process uses the server, so that its owner waits.
    _users_lock: Option<File>,
}

#[derive(Debug)]
struct Server {
    stop: mpsc::Sender<()>,
    supervisor: JoinHandle<()>,
    _owner_lock: File,
}

impl EmbeddedPostgres {
    /// Starts the server under `data_dir`, or joins the one that a daemon runs there. Blocks for up to a minute.
    ///
    /// # Errors
    /// [`EmbeddedError`] says what is missing.
    pub fn start(data_dir: &Path, role: Role, settings: &[&str]) -> Result<Self, EmbeddedError> {
        let io_error = |operation| {
            move |source| EmbeddedError::Io {
                path: data_dir.to_owned(),
                operation,
                source,
            }
        };
        std::fs::create_dir_all(data_dir).map_err(io_error("create the folder"))?;
        let data_dir = &data_dir
            .canonicalize()
            .map_err(io_error("find the folder"))?;
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
                    "waiting for another rosterd command that uses the private Postgres"
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

    /// Where its files are.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether this process started it.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.server.is_some()
    }

    /// URL of one of its databases.
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

    /// How a person looks into it.
    #[must_use]
    pub fn psql_command(&self, database: &str) -> String {
        format!(
            "psql -h {} -U {DATABASE_USER} {database}",
            self.socket_dir.display()
        )
    }

    /// Stops the server, if this process started it, once those who joined have ended (at most 10 s).
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
        // The keeper has gone only if the server has.
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
