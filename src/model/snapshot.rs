//! The stored contacts and groups of an account before a run.

use super::ContactId;
use super::contact::StoredContact;
use super::group::StoredGroup;

/// The stored groups and contacts of an account that a plan needs.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All groups, including removed ones. Contacts refer to them by their index here.
    pub groups: Vec<StoredGroup>,
    /// Contacts, including removed ones; without those in `already_stored` and those that the row cache proves unchanged.
    pub contacts: Vec<StoredContact>,
    /// For each contact of the file, its stored contact if that has the same data; empty if this was not determined.
    pub already_stored: Vec<Option<ContactId>>,
    /// For each group, whether contacts that the row cache proves unchanged are members and use its stored spelling; empty if
    /// the row cache was not used.
    pub groups_with_cached_members: Vec<bool>,
}
