//! Mail delivery: at least once to every reachable recipient, without needless repetition.

use chrono::TimeDelta;

use crate::support::TestApp;
use crate::support::https_server::Reply;
use crate::support::sheet::contacts_csv;

fn sheet_with_error() -> String {
    contacts_csv(1..=20).replace("6045550003", "3")
}

#[tokio::test]
async fn refused_recipient_does_not_block_other_admins() {
    let app = TestApp::start().await;
    let account = app.account(sheet_with_error()).await;
    app.execute("INSERT INTO account_admins (account_id, email) SELECT id, 'gone@example.org' FROM accounts").await.unwrap();
    app.smtp.refuse("gone@example.org", "550 no such user");
    app.import(account).await;
    let messages = app.smtp.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].to, ["admin@example.org"]);
    let failures = app.store.undelivered_mail(app.now()).await.unwrap();
    assert_eq!(
        (
            failures.len(),
            failures[0].permanent,
            failures[0].recipient.as_str()
        ),
        (1, true, "gone@example.org")
    );
    assert!(
        failures[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("no such user")
    );
    app.advance(TimeDelta::days(1));
    app.run_until_idle().await;
    assert_eq!(
        app.smtp.messages().len(),
        1,
        "a permanent refusal is not retried"
    );
}

#[tokio::test]
async fn temporary_smtp_error_is_retried_with_same_message_id() {
    let app = TestApp::start().await;
    let account = app.account(sheet_with_error()).await;
    app.smtp.answer_data("451 try later");
    app.import(account).await;
    assert_eq!(app.smtp.messages().len(), 0);
    let message_id: String = sqlx::query_scalar("SELECT message_id FROM mail_outbox")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    app.advance(TimeDelta::minutes(2));
    app.run_until_idle().await;
    let messages = app.smtp.messages();
    assert_eq!(
        (messages.len(), format!("<{}>", messages[0].message_id())),
        (1, message_id)
    );
    app.advance(TimeDelta::days(1));
    app.run_until_idle().await;
    assert_eq!(
        app.smtp.messages().len(),
        1,
        "a delivered message is not sent again"
    );
    assert_eq!(
        app.count("SELECT count(*) FROM mail_outbox WHERE sent_at IS NOT NULL AND attempts = 2")
            .await,
        1
    );
}

#[tokio::test]
async fn ongoing_failure_is_mailed_weekly_until_recovery() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    app.execute("INSERT INTO import_schedules (account_id, days, at) SELECT id, '{mon,tue,wed,thu,fri,sat,sun}', '05:00' FROM accounts").await.unwrap();
    app.run_until_idle().await;
    app.https.serve("/contacts.csv", Reply::status(404));
    let mut message_counts = Vec::new();
    for day in 0..10 {
        if day == 3 {
            app.https.serve("/contacts.csv", Reply::status(403));
        }
        app.advance(TimeDelta::days(1));
        app.run_until_idle().await;
        message_counts.push(app.smtp.messages().len());
    }
    assert_eq!(message_counts, [1, 1, 1, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!(
        app.count("SELECT count(*) FROM import_state WHERE failing_since = '2026-11-23 12:00Z'")
            .await,
        1
    );
    app.advance(TimeDelta::days(1));
    app.run_until_idle().await;
    assert_eq!(
        app.smtp.messages().len(),
        3,
        "the failure is mailed again a week after the last mail"
    );
    app.serve(contacts_csv(1..=20));
    app.advance(TimeDelta::days(1));
    app.run_until_idle().await;
    let messages = app.smtp.messages();
    assert_eq!(
        (messages.len(), messages[3].subject().as_str()),
        (4, "[North Shore Rescue] Imports work again")
    );
}

#[tokio::test]
async fn admin_with_problems_only_gets_no_removal_mail() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.execute("INSERT INTO account_admins (account_id, email, notify) SELECT id, 'quiet@example.org', 'problems' FROM accounts").await.unwrap();
    app.import(account).await;
    app.import_sheet(account, contacts_csv(1..=19)).await;
    let messages = app.smtp.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].to, ["admin@example.org"]);
    assert!(
        messages[0].text().contains("Removed:\n- Name 20 (ID 20)"),
        "{}",
        messages[0].text()
    );
}

#[tokio::test]
async fn account_without_admin_notifies_the_operator() {
    let app = TestApp::start().await;
    let account = app.account(sheet_with_error()).await;
    app.execute("DELETE FROM account_admins").await.unwrap();
    app.import(account).await;
    assert_eq!(app.smtp.messages()[0].to, ["ops@example.org"]);
}

#[tokio::test]
async fn many_issues_are_sent_as_csv_attachment() {
    let app = TestApp::start().await;
    let mut sheet = contacts_csv(1..=400);
    for n in 1..=99 {
        sheet = sheet.replace(
            &format!("\r\n{n},Name {n},,,604"),
            &format!("\r\n{n},=Name {n},,n/a,604"),
        );
    }
    for n in 100..=180 {
        sheet = sheet.replace(
            &format!("\r\n{n},Name {n},,,604"),
            &format!("\r\n{n},=Name {n},,,1"),
        );
    }
    let account = app.account(sheet).await;
    app.import(account).await;
    let mail = app.smtp.messages().pop().unwrap();
    let csv = mail.attachment().unwrap();
    assert_eq!(csv.lines().count(), 1 + 180, "{csv}");
    assert!(csv.contains("\"'=Name 100\""));
}
