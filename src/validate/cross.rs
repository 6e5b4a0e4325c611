//! What shows only when contacts are held against each other: numbers shared, IDs that look alike.

use hashbrown::{HashMap, HashSet};

use super::index::Ids;
use crate::model::catalogue::Finding;
use crate::model::contact::PhoneNumber;
use crate::model::issue::{Issue, VALUE_LIMIT};
use crate::table::Field;
use crate::unicode;

/// What was found.
pub(super) struct Found {
    /// Place of the contact that it is told of.
    pub(super) place: usize,
    /// Place of the other one.
    pub(super) other: usize,
    pub(super) issue: Issue,
}

/// The numbers of all rows.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    met: Vec<u64>,
}

impl Numbers {
    /// Takes a number of a row.
    pub(super) fn take(&mut self, number: PhoneNumber) {
        self.met.push(number.as_digits());
    }

    /// Those that were met more than once, and may stand at more than one contact.
    fn repeated(&mut self) -> HashSet<u64> {
        // Quicker than to look each of them up as it comes, and smaller.
        self.met.sort_unstable();
        let pairs = self.met.windows(2);
        pairs
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
            .collect()
    }
}

/// What is found among `count` contacts with these IDs and numbers. `numbers_of` adds a contact's numbers.
pub(super) fn check<'a>(
    count: usize,
    ids: &Ids,
    mut numbers: Numbers,
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
    let repeated = numbers.repeated();
    if repeated.is_empty() {
        return found;
    }
    let mut owners: HashMap<u64, usize> = HashMap::with_capacity(repeated.len());
    let mut of_contact = Vec::new();
    for place in 0..count {
        of_contact.clear();
        numbers_of(place, &mut of_contact);
        for number in &of_contact {
            let digits = number.as_digits();
            if !repeated.contains(&digits) {
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
        value: Some(unicode::shorten(value, VALUE_LIMIT)),
        ..Issue::clashing(finding, &unicode::shorten(other, 60), 0)
    }
}
