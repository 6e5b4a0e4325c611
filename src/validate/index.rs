//! Places of contacts by a text, without a copy of the text.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Which place has which text; the texts themselves lie elsewhere.
#[derive(Debug, Default)]
pub(super) struct Index {
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
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            slots: HashTable::with_capacity(count),
            state: DefaultHashBuilder::default(),
        }
    }

    /// The place that has this text, by `is_same`; where none has, `place` has it from now on.
    pub(super) fn find_or_keep(
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
        let mut index = Index::with_capacity(10);
        for (place, text) in texts.iter().enumerate() {
            let found = index.find_or_keep(text, place, |other| texts[other] == *text);
            assert_eq!(found, (place >= 5_000).then(|| place - 5_000));
        }
    }
}
