//! What is old is forgotten by the daemon; what is needed stays.

use chrono::TimeDelta;

use crate::support::TestApp;
use crate::support::sheet::people;

#[tokio::test]
async fn removed_contacts_are_purged_after_30_days_with_what_is_recorded_of_them() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    app.import_sheet(account, people(1..=18).replace("6045550003", "1"))
        .await;
    app.import_sheet(account, people(1..=18)).await;
    app.advance(TimeDelta::days(29));
    app.settle().await;
    assert_eq!(app.count("SELECT count(*) FROM contacts").await, 20);
    // Back in time, with the same id.
    let id = app
        .count("SELECT id FROM contacts WHERE external_id = '20'")
        .await;
    let sheet = people((1..=18).chain([20]));
    assert_eq!(app.import_sheet(account, sheet).await.revived, Some(1));
    assert_eq!(
        app.count("SELECT id FROM active_contacts WHERE external_id = '20'")
            .await,
        id
    );

    app.advance(TimeDelta::days(2));
    app.settle().await;
    assert_eq!(app.count("SELECT count(*) FROM contacts").await, 19);
    assert_eq!(
        app.count("SELECT count(*) FROM import_changes WHERE external_id = '19'")
            .await,
        0
    );
    // Who comes later is a new contact.
    let run = app
        .import_sheet(account, people((1..=20).filter(|n| *n != 5)))
        .await;
    assert_eq!((run.revived, run.added), (Some(0), Some(1)));
}

/// Whose row is in error in the file that waits is named by it until somebody decides.
#[tokio::test]
async fn the_errors_of_a_run_that_waits_are_kept() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    app.import_sheet(account, people(1..=18)).await;
    let sheet = people((1..=8).chain([20])).replace("6045550020", "1");
    let held = app.import_sheet(account, sheet).await;
    assert_eq!((held.status.as_str(), held.errors), ("held", Some(1)));
    app.advance(TimeDelta::days(31));
    app.settle().await;
    assert_eq!(app.count("SELECT count(*) FROM contacts").await, 18);
    assert_eq!(
        app.count("SELECT count(*) FROM import_issues WHERE external_id = '20'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_contact_that_another_table_points_at_is_blanked_instead() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    app.execute("CREATE TABLE duty (contact bigint REFERENCES contacts (id) ON DELETE CASCADE)")
        .await
        .unwrap();
    app.execute("INSERT INTO duty SELECT id FROM contacts WHERE external_id IN ('1', '20')")
        .await
        .unwrap();
    app.import_sheet(account, people(1..=18)).await;
    app.advance(TimeDelta::days(31));
    app.settle().await;
    assert_eq!(app.count("SELECT count(*) FROM duty").await, 2);
    assert_eq!(
        app.count(
            "SELECT count(*) FROM contacts WHERE external_id IS NULL AND name = '' AND purged_at IS NOT NULL"
        )
        .await,
        1
    );
    assert_eq!(app.count("SELECT count(*) FROM contacts").await, 19);
    assert_eq!(app.count("SELECT count(*) FROM contact_numbers").await, 18);
    // It is nobody any more: who comes back is new.
    assert_eq!(
        app.import_sheet(account, people(1..=20)).await.added,
        Some(2)
    );
}

/// What no server has taken for half a year tells nobody anything any more.
#[tokio::test]
async fn mail_that_nobody_takes_is_given_up_in_the_end() {
    let app = TestApp::start().await;
    app.execute("INSERT INTO mail_outbox (recipient, message_id, subject, created_at, next_attempt_at, last_error)
                 SELECT 'x@example.org', '<' || days || '@x>', days::text, '2026-11-23 12:00Z'::timestamptz - days * interval '1 day',
                        '2036-01-01', '421 later'
                 FROM unnest(ARRAY[1, 100, 179, 181, 700]) AS days")
        .await
        .unwrap();
    app.advance(TimeDelta::hours(2));
    app.settle().await;
    let left: Vec<String> = sqlx::query_scalar("SELECT subject FROM mail_outbox ORDER BY id")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(left, ["1", "100", "179"]);
}

#[tokio::test]
async fn history_and_sent_mail_go_but_not_what_the_next_run_needs() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20).replace("6045550003", "1")).await;
    let first = app.import(account).await;
    let second = app
        .import_sheet(account, people(1..=21).replace("6045550003", "1"))
        .await;
    assert_eq!(app.count("SELECT count(*) FROM mail_outbox").await, 2);
    app.advance(TimeDelta::days(31));
    app.settle().await;
    assert_eq!(app.count("SELECT count(*) FROM mail_outbox").await, 0);

    app.advance(TimeDelta::days(150));
    app.settle().await;
    let issues: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT run_id FROM import_issues")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(
        issues,
        [second.id],
        "the last applied run is the measure of what is new"
    );
    let revert = app.revert(account, first.id, false).await;
    assert_eq!(
        (revert.status.as_str(), revert.errors),
        ("succeeded_with_issues", Some(19))
    );

    app.advance(TimeDelta::days(600));
    app.settle().await;
    let runs: Vec<i64> = sqlx::query_scalar("SELECT id FROM import_runs ORDER BY id")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(runs, [second.id, revert.id]);
}
