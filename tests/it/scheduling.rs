//! Schedules: due slots fire exactly once, edits are followed, and what was missed is caught up once.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rosterd::model::AccountId;
use rosterd::model::run::{FailureStreak, FileFacts, NewRun, Origin};
use rosterd::store::Started;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::https_server::Reply;
use crate::support::sheet::people;
use crate::support::{Setup, TestApp, failed};

impl TestApp {
    async fn schedule(&self, account: AccountId, days: &str, at: &str) {
        sqlx::query("INSERT INTO import_schedules (account_id, days, at) VALUES ($1, $2::text::weekday[], $3::text::time)")
            .bind(account.0)
            .bind(days)
            .bind(at)
            .execute(&self.pool)
            .await
            .unwrap();
        self.settle().await;
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
async fn a_schedule_fires_at_its_time_and_follows_a_plain_edit() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.schedule(account, "{mon}", "02:30").await;
    assert_eq!(app.next_run().await, at("2026-11-23T10:30:00Z"));
    app.execute("UPDATE import_schedules SET days = '{sun}', at = '05:00'")
        .await
        .unwrap();
    app.settle().await;
    assert_eq!(app.next_run().await, at("2026-11-22T13:00:00Z"));
    assert_eq!(app.runs().await, 0);
    app.advance(TimeDelta::minutes(60));
    app.settle().await;
    assert_eq!(app.contacts().await.len(), 20);
    assert_eq!(app.next_run().await, at("2026-11-29T13:00:00Z"));
    let run = &app.store.runs(Some(account), 1).await.unwrap()[0];
    assert_eq!(
        (run.trigger.as_str(), run.due_at, run.status.as_str()),
        ("schedule", at("2026-11-22T13:00:00Z"), "succeeded")
    );
    app.settle().await;
    assert_eq!(app.runs().await, 1);
}

#[tokio::test]
async fn an_edit_to_a_time_just_past_waits_for_next_week_and_a_new_zone_is_followed() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.schedule(account, "{sun}", "05:00").await;
    // 12:00 UTC is 04:00 in Los Angeles.
    app.execute("UPDATE import_schedules SET at = '03:59'")
        .await
        .unwrap();
    app.settle().await;
    assert_eq!(
        (app.next_run().await, app.runs().await),
        (at("2026-11-29T11:59:00Z"), 0)
    );
    app.execute("UPDATE accounts SET time_zone = 'UTC'")
        .await
        .unwrap();
    app.settle().await;
    assert_eq!(app.next_run().await, at("2026-11-29T03:59:00Z"));
    app.execute("UPDATE import_schedules SET enabled = false")
        .await
        .unwrap();
    app.settle().await;
    assert_eq!(app.next_run().await, None);
}

#[tokio::test]
async fn a_slot_that_is_due_stays_due_through_an_edit() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.schedule(account, "{sun}", "05:00").await;
    app.advance(TimeDelta::hours(2));
    app.execute("UPDATE import_schedules SET days = '{wed}'")
        .await
        .unwrap();
    app.settle().await;
    assert_eq!(
        (app.next_run().await, app.runs().await),
        (at("2026-11-25T13:00:00Z"), 1)
    );
}

#[tokio::test]
async fn a_missed_slot_is_caught_up_once_if_less_than_a_day_old() {
    for (hours, runs) in [(20, 1), (26, 0), (24 * 30, 0)] {
        let app = TestApp::start().await;
        let account = app.account(people(1..=20)).await;
        app.schedule(account, "{sun}", "05:00").await;
        app.advance(TimeDelta::hours(1 + hours));
        app.settle().await;
        assert_eq!(app.runs().await, runs, "{hours} h late");
        assert!(app.next_run().await > Some(app.now()));
    }
}

#[tokio::test]
async fn coinciding_rows_and_repeated_requests_make_one_run() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.schedule(account, "{sun}", "05:00").await;
    app.schedule(account, "{sun,mon}", "05:00").await;
    app.advance(TimeDelta::hours(2));
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    app.settle().await;
    assert_eq!(app.runs().await, 1);
    app.execute(
        "INSERT INTO import_runs (account_id) SELECT id FROM accounts, generate_series(1, 2)",
    )
    .await
    .unwrap();
    app.settle().await;
    let statuses: Vec<String> = sqlx::query_scalar("SELECT status FROM import_runs ORDER BY id")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(statuses, ["succeeded", "unchanged", "superseded"]);
}

#[tokio::test]
async fn while_imports_are_off_slots_pass_without_a_run_and_enabling_catches_nothing_up() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.schedule(account, "{sun}", "05:00").await;
    app.store.set_enabled(account, false).await.unwrap();
    app.advance(TimeDelta::hours(2));
    app.settle().await;
    assert_eq!(
        (app.runs().await, app.next_run().await),
        (0, at("2026-11-29T13:00:00Z"))
    );
    // Off while the slot passed and no daemon looked.
    app.advance(TimeDelta::days(7));
    app.store.set_enabled(account, true).await.unwrap();
    app.settle().await;
    assert_eq!(
        (app.runs().await, app.next_run().await),
        (0, at("2026-12-06T13:00:00Z"))
    );
}

#[tokio::test]
async fn each_slot_runs_once_however_many_daemons_look() {
    let app = Arc::new(TestApp::start().await);
    app.account(people(1..=3)).await;
    sqlx::query(
        "WITH a AS (INSERT INTO accounts (name, import_enabled) SELECT 'account ' || n, true FROM generate_series(1, 200) n RETURNING id)
         INSERT INTO import_schedules (account_id, days, at, next_run_at) SELECT id, '{mon}', '05:00', '2026-11-22 11:59:00Z' FROM a",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let now = app.now();
    let looks = (0..4).map(|_| {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            loop {
                let taken = app
                    .store
                    .take_due_slots(now, 7, |_| Some(now + TimeDelta::days(1)))
                    .await
                    .unwrap()
                    .len();
                if taken == 0 {
                    break;
                }
            }
        })
    });
    for look in looks.collect::<Vec<_>>() {
        look.await.unwrap();
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
            // A look that finds all candidates locked by the others comes back empty and is repeated.
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
async fn what_a_dead_process_held_is_taken_up_and_thrice_is_set_aside() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    let lease = std::time::Duration::from_secs(30);
    for attempt in 1..=3 {
        let claimed = app
            .store
            .claim_runs(app.now(), "a process that dies", lease, 1)
            .await
            .unwrap();
        assert_eq!(claimed[0].attempts, attempt);
        assert!(
            app.store
                .take_over_dead(app.now(), "other", lease)
                .await
                .unwrap()
                .is_empty(),
            "its lease still runs"
        );
        app.advance(TimeDelta::seconds(31));
        if attempt < 3 {
            assert!(
                app.store
                    .take_over_dead(app.now(), "other", lease)
                    .await
                    .unwrap()
                    .is_empty()
            );
        }
    }
    app.settle().await;
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
    app.settle().await;
    assert_eq!(app.runs().await, 1, "scheduled imports stay away");
    assert_eq!(app.import(account).await.status, "succeeded");
    assert!(
        app.store
            .account(&"1".parse().unwrap())
            .await
            .unwrap()
            .set_aside
            .is_none(),
        "a person has run it again"
    );
}

#[tokio::test]
async fn a_process_that_was_thought_dead_can_no_longer_commit() {
    let app = TestApp::start().await;
    app.account(people(1..=20)).await;
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
    app.settle().await;
    assert_eq!(app.contacts().await.len(), 20);
    assert!(!app.store.renew_lease(&old, app.now(), lease).await.unwrap());
    let session = app.store.open_session(&old).await.unwrap();
    let end = rosterd::store::Conclusion {
        status: rosterd::model::run::RunStatus::Failed,
        failure: Some(rosterd::model::failure::Failure::new(
            rosterd::model::failure::FailureCode::Internal,
            "late",
        )),
        hold_reasons: Vec::new(),
        emptied_groups: Vec::new(),
        file: FileFacts::default(),
        counts: None,
        state: None,
        streak: FailureStreak::default(),
    };
    assert!(matches!(
        session.conclude(&end, app.now()).await,
        Err(rosterd::store::StoreError::LeaseLost)
    ));
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs WHERE status = 'succeeded'")
            .await,
        1
    );
}

#[tokio::test]
async fn whoever_waits_for_a_running_import_uses_up_no_ids() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=3)).await;
    let new = NewRun::manual(account, Origin::Source);
    let start = || {
        app.store
            .start_run(new, app.now(), "test", Duration::from_mins(1))
    };
    let Started::Run(first) = start().await.unwrap() else {
        panic!("nothing else is under way");
    };
    for _ in 0..5 {
        let Started::Busy(other) = start().await.unwrap() else {
            panic!("the first is under way");
        };
        assert_eq!(other, first.id);
    }
    sqlx::query("UPDATE import_runs SET status = 'failed', failure_code = 'internal', failure_message = 'ended', finished_at = $1")
        .bind(app.now())
        .execute(&app.pool)
        .await
        .unwrap();
    let Started::Run(second) = start().await.unwrap() else {
        panic!("nothing is under way any more");
    };
    assert_eq!(second.id.0, first.id.0 + 1);
}

/// Six accounts whose file lies at `elsewhere`, and one, the last in the queue, whose import is through while none of
/// theirs is. Four imports are under way at once.
async fn one_gets_past(app: &TestApp, elsewhere: &str) {
    let last = app.account(people(1..=20)).await;
    for number in 1..=6 {
        add_team(app, number, elsewhere).await;
    }
    ask_for_all(app).await;
    is_through(app, last).await;
}

async fn add_team(app: &TestApp, number: i32, url: &str) {
    let admins = ["admin@example.org".to_owned()];
    let account = app
        .store
        .add_account(&format!("Team {number}"), "UTC", &admins)
        .await
        .unwrap();
    app.settings(account, url).await;
    app.store.set_enabled(account, true).await.unwrap();
}

/// Asks for an import of every account, the one with the lowest number last.
async fn ask_for_all(app: &TestApp) {
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts ORDER BY id DESC")
        .await
        .unwrap();
}

/// Waits until an account's import is through while six others are under way or wait.
async fn is_through(app: &TestApp, last: AccountId) {
    while app.store.runs(Some(last), 1).await.unwrap()[0].status != "succeeded" {
        app.dispatcher.tick().await.unwrap();
    }
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs WHERE status = 'running'")
            .await,
        6
    );
}

/// Waits until so many of the runs under way merely wait, for a slow file perhaps: those don't count as attempts.
async fn waiting(app: &TestApp, runs: i64) {
    let all_wait = async {
        let waiting = "SELECT count(*) FROM import_runs WHERE status = 'running' AND attempts = 0";
        while app.count(waiting).await < runs {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), all_wait)
        .await
        .unwrap();
}

async fn all_six_are_handed_back(app: &TestApp) {
    app.dispatcher.idle().await;
    let queued = app
        .count("SELECT count(*) FROM import_runs WHERE status = 'queued' AND attempts = 0")
        .await;
    assert_eq!(queued, 6);
}

/// One that waits longer for a host than any test lasts.
async fn patient() -> TestApp {
    TestApp::start_with(Setup {
        connect_timeout: Duration::from_mins(2),
        idle_timeout: Duration::from_mins(2),
        total_timeout: Duration::from_mins(2),
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn whoever_waits_for_a_host_that_does_not_answer_keeps_nobody_else_waiting() {
    let app = patient().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let (sender, mut guests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((guest, _)) = silent.accept().await {
            let _ = sender.send(guest);
        }
    });
    one_gets_past(&app, &format!("https://localhost:{port}/contacts.csv")).await;
    waiting(&app, 4).await;
    // Two may ask one host at once, and these do.
    let _asking = (guests.recv().await.unwrap(), guests.recv().await.unwrap());
    assert!(guests.try_recv().is_err());
    app.lifecycle.soft.cancel();
    app.lifecycle.hard.cancel();
    all_six_are_handed_back(&app).await;
}

#[tokio::test]
async fn hosts_that_are_slow_while_they_are_fetched_from_keep_nobody_else_waiting() {
    let app = patient().await;
    let last = app.account(people(1..=20)).await;
    let mut hosts = Vec::new();
    // Each has its own host: none waits for another's turn.
    for number in 1..=6 {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        hosts.push(silent);
        let url = format!("https://localhost:{port}/contacts.csv");
        add_team(&app, number, &url).await;
    }
    ask_for_all(&app).await;
    app.dispatcher.tick().await.unwrap();
    // Four are under way at once, and no fifth begins as long as these are swift.
    let mut guests = Vec::new();
    for host in hosts.iter().rev().take(4) {
        guests.push(host.accept().await.unwrap());
    }
    app.dispatcher.tick().await.unwrap();
    let under_way = "SELECT count(*) FROM import_runs WHERE status = 'running'";
    assert_eq!(app.count(under_way).await, 4);
    is_through(&app, last).await;
    // Each goes on, and what ends the process meanwhile is not its file.
    waiting(&app, 6).await;
    app.lifecycle.soft.cancel();
    app.lifecycle.hard.cancel();
    app.dispatcher.idle().await;
    let queued = "SELECT count(*) FROM import_runs WHERE status = 'queued'";
    assert_eq!(app.count(queued).await, 6);
}

#[tokio::test]
async fn whoever_was_asked_to_come_back_later_keeps_nobody_else_waiting() {
    let app = TestApp::start().await;
    let busy = Reply::status(503).header("Retry-After", "240");
    app.https.serve("/busy.csv", busy);
    one_gets_past(&app, &app.https.url("/busy.csv")).await;
    waiting(&app, 6).await;
    // A daemon that is to stop does not wait with them.
    app.lifecycle.soft.cancel();
    all_six_are_handed_back(&app).await;
}

#[tokio::test]
async fn a_failure_of_settings_that_were_edited_meanwhile_is_none() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = held.local_addr().unwrap().port();
    app.settings(account, &format!("https://localhost:{port}/contacts.csv"))
        .await;
    // Asked for the file, it speaks no TLS, but only after the settings were edited.
    let answered = async |edit: Pin<Box<dyn Future<Output = ()> + '_>>| {
        let (mut guest, _) = held.accept().await.unwrap();
        edit.await;
        guest.write_all(b"not TLS at all").await.unwrap();
        guest
    };
    // No other way to the file: it is not gone a second time, for a password that was refused would be refused again.
    let edit = Box::pin(async {
        app.execute("UPDATE import_settings SET hold_removed_percent = 20")
            .await
            .unwrap();
    });
    let (run, _guest) = tokio::join!(app.import(account), answered(edit));
    failed(&run, "protocol_error");

    let edit = Box::pin(async {
        app.settings(account, &app.https.url("/contacts.csv")).await;
    });
    let (run, _guest) = tokio::join!(app.import(account), answered(edit));
    assert_eq!(
        (run.status.as_str(), run.added),
        ("succeeded", Some(20)),
        "{:?}",
        run.failure_message
    );
    assert_eq!(
        app.count("SELECT count(*) FROM mail_outbox").await,
        2,
        "of the first failure, and that it is over"
    );
}

#[tokio::test]
async fn settings_that_are_edited_while_a_run_waits_are_the_ones_it_goes_on_with() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    let busy = Reply::status(503).header("Retry-After", "1");
    app.https.serve("/busy.csv", busy);
    app.settings(account, &app.https.url("/busy.csv")).await;
    app.execute("INSERT INTO import_runs (account_id) SELECT id FROM accounts")
        .await
        .unwrap();
    app.dispatcher.tick().await.unwrap();
    waiting(&app, 1).await;
    app.settings(account, &app.https.url("/contacts.csv")).await;
    app.dispatcher.idle().await;
    let run = &app.store.runs(Some(account), 1).await.unwrap()[0];
    assert_eq!((run.status.as_str(), run.added), ("succeeded", Some(20)));
    let asked = |path: &str| {
        app.https
            .seen()
            .iter()
            .filter(|seen| seen.path == path)
            .count()
    };
    assert_eq!((asked("/busy.csv"), asked("/contacts.csv")), (1, 1));
}
