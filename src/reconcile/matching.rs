//! Who is the same person: contacts of two sides that share folded name and a number, one to one.

use std::collections::{HashMap, HashSet};

use crate::model::contact::{ContactState, ExternalId, FileContact, PhoneNumber, StoredContact};
use crate::parsed_sheet::ParsedSheet;
use crate::unicode::fold;

/// By what a person is recognised, and its place in its list.
#[derive(Debug)]
struct MatchKey {
    position: usize,
    name: String,
    numbers: Vec<PhoneNumber>,
}

impl MatchKey {
    fn stored(position: usize, state: &ContactState) -> Self {
        Self {
            position,
            name: fold(&state.name),
            numbers: state.numbers.iter().map(|number| number.number).collect(),
        }
    }

    fn in_file(position: usize, contact: &FileContact) -> Self {
        Self {
            position,
            name: fold(&contact.name),
            numbers: contact.numbers.iter().map(|number| number.number).collect(),
        }
    }

    fn is_same_person(&self, other: &Self) -> bool {
        self.name == other.name
            && self
                .numbers
                .iter()
                .any(|number| other.numbers.contains(number))
    }
}

/// Places of those of one side, each with the place of the only one of the other side that is like it and like nobody else.
fn unique_pairs(known: &[MatchKey], new: &[MatchKey]) -> Vec<(usize, usize)> {
    let mut by_name: HashMap<&str, Vec<&MatchKey>> = HashMap::new();
    for key in new {
        by_name.entry(&key.name).or_default().push(key);
    }
    let mut pairs = Vec::new();
    for key in known {
        let candidates = by_name.get(key.name.as_str()).into_iter().flatten();
        pairs.extend(
            candidates
                .filter(|other| key.is_same_person(other))
                .map(|other| (key.position, other.position)),
        );
    }
    let (mut known_counts, mut new_counts) = (HashMap::new(), HashMap::new());
    for (known, new) in &pairs {
        *known_counts.entry(*known).or_insert(0) += 1;
        *new_counts.entry(*new).or_insert(0) += 1;
    }
    pairs.retain(|(known, new)| known_counts[known] == 1 && new_counts[new] == 1);
    pairs
}

/// The external ID that a stored contact, at this place, is recognised under.
pub(super) type Match = (ExternalId, usize);

/// Stored contacts that are recognised in new ones of the file: those made by hand, and those that are gone from the file
/// but look like the same person as a new contact in it.
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
            .map(|(position, contact)| MatchKey::stored(position, &contact.state))
            .collect()
    };
    let without_external_id = stored_keys(&|id| id.is_none());
    let missing = stored_keys(&|id| {
        id.is_some_and(|id| !in_file.contains(id) && !parsed.in_error.contains(id))
    });
    if without_external_id.is_empty() && missing.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let known: HashMap<&str, bool> = stored
        .iter()
        .filter_map(|contact| Some((contact.state.external_id.as_deref()?, contact.removed)))
        .collect();
    let new_contacts = |accepts: &dyn Fn(Option<&bool>) -> bool| -> Vec<FileContact> {
        (0..parsed.contacts.len())
            .filter(|position| {
                !already_stored(*position)
                    && accepts(known.get(parsed.contacts.encoded(*position).external_id))
            })
            .map(|position| parsed.contacts.get(position))
            .collect()
    };
    let mut new = new_contacts(&|known| known.is_none());
    let adopted = find_matches(&without_external_id, &new);
    let adopted_ids: HashSet<&ExternalId> = adopted.iter().map(|(id, _)| id).collect();
    new.retain(|contact| !adopted_ids.contains(&contact.external_id));
    // Who comes back under an ID of old may be the one who is gone: then nobody can say who is who.
    let new_count = new.len();
    new.extend(new_contacts(&|known| known == Some(&true)));
    let mut possible_id_changes = find_matches(&missing, &new);
    let returning: HashSet<&ExternalId> = new[new_count..].iter().map(|c| &c.external_id).collect();
    possible_id_changes.retain(|(id, _)| !returning.contains(id));
    (adopted, possible_id_changes)
}

fn find_matches(known: &[MatchKey], new: &[FileContact]) -> Vec<Match> {
    let new_keys: Vec<MatchKey> = (0..)
        .zip(new)
        .map(|(position, contact)| MatchKey::in_file(position, contact))
        .collect();
    unique_pairs(known, &new_keys)
        .into_iter()
        .map(|(known, new_position)| (new[new_position].external_id.clone(), known))
        .collect()
}
