//! Reads the first visible sheet with a header from a workbook, cell by cell. Uses stored values, not displayed ones.
//! Does not depend on running in a worker process.

mod cell_spelling;
mod value;

use std::io::{Read, Seek};

use calamine::{DataRef, Dimensions, Reader, SheetType, SheetVisible, Xlsx, XlsxError};

use self::value::{CellTooLong, MAX_CELL_CHARS, cell_value};
use super::error::{ByteLimit, RowLimit, SheetError, WorkbookDefect, WorkbookLimit};
use super::row_sink::RowSink;
use super::sandbox::zip_limits::{self, WorkbookFeatures};
use super::{Format, Limits, SheetInfo, header};
use crate::model::issue::{Issue, column_letters};
use crate::table::{Header, SheetRow};

/// Maximum number of data rows, even if `import.max_rows` is larger.
const MAX_ROWS: u32 = 200_000;
/// Maximum number of columns. A contact list needs far fewer, and every row takes memory up to its last cell.
const MAX_COLUMNS: u32 = 1_024;
/// Maximum size of the text of a row, bytes.
const MAX_ROW_TEXT_BYTES: usize = 4 << 20;
/// Maximum size of the text of a sheet, bytes. Cells share strings, so a small file may expand to any amount of text.
/// The value is the default of `fetch.max_bytes`, which limits the text of a CSV file.
const MAX_SHEET_TEXT_BYTES: usize = 64 << 20;
/// Maximum number of cells with content in a sheet.
const MAX_FILLED_CELLS: u32 = 4_000_000;

pub(super) fn read<R: Read + Seek, F: FnMut(&Header, &SheetRow)>(
    mut file: R,
    limits: Limits,
    on_row: &mut F,
) -> Result<SheetInfo, SheetError> {
    let features = zip_limits::check_limits(&mut file)?;
    if features.unusual_sheets.is_empty() {
        return read_workbook(file, &features, limits, on_row);
    }
    let normalized =
        cell_spelling::normalize_sheets(file, &features.unusual_sheets).map_err(|error| {
            SheetError::WorkbookUnreadable(WorkbookDefect::Library(error.to_string()))
        })?;
    read_workbook(normalized, &features, limits, on_row)
}

fn read_workbook<R: Read + Seek, F: FnMut(&Header, &SheetRow)>(
    file: R,
    features: &WorkbookFeatures,
    limits: Limits,
    on_row: &mut F,
) -> Result<SheetInfo, SheetError> {
    let limit = if limits.max_rows > MAX_ROWS {
        RowLimit::Workbook(MAX_ROWS)
    } else {
        RowLimit::Configured(limits.max_rows)
    };
    let mut workbook = Xlsx::new(file).map_err(|error| unreadable(&error))?;
    let sheets: Vec<String> = workbook
        .sheets_metadata()
        .iter()
        .filter(|sheet| sheet.visible == SheetVisible::Visible && sheet.typ == SheetType::WorkSheet)
        .map(|sheet| sheet.name.clone())
        .collect();
    let all_visible = sheets.len() == workbook.sheets_metadata().len();
    let mut first_error = None;
    for name in sheets {
        let merged = if features.has_merged_cells {
            workbook
                .merge_cells_by_sheet_name(&name)
                .map_err(|error| unreadable(&error))?
        } else {
            Vec::new()
        };
        let layout = Layout {
            merged,
            has_formulas: features.has_formulas,
        };
        match find_header(&mut workbook, &name, &layout)? {
            HeaderSearch::Header(header, mut issues) => {
                let sink = RowSink::new(*header, limit, on_row);
                let (header, untitled) = read_sheet_rows(&mut workbook, &name, &layout, sink)?;
                issues.extend(untitled);
                let format = Format {
                    format: "xlsx",
                    encoding: None,
                    delimiter: None,
                    sheet: Some(name),
                };
                return Ok(SheetInfo {
                    format,
                    header,
                    issues,
                    final_newline: None,
                });
            }
            // Report a flawed header rather than continue with the next sheet.
            HeaderSearch::Rejected(error) if is_flawed_header(&error) => return Err(error),
            HeaderSearch::Rejected(error) => first_error = first_error.or(Some(error)),
            HeaderSearch::Blank => {}
        }
    }
    let empty_error = if all_visible {
        SheetError::Empty
    } else {
        SheetError::VisibleSheetsEmpty
    };
    Err(first_error.unwrap_or(empty_error))
}

/// Whether the error is about a header that probably belongs to the contact list. Otherwise an old list on another
/// sheet could be imported instead.
fn is_flawed_header(error: &SheetError) -> bool {
    match error {
        SheetError::HeaderNotFirst { .. } | SheetError::HeaderDuplicate { .. } => true,
        SheetError::HeaderMissing { missing, .. } => missing.len() == 1,
        _ => false,
    }
}

/// Properties of a sheet that are needed to read its cells.
struct Layout {
    merged: Vec<Dimensions>,
    /// Whether the sheet may have formulas.
    has_formulas: bool,
}

enum HeaderSearch {
    Header(Box<Header>, Vec<Issue>),
    Rejected(SheetError),
    Blank,
}

fn find_header<R: Read + Seek>(
    workbook: &mut Xlsx<R>,
    sheet: &str,
    layout: &Layout,
) -> Result<HeaderSearch, SheetError> {
    let mut missing_error = None;
    let mut outcome = None;
    let mut searched = 0;
    let result = for_each_row(workbook, sheet, layout, &mut |row| {
        if row.is_blank() {
            return Ok(true);
        }
        let titles: Vec<String> = row
            .cells()
            .map(|cell| cell.display_text().to_owned())
            .collect();
        searched += 1;
        match (header::parse(row.number, &titles), missing_error.is_none()) {
            (Ok((header, issues)), true) => {
                outcome = Some(HeaderSearch::Header(Box::new(header), issues));
            }
            (Ok(_), false) => {
                outcome = Some(HeaderSearch::Rejected(SheetError::HeaderNotFirst {
                    row: row.number,
                }));
            }
            (Err(error @ SheetError::HeaderMissing { .. }), true) => missing_error = Some(error),
            (Err(error), true) => outcome = Some(HeaderSearch::Rejected(error)),
            (Err(_), false) => {}
        }
        Ok(outcome.is_none() && searched <= header::SEARCH_ROWS)
    });
    result?;
    Ok(outcome
        .or(missing_error.map(HeaderSearch::Rejected))
        .unwrap_or(HeaderSearch::Blank))
}

fn read_sheet_rows<R: Read + Seek, F: FnMut(&Header, &SheetRow)>(
    workbook: &mut Xlsx<R>,
    sheet: &str,
    layout: &Layout,
    mut sink: RowSink<'_, F>,
) -> Result<(Header, Vec<Issue>), SheetError> {
    let header_row = sink.header().row;
    for_each_row(workbook, sheet, layout, &mut |row| {
        if row.number > header_row {
            sink.push(row)?;
        }
        Ok(true)
    })?;
    Ok(sink.finish())
}

/// Assembles the cells of a sheet into rows. Stops when `on_row` returns `false`.
fn for_each_row<R: Read + Seek>(
    workbook: &mut Xlsx<R>,
    sheet: &str,
    layout: &Layout,
    on_row: &mut impl FnMut(&SheetRow) -> Result<bool, SheetError>,
) -> Result<(), SheetError> {
    let mut cells = workbook
        .worksheet_cells_reader(sheet)
        .map_err(|error| unreadable(&error))?;
    let mut assembler = RowAssembler {
        sheet,
        merged: MergedRanges::new(&layout.merged),
        row: SheetRow::default(),
        scratch: String::new(),
        cell_count: 0,
        text_bytes: 0,
        on_row,
    };
    // Cells are borrowed: copying them would cost more than everything else. Reading formulas is slower, so it is
    // done only if the sheet may have some.
    loop {
        let continues = if layout.has_formulas {
            match &cells.next_cell_with_formula_metadata() {
                Ok(Some(cell)) => {
                    assembler.push_cell(cell.pos, &cell.value, cell.formula.is_some())?
                }
                Ok(None) => return assembler.finish(),
                Err(error) => return Err(unreadable(error)),
            }
        } else {
            match &cells.next_cell() {
                Ok(Some(cell)) => {
                    assembler.push_cell(cell.get_position(), cell.get_value(), false)?
                }
                Ok(None) => return assembler.finish(),
                Err(error) => return Err(unreadable(error)),
            }
        };
        if !continues {
            return Ok(());
        }
    }
}

/// Assembles rows from cells.
struct RowAssembler<'a, F> {
    /// Name of the sheet.
    sheet: &'a str,
    merged: MergedRanges,
    /// The current row.
    row: SheetRow,
    /// Buffer for the text of cells that are not stored as text.
    scratch: String,
    /// Cells with content so far.
    cell_count: u32,
    /// Bytes of text so far.
    text_bytes: usize,
    on_row: &'a mut F,
}

impl<F: FnMut(&SheetRow) -> Result<bool, SheetError>> RowAssembler<'_, F> {
    /// Adds the next cell; `position` is row and column, counted from 0. Returns `false` if `on_row` stopped.
    #[inline]
    fn push_cell(
        &mut self,
        position: (u32, u32),
        value: &DataRef<'_>,
        has_formula: bool,
    ) -> Result<bool, SheetError> {
        let (number, column) = (position.0.saturating_add(1), position.1);
        let cell = cell_value(value, has_formula, &mut self.scratch);
        let cell = cell.map_err(|CellTooLong| cell_too_long(number, column))?;
        let Some(cell) = cell else {
            return Ok(true);
        };
        if column >= MAX_COLUMNS {
            return Err(SheetError::WorkbookTooLarge(WorkbookLimit::Columns {
                row: number,
                last_column: column_letters(MAX_COLUMNS as usize - 1),
                limit: MAX_COLUMNS,
            }));
        }
        if number < self.row.number {
            return Err(SheetError::WorkbookUnreadable(WorkbookDefect::RowOrder {
                row: number,
                previous: self.row.number,
            }));
        }
        if self.merged.covers(position) {
            return Ok(true);
        }
        if number > self.row.number {
            if !self.row.is_empty() && !(self.on_row)(&self.row)? {
                return Ok(false);
            }
            self.row.reset_to(number);
        }
        let index = column as usize;
        if index < self.row.len() {
            return Err(SheetError::WorkbookUnreadable(WorkbookDefect::CellOrder {
                row: number,
            }));
        }
        self.cell_count += 1;
        self.text_bytes += cell.display_text().len();
        if self.cell_count > MAX_FILLED_CELLS {
            return Err(SheetError::WorkbookTooLarge(WorkbookLimit::Cells {
                sheet: self.sheet.to_owned(),
                limit: MAX_FILLED_CELLS,
            }));
        }
        if self.text_bytes > MAX_SHEET_TEXT_BYTES {
            return Err(SheetError::WorkbookTooLarge(WorkbookLimit::SheetText {
                sheet: self.sheet.to_owned(),
                limit: ByteLimit(MAX_SHEET_TEXT_BYTES as u64),
            }));
        }
        self.row.pad(index);
        self.row.push(cell);
        if self.row.text_len() > MAX_ROW_TEXT_BYTES {
            return Err(SheetError::WorkbookTooLarge(WorkbookLimit::RowText {
                row: number,
                limit: ByteLimit(MAX_ROW_TEXT_BYTES as u64),
            }));
        }
        Ok(true)
    }

    /// Passes on the last row.
    fn finish(self) -> Result<(), SheetError> {
        if !self.row.is_empty() {
            (self.on_row)(&self.row)?;
        }
        Ok(())
    }
}

#[cold]
fn cell_too_long(row: u32, column: u32) -> SheetError {
    SheetError::WorkbookTooLarge(WorkbookLimit::CellText {
        cell: format!("{}{row}", column_letters(column as usize)),
        limit: MAX_CELL_CHARS,
    })
}

/// The merged ranges of a sheet; its cells must be checked in row order.
struct MergedRanges {
    ranges: Vec<Dimensions>,
    /// Index of the next range that was not reached yet.
    next: usize,
    /// Ranges that include the current row.
    active: Vec<Dimensions>,
    row: u32,
}

impl MergedRanges {
    fn new(ranges: &[Dimensions]) -> Self {
        let mut ranges = ranges.to_vec();
        ranges.sort_unstable_by_key(|range| range.start);
        Self {
            ranges,
            next: 0,
            active: Vec::new(),
            row: 0,
        }
    }

    /// Whether a cell is in a merged range but is not its top left cell. Spreadsheet programs do not show its
    /// content.
    fn covers(&mut self, position: (u32, u32)) -> bool {
        if self.ranges.is_empty() {
            return false;
        }
        if position.0 != self.row {
            self.row = position.0;
            self.active.retain(|range| range.end.0 >= position.0);
        }
        while let Some(range) = self
            .ranges
            .get(self.next)
            .filter(|r| r.start.0 <= position.0)
        {
            self.active
                .extend((range.end.0 >= position.0).then_some(*range));
            self.next += 1;
        }
        self.active
            .iter()
            .any(|range| range.start != position && range.contains(position.0, position.1))
    }
}

fn unreadable(error: &XlsxError) -> SheetError {
    match error {
        XlsxError::Password => SheetError::PasswordProtected,
        other => SheetError::WorkbookUnreadable(WorkbookDefect::Library(other.to_string())),
    }
}
