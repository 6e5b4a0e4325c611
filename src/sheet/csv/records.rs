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

use super::structural_scan::Marks;
use crate::model::contact::PhoneNumber;
use crate::sheet::SheetError;
use crate::sheet::encoding::Text;
use crate::table::{Cell, CellKind, Damage, SheetRow};

/// Most cells of a record: four times as many as a spreadsheet program has columns. What has more is damaged, and they are
/// not kept.
pub(super) const MAX_CELLS: usize = 1 << 16;

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
    marks: Marks,
    /// The cells of the last record that was found, as long as it may be sound.
    pieces: Vec<Piece>,
    /// For the lines of damaged records.
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
    /// What is wrong with its quotes.
    damage: Option<Damage>,
    /// Its last cell is quoted.
    ends_quoted: bool,
    /// There are line ends in its quoted cells.
    has_line_ends: bool,
    /// Something is in its cells beyond [`MAX_CELLS`].
    has_surplus: bool,
    /// Where its first NUL is.
    nul: Option<usize>,
}

/// A cell of a record, from behind one delimiter to the next.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// In the record.
    start: usize,
    end: usize,
    quotes: Quotes,
}

/// The quotes of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    None,
    /// At both ends.
    Around,
    /// At both ends, and doubled ones within.
    Doubled,
}

impl Found {
    /// Takes its next cell.
    fn keep(&mut self, pieces: &mut Vec<Piece>, cell: Range<usize>, quotes: Quotes) {
        if pieces.len() == MAX_CELLS {
            self.has_surplus |= !cell.is_empty();
            return;
        }
        pieces.push(Piece {
            start: cell.start - self.start,
            end: cell.end - self.start,
            quotes,
        });
    }
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
            marks: Marks::new(delimiter),
            pieces: Vec::new(),
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
            if !record.row.is_passed_over() {
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
        if let Some(nul) = found.nul {
            let row = self.row + line_breaks(&self.window[found.start..nul]);
            return Err(SheetError::NulByte { row });
        }
        if let Some(damage) = self.damage_of(&found) {
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
        let first = self.pieces.first();
        record.begins_quoted = first.is_some_and(|first| first.quotes != Quotes::None);
        record.ends_quoted = found.ends_quoted;
        record.line_end = match &self.window[found.end..found.next] {
            [_, _] => Some(LineEnd::CrLf),
            b"\r" => Some(LineEnd::Cr),
            b"\n" => Some(LineEnd::Lf),
            _ => None,
        };
        self.cells_of(&found, &mut record.row)?;
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
        let has_surplus = self.cells_of_line(lines.next..end, &mut record.row)?;
        record.row.damage = Some(if has_surplus {
            Damage::SurplusCells
        } else {
            lines.damage
        });
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
                    self.marks.restart(0);
                    // Twice as much each time: a record as long as the file is not searched again and again.
                    let wanted = self.window.len();
                    ended = !self.text.more(&mut self.window, wanted)?;
                }
            }
        }
    }

    /// Looks for the end of the record that begins at `start`, and for its cells.
    fn scan(&mut self, ended: bool) -> Scan {
        let (text, start) = (&self.window[..], self.start);
        let mut found = Found {
            start,
            end: text.len(),
            next: text.len(),
            damage: None,
            ends_quoted: false,
            has_line_ends: false,
            has_surplus: false,
            nul: None,
        };
        self.pieces.clear();
        let mut cell = start;
        let mut quotes = Quotes::None;
        // Behind the quote that closed the last quoted cell.
        let mut closed = None;
        loop {
            let Some(hit) = self.marks.next(text) else {
                if !ended {
                    return Scan::More;
                }
                break;
            };
            // The second half of the line end before.
            if hit < start {
                continue;
            }
            match text[hit] {
                b'"' if hit == cell => {
                    let closing = Closing::of(&mut self.marks, text, ended, &mut found);
                    quotes = match closing {
                        Closing::At(place, quotes) => {
                            closed = Some(place + 1);
                            quotes
                        }
                        Closing::More => return Scan::More,
                        Closing::Never => return Scan::Unclosed,
                    };
                    match closed.and_then(|closed| text.get(closed)) {
                        None if !ended => return Scan::More,
                        None | Some(b'\n' | b'\r') => {}
                        Some(byte) if *byte == self.delimiter => {}
                        Some(_) => {
                            found.damage = found.damage.or(Some(Damage::TextAfterQuote));
                        }
                    }
                }
                b'"' => found.damage = found.damage.or(Some(Damage::StrayQuote)),
                b'\n' | b'\r' => {
                    if text[hit] == b'\r' && hit + 1 == text.len() && !ended {
                        return Scan::More;
                    }
                    found.end = hit;
                    found.next = hit + line_end_length(&text[hit..]);
                    break;
                }
                0 => found.nul = found.nul.or(Some(hit)),
                _ => {
                    found.keep(&mut self.pieces, cell..hit, quotes);
                    (cell, quotes) = (hit + 1, Quotes::None);
                }
            }
        }
        found.ends_quoted = closed == Some(found.end);
        found.keep(&mut self.pieces, cell..found.end, quotes);
        Scan::Found(found)
    }

    /// What is wrong with a record, given what is wrong with its quotes. One of several lines has swallowed the others if
    /// its quotes are wrong, or if a line in a quoted cell looks like a record.
    fn damage_of(&self, found: &Found) -> Option<Damage> {
        if !found.has_line_ends {
            return found.damage;
        }
        // The record's own first line begins before any quoted cell that has a line break.
        let raw = &self.window[found.start..found.end];
        let mut lines = raw.split(|byte| matches!(byte, b'\n' | b'\r')).skip(1);
        let swallowed = found.damage.is_some()
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

    /// Takes the cells out of a sound record.
    fn cells_of(&self, found: &Found, row: &mut SheetRow) -> Result<(), SheetError> {
        row.restart(self.row);
        let text = simdutf8::basic::from_utf8(&self.window[found.start..found.end])
            .map_err(|_| SheetError::Undecodable { row: self.row })?;
        for piece in &self.pieces {
            match piece.quotes {
                Quotes::None => row.push(Cell::Text(&text[piece.start..piece.end])),
                Quotes::Around => row.push(Cell::Text(&text[piece.start + 1..piece.end - 1])),
                Quotes::Doubled => {
                    let text = text[piece.start + 1..piece.end - 1].replace("\"\"", "\"");
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
    fn cells_of_line(&mut self, raw: Range<usize>, row: &mut SheetRow) -> Result<bool, SheetError> {
        row.restart(self.row);
        let mut has_surplus = false;
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
                ReadRecordResult::OutputEndsFull if count < MAX_CELLS => {
                    self.ends.resize(self.ends.len() * 2, 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    has_surplus = true;
                    break;
                }
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        let ends = &self.ends[..count];
        let written = ends.last().copied().unwrap_or_default();
        let text = simdutf8::basic::from_utf8(&self.cells[..written])
            .map_err(|_| SheetError::Undecodable { row: self.row })?;
        let cells = ends.iter().enumerate();
        if row.fill(
            text,
            cells.map(|(place, end)| (place, CellKind::Text, *end)),
        ) {
            return Ok(has_surplus);
        }
        // A cell that ends within a character can't be: the text is valid and delimiters are ASCII.
        Err(SheetError::Undecodable { row: self.row })
    }
}

/// Where a quoted cell is closed.
enum Closing {
    At(usize, Quotes),
    /// The window ends before that.
    More,
    Never,
}

impl Closing {
    /// Of the cell whose opening quote was met last; notes what else is met in it.
    fn of(marks: &mut Marks, text: &[u8], ended: bool, found: &mut Found) -> Self {
        let mut quotes = Quotes::Around;
        loop {
            let Some(hit) = marks.next(text) else {
                return if ended { Self::Never } else { Self::More };
            };
            match text[hit] {
                b'"' => match text.get(hit + 1) {
                    Some(b'"') => {
                        quotes = Quotes::Doubled;
                        marks.next(text);
                    }
                    None if !ended => return Self::More,
                    _ => return Self::At(hit, quotes),
                },
                b'\n' | b'\r' => found.has_line_ends = true,
                0 => found.nul = found.nul.or(Some(hit)),
                _ => {}
            }
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
