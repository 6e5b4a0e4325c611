//! The rules of SPEC §2.3 to §2.5 as tables of rows and what comes of them.

use super::*;
use crate::model::ContactId;
use crate::model::contact::{Priority, Said};
use crate::model::issue::{Code, Issue};
use crate::row_cache::{KnownContact, KnownContacts};
use crate::table::{Cell, Damage, NumberColumns};

fn header() -> Header {
    let places: Vec<(Field, usize)> = Field::ALL
        .iter()
        .enumerate()
        .map(|(place, field)| (*field, place))
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
    Header::new(1, titles, &places, numbers)
}

fn sheet_row(number: u32, line: &str, damage: Option<Damage>) -> SheetRow {
    let mut row = SheetRow::new(number);
    row.damage = damage;
    for cell in line.split('|') {
        row.push(Cell::Text(cell));
    }
    row
}

fn roster_of(lines: &[&str]) -> Roster {
    let mut collector = Collector::default();
    for (number, line) in (2..).zip(lines) {
        collector.push(&header(), &sheet_row(number, line, None));
    }
    collector.finish(&[], false)
}

/// Rows in, codes out, with the number of contacts that came through.
#[track_caller]
fn check(lines: &[&str], codes: &[&str], contacts: usize) -> Roster {
    let roster = roster_of(lines);
    let found: Vec<&str> = roster
        .issues
        .iter()
        .map(|issue| issue.code.as_str())
        .collect();
    assert_eq!(
        (found.as_slice(), roster.contacts.len()),
        (codes, contacts),
        "{:#?}",
        roster.issues
    );
    roster
}

fn first_issue(roster: &Roster) -> Issue {
    roster.issues.iter().next().unwrap()
}

const GOOD: &str = "1|Ann|Org|EMT|6045550101|mobile|cell|ann@example.org|High|A, B";

#[test]
fn a_good_row_is_a_contact() {
    let roster = check(&[GOOD], &[], 1);
    let contact = roster.contacts.get(0);
    assert_eq!(
        (contact.name.as_str(), contact.rows.as_slice()),
        ("Ann", &[2][..])
    );
    assert_eq!(contact.priority, Said::This(Some(Priority::High)));
    assert_eq!(contact.groups, ["A", "B"]);
}

#[test]
fn a_blank_priority_agrees_with_any_other() {
    let rows = |first: &str, second: &str| {
        [
            format!("1|Ann|Org|EMT|6045550101|mobile|cell|ann@example.org|{first}|A, B"),
            format!("1|Ann|Org|EMT|6045550102|mobile|cell|ann@example.org|{second}|A, B"),
        ]
    };
    for (first, second) in [("", "High"), ("High", "")] {
        let [first, second] = rows(first, second);
        let roster = check(&[&first, &second], &[], 1);
        assert_eq!(
            roster.contacts.get(0).priority,
            Said::This(Some(Priority::High))
        );
    }
    let [first, second] = rows("Normal", "High");
    check(&[&first, &second], &["rows_disagree"], 0);
}

#[test]
fn blank_optional_cells_clear_and_bad_ones_keep() {
    let roster = check(&["1|Ann|||6045550101|mobile|||| A"], &[], 1);
    let contact = roster.contacts.get(0);
    assert_eq!(
        (&contact.title, &contact.priority),
        (&Said::This(None), &Said::This(None))
    );
    let roster = check(
        &["1|Ann|||6045550101|mobile||nobody|urgent|A"],
        &["email_invalid", "priority_unknown"],
        1,
    );
    assert_eq!(
        (
            &roster.contacts.get(0).email,
            &roster.contacts.get(0).priority
        ),
        (&Said::Nothing, &Said::Nothing)
    );
    let roster = check(
        &["1|Ann|n/a||6045550101|mobile||||A"],
        &["placeholder_in_optional"],
        1,
    );
    assert_eq!(roster.contacts.get(0).organization_name, Said::This(None));
}

#[test]
fn what_is_required_is_an_error_where_it_is_missing() {
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
fn rows_without_a_knowable_id_are_nameless() {
    for (line, code) in [
        ("|Ann|||6045550101|mobile||||A", "id_missing"),
        ("6.04E+09|Ann|||6045550101|mobile||||A", "id_unreadable"),
        ("1\u{7}|Ann|||6045550101|mobile||||A", "id_unreadable"),
        (
            "n/a|Ann|||6045550101|mobile||||A",
            "placeholder_in_required",
        ),
    ] {
        let roster = check(&[line, GOOD], &[code, "number_shared"][..1], 1);
        assert_eq!(roster.nameless.len(), 1, "{line}");
        let issue = first_issue(&roster);
        assert_eq!(issue.row_digest, Some(roster.nameless[0].digest));
        assert_eq!(issue.contact_name.as_deref(), Some("Ann"));
    }
    let roster = check(&["||Org|||||||A", GOOD], &["row_without_id_ignored"], 1);
    assert!(roster.nameless.is_empty());
}

#[test]
fn a_nameless_row_is_known_again_wherever_it_stands() {
    let line = "|Ann|||6045550101|mobile||||A";
    let (one, other) = (roster_of(&[line]), roster_of(&[GOOD, line]));
    assert_eq!(one.nameless[0].digest, other.nameless[0].digest);
}

#[test]
fn rows_of_one_id_make_one_contact() {
    let roster = check(
        &[
            "1|Ann|||6045550101|mobile|cell|||A, B",
            "1||||6045550102|landline|home|||b,a",
        ],
        &[],
        1,
    );
    assert_eq!(
        (
            roster.contacts.get(0).numbers.len(),
            roster.contacts.get(0).rows.as_slice()
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
    check(&[GOOD, GOOD], &["duplicate_row"], 1);
    check(
        &[GOOD, "1||||604-555-0101|mobile||||"],
        &["duplicate_number"],
        1,
    );
    check(&[GOOD, "1||||123|mobile||||"], &["number_not_10_digits"], 0);
    check(&[GOOD, "1|||||mobile||||"], &["type_without_number"], 1);
}

#[test]
fn contacts_are_held_against_each_other() {
    check(
        &[GOOD, "2|Bob|||6045550101|mobile||||A"],
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
fn the_example_row_is_skipped_only_if_unchanged() {
    let example = EXAMPLE_ROW.join("|");
    check(&[&example, GOOD], &["example_row"], 1);
    check(
        &[&example.replace("Jane Example", "Jane Doe"), GOOD],
        &[],
        2,
    );
}

#[test]
fn a_file_that_may_be_cut_puts_its_last_contact_in_error() {
    let mut collector = Collector::default();
    for (number, line) in [(2, GOOD), (3, "2|Bob|||6045550102|mobile||||A")] {
        collector.push(&header(), &sheet_row(number, line, None));
    }
    let roster = collector.finish(&[], true);
    assert_eq!(first_issue(&roster).code, Code::LastRowMaybeCut);
    assert!(roster.in_error.contains("2") && roster.maybe_cut && roster.contacts.len() == 1);
}

#[test]
fn cells_are_named_as_in_the_spreadsheet() {
    let roster = roster_of(&[GOOD, "2|Bob|||60455501|mobile||||A"]);
    let issue = first_issue(&roster);
    assert_eq!(
        (issue.cell().as_deref(), issue.row, issue.column.as_deref()),
        (Some("E3"), Some(3), Some("Number"))
    );
    assert_eq!(
        (issue.external_id.as_deref(), issue.contact_name.as_deref()),
        (Some("2"), Some("Bob"))
    );
}

/// Six contacts: two share a number, one has a comment to be made, three have nothing to be said of.
const LAST_TIME: [&str; 6] = [
    "1|Ann|Org|EMT|6045550101|mobile|cell|ann@example.org|High|A, B",
    "2|Bob|Org|EMT|604-555-0102|mobile||bob@example.org|High|A",
    "é3|Cem||EMT|6045550103|mobile|||Normal|A",
    "4|Dan|Org|EMT|6045550104|mobile|||Normal|B",
    "5|Eve|Org|EMT|6045550104|pager|||Normal|B",
    "6|Fay|n/a|EMT|6045550106|mobile|||Normal|B",
];

fn known_from(lines: &[&str]) -> KnownContacts {
    let mut collector = Collector::marking();
    for (number, line) in (2..).zip(lines) {
        collector.push(&header(), &sheet_row(number, line, None));
    }
    let roster = collector.finish(&[], false);
    let mut known = KnownContacts::default();
    for (id, mark) in (1..).zip(roster.marks) {
        let id = ContactId(id);
        known.push(KnownContact { id, mark });
    }
    known
}

/// What is said of a file after [`LAST_TIME`], and which of those contacts were not met.
fn skim(lines: &[&str], maybe_cut: bool) -> Option<(Roster, Vec<i64>)> {
    let mut skimmer = Skimmer::new(known_from(&LAST_TIME));
    for (number, line) in (2..).zip(lines) {
        skimmer.push(&header(), &sheet_row(number, line, None));
    }
    let found = skimmer.finish(&[], maybe_cut)?;
    let others = found.known.iter().zip(&found.met);
    let others = others.filter(|(_, met)| !**met).map(|(one, _)| one.id.0);
    Some((found.roster, others.collect()))
}

#[test]
fn only_contacts_of_which_nothing_is_said_are_known_by_their_rows() {
    let known: Vec<bool> = known_from(&LAST_TIME)
        .iter()
        .map(|one| one.mark.is_some())
        .collect();
    assert_eq!(known, [true, true, true, false, false, false]);
    let known = known_from(&[LAST_TIME[0], LAST_TIME[1], LAST_TIME[0]]);
    assert!(known.iter().next().unwrap().mark.is_none());
}

#[test]
fn known_rows_are_passed_over_in_any_order_and_the_others_judged() {
    let in_order = skim(&LAST_TIME, false).unwrap();
    let mut reversed = LAST_TIME;
    reversed.reverse();
    let edited = "2|Bob|Org|EMT|604-555-0199|mobile||bob@example.org|High|A";
    for (lines, known, judged, others) in [
        (LAST_TIME.to_vec(), 3, 3, vec![4, 5, 6]),
        (reversed.to_vec(), 3, 3, vec![4, 5, 6]),
        (
            [&LAST_TIME[..1], &[edited], &LAST_TIME[2..]].concat(),
            2,
            4,
            vec![2, 4, 5, 6],
        ),
        (LAST_TIME[1..].to_vec(), 2, 3, vec![1, 4, 5, 6]),
    ] {
        let (roster, unmet) = skim(&lines, false).unwrap();
        let whole = roster_of(&lines);
        assert_eq!((roster.known, roster.contacts.len()), (known, judged));
        assert_eq!(unmet, others);
        // Whatever is said of the whole file is said here, too.
        assert_eq!(roster.issues, whole.issues);
        assert_eq!(roster.row_count, whole.row_count);
        assert_eq!(roster.known + roster.contacts.len(), whole.contacts.len());
    }
    assert_eq!(in_order.0.issues.len(), 2);
}

#[test]
fn a_file_in_which_passed_rows_may_matter_is_read_whole() {
    let with = |line| [&LAST_TIME[..], &[line]].concat();
    for (what, line) in [
        ("the same row twice", LAST_TIME[0]),
        (
            "a second row of a contact",
            "1|Ann|Org|EMT|6045550111|mobile|cell|ann@example.org|High|A, B",
        ),
        (
            "an ID composed otherwise",
            "e\u{301}3|Cem||EMT|6045550103|mobile|||Normal|A",
        ),
        (
            "an ID that looks alike",
            "001|Ian||EMT|6045550112|mobile|||Normal|A",
        ),
        (
            "a number shared",
            "7|Ian||EMT|(604) 555-0101|mobile|||Normal|A",
        ),
    ] {
        assert!(skim(&with(line), false).is_none(), "{what}");
    }
    assert!(skim(&LAST_TIME, true).is_none(), "the last row is in doubt");
    let new: Vec<String> = (10..40)
        .map(|n| format!("{n}|Ian||EMT|60455502{n}|mobile|||Normal|A"))
        .collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    assert!(skim(&new, false).is_none(), "nearly all is new");
    let other = "7|Ian||EMT|6045550107|mobile|||Normal|A";
    assert!(skim(&with(other), false).is_some());
}

#[test]
fn a_row_that_differs_by_a_formula_without_value_is_no_duplicate() {
    // The last column is the e-mail address here; the formula has no text, but says that there is one.
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
        let mut collector = Collector::default();
        for (number, last) in [(2, Cell::BLANK), (3, Cell::FormulaWithoutValue)] {
            let mut row = SheetRow::new(number);
            for cell in ["7", name, "6045550101", "mobile", "A"] {
                row.push(Cell::Text(cell));
            }
            row.push(last);
            collector.push(&header, &row);
        }
        let roster = collector.finish(&[], false);
        let codes: Vec<&str> = roster
            .issues
            .iter()
            .map(|issue| issue.code.as_str())
            .collect();
        assert!(!codes.contains(&"duplicate_row"), "{codes:?}");
        assert_eq!(roster.contacts.get(0).email, Said::Nothing);
    }
}

/// What a damaged row would have said of a contact that has other rows is not known.
#[test]
fn a_contact_of_which_one_row_is_damaged_is_left_as_it_is() {
    let mut collector = Collector::marking();
    for (number, line, damage) in [
        (2, GOOD, None),
        (3, &GOOD.replace("1|", "2|").replace("0101", "0102"), None),
        (4, "1||||6045550103|pager||||", Some(Damage::Shifted)),
    ] {
        collector.push(&header(), &sheet_row(number, line, damage));
    }
    let roster = collector.finish(&[], false);
    assert_eq!(roster.in_error, ["1".to_owned()].into());
    assert_eq!(roster.contacts.len(), 1);
    assert_eq!(roster.nameless.len(), 1);
    let issue = first_issue(&roster);
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
