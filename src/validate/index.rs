//! Finds contacts by ID, exact or similar, without copying the IDs. Stores only positions and hashes; callers provide the ID
//! of a position.

use std::borrow::Cow;
use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::unicode;

/// Positions of contacts by ID. IDs are similar if they differ only in case, leading zeros or invisible characters.
#[derive(Debug, Default)]
pub(super) struct IdIndex {
    /// The first of each set of similar IDs.
    by_folded_id: HashIndex,
    /// All other IDs.
    by_id: HashIndex,
    similar: Vec<(usize, usize)>,
    buffer: String,
}

impl IdIndex {
    /// Returns the position of the contact with this ID. If there is none, adds the ID with `position` and returns `None`.
    /// `id_of` returns the ID at an earlier position.
    pub(super) fn find_or_insert<'a>(
        &mut self,
        id: &str,
        position: usize,
        id_of: impl Fn(usize) -> &'a str,
    ) -> Option<usize> {
        // Exact matches first: they need no folding and no comparison with similar IDs, which can be long.
        let exact = self.by_id.find(id, |other| id_of(other) == id);
        if exact.is_some() {
            return exact;
        }
        let visible = unicode::without_invisible(id);
        let stripped = strip_leading_zeros(&visible);
        let folded_id = fold_into_buffer(stripped, &mut self.buffer);
        let is_similar = |other: usize| {
            let other = unicode::without_invisible(id_of(other));
            unicode::eq_ignore_case(strip_leading_zeros(&other), stripped)
        };
        let first = self
            .by_folded_id
            .find_or_insert(&folded_id, position, is_similar)?;
        if id_of(first) == id {
            return Some(first);
        }
        let existing = self
            .by_id
            .find_or_insert(id, position, |other| id_of(other) == id);
        if existing.is_none() {
            self.similar.push((position, first));
        }
        existing
    }

    /// Returns the position of the contact with this ID.
    pub(super) fn find<'a>(&self, id: &str, id_of: impl Fn(usize) -> &'a str) -> Option<usize> {
        let exact = self.by_id.find(id, |other| id_of(other) == id);
        exact.or_else(|| {
            let folded_id = similarity_key(id, &mut String::new()).into_owned();
            self.by_folded_id
                .find(&folded_id, |first| id_of(first) == id)
        })
    }

    /// Each position whose ID is similar to an earlier one, with the first such position.
    pub(super) fn similar(&self) -> &[(usize, usize)] {
        &self.similar
    }
}

/// The key that similar IDs share: without invisible characters, leading zeros and case.
pub(super) fn similarity_key<'a>(id: &str, buffer: &'a mut String) -> Cow<'a, str> {
    let visible = unicode::without_invisible(id);
    fold_into_buffer(strip_leading_zeros(&visible), buffer)
}

/// Folds the text. ASCII text is folded in `buffer`, without an allocation of its own.
fn fold_into_buffer<'a>(text: &str, buffer: &'a mut String) -> Cow<'a, str> {
    if !text.is_ascii() {
        return Cow::Owned(unicode::fold(text));
    }
    buffer.clear();
    buffer.push_str(text);
    buffer.make_ascii_lowercase();
    Cow::Borrowed(buffer)
}

/// Spreadsheet programs drop leading zeros, so IDs are compared without them.
fn strip_leading_zeros(id: &str) -> &str {
    id.trim_start_matches('0')
}

/// Positions by text. The caller owns the texts.
#[derive(Debug, Default)]
struct HashIndex {
    slots: HashTable<Slot>,
    hash_builder: DefaultHashBuilder,
}

/// Keeps half of the hash, because the table needs it when it grows and would otherwise hash all texts again.
#[derive(Debug)]
struct Slot {
    hash: u32,
    position: u32,
}

impl HashIndex {
    /// Returns the position of the text.
    fn find(&self, text: &str, is_same: impl Fn(usize) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = upper_half(self.hash_builder.hash_one(text));
        let is_match = |slot: &Slot| slot.hash == hash && is_same(slot.position as usize);
        let slot = self.slots.find(mix_hash(hash), is_match)?;
        Some(slot.position as usize)
    }

    /// Returns the position of the text. If there is none, adds it with `position` and returns `None`.
    fn find_or_insert(
        &mut self,
        text: &str,
        position: usize,
        is_same: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let hash = upper_half(self.hash_builder.hash_one(text));
        let is_match = |slot: &Slot| slot.hash == hash && is_same(slot.position as usize);
        match self
            .slots
            .entry(mix_hash(hash), is_match, |slot| mix_hash(slot.hash))
        {
            Entry::Occupied(slot) => Some(slot.get().position as usize),
            Entry::Vacant(slot) => {
                // No sheet has that many rows.
                let position = u32::try_from(position).unwrap_or(u32::MAX);
                slot.insert(Slot { hash, position });
                None
            }
        }
    }
}

fn upper_half(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or_default()
}

/// Spreads the 32 bits over 64, because the table uses the top bits too.
fn mix_hash(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_text_returns_first_position() {
        let texts: Vec<String> = (0..10_000).map(|n| format!("{}", n % 5_000)).collect();
        let mut index = HashIndex::default();
        for (position, text) in texts.iter().enumerate() {
            let existing = index.find_or_insert(text, position, |other| texts[other] == *text);
            assert_eq!(existing, (position >= 5_000).then(|| position - 5_000));
        }
    }

    #[test]
    fn similar_ids_stay_distinct_and_are_reported() {
        let ids = [
            "7",
            "A1",
            "007",
            "a1",
            "07",
            "A1",
            "a1",
            "007",
            "b",
            "B\u{200B}",
        ];
        let (mut index, mut existing) = (IdIndex::default(), Vec::new());
        for (position, id) in ids.iter().enumerate() {
            existing.push(index.find_or_insert(id, position, |other| ids[other]));
        }
        let new = [None; 5];
        assert_eq!(existing[..5], new);
        assert_eq!(existing[5..], [Some(1), Some(3), Some(2), None, None]);
        assert_eq!(index.similar(), [(2, 0), (3, 1), (4, 0), (9, 8)]);
    }
}
