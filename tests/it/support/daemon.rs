//! The real program as a child process; tests wait for what it says, never for time to pass.

use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// A running `rosterd serve`.
pub struct Daemon {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

/// The program, told nothing by the environment of the tests.
pub fn rosterd(folder: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
    for (name, _) in std::env::vars() {
        if name == "DATABASE_URL" || name.starts_with("ROSTERD_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(folder)
        .env("ROSTERD_WEB__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

impl Daemon {
    pub async fn start(mut command: Command) -> Self {
        let mut child = command.arg("serve").stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut daemon = Self { child, log };
        daemon.until("ready").await;
        daemon
    }

    /// Reads the log up to a line with this text, and gives it back.
    pub async fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while let Some(line) = self.log.next_line().await.unwrap() {
            if line.contains(text) {
                return line;
            }
            read.push_str(&line);
            read.push('\n');
        }
        panic!("the daemon ended without saying `{text}`:\n{read}");
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("it runs")).unwrap()
    }

    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate();
        while self.log.next_line().await.unwrap().is_some() {}
        self.child.wait().await.unwrap()
    }

    /// The same, with its log closed.
    pub async fn stop_unheard(self) -> ExitStatus {
        let pid = self.pid();
        let Self { mut child, log } = self;
        drop(log);
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        child.wait().await.unwrap()
    }

    fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }
}
