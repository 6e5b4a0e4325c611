//! Property tests: any valid contact list, written as CSV in any dialect and encoding or as a workbook, reads back unchanged.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use rosterd::import;
use rosterd::model::contact::{
    ExternalId, FieldUpdate, FileContact, FileNumber, NumberType, PhoneNumber, Priority,
};
use rosterd::model::issue::Severity;
use rosterd::sheet::{FileContent, WorkbookReader};
use rosterd::unicode;
use rust_xlsxwriter::Workbook;

const COLUMNS: [&str; 10] = [
    "ID",
    "Name",
    "Organization Name",
    "Title",
    "Number",
    "Number Type",
    "Number Description",
    "Email Address",
    "Notification Priority",
    "Groups",
];
/// Columns of the second number, for layouts with both numbers in one row.
const SECOND_NUMBER_COLUMNS: [&str; 3] = ["Number 2", "Number Type 2", "Number Description 2"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf8Bom,
    Utf16Le,
    Utf16Be,
    Windows1252,
}

/// CSV format options.
#[derive(Debug, Clone)]
struct Dialect {
    delimiter: u8,
    line_ending: &'static str,
    quote_all: bool,
    sep_line: bool,
    encoding: Encoding,
}

/// Arrangement of contacts in rows and columns.
#[derive(Debug, Clone)]
struct Layout {
    /// Order of the columns.
    order: Vec<usize>,
    /// A contact's second number has its own columns rather than its own row.
    second_in_same_row: bool,
}

impl Layout {
    /// Whether the second number's column precedes the first's. Numbers are read in column order.
    fn second_comes_first(&self) -> bool {
        let position = |column| self.order.iter().position(|other| *other == column);
        position(COLUMNS.len()) < position(4)
    }
}

fn dialect() -> impl Strategy<Value = Dialect> {
    let encodings = [
        Encoding::Utf8,
        Encoding::Utf8Bom,
        Encoding::Utf16Le,
        Encoding::Utf16Be,
        Encoding::Windows1252,
    ];
    (
        select(&[b',', b';', b'\t'][..]),
        select(&["\n", "\r\n", "\r"][..]),
        any::<bool>(),
        any::<bool>(),
        select(encodings.to_vec()),
    )
        .prop_map(
            |(delimiter, line_ending, quote_all, sep_line, encoding)| Dialect {
                delimiter,
                line_ending,
                quote_all,
                sep_line,
                encoding,
            },
        )
}

fn layout() -> impl Strategy<Value = Layout> {
    let order =
        Just((0..COLUMNS.len() + SECOND_NUMBER_COLUMNS.len()).collect::<Vec<_>>()).prop_shuffle();
    (order, any::<bool>()).prop_map(|(order, second_in_same_row)| Layout {
        order,
        second_in_same_row,
    })
}

/// Whether reading the text again gives the same text: it is no placeholder, no error word and not marked as text.
fn is_plain_value(text: &str) -> bool {
    !unicode::is_placeholder(text)
        && !unicode::is_error_word(text)
        && !unicode::has_invisible(text)
        && unicode::without_text_marker(text).is_none()
}

/// Text that cleaning leaves unchanged and that is not a placeholder such as `n/a`.
fn clean_text(pattern: &'static str) -> impl Strategy<Value = String> {
    pattern.prop_filter_map("cleaned text", |raw| {
        let cleaned = unicode::clean(&raw);
        let valid = !cleaned.text.is_empty()
            && !cleaned.has_control
            && !cleaned.had_line_break
            && is_plain_value(&cleaned.text);
        valid.then(|| cleaned.text.into_owned())
    })
}

/// Any text, with many characters and sequences that are special in CSV or XML.
const ANY: &str = r#"(\PC|[",;<>&'=@+0-9 -]|_x0041_|_x000D_|&amp;|""|'){1,12}"#;
/// Windows-1252 characters, without combinations that are also valid UTF-8.
const WESTERN: &str = r#"[a-zA-Zéèüñß",;<>&'=@ 0-9-]{1,12}"#;

fn number() -> impl Strategy<Value = (String, NumberType)> {
    (
        "[2-9][0-9]{2}[2-9][0-9]{6}",
        select(NumberType::ALL.to_vec()),
    )
}

fn contact(pattern: &'static str) -> impl Strategy<Value = FileContact> {
    let optional = || option::of(clean_text(pattern));
    let group =
        || clean_text(pattern).prop_map(|name| unicode::trim(&name.replace(',', "")).to_owned());
    (
        (
            clean_text(pattern),
            clean_text(pattern),
            optional(),
            optional(),
        ),
        option::of("[a-z0-9.]{0,5}[a-z]@[a-z]{1,9}[.]example"),
        select(Priority::ALL.to_vec()),
        vec((number(), optional()), 1..=2),
        vec(group(), 1..=4),
    )
        .prop_filter_map(
            "a valid contact",
            |((id, name, organization, title), email, priority, numbers, groups)| {
                let email = email.filter(|email| !email.starts_with('.') && !email.contains(".."));
                let mut keys = HashSet::new();
                let groups: Vec<String> = groups
                    .into_iter()
                    .filter(|name| !name.is_empty() && is_plain_value(name))
                    .filter(|name| keys.insert(unicode::fold(name)))
                    .collect();
                let mut seen = HashSet::new();
                let numbers: Vec<FileNumber> = numbers
                    .into_iter()
                    .filter(|((number, _), _)| seen.insert(number.clone()))
                    .map(|((number, number_type), description)| FileNumber {
                        number: PhoneNumber::parse(&number).unwrap(),
                        number_type,
                        description: FieldUpdate::Set(description),
                    })
                    .collect();
                // All groups share one cell, which as a whole must not be a placeholder.
                let valid = !groups.is_empty() && is_plain_value(&groups.join(", "));
                valid.then(|| FileContact {
                    keep_stored_numbers: false,
                    external_id: ExternalId::parse(&id).unwrap(),
                    name,
                    organization_name: FieldUpdate::Set(organization),
                    title: FieldUpdate::Set(title),
                    email: FieldUpdate::Set(email),
                    priority: FieldUpdate::Set(Some(priority)),
                    numbers,
                    groups,
                    rows: Vec::new(),
                })
            },
        )
}

fn contacts(pattern: &'static str) -> impl Strategy<Value = Vec<FileContact>> {
    vec(contact(pattern), 0..12).prop_map(|mut contacts| {
        let mut ids = HashSet::new();
        contacts.retain(|contact| ids.insert(contact.external_id.clone()));
        contacts
    })
}

fn cell<T: ToString>(said: &FieldUpdate<Option<T>>) -> String {
    match said {
        FieldUpdate::Set(Some(value)) => value.to_string(),
        _ => String::new(),
    }
}

/// Data rows in the order of [`COLUMNS`] and [`SECOND_NUMBER_COLUMNS`]. Sets the row numbers of each contact.
fn rows(contacts: &mut [FileContact], layout: &Layout) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for contact in contacts {
        let number = |number: &FileNumber| {
            [
                number.number.as_str().to_owned(),
                number.number_type.to_string(),
                cell(&number.description),
            ]
        };
        let FieldUpdate::Set(Some(priority)) = contact.priority else {
            unreachable!("every generated contact has a priority")
        };
        for (n, first) in contact.numbers.iter().enumerate() {
            if n > 0 && layout.second_in_same_row {
                break;
            }
            contact.rows.push(u32::try_from(rows.len()).unwrap() + 2);
            let mut first = number(first);
            let mut second = <[String; 3]>::default();
            if let Some(other) = contact.numbers.get(1).filter(|_| layout.second_in_same_row) {
                second = number(other);
                if layout.second_comes_first() {
                    std::mem::swap(&mut first, &mut second);
                }
            }
            let [digits, number_type, description] = first;
            let mut row = vec![
                contact.external_id.as_str().to_owned(),
                contact.name.clone(),
                cell(&contact.organization_name),
                cell(&contact.title),
                digits,
                number_type,
                description,
                cell(&contact.email),
                priority.to_string(),
                contact.groups.join(", "),
            ];
            row.extend(second);
            rows.push(row);
        }
    }
    rows
}

fn in_column_order(row: &[String], layout: &Layout) -> Vec<String> {
    layout
        .order
        .iter()
        .map(|index| row[*index].clone())
        .collect()
}

fn header(layout: &Layout) -> Vec<String> {
    let titles: Vec<String> = COLUMNS
        .iter()
        .chain(&SECOND_NUMBER_COLUMNS)
        .map(|&title| title.to_owned())
        .collect();
    in_column_order(&titles, layout)
}

fn as_csv(rows: &[Vec<String>], layout: &Layout, dialect: &Dialect) -> Vec<u8> {
    let style = if dialect.quote_all {
        csv::QuoteStyle::Always
    } else {
        csv::QuoteStyle::Necessary
    };
    let terminator = match dialect.line_ending {
        "\r\n" => csv::Terminator::CRLF,
        other => csv::Terminator::Any(other.as_bytes()[0]),
    };
    let mut out = csv::WriterBuilder::new()
        .delimiter(dialect.delimiter)
        .quote_style(style)
        .terminator(terminator)
        .from_writer(Vec::new());
    out.write_record(header(layout)).unwrap();
    for row in rows {
        out.write_record(in_column_order(row, layout)).unwrap();
    }
    let body = String::from_utf8(out.into_inner().unwrap()).unwrap();
    let declaration = if dialect.sep_line {
        format!(
            "sep={}{}",
            char::from(dialect.delimiter),
            dialect.line_ending
        )
    } else {
        String::new()
    };
    let text = declaration + &body;
    let utf16 = |mark: u16, bytes: fn(u16) -> [u8; 2]| {
        std::iter::once(mark)
            .chain(text.encode_utf16())
            .flat_map(bytes)
            .collect()
    };
    match dialect.encoding {
        Encoding::Utf8 => text.into_bytes(),
        Encoding::Utf8Bom => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        Encoding::Utf16Le => utf16(0xFEFF, u16::to_le_bytes),
        Encoding::Utf16Be => utf16(0xFEFF, u16::to_be_bytes),
        // Contacts come from WESTERN here, whose code points are the same in both.
        Encoding::Windows1252 => text.chars().map(|c| u8::try_from(c).unwrap()).collect(),
    }
}

fn as_workbook(rows: &[Vec<String>], layout: &Layout, numbers_as_numbers: bool) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    let titles = header(layout);
    sheet.write_row(0, 0, &titles).unwrap();
    for (number, row) in (1..).zip(rows) {
        for ((column, cell), title) in (0..).zip(in_column_order(row, layout)).zip(&titles) {
            let is_number = title == "Number" || title == "Number 2";
            if is_number && numbers_as_numbers && !cell.is_empty() {
                sheet
                    .write_number(number, column, cell.parse::<f64>().unwrap())
                    .unwrap();
            } else if !cell.is_empty() {
                sheet.write_string(number, column, &cell).unwrap();
            }
        }
    }
    workbook.save_to_buffer().unwrap()
}

fn assert_reads_back(file: &[u8], contacts: &[FileContact]) -> TestCaseResult {
    let read = import::read(
        FileContent::Bytes(file),
        &WorkbookReader::InProcess,
        10_000,
        None,
    );
    let parsed_file = read.map_err(|error| TestCaseError::fail(format!("refused: {error}")))?;
    let errors: Vec<_> = parsed_file
        .sheet
        .issues
        .iter()
        .filter(|issue| issue.severity == Severity::Error)
        .collect();
    prop_assert!(errors.is_empty(), "{errors:#?}");
    let found: Vec<FileContact> = parsed_file.sheet.contacts.iter().collect();
    prop_assert_eq!(&found[..], contacts);
    Ok(())
}

proptest! {
    #[test]
    fn csv_in_any_dialect_reads_back_unchanged(
        dialect in dialect(),
        layout in layout(),
        (mut any, mut western) in (contacts(ANY), contacts(WESTERN)),
    ) {
        let contacts = if dialect.encoding == Encoding::Windows1252 { &mut western } else { &mut any };
        // A file without contacts is refused, so there is nothing to compare.
        prop_assume!(!contacts.is_empty());
        let rows = rows(contacts, &layout);
        // Row numbers match: a `sep=` line is not counted, as in Excel.
        assert_reads_back(&as_csv(&rows, &layout, &dialect), contacts)?;
    }

    #[test]
    fn workbook_in_any_layout_reads_back_unchanged(
        layout in layout(),
        numbers_as_numbers in any::<bool>(),
        mut contacts in contacts(ANY),
    ) {
        prop_assume!(!contacts.is_empty());
        let rows = rows(&mut contacts, &layout);
        assert_reads_back(&as_workbook(&rows, &layout, numbers_as_numbers), &contacts)?;
    }
}
