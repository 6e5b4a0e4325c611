//! `make bench-sftp`: time to fetch 50 MB over SFTP, compared with the `sftp` command on the same server and file. Runs
//! alternate. Exits with 1 if the speedup is below the budget or memory grows with the size of the file.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints, and fails by panicking"
)]

#[allow(dead_code, reason = "the tests use more of this module")]
#[path = "../tests/it/support/ssh_server.rs"]
mod ssh_server;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rosterd::address::SftpAddress;
use rosterd::clock::SystemClock;
use rosterd::fetch::{
    Credentials, FetchTarget, Fetcher, HostKeyVerifier, Limits, NetworkPolicy, Outcome, Request,
};
use ssh_server::{Login, PASSWORD, SshServer, USER};

const SIZE: usize = 50 << 20;
const ROUNDS: usize = 7;
/// Minimum speedup over the `sftp` command.
const MIN_SPEEDUP: f64 = 2.0;
/// Maximum growth of peak memory compared with fetching a small file, bytes.
const MAX_GROWTH: u64 = 24 << 20;

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
    let mut rosterd_times = Vec::new();
    let mut sftp_times = Vec::new();
    runtime.block_on(fetch(&fetcher, &server, "small.csv"));
    let peak_before = peak_memory();
    for _ in 0..ROUNDS {
        rosterd_times.push(runtime.block_on(fetch(&fetcher, &server, "large.csv")));
        sftp_times.push(sftp_command(&server));
    }
    let growth = peak_memory().saturating_sub(peak_before);
    let (rosterd, sftp) = (median(rosterd_times), median(sftp_times));
    let rate = |time: Duration| 50.0 / time.as_secs_f64();
    let speedup = sftp.as_secs_f64() / rosterd.as_secs_f64();
    println!("50 MB over SFTP, medians of {ROUNDS} rounds, including login");
    println!(
        "  rosterd  {:6.0} ms  {:6.1} MB/s",
        rosterd.as_secs_f64() * 1e3,
        rate(rosterd)
    );
    println!(
        "  sftp     {:6.0} ms  {:6.1} MB/s",
        sftp.as_secs_f64() * 1e3,
        rate(sftp)
    );
    println!(
        "  {speedup:.2} times as fast (budget {MIN_SPEEDUP}); memory grew by {} MiB (budget {})",
        growth >> 20,
        MAX_GROWTH >> 20
    );
    if speedup >= MIN_SPEEDUP && growth <= MAX_GROWTH {
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
    let request = Request::new(FetchTarget::Sftp {
        address: SftpAddress::parse(&server.url(name), None).unwrap(),
        credentials: Credentials {
            username: USER.to_owned(),
            password: PASSWORD.into(),
        },
        host_key: HostKeyVerifier::default(),
    });
    let started = Instant::now();
    let outcome = fetcher
        .fetch(&request, &(Arc::new(|_| {}) as _))
        .await
        .unwrap();
    let time = started.elapsed();
    let Outcome::File(file) = outcome else {
        panic!("expected a file")
    };
    assert_eq!(
        file.content.size(),
        std::fs::metadata(server.home().join(name)).unwrap().len()
    );
    time
}

/// Runs the `sftp` command, which gets the password from a script.
fn sftp_command(server: &SshServer) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let askpass = folder.path().join("password");
    std::fs::write(&askpass, format!("#!/bin/sh\necho '{PASSWORD}'\n")).unwrap();
    std::fs::set_permissions(
        &askpass,
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let target = folder.path().join("large.csv");
    let started = Instant::now();
    let exit = Command::new("sftp")
        .args(["-q", "-P", &server.address.port().to_string()])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .arg(format!("{USER}@127.0.0.1:large.csv"))
        .arg(&target)
        .env("SSH_ASKPASS", &askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let time = started.elapsed();
    assert!(exit.success());
    assert_eq!(
        std::fs::metadata(&target).unwrap().len(),
        std::fs::metadata(server.home().join("large.csv"))
            .unwrap()
            .len()
    );
    time
}

/// Peak memory of this process, bytes.
fn peak_memory() -> u64 {
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
