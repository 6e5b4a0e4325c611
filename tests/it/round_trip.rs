//! Whatever valid list of contacts is written, in any dialect and encoding or as a workbook, reads back as the same list.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use rosterd::import;
use rosterd::model::contact::{
    ExternalId, FileContact, FileNumber, NumberType, PhoneNumber, Priority, Said,
};
use rosterd::model::issue::Severity;
use rosterd::model::text;
use rosterd::sheet::{Content, WorkbookReader};
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
/// Columns of the second number, where numbers stand beside each other.
const SECOND: [&str; 3] = ["Number 2", "Number Type 2", "Number Description 2"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf8Mark,
    Utf16Le,
    Utf16Be,
    Windows1252,
}

/// How a list is written as CSV.
#[derive(Debug, Clone)]
struct Dialect {
    delimiter: u8,
    line_end: &'static str,
    quote_all: bool,
    declared: bool,
    encoding: Encoding,
}

/// How contacts are laid out in rows.
#[derive(Debug, Clone)]
struct Layout {
    /// Order of the columns.
    order: Vec<usize>,
    /// A contact's second number stands in columns of its own, not in a row of its own.
    beside: bool,
}

impl Layout {
    /// Numbers come in the order of the columns.
    fn second_comes_first(&self) -> bool {
        let place = |column| self.order.iter().position(|other| *other == column);
        place(COLUMNS.len()) < place(4)
    }
}

fn dialect() -> impl Strategy<Value = Dialect> {
    let encodings = [
        Encoding::Utf8,
        Encoding::Utf8Mark,
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
            |(delimiter, line_end, quote_all, declared, encoding)| Dialect {
                delimiter,
                line_end,
                quote_all,
                declared,
                encoding,
            },
        )
}

fn layout() -> impl Strategy<Value = Layout> {
    let order = Just((0..COLUMNS.len() + SECOND.len()).collect::<Vec<_>>()).prop_shuffle();
    (order, any::<bool>()).prop_map(|(order, beside)| Layout { order, beside })
}

/// A text as it is after cleaning, and not one of those that mean something else.
fn words(pattern: &'static str) -> impl Strategy<Value = String> {
    pattern.prop_filter_map("cleaned text", |raw| {
        let cleaned = text::clean(&raw);
        let fine = !cleaned.text.is_empty()
            && !cleaned.has_control
            && !cleaned.had_line_break
            && !text::is_placeholder(&cleaned.text);
        fine.then(|| cleaned.text.into_owned())
    })
}

/// Any text at all, and the signs by which CSV and XML live.
const ANY: &str = r#"(\PC|[",;<>&'=@+0-9 -]|_x0041_|_x000D_|&amp;|""|'){1,12}"#;
/// What Windows-1252 has, but for signs that together read as UTF-8.
const WESTERN: &str = r#"[a-zA-Zéèüñß",;<>&'=@ 0-9-]{1,12}"#;

fn number() -> impl Strategy<Value = (String, NumberType)> {
    (
        "[2-9][0-9]{2}[2-9][0-9]{6}",
        select(NumberType::ALL.to_vec()),
    )
}

fn contact(pattern: &'static str) -> impl Strategy<Value = FileContact> {
    let optional = || option::of(words(pattern));
    let group = || words(pattern).prop_map(|name| text::trim(&name.replace(',', "")).to_owned());
    (
        (words(pattern), words(pattern), optional(), optional()),
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
                    .filter(|name| !name.is_empty() && !text::is_placeholder(name))
                    .filter(|name| keys.insert(text::fold(name)))
                    .collect();
                let mut known = HashSet::new();
                let numbers: Vec<FileNumber> = numbers
                    .into_iter()
                    .filter(|((number, _), _)| known.insert(number.clone()))
                    .map(|((number, number_type), description)| FileNumber {
                        number: PhoneNumber::parse(&number).unwrap(),
                        number_type,
                        description: Said::This(description),
                    })
                    .collect();
                // Groups are one cell: it must not read as another word.
                let sound = !groups.is_empty() && !text::is_placeholder(&groups.join(", "));
                sound.then(|| FileContact {
                    keeps_numbers: false,
                    external_id: ExternalId::parse(&id).unwrap(),
                    name,
                    organization_name: Said::This(organization),
                    title: Said::This(title),
                    email: Said::This(email),
                    priority: Said::This(Some(priority)),
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

fn cell<T: ToString>(said: &Said<Option<T>>) -> String {
    match said {
        Said::This(Some(value)) => value.to_string(),
        _ => String::new(),
    }
}

/// The rows of a list below its header, in the order of [`COLUMNS`] and [`SECOND`]; tells each contact its rows.
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
        let Said::This(Some(priority)) = contact.priority else {
            unreachable!("every contact has one")
        };
        for (n, first) in contact.numbers.iter().enumerate() {
            if n > 0 && layout.beside {
                break;
            }
            contact.rows.push(u32::try_from(rows.len()).unwrap() + 2);
            let mut first = number(first);
            let mut second = <[String; 3]>::default();
            if let Some(other) = contact.numbers.get(1).filter(|_| layout.beside) {
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

fn ordered(row: &[String], layout: &Layout) -> Vec<String> {
    layout
        .order
        .iter()
        .map(|place| row[*place].clone())
        .collect()
}

fn header(layout: &Layout) -> Vec<String> {
    let titles: Vec<String> = COLUMNS
        .iter()
        .chain(&SECOND)
        .map(|&title| title.to_owned())
        .collect();
    ordered(&titles, layout)
}

fn as_csv(rows: &[Vec<String>], layout: &Layout, dialect: &Dialect) -> Vec<u8> {
    let style = if dialect.quote_all {
        csv::QuoteStyle::Always
    } else {
        csv::QuoteStyle::Necessary
    };
    let terminator = match dialect.line_end {
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
        out.write_record(ordered(row, layout)).unwrap();
    }
    let body = String::from_utf8(out.into_inner().unwrap()).unwrap();
    let declaration = if dialect.declared {
        format!("sep={}{}", char::from(dialect.delimiter), dialect.line_end)
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
        Encoding::Utf8Mark => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        Encoding::Utf16Le => utf16(0xFEFF, u16::to_le_bytes),
        Encoding::Utf16Be => utf16(0xFEFF, u16::to_be_bytes),
        // In WESTERN, where the two are the same.
        Encoding::Windows1252 => text.chars().map(|c| u8::try_from(c).unwrap()).collect(),
    }
}

fn as_workbook(rows: &[Vec<String>], layout: &Layout, numbers_as_numbers: bool) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    let titles = header(layout);
    sheet.write_row(0, 0, &titles).unwrap();
    for (number, row) in (1..).zip(rows) {
        for ((column, cell), title) in (0..).zip(ordered(row, layout)).zip(&titles) {
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

fn reads_back(file: &[u8], contacts: &[FileContact]) -> TestCaseResult {
    let read = import::read(
        Content::Bytes(file),
        &WorkbookReader::InProcess,
        10_000,
        None,
    );
    let reading = read.map_err(|error| TestCaseError::fail(format!("refused: {error}")))?;
    let errors: Vec<_> = reading
        .roster
        .issues
        .iter()
        .filter(|issue| issue.severity == Severity::Error)
        .collect();
    prop_assert!(errors.is_empty(), "{errors:#?}");
    let found: Vec<FileContact> = reading.roster.contacts.iter().collect();
    prop_assert_eq!(&found[..], contacts);
    Ok(())
}

proptest! {
    #[test]
    fn contacts_written_as_csv_read_back_the_same(
        dialect in dialect(),
        layout in layout(),
        (mut any, mut western) in (contacts(ANY), contacts(WESTERN)),
    ) {
        let contacts = if dialect.encoding == Encoding::Windows1252 { &mut western } else { &mut any };
        // A file with nobody in it has nothing to read back.
        prop_assume!(!contacts.is_empty());
        let rows = rows(contacts, &layout);
        // Excel does not count the line that declares the delimiter.
        reads_back(&as_csv(&rows, &layout, &dialect), contacts)?;
    }

    #[test]
    fn contacts_written_as_a_workbook_read_back_the_same(
        layout in layout(),
        numbers_as_numbers in any::<bool>(),
        mut contacts in contacts(ANY),
    ) {
        prop_assume!(!contacts.is_empty());
        let rows = rows(&mut contacts, &layout);
        reads_back(&as_workbook(&rows, &layout, numbers_as_numbers), &contacts)?;
    }
}
