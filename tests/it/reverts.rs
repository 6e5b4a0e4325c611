//! Reverts: a separate run restores the state before an import, and reports contacts that changed since.

use crate::support::TestApp;
use crate::support::sheet::{contacts_csv, csv, row};

/// The row with a different name and other groups.
fn renamed(n: usize) -> String {
    row(n)
        .replace(&format!("Name {n}"), &format!("Another {n}"))
        .replace(",Team", ",\"Medics, Drivers\"")
}

#[tokio::test]
async fn revert_restores_state_before_the_import() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=30)).await;
    app.import(account).await;
    let before = app.state().await;
    // Removes 28 to 30, changes 1 and 2, adds 31, and adds a second number to 3.
    let sheet = csv((1..=27)
        .map(|n| if n < 3 { renamed(n) } else { row(n) })
        .chain([row(31), row(3).replace("6045550003", "6045559999")]));
    let run = app.import_sheet(account, sheet.clone()).await;
    assert_eq!(
        (run.added, run.updated, run.removed),
        (Some(1), Some(3), Some(3))
    );
    let after = app.state().await;
    assert_ne!(after, before);

    let revert = app.revert(account, run.id, false).await;
    assert_eq!(app.state().await, before);
    assert_eq!(
        (
            revert.status.as_str(),
            revert.trigger.as_str(),
            revert.subject_run_id
        ),
        ("succeeded", "revert", Some(run.id))
    );
    assert_eq!(
        (
            revert.revived,
            revert.updated,
            revert.removed,
            revert.contacts_after
        ),
        (Some(3), Some(3), Some(1), Some(30))
    );
    let mail = app.smtp.messages().pop().unwrap();
    assert_eq!(
        mail.subject(),
        format!("[North Shore Rescue] Import {} was undone", run.id)
    );

    // The reverted file does not count as unchanged: it is read again, and held for approval.
    let again = app.import_sheet(account, sheet).await;
    assert_eq!(
        (again.status.as_str(), again.hold_reasons.as_deref()),
        ("held", Some(&["after_revert".to_owned()][..]))
    );
    assert_eq!(app.state().await, before);
    // A revert can itself be reverted.
    app.revert(account, revert.id, false).await;
    assert_eq!(app.state().await, after);
}

/// Contacts revived by a revert are identified by a digest of their data, which is the same for identical contacts.
#[tokio::test]
async fn revert_restores_both_of_two_identical_manual_contacts() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=30)).await;
    app.store.set_import_enabled(account, false).await.unwrap();
    for _ in 0..2 {
        app.execute("WITH made AS (INSERT INTO contacts (account_id, name) SELECT id, 'Twin' FROM accounts RETURNING id)
                     INSERT INTO contact_numbers (contact_id, position, number, number_type) SELECT id, 1, '2505550199', 'pager' FROM made")
            .await
            .unwrap();
    }
    app.store.set_import_enabled(account, true).await.unwrap();
    let held = app.import(account).await;
    assert_eq!((held.status.as_str(), held.removed), ("held", Some(2)));
    let applied = app.approve(account, held.id).await;
    app.revert(account, applied.id, false).await;

    let again = app.import(account).await;
    assert_eq!((again.status.as_str(), again.removed), ("held", Some(2)));
    app.approve(account, again.id).await;
    assert_eq!(app.contacts().await.len(), 30);
}

#[tokio::test]
async fn revert_skips_and_reports_contacts_changed_since() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let run = app
        .import_sheet(
            account,
            csv((1..=20).map(|n| if n < 5 { renamed(n) } else { row(n) })),
        )
        .await;
    assert_eq!(run.updated, Some(4));
    // A later run changes 1 again and removes 2; another program changes 3.
    let sheet = csv((1..=20).filter(|n| *n != 2).map(|n| match n {
        1 => row(1).replace("Name 1", "Third 1"),
        3 | 4 => renamed(n),
        n => row(n),
    }));
    app.import_sheet(account, sheet).await;
    app.store.set_import_enabled(account, false).await.unwrap();
    app.execute("UPDATE contacts SET title = 'Chief' WHERE external_id = '3'")
        .await
        .unwrap();

    let revert = app.revert(account, run.id, false).await;
    assert_eq!(
        (revert.status.as_str(), revert.updated, revert.errors),
        ("succeeded_with_issues", Some(1), Some(3))
    );
    let names = app.contacts().await;
    let name = |id: &str| {
        names
            .iter()
            .find(|(other, _)| other == id)
            .map(|(_, name)| name.as_str())
    };
    assert_eq!(
        [name("1"), name("2"), name("3"), name("4")],
        [Some("Third 1"), None, Some("Another 3"), Some("Name 4")]
    );
    let issues = app
        .store
        .run_issues(rosterd::model::RunId(revert.id))
        .await
        .unwrap();
    let mut refused: Vec<_> = issues
        .iter()
        .filter_map(|i| i.external_id.as_deref())
        .collect();
    refused.sort_unstable();
    assert_eq!(refused, ["1", "2", "3"]);
    assert!(issues.iter().all(|issue| issue.code == "revert_refused"));
    let mail = app.smtp.messages().pop().unwrap();
    assert!(
        mail.subject().contains("was undone, except for 3 contacts")
            && mail.text().contains("Another 3 (ID 3)"),
        "{}",
        mail.text()
    );

    let forced = app.revert(account, run.id, true).await;
    assert_eq!(
        (forced.status.as_str(), forced.updated, forced.revived),
        ("succeeded", Some(2), Some(1))
    );
    assert!(
        app.contacts()
            .await
            .iter()
            .take(4)
            .all(|(id, name)| *name == format!("Name {id}"))
    );
}

#[tokio::test]
async fn revert_of_unchanged_or_foreign_run_fails() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=5)).await;
    let first = app.import(account).await;
    let unchanged = app.import(account).await;
    let other = app
        .store
        .add_account("Other", "UTC", &["b@example.org".to_owned()])
        .await
        .unwrap();
    let before = app.snapshot().await;
    for (account, run) in [(account, unchanged.id), (other, first.id)] {
        let revert = app.revert(account, run, true).await;
        assert_eq!((revert.status.as_str(), revert.removed), ("failed", None));
        assert_eq!(app.snapshot().await, before);
    }
    assert!(
        app.store
            .check_revertible(rosterd::model::RunId(unchanged.id))
            .await
            .unwrap_err()
            .to_string()
            .contains("nothing to revert")
    );
}

#[tokio::test]
async fn revert_undoes_adoption_and_new_ids() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.store.set_import_enabled(account, false).await.unwrap();
    app.execute(
        "WITH c AS (INSERT INTO contacts (account_id, name) SELECT id, 'Name 1' FROM accounts RETURNING id)
         INSERT INTO contact_numbers (contact_id, position, number, number_type) SELECT id, 1, '6045550001', 'mobile' FROM c",
    )
    .await
    .unwrap();
    let before_adoption = app.state().await;
    app.store.set_import_enabled(account, true).await.unwrap();
    let held = app.import(account).await;
    let first = app.approve(account, held.id).await;
    assert_eq!((first.adopted, first.added), (Some(1), Some(19)));
    app.revert(account, first.id, false).await;
    assert_eq!(app.state().await, before_adoption);

    let held = app.import(account).await;
    app.approve(account, held.id).await;
    let before = app.state().await;
    let sheet = csv((1..=20).map(|n| row(n).replacen(&n.to_string(), &format!("N{n}"), 1)));
    let held = app.import_sheet(account, sheet).await;
    let with_kept_ids = app.approve_keeping_ids(account, held.id).await;
    assert_eq!(
        (with_kept_ids.updated, with_kept_ids.removed),
        (Some(20), Some(0))
    );
    app.revert(account, with_kept_ids.id, false).await;
    assert_eq!(app.state().await, before);
}
