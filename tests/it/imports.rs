//! Importing: contacts follow the spreadsheet, and invalid input changes nothing.

use crate::support::TestApp;
use crate::support::https_server::Reply;
use crate::support::sheet::{HEADER, contacts_csv, csv, row, xlsx};

#[tokio::test]
async fn first_import_adds_contacts_numbers_and_groups() {
    let app = TestApp::start().await;
    let sheet = csv([
        "A1,Ann Lee,Org,EMT,(604) 555-0101,mobile,cell,ann@example.org,High,\"Team, Medics\""
            .to_owned(),
        "A1,,,,604-555-0102,Landline,home,,,".to_owned(),
        "B2,Bo Ek,,,+1 604 555 0103,PAGER,,,,team".to_owned(),
    ]);
    let account = app.account(sheet).await;
    let run = app.import(account).await;
    assert_eq!(
        (
            run.status.as_str(),
            run.added,
            run.contacts_after,
            run.row_count
        ),
        ("succeeded", Some(2), Some(2), Some(3))
    );
    let contact: (String, Option<String>, Option<String>, Option<String>, String) = sqlx::query_as(
        "SELECT name, organization_name, title, email, notification_priority FROM contacts WHERE external_id = 'A1'",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        contact,
        (
            "Ann Lee".to_owned(),
            some("Org"),
            some("EMT"),
            some("ann@example.org"),
            "high".to_owned()
        )
    );
    let numbers: Vec<(i16, String, String, Option<String>)> = sqlx::query_as(
        "SELECT position, number, number_type, description FROM contact_numbers n JOIN contacts c ON c.id = n.contact_id
         ORDER BY c.external_id, position",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    assert_eq!(
        numbers[0],
        (
            1,
            "6045550101".to_owned(),
            "mobile".to_owned(),
            some("cell")
        )
    );
    assert_eq!(
        numbers[1],
        (
            2,
            "6045550102".to_owned(),
            "landline".to_owned(),
            some("home")
        )
    );
    assert_eq!(numbers[2].2, "pager");
    let groups: Vec<(String, i64)> = sqlx::query_as(
        "SELECT g.name, count(*) FROM active_groups g JOIN active_group_members m ON m.group_id = g.id GROUP BY g.name ORDER BY g.name",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    assert_eq!(groups, [("Medics".to_owned(), 1), ("Team".to_owned(), 2)]);
    assert_eq!(
        app.smtp.messages().len(),
        0,
        "a run without problems sends no mail"
    );
}

#[tokio::test]
async fn same_content_imported_again_writes_no_row() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let before = app.snapshot().await;
    let run = app.import(account).await;
    assert_eq!(run.status, "unchanged", "the same bytes are not read again");
    // Different bytes with the same content.
    let run = app
        .import_sheet(account, contacts_csv((1..=20).rev()))
        .await;
    assert_eq!(
        (run.status.as_str(), run.unchanged),
        ("succeeded", Some(20))
    );
    // Same content in another file format.
    let run = app.import_sheet(account, xlsx(&contacts_csv(1..=20))).await;
    assert_eq!(
        (run.status.as_str(), run.unchanged),
        ("succeeded", Some(20))
    );
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn next_import_applies_changes_under_stable_ids() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let id_of_5 = app
        .count("SELECT id FROM contacts WHERE external_id = '5'")
        .await;
    let sheet = contacts_csv((1..=21).filter(|n| *n != 5)).replace("Name 7,", "Name Seven,");
    let run = app.import_sheet(account, sheet).await;
    assert_eq!(
        (run.added, run.updated, run.removed, run.unchanged),
        (Some(1), Some(1), Some(1), Some(18))
    );
    assert_eq!(app.contacts().await.len(), 20);
    assert_eq!(app.count("SELECT count(*) FROM contact_numbers WHERE contact_id IN (SELECT id FROM contacts WHERE removed_at IS NOT NULL)").await, 1);
    let changes: Vec<(String, Option<String>, bool)> = sqlx::query_as(
        "SELECT action, external_id, applied FROM import_changes WHERE run_id = $1 ORDER BY action",
    )
    .bind(run.id)
    .fetch_all(&app.pool)
    .await
    .unwrap();
    let expected = [("added", "21"), ("removed", "5"), ("updated", "7")]
        .map(|(action, id)| (action.to_owned(), Some(id.to_owned()), true));
    assert_eq!(changes, expected);
    let run = app.import_sheet(account, contacts_csv(1..=21)).await;
    assert_eq!((run.revived, run.updated), (Some(1), Some(1)));
    assert_eq!(
        app.count("SELECT id FROM active_contacts WHERE external_id = '5'")
            .await,
        id_of_5
    );
}

#[tokio::test]
async fn row_with_error_keeps_contact_and_is_named_in_mail() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let before = app.snapshot().await;
    let bad = contacts_csv(1..=20).replace("3,Name 3,,,6045550003", "3,Name Three,,,555");
    let run = app.import_sheet(account, bad.clone()).await;
    assert_eq!(
        (run.status.as_str(), run.errors, run.removed, run.unchanged),
        ("succeeded_with_issues", Some(1), Some(0), Some(19))
    );
    assert_eq!(app.snapshot().await, before, "no contact was written");
    let mail = app.smtp.messages().pop().unwrap();
    assert_eq!(
        (mail.to.as_slice(), mail.subject().as_str()),
        (
            &["admin@example.org".to_owned()][..],
            "[North Shore Rescue] 1 contact was skipped because of errors"
        )
    );
    assert!(
        mail.text()
            .contains("- Name Three (ID 3), E4: Phone number does not have 10 digits: 555."),
        "{}",
        mail.text()
    );
    assert!(
        mail.text().contains("[new]") && mail.html().contains("<bdi>Name Three</bdi>"),
        "{}",
        mail.html()
    );
    // A repeated error is `still open`. A fixed error is reported only together with another problem.
    app.import_sheet(account, bad.replace("Name 9,", "Name Nine,"))
        .await;
    assert!(
        app.smtp
            .messages()
            .pop()
            .unwrap()
            .text()
            .contains("[still open]")
    );
    let other = contacts_csv(1..=20).replace("4,Name 4,,,6045550004", "4,Name 4,,,none");
    app.import_sheet(account, other).await;
    let text = app.smtp.messages().pop().unwrap().text();
    assert!(
        text.contains("Fixed since the last import:\n- Name Three (ID 3)"),
        "{text}"
    );
}

#[tokio::test]
async fn unidentified_row_withholds_removals_until_approved() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    // Contact 5 has no ID, contact 6 is missing, contact 21 is new.
    let sheet = contacts_csv((1..=21).filter(|n| *n != 6)).replace("\r\n5,Name 5,", "\r\n,Name 5,");
    let run = app.import_sheet(account, sheet.clone()).await;
    assert_eq!(
        (run.status.as_str(), run.removed, run.withheld, run.added),
        ("succeeded_with_issues", Some(0), Some(2), Some(1))
    );
    assert_eq!(app.contacts().await.len(), 21);
    let text = app.smtp.messages().pop().unwrap().text();
    assert!(
        text.contains("Missing from the file but not removed:\n- Name 5 (ID 5)\n- Name 6 (ID 6)"),
        "{text}"
    );
    let approval = app.approve(account, run.id).await;
    assert_eq!(
        (approval.status.as_str(), approval.removed),
        ("succeeded_with_issues", Some(2))
    );
    // After the approval, the same unidentified row withholds no removals.
    let run = app
        .import_sheet(
            account,
            contacts_csv((1..=21).filter(|n| *n != 6 && *n != 7))
                .replace("\r\n5,Name 5,", "\r\n,Name 5,"),
        )
        .await;
    assert_eq!((run.withheld, run.removed), (Some(0), Some(1)));
}

#[tokio::test]
async fn file_without_final_newline_removes_no_contacts() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let complete = contacts_csv(1..=20);
    let truncated = &complete[..complete.find("\r\n19,").unwrap() - 3];
    for _ in 0..2 {
        let run = app.import_sheet(account, truncated).await;
        assert_eq!(
            (run.removed, run.withheld, run.errors),
            (Some(0), Some(2), Some(1)),
            "{run:?}"
        );
    }
    assert_eq!(app.contacts().await.len(), 20);
}

#[tokio::test]
async fn invalid_input_fails_with_reason_and_changes_nothing() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let before = app.snapshot().await;
    let page = "<!DOCTYPE html><html><body>Please log in</body></html>";
    let unclosed = format!(
        "{HEADER}\r\n1,A,,,6045550001,mobile,,,,\"Team\r\n{}",
        row(2)
    );
    for (sheet, code, expected) in [
        (page.to_owned(), "not_a_spreadsheet", "web page"),
        (String::new(), "empty_file", "is empty"),
        (
            contacts_csv(1..=20).replace("Number Type", "Kind"),
            "header_missing",
            "`Number Type`",
        ),
        (
            contacts_csv(1..=20).replace("Title", "Name"),
            "header_duplicate",
            "`Name` twice",
        ),
        (
            format!("Our people\r\n{}", contacts_csv(1..=20)),
            "header_not_first",
            "row 2",
        ),
        (unclosed, "unclosed_quote", "row 2"),
        (contacts_csv(0..0), "no_contacts", "no rows"),
        (
            contacts_csv(1..=3).replace("mobile", "fax"),
            "no_contacts",
            "all of its 3 rows",
        ),
        (
            contacts_csv(1..=20).replace("Name 3", "Name\0"),
            "nul_byte",
            "row 4",
        ),
    ] {
        let run = app.import_sheet(account, sheet).await;
        let message = run.failure_message.clone().unwrap_or_default();
        assert_eq!(
            (run.status.as_str(), run.failure_code.as_deref()),
            ("failed", Some(code)),
            "{message}"
        );
        assert!(message.contains(expected), "{code}: {message}");
        let mail = app.smtp.messages().pop().unwrap();
        assert_eq!(
            mail.subject(),
            "[North Shore Rescue] Import failed; nothing was changed"
        );
        // The mail has the message as sentences that start in upper case.
        let text = mail.text();
        let mut parts = message.trim_end_matches('.').split("; ");
        assert!(parts.all(|part| text.contains(&part[1..])), "{text}");
    }
    assert_eq!(app.snapshot().await, before);
    let run = app.import_sheet(account, contacts_csv(1..=20)).await;
    assert_eq!(
        run.status, "unchanged",
        "the last applied file is still recognized"
    );
}

#[tokio::test]
async fn import_does_not_change_other_accounts() {
    let app = TestApp::start().await;
    let one = app.account(contacts_csv(1..=20)).await;
    app.import(one).await;
    let before = app.snapshot().await;
    let other = app.store.add_account("Other", "UTC", &[]).await.unwrap();
    app.https
        .serve("/other.csv", Reply::ok(contacts_csv(1..=5)));
    app.set_https_source(other, &app.https.url("/other.csv"))
        .await;
    app.store.set_import_enabled(other, true).await.unwrap();
    let run = app.import(other).await;
    assert_eq!((run.status.as_str(), run.added), ("succeeded", Some(5)));
    let after = app.snapshot().await;
    assert!(before.iter().all(|row| after.contains(row)));
}

#[tokio::test]
async fn markup_formulas_and_sql_in_names_are_stored_unchanged() {
    let app = TestApp::start().await;
    let name = "=cmd|' /C calc'!A0 <script>alert(1)</script>'); DROP TABLE contacts; -- \u{202E}x";
    let bad = format!("2,{name},,,555,mobile,,,,Team");
    let sheet = csv([format!("1,{name},,,6045550001,mobile,,,,Team"), bad]
        .into_iter()
        .chain((3..=5).map(row)));
    let account = app.account(sheet).await;
    app.import(account).await;
    assert_eq!(app.contacts().await[0], ("1".to_owned(), name.to_owned()));
    let mail = app.smtp.messages().pop().unwrap();
    assert!(
        !mail.html().contains("<script>") && mail.html().contains("&#60;script&#62;"),
        "{}",
        mail.html()
    );
}

#[tokio::test]
async fn long_ids_and_ids_differing_only_in_case_are_distinct() {
    let app = TestApp::start().await;
    let long = "x".repeat(100_000);
    let ids = [
        long.clone(),
        format!("{long}y"),
        "a".to_owned(),
        "A".to_owned(),
        "0007".to_owned(),
        "7".to_owned(),
        "é".to_owned(),
    ];
    let sheet = csv(ids
        .iter()
        .enumerate()
        .map(|(n, id)| row(n).replacen(&n.to_string(), id, 1)));
    let account = app.account(sheet).await;
    let run = app.import(account).await;
    assert_eq!((run.added, run.errors), (Some(7), Some(0)), "{run:?}");
    // The same ID in another Unicode form is the same ID.
    let run = app
        .import_sheet(
            account,
            csv(ids
                .iter()
                .enumerate()
                .map(|(n, id)| row(n).replacen(&n.to_string(), &id.replace('é', "e\u{301}"), 1))),
        )
        .await;
    assert_eq!(
        (run.unchanged, run.added, run.removed),
        (Some(7), Some(0), Some(0))
    );
}

#[tokio::test]
async fn stored_digest_equals_digest_of_the_parsed_file() {
    use rosterd::import;
    use rosterd::sheet::{FileContent, WorkbookReader};
    let app = TestApp::start().await;
    let header = format!("{HEADER},Number 2,Number Type 2,Number Description 2");
    let sheet = format!(
        "{header}\r\n\
         1,Zoë Müller,Org,\"EMT, Chief\",604-555-0101,Mobile,work,Zoe@example.org,HIGH,\"Medics, search team,Drivers\",7785550101,pager,home\r\n\
         2,Bo Lee,,,6045550102,landline,,,,SEARCH TEAM,,,\r\n\
         e\u{301}3,Cy Orr,,,6045550103,pager,,,low,Medics,,,\r\n"
    );
    let account = app.account(sheet.clone()).await;
    assert_eq!(app.import(account).await.added, Some(3));
    let content = FileContent::Bytes(sheet.as_bytes());
    let parsed_file = import::read(content, &WorkbookReader::InProcess, 100, None).unwrap();
    let mut parsed: Vec<Vec<u8>> = parsed_file
        .sheet
        .contacts
        .digests()
        .into_iter()
        .map(|digest| digest.expect("the file has every column").to_vec())
        .collect();
    let mut stored: Vec<Vec<u8>> = sqlx::query_scalar("SELECT digest FROM contacts")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    parsed.sort_unstable();
    stored.sort_unstable();
    assert_eq!(parsed, stored);
}
