//! The daemon as a process: killed, stopped, and edited from outside.

use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, rosterd};
use crate::support::https_server::HttpsServer;
use crate::support::sheet::people;
use crate::support::{TestApp, cluster};

fn serve(app: &TestApp, lease: &str) -> tokio::process::Command {
    let ca = app.folder.path().join("ca.pem");
    std::fs::write(&ca, &app.https.ca_pem).unwrap();
    let mut command = rosterd(app.folder.path());
    command
        .env("DATABASE_URL", &app.url)
        .env("ROSTERD_SMTP__URL", app.smtp.url())
        .env("ROSTERD_FETCH__ALLOW_NETWORKS", "127.0.0.0/8,::1/128")
        .env("ROSTERD_FETCH__EXTRA_CA_FILE", ca)
        .env("ROSTERD_IMPORT__LEASE", lease);
    command
}

#[tokio::test]
async fn an_edit_in_sql_moves_the_next_run_within_two_seconds_and_it_fires_without_a_restart() {
    let app = TestApp::start().await;
    app.account(people(1..=20)).await;
    let mut daemon = Daemon::start(serve(&app, "30s")).await;
    app.execute("INSERT INTO import_schedules (account_id, days, at) SELECT id, '{mon}', '02:30' FROM accounts").await.unwrap();
    daemon.until("schedule edits followed").await;
    let edited = Instant::now();
    // Two seconds from now by the account's clock, whatever day that is.
    app.execute(
        "UPDATE import_schedules SET days = enum_range(NULL::weekday),
                at = ((now() + interval '2 seconds') AT TIME ZONE 'America/Los_Angeles')::time(0)",
    )
    .await
    .unwrap();
    daemon.until("schedule edits followed").await;
    assert!(
        edited.elapsed() < Duration::from_secs(2),
        "{:?}",
        edited.elapsed()
    );
    daemon.until("import ended").await;
    assert_eq!(app.contacts().await.len(), 20);
    assert_eq!(
        app.count(
            "SELECT count(*) FROM import_runs WHERE trigger = 'schedule' AND status = 'succeeded'"
        )
        .await,
        1
    );
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_daemon_killed_in_the_middle_of_a_large_import_leaves_the_data_as_before_and_its_successor_does_the_run()
 {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    let before = app.fingerprint().await;
    app.serve(people(1..=100_000));
    let blocker = app.hold_members().await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    let daemon = Daemon::start(serve(&app, "1s")).await;
    app.until_members_wait().await;
    daemon.kill().await;
    blocker.rollback().await.unwrap();
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs WHERE status = 'running'")
            .await,
        1
    );
    assert_eq!(app.fingerprint().await, before);

    let mut successor = Daemon::start(serve(&app, "30s")).await;
    successor.until("import ended").await;
    assert_eq!(
        app.count("SELECT count(*) FROM active_contacts").await,
        100_000
    );
    let run = &app.store.runs(Some(account), 1).await.unwrap()[0];
    assert_eq!(
        (run.status.as_str(), run.attempts, run.added, run.unchanged),
        ("succeeded", 2, Some(99_980), Some(20))
    );
    assert!(successor.stop().await.success());
}

#[tokio::test]
async fn the_daemon_migrates_an_empty_database_and_says_how_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let url = cluster::empty_database().await;
    let mut command = rosterd(folder.path());
    // Announced on loopback before it says that it is ready.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    command
        .env("DATABASE_URL", &url)
        .env("ROSTERD_WEB__LISTEN", format!("127.0.0.1:{port}"));
    let daemon = Daemon::start(command).await;
    let healthcheck = async || {
        let mut command = rosterd(folder.path());
        command
            .arg("healthcheck")
            .env("DATABASE_URL", &url)
            .env("ROSTERD_WEB__LISTEN", format!("127.0.0.1:{port}"));
        command.output().await.unwrap().status.code()
    };
    assert_eq!(healthcheck().await, Some(0));
    let mut migrate = rosterd(folder.path());
    assert!(
        migrate
            .arg("migrate")
            .env("DATABASE_URL", &url)
            .status()
            .await
            .unwrap()
            .success(),
        "migrating twice is harmless"
    );
    assert!(daemon.stop().await.success());
    assert_eq!(healthcheck().await, Some(1));
}

#[tokio::test]
async fn an_unreachable_mail_server_keeps_no_import_from_being_done() {
    let app = TestApp::start().await;
    app.account(people(1..=20).replace("6045550003", "3")).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = serve(&app, "30s");
    command.env(
        "ROSTERD_SMTP__URL",
        format!("smtp://127.0.0.1:{}", free.port()),
    );
    let mut daemon = Daemon::start(command).await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    daemon.until("mail not taken").await;
    assert_eq!(app.contacts().await.len(), 19);
    assert_eq!(app.count("SELECT count(*) FROM mail_outbox WHERE sent_at IS NULL AND failed_at IS NULL AND last_error IS NOT NULL").await, 1);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn no_log_line_carries_a_name_a_number_or_a_password() {
    let app = TestApp::start().await;
    app.https.serve(
        "/private.csv",
        crate::support::https_server::Reply::ok(
            people(1..=3).replace("6045550003", "canary-number"),
        )
        .basic("jane", "canary-password"),
    );
    let account = app.account("").await;
    app.basic_settings(
        account,
        &app.https.url("/private.csv?token=canary-token"),
        "canary-password",
        &app.https.url(""),
    )
    .await;
    app.https.serve(
        "/private.csv?token=canary-token",
        crate::support::https_server::Reply::ok(
            people(1..=3).replace("6045550003", "canary-number"),
        )
        .basic("jane", "canary-password"),
    );
    let mut command = serve(&app, "30s");
    command
        .env(
            "ROSTERD_SECRETS__KEY_FILE",
            app.folder.path().join("secrets.key"),
        )
        .env("ROSTERD_LOG__LEVEL", "trace");
    let mut daemon = Daemon::start(command).await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    let mut log = String::new();
    while !log.contains("mail sent") {
        let line = daemon.until("").await;
        log.push_str(&line);
        log.push('\n');
    }
    for canary in [
        "canary",
        "Name 1",
        "6045550001",
        "admin@example.org",
        "jane",
    ] {
        assert!(!log.contains(canary), "{canary} is in the log:\n{log}");
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_daemon_whose_log_nobody_reads_any_more_still_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = rosterd(folder.path());
    command.env("DATABASE_URL", cluster::database().await);
    let daemon = Daemon::start(command).await;
    assert!(daemon.stop_unheard().await.success());
}

#[tokio::test]
async fn a_command_that_is_stopped_half_way_changes_nothing_and_leaves_nothing_queued() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    std::fs::write(app.folder.path().join("people.csv"), people(1..=20)).unwrap();
    let blocker = app.hold_members().await;
    let mut command = serve(&app, "30s");
    let mut child = command
        .args(["import", &account.to_string(), "--file", "people.csv"])
        .spawn()
        .unwrap();
    app.until_members_wait().await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    while app
        .count("SELECT count(*) FROM import_runs WHERE status = 'failed'")
        .await
        == 0
    {
        tokio::task::yield_now().await;
    }
    blocker.rollback().await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    assert_eq!(app.contacts().await.len(), 0);
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs WHERE status IN ('queued', 'running')")
            .await,
        0
    );
}

#[tokio::test]
async fn authorities_that_the_system_comes_to_trust_are_trusted_without_a_restart() {
    let app = TestApp::start().await;
    app.account(people(1..=3)).await;
    let authorities = app.folder.path().join("authorities.pem");
    let other = HttpsServer::start().await;
    std::fs::write(&authorities, &other.ca_pem).unwrap();
    let mut command = serve(&app, "30s");
    command
        .env_remove("ROSTERD_FETCH__EXTRA_CA_FILE")
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", &authorities);
    let mut daemon = Daemon::start(command).await;
    let run = "INSERT INTO import_runs (account_id) SELECT id FROM accounts";
    app.execute(run).await.unwrap();
    let ended = daemon.until("import ended").await;
    assert!(ended.contains("failure=\"tls_invalid\""), "{ended}");

    std::fs::write(&authorities, &app.https.ca_pem).unwrap();
    app.execute(run).await.unwrap();
    let ended = daemon.until("import ended").await;
    assert!(ended.contains("status=succeeded"), "{ended}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_running_daemon_leaves_no_core() {
    let app = TestApp::start().await;
    let daemon = Daemon::start(serve(&app, "30s")).await;
    let process = std::path::PathBuf::from(format!("/proc/{}", daemon.pid()));
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn the_log_has_a_line_for_a_run_whose_process_died_too_often() {
    let app = TestApp::start().await;
    app.account(people(1..=3)).await;
    app.execute(
        "INSERT INTO import_runs (account_id, status, started_at, attempts, lease_owner, lease_until)
         SELECT id, 'running', now() - interval '1 hour', 3, 'gone', now() - interval '1 minute' FROM accounts",
    )
    .await
    .unwrap();
    let mut daemon = Daemon::start(serve(&app, "30s")).await;
    let ended = daemon.until("import ended").await;
    for part in ["status=failed", "failure=\"set_aside\"", "run.id=1"] {
        assert!(ended.contains(part), "{ended}");
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn limits_that_are_edited_while_a_local_file_is_imported_count() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    std::fs::write(app.folder.path().join("people.csv"), people(1..=38)).unwrap();
    let blocker = app.hold_account().await;
    let mut command = serve(&app, "30s");
    let mut child = command
        .args(["import", &account.to_string(), "--file", "people.csv"])
        .spawn()
        .unwrap();
    app.until_an_import_waits().await;
    app.execute("UPDATE import_settings SET hold_removed_percent = 0, hold_removed_count = 0")
        .await
        .unwrap();
    blocker.rollback().await.unwrap();
    child.wait().await.unwrap();
    let run = &app.store.runs(Some(account), 1).await.unwrap()[0];
    assert_eq!((run.status.as_str(), run.removed), ("held", Some(2)));
    assert_eq!(app.contacts().await.len(), 40);
}

#[tokio::test]
async fn a_file_is_not_unchanged_that_was_forgotten_while_it_was_looked_at() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    let mut blocker = app.hold_account().await;
    let mut child = serve(&app, "30s")
        .args(["import", &account.to_string()])
        .spawn()
        .unwrap();
    app.until_an_import_waits().await;
    sqlx::query("SELECT forget_applied_file(id) FROM accounts")
        .execute(&mut *blocker)
        .await
        .unwrap();
    blocker.commit().await.unwrap();
    assert!(child.wait().await.unwrap().success());
    let run = &app.store.runs(Some(account), 1).await.unwrap()[0];
    assert_eq!(
        (run.status.as_str(), run.unchanged),
        ("succeeded", Some(20))
    );
}
