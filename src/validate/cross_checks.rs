//! Checks that compare contacts with each other: shared numbers and similar IDs. Does not depend on how contacts
//! are kept in memory.

use hashbrown::{HashMap, HashSet};

use super::index::IdIndex;
use crate::model::catalog::Finding;
use crate::model::contact::PhoneNumber;
use crate::model::issue::{Issue, MAX_VALUE_CHARS};
use crate::table::Field;
use crate::unicode;

/// An issue that concerns two contacts.
pub(super) struct CrossFinding {
    /// Position of the contact that the issue is about.
    pub(super) position: usize,
    /// Position of the contact that it was compared with.
    pub(super) other: usize,
    pub(super) issue: Issue,
}

/// The numbers of all rows.
#[derive(Debug, Default)]
pub(super) struct SeenNumbers {
    seen: Vec<u64>,
}

impl SeenNumbers {
    pub(super) fn push(&mut self, number: PhoneNumber) {
        self.seen.push(number.to_u64());
    }

    /// Numbers that occur more than once, on one contact or on several.
    fn repeated(&mut self) -> HashSet<u64> {
        // Sorting at the end is faster than a lookup for each number, and needs less memory than a set.
        self.seen.sort_unstable();
        let pairs = self.seen.windows(2);
        pairs
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
            .collect()
    }
}

/// Compares contacts by position, 0 to `count` - 1. `numbers_of` appends the numbers of a contact.
pub(super) fn check<'a>(
    count: usize,
    ids: &IdIndex,
    mut numbers: SeenNumbers,
    id_of: impl Fn(usize) -> &'a str,
    numbers_of: impl Fn(usize, &mut Vec<PhoneNumber>),
    first_row: impl Fn(usize) -> Option<u32>,
) -> Vec<CrossFinding> {
    let mut findings = Vec::new();
    let mut report = |position, other, finding, field, value: &str| {
        let issue = issue(finding, field, value, id_of(other), first_row(position));
        findings.push(CrossFinding {
            position,
            other,
            issue,
        });
    };
    for (position, first) in ids.similar() {
        let (finding, field) = (Finding::SimilarId, Field::Id);
        report(*position, *first, finding, field, id_of(*position));
    }
    let repeated = numbers.repeated();
    if repeated.is_empty() {
        return findings;
    }
    let mut owners: HashMap<u64, usize> = HashMap::with_capacity(repeated.len());
    let mut contact_numbers = Vec::new();
    for position in 0..count {
        contact_numbers.clear();
        numbers_of(position, &mut contact_numbers);
        for number in &contact_numbers {
            let digits = number.to_u64();
            if !repeated.contains(&digits) {
                continue;
            }
            let owner = owners.insert(digits, position);
            if let Some(other) = owner.filter(|other| *other != position) {
                let (finding, field) = (Finding::NumberShared, Field::Number);
                report(position, other, finding, field, number.as_str());
            }
        }
    }
    findings
}

fn issue(finding: Finding, field: Field, value: &str, other: &str, row: Option<u32>) -> Issue {
    Issue {
        row,
        column: Some(field.as_str().into()),
        value: Some(unicode::shorten(value, MAX_VALUE_CHARS)),
        ..Issue::with_reference(finding, &unicode::shorten(other, 60), 0)
    }
}
