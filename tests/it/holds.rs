//! An import that would do too much waits for a person.

use crate::support::TestApp;
use crate::support::sheet::{csv, people, row};

#[tokio::test]
async fn a_truncated_file_is_held_and_its_mail_names_everybody() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    let before = app.fingerprint().await;
    let run = app.import_sheet(account, people(1..=20)).await;
    assert_eq!(
        (run.status.as_str(), run.hold_reasons.as_deref()),
        ("held", Some(&["removes_too_many".to_owned()][..]))
    );
    assert_eq!(app.fingerprint().await, before);
    let mail = app.smtp.messages().pop().unwrap();
    assert_eq!(
        mail.subject(),
        "[North Shore Rescue] import waits for you, nothing was changed"
    );
    assert!(
        mail.text().contains("it would remove 20 of 40 contacts"),
        "{}",
        mail.text()
    );
    assert!(
        (21..=40).all(|n| mail.text().contains(&format!("- Name {n} (ID {n})"))),
        "{}",
        mail.text()
    );
    assert_eq!(
        app.count("SELECT count(*) FROM import_changes WHERE NOT applied")
            .await,
        20
    );
}

#[tokio::test]
async fn an_approved_run_is_carried_out_once() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    let held = app.import_sheet(account, people(1..=20)).await;
    let approval = app.approve(account, held.id).await;
    assert_eq!(
        (
            approval.status.as_str(),
            approval.removed,
            approval.subject_run_id
        ),
        ("succeeded", Some(20), Some(held.id))
    );
    assert_eq!(app.contacts().await.len(), 20);
    let held = app.store.run(rosterd::model::RunId(held.id)).await.unwrap();
    assert_eq!(
        (held.status.as_str(), held.superseded_by),
        ("superseded", Some(approval.id))
    );
    let again = app.approve(account, held.id).await;
    assert_eq!((again.status.as_str(), again.removed), ("failed", None));
}

#[tokio::test]
async fn an_approval_does_not_cover_a_file_that_removes_others() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    let held = app.import_sheet(account, people(1..=20)).await;
    app.serve(people(1..=19));
    let approval = app.approve(account, held.id).await;
    assert_eq!(approval.status, "held");
    assert_eq!(app.contacts().await.len(), 40);
    // Fewer people than were approved are covered.
    app.serve(people(1..=25));
    let approval = app.approve(account, approval.id).await;
    assert_eq!(
        (approval.status.as_str(), approval.removed),
        ("succeeded", Some(15))
    );
}

#[tokio::test]
async fn a_rejected_file_is_held_again_and_a_later_run_supersedes() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    let first = app.import_sheet(account, people(1..=20)).await;
    app.store
        .reject_run(rosterd::model::RunId(first.id), app.now())
        .await
        .unwrap();
    let second = app.import(account).await;
    assert_eq!(second.status, "held");
    app.import_sheet(account, "nonsense").await;
    assert_eq!(
        app.store
            .run(rosterd::model::RunId(second.id))
            .await
            .unwrap()
            .status,
        "held",
        "a failed run supersedes nothing"
    );
    let third = app.import_sheet(account, people(1..=41)).await;
    assert_eq!(third.status, "succeeded");
    let second = app
        .store
        .run(rosterd::model::RunId(second.id))
        .await
        .unwrap();
    assert_eq!(
        (second.status.as_str(), second.superseded_by),
        ("superseded", Some(third.id))
    );
    let refusal = app
        .store
        .reject_run(rosterd::model::RunId(second.id), app.now())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains(&format!("superseded by run {}", third.id)),
        "{refusal}"
    );
}

#[tokio::test]
async fn the_first_import_after_enabling_waits_if_it_touches_anyone() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    app.store.set_enabled(account, false).await.unwrap();
    app.store.set_enabled(account, true).await.unwrap();
    let run = app.import_sheet(account, people(1..=19)).await;
    assert_eq!(
        (run.status.as_str(), run.hold_reasons.as_deref()),
        ("held", Some(&["first_import".to_owned()][..]))
    );
    let run = app.approve(account, run.id).await;
    assert_eq!((run.status.as_str(), run.removed), ("succeeded", Some(1)));
    let run = app.import_sheet(account, people(1..=18)).await;
    assert_eq!(
        (run.status.as_str(), run.removed),
        ("succeeded", Some(1)),
        "only the first one waits"
    );
}

#[tokio::test]
async fn a_contact_made_by_hand_is_adopted_with_its_id() {
    let app = TestApp::start().await;
    let account = app
        .store
        .add_account("North Shore Rescue", "UTC", &[])
        .await
        .unwrap();
    for sql in [
        "INSERT INTO contacts (account_id, name) SELECT id, 'NAME 1' FROM accounts",
        "INSERT INTO contact_numbers (contact_id, position, number, number_type) SELECT id, 1, '6045550001', 'landline' FROM contacts",
    ] {
        app.execute(sql).await.unwrap();
    }
    let by_hand = app.count("SELECT id FROM contacts").await;
    app.serve(people(1..=3));
    app.settings(account, &app.https.url("/contacts.csv")).await;
    app.store.set_enabled(account, true).await.unwrap();
    let held = app.import(account).await;
    assert_eq!((held.status.as_str(), held.adopted), ("held", Some(1)));
    let run = app.approve(account, held.id).await;
    assert_eq!(
        (run.status.as_str(), run.adopted, run.added),
        ("succeeded", Some(1), Some(2))
    );
    assert_eq!(
        app.count("SELECT id FROM contacts WHERE external_id = '1' AND name = 'Name 1'")
            .await,
        by_hand
    );
}

#[tokio::test]
async fn an_emptied_group_is_held_by_name_and_comes_back_with_its_id() {
    let app = TestApp::start().await;
    let drivers = |n: usize| {
        if n <= 6 {
            row(n).replace("Team", "\"Team, Drivers\"")
        } else {
            row(n)
        }
    };
    let account = app
        .account(crate::support::sheet::csv((1..=40).map(drivers)))
        .await;
    app.import(account).await;
    let group = app
        .count("SELECT id FROM groups WHERE name = 'Drivers'")
        .await;
    let held = app.import_sheet(account, people(1..=40)).await;
    assert_eq!(
        (held.status.as_str(), held.hold_reasons.as_deref()),
        ("held", Some(&["empties_group".to_owned()][..]))
    );
    assert!(
        app.smtp
            .messages()
            .pop()
            .unwrap()
            .text()
            .contains("Groups that would be empty:\n- Drivers")
    );
    app.approve(account, held.id).await;
    assert_eq!(app.count("SELECT count(*) FROM active_groups").await, 1);
    app.import_sheet(account, crate::support::sheet::csv((1..=40).map(drivers)))
        .await;
    assert_eq!(
        app.count("SELECT id FROM active_groups WHERE name = 'Drivers'")
            .await,
        group
    );
}

/// The same people, each with another ID.
fn renumbered(numbers: impl IntoIterator<Item = usize>) -> String {
    csv(numbers
        .into_iter()
        .map(|n| row(n).replacen(&n.to_string(), &format!("N{n}"), 1)))
}

#[tokio::test]
async fn people_under_new_ids_are_recognised_and_can_keep_their_records() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    let ids = app
        .count("SELECT sum(id)::bigint FROM active_contacts")
        .await;
    let held = app.import_sheet(account, renumbered(1..=20)).await;
    assert_eq!(
        (held.status.as_str(), held.added, held.removed),
        ("held", Some(20), Some(20))
    );
    let mail = app.smtp.messages().pop().unwrap();
    assert!(
        mail.text()
            .contains("Name 7 (ID 7) looks like the new contact with the ID N7")
            && mail.text().contains("--keep-ids"),
        "{}",
        mail.text()
    );
    let run = app.approve_keeping_ids(account, held.id).await;
    assert_eq!(
        (run.status.as_str(), run.added, run.updated, run.removed),
        ("succeeded", Some(0), Some(20), Some(0))
    );
    assert_eq!(
        app.count("SELECT sum(id)::bigint FROM active_contacts")
            .await,
        ids
    );
    assert!(
        app.contacts()
            .await
            .iter()
            .all(|(id, name)| *name == format!("Name {}", &id[1..]))
    );
}

#[tokio::test]
async fn without_keeping_ids_an_approval_makes_new_records_of_them() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    let held = app.import_sheet(account, renumbered(1..=20)).await;
    let run = app.approve(account, held.id).await;
    assert_eq!((run.added, run.removed), (Some(20), Some(20)));
    // Who is recognised twice is not recognised: two with one name and number.
    let twins = csv([row(1), row(1).replacen('1', "1b", 1)]
        .into_iter()
        .chain((2..=20).map(row)));
    let held = app.import_sheet(account, twins).await;
    let kept = app.approve_keeping_ids(account, held.id).await;
    assert_eq!(
        (kept.updated, kept.revived, kept.added, kept.removed),
        (Some(0), Some(20), Some(1), Some(20)),
        "the old IDs are known, so their records come back"
    );
}

#[tokio::test]
async fn a_held_run_names_the_groups_that_would_be_empty() {
    let app = TestApp::start().await;
    let medics = |n: usize| row(n).replace(",Team", ",Medics");
    let account = app
        .account(csv(
            (1..=30).map(|n| if n > 24 { medics(n) } else { row(n) })
        ))
        .await;
    app.import(account).await;
    let held = app.import_sheet(account, people(1..=30)).await;
    assert_eq!(
        (held.hold_reasons.as_deref(), held.emptied_groups.as_deref()),
        (
            Some(&["empties_group".to_owned()][..]),
            Some(&["Medics".to_owned()][..])
        )
    );
}

#[tokio::test]
async fn an_approval_does_not_release_rows_that_nobody_has_seen() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    let nameless = |lost: &'static [usize]| {
        csv((1..=40).map(move |n| {
            if lost.contains(&n) {
                row(n).replacen(&n.to_string(), "", 1)
            } else {
                row(n)
            }
        }))
    };
    let run = app.import_sheet(account, nameless(&[7])).await;
    assert_eq!(
        (run.status.as_str(), run.withheld),
        ("succeeded_with_issues", Some(1))
    );
    // Before it is approved, another row loses its ID.
    app.serve(nameless(&[7, 8]));
    let approval = app.approve(account, run.id).await;
    assert_eq!(
        (
            approval.status.as_str(),
            approval.removed,
            approval.withheld
        ),
        ("succeeded_with_issues", Some(0), Some(2))
    );
    assert_eq!(app.contacts().await.len(), 40);
    // Who approves that one has seen both.
    let approval = app.approve(account, approval.id).await;
    assert_eq!((approval.removed, approval.withheld), (Some(2), Some(0)));
}

#[tokio::test]
async fn withheld_removals_are_approved_until_another_run_is_applied_and_once() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=10)).await;
    app.import(account).await;
    let doubtful = csv((1..=9).map(row).chain([row(10).replacen("10", "", 1)]));
    let run = app.import_sheet(account, doubtful.clone()).await;
    assert_eq!(run.withheld, Some(1));
    app.import_sheet(account, people(1..=100)).await;
    app.serve(doubtful.clone());
    let approval = app.approve(account, run.id).await;
    assert_eq!(
        (approval.status.as_str(), approval.failure_code.as_deref()),
        ("failed", Some("lease_lost")),
        "nobody was shown the others"
    );
    assert_eq!(app.contacts().await.len(), 100);
    // Who approved at the same time as somebody else is told, and no mail says that imports fail.
    assert_eq!(
        app.count("SELECT count(*) FROM import_state WHERE failing_since IS NOT NULL")
            .await,
        0
    );
    let last = app.smtp.messages().pop().unwrap().subject();
    assert!(!last.contains("fail"), "{last}");
}

#[tokio::test]
async fn an_approval_from_before_imports_were_off_removes_nobody_who_came_meanwhile() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    let held = app.import_sheet(account, people(1..=20)).await;
    assert_eq!(held.status, "held");
    app.store.set_enabled(account, false).await.unwrap();
    app.execute("INSERT INTO contacts (account_id, name) SELECT id, 'By Hand' FROM accounts")
        .await
        .unwrap();
    app.store.set_enabled(account, true).await.unwrap();
    let again = app.approve(account, held.id).await;
    assert_eq!((again.status.as_str(), again.removed), ("held", Some(21)));
    // This one shows everybody.
    let approval = app.approve(account, again.id).await;
    assert_eq!(
        (approval.status.as_str(), approval.removed),
        ("succeeded", Some(21))
    );
}

#[tokio::test]
async fn whose_records_are_kept_is_remembered_by_an_approval_that_is_held_again() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    let ids = "SELECT sum(id)::bigint FROM active_contacts";
    let before = app.count(ids).await;
    // New IDs for twenty, and then seven people fewer than that.
    let renumbered = |last| {
        csv((1..=last).map(|n| {
            if n <= 20 {
                row(n).replacen(&n.to_string(), &format!("N{n}"), 1)
            } else {
                row(n)
            }
        }))
    };
    let held = app.import_sheet(account, renumbered(40)).await;
    assert_eq!(held.status, "held");
    app.serve(renumbered(33));
    let again = app.approve_keeping_ids(account, held.id).await;
    assert_eq!(
        (again.status.as_str(), again.updated, again.removed),
        ("held", Some(20), Some(7))
    );
    let approval = app.approve(account, again.id).await;
    assert_eq!(
        (approval.added, approval.updated, approval.removed),
        (Some(0), Some(20), Some(7))
    );
    let gone = "SELECT sum(id)::bigint FROM contacts WHERE removed_at IS NOT NULL";
    assert_eq!(app.count(ids).await + app.count(gone).await, before);
}
