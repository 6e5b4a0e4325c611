//! Who is the same person: contacts of two sides that share folded name and a number, one to one.

use std::collections::{HashMap, HashSet};

use crate::model::contact::{ContactState, ExternalId, FileContact, PhoneNumber, StoredContact};
use crate::parsed_sheet::Roster;
use crate::unicode::fold;

/// By what a person is recognised, and its place in its list.
#[derive(Debug)]
struct Person {
    place: usize,
    name: String,
    numbers: Vec<PhoneNumber>,
}

impl Person {
    fn stored(place: usize, state: &ContactState) -> Self {
        Self {
            place,
            name: fold(&state.name),
            numbers: state.numbers.iter().map(|number| number.number).collect(),
        }
    }

    fn in_file(place: usize, contact: &FileContact) -> Self {
        Self {
            place,
            name: fold(&contact.name),
            numbers: contact.numbers.iter().map(|number| number.number).collect(),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.name == other.name
            && self
                .numbers
                .iter()
                .any(|number| other.numbers.contains(number))
    }
}

/// Places of those of one side, each with the place of the only one of the other side that is like it and like nobody else.
fn one_to_one(known: &[Person], new: &[Person]) -> Vec<(usize, usize)> {
    let mut by_name: HashMap<&str, Vec<&Person>> = HashMap::new();
    for person in new {
        by_name.entry(&person.name).or_default().push(person);
    }
    let mut pairs = Vec::new();
    for person in known {
        let alike = by_name.get(person.name.as_str()).into_iter().flatten();
        pairs.extend(
            alike
                .filter(|other| person.is_like(other))
                .map(|other| (person.place, other.place)),
        );
    }
    let (mut of_known, mut of_new) = (HashMap::new(), HashMap::new());
    for (known, new) in &pairs {
        *of_known.entry(*known).or_insert(0) += 1;
        *of_new.entry(*new).or_insert(0) += 1;
    }
    pairs.retain(|(known, new)| of_known[known] == 1 && of_new[new] == 1);
    pairs
}

/// The external ID that a stored contact, at this place, is recognised under.
pub(super) type Link = (ExternalId, usize);

/// Stored contacts that are recognised in new ones of the file: those made by hand, and those that are gone from the file
/// but look like the same person as a new contact in it.
pub(super) fn recognised(
    stored: &[StoredContact],
    roster: &Roster,
    settled: &dyn Fn(usize) -> bool,
) -> (Vec<Link>, Vec<Link>) {
    if stored.iter().all(|contact| contact.removed) {
        return (Vec::new(), Vec::new());
    }
    let in_file: HashSet<&str> = (0..roster.contacts.len())
        .map(|place| roster.contacts.packed(place).external_id)
        .collect();
    let people = |wanted: &dyn Fn(Option<&str>) -> bool| -> Vec<Person> {
        (0..)
            .zip(stored)
            .filter(|(_, contact)| !contact.removed && wanted(contact.state.external_id.as_deref()))
            .map(|(place, contact)| Person::stored(place, &contact.state))
            .collect()
    };
    let by_hand = people(&|id| id.is_none());
    let gone =
        people(&|id| id.is_some_and(|id| !in_file.contains(id) && !roster.in_error.contains(id)));
    if by_hand.is_empty() && gone.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let known: HashMap<&str, bool> = stored
        .iter()
        .filter_map(|contact| Some((contact.state.external_id.as_deref()?, contact.removed)))
        .collect();
    let of_file = |wanted: &dyn Fn(Option<&bool>) -> bool| -> Vec<FileContact> {
        (0..roster.contacts.len())
            .filter(|place| {
                !settled(*place) && wanted(known.get(roster.contacts.packed(*place).external_id))
            })
            .map(|place| roster.contacts.get(place))
            .collect()
    };
    let mut new = of_file(&|known| known.is_none());
    let adopted = linked(&by_hand, &new);
    let taken: HashSet<&ExternalId> = adopted.iter().map(|(id, _)| id).collect();
    new.retain(|contact| !taken.contains(&contact.external_id));
    // Who comes back under an ID of old may be the one who is gone: then nobody can say who is who.
    let strangers = new.len();
    new.extend(of_file(&|known| known == Some(&true)));
    let mut renumbered = linked(&gone, &new);
    let returning: HashSet<&ExternalId> = new[strangers..].iter().map(|c| &c.external_id).collect();
    renumbered.retain(|(id, _)| !returning.contains(id));
    (adopted, renumbered)
}

fn linked(known: &[Person], new: &[FileContact]) -> Vec<Link> {
    let new_people: Vec<Person> = (0..)
        .zip(new)
        .map(|(place, contact)| Person::in_file(place, contact))
        .collect();
    one_to_one(known, &new_people)
        .into_iter()
        .map(|(known, new_place)| (new[new_place].external_id.clone(), known))
        .collect()
}
