//! Groups, matched without regard to case.

use super::GroupId;
use super::digest::{hex, sha256};
use crate::unicode;

/// Longest folded name that is its own key, bytes; a longer one is shortened so that an index can hold it.
const MAX_KEY_BYTES: usize = 400;

/// A group name in the form by which groups are matched (`groups.name_key`).
#[must_use]
pub fn name_key(name: &str) -> String {
    let folded = unicode::fold(name);
    if folded.len() <= MAX_KEY_BYTES {
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
    fn long_name_gets_bounded_distinct_key() {
        let (one, other) = ("x".repeat(30_000), format!("{}y", "x".repeat(29_999)));
        assert!(name_key(&one).len() < MAX_KEY_BYTES);
        assert_ne!(name_key(&one), name_key(&other));
        assert_eq!(name_key(&one), name_key(&one.to_uppercase()));
    }
}
