//! What shows only when contacts are held against each other: numbers shared, IDs that look alike.

use std::collections::HashMap;

use super::draft::Draft;
use crate::model::issue::{Code, Issue, VALUE_LIMIT};
use crate::model::table::Field;
use crate::model::text;

/// The issues found, each with the place of its draft.
pub(super) fn check(drafts: &[Draft]) -> Vec<(Option<usize>, Issue)> {
    let mut issues = Vec::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut ids: HashMap<String, usize> = HashMap::new();
    for (place, draft) in drafts.iter().enumerate() {
        for number in draft.numbers() {
            let number = number.number.as_str();
            if let Some(other) = numbers
                .insert(number, place)
                .filter(|other| *other != place)
            {
                let other = text::shorten(&drafts[other].id, 60);
                let message = format!(
                    "the contact with the ID `{other}` has the same number; check that both are right"
                );
                issues.push((
                    Some(place),
                    issue(draft, Code::NumberShared, Field::Number, number, message),
                ));
            }
        }
        let key = text::fold(&draft.id).trim_start_matches('0').to_owned();
        if let Some(other) = ids.insert(key, place) {
            let other = text::shorten(&drafts[other].id, 60);
            let message = format!(
                "this ID differs from `{other}` only in case or leading zeros; check that these are two people"
            );
            issues.push((
                Some(place),
                issue(draft, Code::SimilarId, Field::Id, &draft.id, message),
            ));
        }
    }
    issues
}

fn issue(draft: &Draft, code: Code, field: Field, value: &str, message: String) -> Issue {
    Issue {
        row: draft.first_row(),
        column: Some(field.as_str().to_owned()),
        value: Some(text::shorten(value, VALUE_LIMIT)),
        ..Issue::of_file(code, message)
    }
}
