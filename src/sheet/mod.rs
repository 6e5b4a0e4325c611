//! Reads a file into rows under a header, or says why it can't be trusted.
//!
//! Tells .xlsx from .csv by content, finds dialect, encoding and header, counts rows as spreadsheet programs show them
//! and refuses what is damaged. Knows what a cell is, nothing of what it means; that is `validate`.

mod csv;
mod encoding;
mod header;
mod sniff;
mod wall;
mod xlsx;

use serde::Serialize;

use crate::model::failure::{Failure, FailureCode};
use crate::model::issue::Issue;
use crate::model::table::{Field, Header, SheetRow};
use crate::model::text;

/// Raised whenever the same bytes may read differently than before, so that an unchanged file is read again.
pub const READER_VERSION: i32 = 1;

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
pub struct Facts {
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
    #[error("the text can't be decoded ({0}); save the file as \"CSV UTF-8\"")]
    Undecodable(String),
    /// A quote that is never closed.
    #[error(
        "a quotation mark opened in row {row} is never closed, so the rows after it can't be told apart; \
         close it, or export the file again"
    )]
    UnclosedQuote {
        /// Where it was opened.
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
    #[error("the header (row {row}) lacks the required column{} {}{}", plural(.missing), quoted(.missing), .hint)]
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
    /// More rows than allowed.
    #[error(
        "the sheet has more than {limit} rows; delete what does not belong to the contact list"
    )]
    TooManyRows {
        /// How many are allowed.
        limit: u32,
    },
}

fn plural(words: &[String]) -> &'static str {
    if words.len() == 1 { "" } else { "s" }
}

fn quoted(words: &[String]) -> String {
    text::join_and(
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
            Self::Empty => FailureCode::EmptyFile,
            Self::NotASpreadsheet(_) => FailureCode::NotASpreadsheet,
            Self::PasswordProtected => FailureCode::PasswordProtected,
            Self::WorkbookUnreadable(_) => FailureCode::WorkbookUnreadable,
            Self::WorkbookTooLarge(_) => FailureCode::WorkbookTooLarge,
            Self::Undecodable(_) => FailureCode::Undecodable,
            Self::UnclosedQuote { .. } => FailureCode::UnclosedQuote,
            Self::NulByte { .. } => FailureCode::NulByte,
            Self::HeaderNotFirst { .. } => FailureCode::HeaderNotFirst,
            Self::HeaderMissing { .. } => FailureCode::HeaderMissing,
            Self::HeaderDuplicate { .. } => FailureCode::HeaderDuplicate,
            Self::TooManyRows { .. } => FailureCode::TooManyRows,
        }
    }

    /// The failure to record.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::new(self.code(), self.to_string())
    }
}

/// Reads a whole file and hands each row below the header, blank ones left out, to `each`.
///
/// # Errors
/// [`SheetError`] if the file is refused; rows handed out before that must be thrown away.
pub fn read(
    bytes: &[u8],
    limits: Limits,
    mut each: impl FnMut(&Header, SheetRow),
) -> Result<Facts, SheetError> {
    match sniff::sniff(bytes)? {
        sniff::Kind::Workbook => {
            let limits = Limits {
                max_rows: limits.max_rows.min(XLSX_MAX_ROWS),
            };
            xlsx::read(bytes, limits, &mut each)
        }
        sniff::Kind::Text => csv::read(bytes, limits, &mut each),
    }
}

/// Where a sheet's rows go once its header is known, and the count that must stay within limits.
struct Body<'a, F> {
    header: Header,
    limits: Limits,
    rows: u32,
    each: &'a mut F,
}

impl<'a, F: FnMut(&Header, SheetRow)> Body<'a, F> {
    fn new(header: Header, limits: Limits, each: &'a mut F) -> Self {
        Self {
            header,
            limits,
            rows: 0,
            each,
        }
    }

    fn push(&mut self, row: SheetRow) -> Result<(), SheetError> {
        if row.is_blank() {
            return Ok(());
        }
        self.rows += 1;
        if self.rows > self.limits.max_rows {
            return Err(SheetError::TooManyRows {
                limit: self.limits.max_rows,
            });
        }
        (self.each)(&self.header, row);
        Ok(())
    }
}

/// The columns as the template has them, in order.
pub fn template_columns() -> impl Iterator<Item = &'static str> {
    Field::ALL.iter().map(|field| field.as_str())
}
