//! What the database has of an account before a run.

use super::ContactId;
use super::contact::StoredContact;
use super::group::StoredGroup;

/// What is stored of an account, as far as it may matter.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All groups, removed ones too; contacts refer to them by their place here.
    pub groups: Vec<StoredGroup>,
    /// Contacts, removed ones too; all but those that are settled, or known ([`ParsedSheet::known`]).
    pub contacts: Vec<StoredContact>,
    /// Which contacts of the file are stored exactly as it says, and as which; empty where none is known to be.
    pub already_stored: Vec<Option<ContactId>>,
    /// Which groups have members among the known contacts, who call them as they are stored; empty where none is known.
    pub groups_with_cached_members: Vec<bool>,
}
