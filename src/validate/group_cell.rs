//! Splits a `Groups` cell into group names. Does not depend on stored groups.

use std::collections::HashSet;

use crate::model::group::name_key;
use crate::unicode;

/// Up to this number of names, repeats are found by comparing names in pairs; beyond it, with a hash set.
const LINEAR_SEARCH_MAX: usize = 8;

/// Returns whether the cell is blank or has only commas.
#[must_use]
pub fn is_blank(cell: &str) -> bool {
    split_names(cell).all(str::is_empty)
}

/// The parts between the commas, trimmed.
fn split_names(cell: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b',', cell.as_bytes()).chain([cell.len()]);
    ends.map(move |end| {
        let name = &cell[start..end];
        start = end + 1;
        unicode::trim(name)
    })
}

/// Returns the names, trimmed, without blanks and repeats. Names that differ only in case are repeats; the first is kept.
#[must_use]
pub fn split(cell: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    // Empty until there are too many names for a linear search.
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
