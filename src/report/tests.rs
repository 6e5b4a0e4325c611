//! Mails as an admin reads them.

use super::*;
use crate::model::catalog::Finding;
use crate::model::failure::FailureCode;

fn report(outcome: Outcome) -> Report {
    Report {
        account_id: AccountId(7),
        account: "North Shore Rescue".to_owned(),
        time_zone: "America/Vancouver".to_owned(),
        run: RunId(17),
        ended_at: DateTime::from_timestamp(1_792_839_600, 0).unwrap(),
        next_run_at: DateTime::from_timestamp(1_793_098_800, 0),
        rules: HoldRules::default(),
        origin: Origin::Source,
        is_revert: false,
        outcome,
        counts: Counts {
            rows: 40,
            added: 2,
            updated: 1,
            unchanged: 36,
            contacts_after: 40,
            ..Counts::default()
        },
        issues: Issues::default(),
        is_new: Vec::new(),
        fixed: Issues::default(),
        removed: Vec::new(),
        withheld: Vec::new(),
        changed: Vec::new(),
        emptied_groups: Vec::new(),
        possible_id_changes: Vec::new(),
        recovered: false,
    }
}

fn error(row: u32, id: &str, name: &str) -> Issue {
    Issue {
        row: Some(row),
        column: Some("Number".into()),
        column_index: Some(4),
        value: Some("555".to_owned()),
        external_id: Some(id.to_owned()),
        contact_name: Some(name.to_owned()),
        ..Issue::new(Finding::NumberNotTenDigits)
    }
}

fn person(n: usize) -> NamedContact {
    NamedContact {
        name: format!("Person {n}"),
        external_id: Some(n.to_string()),
    }
}

#[test]
fn errors_get_one_line_per_contact() {
    let mut report = report(Outcome::Applied);
    report.issues = [error(5, "A5", "Ann Lee"), error(9, "B9", "Bo <b>Ek</b>")]
        .iter()
        .collect();
    report.is_new = vec![true, false];
    report.counts.errors = 2;
    report.fixed = [error(7, "C7", "Cy Dow")].iter().collect();
    let mail = report.render(Recipient::Admin).unwrap();
    insta::assert_snapshot!("errors_subject", mail.subject);
    insta::assert_snapshot!("errors_text", mail.text);
    insta::assert_snapshot!("errors_html", mail.html);
    assert!(
        mail.html.contains("Bo &#60;b&#62;Ek&#60;/b&#62;"),
        "{}",
        mail.html
    );
    assert_eq!(mail.attachment, None);
}

#[test]
fn held_run_lists_contacts_and_next_steps() {
    let mut report = report(Outcome::Held(vec![
        HoldReason::RemovesTooMany,
        HoldReason::EmptiesGroup,
    ]));
    report.removed = (1..=7).map(person).collect();
    report.counts.removed = 7;
    report.emptied_groups = vec!["Drivers".to_owned()];
    let mail = report.render(Recipient::Admin).unwrap();
    insta::assert_snapshot!("held_text", mail.text);
}

#[test]
fn failed_run_states_cause_and_next_step() {
    let failure = Failure::new(
        FailureCode::NotFound,
        "there is no file at https://files.example.org/c.csv; check the address",
    );
    let mail = report(Outcome::Failed(failure))
        .render(Recipient::Admin)
        .unwrap();
    insta::assert_snapshot!("failed_text", mail.text);
}

#[test]
fn withheld_removals_are_listed_with_approve_command() {
    let mut report = report(Outcome::Applied);
    let unidentified = Issue {
        external_id: None,
        row_digest: Some([1; 32]),
        ..error(5, "", "Ann Lee")
    };
    report.issues = [unidentified].iter().collect();
    report.is_new = vec![true];
    report.counts.errors = 1;
    report.counts.withheld = 1;
    report.withheld = vec![person(3)];
    let mail = report.render(Recipient::Admin).unwrap();
    assert!(
        mail.text
            .contains("Missing from the file but not removed:\n- Person 3 (ID 3)"),
        "{}",
        mail.text
    );
    assert!(
        mail.text.contains("rosterd runs approve 17"),
        "{}",
        mail.text
    );
}

#[test]
fn over_hundred_issues_are_attached_as_csv() {
    let mut report = report(Outcome::Applied);
    report.issues = (1..=150)
        .map(|n| error(n, &n.to_string(), "=HYPERLINK(1)"))
        .collect();
    report.is_new = vec![true; 150];
    report.counts.errors = 150;
    let mail = report.render(Recipient::Admin).unwrap();
    assert!(
        mail.text
            .contains("- and 50 more; the attached file lists all issues"),
        "{}",
        mail.text
    );
    let (name, csv) = mail.attachment.unwrap();
    assert_eq!(
        (name.as_str(), csv.lines().count()),
        ("issues-of-run-17.csv", 151)
    );
    assert!(csv.contains("\"'=HYPERLINK(1)\""));
}

/// Mail servers refuse messages that are too large.
#[test]
fn attachment_stays_below_mail_size_limit() {
    let mut report = report(Outcome::Applied);
    report.issues = (1..=40_000)
        .map(|n| error(n, &n.to_string(), "Ann Lee"))
        .collect();
    let odd = Issue {
        external_id: Some("odd".to_owned()),
        ..Issue::new(Finding::OptionalPlaceholder)
    };
    let errors: Vec<Issue> = report.issues.iter().collect();
    report.issues = std::iter::once(&odd).chain(&errors).collect();
    report.is_new = vec![true; 40_001];
    report.counts.errors = 40_000;
    let mail = report.render(Recipient::Admin).unwrap();
    assert!(
        mail.text.contains(
            "; the attached file lists as many issues as fit into an email, errors first"
        )
    );
    let (_, csv) = mail.attachment.unwrap();
    assert!(csv.lines().nth(1).unwrap().starts_with("\"error\",\"1\""));
    assert!(!csv.contains("\"odd\""));
    assert!((5 << 20..6 << 20).contains(&csv.len()), "{}", csv.len());
    let shown = csv.lines().count() - 2;
    let last = csv.lines().last().unwrap();
    let more = format!("and {} more", 40_001 - shown);
    assert!(
        last.contains(&more) && last.contains("rosterd runs issues 17"),
        "{last}"
    );
}

#[test]
fn notify_setting_filters_reports() {
    let mut quiet = report(Outcome::Applied);
    assert!(!quiet.should_send(Notify::All));
    quiet.removed = vec![person(1)];
    assert!(quiet.should_send(Notify::All) && !quiet.should_send(Notify::Problems));
    quiet.counts.errors = 1;
    assert!(quiet.should_send(Notify::Problems));
    assert!(report(Outcome::Held(Vec::new())).should_send(Notify::Problems));
}

#[test]
fn applied_run_without_errors_needs_no_action() {
    let mut report = report(Outcome::Applied);
    report.removed = vec![person(1)];
    report.counts.removed = 1;
    let mail = report.render(Recipient::Admin).unwrap();
    insta::assert_snapshot!("removed_text", mail.text);
}

#[test]
fn possible_id_changes_offer_keep_ids() {
    let mut report = report(Outcome::Held(vec![
        HoldReason::RemovesTooMany,
        HoldReason::IdsChanged,
    ]));
    report.possible_id_changes = vec![PossibleIdChange {
        contact: crate::model::ContactId(1),
        name: "Ann Lee".to_owned(),
        old_id: Some("A5".to_owned()),
        new_id: "B5".to_owned(),
    }];
    report.removed = vec![person(1)];
    report.counts.removed = 1;
    let text = report.render(Recipient::Admin).unwrap().text;
    for expected in [
        "rosterd runs approve 17 --keep-ids",
        "1 of 39 contacts is probably in the file under a new ID",
        "- Ann Lee (ID A5) looks like the new contact with ID B5",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn held_run_counts_withheld_removals() {
    let mut report = report(Outcome::Held(vec![HoldReason::RemovesTooMany]));
    report.counts.withheld = 1;
    report.withheld = vec![person(3)];
    let text = report.render(Recipient::Admin).unwrap().text;
    for expected in [
        "It would remove 1 of 38 contacts",
        "If approved: 2 added, 1 changed, 1 removed",
        "If the import is approved, it is removed.",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn value_quoted_by_the_message_is_not_repeated() {
    let mut report = report(Outcome::Applied);
    let misspelled = Issue {
        row: Some(1),
        column: Some("Nmae".into()),
        column_index: Some(1),
        value: Some("Nmae".to_owned()),
        ..Issue::with_reference(Finding::ColumnMisspelled, "Name", 0)
    };
    report.issues = [misspelled].iter().collect();
    report.is_new = vec![true];
    let text = report.render(Recipient::Admin).unwrap().text;
    let expected = "B1: The column `Nmae` is unknown and was ignored. Did you mean `Name`? If so, rename the column.";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn held_local_file_names_import_command_with_account() {
    let mut report = report(Outcome::Held(vec![HoldReason::FirstImport]));
    report.origin = Origin::File;
    let text = report.render(Recipient::Admin).unwrap().text;
    let command = "rosterd import 7 --file PATH --approve 17";
    assert!(text.contains(command), "{text}");
}

#[test]
fn failure_for_operator_asks_to_contact_the_operator() {
    let failure = Failure::new(
        FailureCode::SecretUnreadable,
        "the password cannot be decrypted",
    );
    let mail = report(Outcome::Failed(failure));
    let admin = mail.render(Recipient::Admin).unwrap().text;
    assert!(admin.contains("What to do: ask your operator"), "{admin}");
    assert!(
        admin.contains("because you are an admin of North Shore Rescue"),
        "{admin}"
    );
    let operator = mail.render(Recipient::Operator).unwrap().text;
    assert!(
        operator.contains("What to do: solve the problem below"),
        "{operator}"
    );
    assert!(
        operator.contains("because North Shore Rescue has no admin"),
        "{operator}"
    );
}

#[test]
fn failed_revert_is_not_called_a_failed_import() {
    let failure = Failure::new(
        FailureCode::Internal,
        "the run to revert changed no contact",
    );
    let report = Report {
        is_revert: true,
        ..report(Outcome::Failed(failure))
    };
    let mail = report.render(Recipient::Admin).unwrap();
    assert_eq!(
        mail.subject,
        "[North Shore Rescue] Undo failed; nothing was changed"
    );
    assert!(!mail.text.contains("will try again"), "{}", mail.text);
}
