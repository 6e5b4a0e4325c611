//! The real program as a child process. Tests wait for log lines, never for time to pass.

use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// A running `rosterd serve`.
pub struct Daemon {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

/// The program, without the rosterd configuration of the test process's environment.
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
        daemon.wait_for_log("ready").await;
        daemon
    }

    /// Reads the log up to the first line that contains `text`. Returns that line.
    pub async fn wait_for_log(&mut self, text: &str) -> String {
        let mut log_so_far = String::new();
        while let Some(line) = self.log.next_line().await.unwrap() {
            if line.contains(text) {
                return line;
            }
            log_so_far.push_str(&line);
            log_so_far.push('\n');
        }
        panic!("the daemon ended without logging `{text}`:\n{log_so_far}");
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("the daemon is running")).unwrap()
    }

    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM and waits for the process to end.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate();
        while self.log.next_line().await.unwrap().is_some() {}
        self.child.wait().await.unwrap()
    }

    /// As [`Self::stop`], but closes the reading end of its log first.
    pub async fn stop_with_closed_log(self) -> ExitStatus {
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
