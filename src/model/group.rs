//! Groups, and the key for comparing their names regardless of case.

use super::GroupId;
use super::digest::{hex, sha256};
use crate::unicode;

/// Longest folded name that is its own key, in bytes. Longer names are shortened, because Postgres limits the size of
/// index entries.
const MAX_KEY_BYTES: usize = 400;

/// The key for comparing group names (`groups.name_key`): equal for all spellings that differ only in case.
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

/// A group in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGroup {
    /// Database id.
    pub id: GroupId,
    /// Name as last spelled.
    pub name: String,
    /// See [`name_key`].
    pub name_key: String,
    /// Soft-deleted, because it has no members.
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
