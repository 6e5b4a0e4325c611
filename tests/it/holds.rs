//! Imports over the hold limits wait for approval.

use std::ops::RangeInclusive;

use crate::support::TestApp;
use crate::support::cli::run_cli;
use crate::support::sheet::{contacts_csv, csv, row};

#[tokio::test]
async fn truncated_file_is_held_and_mail_lists_removals() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    let before = app.snapshot().await;
    let run = app.import_sheet(account, contacts_csv(1..=20)).await;
    assert_eq!(
        (run.status.as_str(), run.hold_reasons.as_deref()),
        ("held", Some(&["removes_too_many".to_owned()][..]))
    );
    assert_eq!(app.snapshot().await, before);
    let mail = app.smtp.messages().pop().unwrap();
    assert_eq!(
        mail.subject(),
        "[North Shore Rescue] Import held for approval; nothing was changed"
    );
    assert!(
        mail.text().contains("It would remove 20 of 40 contacts"),
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
async fn approved_run_is_applied_only_once() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    let held = app.import_sheet(account, contacts_csv(1..=20)).await;
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
async fn approval_of_file_with_other_removals_is_held_again() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    let held = app.import_sheet(account, contacts_csv(1..=20)).await;
    app.serve(contacts_csv(1..=19));
    let approval = app.approve(account, held.id).await;
    assert_eq!(approval.status, "held");
    assert_eq!(app.contacts().await.len(), 40);
    // The approval covers a subset of the approved removals.
    app.serve(contacts_csv(1..=25));
    let approval = app.approve(account, approval.id).await;
    assert_eq!(
        (approval.status.as_str(), approval.removed),
        ("succeeded", Some(15))
    );
}

#[tokio::test]
async fn rejected_file_is_held_again_until_superseded() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    let first = app.import_sheet(account, contacts_csv(1..=20)).await;
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
    let third = app.import_sheet(account, contacts_csv(1..=41)).await;
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
    let error = app
        .store
        .reject_run(rosterd::model::RunId(second.id), app.now())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("superseded by run {}", third.id)),
        "{error}"
    );
}

#[tokio::test]
async fn first_import_after_enabling_with_changes_is_held() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    app.store.set_import_enabled(account, false).await.unwrap();
    app.store.set_import_enabled(account, true).await.unwrap();
    let run = app.import_sheet(account, contacts_csv(1..=19)).await;
    assert_eq!(
        (run.status.as_str(), run.hold_reasons.as_deref()),
        ("held", Some(&["first_import".to_owned()][..]))
    );
    let run = app.approve(account, run.id).await;
    assert_eq!((run.status.as_str(), run.removed), ("succeeded", Some(1)));
    let run = app.import_sheet(account, contacts_csv(1..=18)).await;
    assert_eq!(
        (run.status.as_str(), run.removed),
        ("succeeded", Some(1)),
        "only the first import is held"
    );
}

#[tokio::test]
async fn manual_contact_matching_a_row_is_adopted_with_its_id() {
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
    let manual_id = app.count("SELECT id FROM contacts").await;
    app.serve(contacts_csv(1..=3));
    app.set_https_source(account, &app.https.url("/contacts.csv"))
        .await;
    app.store.set_import_enabled(account, true).await.unwrap();
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
        manual_id
    );
}

#[tokio::test]
async fn group_becoming_empty_is_held_and_restored_with_its_id() {
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
    let held = app.import_sheet(account, contacts_csv(1..=40)).await;
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
            .contains("Groups that would have no members:\n- Drivers")
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

/// The same contacts, each with a new ID.
fn renumbered(numbers: impl IntoIterator<Item = usize>) -> String {
    csv(numbers
        .into_iter()
        .map(|n| row(n).replacen(&n.to_string(), &format!("N{n}"), 1)))
}

#[tokio::test]
async fn contacts_under_new_ids_can_keep_their_records() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
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
            .contains("Name 7 (ID 7) looks like the new contact with ID N7")
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
async fn contacts_under_new_ids_without_keep_ids_are_replaced() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let held = app.import_sheet(account, renumbered(1..=20)).await;
    let run = app.approve(account, held.id).await;
    assert_eq!((run.added, run.removed), (Some(20), Some(20)));
    // Two rows with the same name and number match no contact unambiguously.
    let duplicates = csv([row(1), row(1).replacen('1', "1b", 1)]
        .into_iter()
        .chain((2..=20).map(row)));
    let held = app.import_sheet(account, duplicates).await;
    let kept = app.approve_keeping_ids(account, held.id).await;
    assert_eq!(
        (kept.updated, kept.revived, kept.added, kept.removed),
        (Some(0), Some(20), Some(1), Some(20)),
        "the old IDs match removed contacts, which are restored"
    );
}

/// The same contacts as written by a program that reads the IDs as numbers, because one of them is blank: `1001.0`.
fn with_decimal_ids(numbers: RangeInclusive<usize>, blank: usize) -> String {
    csv(numbers.map(|n| {
        let id = if n == blank {
            String::new()
        } else {
            format!("{n}.0")
        };
        row(n).replacen(&n.to_string(), &id, 1)
    }))
}

#[tokio::test]
async fn blank_id_does_not_hide_changed_ids() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1001..=1020)).await;
    app.import(account).await;
    let before = app.snapshot().await;
    let recognized = "SELECT id, name FROM active_contacts WHERE name <> 'Name 1007' ORDER BY id";
    let records = async || -> Vec<(i64, String)> {
        let rows = sqlx::query_as(recognized).fetch_all(&app.pool).await;
        rows.unwrap()
    };
    let records_before = records().await;

    let sheet = with_decimal_ids(1001..=1020, 1007);
    let held = app.import_sheet(account, sheet).await;
    assert_eq!(held.status, "held");
    let reasons = ["removes_too_many", "ids_changed"].map(str::to_owned);
    assert_eq!(held.hold_reasons.as_deref(), Some(&reasons[..]));
    assert_eq!(
        (held.added, held.removed, held.withheld),
        (Some(19), Some(0), Some(20))
    );
    assert_eq!(app.snapshot().await, before);
    let text = app.smtp.messages().pop().unwrap().text();
    let command = format!("rosterd runs approve {} --keep-ids", held.id);
    for expected in [
        "It would remove 20 of 20 contacts",
        "19 of 20 contacts are probably in the file under a new ID",
        command.as_str(),
    ] {
        assert!(text.contains(expected), "{text}");
    }

    let run = app.approve_keeping_ids(account, held.id).await;
    assert_eq!(
        (run.added, run.updated, run.removed, run.withheld),
        (Some(0), Some(19), Some(1), Some(0)),
        "{run:?}"
    );
    assert_eq!(records().await, records_before);
    let contacts = app.contacts().await;
    assert_eq!(contacts.len(), 19);
    for (id, name) in contacts {
        let old_id = id.strip_suffix(".0").unwrap();
        assert_eq!(name, format!("Name {old_id}"));
    }
}

#[tokio::test]
async fn approval_without_keep_ids_replaces_withheld_contacts() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1001..=1020)).await;
    app.import(account).await;
    let sheet = with_decimal_ids(1001..=1020, 1007);
    let held = app.import_sheet(account, sheet).await;
    let run = app.approve(account, held.id).await;
    assert_eq!(
        (run.added, run.updated, run.removed, run.withheld),
        (Some(19), Some(0), Some(20), Some(0)),
        "{run:?}"
    );
}

#[tokio::test]
async fn approval_covers_withheld_removals_of_similar_file() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1001..=1020)).await;
    app.import(account).await;
    let sheet = with_decimal_ids(1001..=1020, 1007);
    let held = app.import_sheet(account, sheet.clone()).await;
    assert_eq!(held.withheld, Some(20));
    // One ID is corrected before the approval.
    app.serve(sheet.replace("1020.0,", "1020,"));
    let run = app.approve(account, held.id).await;
    assert_eq!(
        (run.status.as_str(), run.added, run.removed, run.unchanged),
        ("succeeded_with_issues", Some(18), Some(19), Some(1)),
        "{run:?}"
    );
}

#[tokio::test]
async fn keep_ids_is_refused_after_contacts_were_added() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1001..=1020)).await;
    app.import(account).await;
    // Only two contacts changed, so the run is applied, with their removal withheld.
    let sheet = contacts_csv(1001..=1020)
        .replace("\r\n1001,", "\r\n,")
        .replace("\r\n1002,", "\r\n1002.0,");
    let run = app.import_sheet(account, sheet).await;
    assert_eq!(
        (run.status.as_str(), run.added, run.withheld),
        ("succeeded_with_issues", Some(1), Some(2))
    );
    let id = run.id.to_string();
    let refused = run_cli(&app, &["runs", "approve", &id, "--keep-ids"]).await;
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("has already added the contacts with new IDs"),
        "{}",
        refused.stderr
    );
    let approval = app.approve(account, run.id).await;
    assert_eq!((approval.added, approval.removed), (Some(0), Some(2)));
}

#[tokio::test]
async fn withheld_removals_empty_a_group_only_if_approved() {
    let app = TestApp::start().await;
    let sheet = |medics: RangeInclusive<usize>, blank: bool| {
        csv((1..=70)
            .filter(|n| !blank || *n == 1 || !medics.contains(n))
            .map(|n| {
                let row = if medics.contains(&n) {
                    row(n).replace(",Team", ",Medics")
                } else {
                    row(n)
                };
                if blank && n == 1 {
                    row.replacen('1', "", 1)
                } else {
                    row
                }
            }))
    };
    let account = app.account(sheet(1..=5, false)).await;
    app.import(account).await;
    // Five members: the run is applied, and the group keeps its members.
    let applied = app.import_sheet(account, sheet(1..=5, true)).await;
    assert_eq!(
        (applied.status.as_str(), applied.withheld),
        ("succeeded_with_issues", Some(5))
    );
    assert_eq!(applied.emptied_groups, None);
    assert_eq!(app.count("SELECT count(*) FROM active_groups").await, 2);
    // Six members: the run is held, and names the group.
    app.import_sheet(account, sheet(1..=6, false)).await;
    let held = app.import_sheet(account, sheet(1..=6, true)).await;
    assert_eq!(
        (held.hold_reasons.as_deref(), held.emptied_groups.as_deref()),
        (
            Some(&["empties_group".to_owned()][..]),
            Some(&["Medics".to_owned()][..])
        )
    );
    app.approve(account, held.id).await;
    assert_eq!(app.count("SELECT count(*) FROM active_groups").await, 1);
}

#[tokio::test]
async fn held_run_stores_groups_that_would_become_empty() {
    let app = TestApp::start().await;
    let medics = |n: usize| row(n).replace(",Team", ",Medics");
    let account = app
        .account(csv(
            (1..=30).map(|n| if n > 24 { medics(n) } else { row(n) })
        ))
        .await;
    app.import(account).await;
    let held = app.import_sheet(account, contacts_csv(1..=30)).await;
    assert_eq!(
        (held.hold_reasons.as_deref(), held.emptied_groups.as_deref()),
        (
            Some(&["empties_group".to_owned()][..]),
            Some(&["Medics".to_owned()][..])
        )
    );
}

#[tokio::test]
async fn approval_does_not_cover_new_unidentified_rows() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    let without_ids = |missing: &'static [usize]| {
        csv((1..=40).map(move |n| {
            if missing.contains(&n) {
                row(n).replacen(&n.to_string(), "", 1)
            } else {
                row(n)
            }
        }))
    };
    let run = app.import_sheet(account, without_ids(&[7])).await;
    assert_eq!(
        (run.status.as_str(), run.withheld),
        ("succeeded_with_issues", Some(1))
    );
    // Before it is approved, another row loses its ID.
    app.serve(without_ids(&[7, 8]));
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
    // The second approval covers both rows.
    let approval = app.approve(account, approval.id).await;
    assert_eq!((approval.removed, approval.withheld), (Some(2), Some(0)));
}

#[tokio::test]
async fn withheld_removals_after_newer_run_cannot_be_approved() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=10)).await;
    app.import(account).await;
    let unidentified_last = csv((1..=9).map(row).chain([row(10).replacen("10", "", 1)]));
    let run = app.import_sheet(account, unidentified_last.clone()).await;
    assert_eq!(run.withheld, Some(1));
    app.import_sheet(account, contacts_csv(1..=100)).await;
    app.serve(unidentified_last.clone());
    let approval = app.approve(account, run.id).await;
    assert_eq!(
        (approval.status.as_str(), approval.failure_code.as_deref()),
        ("failed", Some("lease_lost")),
        "the other removals were never shown"
    );
    assert_eq!(app.contacts().await.len(), 100);
    // A rejected approval does not count as a failing import and sends no failure mail.
    assert_eq!(
        app.count("SELECT count(*) FROM import_state WHERE failing_since IS NOT NULL")
            .await,
        0
    );
    let last = app.smtp.messages().pop().unwrap().subject();
    assert!(!last.contains("fail"), "{last}");
}

#[tokio::test]
async fn approval_from_before_disabling_is_held_for_new_contacts() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    let held = app.import_sheet(account, contacts_csv(1..=20)).await;
    assert_eq!(held.status, "held");
    app.store.set_import_enabled(account, false).await.unwrap();
    app.execute("INSERT INTO contacts (account_id, name) SELECT id, 'Manual Entry' FROM accounts")
        .await
        .unwrap();
    app.store.set_import_enabled(account, true).await.unwrap();
    let again = app.approve(account, held.id).await;
    assert_eq!((again.status.as_str(), again.removed), ("held", Some(21)));
    // The new held run lists all removals.
    let approval = app.approve(account, again.id).await;
    assert_eq!(
        (approval.status.as_str(), approval.removed),
        ("succeeded", Some(21))
    );
}

#[tokio::test]
async fn keep_ids_choice_is_kept_when_approval_is_held_again() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    let ids = "SELECT sum(id)::bigint FROM active_contacts";
    let before = app.count(ids).await;
    // New IDs for 20 contacts; the second file also removes seven others.
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
    let removed_ids = "SELECT sum(id)::bigint FROM contacts WHERE removed_at IS NOT NULL";
    assert_eq!(app.count(ids).await + app.count(removed_ids).await, before);
}

#[tokio::test]
async fn held_mail_does_not_call_missing_contacts_fixed() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    let with_error = contacts_csv(1..=40).replace("30,Name 30,,,6045550030", "30,Name 30,,,555");
    app.import_sheet(account, with_error).await;
    assert!(app.smtp.messages().pop().unwrap().text().contains("ID 30"));
    // Contact 30 is no longer in the file, so its error is not fixed.
    let held = app.import_sheet(account, contacts_csv(1..=20)).await;
    assert_eq!(held.status, "held");
    let text = app.smtp.messages().pop().unwrap().text();
    assert!(text.contains("- Name 30 (ID 30)"), "{text}");
    assert!(!text.contains("Fixed since"), "{text}");
}
