//! The result of reading and validating a file.

use std::collections::HashSet;

use crate::compact::{Contacts, Issues};
use crate::model::row::{RowInError, UnidentifiedRow};
use crate::row_cache::RowFingerprint;

/// The contacts of a file, and the rows and contacts with errors that a plan must consider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedSheet {
    /// Contacts without errors, in sheet order.
    pub contacts: Contacts,
    /// For each contact, the fingerprint of its row if it has a single row without issues; empty if fingerprints were not
    /// requested.
    pub row_fingerprints: Vec<Option<RowFingerprint>>,
    /// Number of contacts of the file that are not in `contacts`, because the row cache proves that they are unchanged.
    pub cached_contacts: usize,
    /// IDs of the contacts with errors. Existing ones are left unchanged.
    pub in_error: HashSet<String>,
    /// Unidentified rows.
    pub unidentified: Vec<UnidentifiedRow>,
    /// The file may be truncated, so no contacts are removed.
    pub maybe_truncated: bool,
    /// Number of data rows, without blank ones.
    pub row_count: usize,
    /// One entry for each row with errors.
    pub rows_in_error: Vec<RowInError>,
    /// All issues in sheet order; those of the whole file come first.
    pub issues: Issues,
}

impl ParsedSheet {
    /// Whether the file has no contacts without errors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.cached_contacts == 0
    }
}
