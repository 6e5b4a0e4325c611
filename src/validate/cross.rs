//! What shows only when contacts are held against each other: numbers shared, IDs that look alike.

use std::borrow::Cow;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::index::Index;
use crate::model::catalogue::{About, Finding};
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

/// What is found among `count` contacts. `numbers_of` adds a contact's numbers.
pub(super) fn check<'a>(
    count: usize,
    id_of: impl Fn(usize) -> &'a str,
    numbers_of: impl Fn(usize, &mut Vec<PhoneNumber>),
    first_row: impl Fn(usize) -> Option<u32>,
) -> Vec<Found> {
    let mut found = Vec::new();
    let mut owners: HashMap<u64, usize, DefaultHashBuilder> =
        HashMap::with_capacity_and_hasher(count, DefaultHashBuilder::default());
    let mut ids = Index::with_capacity(count);
    let (mut numbers, mut scratch) = (Vec::new(), String::new());
    for place in 0..count {
        let id = id_of(place);
        numbers.clear();
        numbers_of(place, &mut numbers);
        for number in &numbers {
            let owner = owners.insert(number.as_digits(), place);
            if let Some(other) = owner.filter(|other| *other != place) {
                let (row, shown) = (first_row(place), number.as_str());
                let id = id_of(other);
                let issue = issue(Finding::NumberShared, Field::Number, shown, id, row);
                found.push(Found {
                    place,
                    other,
                    issue,
                });
            }
        }
        let bare = without_zeros(id);
        let is_same = |other: usize| text::is_same_folded(without_zeros(id_of(other)), bare);
        if let Some(other) = ids.find_or_keep(&folded(bare, &mut scratch), place, is_same) {
            let issue = issue(
                Finding::SimilarId,
                Field::Id,
                id,
                id_of(other),
                first_row(place),
            );
            found.push(Found {
                place,
                other,
                issue,
            });
        }
    }
    found
}

/// The text folded, in `scratch` where that needs no more than small letters.
pub(super) fn folded<'a>(text: &str, scratch: &'a mut String) -> Cow<'a, str> {
    if !text.is_ascii() {
        return Cow::Owned(text::fold(text));
    }
    scratch.clear();
    scratch.push_str(text);
    scratch.make_ascii_lowercase();
    Cow::Borrowed(scratch)
}

/// The ID without its leading zeros, which people and programs lose.
pub(super) fn without_zeros(id: &str) -> &str {
    id.trim_start_matches('0')
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
