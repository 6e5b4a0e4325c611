//! From bytes to a roster: the whole file judged, or what is known of it passed over.

use super::{ImportError, Importer};
use crate::model::RunId;
use crate::parsed_sheet::Roster;
use crate::row_cache::{KnownContact, KnownContacts};
use crate::sheet::{self, Content, Facts, Limits, WorkbookReader};
use crate::telemetry::blocking;
use crate::temp_file::Spool;
use crate::validate::{Collector, Skimmer};

/// A sheet, read and judged.
#[derive(Debug)]
pub struct Reading {
    /// What the file turned out to be.
    pub facts: Facts,
    /// What it says.
    pub roster: Roster,
    /// What was known of it before, where that was of use.
    pub known: Option<Known>,
}

/// The active contacts after the last applied run, and whose rows are still in the file.
#[derive(Debug)]
pub struct Known {
    pub(super) contacts: KnownContacts,
    /// Whether the row of each was met.
    met: Vec<bool>,
    /// The run after which they were so.
    pub(super) since: Option<RunId>,
}

impl Known {
    /// Those whose rows are in the file as they were, or the others.
    pub(super) fn of(&self, met: bool) -> impl Iterator<Item = KnownContact> {
        let all = self.contacts.iter().zip(&self.met);
        all.filter(move |(_, is_met)| **is_met == met)
            .map(|(known, _)| known)
    }
}

/// Reads and judges a file. `final_newline`: whether the last applied file ended with one.
///
/// # Errors
/// [`sheet::SheetError`] if the file is refused.
pub fn read(
    content: Content<'_>,
    workbooks: &WorkbookReader,
    max_rows: u32,
    final_newline: Option<bool>,
) -> Result<Reading, sheet::SheetError> {
    read_with(
        Collector::default(),
        content,
        workbooks,
        max_rows,
        final_newline,
    )
}

fn read_with(
    mut collector: Collector,
    content: Content<'_>,
    workbooks: &WorkbookReader,
    max_rows: u32,
    final_newline: Option<bool>,
) -> Result<Reading, sheet::SheetError> {
    let facts = sheet::read_guarded(content, workbooks, Limits { max_rows }, |header, row| {
        collector.push(header, row);
    })?;
    let roster = collector.finish(&facts.issues, maybe_cut(&facts, final_newline));
    Ok(Reading {
        facts,
        roster,
        known: None,
    })
}

/// Reads a file of which most rows are known; `None` where it has to be read whole.
fn skim(
    (known, since): (KnownContacts, Option<RunId>),
    content: Content<'_>,
    workbooks: &WorkbookReader,
    max_rows: u32,
    final_newline: Option<bool>,
) -> Result<Option<Reading>, sheet::SheetError> {
    let mut skimmer = Skimmer::new(known);
    let facts = sheet::read_guarded(content, workbooks, Limits { max_rows }, |header, row| {
        skimmer.push(header, row);
    })?;
    let outcome = skimmer.finish(&facts.issues, maybe_cut(&facts, final_newline));
    Ok(outcome.map(|found| Reading {
        facts,
        roster: found.roster,
        known: Some(Known {
            contacts: found.known,
            met: found.met,
            since,
        }),
    }))
}

/// Whether the file lacks the final newline that the last applied one had.
fn maybe_cut(facts: &Facts, final_newline: Option<bool>) -> bool {
    final_newline == Some(true) && facts.final_newline == Some(false)
}

impl Importer {
    /// Reads a file; `known` are the contacts that are known, and since which run.
    pub(super) async fn read_blocking(
        &self,
        content: Spool,
        final_newline: Option<bool>,
        url: Option<String>,
        known: Option<(KnownContacts, Option<RunId>)>,
    ) -> Result<Reading, ImportError> {
        let (max_rows, workbooks) = (self.options.max_rows, self.options.workbooks.clone());
        let reading = blocking(move || {
            let open = || content.open().map(Content::File);
            if let Some(known) = known {
                let skimmed = skim(known, open()?, &workbooks, max_rows, final_newline)?;
                if let Some(reading) = skimmed {
                    return Ok(reading);
                }
            }
            let collector = Collector::marking();
            read_with(collector, open()?, &workbooks, max_rows, final_newline)
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
