//! Workbooks: the first visible sheet that has the header, cell by cell, the stored value and not its display.

use std::io::Cursor;

use calamine::{DataRef, Reader, SheetType, SheetVisible, Xlsx, XlsxError};

use super::{Body, Facts, Format, Limits, SheetError, header, wall};
use crate::model::issue::Issue;
use crate::model::table::{CellValue, Header, SheetRow};

type Workbook<'a> = Xlsx<Cursor<&'a [u8]>>;

/// Longest text of a cell, characters: Excel's own limit.
const MAX_CELL_CHARS: usize = 32_767;
/// Most columns: beyond them nothing of ours can be, and each row would have to hold them.
const MAX_COLUMNS: u32 = 1_024;
/// Beyond this a number has more digits than Excel keeps.
const MAX_EXACT: f64 = 1e15;

pub(super) fn read<F: FnMut(&Header, SheetRow)>(
    bytes: &[u8],
    limits: Limits,
    each: &mut F,
) -> Result<Facts, SheetError> {
    wall::check(bytes)?;
    let mut workbook: Workbook<'_> = Xlsx::new(Cursor::new(bytes)).map_err(unreadable)?;
    let sheets: Vec<String> = workbook
        .sheets_metadata()
        .iter()
        .filter(|sheet| sheet.visible == SheetVisible::Visible && sheet.typ == SheetType::WorkSheet)
        .map(|sheet| sheet.name.clone())
        .collect();
    let mut first_refusal = None;
    for name in sheets {
        match find_header(&mut workbook, &name)? {
            Found::Header(header, issues) => {
                let header = read_body(&mut workbook, &name, *header, limits, each)?;
                let format = Format {
                    format: "xlsx",
                    encoding: None,
                    delimiter: None,
                    sheet: Some(name),
                };
                return Ok(Facts {
                    format,
                    header,
                    issues,
                    final_newline: None,
                });
            }
            // A header that is there but wrong is what the sender must hear of, not the lack of one elsewhere.
            Found::Refused(error) => first_refusal = first_refusal.or(Some(error)),
            Found::Blank => {}
        }
    }
    Err(first_refusal.unwrap_or(SheetError::Empty))
}

enum Found {
    Header(Box<Header>, Vec<Issue>),
    Refused(SheetError),
    Blank,
}

fn find_header(workbook: &mut Workbook<'_>, sheet: &str) -> Result<Found, SheetError> {
    let mut refused = None;
    let mut found = None;
    let mut searched = 0;
    let outcome = each_row(workbook, sheet, &mut |row| {
        if row.is_blank() {
            return Ok(true);
        }
        let titles: Vec<String> = row
            .cells
            .iter()
            .map(|cell| cell.shown().to_owned())
            .collect();
        searched += 1;
        match (header::parse(row.number, &titles), refused.is_none()) {
            (Ok((header, issues)), true) => found = Some(Found::Header(Box::new(header), issues)),
            (Ok(_), false) => {
                found = Some(Found::Refused(SheetError::HeaderNotFirst {
                    row: row.number,
                }));
            }
            (Err(error @ SheetError::HeaderMissing { .. }), true) => refused = Some(error),
            (Err(error), true) => found = Some(Found::Refused(error)),
            (Err(_), false) => {}
        }
        Ok(found.is_none() && searched <= header::SEARCH_ROWS)
    });
    outcome?;
    Ok(found
        .or(refused.map(Found::Refused))
        .unwrap_or(Found::Blank))
}

fn read_body<F: FnMut(&Header, SheetRow)>(
    workbook: &mut Workbook<'_>,
    sheet: &str,
    header: Header,
    limits: Limits,
    each: &mut F,
) -> Result<Header, SheetError> {
    let header_row = header.row;
    let mut body = Body::new(header, limits, each);
    each_row(workbook, sheet, &mut |row| {
        if row.number > header_row {
            body.push(row)?;
        }
        Ok(true)
    })?;
    Ok(body.header)
}

/// Puts the cells of a sheet together to rows; stops where `each` says `false`.
fn each_row(
    workbook: &mut Workbook<'_>,
    sheet: &str,
    each: &mut impl FnMut(SheetRow) -> Result<bool, SheetError>,
) -> Result<(), SheetError> {
    let mut cells = workbook.worksheet_cells_reader(sheet).map_err(unreadable)?;
    let mut current: Option<SheetRow> = None;
    while let Some(record) = cells
        .next_cell_with_formula_metadata()
        .map_err(unreadable)?
    {
        let (row, column) = record.pos;
        let number = row + 1;
        let Some(value) = cell_value(&record.value, record.formula.is_some())? else {
            continue;
        };
        if column >= MAX_COLUMNS {
            return Err(SheetError::WorkbookTooLarge(format!(
                "row {number} has cells beyond column {MAX_COLUMNS}"
            )));
        }
        match &current {
            Some(open) if number < open.number => {
                return Err(SheetError::WorkbookUnreadable(format!(
                    "row {number} stands after row {}",
                    open.number
                )));
            }
            Some(open) if number > open.number => {
                if let Some(done) = current.take()
                    && !each(done)?
                {
                    return Ok(());
                }
            }
            _ => {}
        }
        let open = current.get_or_insert_with(|| SheetRow {
            number,
            cells: Vec::new(),
            damage: None,
        });
        let place = column as usize;
        if open.cells.len() <= place {
            open.cells.resize(place + 1, CellValue::Text(String::new()));
        }
        open.cells[place] = value;
    }
    if let Some(done) = current {
        each(done)?;
    }
    Ok(())
}

/// The stored value of a cell as text; `None` for a blank one.
fn cell_value(value: &DataRef<'_>, has_formula: bool) -> Result<Option<CellValue>, SheetError> {
    let text = match value {
        DataRef::Empty => return Ok(has_formula.then_some(CellValue::FormulaWithoutValue)),
        DataRef::Error(error) => return Ok(Some(CellValue::Error(error.to_string()))),
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) if number.abs() >= MAX_EXACT => {
            return Ok(Some(CellValue::Rounded(format!("{number:.0}"))));
        }
        DataRef::Float(number) => number.to_string(),
        DataRef::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
        DataRef::DateTime(date) if date.is_datetime() => iso(date),
        DataRef::DateTime(duration) => duration.as_f64().to_string(),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) | DataRef::String(text) => {
            text.clone()
        }
        DataRef::SharedString(text) => (*text).to_owned(),
    };
    if text.len() > MAX_CELL_CHARS && text.chars().count() > MAX_CELL_CHARS {
        return Err(SheetError::WorkbookTooLarge(format!(
            "a cell has more than {MAX_CELL_CHARS} characters"
        )));
    }
    Ok(Some(CellValue::Text(text)))
}

fn iso(date: &calamine::ExcelDateTime) -> String {
    let (year, month, day, hour, minute, second, _) = date.to_ymd_hms_milli();
    if (hour, minute, second) == (0, 0, 0) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

fn unreadable(error: XlsxError) -> SheetError {
    match error {
        XlsxError::Password => SheetError::PasswordProtected,
        other => SheetError::WorkbookUnreadable(other.to_string()),
    }
}
