//! Places of contacts by their IDs, without a copy of the IDs.

use std::borrow::Cow;
use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::unicode;

/// Which place has which ID, and which IDs look like another.
#[derive(Debug, Default)]
pub(super) struct IdIndex {
    /// The first of those that look alike.
    by_folded_id: HashIndex,
    /// The others.
    by_id: HashIndex,
    similar: Vec<(usize, usize)>,
    buffer: String,
}

impl IdIndex {
    /// The place that has this ID; where none has, `position` has it from now on. `id_of` gives the ID of an earlier place.
    pub(super) fn find_or_insert<'a>(
        &mut self,
        id: &str,
        position: usize,
        id_of: impl Fn(usize) -> &'a str,
    ) -> Option<usize> {
        // First the exact ones: an ID that is found there costs no look at the others, however long they are.
        let exact = self.by_id.find(id, |other| id_of(other) == id);
        if exact.is_some() {
            return exact;
        }
        let stripped = strip_leading_zeros(id);
        let folded_id = fold_into_buffer(stripped, &mut self.buffer);
        let is_similar =
            |other: usize| unicode::eq_ignore_case(strip_leading_zeros(id_of(other)), stripped);
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

    /// The place that has this ID. `id_of` gives the ID of a place.
    pub(super) fn find<'a>(&self, id: &str, id_of: impl Fn(usize) -> &'a str) -> Option<usize> {
        let exact = self.by_id.find(id, |other| id_of(other) == id);
        exact.or_else(|| {
            let folded_id =
                fold_into_buffer(strip_leading_zeros(id), &mut String::new()).into_owned();
            self.by_folded_id
                .find(&folded_id, |first| id_of(first) == id)
        })
    }

    /// Each place whose ID looks like an earlier one, with the first such place.
    pub(super) fn similar(&self) -> &[(usize, usize)] {
        &self.similar
    }
}

/// The text folded, in `buffer` where that needs no more than small letters.
pub(super) fn fold_into_buffer<'a>(text: &str, buffer: &'a mut String) -> Cow<'a, str> {
    if !text.is_ascii() {
        return Cow::Owned(unicode::fold(text));
    }
    buffer.clear();
    buffer.push_str(text);
    buffer.make_ascii_lowercase();
    Cow::Borrowed(buffer)
}

/// The ID without its leading zeros, which people and programs lose.
pub(super) fn strip_leading_zeros(id: &str) -> &str {
    id.trim_start_matches('0')
}

/// Which place has which text; the texts themselves lie elsewhere.
#[derive(Debug, Default)]
struct HashIndex {
    slots: HashTable<Slot>,
    hash_builder: DefaultHashBuilder,
}

/// Half of the hash is kept, so that a table that grows need not look at the texts again.
#[derive(Debug)]
struct Slot {
    hash: u32,
    position: u32,
}

impl HashIndex {
    /// The place that has this text.
    fn find(&self, text: &str, is_same: impl Fn(usize) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = upper_half(self.hash_builder.hash_one(text));
        let is_match = |slot: &Slot| slot.hash == hash && is_same(slot.position as usize);
        let slot = self.slots.find(mix_hash(hash), is_match)?;
        Some(slot.position as usize)
    }

    /// The place that has this text, by `is_same`; where none has, `position` has it from now on.
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
                // There are fewer rows than that in any sheet.
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

/// Over all bits, as the table wants them.
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
            let found = index.find_or_insert(text, position, |other| texts[other] == *text);
            assert_eq!(found, (position >= 5_000).then(|| position - 5_000));
        }
    }

    #[test]
    fn similar_ids_stay_distinct_and_are_reported() {
        let ids = ["7", "A1", "007", "a1", "07", "A1", "a1", "007", "b"];
        let (mut existing, mut found) = (IdIndex::default(), Vec::new());
        for (position, id) in ids.iter().enumerate() {
            found.push(existing.find_or_insert(id, position, |other| ids[other]));
        }
        let new = [None; 5];
        assert_eq!(found[..5], new);
        assert_eq!(found[5..], [Some(1), Some(3), Some(2), None]);
        assert_eq!(existing.similar(), [(2, 0), (3, 1), (4, 0)]);
    }
}
