//! Groups, matched without regard to case.

use super::GroupId;
use super::digest::{hex, sha256};
use crate::unicode;

/// Longest folded name that is its own key, bytes; a longer one is shortened so that an index can hold it.
const KEY_LIMIT: usize = 400;

/// A group name in the form by which groups are matched (`groups.name_key`).
#[must_use]
pub fn name_key(name: &str) -> String {
    let folded = unicode::fold(name);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_has_a_bounded_key_of_its_own() {
        let (one, other) = ("x".repeat(30_000), format!("{}y", "x".repeat(29_999)));
        assert!(name_key(&one).len() < KEY_LIMIT);
        assert_ne!(name_key(&one), name_key(&other));
        assert_eq!(name_key(&one), name_key(&one.to_uppercase()));
    }
}
