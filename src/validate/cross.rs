//! What shows only when contacts are held against each other: numbers shared, IDs that look alike.

use hashbrown::{HashMap, HashSet};

use super::index::Ids;
use crate::model::catalogue::Finding;
use crate::model::contact::PhoneNumber;
use crate::model::issue::{Issue, VALUE_LIMIT};
use crate::model::table::Field;
use crate::model::text;

/// What was found.
pub(super) struct Found {
    /// Place of the contact that it is told of.
    pub(super) place: usize,
    /// Place of the other one.
    pub(super) other: usize,
    pub(super) issue: Issue,
}

/// Which numbers may stand at more than one contact.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    met: HashSet<u64>,
    again: HashSet<u64>,
}

impl Numbers {
    /// Takes a number of a row.
    pub(super) fn take(&mut self, number: PhoneNumber) {
        let number = number.as_digits();
        if !self.met.insert(number) {
            self.again.insert(number);
        }
    }
}

/// What is found among `count` contacts with these IDs and numbers. `numbers_of` adds a contact's numbers.
pub(super) fn check<'a>(
    count: usize,
    ids: &Ids,
    numbers: &Numbers,
    id_of: impl Fn(usize) -> &'a str,
    numbers_of: impl Fn(usize, &mut Vec<PhoneNumber>),
    first_row: impl Fn(usize) -> Option<u32>,
) -> Vec<Found> {
    let mut found = Vec::new();
    let mut find = |place, other, finding, field, value: &str| {
        let issue = issue(finding, field, value, id_of(other), first_row(place));
        found.push(Found {
            place,
            other,
            issue,
        });
    };
    for (place, first) in ids.alike() {
        let (finding, field) = (Finding::SimilarId, Field::Id);
        find(*place, *first, finding, field, id_of(*place));
    }
    if numbers.again.is_empty() {
        return found;
    }
    let mut owners: HashMap<u64, usize> = HashMap::with_capacity(numbers.again.len());
    let mut of_contact = Vec::new();
    for place in 0..count {
        of_contact.clear();
        numbers_of(place, &mut of_contact);
        for number in &of_contact {
            let digits = number.as_digits();
            if !numbers.again.contains(&digits) {
                continue;
            }
            let owner = owners.insert(digits, place);
            if let Some(other) = owner.filter(|other| *other != place) {
                let (finding, field) = (Finding::NumberShared, Field::Number);
                find(place, other, finding, field, number.as_str());
            }
        }
    }
    found
}

fn issue(finding: Finding, field: Field, value: &str, other: &str, row: Option<u32>) -> Issue {
    Issue {
        row,
        column: Some(field.as_str().into()),
        value: Some(text::shorten(value, VALUE_LIMIT)),
        ..Issue::clashing(finding, &text::shorten(other, 60), 0)
    }
}
