//! Retention: the daemon deletes old data and keeps what later runs need.

use chrono::TimeDelta;

use crate::support::TestApp;
use crate::support::sheet::contacts_csv;

#[tokio::test]
async fn removed_contact_after_30_days_is_purged_with_history() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    app.import_sheet(account, contacts_csv(1..=18).replace("6045550003", "1"))
        .await;
    app.import_sheet(account, contacts_csv(1..=18)).await;
    app.advance(TimeDelta::days(29));
    app.run_until_idle().await;
    assert_eq!(app.count("SELECT count(*) FROM contacts").await, 20);
    // A contact that returns before it is purged keeps its ID.
    let id = app
        .count("SELECT id FROM contacts WHERE external_id = '20'")
        .await;
    let sheet = contacts_csv((1..=18).chain([20]));
    assert_eq!(app.import_sheet(account, sheet).await.revived, Some(1));
    assert_eq!(
        app.count("SELECT id FROM active_contacts WHERE external_id = '20'")
            .await,
        id
    );

    app.advance(TimeDelta::days(2));
    app.run_until_idle().await;
    assert_eq!(app.count("SELECT count(*) FROM contacts").await, 19);
    assert_eq!(
        app.count("SELECT count(*) FROM import_changes WHERE external_id = '19'")
            .await,
        0
    );
    // A contact that returns after it was purged is added as a new one.
    let run = app
        .import_sheet(account, contacts_csv((1..=20).filter(|n| *n != 5)))
        .await;
    assert_eq!((run.revived, run.added), (Some(0), Some(1)));
}

/// Issues have only the start and the digest of a long ID.
#[tokio::test]
async fn issues_of_purged_contact_with_long_id_are_deleted() {
    let app = TestApp::start().await;
    let long_id = "x".repeat(300);
    let sheet = contacts_csv(1..=20).replace("\r\n20,", &format!("\r\n{long_id},"));
    let account = app.account(sheet.clone()).await;
    app.import(account).await;
    let run = app
        .import_sheet(account, sheet.replace("6045550020", "1"))
        .await;
    assert_eq!(run.errors, Some(1));
    let issues = "SELECT count(*) FROM import_issues WHERE external_id LIKE 'xxx%' AND length(external_id) < 200";
    assert_eq!(app.count(issues).await, 1);
    let run = app.import_sheet(account, contacts_csv(1..=19)).await;
    assert_eq!(run.removed, Some(1));
    app.advance(TimeDelta::days(31));
    app.run_until_idle().await;
    assert_eq!(app.count("SELECT count(*) FROM contacts").await, 19);
    assert_eq!(app.count(issues).await, 0);
}

/// The issues of a held run name its contacts in error until it is approved or rejected.
#[tokio::test]
async fn issues_of_held_run_are_kept_beyond_retention() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    app.import_sheet(account, contacts_csv(1..=18)).await;
    let sheet = contacts_csv((1..=8).chain([20])).replace("6045550020", "1");
    let held = app.import_sheet(account, sheet).await;
    assert_eq!((held.status.as_str(), held.errors), ("held", Some(1)));
    app.advance(TimeDelta::days(31));
    app.run_until_idle().await;
    assert_eq!(app.count("SELECT count(*) FROM contacts").await, 18);
    assert_eq!(
        app.count("SELECT count(*) FROM import_issues WHERE external_id = '20'")
            .await,
        1
    );
}

#[tokio::test]
async fn purged_contact_with_foreign_reference_is_blanked() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    app.execute("CREATE TABLE duty (contact bigint REFERENCES contacts (id) ON DELETE CASCADE)")
        .await
        .unwrap();
    app.execute("INSERT INTO duty SELECT id FROM contacts WHERE external_id IN ('1', '20')")
        .await
        .unwrap();
    app.import_sheet(account, contacts_csv(1..=18)).await;
    app.advance(TimeDelta::days(31));
    app.run_until_idle().await;
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
    // The blanked record is not reused: both contacts are added as new ones.
    assert_eq!(
        app.import_sheet(account, contacts_csv(1..=20)).await.added,
        Some(2)
    );
}

/// A message that could not be delivered for half a year is no longer useful.
#[tokio::test]
async fn undeliverable_mail_is_deleted_after_180_days() {
    let app = TestApp::start().await;
    app.execute("INSERT INTO mail_outbox (recipient, message_id, subject, created_at, next_attempt_at, last_error)
                 SELECT 'x@example.org', '<' || days || '@x>', days::text, '2026-11-23 12:00Z'::timestamptz - days * interval '1 day',
                        '2036-01-01', '421 later'
                 FROM unnest(ARRAY[1, 100, 179, 181, 700]) AS days")
        .await
        .unwrap();
    app.advance(TimeDelta::hours(2));
    app.run_until_idle().await;
    let left: Vec<String> = sqlx::query_scalar("SELECT subject FROM mail_outbox ORDER BY id")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(left, ["1", "100", "179"]);
}

#[tokio::test]
async fn old_history_is_deleted_except_last_applied_run() {
    let app = TestApp::start().await;
    let account = app
        .account(contacts_csv(1..=20).replace("6045550003", "1"))
        .await;
    let first = app.import(account).await;
    let second = app
        .import_sheet(account, contacts_csv(1..=21).replace("6045550003", "1"))
        .await;
    assert_eq!(app.count("SELECT count(*) FROM mail_outbox").await, 2);
    app.advance(TimeDelta::days(31));
    app.run_until_idle().await;
    assert_eq!(app.count("SELECT count(*) FROM mail_outbox").await, 0);

    app.advance(TimeDelta::days(150));
    app.run_until_idle().await;
    let issues: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT run_id FROM import_issues")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(
        issues,
        [second.id],
        "issues of the last applied run tell which issues are new"
    );
    let revert = app.revert(account, first.id, false).await;
    assert_eq!(
        (revert.status.as_str(), revert.errors),
        ("succeeded_with_issues", Some(19))
    );

    app.advance(TimeDelta::days(600));
    app.run_until_idle().await;
    let runs: Vec<i64> = sqlx::query_scalar("SELECT id FROM import_runs ORDER BY id")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(runs, [second.id, revert.id]);
}
