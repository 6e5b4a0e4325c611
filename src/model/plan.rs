//! What a run would do to the contacts and groups of an account.

use super::contact::{ContactImage, ContactState, Number};
use super::digest::TextDigest;
use super::hold::HoldReason;
use super::{ContactId, GroupId, string_enum};

string_enum!(
    /// What happens to a contact.
    Action {
        /// New.
        Added = "added",
        /// Something differs.
        Updated = "updated",
        /// Stored, but no longer in the file.
        Removed = "removed",
        /// Removed earlier, back again.
        Revived = "revived",
        /// Made by hand, now known by its external ID.
        Adopted = "adopted",
    }
);

/// A group in the plan's table; contacts refer to it by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanGroup {
    /// Stored id; none for a group that is new.
    pub id: Option<GroupId>,
    /// By which it is matched.
    pub name_key: String,
    /// The name it has after the run.
    pub name: String,
    /// What has to be written.
    pub change: GroupChange,
}

/// What happens to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupChange {
    /// Nothing.
    None,
    /// Made.
    Add,
    /// Brought back, or spelled anew.
    Update,
    /// Nobody is left in it.
    Remove,
}

/// A contact that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition<'a> {
    /// All of it.
    pub after: ContactState<&'a str>,
    /// First row it came from.
    pub row: u32,
}

/// A contact that is updated, revived or adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `Updated`, `Revived` or `Adopted`.
    pub action: Action,
    /// Which.
    pub id: ContactId,
    /// As stored.
    pub before: ContactState,
    /// As it shall be.
    pub after: ContactState,
    /// First row it came from.
    pub row: Option<u32>,
}

impl Change {
    /// Whether the contact gets another name or another set of numbers.
    #[must_use]
    pub fn changes_name_or_numbers(&self) -> bool {
        self.before.name != self.after.name
            || number_set(&self.before.numbers) != number_set(&self.after.numbers)
    }

    /// Whether the contact is known by another ID from now on.
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
    /// Which.
    pub id: ContactId,
    /// As stored.
    pub before: ContactState,
}

/// A contact that is gone from the file, but looks like the same person as a new one in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PossibleIdChange {
    /// Which.
    pub contact: ContactId,
    /// Its name.
    pub name: String,
    /// Its ID in the spreadsheet so far.
    pub old_id: Option<String>,
    /// The ID of the new one.
    pub new_id: String,
}

/// What a run would do. Pure data: nothing in it has happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Every stored group, and every new one after them.
    pub groups: Vec<PlanGroup>,
    /// Contacts made: their places among those of the file, which may be a million.
    pub added: Vec<usize>,
    /// The place in `groups` of each spelling in the file; none of those that only contacts in error have.
    pub group_index: Vec<Option<u32>>,
    /// Contacts updated, revived or adopted.
    pub changed: Vec<Change>,
    /// Contacts removed.
    pub removed: Vec<Removal>,
    /// What some of the removed get back besides: what they had before the run that revived them.
    pub restored_fields: Vec<Change>,
    /// Contacts that would be removed, if a row's ID were known or the file were beyond doubt.
    pub withheld: Vec<Removal>,
    /// Contacts in which nothing differs.
    pub unchanged: usize,
    /// The stored contact of each contact of the file; none for those that are made, in their order.
    pub contact_ids: Vec<Option<ContactId>>,
    /// Stored contacts that are in error in the file, and stay as they are.
    pub in_error: Vec<ContactId>,
    /// Names of the groups that lose all their members.
    pub emptied_groups: Vec<String>,
    /// Contacts that are gone, but look like the same person under a new ID.
    pub possible_id_changes: Vec<PossibleIdChange>,
    /// Why it waits for a person; empty if it doesn't.
    pub hold_reasons: Vec<HoldReason>,
    /// Contacts of the account after the run, without the removed.
    pub contacts_after: usize,
}

impl Plan {
    /// How many contacts get this.
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

    /// Whether anything at all would be written to contacts or groups.
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

    /// SHA-256 of all that is kept of a contact; groups by their keys, so that a new spelling changes nothing. Equal to that
    /// of [`Contacts::digests`](crate::compact::Contacts::digests) where the file says the same.
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

    /// The names of a contact's groups.
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

/// What a run is recorded to have done to a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedChange {
    /// Which.
    pub contact: ContactId,
    /// What.
    pub action: Action,
    /// Its ID in the spreadsheet.
    pub external_id: Option<String>,
    /// The contact before the run; none for an addition, or if it was forgotten.
    pub before: Option<ContactImage>,
    /// The contact after the run; none for a removal, or if it was forgotten.
    pub after: Option<ContactImage>,
}
