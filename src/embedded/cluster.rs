//! The data directory and the server process of a private Postgres. Does not handle locks between rosterd processes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};

use super::{DATABASE_USER, EmbeddedError, MAX_SOCKET_DIR_BYTES, POLL_INTERVAL, START_TIMEOUT};
use crate::model::digest::{hex, sha256};

/// The paths of a server and the user that runs it.
pub(super) struct Cluster {
    data_dir: PathBuf,
    pgdata: PathBuf,
    pub(super) socket_dir: PathBuf,
    bin: PathBuf,
    /// Set if this process runs as root.
    run_as: Option<User>,
}

impl Cluster {
    pub(super) fn new(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let pgdata = data_dir.join("postgres");
        let version = std::fs::read_to_string(pgdata.join("PG_VERSION")).ok();
        let bin =
            find_binaries(version.as_deref().map(str::trim)).ok_or(EmbeddedError::NoBinaries)?;
        let run_as = if Uid::effective().is_root() {
            let user = ["postgres", "nobody"]
                .into_iter()
                .find_map(|name| User::from_name(name).ok().flatten());
            Some(user.ok_or(EmbeddedError::NoUnprivilegedUser)?)
        } else {
            None
        };
        let socket_dir = if pgdata.as_os_str().len() <= MAX_SOCKET_DIR_BYTES {
            pgdata.clone()
        } else {
            let digest = sha256(pgdata.as_os_str().as_encoded_bytes());
            let name = hex(&digest[..8]);
            std::env::temp_dir().join(format!("rosterd-{name}"))
        };
        Ok(Self {
            data_dir: data_dir.to_owned(),
            pgdata,
            socket_dir,
            bin,
            run_as,
        })
    }

    fn io_error(&self, operation: &'static str) -> impl FnOnce(std::io::Error) -> EmbeddedError {
        let path = self.data_dir.clone();
        move |source| EmbeddedError::Io {
            path,
            operation,
            source,
        }
    }

    fn not_started(&self, reason: impl Into<String>) -> EmbeddedError {
        EmbeddedError::NotStarted {
            path: self.data_dir.clone(),
            reason: reason.into(),
        }
    }

    /// Whether a server is running and accepts connections.
    pub(super) fn is_ready(&self) -> bool {
        let status =
            std::fs::read_to_string(self.pgdata.join("postmaster.pid")).unwrap_or_default();
        status
            .lines()
            .nth(7)
            .is_some_and(|line| line.trim() == "ready")
            && UnixStream::connect(self.socket_dir.join(".s.PGSQL.5432")).is_ok()
    }

    /// Creates a directory that only the server's user can enter.
    fn create_private_dir(&self, path: &Path) -> std::io::Result<()> {
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let metadata = std::fs::symlink_metadata(path)?;
        match &self.run_as {
            Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
            None if metadata.is_dir() && metadata.uid() == Uid::effective().as_raw() => Ok(()),
            None => Err(std::io::Error::other(format!(
                "`{}` is not a directory of the current user",
                path.display()
            ))),
        }
    }

    /// Prepares a Postgres program with `directory` as its data directory, to run as a user that Postgres accepts.
    fn server_command(&self, program: &str, directory: &Path) -> Result<Command, EmbeddedError> {
        // The directory is passed as an open file and used as /proc/self/fd/9, so the user needs no access to its parents.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec 9<&0 </dev/null; exec \"$@\"",
            "sh",
            "setpriv",
            "--pdeathsig",
            "INT",
        ]);
        if let Some(user) = &self.run_as {
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid))
                .arg("--clear-groups");
        }
        command
            .arg("--")
            .arg(self.bin.join(program))
            .args(["-D", "/proc/self/fd/9"]);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data_dir.join("postgres.log"))
            .map_err(self.io_error("open postgres.log"))?;
        let log_clone = log
            .try_clone()
            .map_err(self.io_error("open postgres.log"))?;
        let directory = File::open(directory).map_err(self.io_error("open the data directory"))?;
        command
            .current_dir("/")
            .stdin(directory)
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(log_clone));
        // In its own process group, Ctrl-C in a terminal does not reach the server. rosterd stops it last.
        command
            .process_group(0)
            .env_remove("PGDATA")
            .env_remove("PGPORT")
            .env_remove("PGOPTIONS");
        Ok(command)
    }

    /// Creates the data directory if it does not exist. It is renamed only when initdb is done, so an incomplete one is never
    /// used.
    pub(super) fn init(&self) -> Result<(), EmbeddedError> {
        if self.pgdata.join("PG_VERSION").exists() {
            return Ok(());
        }
        let staging_dir = self.data_dir.join("postgres.new");
        if staging_dir.exists() {
            std::fs::remove_dir_all(&staging_dir)
                .map_err(self.io_error("remove the files of an interrupted start"))?;
        }
        self.create_private_dir(&staging_dir)
            .map_err(self.io_error("create the data directory"))?;
        let mut initdb = self.server_command("initdb", &staging_dir)?;
        initdb.args([
            "-U",
            DATABASE_USER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        ]);
        let status = initdb
            .status()
            .map_err(self.io_error("run initdb (are `sh` and `setpriv` installed?)"))?;
        if !status.success() {
            return Err(self.not_started(format!("initdb failed ({status})")));
        }
        std::fs::rename(&staging_dir, &self.pgdata)
            .map_err(self.io_error("rename the data directory"))
    }

    /// Starts the server from a thread of its own that waits for it to end: the kernel ends the server when the thread that
    /// started it ends. To stop the server, send on the returned channel, then join the thread.
    pub(super) fn start(
        &self,
        settings: &[&str],
    ) -> Result<(mpsc::Sender<()>, JoinHandle<()>), EmbeddedError> {
        self.wait_for_previous_server()?;
        if self.socket_dir != self.pgdata {
            self.create_private_dir(&self.socket_dir)
                .map_err(self.io_error("create the directory of the socket"))?;
        }
        let mut command = self.server_command("postgres", &self.pgdata)?;
        let sockets = if self.socket_dir == self.pgdata {
            "/proc/self/fd/9".into()
        } else {
            self.socket_dir.clone()
        };
        command
            .arg("-c")
            .arg(format!("unix_socket_directories={}", sockets.display()));
        command.args(["-c", "listen_addresses=", "-c", "port=5432"]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let (stop, stop_rx) = mpsc::channel::<()>();
        let (started, outcome) = mpsc::channel();
        let supervisor = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || match command.spawn() {
                Ok(child) => {
                    let _ = started.send(Ok(()));
                    supervise(child, &stop_rx);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            });
        let supervisor = supervisor.map_err(self.io_error("start a thread"))?;
        if let Ok(Err(error)) = outcome.recv() {
            return Err(self
                .io_error("run postgres (are `sh` and `setpriv` installed?)")(
                error,
            ));
        }
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.is_ready() {
            if supervisor.is_finished() {
                return Err(self.not_started("the server exited during startup"));
            }
            if Instant::now() > deadline {
                return Err(self.not_started("the server was not ready within 60 s"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok((stop, supervisor))
    }

    /// Waits for the server of a killed process, which may still be shutting down.
    fn wait_for_previous_server(&self) -> Result<(), EmbeddedError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while let Some(pid) = self.running_pid() {
            if Instant::now() > deadline {
                return Err(self.not_started(format!(
                    "the previous server (PID {pid}) has not ended within 60 s"
                )));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn running_pid(&self) -> Option<i32> {
        let pid_file = std::fs::read_to_string(self.pgdata.join("postmaster.pid")).ok()?;
        let pid = pid_file.lines().next()?.trim().parse().ok()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        matches!(name.trim(), "postgres" | "postmaster").then_some(pid)
    }
}

/// Waits for a message on `stop_rx`, then shuts the server down with SIGINT.
fn supervise(mut child: Child, stop_rx: &mpsc::Receiver<()>) {
    while let Err(mpsc::RecvTimeoutError::Timeout) =
        stop_rx.recv_timeout(Duration::from_millis(500))
    {
        if let Ok(Some(status)) = child.try_wait() {
            tracing::error!(%status, "the private Postgres has ended unexpectedly; see postgres.log in the data directory");
            return;
        }
    }
    if let Ok(pid) = i32::try_from(child.id())
        && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGINT)
    {
        tracing::warn!(%error, "cannot send SIGINT to the private Postgres");
    }
    if let Err(error) = child.wait() {
        tracing::warn!(%error, "cannot wait for the private Postgres to end");
    }
}

/// Returns the directory with `initdb` and `postgres` of this major version, or of the newest if `version` is `None`.
fn find_binaries(version: Option<&str>) -> Option<PathBuf> {
    let has_binaries = |directory: &Path| {
        ["initdb", "postgres"]
            .iter()
            .all(|program| directory.join(program).is_file())
    };
    let mut candidates: Vec<(u32, PathBuf)> = Vec::new();
    for root in ["/usr/lib/postgresql", "/opt/postgresql"] {
        for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
            if let Ok(major) = entry.file_name().to_string_lossy().parse() {
                candidates.push((major, entry.path().join("bin")));
            }
        }
    }
    candidates.retain(|(_, directory)| has_binaries(directory));
    candidates.sort();
    if let Some(version) = version.and_then(|version| version.parse::<u32>().ok()) {
        candidates.retain(|(major, _)| *major == version);
    }
    candidates
        .pop()
        .map(|(_, directory)| directory)
        .or_else(|| {
            let common_directories = ["/usr/local/bin", "/usr/bin", "/usr/local/pgsql/bin"];
            common_directories
                .iter()
                .map(PathBuf::from)
                .find(|directory| has_binaries(directory))
        })
}
