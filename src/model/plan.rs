//! Plans: the changes that a run would make to the contacts and groups of an account, and the record of changes made.

use std::collections::HashSet;

use super::contact::{ContactImage, ContactState, Number};
use super::digest::TextDigest;
use super::hold::HoldReason;
use super::{ContactId, GroupId, string_enum};

string_enum!(
    /// What happens to a contact.
    Action {
        /// A new contact.
        Added = "added",
        /// At least one field differs.
        Updated = "updated",
        /// No longer in the file; soft-deleted.
        Removed = "removed",
        /// Was soft-deleted and is in the file again.
        Revived = "revived",
        /// Entered by hand without an external ID, which it gets from the file.
        Adopted = "adopted",
    }
);

/// A group in the plan's group table. Contacts refer to it by its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanGroup {
    /// Database id; `None` for a new group.
    pub id: Option<GroupId>,
    /// See [`name_key`](super::group::name_key).
    pub name_key: String,
    /// Name after the run.
    pub name: String,
    /// What must be written.
    pub change: GroupChange,
}

/// What happens to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupChange {
    /// Nothing.
    None,
    /// Created.
    Add,
    /// Restored, or its spelling changed.
    Update,
    /// Soft-deleted, because it has no members left.
    Remove,
}

/// A contact that is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition<'a> {
    /// The new contact.
    pub after: ContactState<&'a str>,
    /// First row of the contact in the file.
    pub row: u32,
}

/// A contact that is updated, revived or adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `Updated`, `Revived` or `Adopted`.
    pub action: Action,
    /// The contact.
    pub id: ContactId,
    /// State before the run.
    pub before: ContactState,
    /// State after the run.
    pub after: ContactState,
    /// First row of the contact in the file.
    pub row: Option<u32>,
}

impl Change {
    /// Whether the contact gets another name or another set of numbers.
    #[must_use]
    pub fn changes_name_or_numbers(&self) -> bool {
        self.before.name != self.after.name
            || number_set(&self.before.numbers) != number_set(&self.after.numbers)
    }

    /// Whether the contact gets another ID in the spreadsheet.
    #[must_use]
    pub fn changes_external_id(&self) -> bool {
        self.before.external_id != self.after.external_id
    }
}

fn number_set(numbers: &[Number]) -> std::collections::BTreeSet<&str> {
    numbers.iter().map(|n| n.number.as_str()).collect()
}

/// A contact that is removed, or whose removal is withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The contact.
    pub id: ContactId,
    /// State before the run.
    pub before: ContactState,
}

/// A contact that is missing in the file but has the same name and a number in common with a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PossibleIdChange {
    /// The contact.
    pub contact: ContactId,
    /// Its name.
    pub name: String,
    /// Its ID in the spreadsheet so far; `None` if it has none.
    pub old_id: Option<String>,
    /// ID of the new contact.
    pub new_id: String,
}

/// The changes that a run would make. Pure data; nothing has been written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Group table: all stored groups, then the new ones.
    pub groups: Vec<PlanGroup>,
    /// Indexes of the contacts of the file that are added. Indexes save memory, as there may be a million.
    pub added: Vec<usize>,
    /// Index in `groups` of each spelling in the file; `None` if only contacts in error have it.
    pub group_index: Vec<Option<u32>>,
    /// Contacts updated, revived or adopted.
    pub changed: Vec<Change>,
    /// Contacts removed.
    pub removed: Vec<Removal>,
    /// In a revert: fields of removed contacts that get their values from before the run that revived them.
    pub restored_fields: Vec<Change>,
    /// Removals that are withheld because of an unidentified row or a file that may be truncated.
    pub withheld: Vec<Removal>,
    /// Number of contacts without changes.
    pub unchanged: usize,
    /// Stored contact of each contact of the file, in file order; `None` for added ones.
    pub contact_ids: Vec<Option<ContactId>>,
    /// Stored contacts that have errors in the file and are left unchanged.
    pub in_error: Vec<ContactId>,
    /// Names of the groups that would become empty; in a held plan, those that approval of the same file would empty,
    /// including by removals that are withheld.
    pub emptied_groups: Vec<String>,
    /// Removed contacts that may be in the file under a new ID.
    pub possible_id_changes: Vec<PossibleIdChange>,
    /// Why the plan is held for approval; empty if it is not.
    pub hold_reasons: Vec<HoldReason>,
    /// Number of active contacts after the run.
    pub contacts_after: usize,
}

impl Plan {
    /// Number of contacts with this action.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        match action {
            Action::Added => self.added.len(),
            Action::Removed => self.removed.len(),
            other => self
                .changed
                .iter()
                .filter(|change| change.action == other)
                .count(),
        }
    }

    /// Whether nothing would be written to contacts or groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.changed.is_empty()
            && self.removed.is_empty()
            && self
                .groups
                .iter()
                .all(|group| group.change == GroupChange::None)
    }

    /// Makes the plan one that is applied: clears the reasons to hold it, and excludes groups from `emptied_groups` that keep
    /// members whose removal is withheld.
    pub fn clear_hold(&mut self) {
        self.hold_reasons.clear();
        if self.withheld.is_empty() {
            return;
        }
        let removed: HashSet<&str> = self
            .groups
            .iter()
            .filter(|group| group.change == GroupChange::Remove)
            .map(|group| group.name.as_str())
            .collect();
        self.emptied_groups
            .retain(|name| removed.contains(name.as_str()));
    }

    /// SHA-256 of a contact's data. Groups are hashed by their keys, so a new spelling does not change the digest. Equals the
    /// digest of [`Contacts::digests`](crate::compact::Contacts::digests) for the same data.
    #[must_use]
    pub fn digest<T: AsRef<str>>(&self, state: &ContactState<T>) -> [u8; 32] {
        let mut digest = TextDigest::default();
        let mut field = |text: Option<&str>| digest.push(text);
        field(state.external_id.as_ref().map(T::as_ref));
        field(Some(state.name.as_ref()));
        for text in [&state.organization_name, &state.title, &state.email] {
            field(text.as_ref().map(T::as_ref));
        }
        field(Some(state.priority.as_str()));
        for number in &state.numbers {
            field(Some(number.number.as_str()));
            field(Some(number.number_type.as_str()));
            field(number.description.as_ref().map(T::as_ref));
        }
        field(None);
        let groups = state.groups.iter();
        let mut keys: Vec<&str> = groups
            .filter_map(|index| self.groups.get(*index as usize))
            .map(|group| group.name_key.as_str())
            .collect();
        keys.sort_unstable();
        for key in keys {
            field(Some(key));
        }
        digest.finish()
    }

    /// Names of a contact's groups.
    pub fn group_names<'a, T>(
        &'a self,
        state: &'a ContactState<T>,
    ) -> impl Iterator<Item = &'a str> {
        state
            .groups
            .iter()
            .filter_map(|index| self.groups.get(*index as usize))
            .map(|group| group.name.as_str())
    }
}

/// A change that a run made to a contact, as recorded in `import_changes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedChange {
    /// The contact.
    pub contact: ContactId,
    /// The kind of change.
    pub action: Action,
    /// Its ID in the spreadsheet.
    pub external_id: Option<String>,
    /// The contact before the run; `None` if it was added or the image was deleted.
    pub before: Option<ContactImage>,
    /// The contact after the run; `None` if it was removed or the image was deleted.
    pub after: Option<ContactImage>,
}
