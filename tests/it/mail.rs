//! Mail goes out at least once, to everybody who can be reached, and says the same thing no more often than it should.

use chrono::TimeDelta;

use crate::support::TestApp;
use crate::support::https_server::Reply;
use crate::support::sheet::people;

fn bad() -> String {
    people(1..=20).replace("6045550003", "3")
}

#[tokio::test]
async fn one_admin_who_is_refused_keeps_nobody_else_from_their_mail() {
    let app = TestApp::start().await;
    let account = app.account(bad()).await;
    app.execute("INSERT INTO account_admins (account_id, email) SELECT id, 'gone@example.org' FROM accounts").await.unwrap();
    app.smtp.refuse("gone@example.org", "550 no such user");
    app.import(account).await;
    let messages = app.smtp.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].to, ["admin@example.org"]);
    let troubles = app.store.mail_troubles(app.now()).await.unwrap();
    assert_eq!(
        (
            troubles.len(),
            troubles[0].permanent,
            troubles[0].recipient.as_str()
        ),
        (1, true, "gone@example.org")
    );
    assert!(
        troubles[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("no such user")
    );
    app.advance(TimeDelta::days(1));
    app.settle().await;
    assert_eq!(
        app.smtp.messages().len(),
        1,
        "a refusal for good is not repeated"
    );
}

#[tokio::test]
async fn mail_waits_out_a_server_that_is_busy_and_keeps_its_message_id() {
    let app = TestApp::start().await;
    let account = app.account(bad()).await;
    app.smtp.answer_data("451 try later");
    app.import(account).await;
    assert_eq!(app.smtp.messages().len(), 0);
    let message_id: String = sqlx::query_scalar("SELECT message_id FROM mail_outbox")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    app.advance(TimeDelta::minutes(2));
    app.settle().await;
    let messages = app.smtp.messages();
    assert_eq!(
        (messages.len(), format!("<{}>", messages[0].message_id())),
        (1, message_id)
    );
    app.advance(TimeDelta::days(1));
    app.settle().await;
    assert_eq!(
        app.smtp.messages().len(),
        1,
        "what was taken is not sent again"
    );
    assert_eq!(
        app.count("SELECT count(*) FROM mail_outbox WHERE sent_at IS NOT NULL AND attempts = 2")
            .await,
        1
    );
}

#[tokio::test]
async fn a_failure_that_goes_on_is_mailed_once_and_its_end_too() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    app.execute("INSERT INTO import_schedules (account_id, days, at) SELECT id, '{mon,tue,wed,thu,fri,sat,sun}', '05:00' FROM accounts").await.unwrap();
    app.settle().await;
    app.https.serve("/contacts.csv", Reply::status(404));
    let mut subjects = Vec::new();
    for day in 0..10 {
        if day == 3 {
            app.https.serve("/contacts.csv", Reply::status(403));
        }
        app.advance(TimeDelta::days(1));
        app.settle().await;
        subjects.push(app.smtp.messages().len());
    }
    assert_eq!(subjects, [1, 1, 1, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!(
        app.count("SELECT count(*) FROM import_state WHERE failing_since = '2026-11-23 12:00Z'")
            .await,
        1
    );
    app.advance(TimeDelta::days(1));
    app.settle().await;
    assert_eq!(
        app.smtp.messages().len(),
        3,
        "a week after it was last mailed it is mailed again"
    );
    app.serve(people(1..=20));
    app.advance(TimeDelta::days(1));
    app.settle().await;
    let messages = app.smtp.messages();
    assert_eq!(
        (messages.len(), messages[3].subject().as_str()),
        (4, "[North Shore Rescue] import works again")
    );
}

#[tokio::test]
async fn who_wants_problems_only_does_not_hear_of_removals() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.execute("INSERT INTO account_admins (account_id, email, notify) SELECT id, 'quiet@example.org', 'problems' FROM accounts").await.unwrap();
    app.import(account).await;
    app.import_sheet(account, people(1..=19)).await;
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
async fn without_an_admin_the_operator_is_told() {
    let app = TestApp::start().await;
    let account = app.account(bad()).await;
    app.execute("DELETE FROM account_admins").await.unwrap();
    app.import(account).await;
    assert_eq!(app.smtp.messages()[0].to, ["ops@example.org"]);
}

#[tokio::test]
async fn many_issues_come_as_an_attachment() {
    let app = TestApp::start().await;
    let mut sheet = people(1..=400);
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
