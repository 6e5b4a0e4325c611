//! Workbooks with several sheets, hidden sheets, formulas and error cells: read correctly, or refused with the reason.

use std::io::{Cursor, Read, Write};

use rosterd::import::{self, ParsedFile};
use rosterd::model::failure::FailureCode;
use rosterd::model::issue::Severity;
use rosterd::sheet::{self, FileContent, Limits, SheetError, WORKBOOK_COMMAND, WorkbookReader};
use rust_xlsxwriter::{Formula, Workbook, Worksheet};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::support::daemon;

const TITLES: [&str; 6] = ["ID", "Name", "Number", "Number Type", "Groups", "Title"];

fn read(workbook: &[u8]) -> Result<ParsedFile, SheetError> {
    import::read(
        FileContent::Bytes(workbook),
        &WorkbookReader::InProcess,
        10_000,
        None,
    )
}

/// Writes a header row and one contact with this name.
fn write_list(sheet: &mut Worksheet, titles: &[&str], first_row: u32, name: &str) {
    sheet.write_row(first_row, 0, titles.to_vec()).unwrap();
    let cells = ["1", name, "6045550100", "mobile", "Team", "EMT"];
    sheet.write_row(first_row + 1, 0, cells).unwrap();
}

fn names(parsed_file: &ParsedFile) -> Vec<String> {
    let contacts = parsed_file.sheet.contacts.iter();
    contacts.map(|contact| contact.name).collect()
}

/// Rewrites a workbook, with each part's name and text changed by `change`.
fn rewrite(workbook: &[u8], change: impl Fn(&str, String) -> (String, String)) -> Vec<u8> {
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
fn first_visible_sheet_with_header_is_read_or_refused() {
    let read_among_other_sheets = |write: &dyn Fn(&mut Worksheet)| {
        let mut book = Workbook::new();
        let notes = book.add_worksheet().set_name("Notes").unwrap();
        notes.write_row(0, 0, ["Duty list", "of 2026"]).unwrap();
        let hidden = book.add_worksheet().set_hidden(true);
        write_list(hidden, &TITLES, 0, "Hidden");
        write(book.add_worksheet().set_name("Contacts").unwrap());
        write_list(
            book.add_worksheet().set_name("Old 2019").unwrap(),
            &TITLES,
            0,
            "Old",
        );
        read(&book.save_to_buffer().unwrap())
    };
    let parsed_file =
        read_among_other_sheets(&|sheet| write_list(sheet, &TITLES, 0, "Jane")).unwrap();
    assert_eq!(names(&parsed_file), ["Jane"]);
    assert_eq!(parsed_file.info.format.sheet.as_deref(), Some("Contacts"));
    // A sheet without any expected column is skipped.
    let parsed_file =
        read_among_other_sheets(&|sheet| write_list(sheet, &["a", "b", "c"], 0, "Jane")).unwrap();
    assert_eq!(names(&parsed_file), ["Old"]);

    let header_in_row_two = read_among_other_sheets(&|sheet| {
        sheet.write_string(0, 0, "Contacts").unwrap();
        write_list(sheet, &TITLES, 1, "Jane");
    });
    let duplicate_column = TITLES.map(|title| if title == "Title" { "name*" } else { title });
    let unknown_column = TITLES.map(|title| if title == "Number" { "Phone" } else { title });
    for (refused, why) in [
        (header_in_row_two, "the header is in row 2"),
        (
            read_among_other_sheets(&|sheet| write_list(sheet, &duplicate_column, 0, "Jane")),
            "twice",
        ),
        (
            read_among_other_sheets(&|sheet| write_list(sheet, &unknown_column, 0, "Jane")),
            "lacks the required column `Number`",
        ),
    ] {
        let Err(error) = refused else { panic!("{why}") };
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn workbook_with_hidden_list_is_not_reported_as_empty() {
    let mut book = Workbook::new();
    book.add_worksheet();
    write_list(book.add_worksheet().set_hidden(true), &TITLES, 0, "Jane");
    let error = read(&book.save_to_buffer().unwrap()).unwrap_err();
    assert!(matches!(error, SheetError::VisibleSheetsEmpty), "{error}");
}

#[test]
fn formula_without_value_is_found_in_any_sheet_path() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    write_list(sheet, &TITLES, 0, "Jane");
    sheet.write_formula(1, 5, Formula::new("=B2")).unwrap();
    let book = book.save_to_buffer().unwrap();
    let without_value = |text: String| text.replace("<f>B2</f><v>0</v>", "<f>B2</f>");
    let default_path = rewrite(&book, |name, text| (name.to_owned(), without_value(text)));
    let other_path = rewrite(&book, |name, text| {
        let rename = |text: &str| text.replace("worksheets/sheet1.xml", "list.xml");
        (rename(name), rename(&without_value(text)))
    });
    for (book, location) in [(default_path, "default path"), (other_path, "other path")] {
        let parsed_file = read(&book).unwrap();
        let codes: Vec<&str> = parsed_file
            .sheet
            .issues
            .iter()
            .filter(|issue| issue.row.is_some())
            .map(|issue| issue.code.as_str())
            .collect();
        assert_eq!(codes, ["formula_without_value"], "{location}");
    }
}

#[test]
fn error_in_second_number_keeps_stored_numbers() {
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
    write_list(sheet, &titles, 0, "Jane");
    let error = Formula::new("=NA()").set_result("#N/A");
    sheet.write_formula(1, 6, error).unwrap();
    let book = book.save_to_buffer().unwrap();
    let book = rewrite(&book, |name, text| {
        (name.to_owned(), text.replace("t=\"str\"", "t=\"e\""))
    });
    let parsed_file = read(&book).unwrap();
    let contact = parsed_file.sheet.contacts.get(0);
    assert_eq!(
        (contact.numbers.len(), contact.keep_stored_numbers),
        (1, true)
    );
    let issues = parsed_file.sheet.issues.iter().filter(|i| i.row.is_some());
    let found: Vec<_> = issues.map(|i| (i.code.as_str(), i.severity)).collect();
    assert_eq!(found, [("cell_error", Severity::Warning)]);
}

#[test]
fn row_with_only_an_uncalculated_name_is_unidentified() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    write_list(sheet, &TITLES, 0, "Jane");
    sheet.write_formula(2, 1, Formula::new("=B9")).unwrap();
    let book = book.save_to_buffer().unwrap();
    let book = rewrite(&book, |name, text| {
        (
            name.to_owned(),
            text.replace("<f>B9</f><v>0</v>", "<f>B9</f>"),
        )
    });
    assert_eq!(read(&book).unwrap().sheet.unidentified.len(), 1);
}

/// A sheet of maximum length with an error in every cell that can have one, read with a data limit of 256 MiB.
#[test]
fn sheet_with_errors_in_every_row_stays_within_memory_limit() {
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
    let stdout = String::from_utf8_lossy(&done.stdout);
    assert_eq!(
        done.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(
        stdout.contains("200000 with errors: 800000 errors, 1000000 warnings"),
        "{}",
        &stdout[..stdout.len().min(500)]
    );
    assert!(stdout.ends_with("more issues that are not listed\n"));
    // Every row with errors is named, including those beyond the list of issues.
    assert!(stdout.contains(" ID A200000: "));
}

/// The number of rows returned, and the outcome.
fn rows(workbook: &[u8], reader: &WorkbookReader) -> (usize, Result<(), SheetError>) {
    let (content, limits) = (FileContent::Bytes(workbook), Limits { max_rows: 10_000 });
    let mut rows = 0;
    let read = sheet::read_sandboxed(content, reader, limits, |_, _| rows += 1);
    (rows, read.map(|_| ()))
}

fn workbook_with_1000_contacts() -> Vec<u8> {
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
fn workbook_with_invalid_last_row_returns_no_rows() {
    let (valid, worker) = (
        workbook_with_1000_contacts(),
        WorkbookReader::Child(env!("CARGO_BIN_EXE_rosterd").into()),
    );
    assert!(matches!(rows(&valid, &worker), (1_000, Ok(()))));
    let broken = rewrite(&valid, |name, text| {
        (name.to_owned(), text.replace("\"A1001\"", "\"A5\""))
    });
    let (row_count, outcome) = rows(&broken, &worker);
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), FailureCode::WorkbookUnreadable);
    assert!(
        error.to_string().contains("row 5 comes after row 1000"),
        "{error}"
    );
    assert_eq!(row_count, 0);
    // Read in process, the rows before the error are returned.
    assert_eq!(rows(&broken, &WorkbookReader::InProcess).0, 998);
}

#[test]
fn full_disk_in_worker_is_reported_as_internal_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("valid.xlsx");
    std::fs::write(&path, workbook_with_1000_contacts()).unwrap();
    // Every write to `/dev/full` fails with ENOSPC.
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
    let failing_worker = WorkbookReader::Child("/bin/false".into());
    let error = rows(&std::fs::read(&path).unwrap(), &failing_worker)
        .1
        .unwrap_err();
    assert_eq!(error.code(), FailureCode::Internal);
    assert!(error.to_string().contains("has free space"), "{error}");
}
