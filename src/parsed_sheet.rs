//! What a whole file says, once it has been judged.

use std::collections::HashSet;

use crate::compact::{Contacts, Issues};
use crate::model::row::{RowInError, UnidentifiedRow};
use crate::row_cache::RowFingerprint;

/// The contacts of a file, and what the plan must know of those that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedSheet {
    /// Contacts without error, in the order of the sheet.
    pub contacts: Contacts,
    /// By which row each of them is known again, where one row says all of it and nothing has to be said of it; empty where
    /// marks were not asked for.
    pub row_fingerprints: Vec<Option<RowFingerprint>>,
    /// How many contacts of the file are not among these, because they are known to be stored as it says.
    pub cached_contacts: usize,
    /// External IDs of the contacts in error: stored, they stay exactly as they are.
    pub in_error: HashSet<String>,
    /// Rows whose ID can't be known.
    pub unidentified: Vec<UnidentifiedRow>,
    /// The file may be cut off: nobody is removed.
    pub maybe_truncated: bool,
    /// Data rows, without blank ones.
    pub row_count: usize,
    /// One entry for each row in error.
    pub rows_in_error: Vec<RowInError>,
    /// Everything found, in the order of the sheet; the file as a whole first.
    pub issues: Issues,
}

impl ParsedSheet {
    /// Whether the file has no contact that could be imported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.cached_contacts == 0
    }
}
