//! Reads a file into rows under a header, or says why it can't be trusted.
//!
//! Tells .xlsx from .csv by content, finds dialect, encoding and header, counts rows as spreadsheet programs show them
//! and refuses what is damaged. Knows what a cell is, nothing of what it means; that is `validate`.

mod csv;
mod encoding;
mod header;
mod sandbox;
mod sniff;
mod xlsx;

pub use sandbox::{COMMAND as WORKBOOK_COMMAND, WorkbookReader, run_worker};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};

use serde::Serialize;

use crate::model::catalog::Finding;
use crate::model::failure::{Failure, FailureCode};
use crate::model::issue::{Issue, column_letters};
use crate::table::{Field, Header, SheetRow};
use crate::unicode;

/// Raised whenever the same bytes may read differently than before, so that an unchanged file is read again.
pub const READER_VERSION: i32 = 7;

/// Most rows of a workbook, whatever the configuration allows.
const XLSX_MAX_ROWS: u32 = 200_000;

/// Bounds on what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most data rows of a CSV file; a workbook's are at most 200,000 besides.
    pub max_rows: u32,
}

/// What a file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Format {
    /// `csv` or `xlsx`.
    pub format: &'static str,
    /// Of a CSV file.
    pub encoding: Option<&'static str>,
    /// Of a CSV file.
    pub delimiter: Option<char>,
    /// Name of the sheet, of a workbook.
    pub sheet: Option<String>,
}

/// What is known once a file has been read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetInfo {
    /// What it turned out to be.
    pub format: Format,
    /// Its header.
    pub header: Header,
    /// Issues about the file as a whole.
    pub issues: Vec<Issue>,
    /// Whether it ended with a newline; `None` for a workbook.
    pub final_newline: Option<bool>,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// Nothing in it.
    #[error("the file is empty; export the spreadsheet again and save it as .xlsx or .csv")]
    Empty,
    /// A workbook whose visible sheets have nothing in them.
    #[error(
        "the workbook's visible sheets are empty; show the sheet with the contacts, or delete those before it"
    )]
    VisibleSheetsEmpty,
    /// Neither .xlsx nor .csv.
    #[error("the file is {0}, not a spreadsheet; save the spreadsheet as .xlsx or .csv")]
    NotASpreadsheet(&'static str),
    /// Encrypted.
    #[error("the workbook is protected with a password; save it without one")]
    PasswordProtected,
    /// Damaged.
    #[error(
        "the workbook can't be read ({0}); open it in the spreadsheet program and save it anew as .xlsx"
    )]
    WorkbookUnreadable(String),
    /// Beyond the caps.
    #[error("the workbook is too large: {0}; delete what does not belong to the contact list")]
    WorkbookTooLarge(String),
    /// Not text.
    #[error(
        "row {row} holds bytes that are no text in the encoding of the rest of the file; save the file as \"CSV UTF-8\""
    )]
    Undecodable {
        /// First such row.
        row: u32,
    },
    /// A quote that is never closed.
    #[error(
        "a quotation mark opened in row {row} is never closed, so the rows after it can't be told apart; \
         close it, or export the file again"
    )]
    UnclosedQuote {
        /// Where it was opened.
        row: u32,
    },
    /// Quotes in the header that can't be.
    #[error(
        "a quotation mark in the header (row {row}) stands where none may stand; export the file again from the spreadsheet program"
    )]
    StrayQuoteInHeader {
        /// Row of the header.
        row: u32,
    },
    /// NUL in text.
    #[error(
        "row {row} contains NUL bytes, as damaged files do; export the file again as \"CSV UTF-8\""
    )]
    NulByte {
        /// First such row.
        row: u32,
    },
    /// The header is further down.
    #[error(
        "the header is in row {row}, but must be the first row that isn't blank; delete what stands above it"
    )]
    HeaderNotFirst {
        /// Where it was found.
        row: u32,
    },
    /// A required column is missing.
    #[error("the header (row {row}) lacks the required column{} {}{}", plural_suffix(.missing), quote_names(.missing), .hint)]
    HeaderMissing {
        /// Row that was taken for the header.
        row: u32,
        /// Which columns.
        missing: Vec<String>,
        /// What it may be called instead.
        hint: String,
    },
    /// A header stands twice.
    #[error("the header (row {row}) has the column `{title}` twice; delete or rename one")]
    HeaderDuplicate {
        /// Row of the header.
        row: u32,
        /// Which column.
        title: String,
    },
    /// A workbook that was refused behind the wall, in another process.
    #[error("{}", .0.message)]
    RejectedByWorker(Failure),
    /// The machine, not the file.
    #[error("the file can't be read on this machine: {0}")]
    Io(#[from] std::io::Error),
    /// More rows than allowed.
    #[error(
        "the sheet has more than {limit} rows; delete what does not belong to the contact list"
    )]
    TooManyRows {
        /// How many are allowed.
        limit: u32,
    },
}

fn plural_suffix(words: &[String]) -> &'static str {
    if words.len() == 1 { "" } else { "s" }
}

fn quote_names(words: &[String]) -> String {
    unicode::join_with_and(
        &words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>(),
    )
}

impl SheetError {
    /// The fixed word for it.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Empty | Self::VisibleSheetsEmpty => FailureCode::EmptyFile,
            Self::NotASpreadsheet(_) => FailureCode::NotASpreadsheet,
            Self::PasswordProtected => FailureCode::PasswordProtected,
            Self::WorkbookUnreadable(_) => FailureCode::WorkbookUnreadable,
            Self::WorkbookTooLarge(_) => FailureCode::WorkbookTooLarge,
            Self::Undecodable { .. } => FailureCode::Undecodable,
            Self::UnclosedQuote { .. } | Self::StrayQuoteInHeader { .. } => {
                FailureCode::UnclosedQuote
            }
            Self::NulByte { .. } => FailureCode::NulByte,
            Self::HeaderNotFirst { .. } => FailureCode::HeaderNotFirst,
            Self::HeaderMissing { .. } => FailureCode::HeaderMissing,
            Self::HeaderDuplicate { .. } => FailureCode::HeaderDuplicate,
            Self::TooManyRows { .. } => FailureCode::TooManyRows,
            Self::RejectedByWorker(failure) => failure.code,
            Self::Io(_) => FailureCode::Internal,
        }
    }

    /// The failure to record.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::new(self.code(), self.to_string())
    }
}

/// Where the bytes of a file are.
#[derive(Debug, Clone, Copy)]
pub enum FileContent<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// On disk; nothing else may read from this handle meanwhile.
    File(&'a File),
}

/// Reads a whole file and hands each row below the header, blank ones left out, to `each`; workbooks are read by
/// `reader`.
///
/// # Errors
/// [`SheetError`] if the file is refused; rows handed out before that must be thrown away.
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
        // It is read in large pieces and needs no buffer.
        (sniff::FileKind::Text, _, FileContent::File(file)) => csv::read(file, limits, &mut on_row),
        (_, _, FileContent::File(file)) => read(BufReader::new(file), limits, on_row),
        (_, _, FileContent::Bytes(bytes)) => read(Cursor::new(bytes), limits, on_row),
    }
}

/// Reads a whole file in this process and hands each row below the header, blank ones left out, to `each`.
///
/// # Errors
/// [`SheetError`] if the file is refused; rows handed out before that must be thrown away.
pub fn read<R: Read + Seek>(
    mut file: R,
    limits: Limits,
    mut on_row: impl FnMut(&Header, &SheetRow),
) -> Result<SheetInfo, SheetError> {
    match sniff::sniff(&mut file)? {
        sniff::FileKind::Workbook => {
            let limits = Limits {
                max_rows: limits.max_rows.min(XLSX_MAX_ROWS),
            };
            xlsx::read(file, limits, &mut on_row)
        }
        sniff::FileKind::Text => csv::read(file, limits, &mut on_row),
    }
}

/// All records of a CSV file of any kind, blank ones left out, without regard to a header: what the splitter makes of
/// it. For measuring it against public collections.
///
/// # Errors
/// [`SheetError`] if the file is refused, or it can't be told what the cells of a record are.
pub fn csv_records<R: Read + Seek>(file: R) -> Result<Vec<Vec<String>>, SheetError> {
    csv::all_records(file)
}

/// Where a sheet's rows go once its header is known, and the count that must stay within limits.
struct RowSink<'a, F> {
    header: Header,
    limits: Limits,
    rows: u32,
    /// Filled columns without a title, each with the first row in which it is filled.
    untitled: BTreeMap<usize, u32>,
    has_untitled_column: bool,
    on_row: &'a mut F,
}

impl<'a, F: FnMut(&Header, &SheetRow)> RowSink<'a, F> {
    fn new(header: Header, limits: Limits, on_row: &'a mut F) -> Self {
        Self {
            has_untitled_column: header.titles.iter().any(String::is_empty),
            header,
            limits,
            rows: 0,
            untitled: BTreeMap::new(),
            on_row,
        }
    }

    fn push(&mut self, row: &SheetRow) -> Result<(), SheetError> {
        if row.is_skippable() {
            return Ok(());
        }
        self.rows += 1;
        if self.rows > self.limits.max_rows {
            return Err(SheetError::TooManyRows {
                limit: self.limits.max_rows,
            });
        }
        if row.damage.is_none()
            && (self.has_untitled_column || row.len() > self.header.titles.len())
        {
            self.record_untitled_columns(row);
        }
        (self.on_row)(&self.header, row);
        Ok(())
    }

    fn record_untitled_columns(&mut self, row: &SheetRow) {
        let titles = &self.header.titles;
        for (index, cell) in row.cells().enumerate() {
            if titles.get(index).is_none_or(String::is_empty) && !cell.is_blank() {
                self.untitled.entry(index).or_insert(row.number);
            }
        }
    }

    /// The header, and an issue for each filled column without a title.
    fn finish(self) -> (Header, Vec<Issue>) {
        let issue = |(index, row): (usize, u32)| Issue {
            row: Some(row),
            column_index: u32::try_from(index).ok(),
            column: Some(column_letters(index).into()),
            ..Issue::new(Finding::ColumnUntitled)
        };
        let issues = self.untitled.into_iter().map(issue).collect();
        (self.header, issues)
    }
}

/// The columns as the template has them, in order.
pub fn template_columns() -> impl Iterator<Item = &'static str> {
    Field::ALL.iter().map(|field| field.as_str())
}
