//! The most important property: however a CSV file is damaged, no contact is lost or changed without an issue or a
//! failed import, and no lost contact would be removed. Tries every kind of damage at every offset of a 200-row file.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rosterd::import::{self, ParsedFile};
use rosterd::model::contact::FileContact;
use rosterd::model::issue::Code;
use rosterd::sheet::{FileContent, SheetError, WorkbookReader};

const ROWS: usize = 200;
const COLUMNS: &str = "ID,Name,Organization Name,Title,Number,Number Type,Number Description,Email Address,Notification Priority,Groups";

/// The format of the undamaged file.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    delimiter: u8,
    line_end: &'static str,
    /// Names contain accents; otherwise the file is ASCII.
    accents: bool,
    /// Quotes every cell, also those that need no quotes.
    quote_all: bool,
}

/// An undamaged file, with the structure of each offset and the contacts that it contains.
struct Sample {
    bytes: Vec<u8>,
    dialect: Dialect,
    /// Whether the offset is inside a quoted cell.
    in_quotes: Vec<bool>,
    /// Whether an escaped quote (`""`) starts at the offset.
    escaped_quotes: Vec<bool>,
    /// Whether a record ends before the offset.
    record_ends: Vec<bool>,
    contacts: Vec<FileContact>,
}

fn read(bytes: &[u8]) -> Result<ParsedFile, SheetError> {
    import::read(
        FileContent::Bytes(bytes),
        &WorkbookReader::InProcess,
        100_000,
        Some(true),
    )
}

fn quote_cell(cell: &str, dialect: Dialect) -> String {
    if dialect.quote_all || cell.contains(['"', '\n', '\r', char::from(dialect.delimiter)]) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

impl Sample {
    fn new(dialect: Dialect) -> Self {
        let delimiter = char::from(dialect.delimiter).to_string();
        let header = COLUMNS.split(',').map(|title| match title {
            // As in the template: Excel treats a file that starts with an unquoted `ID` as SYLK.
            "ID" => "\"ID\"".to_owned(),
            title => quote_cell(title, dialect),
        });
        let mut text = header.collect::<Vec<_>>().join(&delimiter);
        text += dialect.line_end;
        for n in 0..ROWS {
            let name = match n % 4 {
                0 => format!("Ann \"Annie\" Lee {n}"),
                1 if dialect.accents => format!("Zoë Müller {n}"),
                // A tab in a cell is read as a space and reported as an issue.
                2 if dialect.delimiter != b'\t' => format!("Lee{delimiter} Bo {n}"),
                _ => format!("Cy Twombly {n}"),
            };
            let groups = match n % 3 {
                0 => format!("Search{delimiter} Team {}", n % 7).replace(&delimiter, ","),
                1 => "Medics".to_owned(),
                _ => format!("Drivers {}", n % 5),
            };
            let optional = |cell: String| if n % 5 == 0 { String::new() } else { cell };
            if n % 10 == 9 {
                // A second number of the contact in the row above.
                let number = format!("778555{n:04}");
                let cells = [
                    &format!("C{:04}", n - 1),
                    "",
                    "",
                    "",
                    &number,
                    "pager",
                    "",
                    "",
                    "",
                    "",
                ];
                text += &cells.map(|cell| quote_cell(cell, dialect)).join(&delimiter);
                text += dialect.line_end;
                continue;
            }
            let cells = [
                format!("C{n:04}"),
                name,
                optional(format!("Org {n}")),
                optional("EMT".to_owned()),
                match n % 2 {
                    0 => format!("604555{n:04}"),
                    _ => format!("(604) 555-{n:04}"),
                },
                ["mobile", "Landline", "pager"][n % 3].to_owned(),
                optional("cell".to_owned()),
                optional(format!("c{n}@example.org")),
                ["", "High", "low"][n % 3].to_owned(),
                groups,
            ];
            let cells = cells.map(|cell| quote_cell(&cell, dialect));
            text += &cells.join(&delimiter);
            text += dialect.line_end;
        }
        let bytes = text.into_bytes();
        let mut inside = false;
        let mut in_quotes = Vec::with_capacity(bytes.len() + 1);
        let mut escaped_quotes = Vec::with_capacity(bytes.len());
        let mut record_ends = vec![true];
        for (at, byte) in bytes.iter().enumerate() {
            in_quotes.push(inside);
            let second = escaped_quotes.last() == Some(&true);
            escaped_quotes.push(inside && !second && bytes[at..].starts_with(b"\"\""));
            inside ^= *byte == b'"';
            let ended = bytes[..=at].ends_with(dialect.line_end.as_bytes());
            record_ends.push(ended && !inside);
        }
        in_quotes.push(false);
        let parsed_file = read(&bytes).unwrap();
        assert!(
            parsed_file.sheet.issues.is_empty(),
            "{:#?}",
            parsed_file.sheet.issues
        );
        assert_eq!(parsed_file.sheet.contacts.len(), ROWS - ROWS / 10);
        Self {
            bytes,
            dialect,
            in_quotes,
            escaped_quotes,
            record_ends,
            contacts: parsed_file.sheet.contacts.iter().collect(),
        }
    }
}

/// A kind of damage, applied at one offset.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Insert(&'static [u8]),
    InsertDelimiter,
    /// Removes this many bytes.
    Delete(usize),
    Replace(u8),
    Truncate,
}

/// Damages the file at an offset. Returns `None` if the damage changes nothing there, or nothing that a reader could detect.
fn apply_damage(sample: &Sample, damage: Damage, at: usize) -> Option<Vec<u8>> {
    let (before, after) = sample.bytes.split_at(at);
    let delimiter = sample.dialect.delimiter;
    Some(match damage {
        Damage::Insert(bytes) => [before, bytes, after].concat(),
        // Inside quotes, a delimiter is ordinary text.
        Damage::InsertDelimiter if sample.in_quotes[at] => return None,
        Damage::InsertDelimiter => [before, &[delimiter], after].concat(),
        Damage::Delete(count) => {
            let deleted = after.get(..count)?;
            let is_structural =
                |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || *byte == delimiter;
            // Inside quotes, a delimiter and an escaped quote are ordinary text.
            let text = sample.in_quotes[at]
                && (deleted == [delimiter] || sample.escaped_quotes[at] && deleted == b"\"\"");
            if !deleted.iter().all(is_structural) || text {
                return None;
            }
            [before, &after[count..]].concat()
        }
        Damage::Replace(byte) => {
            let first = *after.first()?;
            let is_structural = matches!(first, b'"' | b'\n' | b'\r') || first == delimiter;
            let text = first == delimiter && sample.in_quotes[at];
            if !is_structural || text || first == byte {
                return None;
            }
            // In the trailing blank cells of a row, the result looks like a value that was entered there.
            let end = after.iter().position(|byte| *byte != delimiter);
            let line_end = sample.dialect.line_end.as_bytes();
            let blank_end = end.is_some_and(|end| after[end..].starts_with(line_end));
            if blank_end && before.ends_with(&[delimiter]) {
                return None;
            }
            [before, &[byte], &after[1..]].concat()
        }
        // A file that ends after a record looks complete; the hold limits cover that case.
        Damage::Truncate if sample.record_ends[at] => return None,
        // A header without rows does not show whether its lines would have ended with CR LF.
        Damage::Truncate
            if at > 0
                && sample.record_ends[..at].iter().skip(1).all(|is| !is)
                && after.starts_with(b"\n") =>
        {
            return None;
        }
        Damage::Truncate => before.to_vec(),
    })
}

/// Describes a contact that is lost or changed without an issue, or that would be removed; `None` if there is none.
fn unreported_change(sample: &Sample, bytes: &[u8]) -> Option<String> {
    let Ok(parsed_file) = read(bytes) else {
        return None;
    };
    let sheet = &parsed_file.sheet;
    // An issue about the whole file covers every contact in it.
    let file_has_issue = sheet.issues.iter().any(|issue| {
        matches!(
            issue.code,
            Code::NoFinalNewline
                | Code::EncodingGuessed
                | Code::ColumnMissing
                | Code::ColumnUnknown
        )
    });
    // An added or missing line end shifts the rows that follow.
    let row_shift = i64::from(count_line_ends(bytes)) - i64::from(count_line_ends(&sample.bytes));
    let is_reported = |contact: &FileContact| {
        let id = Some(contact.external_id.as_str());
        let concerns_row = |row: u32| {
            let mut rows = contact.rows.iter().map(|own| i64::from(*own));
            rows.any(|own| [own, own + row_shift].contains(&i64::from(row)))
        };
        let mut issues = sheet.issues.iter();
        file_has_issue
            || issues.any(|issue| {
                issue.external_id.as_deref() == id || issue.row.is_some_and(concerns_row)
            })
    };
    // A line break in an ID, or an accent where the encoding was guessed, makes it a different ID; an issue reports this.
    let id_may_differ = sheet.issues.iter().any(|issue| {
        let in_id_column = issue.column.as_deref() == Some("ID");
        issue.code == Code::EncodingGuessed || in_id_column && issue.code == Code::LineBreakInCell
    });
    let removals_withheld =
        !sheet.unidentified.is_empty() || sheet.maybe_truncated || id_may_differ;
    // Both lists are in sheet order: skip the contacts that match at the start and at the end.
    let mut found: Vec<FileContact> = sheet.contacts.iter().collect();
    let mut expected = &sample.contacts[..];
    while let (Some(last), [rest @ .., contact]) = (found.last(), expected)
        && same_contact(last, contact)
    {
        found.pop();
        expected = rest;
    }
    let matching = found
        .iter()
        .zip(expected)
        .take_while(|(one, other)| same_contact(one, other))
        .count();
    let (found, expected) = (&found[matching..], &expected[matching..]);
    for contact in expected {
        let id = &contact.external_id;
        match found.iter().find(|other| other.external_id == *id) {
            Some(same) if same_contact(same, contact) => {}
            None if !removals_withheld && !sheet.in_error.contains(id.as_str()) => {
                return Some(format!("{id} would be removed"));
            }
            _ if is_reported(contact) => {}
            Some(other) => return Some(format!("{id} is changed without an issue: {other:?}")),
            None => return Some(format!("{id} is lost without an issue")),
        }
    }
    found
        .iter()
        .find(|other| {
            let is_expected = expected
                .iter()
                .any(|contact| contact.external_id == other.external_id);
            !is_expected && !is_reported(other)
        })
        .map(|other| format!("{} is invented without an issue", other.external_id))
}

/// Number of line ends; CR LF counts as one.
fn count_line_ends(bytes: &[u8]) -> u32 {
    let mut count = 0;
    let mut last = 0;
    for byte in bytes {
        count += u32::from(*byte == b'\r' || *byte == b'\n' && last != b'\r');
        last = *byte;
    }
    count
}

/// Compares all fields except the row numbers, which an added or missing line break shifts.
fn same_contact(one: &FileContact, other: &FileContact) -> bool {
    one.external_id == other.external_id
        && one.name == other.name
        && one.organization_name == other.organization_name
        && one.title == other.title
        && one.email == other.email
        && one.priority == other.priority
        && one.numbers == other.numbers
        && one.groups == other.groups
}

/// Applies each kind of damage at each offset; returns the number of damaged files that were read.
fn check_all_damage(dialect: Dialect, all_damage: &[Damage]) -> usize {
    let sample = Sample::new(dialect);
    let (next, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let changes = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at > sample.bytes.len() {
                        return;
                    }
                    for damage in all_damage {
                        let Some(bytes) = apply_damage(&sample, *damage, at) else {
                            continue;
                        };
                        count.fetch_add(1, Ordering::Relaxed);
                        if let Some(change) = unreported_change(&sample, &bytes) {
                            let from = at.saturating_sub(40);
                            let context = &sample.bytes[from..(at + 40).min(sample.bytes.len())];
                            let context = String::from_utf8_lossy(context).into_owned();
                            let change = format!(
                                "{damage:?} at {at} ({context:?}, {}): {change}",
                                at - from
                            );
                            changes.lock().unwrap().push(change);
                        }
                    }
                }
            });
        }
    });
    let changes = changes.into_inner().unwrap();
    let step = changes.len().div_ceil(30).max(1);
    let shown = changes.iter().step_by(step).cloned().collect::<Vec<_>>();
    assert!(
        changes.is_empty(),
        "{dialect:?}: {} unreported changes, for example:\n{}",
        changes.len(),
        shown.join("\n")
    );
    count.into_inner()
}

const ALL_DAMAGE: &[Damage] = &[
    Damage::Insert(b"\""),
    Damage::Insert(b"\n"),
    Damage::Insert(b"\r"),
    Damage::Insert(b"\r\n"),
    Damage::Insert(b"\0"),
    Damage::Insert(b"\xff"),
    Damage::InsertDelimiter,
    Damage::Delete(1),
    Damage::Delete(2),
    Damage::Replace(b'\''),
    Damage::Replace(b'|'),
    Damage::Replace(b' '),
    Damage::Truncate,
];

#[test]
fn any_damage_to_comma_file_is_reported() {
    let count = check_all_damage(
        Dialect {
            delimiter: b',',
            line_end: "\r\n",
            accents: true,
            quote_all: false,
        },
        ALL_DAMAGE,
    );
    assert!(count > 100_000, "{count} files");
}

#[test]
fn any_damage_to_semicolon_file_is_reported() {
    let count = check_all_damage(
        Dialect {
            delimiter: b';',
            line_end: "\n",
            accents: false,
            quote_all: false,
        },
        ALL_DAMAGE,
    );
    assert!(count > 100_000, "{count} files");
}

#[test]
fn any_damage_to_fully_quoted_tab_file_is_reported() {
    let count = check_all_damage(
        Dialect {
            delimiter: b'\t',
            line_end: "\n",
            accents: true,
            quote_all: true,
        },
        ALL_DAMAGE,
    );
    assert!(count > 100_000, "{count} files");
}
