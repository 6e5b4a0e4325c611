//! Which delimiter a file has: declared by `sep=`, or that under which the header is best known.

use super::records::{Record, Records};
use crate::sheet::encoding::{Encoding, TextReader};
use crate::sheet::header;

pub(super) const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];
/// Rows in which the header is looked for when the delimiter is guessed.
const GUESS_ROWS: usize = 5;

/// The delimiter, and how many bytes of the text declare it.
pub(super) fn detect(head: &[u8]) -> (u8, usize) {
    parse_sep_line(head).unwrap_or_else(|| (guess_delimiter(head), 0))
}

/// A first line `sep=;`, by which a file tells Excel its delimiter; Excel does not count it as a row.
fn parse_sep_line(head: &[u8]) -> Option<(u8, usize)> {
    let length = memchr::memchr2(b'\n', b'\r', head).unwrap_or(head.len());
    let line = std::str::from_utf8(&head[..length]).ok()?;
    let value = line
        .trim_matches('"')
        .strip_prefix("sep=")
        .map(str::as_bytes)?;
    let value = if value == b"\\t" { b"\t" } else { value };
    // A program that knew nothing of it has filled it up like a row.
    let (delimiter, rest) = value.split_first()?;
    if !DELIMITERS.contains(delimiter) || rest.iter().any(|byte| byte != delimiter) {
        return None;
    }
    let line_end = match &head[length..] {
        [b'\r', b'\n', ..] => 2,
        [_, ..] => 1,
        [] => 0,
    };
    Some((*delimiter, length + line_end))
}

/// The delimiter under which the first rows show most known headers; the comma where none does.
fn guess_delimiter(head: &[u8]) -> u8 {
    let score = |delimiter: u8| {
        let mut records =
            Records::new(TextReader::new(head, Encoding::Utf8), delimiter, Vec::new());
        let mut record = Record::default();
        let mut best = 0;
        for _ in 0..GUESS_ROWS {
            // What is broken here is met again, and reported, when the file is read.
            let Ok(true) = records.next_non_blank(&mut record) else {
                break;
            };
            best = best.max(header::count_known_columns(&super::titles(&record.row)));
        }
        best
    };
    let mut best = (b',', score(b','));
    for delimiter in [b';', b'\t'] {
        let found = score(delimiter);
        if found > best.1 {
            best = (delimiter, found);
        }
    }
    best.0
}
