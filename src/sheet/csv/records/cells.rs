//! The cells of a record: from the spans that the scan found, or split by csv-core for the lines of damaged records.

use std::io::Read;
use std::ops::Range;

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::{MAX_CELLS, Quoting, RecordSpan, Records};
use crate::sheet::SheetError;
use crate::sheet::error::ByteLimit;
use crate::table::{Cell, CellKind, Damage, SheetRow};

/// Longest cell, in bytes.
const MAX_CELL_BYTES: usize = 1 << 20;
/// Initial size in bytes of the buffer for the cells of a damaged line.
const INITIAL_CELL_BYTES: usize = 1 << 10;
/// Initial number of cells of a damaged line.
const INITIAL_CELL_COUNT: usize = 32;

impl<R: Read> Records<R> {
    /// Reads the cells of an intact record into `row`.
    pub(super) fn read_cells(
        &self,
        span: &RecordSpan,
        row: &mut SheetRow,
    ) -> Result<(), SheetError> {
        row.reset_to(self.row);
        let text = simdutf8::basic::from_utf8(&self.buffer[span.start..span.end])
            .map_err(|_| SheetError::Undecodable { row: self.row })?;
        for cell in &self.cell_spans {
            if cell.end - cell.start > MAX_CELL_BYTES {
                return Err(self.cell_too_long());
            }
            match cell.quoting {
                Quoting::None => row.push(Cell::Text(&text[cell.start..cell.end])),
                Quoting::Quoted => row.push(Cell::Text(&text[cell.start + 1..cell.end - 1])),
                Quoting::Escaped => {
                    let text = text[cell.start + 1..cell.end - 1].replace("\"\"", "\"");
                    row.push(Cell::Text(&text));
                }
            }
        }
        if span.has_surplus {
            row.damage = Some(Damage::SurplusCells);
        }
        Ok(())
    }

    fn cell_too_long(&self) -> SheetError {
        SheetError::CellTooLong {
            row: self.row,
            limit: ByteLimit(MAX_CELL_BYTES as u64),
        }
    }

    /// Reads the cells of a line of a damaged record into `row`. Returns whether there may be cells beyond
    /// [`MAX_CELLS`].
    pub(super) fn read_line_cells(
        &mut self,
        raw: Range<usize>,
        row: &mut SheetRow,
    ) -> Result<bool, SheetError> {
        row.reset_to(self.row);
        let mut has_surplus = false;
        let mut input = &self.buffer[raw];
        let delimiter = self.delimiter;
        let line_reader = self
            .line_reader
            .get_or_insert_with(|| ReaderBuilder::new().delimiter(delimiter).build());
        line_reader.reset();
        self.cells
            .resize(self.cells.capacity().max(INITIAL_CELL_BYTES), 0);
        self.cell_ends
            .resize(self.cell_ends.capacity().max(INITIAL_CELL_COUNT), 0);
        let (mut written, mut count) = (0, 0);
        loop {
            let (result, consumed, text, cells) = line_reader.read_record(
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
        let starts = std::iter::once(&0).chain(cell_ends);
        if starts
            .zip(cell_ends)
            .any(|(start, end)| end - start > MAX_CELL_BYTES)
        {
            return Err(self.cell_too_long());
        }
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
        // Not reached: the text is valid UTF-8 and delimiters are ASCII, so cells end at character boundaries.
        Err(SheetError::Undecodable { row: self.row })
    }
}
