//! Why a file is rejected: every sentence about a file that users read, with its failure code. Does not depend on how
//! the errors are detected.

use std::fmt;
use std::process::ExitStatus;

use super::file_type::FileType;
use crate::model::failure::{Failure, FailureCode};
use crate::unicode;

/// Names of sheets and parts of a workbook are cut at this number of characters.
const MAX_NAME_CHARS: usize = 100;

/// Why a file cannot be read as a contact list.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// The file has no content.
    #[error("the file is empty; export the spreadsheet again as .xlsx or .csv")]
    Empty,
    /// A workbook has hidden sheets, and its visible ones have no content.
    #[error(
        "the visible sheets of the workbook are empty; unhide the sheet that contains the contacts"
    )]
    VisibleSheetsEmpty,
    /// The file is neither .xlsx nor text.
    #[error("the file is {0}, not a spreadsheet; save the spreadsheet as .xlsx or .csv")]
    NotASpreadsheet(FileType),
    /// The object was stored with the framing of an upload to S3, which the server should have removed.
    #[error(
        "the file was uploaded with S3 chunk framing in it (its first line is a size in hexadecimal digits); \
         upload it again with another tool"
    )]
    ChunkFraming,
    /// The workbook is encrypted.
    #[error("the workbook is protected with a password; save it without a password")]
    PasswordProtected,
    /// The workbook is damaged.
    #[error(
        "the workbook could not be read ({0}); open it in your spreadsheet program and save it as .xlsx again"
    )]
    WorkbookUnreadable(WorkbookDefect),
    /// The workbook exceeds a fixed limit.
    #[error(
        "the workbook is too large: {0}; delete everything that is not part of the contact list"
    )]
    WorkbookTooLarge(WorkbookLimit),
    /// The worker process received SIGKILL, from the kernel when memory ran out or from an operator.
    #[error(
        "the process that reads the workbook was killed, for example because the machine ran out of memory; \
         run the import again, and delete everything that is not part of the contact list if it fails again"
    )]
    WorkerKilled,
    /// The worker process could not write the rows to its temporary file.
    #[error(
        "the rows of the workbook could not be stored; check that the directory for temporary files (`TMPDIR`) \
         has free space"
    )]
    WorkerOutputNotWritten,
    /// Some bytes are not valid in the encoding of the file.
    #[error(
        "row {row} contains bytes that are not valid in the encoding of the file; save the file as \"CSV UTF-8\""
    )]
    Undecodable {
        /// First row with such bytes.
        row: u32,
    },
    /// The file ends inside a quoted cell.
    #[error(
        "the quotation mark opened in row {row} is never closed; add the closing quotation mark or export the file again"
    )]
    UnclosedQuote {
        /// Row of the opening quote.
        row: u32,
    },
    /// The header has quotes that leave its cells ambiguous.
    #[error(
        "the header (row {row}) contains a misplaced quotation mark; \
         export the file again from your spreadsheet program"
    )]
    StrayQuoteInHeader {
        /// Row of the header.
        row: u32,
    },
    /// The cells of a record are ambiguous. Only [`csv_records`](super::csv_records) returns this error.
    #[error(
        "the cells of row {row} are ambiguous because of misplaced quotation marks or delimiters"
    )]
    AmbiguousRecord {
        /// Row of the record.
        row: u32,
    },
    /// The text contains NUL.
    #[error(
        "row {row} contains NUL bytes, which indicates that the file is damaged; export it again as \"CSV UTF-8\""
    )]
    NulByte {
        /// First row with a NUL byte.
        row: u32,
    },
    /// Other rows precede the header.
    #[error(
        "the header is in row {row}, but it must be the first row with content; delete the rows above it"
    )]
    HeaderNotFirst {
        /// Row of the header.
        row: u32,
    },
    /// Required columns are missing.
    #[error("the header (row {row}) lacks the required {}; {hint}", ColumnNames(.missing))]
    HeaderMissing {
        /// Row that was read as the header.
        row: u32,
        /// Names of the missing columns; never empty.
        missing: Vec<String>,
        /// How to correct the header.
        hint: HeaderHint,
    },
    /// Two columns have the same title.
    #[error("the header (row {row}) has the column `{title}` twice; delete or rename one of them")]
    HeaderDuplicate {
        /// Row of the header.
        row: u32,
        /// Title of the column.
        title: String,
    },
    /// A workbook was rejected by the worker process.
    #[error("{}", .0.message)]
    RejectedByWorker(Failure),
    /// Reading failed for a reason other than the content of the file.
    #[error("an error on this machine prevented reading the file: {0}")]
    Io(#[from] std::io::Error),
    /// The file has too many rows.
    #[error("the sheet has more than {0}; delete rows that are not part of the contact list")]
    TooManyRows(RowLimit),
    /// The header has too many columns.
    #[error(
        "the header (row {row}) has {found} columns, and {limit} is the limit; delete columns that are not part of the contact list"
    )]
    TooManyColumns {
        /// Row of the header.
        row: u32,
        /// Number of columns.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The header has too many columns for further numbers.
    #[error(
        "the header (row {row}) has {found} columns for phone numbers, and {limit} is the limit; use a further row with the same ID instead"
    )]
    TooManyNumberColumns {
        /// Row of the header.
        row: u32,
        /// Number of such columns.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A cell of a CSV file is too long.
    #[error(
        "row {row} contains a cell of more than {limit}; shorten the cell, or check the quotation marks of the row"
    )]
    CellTooLong {
        /// Row of the cell.
        row: u32,
        /// The limit.
        limit: ByteLimit,
    },
}

impl SheetError {
    /// The failure code to record.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Empty | Self::VisibleSheetsEmpty => FailureCode::EmptyFile,
            Self::NotASpreadsheet(_) | Self::ChunkFraming => FailureCode::NotASpreadsheet,
            Self::PasswordProtected => FailureCode::PasswordProtected,
            Self::WorkbookUnreadable(_) => FailureCode::WorkbookUnreadable,
            Self::WorkbookTooLarge(_) | Self::WorkerKilled => FailureCode::WorkbookTooLarge,
            Self::Undecodable { .. } => FailureCode::Undecodable,
            Self::UnclosedQuote { .. }
            | Self::StrayQuoteInHeader { .. }
            | Self::AmbiguousRecord { .. } => FailureCode::UnclosedQuote,
            Self::NulByte { .. } => FailureCode::NulByte,
            Self::HeaderNotFirst { .. } => FailureCode::HeaderNotFirst,
            Self::HeaderMissing { .. } => FailureCode::HeaderMissing,
            Self::HeaderDuplicate { .. } => FailureCode::HeaderDuplicate,
            Self::TooManyRows(_) => FailureCode::TooManyRows,
            Self::TooManyColumns { .. } | Self::TooManyNumberColumns { .. } => {
                FailureCode::TooManyColumns
            }
            Self::CellTooLong { .. } => FailureCode::CellTooLong,
            Self::RejectedByWorker(failure) => failure.code,
            Self::WorkerOutputNotWritten | Self::Io(_) => FailureCode::Internal,
        }
    }

    /// The failure to record, with the sentence for the user.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::new(self.code(), self.to_string())
    }
}

/// Why a workbook cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkbookDefect {
    /// The ZIP directory is missing or invalid.
    #[error("it is truncated or damaged")]
    InvalidArchive,
    /// A reader of ZIP or .xlsx reported this error.
    #[error("{0}")]
    Library(String),
    /// Rows are not in ascending order.
    #[error("row {row} comes after row {previous}")]
    RowOrder {
        /// Number of the misplaced row.
        row: u32,
        /// Number of the row before it.
        previous: u32,
    },
    /// Cells of a row are not in ascending order.
    #[error("the cells of row {row} are out of order")]
    CellOrder {
        /// Number of the row.
        row: u32,
    },
    /// The worker process crashed.
    #[error("the process that reads it ended with {0}")]
    WorkerFailed(ExitStatus),
}

/// A fixed limit that a workbook exceeds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkbookLimit {
    /// Number of files in the archive.
    #[error("it consists of more than {limit} parts")]
    PartCount {
        /// Maximum number of parts.
        limit: usize,
    },
    /// Unpacked size of one file in the archive.
    #[error("its part `{}` is larger than {limit} when unpacked", unicode::shorten(.name, MAX_NAME_CHARS))]
    PartSize {
        /// Name of the part.
        name: String,
        /// Maximum size.
        limit: ByteLimit,
    },
    /// Unpacked size of all files in the archive.
    #[error("it is larger than {limit} when unpacked")]
    TotalSize {
        /// Maximum size.
        limit: ByteLimit,
    },
    /// Number of columns.
    #[error("row {row} has cells beyond column `{last_column}` (limit: {limit} columns)")]
    Columns {
        /// Number of the row.
        row: u32,
        /// Letters of the last allowed column.
        last_column: String,
        /// Maximum number of columns.
        limit: u32,
    },
    /// Number of cells with content.
    #[error("the sheet `{}` has more than {limit} cells with content", unicode::shorten(.sheet, MAX_NAME_CHARS))]
    Cells {
        /// Name of the sheet.
        sheet: String,
        /// Maximum number of cells.
        limit: u32,
    },
    /// Text of a sheet.
    #[error("the sheet `{}` contains more than {limit} of text", unicode::shorten(.sheet, MAX_NAME_CHARS))]
    SheetText {
        /// Name of the sheet.
        sheet: String,
        /// Maximum size.
        limit: ByteLimit,
    },
    /// Text of a row.
    #[error("row {row} contains more than {limit} of text")]
    RowText {
        /// Number of the row.
        row: u32,
        /// Maximum size.
        limit: ByteLimit,
    },
    /// Text of a cell.
    #[error("cell `{cell}` contains more than {limit} characters")]
    CellText {
        /// The cell, as `E17`.
        cell: String,
        /// Maximum number of characters.
        limit: usize,
    },
    /// Processor time of the worker process.
    #[error("reading it takes more than {seconds} seconds of processor time")]
    CpuTime {
        /// Maximum time.
        seconds: u64,
    },
    /// Memory of the worker process.
    #[error("reading it takes more than {limit} of memory")]
    Memory {
        /// Maximum size.
        limit: ByteLimit,
    },
    /// Output of the worker process.
    #[error("its rows take more than {limit}")]
    Output {
        /// Maximum size.
        limit: ByteLimit,
    },
}

/// A size limit in bytes, displayed in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteLimit(pub u64);

impl fmt::Display for ByteLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 >> 20)
    }
}

/// The maximum number of data rows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowLimit {
    /// Set by the operator.
    Configured(u32),
    /// Fixed, for workbooks.
    Workbook(u32),
}

impl RowLimit {
    /// Number of rows.
    #[must_use]
    pub fn rows(self) -> u32 {
        match self {
            Self::Configured(rows) | Self::Workbook(rows) => rows,
        }
    }
}

impl fmt::Display for RowLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured(rows) => write!(f, "{rows} rows (`import.max_rows`)"),
            Self::Workbook(rows) => write!(f, "{rows} rows, the limit for workbooks"),
        }
    }
}

/// How to add the columns that the header lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderHint {
    /// No similar columns were found.
    UseTemplate,
    /// Unknown columns have similar titles; never empty.
    Rename(Vec<ColumnRename>),
    /// A column `Number N` has no column `Number Type N`.
    AddNumberType {
        /// The `N`.
        ordinal: u32,
    },
}

impl fmt::Display for HeaderHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UseTemplate => {
                f.write_str("use the column names of the template (`rosterd template`)")
            }
            Self::Rename(columns) => {
                let columns: Vec<String> = columns
                    .iter()
                    .map(|column| format!("`{}` to `{}`", column.from, column.to))
                    .collect();
                write!(f, "rename {}", unicode::join_with_and(&columns))
            }
            Self::AddNumberType { ordinal } => {
                write!(f, "add it for the column `Number {ordinal}`")
            }
        }
    }
}

/// A suggested title for a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnRename {
    /// Title in the file, cleaned and shortened.
    pub from: String,
    /// Title as in the template.
    pub to: String,
}

/// Column names after the word `column` or `columns`.
struct ColumnNames<'a>(&'a [String]);

impl fmt::Display for ColumnNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|name| format!("`{name}`")).collect();
        let noun = if names.len() == 1 {
            "column"
        } else {
            "columns"
        };
        write!(f, "{noun} {}", unicode::join_with_and(&names))
    }
}
