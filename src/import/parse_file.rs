//! Reads and validates a file: completely, or without the rows that have not changed since the last applied run.

use super::{ImportError, Importer};
use crate::model::RunId;
use crate::parsed_sheet::ParsedSheet;
use crate::row_cache::{CachedContact, RowCache};
use crate::sheet::{self, FileContent, Limits, SheetInfo, WorkbookReader};
use crate::telemetry::run_blocking;
use crate::temp_file::TempFile;
use crate::validate::{IncrementalReader, Validator};

/// A file that was read and validated.
#[derive(Debug)]
pub struct ParsedFile {
    /// Format, encoding and header.
    pub info: SheetInfo,
    /// Contacts and issues.
    pub sheet: ParsedSheet,
    /// The row cache, if unchanged rows were skipped.
    pub cached_rows: Option<CachedRows>,
}

/// The active contacts after the last applied run, and which of their rows are still in the file.
#[derive(Debug)]
pub struct CachedRows {
    pub(super) row_cache: RowCache,
    /// For each contact, whether its row was in the file.
    seen: Vec<bool>,
    /// The run that wrote the row cache.
    pub(super) written_by: Option<RunId>,
}

impl CachedRows {
    /// The contacts whose rows are unchanged in the file (`seen`), or all others.
    pub(super) fn contacts(&self, seen: bool) -> impl Iterator<Item = CachedContact> {
        let contacts = self.row_cache.iter().zip(&self.seen);
        contacts
            .filter(move |(_, is_seen)| **is_seen == seen)
            .map(|(contact, _)| contact)
    }
}

/// Reads and validates a file. `final_newline`: whether the last applied file ended with a newline.
///
/// # Errors
/// [`sheet::SheetError`] if the file is refused.
pub fn read(
    content: FileContent<'_>,
    workbooks: &WorkbookReader,
    max_rows: u32,
    final_newline: Option<bool>,
) -> Result<ParsedFile, sheet::SheetError> {
    read_with(
        Validator::default(),
        content,
        workbooks,
        max_rows,
        final_newline,
    )
}

fn read_with(
    mut validator: Validator,
    content: FileContent<'_>,
    workbooks: &WorkbookReader,
    max_rows: u32,
    final_newline: Option<bool>,
) -> Result<ParsedFile, sheet::SheetError> {
    let info = sheet::read_sandboxed(content, workbooks, Limits { max_rows }, |header, row| {
        validator.push(header, row);
    })?;
    let sheet = validator.finish(&info.issues, maybe_truncated(&info, final_newline));
    Ok(ParsedFile {
        info,
        sheet,
        cached_rows: None,
    })
}

/// Reads a file and skips unchanged rows; `None` if it has to be read completely.
fn read_incremental(
    (row_cache, written_by): (RowCache, Option<RunId>),
    content: FileContent<'_>,
    workbooks: &WorkbookReader,
    max_rows: u32,
    final_newline: Option<bool>,
) -> Result<Option<ParsedFile>, sheet::SheetError> {
    let mut reader = IncrementalReader::new(row_cache);
    let info = sheet::read_sandboxed(content, workbooks, Limits { max_rows }, |header, row| {
        reader.push(header, row);
    })?;
    let result = reader.finish(&info.issues, maybe_truncated(&info, final_newline));
    Ok(result.map(|incremental| ParsedFile {
        info,
        sheet: incremental.parsed,
        cached_rows: Some(CachedRows {
            row_cache: incremental.cache,
            seen: incremental.seen,
            written_by,
        }),
    }))
}

/// Whether the file lacks the final newline that the last applied one had.
fn maybe_truncated(info: &SheetInfo, final_newline: Option<bool>) -> bool {
    final_newline == Some(true) && info.final_newline == Some(false)
}

impl Importer {
    /// Reads and validates a file on a separate thread; `row_cache` is the row cache and the run that wrote it.
    pub(super) async fn parse_file(
        &self,
        content: TempFile,
        final_newline: Option<bool>,
        url: Option<String>,
        row_cache: Option<(RowCache, Option<RunId>)>,
    ) -> Result<ParsedFile, ImportError> {
        let (max_rows, workbooks) = (self.options.max_rows, self.options.workbooks.clone());
        let result = run_blocking(move || {
            let open = || content.open().map(FileContent::File);
            if let Some(row_cache) = row_cache {
                let incremental =
                    read_incremental(row_cache, open()?, &workbooks, max_rows, final_newline)?;
                if let Some(parsed_file) = incremental {
                    return Ok(parsed_file);
                }
            }
            let validator = Validator::with_fingerprints();
            read_with(validator, open()?, &workbooks, max_rows, final_newline)
        })
        .await;
        let result =
            result.map_err(|error| ImportError::Internal(format!("reading the sheet: {error}")))?;
        result.map_err(|source| {
            let url = url.and_then(|url| url::Url::parse(&url).ok()).map(Box::new);
            ImportError::Sheet { source, url }
        })
    }
}
