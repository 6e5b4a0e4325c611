//! The private Postgres that serves whoever has set up nothing.

use rosterd::store::Store;

use crate::support::cluster;
use crate::support::daemon::{Daemon, rosterd};

/// Processes whose command line names this text.
fn processes_with(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let cmdlines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    cmdlines
        .filter(|cmdline| String::from_utf8_lossy(cmdline).contains(text))
        .count()
}

#[tokio::test]
async fn commands_need_nothing_set_up_and_leave_nothing_running() {
    // Below a folder that only its owner may enter, as temporary folders are.
    let folder = tempfile::tempdir().unwrap();
    let type_in = async |args: &[&str]| {
        let done = rosterd(folder.path()).args(args).output().await.unwrap();
        assert!(
            done.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        (
            String::from_utf8(done.stdout).unwrap(),
            String::from_utf8(done.stderr).unwrap(),
        )
    };
    let (_, log) = type_in(&["account", "add", "North Shore", "--time-zone", "UTC"]).await;
    assert!(
        log.lines()
            .next()
            .unwrap()
            .contains("DATABASE_URL is not set: started the private Postgres"),
        "{log}"
    );
    let (out, _) = type_in(&["account", "list"]).await;
    assert!(out.contains("North Shore"), "{out}");
    assert!(
        !folder
            .path()
            .join("rosterd-data/postgres/postmaster.pid")
            .exists(),
        "the server was stopped in good order"
    );
}

#[tokio::test]
async fn two_commands_at_once_share_one_server() {
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
    for done in [one, two, three] {
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
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
async fn commands_join_a_running_daemon_and_its_death_takes_the_server_along() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(rosterd(folder.path())).await;
    let joined = rosterd(folder.path())
        .args(["account", "add", "x", "--time-zone", "UTC"])
        .output()
        .await
        .unwrap();
    let log = String::from_utf8(joined.stderr).unwrap();
    assert!(
        joined.status.success() && log.contains("using the private Postgres"),
        "{log}"
    );
    let pid_file = folder.path().join("rosterd-data/postgres/postmaster.pid");
    let server: u32 = std::fs::read_to_string(&pid_file)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    daemon.kill().await;
    // The kernel has told the server; it is gone once it has shut down.
    while std::path::Path::new(&format!("/proc/{server}/exe")).exists() && pid_file.exists() {
        tokio::task::yield_now().await;
    }
    let after = rosterd(folder.path())
        .args(["account", "list"])
        .output()
        .await
        .unwrap();
    assert!(after.status.success() && String::from_utf8(after.stdout).unwrap().contains('x'));
    assert_eq!(processes_with(&folder.path().display().to_string()), 0);
}

#[tokio::test]
async fn programs_that_make_the_database_at_once_are_not_in_each_others_way() {
    let admin = cluster::empty_database().await;
    for round in 0..3 {
        let name = format!("made_at_once_{round}");
        let make = || async { Store::ensure_database(&admin.as_str().into(), &name).await };
        let (first, second, third) = tokio::join!(make(), make(), make());
        first.and(second).and(third).unwrap();
    }
}
