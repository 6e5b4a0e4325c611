//! Reads CSV files as a stream, and marks damaged rows that an ordinary CSV reader would accept. Interprets cells
//! only where that helps to recognize damage.
//!
//! `dialect` detects the delimiter, `records` splits records and checks their quotes, `structural_scan` finds the
//! bytes where they may end, and `damage_check` compares each row with the header and the next row.

mod damage_check;
mod dialect;
mod records;
mod structural_scan;

use std::io::{Read, Seek};

use super::encoding::{self, Encoding, TextReader};
use super::error::{RowLimit, SheetError};
use super::file_type::FileType;
use super::row_sink::RowSink;
use super::{Format, Limits, SheetInfo, header};
use crate::model::catalog::Finding;
use crate::model::issue::Issue;
use crate::table::{Damage, Header, SheetRow};
use damage_check::RowChecker;
use records::{ExpectedColumns, Record, Records};

/// Bytes of text used to detect the delimiter.
const DELIMITER_SAMPLE_BYTES: usize = 256 << 10;

pub(super) fn read<R: Read + Seek, F: FnMut(&Header, &SheetRow)>(
    mut file: R,
    limits: Limits,
    on_row: &mut F,
) -> Result<SheetInfo, SheetError> {
    let (mut records, encoding, delimiter) = open_records(&mut file)?;
    let mut record = Record::default();
    if !records.next_non_blank(&mut record)? {
        return Err(SheetError::Empty);
    }
    let (header, mut issues) = match header::parse(record.row.number, &titles(&record.row)) {
        _ if record.row.damage == Some(Damage::SurplusCells) => {
            return Err(SheetError::NotASpreadsheet(FileType::TooManyColumns {
                limit: records::MAX_CELLS,
            }));
        }
        Ok(_) if record.row.damage.is_some() => {
            return Err(SheetError::StrayQuoteInHeader {
                row: record.row.number,
            });
        }
        Ok(parsed) => parsed,
        Err(error @ SheetError::HeaderMissing { .. }) => {
            return Err(find_header_below(&mut records)?.unwrap_or(error));
        }
        Err(error) => return Err(error),
    };
    let expected = ExpectedColumns {
        width: header.titles.len(),
        numbers: damage_check::number_column_indexes(&header),
    };
    let mut checker = RowChecker::new(&header, delimiter, record.line_ending);
    records.expect_columns(expected.clone());
    let mut first = Record::default();
    let has_rows = records.next_non_blank(&mut first)?;
    if has_rows && checker.has_blank_surplus(&first.row) {
        drop(records);
        if let Some(width) = common_blank_surplus(&mut file, &checker)? {
            checker.allow_blank_surplus(width);
        }
        // Start again after the header.
        (records, ..) = open_records(&mut file)?;
        records.next_non_blank(&mut record)?;
        records.expect_columns(expected);
        records.next_non_blank(&mut first)?;
    }
    let sink = RowSink::new(header, RowLimit::Configured(limits.max_rows), on_row);
    let (header, untitled) =
        read_rows(&mut records, &mut checker, has_rows.then_some(first), sink)?;
    issues.extend(untitled);
    if encoding == Encoding::Windows1252 {
        issues.push(Issue::new(Finding::EncodingGuessed));
    }
    let final_newline = records.ends_with_newline(checker.dominant_line_ending());
    if !final_newline {
        issues.push(Issue::new(Finding::NoFinalNewline));
    }
    let format = Format {
        format: "csv",
        encoding: Some(encoding.name()),
        delimiter: Some(char::from(delimiter)),
        sheet: None,
    };
    Ok(SheetInfo {
        format,
        header,
        issues,
        final_newline: Some(final_newline),
    })
}

/// The number of cells of the shortest row, if every row has blank cells after those of the header: then they come from the program that
/// wrote the file. If one row has more of them than the others, they come from a delimiter inside a cell, which moved the other cells to the
/// right.
fn common_blank_surplus<R: Read + Seek>(
    file: &mut R,
    checker: &RowChecker,
) -> Result<Option<usize>, SheetError> {
    let (mut records, ..) = open_records(file)?;
    let mut record = Record::default();
    records.next_non_blank(&mut record)?;
    let mut width = None;
    while records.next_non_blank(&mut record)? {
        if record.row.damage.is_some() {
            continue;
        }
        if !checker.has_blank_surplus(&record.row) {
            return Ok(None);
        }
        let cells = record.row.len();
        width = Some(width.map_or(cells, |width: usize| width.min(cells)));
    }
    Ok(width)
}

/// The records of a file, with its encoding and delimiter.
fn open_records<R: Read + Seek>(mut file: R) -> Result<(Records<R>, Encoding, u8), SheetError> {
    let encoding = encoding::detect(&mut file)?;
    let mut text = TextReader::new(file, encoding);
    let mut head = Vec::new();
    while head.len() < DELIMITER_SAMPLE_BYTES
        && text.read_more(&mut head, DELIMITER_SAMPLE_BYTES)?
    {}
    let (delimiter, declaration_len) = dialect::detect(&head);
    head.drain(..declaration_len);
    Ok((Records::new(text, delimiter, head), encoding, delimiter))
}

/// Passes the rows below the header to `sink`, starting with `first`, each after the next row was read, because some damage is visible only in
/// a pair of rows.
fn read_rows<R: Read, F: FnMut(&Header, &SheetRow)>(
    records: &mut Records<R>,
    checker: &mut RowChecker,
    first: Option<Record>,
    mut sink: RowSink<'_, F>,
) -> Result<(Header, Vec<Issue>), SheetError> {
    let mut has_more = first.is_some();
    let (mut before, mut after) = (first.unwrap_or_default(), Record::default());
    checker.check_row(&mut before.row);
    checker.check_first_line_ending(&mut before);
    while has_more {
        has_more = records.next_non_blank(&mut after)?;
        if has_more {
            checker.check_row(&mut after.row);
            checker.check_split_pair(&mut before, &mut after);
        }
        checker.check_line_ending(&mut before, has_more.then_some(&mut after));
        sink.push(&before.row)?;
        std::mem::swap(&mut before, &mut after);
    }
    Ok(sink.finish())
}

/// All records of any CSV file as cells. Looks for no header.
///
/// # Errors
/// [`SheetError`] if the file is rejected, or if the cells of a record are ambiguous. A quote inside an unquoted cell is
/// accepted here, because public collections contain such files; contact lists are checked more strictly.
pub(super) fn all_records<R: Read + Seek>(file: R) -> Result<Vec<Vec<String>>, SheetError> {
    let (mut records, ..) = open_records(file)?;
    let mut record = Record::default();
    let mut all = Vec::new();
    while records.next_non_blank(&mut record)? {
        if !matches!(record.row.damage, None | Some(Damage::StrayQuote)) {
            return Err(SheetError::AmbiguousRecord {
                row: record.row.number,
            });
        }
        all.push(titles(&record.row));
    }
    Ok(all)
}

fn titles(row: &SheetRow) -> Vec<String> {
    row.cells()
        .map(|cell| cell.display_text().to_owned())
        .collect()
}

/// The error for a header below other rows, if there is one.
fn find_header_below<R: Read>(records: &mut Records<R>) -> Result<Option<SheetError>, SheetError> {
    let mut record = Record::default();
    for _ in 0..header::SEARCH_ROWS {
        if !records.next_non_blank(&mut record)? {
            break;
        }
        if header::parse(record.row.number, &titles(&record.row)).is_ok() {
            return Ok(Some(SheetError::HeaderNotFirst {
                row: record.row.number,
            }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
