//! Workbooks: the first visible sheet that has the header, cell by cell, the stored value and not its display.

mod value;

use std::io::{Read, Seek};

use calamine::{DataRef, Dimensions, Reader, SheetType, SheetVisible, Xlsx, XlsxError};

use self::value::cell_value;
use super::sandbox::zip_limits;
use super::{Format, Limits, RowSink, SheetError, SheetInfo, header};
use crate::model::issue::Issue;
use crate::table::{Header, SheetRow};

/// Most columns: beyond them nothing of ours can be, and each row would have to hold them.
const MAX_COLUMNS: u32 = 1_024;
/// Most bytes of text in a row.
const MAX_ROW_TEXT_BYTES: usize = 4 << 20;
/// Most bytes of text in a sheet. Cells share strings, so that a small file may have any amount of it; a CSV file could
/// not have more.
const MAX_SHEET_TEXT_BYTES: usize = 64 << 20;
/// Most filled cells of a sheet.
const MAX_FILLED_CELLS: u32 = 4_000_000;

pub(super) fn read<R: Read + Seek, F: FnMut(&Header, &SheetRow)>(
    mut file: R,
    limits: Limits,
    on_row: &mut F,
) -> Result<SheetInfo, SheetError> {
    let features = zip_limits::check_limits(&mut file)?;
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
                let sink = RowSink::new(*header, limits, on_row);
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
            // A header that is there but wrong is what the sender must hear of, not the lack of one elsewhere.
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

/// Whether that is the header of a contact list with something wrong. An old list on a further sheet must not be taken for
/// the one that the sender means.
fn is_flawed_header(error: &SheetError) -> bool {
    match error {
        SheetError::HeaderNotFirst { .. } | SheetError::HeaderDuplicate { .. } => true,
        SheetError::HeaderMissing { missing, .. } => missing.len() == 1,
        _ => false,
    }
}

/// What is known of a sheet before its cells are read.
struct Layout {
    merged: Vec<Dimensions>,
    /// It may have formulas.
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
    let mut found = None;
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
                found = Some(HeaderSearch::Header(Box::new(header), issues))
            }
            (Ok(_), false) => {
                found = Some(HeaderSearch::Rejected(SheetError::HeaderNotFirst {
                    row: row.number,
                }));
            }
            (Err(error @ SheetError::HeaderMissing { .. }), true) => missing_error = Some(error),
            (Err(error), true) => found = Some(HeaderSearch::Rejected(error)),
            (Err(_), false) => {}
        }
        Ok(found.is_none() && searched <= header::SEARCH_ROWS)
    });
    result?;
    Ok(found
        .or(missing_error.map(HeaderSearch::Rejected))
        .unwrap_or(HeaderSearch::Blank))
}

fn read_sheet_rows<R: Read + Seek, F: FnMut(&Header, &SheetRow)>(
    workbook: &mut Xlsx<R>,
    sheet: &str,
    layout: &Layout,
    mut sink: RowSink<'_, F>,
) -> Result<(Header, Vec<Issue>), SheetError> {
    let header_row = sink.header.row;
    for_each_row(workbook, sheet, layout, &mut |row| {
        if row.number > header_row {
            sink.push(row)?;
        }
        Ok(true)
    })?;
    Ok(sink.finish())
}

/// Puts the cells of a sheet together to rows; stops where `each` says `false`.
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
    // What is found is looked at where it lies: copies would cost more than the rest. Asking for formulas costs time, too, so
    // that is done only where there may be any.
    loop {
        let wants_more = if layout.has_formulas {
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
        if !wants_more {
            return Ok(());
        }
    }
}

/// The rows of a sheet, as its cells come.
struct RowAssembler<'a, F> {
    /// Its name.
    sheet: &'a str,
    merged: MergedRanges,
    /// The one whose cells are coming.
    row: SheetRow,
    /// Text of a cell that has none of its own.
    scratch: String,
    /// Filled cells so far.
    cell_count: u32,
    /// Bytes of their text.
    text_bytes: usize,
    on_row: &'a mut F,
}

impl<F: FnMut(&SheetRow) -> Result<bool, SheetError>> RowAssembler<'_, F> {
    /// Takes the next cell; row and column count from 0. `false` where no more are wanted.
    #[inline]
    fn push_cell(
        &mut self,
        position: (u32, u32),
        value: &DataRef<'_>,
        has_formula: bool,
    ) -> Result<bool, SheetError> {
        let (number, column) = (position.0.saturating_add(1), position.1);
        let Some(cell) = cell_value(value, has_formula, &mut self.scratch)? else {
            return Ok(true);
        };
        if column >= MAX_COLUMNS {
            return Err(too_large(format_args!(
                "row {number} has cells beyond column {MAX_COLUMNS}"
            )));
        }
        if number < self.row.number {
            return Err(SheetError::WorkbookUnreadable(format!(
                "row {number} stands after row {}",
                self.row.number
            )));
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
            return Err(SheetError::WorkbookUnreadable(format!(
                "the cells of row {number} stand in disorder"
            )));
        }
        self.cell_count += 1;
        self.text_bytes += cell.display_text().len();
        if self.cell_count > MAX_FILLED_CELLS || self.text_bytes > MAX_SHEET_TEXT_BYTES {
            return Err(too_large(format_args!(
                "the sheet `{}` has more cells or text than a contact list can have",
                self.sheet
            )));
        }
        self.row.pad(index);
        self.row.push(cell);
        if self.row.text_len() > MAX_ROW_TEXT_BYTES {
            return Err(too_large(format_args!("row {number} has too much text")));
        }
        Ok(true)
    }

    /// Hands out the last row.
    fn finish(self) -> Result<(), SheetError> {
        if !self.row.is_empty() {
            (self.on_row)(&self.row)?;
        }
        Ok(())
    }
}

fn too_large(reason: std::fmt::Arguments<'_>) -> SheetError {
    SheetError::WorkbookTooLarge(reason.to_string())
}

/// The merged ranges of a sheet whose rows come in order.
struct MergedRanges {
    ranges: Vec<Dimensions>,
    /// The next range that is still to come.
    next: usize,
    /// Those that the current row touches.
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

    /// Whether a cell lies under a merged range and is not its top left one: nobody sees what is in it.
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
        other => SheetError::WorkbookUnreadable(other.to_string()),
    }
}
