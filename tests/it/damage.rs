//! The property that matters most: whatever damage befalls a CSV file, no contact is lost or altered without an issue or
//! a refusal, and none that is lost would be removed. Every kind of damage at every place of a 200-row file, none left
//! out.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rosterd::import::{self, Reading};
use rosterd::model::contact::FileContact;
use rosterd::model::issue::Code;
use rosterd::sheet::{Content, SheetError, WorkbookReader};

const ROWS: usize = 200;
const COLUMNS: &str = "ID,Name,Organization Name,Title,Number,Number Type,Number Description,Email Address,Notification Priority,Groups";

/// How the undamaged file is written.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    delimiter: u8,
    line_end: &'static str,
    /// Names have accents; else all is ASCII.
    accents: bool,
    /// Every cell is quoted, not only those that must be.
    quote_all: bool,
}

/// A file, and what of it lies within quotes.
struct Sample {
    bytes: Vec<u8>,
    dialect: Dialect,
    quoted: Vec<bool>,
    /// Where a quote that stands for itself begins.
    escaped: Vec<bool>,
    boundaries: Vec<bool>,
    contacts: Vec<FileContact>,
}

fn read(bytes: &[u8]) -> Result<Reading, SheetError> {
    import::read(
        Content::Bytes(bytes),
        &WorkbookReader::InProcess,
        100_000,
        Some(true),
    )
}

fn quoted(cell: &str, dialect: Dialect) -> String {
    if dialect.quote_all || cell.contains(['"', '\n', '\r', char::from(dialect.delimiter)]) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

impl Sample {
    fn new(dialect: Dialect) -> Self {
        let delimiter = char::from(dialect.delimiter).to_string();
        let titles = COLUMNS.split(',').map(|title| match title {
            // As in the template: a bare ID makes Excel take the file for SYLK.
            "ID" => "\"ID\"".to_owned(),
            title => quoted(title, dialect),
        });
        let mut text = titles.collect::<Vec<_>>().join(&delimiter);
        text += dialect.line_end;
        for n in 0..ROWS {
            let name = match n % 4 {
                0 => format!("Ann \"Annie\" Lee {n}"),
                1 if dialect.accents => format!("Zoë Müller {n}"),
                // A tab would be read as a space, and said to be.
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
                // A second number of the contact above.
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
                text += &cells.map(|cell| quoted(cell, dialect)).join(&delimiter);
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
            let cells = cells.map(|cell| quoted(&cell, dialect));
            text += &cells.join(&delimiter);
            text += dialect.line_end;
        }
        let bytes = text.into_bytes();
        let mut inside = false;
        let mut quoted = Vec::with_capacity(bytes.len() + 1);
        let mut escaped = Vec::with_capacity(bytes.len());
        let mut boundaries = vec![true];
        for (at, byte) in bytes.iter().enumerate() {
            quoted.push(inside);
            let second = escaped.last() == Some(&true);
            escaped.push(inside && !second && bytes[at..].starts_with(b"\"\""));
            inside ^= *byte == b'"';
            let ended = bytes[..=at].ends_with(dialect.line_end.as_bytes());
            boundaries.push(ended && !inside);
        }
        quoted.push(false);
        let reading = read(&bytes).unwrap();
        assert!(
            reading.roster.issues.is_empty(),
            "{:#?}",
            reading.roster.issues
        );
        assert_eq!(reading.roster.contacts.len(), ROWS - ROWS / 10);
        Self {
            bytes,
            dialect,
            quoted,
            escaped,
            boundaries,
            contacts: reading.roster.contacts.iter().collect(),
        }
    }
}

/// A kind of damage, done at one place.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Insert(&'static [u8]),
    InsertDelimiter,
    /// This many bytes are gone.
    Delete(usize),
    Replace(u8),
    Cut,
}

/// Damages the file at a place; `None` where this kind changes nothing there, or nothing that any reader could see.
fn damaged(sample: &Sample, kind: Kind, at: usize) -> Option<Vec<u8>> {
    let (before, after) = sample.bytes.split_at(at);
    let delimiter = sample.dialect.delimiter;
    Some(match kind {
        Kind::Insert(bytes) => [before, bytes, after].concat(),
        // Within quotes a delimiter is text like any other.
        Kind::InsertDelimiter if sample.quoted[at] => return None,
        Kind::InsertDelimiter => [before, &[delimiter], after].concat(),
        Kind::Delete(count) => {
            let gone = after.get(..count)?;
            let shape = |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || *byte == delimiter;
            // Within quotes a delimiter is text, and so is a quote that stands twice.
            let text =
                sample.quoted[at] && (gone == [delimiter] || sample.escaped[at] && gone == b"\"\"");
            if !gone.iter().all(shape) || text {
                return None;
            }
            [before, &after[count..]].concat()
        }
        Kind::Replace(byte) => {
            let first = *after.first()?;
            let shape = matches!(first, b'"' | b'\n' | b'\r') || first == delimiter;
            let text = first == delimiter && sample.quoted[at];
            if !shape || text || first == byte {
                return None;
            }
            // Among the blank cells that a row ends with it is as if somebody had written it there.
            let end = after.iter().position(|byte| *byte != delimiter);
            let line_end = sample.dialect.line_end.as_bytes();
            let blank_end = end.is_some_and(|end| after[end..].starts_with(line_end));
            if blank_end && before.ends_with(&[delimiter]) {
                return None;
            }
            [before, &[byte], &after[1..]].concat()
        }
        // A file that ends where a record does looks whole: that is the business of holds.
        Kind::Cut if sample.boundaries[at] => return None,
        // Nor can it be told of a header alone whether its lines would have ended with CR LF.
        Kind::Cut
            if at > 0
                && sample.boundaries[..at].iter().skip(1).all(|is| !is)
                && after.starts_with(b"\n") =>
        {
            return None;
        }
        Kind::Cut => before.to_vec(),
    })
}

/// What is lost or altered in silence, or lost so that it would be removed.
fn silent_loss(sample: &Sample, bytes: &[u8]) -> Option<String> {
    let Ok(reading) = read(bytes) else {
        return None;
    };
    let roster = &reading.roster;
    // What is said of the whole file is said of each contact in it.
    let doubtful = roster.issues.iter().any(|issue| {
        matches!(
            issue.code,
            Code::NoFinalNewline
                | Code::EncodingGuessed
                | Code::ColumnMissing
                | Code::ColumnUnknown
        )
    });
    // A line end more or less moves the rows that follow.
    let moved = i64::from(line_ends(bytes)) - i64::from(line_ends(&sample.bytes));
    let said = |contact: &FileContact| {
        let id = Some(contact.external_id.as_str());
        let of_row = |row: u32| {
            let mut rows = contact.rows.iter().map(|own| i64::from(*own));
            rows.any(|own| [own, own + moved].contains(&i64::from(row)))
        };
        let mut issues = roster.issues.iter();
        doubtful
            || issues
                .any(|issue| issue.external_id.as_deref() == id || issue.row.is_some_and(of_row))
    };
    // An ID with a line break in it, or an accent in a file that may or may not be Windows-1252, is another one; that it
    // was read so is said.
    let other_id = roster.issues.iter().any(|issue| {
        let of_id = issue.column.as_deref() == Some("ID");
        issue.code == Code::EncodingGuessed || of_id && issue.code == Code::LineBreakInCell
    });
    let kept_from_removal = !roster.nameless.is_empty() || roster.maybe_cut || other_id;
    // Both are in the order of the sheet, so the ends that agree are passed over.
    let mut found: Vec<FileContact> = roster.contacts.iter().collect();
    let mut wanted = &sample.contacts[..];
    while let (Some(last), [rest @ .., contact]) = (found.last(), wanted)
        && is_same(last, contact)
    {
        found.pop();
        wanted = rest;
    }
    let agreed = found
        .iter()
        .zip(wanted)
        .take_while(|(one, other)| is_same(one, other))
        .count();
    let (found, wanted) = (&found[agreed..], &wanted[agreed..]);
    for contact in wanted {
        let id = &contact.external_id;
        match found.iter().find(|other| other.external_id == *id) {
            Some(same) if is_same(same, contact) => {}
            None if !kept_from_removal && !roster.in_error.contains(id.as_str()) => {
                return Some(format!("{id} would be removed"));
            }
            _ if said(contact) => {}
            Some(other) => return Some(format!("{id} is altered in silence: {other:?}")),
            None => return Some(format!("{id} is lost in silence")),
        }
    }
    found
        .iter()
        .find(|other| {
            let known = wanted
                .iter()
                .any(|contact| contact.external_id == other.external_id);
            !known && !said(other)
        })
        .map(|other| format!("{} is made up in silence", other.external_id))
}

/// Lines of a text, CR LF counted as one.
fn line_ends(bytes: &[u8]) -> u32 {
    let mut count = 0;
    let mut last = 0;
    for byte in bytes {
        count += u32::from(*byte == b'\r' || *byte == b'\n' && last != b'\r');
        last = *byte;
    }
    count
}

/// Equal but for the rows it comes from, which a line break more or less moves.
fn is_same(one: &FileContact, other: &FileContact) -> bool {
    one.external_id == other.external_id
        && one.name == other.name
        && one.organization_name == other.organization_name
        && one.title == other.title
        && one.email == other.email
        && one.priority == other.priority
        && one.numbers == other.numbers
        && one.groups == other.groups
}

/// Does each kind of damage at each place; gives back how many files were read.
fn enumerate(dialect: Dialect, kinds: &[Kind]) -> usize {
    let sample = Sample::new(dialect);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let losses = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at > sample.bytes.len() {
                        return;
                    }
                    for kind in kinds {
                        let Some(bytes) = damaged(&sample, *kind, at) else {
                            continue;
                        };
                        done.fetch_add(1, Ordering::Relaxed);
                        if let Some(loss) = silent_loss(&sample, &bytes) {
                            let from = at.saturating_sub(40);
                            let near = &sample.bytes[from..(at + 40).min(sample.bytes.len())];
                            let near = String::from_utf8_lossy(near).into_owned();
                            let loss =
                                format!("{kind:?} at {at} ({near:?}, {}): {loss}", at - from);
                            losses.lock().unwrap().push(loss);
                        }
                    }
                }
            });
        }
    });
    let losses = losses.into_inner().unwrap();
    let step = losses.len().div_ceil(30).max(1);
    let shown = losses.iter().step_by(step).cloned().collect::<Vec<_>>();
    assert!(
        losses.is_empty(),
        "{dialect:?}: {} silent losses, of which:\n{}",
        losses.len(),
        shown.join("\n")
    );
    done.into_inner()
}

const KINDS: &[Kind] = &[
    Kind::Insert(b"\""),
    Kind::Insert(b"\n"),
    Kind::Insert(b"\r"),
    Kind::Insert(b"\r\n"),
    Kind::Insert(b"\0"),
    Kind::Insert(b"\xff"),
    Kind::InsertDelimiter,
    Kind::Delete(1),
    Kind::Delete(2),
    Kind::Replace(b'\''),
    Kind::Replace(b'|'),
    Kind::Replace(b' '),
    Kind::Cut,
];

#[test]
fn no_damage_loses_a_contact_in_silence() {
    let done = enumerate(
        Dialect {
            delimiter: b',',
            line_end: "\r\n",
            accents: true,
            quote_all: false,
        },
        KINDS,
    );
    assert!(done > 100_000, "{done} files");
}

#[test]
fn no_damage_loses_a_contact_in_silence_where_semicolons_separate() {
    let done = enumerate(
        Dialect {
            delimiter: b';',
            line_end: "\n",
            accents: false,
            quote_all: false,
        },
        KINDS,
    );
    assert!(done > 100_000, "{done} files");
}

#[test]
fn no_damage_loses_a_contact_in_silence_where_every_cell_is_quoted() {
    let done = enumerate(
        Dialect {
            delimiter: b'\t',
            line_end: "\n",
            accents: true,
            quote_all: true,
        },
        KINDS,
    );
    assert!(done > 100_000, "{done} files");
}
