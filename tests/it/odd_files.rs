//! Files as other programs really write them: for each, the contacts that are imported and the issues that are reported.

use rosterd::import;
use rosterd::model::contact::FieldUpdate;
use rosterd::model::issue::Severity;
use rosterd::sheet::{FileContent, WorkbookReader};

const HEADER: &str = "ID,Name,Title,Number,Number Type,Groups";

/// `ID Name Number` of each contact, `;`-separated, then the code and row of each error (`!`) and warning, or the failure code.
fn outcome(bytes: &[u8]) -> String {
    let parsed_file = match import::read(
        FileContent::Bytes(bytes),
        &WorkbookReader::InProcess,
        1_000,
        None,
    ) {
        Ok(parsed_file) => parsed_file,
        Err(error) => return error.code().to_string(),
    };
    let sheet = &parsed_file.sheet;
    let contacts = sheet.contacts.iter().map(|contact| {
        let number = contact.numbers[0].number.as_str();
        format!("{} {} {number}", contact.external_id, contact.name)
    });
    let issues = sheet.issues.iter().filter_map(|issue| {
        let mark = if issue.severity == Severity::Error {
            "!"
        } else {
            ""
        };
        Some(format!("{mark}{}@{}", issue.code, issue.row?))
    });
    let (contacts, issues): (Vec<_>, Vec<_>) = (contacts.collect(), issues.collect());
    format!("{} | {}", contacts.join("; "), issues.join(" "))
}

/// A file of one row, without line breaks at its ends.
#[track_caller]
fn check_row(row: &str, expected: &str) {
    let text = format!("{HEADER}\n{row}\nZ,Zoe,,6045550199,pager,Base\n");
    let expected = match expected.split_once(" | ") {
        Some(("", issues)) => format!("Z Zoe 6045550199 | {issues}"),
        Some((contact, issues)) => format!("{contact}; Z Zoe 6045550199 | {issues}"),
        None => expected.to_owned(),
    };
    assert_eq!(outcome(text.as_bytes()), expected, "{row:?}");
}

#[test]
fn unusual_spellings_of_workbook_cells_are_read() {
    let workbook = include_bytes!("../corpus/reader/cell_spelling.xlsx");
    assert_eq!(
        outcome(workbook),
        "H-1 Ada 6045550123; H-2 Bo 6045550124 | cell_error@3 !cell_error@4"
    );
    let file = FileContent::Bytes(workbook);
    let parsed_file = import::read(file, &WorkbookReader::InProcess, 1_000, None).unwrap();
    let contact = parsed_file.sheet.contacts.iter().next().unwrap();
    let title = FieldUpdate::Set(Some("Lead & Medic".to_owned()));
    assert_eq!(
        (contact.title, &contact.groups[..]),
        (title, &["Team".to_owned()][..])
    );
}

#[test]
fn error_words_of_spreadsheet_programs_are_cell_errors() {
    for word in [
        "#REF!",
        "#VALUE!",
        "#NAME?",
        "#DIV/0!",
        "#NUM!",
        "#NULL!",
        "#ERROR!",
        "#SPILL!",
        "#CALC!",
        "#FIELD!",
        "#BLOCKED!",
        "#GETTING_DATA",
        "Loading...",
        "Infinity",
        "-Infinity",
    ] {
        check_row(
            &format!("{word},Ann,,6045550101,mobile,A"),
            " | !id_unreadable@2",
        );
        check_row(
            &format!("1,{word},,6045550101,mobile,A"),
            " | !cell_error@2",
        );
        check_row(
            &format!("1,Ann,{word},6045550101,mobile,A"),
            "1 Ann 6045550101 | cell_error@2",
        );
        check_row(&format!("1,Ann,,{word},mobile,A"), " | !cell_error@2");
        check_row(
            &format!("1,Ann,,6045550101,mobile,{word}"),
            " | !cell_error@2",
        );
    }
}

#[test]
fn placeholders_of_databases_are_blank() {
    for word in [
        "\\N",
        "nan",
        "NaN",
        "(null)",
        "undefined",
        "#N/A N/A",
        "#N/A",
    ] {
        check_row(
            &format!("{word},Ann,,6045550101,mobile,A"),
            " | !placeholder_in_required@2",
        );
        check_row(
            &format!("1,{word},,6045550101,mobile,A"),
            " | !placeholder_in_required@2",
        );
        check_row(
            &format!("1,Ann,{word},6045550101,mobile,A"),
            "1 Ann 6045550101 | placeholder_in_optional@2",
        );
    }
}

#[test]
fn shortened_numbers_are_errors_in_any_spelling() {
    for number in [
        "1.23457E+15",
        "\"1,23457E+15\"",
        "1e+05",
        "1.2E7",
        "4.687E+11",
        "6.04556e+09",
        "1E-5",
        "6\u{66B}04E+09",
        "6.04\u{415}+09",
        "1.2\u{D7}10^7",
    ] {
        check_row(
            &format!("{number},Ann,,6045550101,mobile,A"),
            " | !id_unreadable@2",
        );
        check_row(
            &format!("1,Ann,,{number},mobile,A"),
            " | !number_scientific@2",
        );
    }
    // A bare exponent can be a real code.
    check_row(
        "3e3,Ann,,6045550101,mobile,A",
        "3e3 Ann 6045550101 | similar_id@2",
    );
}

#[test]
fn invisible_characters_are_dropped_in_numbers_and_reported_in_ids() {
    for number in [
        "\u{202A}+1 604 555 0101\u{202C}",
        "\u{202D}(604) 555-0101\u{202C}",
        "\u{200E}6045550101",
        "604\u{2066}555\u{2069}0101",
        "604\u{AD}5550101",
    ] {
        check_row(&format!("1,Ann,,{number},mobile,A"), "1 Ann 6045550101 | ");
    }
    check_row(
        "\u{FEFF}1\u{200F},\u{2067}Ann\u{2069},,6045550101,mobile,\u{200B}A",
        "1 Ann 6045550101 | ",
    );
    check_row(
        "1\u{200B}2,A\u{202E}nn,,6045550101,mobile,A\u{2060}B",
        "1\u{200B}2 A\u{202E}nn 6045550101 | invisible_character@2 invisible_character@2 invisible_character@2",
    );
    check_row(
        "1,Ann \u{1F468}\u{200D}\u{1F692},,6045550101,mobile,A",
        "1 Ann \u{1F468}\u{200D}\u{1F692} 6045550101 | ",
    );
    // Two IDs that differ only in them are similar.
    let text =
        format!("{HEADER}\n12,Ann,,6045550101,mobile,A\n1\u{200B}2,Bo,,6045550102,mobile,A\n");
    assert!(
        outcome(text.as_bytes()).contains("similar_id"),
        "{}",
        outcome(text.as_bytes())
    );
}

#[test]
fn marks_of_text_are_removed_with_a_warning() {
    for (row, contact) in [
        ("=\"0001\",Ann,,6045550101,mobile,A", "0001 Ann 6045550101"),
        (
            "\"=\"\"0001\"\"\",Ann,,6045550101,mobile,A",
            "0001 Ann 6045550101",
        ),
        ("'0001,Ann,,6045550101,mobile,A", "0001 Ann 6045550101"),
        ("'+15,Ann,,6045550101,mobile,A", "+15 Ann 6045550101"),
        ("1,Ann,,'+1 604 555 0101,mobile,A", "1 Ann 6045550101"),
        ("1,Ann,,=\"6045550101\",mobile,A", "1 Ann 6045550101"),
        ("1,Ann,'=Lead,6045550101,mobile,A", "1 Ann 6045550101"),
    ] {
        check_row(row, &format!("{contact} | text_marker@2"));
    }
    check_row(
        "1,'t Hart,O'Brien,6045550101,mobile,A",
        "1 't Hart 6045550101 | ",
    );
    let marked = HEADER
        .split(',')
        .map(|title| format!("\"=\"\"{title}\"\"\""));
    let text = format!(
        "{}\n1,Ann,,6045550101,mobile,A\n",
        marked.collect::<Vec<_>>().join(",")
    );
    assert!(
        outcome(text.as_bytes()).starts_with("1 Ann 6045550101 | "),
        "{}",
        outcome(text.as_bytes())
    );
}

/// An unquoted comma moves all cells after it; the last one is blank, so the row looks complete.
#[test]
fn row_shifted_by_an_unquoted_comma_is_damaged() {
    let row = |n: usize, organization: &str| {
        format!("Person {n},60455510{n:02},mobile,{organization},ID{n:03},Medics,\n")
    };
    let rows: String = (0..12)
        .map(|n| row(n, if n == 7 { "Smith, Inc" } else { "Org" }))
        .collect();
    let text = format!("Name,Number,Number Type,Organization Name,ID,Groups,Title\n{rows}");
    let found = outcome(text.as_bytes());
    assert!(found.contains("!row_damaged@9"), "{found}");
    assert!(
        !found.contains("Inc ") && !found.contains("ID007"),
        "{found}"
    );
}

#[test]
fn end_of_file_marks_and_repeated_byte_order_marks_are_ignored() {
    let row = "1,Ann,,6045550101,mobile,A";
    let quoted = HEADER.split(',').map(|title| format!("\"{title}\""));
    let quoted = quoted.collect::<Vec<_>>().join(",");
    for text in [
        format!("{HEADER}\r\n{row}\r\n\u{1A}"),
        format!("{HEADER}\r\n{row}\r\n\u{1A}\r\n"),
        format!("\u{FEFF}\u{FEFF}{quoted}\r\n\"1\",Ann,,6045550101,mobile,A\r\n"),
        format!("\u{FEFF}{HEADER}\r\n\u{FEFF}{row}\r\n"),
        format!("SEP=,\r\n{HEADER}\r\n{row}\r\n"),
    ] {
        assert_eq!(outcome(text.as_bytes()), "1 Ann 6045550101 | ", "{text:?}");
    }
}

#[test]
fn long_titles_and_cells_have_limits() {
    let title = "x".repeat(8 << 20);
    let text = format!("{HEADER},{title}\n1,Ann,,6045550101,mobile,A,\n");
    assert_eq!(outcome(text.as_bytes()), "cell_too_long");
    let title = "Number Typo".repeat(90_000);
    let text = format!("{HEADER},{title}\n1,Ann,,6045550101,mobile,A,\n");
    assert_eq!(
        outcome(text.as_bytes()),
        "1 Ann 6045550101 | column_unknown@1"
    );
    let id = "i".repeat(1 << 20);
    let text = format!("{HEADER}\n{id},Ann,,6045550101,mobile,A\n");
    assert_eq!(outcome(text.as_bytes()), format!("{id} Ann 6045550101 | "));
}
