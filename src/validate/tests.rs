//! Table tests of SPEC §2.3 to §2.5: rows, and the contacts and issues that they produce.

use super::*;
use crate::model::ContactId;
use crate::model::contact::{FieldUpdate, Priority};
use crate::model::issue::{Code, Issue};
use crate::row_cache::{CachedContact, RowCache};
use crate::table::{Cell, Damage, NumberColumns};

fn header() -> Header {
    let column_indexes: Vec<(Field, usize)> = Field::ALL
        .iter()
        .enumerate()
        .map(|(column_index, field)| (*field, column_index))
        .collect();
    let titles = Field::ALL
        .iter()
        .map(|field| field.as_str().to_owned())
        .collect();
    let numbers = vec![NumberColumns {
        ordinal: 1,
        number: 4,
        number_type: 5,
        description: Some(6),
    }];
    Header::new(1, titles, &column_indexes, numbers)
}

fn sheet_row(number: u32, line: &str, damage: Option<Damage>) -> SheetRow {
    let mut row = SheetRow::new(number);
    row.damage = damage;
    for cell in line.split('|') {
        row.push(Cell::Text(cell));
    }
    row
}

fn parse_lines(lines: &[&str]) -> ParsedSheet {
    let mut validator = Validator::default();
    for (number, line) in (2..).zip(lines) {
        validator.push(&header(), &sheet_row(number, line, None));
    }
    validator.finish(&[], false)
}

/// Checks the issue codes and the number of contacts without errors that these rows produce.
#[track_caller]
fn check(lines: &[&str], codes: &[&str], contacts: usize) -> ParsedSheet {
    let parsed = parse_lines(lines);
    let found_codes: Vec<&str> = parsed
        .issues
        .iter()
        .map(|issue| issue.code.as_str())
        .collect();
    assert_eq!(
        (found_codes.as_slice(), parsed.contacts.len()),
        (codes, contacts),
        "{:#?}",
        parsed.issues
    );
    parsed
}

fn first_issue(parsed: &ParsedSheet) -> Issue {
    parsed.issues.iter().next().unwrap()
}

const VALID_ROW: &str = "1|Ann|Org|EMT|6045550101|mobile|cell|ann@example.org|High|A, B";

#[test]
fn valid_row_becomes_contact() {
    let parsed = check(&[VALID_ROW], &[], 1);
    let contact = parsed.contacts.get(0);
    assert_eq!(
        (contact.name.as_str(), contact.rows.as_slice()),
        ("Ann", &[2][..])
    );
    assert_eq!(contact.priority, FieldUpdate::Set(Some(Priority::High)));
    assert_eq!(contact.groups, ["A", "B"]);
}

#[test]
fn blank_priority_agrees_with_any_value() {
    let rows = |first: &str, second: &str| {
        [
            format!("1|Ann|Org|EMT|6045550101|mobile|cell|ann@example.org|{first}|A, B"),
            format!("1|Ann|Org|EMT|6045550102|mobile|cell|ann@example.org|{second}|A, B"),
        ]
    };
    for (first, second) in [("", "High"), ("High", "")] {
        let [first, second] = rows(first, second);
        let parsed = check(&[&first, &second], &[], 1);
        assert_eq!(
            parsed.contacts.get(0).priority,
            FieldUpdate::Set(Some(Priority::High))
        );
    }
    let [first, second] = rows("Normal", "High");
    check(&[&first, &second], &["rows_disagree"], 0);
}

#[test]
fn blank_optional_cell_clears_and_invalid_one_keeps() {
    let parsed = check(&["1|Ann|||6045550101|mobile|||| A"], &[], 1);
    let contact = parsed.contacts.get(0);
    assert_eq!(
        (&contact.title, &contact.priority),
        (&FieldUpdate::Set(None), &FieldUpdate::Set(None))
    );
    let parsed = check(
        &["1|Ann|||6045550101|mobile||ann|urgent|A"],
        &["email_invalid", "priority_unknown"],
        1,
    );
    assert_eq!(
        (
            &parsed.contacts.get(0).email,
            &parsed.contacts.get(0).priority
        ),
        (&FieldUpdate::Keep, &FieldUpdate::Keep)
    );
    let parsed = check(
        &["1|Ann|n/a||6045550101|mobile||||A"],
        &["placeholder_in_optional"],
        1,
    );
    assert_eq!(
        parsed.contacts.get(0).organization_name,
        FieldUpdate::Set(None)
    );
}

#[test]
fn missing_or_invalid_required_value_is_an_error() {
    check(&["1||||6045550101|mobile||||A"], &["required_missing"], 0);
    check(&["1|Ann||||||||A"], &["required_missing"], 0);
    check(&["1|Ann||||mobile||||A"], &["required_missing"], 0);
    check(&["1|Ann|||6045550101|mobile||||"], &["required_missing"], 0);
    check(
        &["1|Ann|||6045550101|mobile||||,, ,"],
        &["required_missing"],
        0,
    );
    check(&["1|Ann|||6045550101|||||A"], &["number_type_missing"], 0);
    check(
        &["1|Ann|||6045550101|fax||||A"],
        &["number_type_unknown"],
        0,
    );
    check(
        &["1|none|||6045550101|mobile||||-"],
        &["placeholder_in_required", "placeholder_in_required"],
        0,
    );
    check(
        &["1|Ann|||604555010|mobile||||A"],
        &["number_not_10_digits"],
        0,
    );
    check(&["1|Ann|||1045550101|mobile||||A"], &["number_not_nanp"], 0);
    check(&["1|Ann|||6.04E+09|mobile||||A"], &["number_scientific"], 0);
    check(
        &["1|A\u{7}nn|||6045550101|mobile||||A"],
        &["control_character"],
        0,
    );
}

#[test]
fn row_without_readable_id_is_unidentified() {
    for (line, code) in [
        ("|Ann|||6045550101|mobile||||A", "id_missing"),
        ("6.04E+09|Ann|||6045550101|mobile||||A", "id_unreadable"),
        ("1\u{7}|Ann|||6045550101|mobile||||A", "id_unreadable"),
        (
            "n/a|Ann|||6045550101|mobile||||A",
            "placeholder_in_required",
        ),
    ] {
        let parsed = check(&[line, VALID_ROW], &[code, "number_shared"][..1], 1);
        assert_eq!(parsed.unidentified.len(), 1, "{line}");
        let issue = first_issue(&parsed);
        assert_eq!(issue.row_digest, Some(parsed.unidentified[0].digest));
        assert_eq!(issue.contact_name.as_deref(), Some("Ann"));
    }
    let parsed = check(
        &["||Org|||||||A", VALID_ROW],
        &["row_without_id_ignored"],
        1,
    );
    assert!(parsed.unidentified.is_empty());
}

#[test]
fn unidentified_row_digest_ignores_row_number() {
    let line = "|Ann|||6045550101|mobile||||A";
    let (one, other) = (parse_lines(&[line]), parse_lines(&[VALID_ROW, line]));
    assert_eq!(one.unidentified[0].digest, other.unidentified[0].digest);
}

#[test]
fn rows_with_same_id_merge_into_one_contact() {
    let parsed = check(
        &[
            "1|Ann|||6045550101|mobile|cell|||A, B",
            "1||||6045550102|landline|home|||b,a",
        ],
        &[],
        1,
    );
    assert_eq!(
        (
            parsed.contacts.get(0).numbers.len(),
            parsed.contacts.get(0).rows.as_slice()
        ),
        (2, &[2, 3][..])
    );
    check(
        &[
            "1|Ann|||6045550101|mobile||||A",
            "1|Bob|||6045550102|mobile||||A",
        ],
        &["rows_disagree"],
        0,
    );
    check(
        &[
            "1|Ann|||6045550101|mobile||||A",
            "1|Ann|||6045550102|mobile||||C",
        ],
        &["rows_disagree"],
        0,
    );
    check(&[VALID_ROW, VALID_ROW], &["duplicate_row"], 1);
    check(
        &[VALID_ROW, "1||||604-555-0101|mobile||||"],
        &["duplicate_number"],
        1,
    );
    check(
        &[VALID_ROW, "1||||123|mobile||||"],
        &["number_not_10_digits"],
        0,
    );
    check(
        &[VALID_ROW, "1|||||mobile||||"],
        &["type_without_number"],
        1,
    );
}

#[test]
fn shared_numbers_and_similar_ids_are_reported() {
    check(
        &[VALID_ROW, "2|Bob|||6045550101|mobile||||A"],
        &["number_shared"],
        2,
    );
    check(
        &[
            "a1|Ann|||6045550101|mobile||||A",
            "A1|Bob|||6045550102|mobile||||A",
        ],
        &["similar_id"],
        2,
    );
    check(
        &[
            "7|Ann|||6045550101|mobile||||A",
            "007|Bob|||6045550102|mobile||||A",
        ],
        &["similar_id"],
        2,
    );
}

#[test]
fn example_row_is_skipped_only_if_unchanged() {
    let example = EXAMPLE_ROW.join("|");
    check(&[&example, VALID_ROW], &["example_row"], 1);
    check(
        &[&example.replace("Jane Example", "Jane Doe"), VALID_ROW],
        &[],
        2,
    );
}

#[test]
fn truncated_file_puts_last_contact_in_error() {
    let mut validator = Validator::default();
    for (number, line) in [(2, VALID_ROW), (3, "2|Bob|||6045550102|mobile||||A")] {
        validator.push(&header(), &sheet_row(number, line, None));
    }
    let parsed = validator.finish(&[], true);
    assert_eq!(first_issue(&parsed).code, Code::LastRowMaybeCut);
    assert!(parsed.in_error.contains("2") && parsed.maybe_truncated && parsed.contacts.len() == 1);
}

#[test]
fn issue_names_spreadsheet_cell() {
    let parsed = parse_lines(&[VALID_ROW, "2|Bob|||60455501|mobile||||A"]);
    let issue = first_issue(&parsed);
    assert_eq!(
        (issue.cell().as_deref(), issue.row, issue.column.as_deref()),
        (Some("E3"), Some(3), Some("Number"))
    );
    assert_eq!(
        (issue.external_id.as_deref(), issue.contact_name.as_deref()),
        (Some("2"), Some("Bob"))
    );
}

/// Six contacts: two share a number, one has a warning, three have no issues.
const PREVIOUS_ROWS: [&str; 6] = [
    "1|Ann|Org|EMT|6045550101|mobile|cell|ann@example.org|High|A, B",
    "2|Bob|Org|EMT|604-555-0102|mobile||bob@example.org|High|A",
    "é3|Cem||EMT|6045550103|mobile|||Normal|A",
    "4|Dan|Org|EMT|6045550104|mobile|||Normal|B",
    "5|Eve|Org|EMT|6045550104|pager|||Normal|B",
    "6|Fay|n/a|EMT|6045550106|mobile|||Normal|B",
];

fn row_cache_from(lines: &[&str]) -> RowCache {
    let mut validator = Validator::with_fingerprints();
    for (number, line) in (2..).zip(lines) {
        validator.push(&header(), &sheet_row(number, line, None));
    }
    let parsed = validator.finish(&[], false);
    let mut cache = RowCache::default();
    for (id, row_fingerprint) in (1..).zip(parsed.row_fingerprints) {
        let id = ContactId(id);
        cache.push(CachedContact {
            id,
            row_fingerprint,
        });
    }
    cache
}

/// Reads a file incrementally after [`PREVIOUS_ROWS`]; also returns the IDs of the contacts whose rows it does not have.
fn read_incrementally(lines: &[&str], maybe_truncated: bool) -> Option<(ParsedSheet, Vec<i64>)> {
    let mut reader = IncrementalReader::new(row_cache_from(&PREVIOUS_ROWS));
    for (number, line) in (2..).zip(lines) {
        reader.push(&header(), &sheet_row(number, line, None));
    }
    let result = reader.finish(&[], maybe_truncated)?;
    let contacts = result.cache.iter().zip(&result.seen);
    let unseen = contacts.filter(|(_, seen)| !**seen);
    let unseen = unseen.map(|(contact, _)| contact.id.0);
    Some((result.parsed, unseen.collect()))
}

#[test]
fn only_contacts_without_issues_have_fingerprints() {
    let has_fingerprint: Vec<bool> = row_cache_from(&PREVIOUS_ROWS)
        .iter()
        .map(|contact| contact.row_fingerprint.is_some())
        .collect();
    assert_eq!(has_fingerprint, [true, true, true, false, false, false]);
    let cache = row_cache_from(&[PREVIOUS_ROWS[0], PREVIOUS_ROWS[1], PREVIOUS_ROWS[0]]);
    assert!(cache.iter().next().unwrap().row_fingerprint.is_none());
}

#[test]
fn incremental_read_skips_cached_rows_in_any_order() {
    let in_order = read_incrementally(&PREVIOUS_ROWS, false).unwrap();
    let mut reversed = PREVIOUS_ROWS;
    reversed.reverse();
    let edited = "2|Bob|Org|EMT|604-555-0199|mobile||bob@example.org|High|A";
    for (lines, skipped, validated, expected_unseen) in [
        (PREVIOUS_ROWS.to_vec(), 3, 3, vec![4, 5, 6]),
        (reversed.to_vec(), 3, 3, vec![4, 5, 6]),
        (
            [&PREVIOUS_ROWS[..1], &[edited], &PREVIOUS_ROWS[2..]].concat(),
            2,
            4,
            vec![2, 4, 5, 6],
        ),
        (PREVIOUS_ROWS[1..].to_vec(), 2, 3, vec![1, 4, 5, 6]),
    ] {
        let (parsed, unseen) = read_incrementally(&lines, false).unwrap();
        let full = parse_lines(&lines);
        assert_eq!(
            (parsed.cached_contacts, parsed.contacts.len()),
            (skipped, validated)
        );
        assert_eq!(unseen, expected_unseen);
        // Issues and counts are those of a full read.
        assert_eq!(parsed.issues, full.issues);
        assert_eq!(parsed.row_count, full.row_count);
        assert_eq!(
            parsed.cached_contacts + parsed.contacts.len(),
            full.contacts.len()
        );
    }
    assert_eq!(in_order.0.issues.len(), 2);
}

#[test]
fn conflict_with_skipped_row_forces_full_read() {
    let with = |line| [&PREVIOUS_ROWS[..], &[line]].concat();
    for (case, line) in [
        ("the same row twice", PREVIOUS_ROWS[0]),
        (
            "a second row of a contact",
            "1|Ann|Org|EMT|6045550111|mobile|cell|ann@example.org|High|A, B",
        ),
        (
            "an ID in another Unicode composition",
            "e\u{301}3|Cem||EMT|6045550103|mobile|||Normal|A",
        ),
        ("a similar ID", "001|Ian||EMT|6045550112|mobile|||Normal|A"),
        (
            "a shared number",
            "7|Ian||EMT|(604) 555-0101|mobile|||Normal|A",
        ),
    ] {
        assert!(read_incrementally(&with(line), false).is_none(), "{case}");
    }
    assert!(
        read_incrementally(&PREVIOUS_ROWS, true).is_none(),
        "the last row may be truncated"
    );
    let new: Vec<String> = (10..40)
        .map(|n| format!("{n}|Ian||EMT|60455502{n}|mobile|||Normal|A"))
        .collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    assert!(
        read_incrementally(&new, false).is_none(),
        "nearly all rows are new"
    );
    let other = "7|Ian||EMT|6045550107|mobile|||Normal|A";
    assert!(read_incrementally(&with(other), false).is_some());
}

#[test]
fn row_differing_by_empty_formula_is_not_duplicate() {
    // The last column is the email address. The formula has no text, but the cell is not blank.
    let titles = [
        "ID",
        "Name",
        "Number",
        "Number Type",
        "Groups",
        "Email Address",
    ];
    let fields = [
        (Field::Id, 0),
        (Field::Name, 1),
        (Field::Number, 2),
        (Field::NumberType, 3),
        (Field::Groups, 4),
        (Field::Email, 5),
    ];
    let numbers = vec![NumberColumns {
        ordinal: 1,
        number: 2,
        number_type: 3,
        description: None,
    }];
    let header = Header::new(1, titles.map(str::to_owned).to_vec(), &fields, numbers);
    for name in ["Ann", " Ann "] {
        let mut validator = Validator::default();
        for (number, last) in [(2, Cell::BLANK), (3, Cell::FormulaWithoutValue)] {
            let mut row = SheetRow::new(number);
            for cell in ["7", name, "6045550101", "mobile", "A"] {
                row.push(Cell::Text(cell));
            }
            row.push(last);
            validator.push(&header, &row);
        }
        let parsed = validator.finish(&[], false);
        let codes: Vec<&str> = parsed
            .issues
            .iter()
            .map(|issue| issue.code.as_str())
            .collect();
        assert!(!codes.contains(&"duplicate_row"), "{codes:?}");
        assert_eq!(parsed.contacts.get(0).email, FieldUpdate::Keep);
    }
}

/// The damaged row may have had values for the contact that cannot be read.
#[test]
fn contact_with_damaged_row_is_in_error() {
    let mut validator = Validator::with_fingerprints();
    for (number, line, damage) in [
        (2, VALID_ROW, None),
        (
            3,
            &VALID_ROW.replace("1|", "2|").replace("0101", "0102"),
            None,
        ),
        (4, "1||||6045550103|pager||||", Some(Damage::ShiftedCells)),
    ] {
        validator.push(&header(), &sheet_row(number, line, damage));
    }
    let parsed = validator.finish(&[], false);
    assert_eq!(parsed.in_error, ["1".to_owned()].into());
    assert_eq!(parsed.contacts.len(), 1);
    assert_eq!(parsed.unidentified.len(), 1);
    let issue = first_issue(&parsed);
    assert_eq!(
        (issue.row, issue.external_id.as_deref()),
        (Some(2), Some("1"))
    );
    assert!(
        issue
            .message()
            .starts_with("row 4, which has the same ID, is damaged")
    );
}
