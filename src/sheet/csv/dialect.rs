//! Detects the delimiter of a CSV file: the one declared by a `sep=` line, or the one that splits the header into the
//! most known columns. Does not report damage; that is done when the file is read.

use super::records::{Record, Records};
use crate::sheet::encoding::{Encoding, TextReader};
use crate::sheet::header;

pub(super) const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];
/// Rows searched for the header to guess the delimiter.
const GUESS_ROWS: usize = 5;

/// The delimiter, and the length in bytes of the line that declares it, or 0.
pub(super) fn detect(head: &[u8]) -> (u8, usize) {
    parse_sep_line(head).unwrap_or_else(|| (guess_delimiter(head), 0))
}

/// Parses a first line `sep=;`, which declares the delimiter for Excel. Excel does not count it as a row.
fn parse_sep_line(head: &[u8]) -> Option<(u8, usize)> {
    let length = memchr::memchr2(b'\n', b'\r', head).unwrap_or(head.len());
    let line = std::str::from_utf8(&head[..length]).ok()?;
    let (name, value) = line.trim_matches('"').split_once('=')?;
    if !name.eq_ignore_ascii_case("sep") {
        return None;
    }
    let value = value.as_bytes();
    let value = if value == b"\\t" { b"\t" } else { value };
    // Programs that do not know this line may pad it with delimiters like any other row.
    let (delimiter, rest) = value.split_first()?;
    if !DELIMITERS.contains(delimiter) || rest.iter().any(|byte| byte != delimiter) {
        return None;
    }
    let line_ending = match &head[length..] {
        [b'\r', b'\n', ..] => 2,
        [_, ..] => 1,
        [] => 0,
    };
    Some((*delimiter, length + line_ending))
}

/// The delimiter with the most known columns in one of the first rows; a comma if there are none.
fn guess_delimiter(head: &[u8]) -> u8 {
    let known_columns = |delimiter: u8| {
        let mut records =
            Records::new(TextReader::new(head, Encoding::Utf8), delimiter, Vec::new());
        let mut record = Record::default();
        let mut best = 0;
        for _ in 0..GUESS_ROWS {
            // Ignore errors here: they are reported when the file is read.
            let Ok(true) = records.next_non_blank(&mut record) else {
                break;
            };
            best = best.max(header::count_known_columns(&super::titles(&record.row)));
        }
        best
    };
    let mut best = (b',', known_columns(b','));
    for delimiter in [b';', b'\t'] {
        let score = known_columns(delimiter);
        if score > best.1 {
            best = (delimiter, score);
        }
    }
    best.0
}
