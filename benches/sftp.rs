//! What fetching 50 MB over SFTP costs, beside the `sftp` command: the same server, the same file, by turns, in one run.
//! Ends with 1 where the ratio of medians is below the budget or memory is not flat.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints, and fails by panicking"
)]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/support/ssh_server.rs"]
mod ssh_server;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rosterd::clock::SystemClock;
use rosterd::fetch::{
    Credentials, Fetcher, HostKey, Limits, NetworkPolicy, Outcome, Place, Request,
};
use rosterd::model::source::SftpAddress;
use ssh_server::{Login, PASSWORD, SshServer, USER};

const SIZE: usize = 50 << 20;
const ROUNDS: usize = 7;
/// At least so many times as fast.
const BUDGET: f64 = 2.0;
/// Growth of memory beyond what a small file takes, bytes.
const FLAT: u64 = 24 << 20;

fn main() -> ExitCode {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .unwrap();
    let server = SshServer::start(Login::Password);
    let line = "1,Jane Example,Search and Rescue,EMT,6045550100,mobile,cell,,High,Team\n";
    server.write("small.csv", line);
    server.write("large.csv", line.repeat(SIZE / line.len()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let fetcher = fetcher();
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    runtime.block_on(fetch(&fetcher, &server, "small.csv"));
    let before = peak();
    for _ in 0..ROUNDS {
        ours.push(runtime.block_on(fetch(&fetcher, &server, "large.csv")));
        theirs.push(sftp_command(&server));
    }
    let grown = peak().saturating_sub(before);
    let (ours, theirs) = (median(ours), median(theirs));
    let rate = |time: Duration| 50.0 / time.as_secs_f64();
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("50 MB over SFTP, medians of {ROUNDS}, log in included");
    println!(
        "  rosterd  {:6.0} ms  {:6.1} MB/s",
        ours.as_secs_f64() * 1e3,
        rate(ours)
    );
    println!(
        "  sftp     {:6.0} ms  {:6.1} MB/s",
        theirs.as_secs_f64() * 1e3,
        rate(theirs)
    );
    println!(
        "  {ratio:.2} times as fast (budget {BUDGET}); memory grew by {} MiB (budget {})",
        grown >> 20,
        FLAT >> 20
    );
    if ratio >= BUDGET && grown <= FLAT {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn fetcher() -> Fetcher {
    let limits = Limits {
        max_bytes: 64 << 20,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(30),
        total_timeout: Duration::from_mins(5),
        min_rate: 1024,
        per_host: 1,
    };
    let policy = NetworkPolicy::new(&["127.0.0.0/8".parse().unwrap()]);
    Fetcher::new(policy, limits, false, None, Arc::new(SystemClock)).unwrap()
}

async fn fetch(fetcher: &Fetcher, server: &SshServer, name: &str) -> Duration {
    let request = Request::new(Place::Sftp {
        address: SftpAddress::parse(&server.url(name), None).unwrap(),
        credentials: Credentials {
            username: USER.to_owned(),
            password: PASSWORD.into(),
        },
        host_key: HostKey::default(),
    });
    let began = Instant::now();
    let outcome = fetcher
        .fetch(&request, &(Arc::new(|_| {}) as _))
        .await
        .unwrap();
    let time = began.elapsed();
    let Outcome::File(file) = outcome else {
        panic!("a file")
    };
    assert_eq!(
        file.content.size(),
        std::fs::metadata(server.home().join(name)).unwrap().len()
    );
    time
}

/// The command, which asks a helper for the password.
fn sftp_command(server: &SshServer) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let helper = folder.path().join("password");
    std::fs::write(&helper, format!("#!/bin/sh\necho '{PASSWORD}'\n")).unwrap();
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let target = folder.path().join("large.csv");
    let began = Instant::now();
    let done = Command::new("sftp")
        .args(["-q", "-P", &server.address.port().to_string()])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .arg(format!("{USER}@127.0.0.1:large.csv"))
        .arg(&target)
        .env("SSH_ASKPASS", &helper)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let time = began.elapsed();
    assert!(done.success());
    assert_eq!(
        std::fs::metadata(&target).unwrap().len(),
        std::fs::metadata(server.home().join("large.csv"))
            .unwrap()
            .len()
    );
    time
}

/// Most memory that this process ever had, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
