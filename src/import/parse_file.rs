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
pub struct Reading {
    /// Format, encoding and the like.
    pub facts: SheetInfo,
    /// Its contacts and issues.
    pub parsed: ParsedSheet,
    /// The row cache, if unchanged rows were skipped.
    pub known: Option<CachedRows>,
}

/// The active contacts after the last applied run, and which of their rows are still in the file.
#[derive(Debug)]
pub struct CachedRows {
    pub(super) contacts: RowCache,
    /// For each contact, whether its row was in the file.
    seen: Vec<bool>,
    /// The run that wrote the row cache.
    pub(super) since: Option<RunId>,
}

impl CachedRows {
    /// The contacts whose rows are unchanged in the file, or the others.
    pub(super) fn of(&self, seen: bool) -> impl Iterator<Item = CachedContact> {
        let all = self.contacts.iter().zip(&self.seen);
        all.filter(move |(_, is_met)| **is_met == seen)
            .map(|(known, _)| known)
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
) -> Result<Reading, sheet::SheetError> {
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
) -> Result<Reading, sheet::SheetError> {
    let facts = sheet::read_sandboxed(content, workbooks, Limits { max_rows }, |header, row| {
        validator.push(header, row);
    })?;
    let parsed = validator.finish(&facts.issues, maybe_truncated(&facts, final_newline));
    Ok(Reading {
        facts,
        parsed,
        known: None,
    })
}

/// Reads a file and skips unchanged rows; `None` if it has to be read completely.
fn read_incremental(
    (known, since): (RowCache, Option<RunId>),
    content: FileContent<'_>,
    workbooks: &WorkbookReader,
    max_rows: u32,
    final_newline: Option<bool>,
) -> Result<Option<Reading>, sheet::SheetError> {
    let mut reader = IncrementalReader::new(known);
    let facts = sheet::read_sandboxed(content, workbooks, Limits { max_rows }, |header, row| {
        reader.push(header, row);
    })?;
    let outcome = reader.finish(&facts.issues, maybe_truncated(&facts, final_newline));
    Ok(outcome.map(|found| Reading {
        facts,
        parsed: found.parsed,
        known: Some(CachedRows {
            contacts: found.cache,
            seen: found.seen,
            since,
        }),
    }))
}

/// Whether the file lacks the final newline that the last applied one had.
fn maybe_truncated(facts: &SheetInfo, final_newline: Option<bool>) -> bool {
    final_newline == Some(true) && facts.final_newline == Some(false)
}

impl Importer {
    /// Reads a file; `known` is the row cache and the run that wrote it.
    pub(super) async fn parse_on_worker_thread(
        &self,
        content: TempFile,
        final_newline: Option<bool>,
        url: Option<String>,
        known: Option<(RowCache, Option<RunId>)>,
    ) -> Result<Reading, ImportError> {
        let (max_rows, workbooks) = (self.options.max_rows, self.options.workbooks.clone());
        let reading = run_blocking(move || {
            let open = || content.open().map(FileContent::File);
            if let Some(known) = known {
                let incremental =
                    read_incremental(known, open()?, &workbooks, max_rows, final_newline)?;
                if let Some(reading) = incremental {
                    return Ok(reading);
                }
            }
            let validator = Validator::with_fingerprints();
            read_with(validator, open()?, &workbooks, max_rows, final_newline)
        })
        .await;
        let reading = reading
            .map_err(|error| ImportError::Internal(format!("reading the sheet: {error}")))?;
        reading.map_err(|source| {
            let url = url.and_then(|url| url::Url::parse(&url).ok()).map(Box::new);
            ImportError::Sheet { source, url }
        })
    }
}
