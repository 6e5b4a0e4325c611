//! Schedules: due slots run exactly once, edits take effect, and a missed slot is caught up once.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rosterd::model::AccountId;
use rosterd::model::run::{FailureStreak, FileMetadata, NewRun, Origin};
use rosterd::store::StartResult;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::https_server::Reply;
use crate::support::sheet::contacts_csv;
use crate::support::{Setup, TestApp, assert_failed};

impl TestApp {
    async fn schedule(&self, account: AccountId, days: &str, at: &str) {
        sqlx::query("INSERT INTO import_schedules (account_id, days, at) VALUES ($1, $2::text::weekday[], $3::text::time)")
            .bind(account.0)
            .bind(days)
            .bind(at)
            .execute(&self.pool)
            .await
            .unwrap();
        self.run_until_idle().await;
    }

    async fn next_run(&self) -> Option<DateTime<Utc>> {
        sqlx::query_scalar("SELECT next_run_at FROM import_schedules")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    async fn runs(&self) -> i64 {
        self.count("SELECT count(*) FROM import_runs").await
    }
}

#[allow(clippy::unnecessary_wraps, reason = "compared with a nullable column")]
fn at(text: &str) -> Option<DateTime<Utc>> {
    Some(text.parse().unwrap())
}

#[tokio::test]
async fn schedule_runs_on_time_and_follows_sql_edit() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.schedule(account, "{mon}", "02:30").await;
    assert_eq!(app.next_run().await, at("2026-11-23T10:30:00Z"));
    app.execute("UPDATE import_schedules SET days = '{sun}', at = '05:00'")
        .await
        .unwrap();
    app.run_until_idle().await;
    assert_eq!(app.next_run().await, at("2026-11-22T13:00:00Z"));
    assert_eq!(app.runs().await, 0);
    app.advance(TimeDelta::minutes(60));
    app.run_until_idle().await;
    assert_eq!(app.contacts().await.len(), 20);
    assert_eq!(app.next_run().await, at("2026-11-29T13:00:00Z"));
    let run = &app.store.runs(Some(account), 1).await.unwrap()[0];
    assert_eq!(
        (run.trigger.as_str(), run.due_at, run.status.as_str()),
        ("schedule", at("2026-11-22T13:00:00Z"), "succeeded")
    );
    app.run_until_idle().await;
    assert_eq!(app.runs().await, 1);
}

#[tokio::test]
async fn edit_to_past_time_waits_a_week_and_time_zone_is_followed() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.schedule(account, "{sun}", "05:00").await;
    // The clock is at 12:00 UTC, which is 04:00 in Los Angeles.
    app.execute("UPDATE import_schedules SET at = '03:59'")
        .await
        .unwrap();
    app.run_until_idle().await;
    assert_eq!(
        (app.next_run().await, app.runs().await),
        (at("2026-11-29T11:59:00Z"), 0)
    );
    app.execute("UPDATE accounts SET time_zone = 'UTC'")
        .await
        .unwrap();
    app.run_until_idle().await;
    assert_eq!(app.next_run().await, at("2026-11-29T03:59:00Z"));
    app.execute("UPDATE import_schedules SET enabled = false")
        .await
        .unwrap();
    app.run_until_idle().await;
    assert_eq!(app.next_run().await, None);
}

#[tokio::test]
async fn due_slot_runs_despite_schedule_edit() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.schedule(account, "{sun}", "05:00").await;
    app.advance(TimeDelta::hours(2));
    app.execute("UPDATE import_schedules SET days = '{wed}'")
        .await
        .unwrap();
    app.run_until_idle().await;
    assert_eq!(
        (app.next_run().await, app.runs().await),
        (at("2026-11-25T13:00:00Z"), 1)
    );
}

#[tokio::test]
async fn missed_slot_under_a_day_old_is_caught_up_once() {
    for (hours, runs) in [(20, 1), (26, 0), (24 * 30, 0)] {
        let app = TestApp::start().await;
        let account = app.account(contacts_csv(1..=20)).await;
        app.schedule(account, "{sun}", "05:00").await;
        app.advance(TimeDelta::hours(1 + hours));
        app.run_until_idle().await;
        assert_eq!(app.runs().await, runs, "{hours} h late");
        assert!(app.next_run().await > Some(app.now()));
    }
}

#[tokio::test]
async fn simultaneous_slots_and_requests_make_one_run() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.schedule(account, "{sun}", "05:00").await;
    app.schedule(account, "{sun,mon}", "05:00").await;
    app.advance(TimeDelta::hours(2));
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    app.run_until_idle().await;
    assert_eq!(app.runs().await, 1);
    app.execute(
        "INSERT INTO import_runs (account_id) SELECT id FROM accounts, generate_series(1, 2)",
    )
    .await
    .unwrap();
    app.run_until_idle().await;
    let statuses: Vec<String> = sqlx::query_scalar("SELECT status FROM import_runs ORDER BY id")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(statuses, ["succeeded", "unchanged", "superseded"]);
}

#[tokio::test]
async fn slots_while_imports_are_disabled_are_never_caught_up() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.schedule(account, "{sun}", "05:00").await;
    app.store.set_import_enabled(account, false).await.unwrap();
    app.advance(TimeDelta::hours(2));
    app.run_until_idle().await;
    assert_eq!(
        (app.runs().await, app.next_run().await),
        (0, at("2026-11-29T13:00:00Z"))
    );
    // The slot passes while imports are disabled and no daemon polls.
    app.advance(TimeDelta::days(7));
    app.store.set_import_enabled(account, true).await.unwrap();
    app.run_until_idle().await;
    assert_eq!(
        (app.runs().await, app.next_run().await),
        (0, at("2026-12-06T13:00:00Z"))
    );
}

#[tokio::test]
async fn slot_runs_once_with_several_daemons() {
    let app = Arc::new(TestApp::start().await);
    app.account(contacts_csv(1..=3)).await;
    sqlx::query(
        "WITH a AS (INSERT INTO accounts (name, import_enabled) SELECT 'account ' || n, true FROM generate_series(1, 200) n RETURNING id)
         INSERT INTO import_schedules (account_id, days, at, next_run_at) SELECT id, '{mon}', '05:00', '2026-11-22 11:59:00Z' FROM a",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let now = app.now();
    let pollers = (0..4).map(|_| {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            loop {
                let slots = app
                    .store
                    .queue_due_slots(now, 7, |_| Some(now + TimeDelta::days(1)))
                    .await
                    .unwrap()
                    .len();
                if slots == 0 {
                    break;
                }
            }
        })
    });
    for poller in pollers.collect::<Vec<_>>() {
        poller.await.unwrap();
    }
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs WHERE trigger = 'schedule'")
            .await,
        200
    );
    assert_eq!(
        app.count("SELECT count(DISTINCT account_id) FROM import_runs")
            .await,
        200
    );
    let claims = (0..4).map(|n| {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let mut ids = Vec::new();
            // A poll that finds all candidates locked by other daemons returns nothing, so repeat it.
            while app
                .count("SELECT count(*) FROM import_runs WHERE status = 'queued'")
                .await
                > 0
            {
                let lease = std::time::Duration::from_secs(30);
                let claimed = app
                    .store
                    .claim_runs(now, &format!("daemon {n}"), lease, 5)
                    .await
                    .unwrap();
                ids.extend(claimed.into_iter().map(|run| run.id));
            }
            ids
        })
    });
    let mut ids = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        ids.extend(claim.await.unwrap());
    }
    ids.sort_unstable();
    let claimed = ids.len();
    ids.dedup();
    assert_eq!((ids.len(), claimed), (200, 200));
}

#[tokio::test]
async fn crashed_run_is_retried_and_quarantined_after_three_crashes() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    let lease = std::time::Duration::from_secs(30);
    for attempt in 1..=3 {
        let claimed = app
            .store
            .claim_runs(app.now(), "crashing process", lease, 1)
            .await
            .unwrap();
        assert_eq!(claimed[0].attempts, attempt);
        assert!(
            app.store
                .recover_expired_runs(app.now(), "other", lease)
                .await
                .unwrap()
                .is_empty(),
            "the lease has not expired"
        );
        app.advance(TimeDelta::seconds(31));
        if attempt < 3 {
            assert!(
                app.store
                    .recover_expired_runs(app.now(), "other", lease)
                    .await
                    .unwrap()
                    .is_empty()
            );
        }
    }
    app.run_until_idle().await;
    let run = &app.store.runs(Some(account), 1).await.unwrap()[0];
    assert_eq!(
        (run.status.as_str(), run.failure_code.as_deref()),
        ("failed", Some("set_aside"))
    );
    assert!(
        app.store
            .account(&"1".parse().unwrap())
            .await
            .unwrap()
            .set_aside
            .is_some()
    );
    assert_eq!(app.smtp.messages().len(), 1);
    app.schedule(account, "{sun}", "05:00").await;
    app.advance(TimeDelta::hours(2));
    app.run_until_idle().await;
    assert_eq!(
        app.runs().await,
        1,
        "no scheduled import for a quarantined account"
    );
    assert_eq!(app.import(account).await.status, "succeeded");
    assert!(
        app.store
            .account(&"1".parse().unwrap())
            .await
            .unwrap()
            .set_aside
            .is_none(),
        "a successful manual import ends the quarantine"
    );
}

#[tokio::test]
async fn process_with_expired_lease_cannot_commit() {
    let app = TestApp::start().await;
    app.account(contacts_csv(1..=20)).await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    let lease = std::time::Duration::from_secs(30);
    let old = app
        .store
        .claim_runs(app.now(), "slow", lease, 1)
        .await
        .unwrap()
        .remove(0);
    app.advance(TimeDelta::seconds(31));
    app.run_until_idle().await;
    assert_eq!(app.contacts().await.len(), 20);
    assert!(!app.store.renew_lease(&old, app.now(), lease).await.unwrap());
    let session = app.store.open_session(&old).await.unwrap();
    let end = rosterd::store::RunOutcome {
        status: rosterd::model::run::RunStatus::Failed,
        failure: Some(rosterd::model::failure::Failure::new(
            rosterd::model::failure::FailureCode::Internal,
            "late",
        )),
        hold_reasons: Vec::new(),
        emptied_groups: Vec::new(),
        file: FileMetadata::default(),
        counts: None,
        state: None,
        streak: FailureStreak::default(),
    };
    assert!(matches!(
        session.finish_run(&end, app.now()).await,
        Err(rosterd::store::StoreError::LeaseLost)
    ));
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs WHERE status = 'succeeded'")
            .await,
        1
    );
}

#[tokio::test]
async fn waiting_for_a_running_import_consumes_no_run_ids() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=3)).await;
    let new = NewRun::manual(account, Origin::Source);
    let start = || {
        app.store
            .start_run(new, app.now(), "test", Duration::from_mins(1))
    };
    let StartResult::Run(first) = start().await.unwrap() else {
        panic!("no other run is active");
    };
    for _ in 0..5 {
        let StartResult::Busy(other) = start().await.unwrap() else {
            panic!("the first run is active");
        };
        assert_eq!(other, Some(first.id));
    }
    sqlx::query("UPDATE import_runs SET status = 'failed', failure_code = 'internal', failure_message = 'ended', finished_at = $1")
        .bind(app.now())
        .execute(&app.pool)
        .await
        .unwrap();
    let StartResult::Run(second) = start().await.unwrap() else {
        panic!("no run is active any more");
    };
    assert_eq!(second.id.0, first.id.0 + 1);
}

/// Queues imports of six accounts with a file at `slow_url`, and of a seventh with a normal file as the last in the queue.
/// Returns when the seventh has succeeded while the six are unfinished. Four imports run at once.
async fn assert_last_account_is_not_blocked(app: &TestApp, slow_url: &str) {
    let last = app.account(contacts_csv(1..=20)).await;
    for number in 1..=6 {
        add_team(app, number, slow_url).await;
    }
    queue_import_of_all(app).await;
    wait_until_last_succeeds(app, last).await;
}

async fn add_team(app: &TestApp, number: i32, url: &str) {
    let admins = ["admin@example.org".to_owned()];
    let account = app
        .store
        .add_account(&format!("Team {number}"), "UTC", &admins)
        .await
        .unwrap();
    app.set_https_source(account, url).await;
    app.store.set_import_enabled(account, true).await.unwrap();
}

/// Queues an import of every account, the one with the lowest ID last.
async fn queue_import_of_all(app: &TestApp) {
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts ORDER BY id DESC")
        .await
        .unwrap();
}

/// Polls until the account's import has succeeded, and checks that six others are still running.
async fn wait_until_last_succeeds(app: &TestApp, last: AccountId) {
    while app.store.runs(Some(last), 1).await.unwrap()[0].status != "succeeded" {
        app.dispatcher.tick().await.unwrap();
    }
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs WHERE status = 'running'")
            .await,
        6
    );
}

/// Waits until this many active runs wait for their file. Such a run does not count as an attempt.
async fn wait_until_runs_wait(app: &TestApp, runs: i64) {
    let all_waiting = async {
        let waiting = "SELECT count(*) FROM import_runs WHERE status = 'running' AND attempts = 0";
        while app.count(waiting).await < runs {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), all_waiting)
        .await
        .unwrap();
}

async fn assert_all_six_are_requeued(app: &TestApp) {
    app.dispatcher.wait_idle().await;
    let queued = app
        .count("SELECT count(*) FROM import_runs WHERE status = 'queued' AND attempts = 0")
        .await;
    assert_eq!(queued, 6);
}

/// An app with timeouts longer than any test.
async fn app_with_long_timeouts() -> TestApp {
    TestApp::start_with(Setup {
        connect_timeout: Duration::from_mins(2),
        idle_timeout: Duration::from_mins(2),
        total_timeout: Duration::from_mins(2),
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn unresponsive_host_does_not_block_other_accounts() {
    let app = app_with_long_timeouts().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mut connections) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let _ = sender.send(connection);
        }
    });
    assert_last_account_is_not_blocked(&app, &format!("https://localhost:{port}/contacts.csv"))
        .await;
    wait_until_runs_wait(&app, 4).await;
    // The limit per host is two connections, and both are open.
    let _connections = (
        connections.recv().await.unwrap(),
        connections.recv().await.unwrap(),
    );
    assert!(connections.try_recv().is_err());
    app.lifecycle.soft.cancel();
    app.lifecycle.hard.cancel();
    assert_all_six_are_requeued(&app).await;
}

#[tokio::test]
async fn slow_downloads_do_not_block_other_accounts() {
    let app = app_with_long_timeouts().await;
    let last = app.account(contacts_csv(1..=20)).await;
    let mut hosts = Vec::new();
    // Each account has its own host, so the limit per host does not apply.
    for number in 1..=6 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        hosts.push(listener);
        let url = format!("https://localhost:{port}/contacts.csv");
        add_team(&app, number, &url).await;
    }
    queue_import_of_all(&app).await;
    app.dispatcher.tick().await.unwrap();
    // Four imports run at once; no fifth starts until these count as slow.
    let mut connections = Vec::new();
    for host in hosts.iter().rev().take(4) {
        connections.push(host.accept().await.unwrap());
    }
    app.dispatcher.tick().await.unwrap();
    let active_runs = "SELECT count(*) FROM import_runs WHERE status = 'running'";
    assert_eq!(app.count(active_runs).await, 4);
    wait_until_last_succeeds(&app, last).await;
    // All six still run, and a shutdown is not blamed on their files.
    wait_until_runs_wait(&app, 6).await;
    app.lifecycle.soft.cancel();
    app.lifecycle.hard.cancel();
    app.dispatcher.wait_idle().await;
    let queued = "SELECT count(*) FROM import_runs WHERE status = 'queued'";
    assert_eq!(app.count(queued).await, 6);
}

#[tokio::test]
async fn retry_after_wait_does_not_block_other_accounts() {
    let app = TestApp::start().await;
    let busy = Reply::status(503).header("Retry-After", "240");
    app.https.serve("/busy.csv", busy);
    assert_last_account_is_not_blocked(&app, &app.https.url("/busy.csv")).await;
    wait_until_runs_wait(&app, 6).await;
    // A daemon that shuts down does not wait for them.
    app.lifecycle.soft.cancel();
    assert_all_six_are_requeued(&app).await;
}

#[tokio::test]
async fn failure_after_source_edit_is_retried_with_new_settings() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    app.set_https_source(account, &format!("https://localhost:{port}/contacts.csv"))
        .await;
    // The server answers with something other than TLS, after the settings were edited.
    let answer_after = async |edit: Pin<Box<dyn Future<Output = ()> + '_>>| {
        let (mut connection, _) = server.accept().await.unwrap();
        edit.await;
        connection.write_all(b"not TLS at all").await.unwrap();
        connection
    };
    // An edit that leaves the source as it was causes no second attempt: a refused password would be refused again.
    let edit = Box::pin(async {
        app.execute("UPDATE import_settings SET hold_removed_percent = 20")
            .await
            .unwrap();
    });
    let (run, _connection) = tokio::join!(app.import(account), answer_after(edit));
    assert_failed(&run, "protocol_error");

    let edit = Box::pin(async {
        app.set_https_source(account, &app.https.url("/contacts.csv"))
            .await;
    });
    let (run, _connection) = tokio::join!(app.import(account), answer_after(edit));
    assert_eq!(
        (run.status.as_str(), run.added),
        ("succeeded", Some(20)),
        "{:?}",
        run.failure_message
    );
    assert_eq!(
        app.count("SELECT count(*) FROM mail_outbox").await,
        2,
        "one for the failure and one for the recovery"
    );
}

#[tokio::test]
async fn settings_edited_during_backoff_are_used_by_the_retry() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    let busy = Reply::status(503).header("Retry-After", "1");
    app.https.serve("/busy.csv", busy);
    app.set_https_source(account, &app.https.url("/busy.csv"))
        .await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    app.dispatcher.tick().await.unwrap();
    wait_until_runs_wait(&app, 1).await;
    app.set_https_source(account, &app.https.url("/contacts.csv"))
        .await;
    app.dispatcher.wait_idle().await;
    let run = &app.store.runs(Some(account), 1).await.unwrap()[0];
    assert_eq!((run.status.as_str(), run.added), ("succeeded", Some(20)));
    let request_count = |path: &str| {
        app.https
            .requests()
            .iter()
            .filter(|seen| seen.path == path)
            .count()
    };
    assert_eq!(
        (request_count("/busy.csv"), request_count("/contacts.csv")),
        (1, 1)
    );
}
