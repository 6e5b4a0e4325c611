//! A Postgres with fsync on, and its CPU time and WAL volume.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rosterd::embedded::{EmbeddedPostgres, Role};

pub struct Server {
    embedded: EmbeddedPostgres,
    postmaster: String,
    /// TCP port for programs that cannot connect to a Unix socket.
    port: u16,
}

impl Server {
    pub fn start(folder: &Path) -> Self {
        // Default settings, except for enough WAL space to avoid checkpoints during a run.
        let settings = ["max_wal_size=8GB", "checkpoint_timeout=1h"];
        let data_dir = folder.join("db");
        let embedded = EmbeddedPostgres::start(&data_dir, Role::Command, &settings).unwrap();
        let pid_file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).unwrap();
        Self {
            embedded,
            postmaster: pid_file.lines().next().unwrap().trim().to_owned(),
            port: forward(data_dir.join("postgres/.s.PGSQL.5432")),
        }
    }

    pub fn tcp_url(&self, database: &str) -> String {
        format!(
            "postgres://rosterd@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    pub fn url(&self, database: &str) -> String {
        self.embedded.url(database)
    }

    /// Runs psql and returns its output.
    pub fn psql(&self, database: &str, arguments: &[&str]) -> String {
        let output = Command::new("psql")
            .args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1"])
            .args(arguments)
            .arg(self.url(database))
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.psql(database, &["-c", sql])
    }

    /// Creates the database, or replaces it, and runs the schema files.
    pub fn create(&self, database: &str, schema: &[PathBuf]) {
        self.sql(
            "postgres",
            &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"),
        );
        self.sql("postgres", &format!("CREATE DATABASE {database}"));
        for file in schema {
            self.psql(database, &["-f", file.to_str().unwrap()]);
        }
    }

    /// Writes pending changes to disk, to keep their cost out of the next run.
    pub fn checkpoint(&self) {
        self.sql("postgres", "CHECKPOINT");
    }

    pub fn wal_bytes(&self) -> f64 {
        let bytes = self.sql(
            "postgres",
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')",
        );
        bytes.parse().unwrap()
    }

    /// CPU time of all server processes so far, including those that have ended.
    pub fn cpu_ms(&self) -> f64 {
        let ended_ticks = || ticks_of(&self.postmaster, &[13, 14, 15, 16]);
        let mut ticks;
        // A process that ends between the two readings is missing from both: repeat until none has ended.
        loop {
            let ended = ended_ticks();
            ticks = ended;
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let pid = entry.file_name().to_string_lossy().into_owned();
                if stat_of(&pid).is_some_and(|stat| stat.get(3) == Some(&self.postmaster)) {
                    ticks += ticks_of(&pid, &[13, 14]);
                }
            }
            if ended.to_bits() == ended_ticks().to_bits() {
                break;
            }
        }
        // Linux reports CPU time to user space in hundredths of a second.
        ticks * 10.0
    }

    pub fn drop_databases(&self) {
        let databases = self.sql(
            "postgres",
            "SELECT datname FROM pg_database WHERE datname LIKE 'bench%'",
        );
        for database in databases.lines() {
            self.sql(
                "postgres",
                &format!("DROP DATABASE {database} WITH (FORCE)"),
            );
        }
    }
}

/// Forwards a new loopback port to a Unix socket.
fn forward(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&socket) else {
                continue;
            };
            let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || to_server(from, to));
            thread::spawn(move || to_client(server, client));
        }
    });
    port
}

// When one side closes the connection, close the other one. Errors need no other handling here.
fn to_server(mut from: TcpStream, mut to: UnixStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn to_client(mut from: UnixStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// The fields of /proc/PID/stat, from 0 (proc(5) counts from 1).
fn stat_of(pid: &str) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let (pid, name) = head.split_once('(')?;
    let fields = tail.split_whitespace().map(str::to_owned);
    Some(
        [pid.trim().to_owned(), name.to_owned()]
            .into_iter()
            .chain(fields)
            .collect(),
    )
}

fn ticks_of(pid: &str, fields: &[usize]) -> f64 {
    let Some(stat) = stat_of(pid) else { return 0.0 };
    fields
        .iter()
        .map(|field| stat[*field].parse::<f64>().unwrap())
        .sum()
}
