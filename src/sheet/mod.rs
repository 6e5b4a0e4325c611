//! Reads a spreadsheet file (.xlsx or .csv) into rows below a header, and rejects files that are damaged or
//! ambiguous.
//!
//! Detects the file type, encoding, delimiter and header, and numbers rows as spreadsheet programs do. Does not
//! interpret the cells; that is the task of `validate`.

mod csv;
mod encoding;
mod error;
mod file_type;
mod header;
mod row_sink;
mod sandbox;
mod sniff;
mod xlsx;

pub use error::{
    ByteLimit, ColumnRename, HeaderHint, RowLimit, SheetError, WorkbookDefect, WorkbookLimit,
};
pub use file_type::FileType;
pub use sandbox::{COMMAND as WORKBOOK_COMMAND, WorkbookReader, run_worker};

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};

use serde::Serialize;

use crate::model::issue::Issue;
use crate::table::{Field, Header, SheetRow};

/// Version of the reader. Increase it when the same bytes may give different rows: unchanged files are then read
/// again.
pub const READER_VERSION: i32 = 9;

/// Limits on what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of data rows (`import.max_rows`). Workbooks have a fixed limit of 200,000 rows in addition.
    pub max_rows: u32,
}

/// The detected format of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Format {
    /// `csv` or `xlsx`.
    pub format: &'static str,
    /// Name of the encoding of a CSV file.
    pub encoding: Option<&'static str>,
    /// Delimiter of a CSV file.
    pub delimiter: Option<char>,
    /// Name of the sheet of a workbook that was read.
    pub sheet: Option<String>,
}

/// Information about a file that was read completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetInfo {
    /// Detected format.
    pub format: Format,
    /// Header of the sheet.
    pub header: Header,
    /// Issues about the file as a whole.
    pub issues: Vec<Issue>,
    /// Whether a CSV file ends with a line break; `None` for a workbook.
    pub final_newline: Option<bool>,
}

/// The bytes of a file.
#[derive(Debug, Clone, Copy)]
pub enum FileContent<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// On disk. Nothing else may use this handle during the read, because its position is shared.
    File(&'a File),
}

/// Reads a whole file and calls `on_row` for each row below the header, except blank rows. Workbooks are read by
/// `reader`.
///
/// # Errors
/// [`SheetError`] if the file is rejected. The caller must then discard the rows it has received.
pub fn read_sandboxed(
    content: FileContent<'_>,
    reader: &WorkbookReader,
    limits: Limits,
    mut on_row: impl FnMut(&Header, &SheetRow),
) -> Result<SheetInfo, SheetError> {
    let kind = match content {
        FileContent::Bytes(bytes) => sniff::sniff(&mut Cursor::new(bytes)),
        FileContent::File(file) => sniff::sniff(&mut BufReader::new(file)),
    }?;
    match (kind, reader, content) {
        (sniff::FileKind::Workbook, WorkbookReader::Child(program), FileContent::File(file)) => {
            sandbox::read_in_child(program, file, limits, &mut on_row)
        }
        (sniff::FileKind::Workbook, WorkbookReader::Child(program), FileContent::Bytes(bytes)) => {
            let mut file = tempfile::tempfile()?;
            file.write_all(bytes)?;
            sandbox::read_in_child(program, &file, limits, &mut on_row)
        }
        // The CSV reader reads large chunks and needs no buffer.
        (sniff::FileKind::Text, _, FileContent::File(file)) => csv::read(file, limits, &mut on_row),
        (_, _, FileContent::File(file)) => read(BufReader::new(file), limits, on_row),
        (_, _, FileContent::Bytes(bytes)) => read(Cursor::new(bytes), limits, on_row),
    }
}

/// Reads a whole file in this process and calls `on_row` for each row below the header, except blank rows.
///
/// # Errors
/// [`SheetError`] if the file is rejected. The caller must then discard the rows it has received.
pub fn read<R: Read + Seek>(
    mut file: R,
    limits: Limits,
    mut on_row: impl FnMut(&Header, &SheetRow),
) -> Result<SheetInfo, SheetError> {
    match sniff::sniff(&mut file)? {
        sniff::FileKind::Workbook => xlsx::read(file, limits, &mut on_row),
        sniff::FileKind::Text => csv::read(file, limits, &mut on_row),
    }
}

/// All records of any CSV file as cells, except blank records. Looks for no header. Used to compare the record
/// splitter with public collections of CSV files.
///
/// # Errors
/// [`SheetError`] if the file is rejected, or if the cells of a record are ambiguous.
pub fn csv_records<R: Read + Seek>(file: R) -> Result<Vec<Vec<String>>, SheetError> {
    csv::all_records(file)
}

/// The column titles of the template, in order.
pub fn template_columns() -> impl Iterator<Item = &'static str> {
    Field::ALL.iter().map(|field| field.as_str())
}
