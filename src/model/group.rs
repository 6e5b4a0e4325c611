//! Groups, matched without regard to case.

use std::collections::HashSet;

use super::digest::{hex, sha256};
use super::{GroupId, text};

/// Names in a cell that are held against each other one by one.
const FEW: usize = 8;

/// Longest folded name that is its own key, bytes; a longer one is shortened so that an index can hold it.
const KEY_LIMIT: usize = 400;

/// A group name in the form by which groups are matched (`groups.name_key`).
#[must_use]
pub fn name_key(name: &str) -> String {
    let folded = text::fold(name);
    if folded.len() <= KEY_LIMIT {
        return folded;
    }
    let mut key: String = folded.chars().take(64).collect();
    key.push('…');
    key.push_str(&hex(&sha256(folded.as_bytes())));
    key
}

/// A group as the database holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGroup {
    /// Stable id.
    pub id: GroupId,
    /// As last spelled.
    pub name: String,
    /// By which it is matched.
    pub name_key: String,
    /// Nobody was left in it.
    pub removed: bool,
}

/// Whether a `Groups` cell names no group.
#[must_use]
pub fn is_blank(cell: &str) -> bool {
    trimmed(cell).all(str::is_empty)
}

/// What stands between the commas, trimmed.
fn trimmed(cell: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b',', cell.as_bytes()).chain([cell.len()]);
    ends.map(move |end| {
        let name = &cell[start..end];
        start = end + 1;
        text::trim(name)
    })
}

/// Splits a `Groups` cell: at commas, trimmed, without blanks and repeats (the first spelling stays).
#[must_use]
pub fn split(cell: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    // By which repeats are told where there are many.
    let mut keys = HashSet::new();
    for name in trimmed(cell) {
        if names.len() == FEW && keys.is_empty() {
            keys.extend(names.iter().map(|name| name_key(name)));
        }
        let known = if names.len() < FEW {
            names.iter().any(|other| text::is_same_folded(name, other))
        } else {
            !keys.insert(name_key(name))
        };
        if !name.is_empty() && !known {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_split_at_commas_without_blanks_and_repeats() {
        assert_eq!(
            split(" Search Team, , Medics ,search team,"),
            ["Search Team", "Medics"]
        );
        assert!(split(" , ,").is_empty());
        assert_eq!(split("A; B"), ["A; B"]);
    }

    #[test]
    fn a_long_name_has_a_bounded_key_of_its_own() {
        let (one, other) = ("x".repeat(30_000), format!("{}y", "x".repeat(29_999)));
        assert!(name_key(&one).len() < KEY_LIMIT);
        assert_ne!(name_key(&one), name_key(&other));
        assert_eq!(name_key(&one), name_key(&one.to_uppercase()));
    }
}
