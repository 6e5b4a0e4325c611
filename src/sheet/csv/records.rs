//! Splits a text into records, and says of each whether its quotes are as they must be.
//!
//! The splitter finds where a record ends and which row of the spreadsheet it is; then the cells are taken out of it, by
//! csv-core where it is out of shape. Neither is trusted alone: a quote that stands where none may stand, or a quoted cell that holds what looks like a
//! record, makes the record damaged. Then each of its lines is handed out as a row of its own, marked as damaged, because
//! that is what they were in the spreadsheet.

use std::io::Read;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr_iter, memchr2_iter, memchr3};

use crate::model::contact::PhoneNumber;
use crate::model::table::{CellKind, Damage, SheetRow};
use crate::sheet::SheetError;
use crate::sheet::encoding::Text;

/// What is known of the columns, by which a swallowed record is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shape {
    /// Columns of the header; 0 until it is known, and then no cell is suspected.
    pub(super) width: usize,
    /// Places of the number columns.
    pub(super) numbers: Vec<usize>,
}

/// What separates two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    Cr,
    Lf,
    CrLf,
}

/// A row, and what its neighbours must know of it.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Its cells.
    pub(super) row: SheetRow,
    /// Its first cell is quoted, so it can't be the end of a torn one.
    pub(super) begins_quoted: bool,
    /// Its last cell is quoted, so it can't be the beginning of a torn one.
    pub(super) ends_quoted: bool,
    /// How it ends; not known of the lines of a damaged one.
    pub(super) line_end: Option<LineEnd>,
}

/// The records of a text.
pub(super) struct Records<R> {
    text: Text<R>,
    window: Vec<u8>,
    /// Where the next record begins in the window.
    start: usize,
    /// Row of the last line seen.
    row: u32,
    delimiter: u8,
    shape: Shape,
    core: Reader,
    cells: Vec<u8>,
    ends: Vec<usize>,
    /// Lines of a damaged record that are still to be handed out.
    lines: Option<Lines>,
    last_byte: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Lines {
    next: usize,
    end: usize,
    damage: Damage,
}

/// A record in the window.
#[derive(Debug, Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    /// Behind its line end.
    next: usize,
    damage: Option<Damage>,
    /// Where its last cell is quoted.
    ends_quoted: bool,
}

enum Scan {
    Found(Found),
    /// The window ends before the record does.
    More,
    /// The text ends within a quoted cell.
    Unclosed,
}

impl<R: Read> Records<R> {
    /// The records of `head` and the text that follows it.
    pub(super) fn new(text: Text<R>, delimiter: u8, head: Vec<u8>) -> Self {
        Self {
            text,
            window: head,
            start: 0,
            row: 0,
            delimiter,
            shape: Shape::default(),
            core: ReaderBuilder::new().delimiter(delimiter).build(),
            cells: vec![0; 1 << 10],
            ends: vec![0; 32],
            lines: None,
            last_byte: None,
        }
    }

    /// From now on cells that look as if they had swallowed a record of this shape are suspected.
    pub(super) fn expect(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Whether all that was read so far ends with a whole line end, if lines end like this; `false` for an empty text.
    pub(super) fn ended_with_newline(&self, usual: Option<LineEnd>) -> bool {
        match self.last_byte {
            Some(b'\n') => true,
            Some(b'\r') => usual != Some(LineEnd::CrLf),
            _ => false,
        }
    }

    /// Reads the next row that isn't blank into `record`; `false` at the end.
    pub(super) fn next_filled(&mut self, record: &mut Record) -> Result<bool, SheetError> {
        loop {
            let more = if let Some(lines) = self.lines.take() {
                self.next_line(lines, record)?
            } else {
                self.next_record(record)?
            };
            if !more {
                return Ok(false);
            }
            if !record.row.is_blank() {
                return Ok(true);
            }
        }
    }

    fn next_record(&mut self, record: &mut Record) -> Result<bool, SheetError> {
        let Some(found) = self.find()? else {
            return Ok(false);
        };
        self.start = found.next;
        self.last_byte = self.window[..found.next].last().copied();
        self.row = self.row.saturating_add(1);
        let raw = found.start..found.end;
        if let Some(at) = memchr(0, &self.window[raw.clone()]) {
            let row = self.row + line_breaks(&self.window[found.start..found.start + at]);
            return Err(SheetError::NulByte { row });
        }
        let damage = self.damage_of(found.damage, &self.window[raw.clone()]);
        if let Some(damage) = damage {
            self.row -= 1;
            self.lines = Some(Lines {
                next: found.start,
                end: found.end,
                damage,
            });
            // Blank, and passed over: its lines follow.
            record.row.restart(self.row);
            return Ok(true);
        }
        record.begins_quoted = self.window.get(found.start) == Some(&b'"') && !raw.is_empty();
        record.ends_quoted = found.ends_quoted;
        record.line_end = match &self.window[found.end..found.next] {
            [_, _] => Some(LineEnd::CrLf),
            b"\r" => Some(LineEnd::Cr),
            b"\n" => Some(LineEnd::Lf),
            _ => None,
        };
        self.cells_of(raw, true, &mut record.row)?;
        Ok(true)
    }

    /// The next line of a damaged record.
    fn next_line(&mut self, lines: Lines, record: &mut Record) -> Result<bool, SheetError> {
        let rest = &self.window[lines.next..lines.end];
        let length = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let end = lines.next + length;
        let next = end + line_end_length(&self.window[end..lines.end]);
        self.row = self.row.saturating_add(1);
        if next < lines.end {
            self.lines = Some(Lines { next, ..lines });
        }
        self.cells_of(lines.next..end, false, &mut record.row)?;
        record.row.damage = Some(lines.damage);
        (record.begins_quoted, record.ends_quoted) = (false, false);
        record.line_end = None;
        Ok(true)
    }

    /// The next record in the window, which grows until it holds it.
    fn find(&mut self) -> Result<Option<Found>, SheetError> {
        let mut ended = false;
        loop {
            if ended && self.start >= self.window.len() {
                return Ok(None);
            }
            match self.scan(ended) {
                Scan::Found(found) => return Ok(Some(found)),
                Scan::Unclosed => {
                    return Err(SheetError::UnclosedQuote {
                        row: self.row.saturating_add(1),
                    });
                }
                Scan::More => {
                    self.window.drain(..self.start);
                    self.start = 0;
                    // Twice as much each time: a record as long as the file is not searched again and again.
                    let wanted = self.window.len();
                    ended = !self.text.more(&mut self.window, wanted)?;
                }
            }
        }
    }

    /// Looks for the end of the record that begins at `start`.
    fn scan(&self, ended: bool) -> Scan {
        let text = &self.window[..];
        let mut damage = None;
        let mut ends_quoted = false;
        let mut at = self.start;
        loop {
            let Some(hit) = memchr3(b'"', b'\n', b'\r', &text[at..]).map(|hit| at + hit) else {
                if !ended {
                    return Scan::More;
                }
                return Scan::Found(Found {
                    start: self.start,
                    end: text.len(),
                    next: text.len(),
                    damage,
                    ends_quoted: ends_quoted && at == text.len(),
                });
            };
            if text[hit] != b'"' {
                if text[hit] == b'\r' && hit + 1 == text.len() && !ended {
                    return Scan::More;
                }
                return Scan::Found(Found {
                    start: self.start,
                    end: hit,
                    next: hit + line_end_length(&text[hit..]),
                    damage,
                    ends_quoted: ends_quoted && at == hit,
                });
            }
            if hit > self.start && text[hit - 1] != self.delimiter {
                damage = damage.or(Some(Damage::StrayQuote));
                at = hit + 1;
                continue;
            }
            match closing_quote(text, hit + 1, ended) {
                Closing::At(close) => at = close + 1,
                Closing::More => return Scan::More,
                Closing::Never => return Scan::Unclosed,
            }
            ends_quoted = true;
            match text.get(at) {
                None if !ended => return Scan::More,
                None | Some(b'\n' | b'\r') => {}
                Some(byte) if *byte == self.delimiter => {}
                Some(_) => damage = damage.or(Some(Damage::TextAfterQuote)),
            }
        }
    }

    /// What is wrong with a record, given what is wrong with its quotes. One of several lines has swallowed the others if
    /// its quotes are wrong, or if a line in a quoted cell looks like a record.
    fn damage_of(&self, quotes: Option<Damage>, raw: &[u8]) -> Option<Damage> {
        // The record's own first line begins before any quoted cell that has a line break.
        let mut lines = raw.split(|byte| matches!(byte, b'\n' | b'\r'));
        lines.next();
        let mut lines = lines.peekable();
        if lines.peek().is_none() {
            return quotes;
        }
        let swallowed = quotes.is_some()
            || (self.shape.width > 2 && lines.any(|line| self.looks_like_record(line)));
        swallowed.then_some(Damage::SwallowedRecord)
    }

    fn looks_like_record(&self, line: &[u8]) -> bool {
        // Up to the first quote: what follows may be the rest of the record that has swallowed the line.
        let line = &line[..memchr(b'"', line).unwrap_or(line.len())];
        if memchr_iter(self.delimiter, line).count() + 1 >= self.shape.width {
            return true;
        }
        self.shape.numbers.iter().any(|place| {
            *place > 0
                && line
                    .split(|byte| *byte == self.delimiter)
                    .nth(*place)
                    .and_then(|cell| std::str::from_utf8(cell).ok())
                    .is_some_and(|cell| PhoneNumber::parse(cell).is_ok())
        })
    }

    /// Takes the cells out of a record, or out of a line of a damaged one. `sound`: each quote stands where one may stand.
    fn cells_of(
        &mut self,
        raw: std::ops::Range<usize>,
        sound: bool,
        row: &mut SheetRow,
    ) -> Result<(), SheetError> {
        row.restart(self.row);
        let text = &self.window[raw.clone()];
        if text.is_empty() || !sound && memchr(b'"', text).is_some() {
            return self.quoted_cells_of(raw, row);
        }
        self.cells.clear();
        self.ends.clear();
        let mut at = 0;
        loop {
            at = if text.get(at) == Some(&b'"') {
                unquote(text, at, &mut self.cells)
            } else {
                let end = memchr(self.delimiter, &text[at..]).map_or(text.len(), |end| at + end);
                self.cells.extend_from_slice(&text[at..end]);
                end
            };
            self.ends.push(self.cells.len());
            if at >= text.len() {
                break;
            }
            // Behind the delimiter.
            at += 1;
        }
        self.fill(self.cells.len(), self.ends.len(), row)
    }

    fn quoted_cells_of(
        &mut self,
        raw: std::ops::Range<usize>,
        row: &mut SheetRow,
    ) -> Result<(), SheetError> {
        let mut input = &self.window[raw];
        self.core.reset();
        self.cells.resize(self.cells.capacity().max(1 << 10), 0);
        self.ends.resize(self.ends.capacity().max(32), 0);
        let (mut written, mut count) = (0, 0);
        loop {
            let (result, taken, text, cells) =
                self.core
                    .read_record(input, &mut self.cells[written..], &mut self.ends[count..]);
            input = &input[taken..];
            written += text;
            count += cells;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.cells.resize(self.cells.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        self.fill(written, count, row)
    }

    fn fill(&self, written: usize, count: usize, row: &mut SheetRow) -> Result<(), SheetError> {
        let text = simdutf8::basic::from_utf8(&self.cells[..written])
            .map_err(|_| SheetError::Undecodable { row: self.row })?;
        let ends = self.ends[..count].iter();
        if row.fill(text, ends.map(|end| (CellKind::Text, *end))) {
            return Ok(());
        }
        // A cell that ends within a character can't be: the text is valid and delimiters are ASCII.
        Err(SheetError::Undecodable { row: self.row })
    }
}

/// Adds the content of the quoted cell that begins at `at`; the place behind its closing quote.
fn unquote(text: &[u8], at: usize, cells: &mut Vec<u8>) -> usize {
    let mut from = at + 1;
    loop {
        let Some(quote) = memchr(b'"', &text[from..]).map(|hit| from + hit) else {
            // The splitter has found the closing one of every quoted cell.
            cells.extend_from_slice(&text[from..]);
            return text.len();
        };
        if text.get(quote + 1) != Some(&b'"') {
            cells.extend_from_slice(&text[from..quote]);
            return quote + 1;
        }
        // Of two, one is meant.
        cells.extend_from_slice(&text[from..=quote]);
        from = quote + 2;
    }
}

enum Closing {
    At(usize),
    More,
    Never,
}

/// Where the quoted cell whose content begins at `at` is closed.
fn closing_quote(text: &[u8], mut at: usize, ended: bool) -> Closing {
    loop {
        let Some(quote) = memchr(b'"', &text[at..]).map(|hit| at + hit) else {
            return if ended { Closing::Never } else { Closing::More };
        };
        match text.get(quote + 1) {
            Some(b'"') => at = quote + 2,
            None if !ended => return Closing::More,
            _ => return Closing::At(quote),
        }
    }
}

/// Length of the line end that stands here: 2 for CR LF, else 1; 0 where there is none.
fn line_end_length(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// Line ends in a text, CR LF counted as one.
fn line_breaks(text: &[u8]) -> u32 {
    let count = memchr2_iter(b'\n', b'\r', text)
        .filter(|at| !(text[*at] == b'\n' && *at > 0 && text[at - 1] == b'\r'))
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
