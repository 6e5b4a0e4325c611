//! Finds stored contacts that the file has under a new ID: the same folded name and a number in common, unambiguously.
//! Only proposes matches; `reconcile` decides how to use them.

use std::collections::{HashMap, HashSet};

use crate::model::contact::{ContactState, ExternalId, FileContact, PhoneNumber, StoredContact};
use crate::parsed_sheet::ParsedSheet;
use crate::unicode::fold;

/// The data used to match contacts.
#[derive(Debug)]
struct MatchKey {
    /// Position of the contact in its own list.
    position: usize,
    /// Folded name.
    name: String,
    numbers: Vec<PhoneNumber>,
}

impl MatchKey {
    fn from_stored(position: usize, state: &ContactState) -> Self {
        Self {
            position,
            name: fold(&state.name),
            numbers: state.numbers.iter().map(|number| number.number).collect(),
        }
    }

    fn from_file(position: usize, contact: &FileContact) -> Self {
        Self {
            position,
            name: fold(&contact.name),
            numbers: contact.numbers.iter().map(|number| number.number).collect(),
        }
    }

    fn matches(&self, other: &Self) -> bool {
        self.name == other.name
            && self
                .numbers
                .iter()
                .any(|number| other.numbers.contains(number))
    }
}

/// Positions of stored and new contacts that match each other and nothing else.
fn unique_pairs(stored: &[MatchKey], new: &[MatchKey]) -> Vec<(usize, usize)> {
    let mut by_name: HashMap<&str, Vec<&MatchKey>> = HashMap::new();
    for key in new {
        by_name.entry(&key.name).or_default().push(key);
    }
    let mut pairs = Vec::new();
    for key in stored {
        let candidates = by_name.get(key.name.as_str()).into_iter().flatten();
        pairs.extend(
            candidates
                .filter(|other| key.matches(other))
                .map(|other| (key.position, other.position)),
        );
    }
    let (mut stored_counts, mut new_counts) = (HashMap::new(), HashMap::new());
    for (stored, new) in &pairs {
        *stored_counts.entry(*stored).or_insert(0) += 1;
        *new_counts.entry(*new).or_insert(0) += 1;
    }
    pairs.retain(|(stored, new)| stored_counts[stored] == 1 && new_counts[new] == 1);
    pairs
}

/// The new external ID of a stored contact, and the position of that contact.
pub(super) type Match = (ExternalId, usize);

/// Returns two lists of stored contacts that match a new contact of the file: those without an external ID, and those whose
/// external ID is no longer in the file (possible duplicates).
pub(super) fn match_contacts(
    stored: &[StoredContact],
    parsed: &ParsedSheet,
    already_stored: &dyn Fn(usize) -> bool,
) -> (Vec<Match>, Vec<Match>) {
    if stored.iter().all(|contact| contact.removed) {
        return (Vec::new(), Vec::new());
    }
    let in_file: HashSet<&str> = (0..parsed.contacts.len())
        .map(|position| parsed.contacts.encoded(position).external_id)
        .collect();
    let stored_keys = |accepts: &dyn Fn(Option<&str>) -> bool| -> Vec<MatchKey> {
        (0..)
            .zip(stored)
            .filter(|(_, contact)| {
                !contact.removed && accepts(contact.state.external_id.as_deref())
            })
            .map(|(position, contact)| MatchKey::from_stored(position, &contact.state))
            .collect()
    };
    let without_external_id = stored_keys(&|id| id.is_none());
    let missing = stored_keys(&|id| {
        id.is_some_and(|id| !in_file.contains(id) && !parsed.in_error.contains(id))
    });
    if without_external_id.is_empty() && missing.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let removed_by_id: HashMap<&str, bool> = stored
        .iter()
        .filter_map(|contact| Some((contact.state.external_id.as_deref()?, contact.removed)))
        .collect();
    let new_contacts = |accepts: &dyn Fn(Option<&bool>) -> bool| -> Vec<FileContact> {
        (0..parsed.contacts.len())
            .filter(|position| {
                !already_stored(*position)
                    && accepts(removed_by_id.get(parsed.contacts.encoded(*position).external_id))
            })
            .map(|position| parsed.contacts.get(position))
            .collect()
    };
    let mut new = new_contacts(&|removed| removed.is_none());
    let adopted = find_matches(&without_external_id, &new);
    let adopted_ids: HashSet<&ExternalId> = adopted.iter().map(|(id, _)| id).collect();
    new.retain(|contact| !adopted_ids.contains(&contact.external_id));
    // A missing contact may also match a removed contact that returns under its old ID. Including those makes such a match
    // ambiguous, and it is dropped.
    let new_count = new.len();
    new.extend(new_contacts(&|removed| removed == Some(&true)));
    let mut possible_id_changes = find_matches(&missing, &new);
    let returning_ids: HashSet<&ExternalId> =
        new[new_count..].iter().map(|c| &c.external_id).collect();
    possible_id_changes.retain(|(id, _)| !returning_ids.contains(id));
    (adopted, possible_id_changes)
}

fn find_matches(stored: &[MatchKey], new: &[FileContact]) -> Vec<Match> {
    let new_keys: Vec<MatchKey> = (0..)
        .zip(new)
        .map(|(position, contact)| MatchKey::from_file(position, contact))
        .collect();
    unique_pairs(stored, &new_keys)
        .into_iter()
        .map(|(stored, new_position)| (new[new_position].external_id.clone(), stored))
        .collect()
}
