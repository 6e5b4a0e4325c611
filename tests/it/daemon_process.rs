//! The daemon as a child process: kill, stop, and configuration changes from outside.

use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, rosterd};
use crate::support::https_server::HttpsServer;
use crate::support::sheet::contacts_csv;
use crate::support::{TestApp, cluster};

fn serve_command(app: &TestApp, lease: &str) -> tokio::process::Command {
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
async fn schedule_edited_in_sql_takes_effect_within_two_seconds() {
    let app = TestApp::start().await;
    app.account(contacts_csv(1..=20)).await;
    let mut daemon = Daemon::start(serve_command(&app, "30s")).await;
    app.execute("INSERT INTO import_schedules (account_id, days, at) SELECT id, '{mon}', '02:30' FROM accounts").await.unwrap();
    daemon.wait_for_log("next run times updated").await;
    let edited = Instant::now();
    // Two seconds from now in the account's time zone, on any weekday.
    app.execute(
        "UPDATE import_schedules SET days = enum_range(NULL::weekday),
                at = ((now() + interval '2 seconds') AT TIME ZONE 'America/Los_Angeles')::time(0)",
    )
    .await
    .unwrap();
    daemon.wait_for_log("next run times updated").await;
    assert!(
        edited.elapsed() < Duration::from_secs(2),
        "{:?}",
        edited.elapsed()
    );
    daemon.wait_for_log("import ended").await;
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
async fn killed_import_leaves_data_unchanged_and_is_retried() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let before = app.snapshot().await;
    app.serve(contacts_csv(1..=100_000));
    let blocker = app.lock_group_members().await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    let daemon = Daemon::start(serve_command(&app, "1s")).await;
    app.wait_until_blocked_on_members().await;
    daemon.kill().await;
    blocker.rollback().await.unwrap();
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs WHERE status = 'running'")
            .await,
        1
    );
    assert_eq!(app.snapshot().await, before);

    let mut successor = Daemon::start(serve_command(&app, "30s")).await;
    successor.wait_for_log("import ended").await;
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
async fn empty_database_is_migrated_and_healthcheck_passes() {
    let folder = tempfile::tempdir().unwrap();
    let url = cluster::empty_database().await;
    let mut command = rosterd(folder.path());
    // The daemon and `healthcheck` need to agree on the port, so reserve a free one.
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
        "migrating a second time changes nothing"
    );
    assert!(daemon.stop().await.success());
    assert_eq!(healthcheck().await, Some(1));
}

#[tokio::test]
async fn unreachable_mail_server_does_not_block_imports() {
    let app = TestApp::start().await;
    app.account(contacts_csv(1..=20).replace("6045550003", "3"))
        .await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = serve_command(&app, "30s");
    command.env(
        "ROSTERD_SMTP__URL",
        format!("smtp://127.0.0.1:{}", free.port()),
    );
    let mut daemon = Daemon::start(command).await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    daemon.wait_for_log("mail not accepted").await;
    assert_eq!(app.contacts().await.len(), 19);
    assert_eq!(app.count("SELECT count(*) FROM mail_outbox WHERE sent_at IS NULL AND failed_at IS NULL AND last_error IS NOT NULL").await, 1);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn trace_log_contains_no_personal_data_or_passwords() {
    let app = TestApp::start().await;
    app.https.serve(
        "/private.csv",
        crate::support::https_server::Reply::ok(
            contacts_csv(1..=3).replace("6045550003", "canary-number"),
        )
        .basic("jane", "canary-password"),
    );
    let account = app.account("").await;
    app.set_basic_auth_source(
        account,
        &app.https.url("/private.csv?token=canary-token"),
        "canary-password",
        &app.https.url(""),
    )
    .await;
    app.https.serve(
        "/private.csv?token=canary-token",
        crate::support::https_server::Reply::ok(
            contacts_csv(1..=3).replace("6045550003", "canary-number"),
        )
        .basic("jane", "canary-password"),
    );
    let mut command = serve_command(&app, "30s");
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
        let line = daemon.wait_for_log("").await;
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
        assert!(!log.contains(canary), "the log contains {canary}:\n{log}");
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn daemon_with_closed_stderr_stops_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = rosterd(folder.path());
    command.env("DATABASE_URL", cluster::database().await);
    let daemon = Daemon::start(command).await;
    assert!(daemon.stop_with_closed_log().await.success());
}

#[tokio::test]
async fn interrupted_import_command_changes_and_queues_nothing() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    std::fs::write(app.folder.path().join("people.csv"), contacts_csv(1..=20)).unwrap();
    let blocker = app.lock_group_members().await;
    let mut command = serve_command(&app, "30s");
    let mut child = command
        .args(["import", &account.to_string(), "--file", "people.csv"])
        .spawn()
        .unwrap();
    app.wait_until_blocked_on_members().await;
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
async fn system_ca_change_is_picked_up_without_restart() {
    let app = TestApp::start().await;
    app.account(contacts_csv(1..=3)).await;
    let authorities = app.folder.path().join("authorities.pem");
    let other = HttpsServer::start().await;
    std::fs::write(&authorities, &other.ca_pem).unwrap();
    let mut command = serve_command(&app, "30s");
    command
        .env_remove("ROSTERD_FETCH__EXTRA_CA_FILE")
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", &authorities);
    let mut daemon = Daemon::start(command).await;
    let run = "INSERT INTO import_runs (account_id) SELECT id FROM accounts";
    app.execute(run).await.unwrap();
    let ended = daemon.wait_for_log("import ended").await;
    assert!(ended.contains("failure=\"tls_invalid\""), "{ended}");

    std::fs::write(&authorities, &app.https.ca_pem).unwrap();
    app.execute(run).await.unwrap();
    let ended = daemon.wait_for_log("import ended").await;
    assert!(ended.contains("status=succeeded"), "{ended}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn daemon_core_dumps_are_disabled() {
    let app = TestApp::start().await;
    let daemon = Daemon::start(serve_command(&app, "30s")).await;
    let process = std::path::PathBuf::from(format!("/proc/{}", daemon.pid()));
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn run_quarantined_after_three_crashes_is_logged() {
    let app = TestApp::start().await;
    app.account(contacts_csv(1..=3)).await;
    app.execute(
        "INSERT INTO import_runs (account_id, status, started_at, attempts, lease_owner, lease_until)
         SELECT id, 'running', now() - interval '1 hour', 3, 'gone', now() - interval '1 minute' FROM accounts",
    )
    .await
    .unwrap();
    let mut daemon = Daemon::start(serve_command(&app, "30s")).await;
    let ended = daemon.wait_for_log("import ended").await;
    for part in ["status=failed", "failure=\"set_aside\"", "run.id=1"] {
        assert!(ended.contains(part), "{ended}");
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn hold_limits_edited_during_local_import_are_applied() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    std::fs::write(app.folder.path().join("people.csv"), contacts_csv(1..=38)).unwrap();
    let blocker = app.lock_account().await;
    let mut command = serve_command(&app, "30s");
    let mut child = command
        .args(["import", &account.to_string(), "--file", "people.csv"])
        .spawn()
        .unwrap();
    app.wait_until_blocked_on_account().await;
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
async fn applied_file_reset_during_import_forces_full_import() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let mut blocker = app.lock_account().await;
    let mut child = serve_command(&app, "30s")
        .args(["import", &account.to_string()])
        .spawn()
        .unwrap();
    app.wait_until_blocked_on_account().await;
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
