//! A Postgres of its own, durable as in the field, and what it has spent.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rosterd::embedded::{Embedded, Role};

pub struct Server {
    embedded: Embedded,
    postmaster: String,
    /// Where programs connect that know no sockets of Unix.
    port: u16,
}

impl Server {
    pub fn start(folder: &Path) -> Self {
        // As installed, but for room so that no checkpoint falls into a run.
        let settings = ["max_wal_size=8GB", "checkpoint_timeout=1h"];
        let data_dir = folder.join("db");
        let embedded = Embedded::start(&data_dir, Role::Command, &settings).unwrap();
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

    /// What a command of psql prints.
    pub fn psql(&self, database: &str, arguments: &[&str]) -> String {
        let done = Command::new("psql")
            .args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1"])
            .args(arguments)
            .arg(self.url(database))
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.psql(database, &["-c", sql])
    }

    /// An empty database with this schema.
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

    /// Everything to disk, so that no run pays for another.
    pub fn settle(&self) {
        self.sql("postgres", "CHECKPOINT");
    }

    pub fn wal_bytes(&self) -> f64 {
        let bytes = self.sql(
            "postgres",
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')",
        );
        bytes.parse().unwrap()
    }

    /// CPU of the server so far, of all its processes, ended ones too.
    pub fn cpu_ms(&self) -> f64 {
        let of_ended = || ticks_of(&self.postmaster, &[13, 14, 15, 16]);
        let mut ticks;
        // What ends between the two looks is in neither: then both are taken again.
        loop {
            let ended = of_ended();
            ticks = ended;
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let pid = entry.file_name().to_string_lossy().into_owned();
                if stat_of(&pid).is_some_and(|stat| stat.get(3) == Some(&self.postmaster)) {
                    ticks += ticks_of(&pid, &[13, 14]);
                }
            }
            if ended.to_bits() == of_ended().to_bits() {
                break;
            }
        }
        // Linux counts in hundredths of a second for whoever asks.
        ticks * 10.0
    }

    pub fn forget(&self) {
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

/// A port of the loopback from which all goes to a socket of Unix and back.
fn forward(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&socket) else {
                continue;
            };
            let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || there(from, to));
            thread::spawn(move || back(server, client));
        }
    });
    port
}

// Whoever hangs up ends the other side, too; nothing else can be done about an error here.
fn there(mut from: TcpStream, mut to: UnixStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn back(mut from: UnixStream, mut to: TcpStream) {
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
