//! Places of contacts by their IDs, without a copy of the IDs.

use std::borrow::Cow;
use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::unicode;

/// Which place has which ID, and which IDs look like another.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// The first of those that look alike.
    by_look: Index,
    /// The others.
    by_id: Index,
    alike: Vec<(usize, usize)>,
    scratch: String,
}

impl Ids {
    /// The place that has this ID; where none has, `place` has it from now on. `id_of` gives the ID of an earlier place.
    pub(super) fn find_or_keep<'a>(
        &mut self,
        id: &str,
        place: usize,
        id_of: impl Fn(usize) -> &'a str,
    ) -> Option<usize> {
        // First the exact ones: an ID that is found there costs no look at the others, however long they are.
        let exact = self.by_id.find(id, |other| id_of(other) == id);
        if exact.is_some() {
            return exact;
        }
        let bare = without_zeros(id);
        let look = folded(bare, &mut self.scratch);
        let is_alike = |other: usize| unicode::is_same_folded(without_zeros(id_of(other)), bare);
        let first = self.by_look.find_or_keep(&look, place, is_alike)?;
        if id_of(first) == id {
            return Some(first);
        }
        let known = self
            .by_id
            .find_or_keep(id, place, |other| id_of(other) == id);
        if known.is_none() {
            self.alike.push((place, first));
        }
        known
    }

    /// The place that has this ID. `id_of` gives the ID of a place.
    pub(super) fn find<'a>(&self, id: &str, id_of: impl Fn(usize) -> &'a str) -> Option<usize> {
        let exact = self.by_id.find(id, |other| id_of(other) == id);
        exact.or_else(|| {
            let look = folded(without_zeros(id), &mut String::new()).into_owned();
            self.by_look.find(&look, |first| id_of(first) == id)
        })
    }

    /// Each place whose ID looks like an earlier one, with the first such place.
    pub(super) fn alike(&self) -> &[(usize, usize)] {
        &self.alike
    }
}

/// The text folded, in `scratch` where that needs no more than small letters.
pub(super) fn folded<'a>(text: &str, scratch: &'a mut String) -> Cow<'a, str> {
    if !text.is_ascii() {
        return Cow::Owned(unicode::fold(text));
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

/// Which place has which text; the texts themselves lie elsewhere.
#[derive(Debug, Default)]
struct Index {
    slots: HashTable<Slot>,
    state: DefaultHashBuilder,
}

/// Half of the hash is kept, so that a table that grows need not look at the texts again.
#[derive(Debug)]
struct Slot {
    hash: u32,
    place: u32,
}

impl Index {
    /// The place that has this text.
    fn find(&self, text: &str, is_same: impl Fn(usize) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = half(self.state.hash_one(text));
        let is = |slot: &Slot| slot.hash == hash && is_same(slot.place as usize);
        let slot = self.slots.find(spread(hash), is)?;
        Some(slot.place as usize)
    }

    /// The place that has this text, by `is_same`; where none has, `place` has it from now on.
    fn find_or_keep(
        &mut self,
        text: &str,
        place: usize,
        is_same: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let hash = half(self.state.hash_one(text));
        let is = |slot: &Slot| slot.hash == hash && is_same(slot.place as usize);
        match self.slots.entry(spread(hash), is, |slot| spread(slot.hash)) {
            Entry::Occupied(slot) => Some(slot.get().place as usize),
            Entry::Vacant(slot) => {
                // There are fewer rows than that in any sheet.
                let place = u32::try_from(place).unwrap_or(u32::MAX);
                slot.insert(Slot { hash, place });
                None
            }
        }
    }
}

fn half(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or_default()
}

/// Over all bits, as the table wants them.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_again_where_it_was_first() {
        let texts: Vec<String> = (0..10_000).map(|n| format!("{}", n % 5_000)).collect();
        let mut index = Index::default();
        for (place, text) in texts.iter().enumerate() {
            let found = index.find_or_keep(text, place, |other| texts[other] == *text);
            assert_eq!(found, (place >= 5_000).then(|| place - 5_000));
        }
    }

    #[test]
    fn ids_that_look_alike_are_kept_apart_and_told() {
        let ids = ["7", "A1", "007", "a1", "07", "A1", "a1", "007", "b"];
        let (mut known, mut found) = (Ids::default(), Vec::new());
        for (place, id) in ids.iter().enumerate() {
            found.push(known.find_or_keep(id, place, |other| ids[other]));
        }
        let new = [None; 5];
        assert_eq!(found[..5], new);
        assert_eq!(found[5..], [Some(1), Some(3), Some(2), None]);
        assert_eq!(known.alike(), [(2, 0), (3, 1), (4, 0)]);
    }
}
