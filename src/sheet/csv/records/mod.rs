//! Splits text into records and checks their quotes. Uses only the number of columns and which of them
//! contain phone numbers, not their titles.
//!
//! The splitter jumps between structural bytes, finds the end of each record and cell, and counts spreadsheet rows. A
//! record is damaged if it has a misplaced quote, or a quoted cell with content that looks like a record. Each line
//! of a damaged record is returned as a row of its own, marked as damaged, because the lines were separate rows in
//! the spreadsheet.

mod cells;

use std::io::Read;
use std::ops::Range;

use csv_core::Reader;
use memchr::{memchr, memchr_iter, memchr2_iter, memchr3};

use super::structural_scan::StructuralScanner;
use crate::model::contact::PhoneNumber;
use crate::sheet::SheetError;
use crate::sheet::encoding::TextReader;
use crate::table::{Damage, SheetRow};

/// Maximum number of cells of a record: four times the columns of a spreadsheet program. A record with more cells is
/// damaged, and the surplus cells are discarded.
pub(super) const MAX_CELLS: usize = 1 << 16;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();
/// The character that old programs write at the end of a file.
const CTRL_Z: &str = "\u{1A}";

/// Properties of the columns that help to recognize a record inside a quoted cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ExpectedColumns {
    /// Number of columns; 0 until the header was read, which disables the search for embedded records.
    pub(super) width: usize,
    /// Indexes of the number columns.
    pub(super) numbers: Vec<usize>,
}

/// The characters that end a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnding {
    Cr,
    Lf,
    CrLf,
}

/// A row, with the properties needed to check the pair of this row and an adjacent one.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) row: SheetRow,
    /// Whether the first cell is quoted. The row is then not the second part of a split record.
    pub(super) starts_quoted: bool,
    /// Whether the last cell is quoted. The row is then not the first part of a split record.
    pub(super) ends_quoted: bool,
    /// `None` at the end of the file, and for lines of a damaged record.
    pub(super) line_ending: Option<LineEnding>,
}

/// Iterates over the records of a text.
pub(super) struct Records<R> {
    text: TextReader<R>,
    /// Window of the text.
    buffer: Vec<u8>,
    /// Offset of the next record in the window.
    start: usize,
    /// Row number of the last line that was read.
    row: u32,
    delimiter: u8,
    expected: ExpectedColumns,
    scanner: StructuralScanner,
    /// Cells of the last record found; not used if the record is damaged.
    cell_spans: Vec<CellSpan>,
    /// Splits the lines of damaged records into `cells` and `cell_ends`. Built when first needed, which few files do.
    line_reader: Option<Reader>,
    cells: Vec<u8>,
    cell_ends: Vec<usize>,
    /// Lines of a damaged record that were not returned yet.
    lines: Option<DamagedLines>,
    last_byte: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
struct DamagedLines {
    next: usize,
    end: usize,
    damage: Damage,
}

/// A record in the window.
#[derive(Debug, Clone, Copy)]
struct RecordSpan {
    start: usize,
    end: usize,
    /// Offset after the line ending.
    next: usize,
    /// Damage of the quotes.
    damage: Option<Damage>,
    /// Whether the last cell is quoted.
    ends_quoted: bool,
    /// Whether quoted cells contain line endings.
    has_line_breaks: bool,
    /// Whether cells beyond [`MAX_CELLS`] have content.
    has_surplus: bool,
    /// Offset of the first NUL.
    nul: Option<usize>,
}

/// A cell of a record between two delimiters, with its quotes.
#[derive(Debug, Clone, Copy)]
struct CellSpan {
    /// Offset in the record.
    start: usize,
    end: usize,
    quoting: Quoting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    None,
    /// Quotes at both ends.
    Quoted,
    /// Quotes at both ends, and doubled quotes inside.
    Escaped,
}

impl RecordSpan {
    fn push_cell(&mut self, cell_spans: &mut Vec<CellSpan>, cell: Range<usize>, quoting: Quoting) {
        if cell_spans.len() == MAX_CELLS {
            self.has_surplus |= !cell.is_empty();
            return;
        }
        cell_spans.push(CellSpan {
            start: cell.start - self.start,
            end: cell.end - self.start,
            quoting,
        });
    }
}

/// Where a cell `="…"` ends.
enum MarkedText {
    /// Offset after the closing quote.
    EndsAt(usize),
    /// The line continues after the window.
    NeedsInput,
    /// The cell is not of this form.
    None,
}

enum ScanResult {
    Complete(RecordSpan),
    /// The record continues after the window.
    NeedsInput,
    /// The text ends inside a quoted cell.
    Unclosed,
}

impl<R: Read> Records<R> {
    /// Reads the records of `head` and of the text that follows it.
    pub(super) fn new(text: TextReader<R>, delimiter: u8, head: Vec<u8>) -> Self {
        Self {
            text,
            buffer: head,
            start: 0,
            row: 0,
            delimiter,
            expected: ExpectedColumns::default(),
            scanner: StructuralScanner::new(delimiter),
            cell_spans: Vec::new(),
            line_reader: None,
            cells: Vec::new(),
            cell_ends: Vec::new(),
            lines: None,
            last_byte: None,
        }
    }

    /// Enables the search for records of this shape inside quoted cells.
    pub(super) fn expect_columns(&mut self, expected: ExpectedColumns) {
        self.expected = expected;
    }

    /// Whether the text read so far ends with a complete line ending, given the usual one. `false` for an empty text.
    pub(super) fn ends_with_newline(&self, dominant: Option<LineEnding>) -> bool {
        match self.last_byte {
            Some(b'\n') => true,
            Some(b'\r') => dominant != Some(LineEnding::CrLf),
            _ => false,
        }
    }

    /// Reads the next row that is not blank into `record`. Returns `false` at the end of the text.
    pub(super) fn next_non_blank(&mut self, record: &mut Record) -> Result<bool, SheetError> {
        loop {
            let has_more = if let Some(lines) = self.lines.take() {
                self.next_line(lines, record)?
            } else {
                self.next_record(record)?
            };
            if !has_more {
                return Ok(false);
            }
            if record.row.is_skippable() {
                continue;
            }
            return Ok(!self.is_final_ctrl_z(record)?);
        }
    }

    /// Whether the record is a Ctrl-Z and nothing follows it; then it is not part of the text.
    fn is_final_ctrl_z(&mut self, record: &Record) -> Result<bool, SheetError> {
        let text = record.row.cell(0).display_text();
        if record.row.len() != 1 || text != CTRL_Z || self.lines.is_some() {
            return Ok(false);
        }
        let has_more =
            self.start < self.buffer.len() || self.text.read_more(&mut self.buffer, 1)?;
        let rest = &self.buffer[self.start..];
        let is_final = !has_more || rest.iter().all(|byte| matches!(byte, b'\n' | b'\r'));
        if is_final {
            self.last_byte = Some(b'\n');
        }
        Ok(is_final)
    }

    fn next_record(&mut self, record: &mut Record) -> Result<bool, SheetError> {
        let Some(span) = self.find_record()? else {
            return Ok(false);
        };
        self.start = span.next;
        self.last_byte = self.buffer[..span.next].last().copied();
        self.row = self.row.saturating_add(1);
        if let Some(nul) = span.nul {
            let row = self.row + count_line_breaks(&self.buffer[span.start..nul]);
            return Err(SheetError::NulByte { row });
        }
        if let Some(damage) = self.classify_damage(&span) {
            self.row -= 1;
            self.lines = Some(DamagedLines {
                next: span.start,
                end: span.end,
                damage,
            });
            // The caller skips this blank row and then receives the lines of the record.
            record.row.reset_to(self.row);
            return Ok(true);
        }
        let first = self.cell_spans.first();
        record.starts_quoted = first.is_some_and(|first| first.quoting != Quoting::None);
        record.ends_quoted = span.ends_quoted;
        record.line_ending = match &self.buffer[span.end..span.next] {
            [_, _] => Some(LineEnding::CrLf),
            b"\r" => Some(LineEnding::Cr),
            b"\n" => Some(LineEnding::Lf),
            _ => None,
        };
        self.read_cells(&span, &mut record.row)?;
        Ok(true)
    }

    /// Reads the next line of a damaged record.
    fn next_line(&mut self, lines: DamagedLines, record: &mut Record) -> Result<bool, SheetError> {
        let rest = &self.buffer[lines.next..lines.end];
        let length = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let end = lines.next + length;
        let next = end + line_ending_len(&self.buffer[end..lines.end]);
        self.row = self.row.saturating_add(1);
        if next < lines.end {
            self.lines = Some(DamagedLines { next, ..lines });
        }
        let has_surplus = self.read_line_cells(lines.next..end, &mut record.row)?;
        record.row.damage = Some(if has_surplus {
            Damage::SurplusCells
        } else {
            lines.damage
        });
        (record.starts_quoted, record.ends_quoted) = (false, false);
        record.line_ending = None;
        Ok(true)
    }

    /// Finds the next record, and enlarges the window until it contains the record.
    fn find_record(&mut self) -> Result<Option<RecordSpan>, SheetError> {
        let mut at_eof = false;
        loop {
            if at_eof && self.start >= self.buffer.len() {
                return Ok(None);
            }
            match self.scan(at_eof) {
                ScanResult::Complete(span) => return Ok(Some(span)),
                ScanResult::Unclosed => {
                    return Err(SheetError::UnclosedQuote {
                        row: self.row.saturating_add(1),
                    });
                }
                ScanResult::NeedsInput => {
                    self.buffer.drain(..self.start);
                    self.start = 0;
                    self.scanner.reset_to(0);
                    // Double the window each time, because each scan starts at the beginning of the record.
                    let target_len = self.buffer.len();
                    at_eof = !self.text.read_more(&mut self.buffer, target_len)?;
                }
            }
        }
    }

    /// Scans the record at `start` for its end and its cells.
    fn scan(&mut self, at_eof: bool) -> ScanResult {
        let (text, start) = (&self.buffer[..], self.start);
        let mut span = RecordSpan {
            start,
            end: text.len(),
            next: text.len(),
            damage: None,
            ends_quoted: false,
            has_line_breaks: false,
            has_surplus: false,
            nul: None,
        };
        self.cell_spans.clear();
        // A program that joined files, or added a second byte order mark, leaves one at the start of a record.
        let mut cell_start = start;
        while text[cell_start..].starts_with(BYTE_ORDER_MARK) {
            cell_start += BYTE_ORDER_MARK.len();
        }
        let mut quoting = Quoting::None;
        // Offset after the closing quote of the last quoted cell.
        let mut after_closing_quote = None;
        loop {
            let Some(position) = self.scanner.next(text) else {
                if !at_eof {
                    return ScanResult::NeedsInput;
                }
                break;
            };
            // The LF of the previous line ending.
            if position < start {
                continue;
            }
            match text[position] {
                b'"' if position == cell_start => {
                    let closing = ClosingQuote::locate(&mut self.scanner, text, at_eof, &mut span);
                    quoting = match closing {
                        ClosingQuote::At(index, quoting) => {
                            after_closing_quote = Some(index + 1);
                            quoting
                        }
                        ClosingQuote::NeedsInput => return ScanResult::NeedsInput,
                        ClosingQuote::Missing => return ScanResult::Unclosed,
                    };
                    match after_closing_quote.and_then(|offset| text.get(offset)) {
                        None if !at_eof => return ScanResult::NeedsInput,
                        None | Some(b'\n' | b'\r') => {}
                        Some(byte) if *byte == self.delimiter => {}
                        Some(_) => {
                            span.damage = span.damage.or(Some(Damage::TextAfterQuote));
                        }
                    }
                }
                // `="0042"`: the quotes belong to the text.
                b'"' if position == cell_start + 1 && text[cell_start] == b'=' => {
                    match self.find_end_of_marked_text(position + 1, at_eof) {
                        MarkedText::EndsAt(end) => self.scanner.reset_to(end),
                        MarkedText::NeedsInput => return ScanResult::NeedsInput,
                        MarkedText::None => {
                            span.damage = span.damage.or(Some(Damage::StrayQuote));
                        }
                    }
                }
                b'"' => span.damage = span.damage.or(Some(Damage::StrayQuote)),
                b'\n' | b'\r' => {
                    if text[position] == b'\r' && position + 1 == text.len() && !at_eof {
                        return ScanResult::NeedsInput;
                    }
                    span.end = position;
                    span.next = position + line_ending_len(&text[position..]);
                    break;
                }
                0 => span.nul = span.nul.or(Some(position)),
                _ => {
                    span.push_cell(&mut self.cell_spans, cell_start..position, quoting);
                    (cell_start, quoting) = (position + 1, Quoting::None);
                }
            }
        }
        span.ends_quoted = after_closing_quote == Some(span.end);
        span.push_cell(&mut self.cell_spans, cell_start..span.end, quoting);
        ScanResult::Complete(span)
    }

    /// The end of a cell `="…"` that starts before `from`, if its closing quote is at the end of a cell in the same line.
    fn find_end_of_marked_text(&self, from: usize, at_eof: bool) -> MarkedText {
        let rest = &self.buffer[from..];
        let mut offset = 0;
        while let Some(found) = memchr3(b'"', b'\n', b'\r', &rest[offset..]) {
            let position = offset + found;
            match (rest[position], rest.get(position + 1)) {
                (b'"', Some(b'"')) => offset = position + 2,
                (b'"', None) if !at_eof => return MarkedText::NeedsInput,
                (b'"', None | Some(b'\n' | b'\r')) => {
                    return MarkedText::EndsAt(from + position + 1);
                }
                (b'"', Some(next)) if *next == self.delimiter => {
                    return MarkedText::EndsAt(from + position + 1);
                }
                _ => return MarkedText::None,
            }
        }
        if at_eof {
            MarkedText::None
        } else {
            MarkedText::NeedsInput
        }
    }

    /// The damage of a record. A record of several lines contains other records if its quotes are damaged, or if one
    /// of its lines looks like a record.
    fn classify_damage(&self, span: &RecordSpan) -> Option<Damage> {
        if !span.has_line_breaks {
            return span.damage;
        }
        // Skip the first line: it is the start of the record itself.
        let raw = &self.buffer[span.start..span.end];
        let mut lines = raw.split(|byte| matches!(byte, b'\n' | b'\r')).skip(1);
        let has_embedded_records = span.damage.is_some()
            || (self.expected.width > 2 && lines.any(|line| self.looks_like_record(line)));
        has_embedded_records.then_some(Damage::EmbeddedRecord)
    }

    fn looks_like_record(&self, line: &[u8]) -> bool {
        // Only up to the first quote: the rest of the line may belong to the outer record.
        let line = &line[..memchr(b'"', line).unwrap_or(line.len())];
        if memchr_iter(self.delimiter, line).count() + 1 >= self.expected.width {
            return true;
        }
        let is_phone_number =
            |cell| std::str::from_utf8(cell).is_ok_and(|cell| PhoneNumber::parse(cell).is_ok());
        let cells = line.split(|byte| *byte == self.delimiter).enumerate();
        cells
            .skip(1)
            .filter(|(index, _)| self.expected.numbers.contains(index))
            .any(|(_, cell)| is_phone_number(cell))
    }
}

/// The closing quote of a quoted cell.
enum ClosingQuote {
    At(usize, Quoting),
    /// The cell continues after the window.
    NeedsInput,
    Missing,
}

impl ClosingQuote {
    /// Finds the closing quote of the cell whose opening quote the scanner returned last. Records line breaks and
    /// NULs of the cell in `span`.
    fn locate(
        scanner: &mut StructuralScanner,
        text: &[u8],
        at_eof: bool,
        span: &mut RecordSpan,
    ) -> Self {
        let mut quoting = Quoting::Quoted;
        loop {
            let Some(position) = scanner.next(text) else {
                return if at_eof {
                    Self::Missing
                } else {
                    Self::NeedsInput
                };
            };
            match text[position] {
                b'"' => match text.get(position + 1) {
                    Some(b'"') => {
                        quoting = Quoting::Escaped;
                        scanner.next(text);
                    }
                    None if !at_eof => return Self::NeedsInput,
                    _ => return Self::At(position, quoting),
                },
                b'\n' | b'\r' => span.has_line_breaks = true,
                0 => span.nul = span.nul.or(Some(position)),
                _ => {}
            }
        }
    }
}

/// Length of the line ending at the start of `text`: 2 for CR LF, 1 for CR or LF, 0 if there is none.
fn line_ending_len(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// Number of line endings; CR LF counts as one.
fn count_line_breaks(text: &[u8]) -> u32 {
    let count = memchr2_iter(b'\n', b'\r', text)
        .filter(|at| !(text[*at] == b'\n' && *at > 0 && text[at - 1] == b'\r'))
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
