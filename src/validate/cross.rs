//! What shows only when contacts are held against each other: numbers shared, IDs that look alike.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::model::catalogue::{About, Finding};
use crate::model::issue::{Issue, VALUE_LIMIT};
use crate::model::table::Field;
use crate::model::text;

/// What is looked at of a contact.
pub(super) struct Candidate<'a> {
    pub(super) external_id: &'a str,
    pub(super) numbers: Vec<&'a str>,
}

/// The issues found among `count` contacts, each with the place of its contact.
pub(super) fn check<'a>(
    count: usize,
    candidate: impl Fn(usize) -> Candidate<'a>,
    first_row: impl Fn(usize) -> Option<u32>,
) -> Vec<(Option<usize>, Issue)> {
    let mut issues = Vec::new();
    let mut numbers: HashMap<u64, usize> = HashMap::new();
    let (mut ids, state) = (HashTable::new(), RandomState::new());
    let hash = |place: usize| state.hash_one(key(candidate(place).external_id));
    for place in 0..count {
        let found = candidate(place);
        for number in &found.numbers {
            // Ten digits: as a number they take less room.
            let Ok(digits) = number.parse() else { continue };
            if let Some(other) = numbers
                .insert(digits, place)
                .filter(|other| *other != place)
            {
                let other = candidate(other).external_id;
                let issue = issue(
                    Finding::NumberShared,
                    Field::Number,
                    number,
                    other,
                    first_row(place),
                );
                issues.push((Some(place), issue));
            }
        }
        let own_key = key(found.external_id);
        let same = |other: &usize| key(candidate(*other).external_id) == own_key;
        match ids.entry(state.hash_one(&own_key), same, |other| hash(*other)) {
            Entry::Vacant(entry) => {
                entry.insert(place);
            }
            Entry::Occupied(mut entry) => {
                let other = candidate(*entry.get()).external_id;
                let id = found.external_id;
                let issue = issue(Finding::SimilarId, Field::Id, id, other, first_row(place));
                issues.push((Some(place), issue));
                *entry.get_mut() = place;
            }
        }
    }
    issues
}

/// The ID without what people mix up: case and leading zeros.
fn key(id: &str) -> String {
    let mut folded = text::fold(id);
    let zeros = folded.len() - folded.trim_start_matches('0').len();
    folded.drain(..zeros);
    folded
}

fn issue(finding: Finding, field: Field, value: &str, other: &str, row: Option<u32>) -> Issue {
    let about = About {
        column: field.as_str(),
        other: &text::shorten(other, 60),
        ..About::default()
    };
    Issue {
        row,
        column: Some(field.as_str().to_owned()),
        value: Some(text::shorten(value, VALUE_LIMIT)),
        ..Issue::new(finding, about)
    }
}
