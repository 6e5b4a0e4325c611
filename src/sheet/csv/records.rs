//! Splits a text into records, and says of each whether its quotes are as they must be.
//!
//! The splitter goes from mark to mark, finds where a record and each of its cells ends, and which row of the spreadsheet it
//! is. A quote that stands where none may stand, or a quoted cell that holds what looks like a record, makes the record
//! damaged. Then each of its lines is handed out as a row of its own, marked as damaged, because that is what they were in
//! the spreadsheet; csv-core says what the cells of such a line are.

use std::io::Read;
use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr_iter, memchr2_iter};

use super::structural_scan::StructuralScanner;
use crate::model::contact::PhoneNumber;
use crate::sheet::SheetError;
use crate::sheet::encoding::TextReader;
use crate::table::{Cell, CellKind, Damage, SheetRow};

/// Most cells of a record: four times as many as a spreadsheet program has columns. What has more is damaged, and they are
/// not kept.
pub(super) const MAX_CELLS: usize = 1 << 16;

/// What is known of the columns, by which a swallowed record is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ExpectedColumns {
    /// Columns of the header; 0 until it is known, and then no cell is suspected.
    pub(super) width: usize,
    /// Places of the number columns.
    pub(super) numbers: Vec<usize>,
}

/// What separates two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineTerminator {
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
    pub(super) starts_quoted: bool,
    /// Its last cell is quoted, so it can't be the beginning of a torn one.
    pub(super) ends_quoted: bool,
    /// How it ends; not known of the lines of a damaged one.
    pub(super) line_end: Option<LineTerminator>,
}

/// The records of a text.
pub(super) struct Records<R> {
    text: TextReader<R>,
    buffer: Vec<u8>,
    /// Where the next record begins in the window.
    start: usize,
    /// Row of the last line seen.
    row: u32,
    delimiter: u8,
    expected: ExpectedColumns,
    scanner: StructuralScanner,
    /// The cells of the last record that was found, as long as it may be sound.
    cell_spans: Vec<CellSpan>,
    /// For the lines of damaged records.
    line_reader: Reader,
    cells: Vec<u8>,
    cell_ends: Vec<usize>,
    /// Lines of a damaged record that are still to be handed out.
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
    /// Behind its line end.
    next: usize,
    /// What is wrong with its quotes.
    damage: Option<Damage>,
    /// Its last cell is quoted.
    ends_quoted: bool,
    /// There are line ends in its quoted cells.
    has_line_breaks: bool,
    /// Something is in its cells beyond [`MAX_CELLS`].
    has_surplus: bool,
    /// Where its first NUL is.
    nul: Option<usize>,
}

/// A cell of a record, from behind one delimiter to the next.
#[derive(Debug, Clone, Copy)]
struct CellSpan {
    /// In the record.
    start: usize,
    end: usize,
    quoting: Quoting,
}

/// The quotes of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    None,
    /// At both ends.
    Quoted,
    /// At both ends, and doubled ones within.
    Escaped,
}

impl RecordSpan {
    /// Takes its next cell.
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

enum ScanResult {
    Complete(RecordSpan),
    /// The window ends before the record does.
    NeedsInput,
    /// The text ends within a quoted cell.
    Unclosed,
}

impl<R: Read> Records<R> {
    /// The records of `head` and the text that follows it.
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
            line_reader: ReaderBuilder::new().delimiter(delimiter).build(),
            cells: vec![0; 1 << 10],
            cell_ends: vec![0; 32],
            lines: None,
            last_byte: None,
        }
    }

    /// From now on cells that look as if they had swallowed a record of this shape are suspected.
    pub(super) fn expect_columns(&mut self, expected: ExpectedColumns) {
        self.expected = expected;
    }

    /// Whether all that was read so far ends with a whole line end, if lines end like this; `false` for an empty text.
    pub(super) fn ends_with_newline(&self, dominant: Option<LineTerminator>) -> bool {
        match self.last_byte {
            Some(b'\n') => true,
            Some(b'\r') => dominant != Some(LineTerminator::CrLf),
            _ => false,
        }
    }

    /// Reads the next row that isn't blank into `record`; `false` at the end.
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
            if !record.row.is_skippable() {
                return Ok(true);
            }
        }
    }

    fn next_record(&mut self, record: &mut Record) -> Result<bool, SheetError> {
        let Some(found) = self.find_record()? else {
            return Ok(false);
        };
        self.start = found.next;
        self.last_byte = self.buffer[..found.next].last().copied();
        self.row = self.row.saturating_add(1);
        if let Some(nul) = found.nul {
            let row = self.row + count_line_breaks(&self.buffer[found.start..nul]);
            return Err(SheetError::NulByte { row });
        }
        if let Some(damage) = self.classify_damage(&found) {
            self.row -= 1;
            self.lines = Some(DamagedLines {
                next: found.start,
                end: found.end,
                damage,
            });
            // Blank, and passed over: its lines follow.
            record.row.reset_to(self.row);
            return Ok(true);
        }
        let first = self.cell_spans.first();
        record.starts_quoted = first.is_some_and(|first| first.quoting != Quoting::None);
        record.ends_quoted = found.ends_quoted;
        record.line_end = match &self.buffer[found.end..found.next] {
            [_, _] => Some(LineTerminator::CrLf),
            b"\r" => Some(LineTerminator::Cr),
            b"\n" => Some(LineTerminator::Lf),
            _ => None,
        };
        self.read_cells(&found, &mut record.row)?;
        Ok(true)
    }

    /// The next line of a damaged record.
    fn next_line(&mut self, lines: DamagedLines, record: &mut Record) -> Result<bool, SheetError> {
        let rest = &self.buffer[lines.next..lines.end];
        let length = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let end = lines.next + length;
        let next = end + line_end_len(&self.buffer[end..lines.end]);
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
        record.line_end = None;
        Ok(true)
    }

    /// The next record in the window, which grows until it holds it.
    fn find_record(&mut self) -> Result<Option<RecordSpan>, SheetError> {
        let mut at_eof = false;
        loop {
            if at_eof && self.start >= self.buffer.len() {
                return Ok(None);
            }
            match self.scan(at_eof) {
                ScanResult::Complete(found) => return Ok(Some(found)),
                ScanResult::Unclosed => {
                    return Err(SheetError::UnclosedQuote {
                        row: self.row.saturating_add(1),
                    });
                }
                ScanResult::NeedsInput => {
                    self.buffer.drain(..self.start);
                    self.start = 0;
                    self.scanner.reset_to(0);
                    // Twice as much each time: a record as long as the file is not searched again and again.
                    let wanted = self.buffer.len();
                    at_eof = !self.text.read_more(&mut self.buffer, wanted)?;
                }
            }
        }
    }

    /// Looks for the end of the record that begins at `start`, and for its cells.
    fn scan(&mut self, at_eof: bool) -> ScanResult {
        let (text, start) = (&self.buffer[..], self.start);
        let mut found = RecordSpan {
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
        let mut cell = start;
        let mut quoting = Quoting::None;
        // Behind the quote that closed the last quoted cell.
        let mut closed = None;
        loop {
            let Some(position) = self.scanner.next(text) else {
                if !at_eof {
                    return ScanResult::NeedsInput;
                }
                break;
            };
            // The second half of the line end before.
            if position < start {
                continue;
            }
            match text[position] {
                b'"' if position == cell => {
                    let closing = ClosingQuote::locate(&mut self.scanner, text, at_eof, &mut found);
                    quoting = match closing {
                        ClosingQuote::At(index, quoting) => {
                            closed = Some(index + 1);
                            quoting
                        }
                        ClosingQuote::NeedsInput => return ScanResult::NeedsInput,
                        ClosingQuote::Missing => return ScanResult::Unclosed,
                    };
                    match closed.and_then(|closed| text.get(closed)) {
                        None if !at_eof => return ScanResult::NeedsInput,
                        None | Some(b'\n' | b'\r') => {}
                        Some(byte) if *byte == self.delimiter => {}
                        Some(_) => {
                            found.damage = found.damage.or(Some(Damage::TextAfterQuote));
                        }
                    }
                }
                b'"' => found.damage = found.damage.or(Some(Damage::StrayQuote)),
                b'\n' | b'\r' => {
                    if text[position] == b'\r' && position + 1 == text.len() && !at_eof {
                        return ScanResult::NeedsInput;
                    }
                    found.end = position;
                    found.next = position + line_end_len(&text[position..]);
                    break;
                }
                0 => found.nul = found.nul.or(Some(position)),
                _ => {
                    found.push_cell(&mut self.cell_spans, cell..position, quoting);
                    (cell, quoting) = (position + 1, Quoting::None);
                }
            }
        }
        found.ends_quoted = closed == Some(found.end);
        found.push_cell(&mut self.cell_spans, cell..found.end, quoting);
        ScanResult::Complete(found)
    }

    /// What is wrong with a record, given what is wrong with its quotes. One of several lines has swallowed the others if
    /// its quotes are wrong, or if a line in a quoted cell looks like a record.
    fn classify_damage(&self, found: &RecordSpan) -> Option<Damage> {
        if !found.has_line_breaks {
            return found.damage;
        }
        // The record's own first line begins before any quoted cell that has a line break.
        let raw = &self.buffer[found.start..found.end];
        let mut lines = raw.split(|byte| matches!(byte, b'\n' | b'\r')).skip(1);
        let swallowed = found.damage.is_some()
            || (self.expected.width > 2 && lines.any(|line| self.looks_like_record(line)));
        swallowed.then_some(Damage::EmbeddedRecord)
    }

    fn looks_like_record(&self, line: &[u8]) -> bool {
        // Up to the first quote: what follows may be the rest of the record that has swallowed the line.
        let line = &line[..memchr(b'"', line).unwrap_or(line.len())];
        if memchr_iter(self.delimiter, line).count() + 1 >= self.expected.width {
            return true;
        }
        self.expected.numbers.iter().any(|index| {
            *index > 0
                && line
                    .split(|byte| *byte == self.delimiter)
                    .nth(*index)
                    .and_then(|cell| std::str::from_utf8(cell).ok())
                    .is_some_and(|cell| PhoneNumber::parse(cell).is_ok())
        })
    }

    /// Takes the cells out of a sound record.
    fn read_cells(&self, found: &RecordSpan, row: &mut SheetRow) -> Result<(), SheetError> {
        row.reset_to(self.row);
        let text = simdutf8::basic::from_utf8(&self.buffer[found.start..found.end])
            .map_err(|_| SheetError::Undecodable { row: self.row })?;
        for span in &self.cell_spans {
            match span.quoting {
                Quoting::None => row.push(Cell::Text(&text[span.start..span.end])),
                Quoting::Quoted => row.push(Cell::Text(&text[span.start + 1..span.end - 1])),
                Quoting::Escaped => {
                    let text = text[span.start + 1..span.end - 1].replace("\"\"", "\"");
                    row.push(Cell::Text(&text));
                }
            }
        }
        if found.has_surplus {
            row.damage = Some(Damage::SurplusCells);
        }
        Ok(())
    }

    /// Takes the cells out of a line of a damaged record; whether there may be something beyond [`MAX_CELLS`].
    fn read_line_cells(
        &mut self,
        raw: Range<usize>,
        row: &mut SheetRow,
    ) -> Result<bool, SheetError> {
        row.reset_to(self.row);
        let mut has_surplus = false;
        let mut input = &self.buffer[raw];
        self.line_reader.reset();
        self.cells.resize(self.cells.capacity().max(1 << 10), 0);
        self.cell_ends.resize(self.cell_ends.capacity().max(32), 0);
        let (mut written, mut count) = (0, 0);
        loop {
            let (result, consumed, text, cells) = self.line_reader.read_record(
                input,
                &mut self.cells[written..],
                &mut self.cell_ends[count..],
            );
            input = &input[consumed..];
            written += text;
            count += cells;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.cells.resize(self.cells.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if count < MAX_CELLS => {
                    self.cell_ends.resize(self.cell_ends.len() * 2, 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    has_surplus = true;
                    break;
                }
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        let cell_ends = &self.cell_ends[..count];
        let written = cell_ends.last().copied().unwrap_or_default();
        let text = simdutf8::basic::from_utf8(&self.cells[..written])
            .map_err(|_| SheetError::Undecodable { row: self.row })?;
        let cells = cell_ends.iter().enumerate();
        if row.set_cells(
            text,
            cells.map(|(index, end)| (index, CellKind::Text, *end)),
        ) {
            return Ok(has_surplus);
        }
        // A cell that ends within a character can't be: the text is valid and delimiters are ASCII.
        Err(SheetError::Undecodable { row: self.row })
    }
}

/// Where a quoted cell is closed.
enum ClosingQuote {
    At(usize, Quoting),
    /// The window ends before that.
    NeedsInput,
    Missing,
}

impl ClosingQuote {
    /// Of the cell whose opening quote was met last; notes what else is met in it.
    fn locate(
        scanner: &mut StructuralScanner,
        text: &[u8],
        at_eof: bool,
        found: &mut RecordSpan,
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
                b'\n' | b'\r' => found.has_line_breaks = true,
                0 => found.nul = found.nul.or(Some(position)),
                _ => {}
            }
        }
    }
}

/// Length of the line end that stands here: 2 for CR LF, else 1; 0 where there is none.
fn line_end_len(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// Line ends in a text, CR LF counted as one.
fn count_line_breaks(text: &[u8]) -> u32 {
    let count = memchr2_iter(b'\n', b'\r', text)
        .filter(|at| !(text[*at] == b'\n' && *at > 0 && text[at - 1] == b'\r'))
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
