//! Who is the same person: contacts of two sides that share folded name and a number, one to one.

use std::collections::HashMap;

use crate::model::contact::{ContactState, FileContact, PhoneNumber};
use crate::model::text::fold;

/// By what a person is recognised, and its place in its list.
#[derive(Debug)]
pub(super) struct Person {
    place: usize,
    name: String,
    numbers: Vec<PhoneNumber>,
}

impl Person {
    pub(super) fn stored(place: usize, state: &ContactState) -> Self {
        Self {
            place,
            name: fold(&state.name),
            numbers: state.numbers.iter().map(|number| number.number).collect(),
        }
    }

    pub(super) fn in_file(place: usize, contact: &FileContact) -> Self {
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
pub(super) fn one_to_one(known: &[Person], new: &[Person]) -> Vec<(usize, usize)> {
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
