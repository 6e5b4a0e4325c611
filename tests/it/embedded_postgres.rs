//! The private Postgres that commands start when `DATABASE_URL` is not set.

use rosterd::store::Store;

use crate::support::cluster;
use crate::support::daemon::{Daemon, rosterd};

/// Number of running processes whose command line contains `text`.
fn count_processes_with(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let cmdlines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    cmdlines
        .filter(|cmdline| String::from_utf8_lossy(cmdline).contains(text))
        .count()
}

#[tokio::test]
async fn commands_without_setup_start_and_stop_postgres() {
    // Only the owner can enter a temporary directory; the server must start inside one as well.
    let folder = tempfile::tempdir().unwrap();
    let run_cli = async |args: &[&str]| {
        let output = rosterd(folder.path()).args(args).output().await.unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (_, log) = run_cli(&["account", "add", "North Shore", "--time-zone", "UTC"]).await;
    assert!(
        log.lines()
            .next()
            .unwrap()
            .contains("DATABASE_URL is not set: started the private Postgres"),
        "{log}"
    );
    let (out, _) = run_cli(&["account", "list"]).await;
    assert!(out.contains("North Shore"), "{out}");
    assert!(
        !folder
            .path()
            .join("rosterd-data/postgres/postmaster.pid")
            .exists(),
        "a clean shutdown removes postmaster.pid"
    );
}

#[tokio::test]
async fn concurrent_commands_share_one_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let add = async |name: &str| {
        let mut command = rosterd(folder.path());
        command
            .args(["account", "add", name, "--time-zone", "UTC"])
            .output()
            .await
            .unwrap()
    };
    let (one, two, three) = tokio::join!(add("one"), add("two"), add("three"));
    for output in [one, two, three] {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let listed = rosterd(folder.path())
        .args(["account", "list", "--format", "json"])
        .output()
        .await
        .unwrap();
    let accounts: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(accounts.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn command_uses_daemon_postgres_which_ends_with_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(rosterd(folder.path())).await;
    let added = rosterd(folder.path())
        .args(["account", "add", "x", "--time-zone", "UTC"])
        .output()
        .await
        .unwrap();
    let log = String::from_utf8(added.stderr).unwrap();
    assert!(
        added.status.success() && log.contains("using the private Postgres"),
        "{log}"
    );
    let pid_file = folder.path().join("rosterd-data/postgres/postmaster.pid");
    let server_pid: u32 = std::fs::read_to_string(&pid_file)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    daemon.kill().await;
    // The kernel signals the server when the daemon dies; wait until it has shut down.
    while std::path::Path::new(&format!("/proc/{server_pid}/exe")).exists() && pid_file.exists() {
        tokio::task::yield_now().await;
    }
    let after = rosterd(folder.path())
        .args(["account", "list"])
        .output()
        .await
        .unwrap();
    assert!(after.status.success() && String::from_utf8(after.stdout).unwrap().contains('x'));
    assert_eq!(
        count_processes_with(&folder.path().display().to_string()),
        0
    );
}

#[tokio::test]
async fn concurrent_database_creation_succeeds() {
    let admin = cluster::empty_database().await;
    for round in 0..3 {
        let name = format!("created_concurrently_{round}");
        let create = || async { Store::ensure_database(&admin.as_str().into(), &name).await };
        let (first, second, third) = tokio::join!(create(), create(), create());
        first.and(second).and(third).unwrap();
    }
}
