//! Workbooks with several sheets, hidden ones, formulas and error cells: read right, or refused with the reason.

use std::io::{Cursor, Read, Write};

use rosterd::import::{self, Reading};
use rosterd::model::failure::FailureCode;
use rosterd::model::issue::Severity;
use rosterd::sheet::{self, Content, Limits, SheetError, WORKBOOK_COMMAND, WorkbookReader};
use rust_xlsxwriter::{Formula, Workbook, Worksheet};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::support::daemon;

const TITLES: [&str; 6] = ["ID", "Name", "Number", "Number Type", "Groups", "Title"];

fn read(workbook: &[u8]) -> Result<Reading, SheetError> {
    import::read(
        Content::Bytes(workbook),
        &WorkbookReader::InProcess,
        10_000,
        None,
    )
}

/// Writes a list of one contact of this name, below these titles.
fn list(sheet: &mut Worksheet, titles: &[&str], first_row: u32, name: &str) {
    sheet.write_row(first_row, 0, titles.to_vec()).unwrap();
    let cells = ["1", name, "6045550100", "mobile", "Team", "EMT"];
    sheet.write_row(first_row + 1, 0, cells).unwrap();
}

fn names(reading: &Reading) -> Vec<String> {
    let contacts = reading.roster.contacts.iter();
    contacts.map(|contact| contact.name).collect()
}

/// The same workbook with each part named and written anew.
fn rewritten(workbook: &[u8], change: impl Fn(&str, String) -> (String, String)) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(workbook)).unwrap();
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).unwrap();
        let name = part.name().unwrap().into_owned();
        let mut text = String::new();
        part.read_to_string(&mut text).unwrap();
        let (name, text) = change(&name, text);
        out.start_file(name, stored).unwrap();
        out.write_all(text.as_bytes()).unwrap();
    }
    out.finish().unwrap().into_inner()
}

#[test]
fn the_first_visible_sheet_with_the_header_is_meant_and_a_flawed_one_is_not_passed_over() {
    let among = |write: &dyn Fn(&mut Worksheet)| {
        let mut book = Workbook::new();
        let notes = book.add_worksheet().set_name("Notes").unwrap();
        notes.write_row(0, 0, ["Duty list", "of 2026"]).unwrap();
        let hidden = book.add_worksheet().set_hidden(true);
        list(hidden, &TITLES, 0, "Hidden");
        write(book.add_worksheet().set_name("Contacts").unwrap());
        list(
            book.add_worksheet().set_name("Old 2019").unwrap(),
            &TITLES,
            0,
            "Old",
        );
        read(&book.save_to_buffer().unwrap())
    };
    let reading = among(&|sheet| list(sheet, &TITLES, 0, "Jane")).unwrap();
    assert_eq!(names(&reading), ["Jane"]);
    assert_eq!(reading.facts.format.sheet.as_deref(), Some("Contacts"));
    // Nothing of a contact list in it.
    let reading = among(&|sheet| list(sheet, &["a", "b", "c"], 0, "Jane")).unwrap();
    assert_eq!(names(&reading), ["Old"]);

    let below_a_title = among(&|sheet| {
        sheet.write_string(0, 0, "Contacts").unwrap();
        list(sheet, &TITLES, 1, "Jane");
    });
    let twice = TITLES.map(|title| if title == "Title" { "name*" } else { title });
    let other_word = TITLES.map(|title| if title == "Number" { "Phone" } else { title });
    for (refused, why) in [
        (below_a_title, "the header is in row 2"),
        (among(&|sheet| list(sheet, &twice, 0, "Jane")), "twice"),
        (
            among(&|sheet| list(sheet, &other_word, 0, "Jane")),
            "lacks the required column `Number`",
        ),
    ] {
        let Err(error) = refused else { panic!("{why}") };
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_workbook_whose_list_is_hidden_is_not_called_empty() {
    let mut book = Workbook::new();
    book.add_worksheet();
    list(book.add_worksheet().set_hidden(true), &TITLES, 0, "Jane");
    let error = read(&book.save_to_buffer().unwrap()).unwrap_err();
    assert!(matches!(error, SheetError::NothingVisible), "{error}");
}

#[test]
fn formulas_without_value_are_seen_wherever_the_sheet_lies() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    list(sheet, &TITLES, 0, "Jane");
    sheet.write_formula(1, 5, Formula::new("=B2")).unwrap();
    let book = book.save_to_buffer().unwrap();
    let without_value = |text: String| text.replace("<f>B2</f><v>0</v>", "<f>B2</f>");
    let there = rewritten(&book, |name, text| (name.to_owned(), without_value(text)));
    let elsewhere = rewritten(&book, |name, text| {
        let place = |text: &str| text.replace("worksheets/sheet1.xml", "list.xml");
        (place(name), place(&without_value(text)))
    });
    for (book, place) in [(there, "as usual"), (elsewhere, "elsewhere")] {
        let reading = read(&book).unwrap();
        let codes: Vec<&str> = reading
            .roster
            .issues
            .iter()
            .filter(|issue| issue.row.is_some())
            .map(|issue| issue.code.as_str())
            .collect();
        assert_eq!(codes, ["formula_without_value"], "{place}");
    }
}

#[test]
fn an_error_in_a_further_number_keeps_the_stored_ones() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let titles = [
        "ID",
        "Name",
        "Number",
        "Number Type",
        "Groups",
        "Title",
        "Number 2",
        "Number Type 2",
    ];
    list(sheet, &titles, 0, "Jane");
    let error = Formula::new("=NA()").set_result("#N/A");
    sheet.write_formula(1, 6, error).unwrap();
    let book = book.save_to_buffer().unwrap();
    let book = rewritten(&book, |name, text| {
        (name.to_owned(), text.replace("t=\"str\"", "t=\"e\""))
    });
    let reading = read(&book).unwrap();
    let contact = reading.roster.contacts.get(0);
    assert_eq!((contact.numbers.len(), contact.keeps_numbers), (1, true));
    let issues = reading.roster.issues.iter().filter(|i| i.row.is_some());
    let found: Vec<_> = issues.map(|i| (i.code.as_str(), i.severity)).collect();
    assert_eq!(found, [("cell_error", Severity::Warning)]);
}

#[test]
fn a_row_without_an_id_whose_name_is_a_formula_without_value_is_somebody() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    list(sheet, &TITLES, 0, "Jane");
    sheet.write_formula(2, 1, Formula::new("=B9")).unwrap();
    let book = book.save_to_buffer().unwrap();
    let book = rewritten(&book, |name, text| {
        (
            name.to_owned(),
            text.replace("<f>B9</f><v>0</v>", "<f>B9</f>"),
        )
    });
    assert_eq!(read(&book).unwrap().roster.nameless.len(), 1);
}

/// A sheet as long as one may be, wrong in every cell that can be: the kernel grants 256 MiB and no more.
#[test]
fn a_sheet_that_is_wrong_everywhere_takes_no_more_memory_than_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet_with_constant_memory().unwrap();
    let titles = "ID,Name,Organization Name,Title,Number,Number Type,Number Description,Email Address,Notification Priority,Groups";
    sheet.write_row(0, 0, titles.split(',')).unwrap();
    for row in 1..=200_000 {
        let id = format!("A{row}");
        let cells = [
            &id, "n/a", "n/a", "n/a", "12345", "fax", "n/a", "nowhere", "urgent", "n/a",
        ];
        sheet.write_row(row, 0, cells).unwrap();
    }
    workbook.save(folder.path().join("wrong.xlsx")).unwrap();
    let check = daemon::rosterd(folder.path());
    let done = std::process::Command::new("sh")
        .args(["-c", "ulimit -d 262144; exec \"$0\" check wrong.xlsx"])
        .arg(check.as_std().get_program())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(
        done.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(
        said.contains("200000 in error: 800000 errors, 1000000 warnings"),
        "{}",
        &said[..said.len().min(500)]
    );
    assert!(said.ends_with("which are counted only\n"));
    // Each row in error is named, those beyond the list, too.
    assert!(said.contains(" ID A200000: "));
}

/// How many rows are handed out, and how it ends.
fn rows(workbook: &[u8], reader: &WorkbookReader) -> (usize, Result<(), SheetError>) {
    let (content, limits) = (Content::Bytes(workbook), Limits { max_rows: 10_000 });
    let mut rows = 0;
    let read = sheet::read_guarded(content, reader, limits, |_, _| rows += 1);
    (rows, read.map(|_| ()))
}

fn thousand_contacts() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_row(0, 0, TITLES).unwrap();
    for row in 1..=1_000 {
        let id = format!("A{row}");
        let cells = [&id, "Ann Lee", "6045550100", "mobile", "Team", "EMT"];
        sheet.write_row(row, 0, cells).unwrap();
    }
    book.save_to_buffer().unwrap()
}

#[test]
fn a_workbook_that_breaks_in_its_last_row_gives_no_row_at_all() {
    let (whole, child) = (
        thousand_contacts(),
        WorkbookReader::Child(env!("CARGO_BIN_EXE_rosterd").into()),
    );
    assert!(matches!(rows(&whole, &child), (1_000, Ok(()))));
    let broken = rewritten(&whole, |name, text| {
        (name.to_owned(), text.replace("\"A1001\"", "\"A5\""))
    });
    let (handed_out, outcome) = rows(&broken, &child);
    let refusal = outcome.unwrap_err();
    assert_eq!(refusal.code(), FailureCode::WorkbookUnreadable);
    assert!(
        refusal.to_string().contains("row 5 stands after row 1000"),
        "{refusal}"
    );
    assert_eq!(handed_out, 0);
    // There were rows before it.
    assert_eq!(rows(&broken, &WorkbookReader::InProcess).0, 998);
}

#[test]
fn where_there_is_no_room_for_its_rows_the_machine_is_blamed_and_not_the_workbook() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.xlsx");
    std::fs::write(&path, thousand_contacts()).unwrap();
    // Nothing can be written to it.
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_rosterd"))
        .args([WORKBOOK_COMMAND, "10000"])
        .stdin(std::fs::File::open(&path).unwrap())
        .stdout(full)
        .status()
        .unwrap();
    assert_eq!(done.code(), Some(1));
    let ends_so = WorkbookReader::Child("/bin/false".into());
    let refusal = rows(&std::fs::read(&path).unwrap(), &ends_so)
        .1
        .unwrap_err();
    assert_eq!(refusal.code(), FailureCode::Internal);
    assert!(
        refusal.to_string().contains("there is no room"),
        "{refusal}"
    );
}
