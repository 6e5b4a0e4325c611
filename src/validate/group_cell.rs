//! Reads a `Groups` cell: names separated by commas.

use std::collections::HashSet;

use crate::model::group::name_key;
use crate::unicode;

/// Names in a cell that are held against each other one by one.
const LINEAR_SEARCH_MAX: usize = 8;

/// Whether a `Groups` cell names no group.
#[must_use]
pub fn is_blank(cell: &str) -> bool {
    split_names(cell).all(str::is_empty)
}

/// What stands between the commas, trimmed.
fn split_names(cell: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b',', cell.as_bytes()).chain([cell.len()]);
    ends.map(move |end| {
        let name = &cell[start..end];
        start = end + 1;
        unicode::trim(name)
    })
}

/// Splits a `Groups` cell: at commas, trimmed, without blanks and repeats (the first spelling stays).
#[must_use]
pub fn split(cell: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    // By which repeats are told where there are many.
    let mut keys = HashSet::new();
    for name in split_names(cell) {
        if names.len() == LINEAR_SEARCH_MAX && keys.is_empty() {
            keys.extend(names.iter().map(|name| name_key(name)));
        }
        let is_repeat = if names.len() < LINEAR_SEARCH_MAX {
            names
                .iter()
                .any(|other| unicode::eq_ignore_case(name, other))
        } else {
            !keys.insert(name_key(name))
        };
        if !name.is_empty() && !is_repeat {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_drops_blank_and_repeated_names() {
        assert_eq!(
            split(" Search Team, , Medics ,search team,"),
            ["Search Team", "Medics"]
        );
        assert!(split(" , ,").is_empty());
        assert_eq!(split("A; B"), ["A; B"]);
    }
}
