//! The groups while a plan is made: places by key, spellings, and how many members each has.

use std::collections::HashMap;

use crate::model::contact::ContactState;
use crate::model::group::{StoredGroup, name_key};
use crate::model::plan::{GroupChange, PlanGroup};

/// The groups while a plan is made.
pub(super) struct GroupTable<'a> {
    stored: &'a [StoredGroup],
    keys: Vec<String>,
    /// Spelling in the file, the first that is met; for a stored group the stored one, if it occurs.
    spelled: Vec<Option<String>>,
    place_of: HashMap<String, u32>,
}

impl<'a> GroupTable<'a> {
    pub(super) fn new(stored: &'a [StoredGroup]) -> Self {
        let keys: Vec<String> = stored.iter().map(|group| group.name_key.clone()).collect();
        let place_of = (0..)
            .zip(&keys)
            .map(|(place, key)| (key.clone(), place))
            .collect();
        Self {
            stored,
            spelled: vec![None; keys.len()],
            keys,
            place_of,
        }
    }

    /// The key of a place.
    pub(super) fn key(&self, place: u32) -> &str {
        &self.keys[place as usize]
    }

    /// The place of a stored group's key.
    pub(super) fn known(&self, key: &str) -> Option<u32> {
        let place = self.place_of.get(key).copied();
        place.filter(|place| (*place as usize) < self.stored.len())
    }

    /// The place of a key; a group that is new gets this name.
    pub(super) fn place_of_key(&mut self, key: String, name: &str) -> u32 {
        if let Some(place) = self.place_of.get(&key) {
            return *place;
        }
        let place = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.place_of.insert(key.clone(), place);
        self.keys.push(key);
        self.spelled.push(Some(name.to_owned()));
        place
    }

    /// The place of a name as the file spells it.
    pub(super) fn place(&mut self, name: &str) -> u32 {
        let place = self.place_of_key(name_key(name), name);
        let index = place as usize;
        let is_stored_spelling = self
            .stored
            .get(index)
            .is_some_and(|group| group.name == name);
        if self.spelled[index].is_none() || is_stored_spelling {
            self.spelled[index] = Some(name.to_owned());
        }
        place
    }

    pub(super) fn finish(self, members: &MemberCount) -> Vec<PlanGroup> {
        let rows = self.keys.into_iter().zip(self.spelled).enumerate();
        rows.map(|(place, (name_key, spelled))| {
            let filled = members.of(place) > 0;
            let Some(stored) = self.stored.get(place) else {
                return PlanGroup {
                    id: None,
                    name: spelled.unwrap_or_default(),
                    name_key,
                    // Nobody is in it where a contact that would have been was refused.
                    change: if filled {
                        GroupChange::Add
                    } else {
                        GroupChange::None
                    },
                };
            };
            let name = spelled.unwrap_or_else(|| stored.name.clone());
            let change = match (filled, stored.removed) {
                (true, true) => GroupChange::Write,
                (true, false) if name != stored.name => GroupChange::Write,
                (false, false) => GroupChange::Remove,
                _ => GroupChange::None,
            };
            PlanGroup {
                id: Some(stored.id),
                name_key,
                name,
                change,
            }
        })
        .collect()
    }
}

#[derive(Default)]
pub(super) struct MemberCount(Vec<usize>);

impl MemberCount {
    pub(super) fn add(&mut self, state: &ContactState) {
        state.groups.iter().for_each(|place| self.add_to(*place));
    }

    pub(super) fn add_to(&mut self, place: u32) {
        let place = place as usize;
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        self.0[place] += 1;
    }

    pub(super) fn of(&self, place: usize) -> usize {
        self.0.get(place).copied().unwrap_or(0)
    }
}

pub(super) fn count_members<'a>(
    groups: usize,
    states: impl Iterator<Item = &'a ContactState>,
) -> Vec<usize> {
    let mut members = MemberCount(vec![0; groups]);
    states.for_each(|state| members.add(state));
    members.0
}

/// Names of the groups that lose all their members, and how many the largest of them had.
pub(super) fn emptied(
    groups: &[PlanGroup],
    members_before: &[usize],
    members: &MemberCount,
) -> (Vec<String>, usize) {
    let (mut names, mut largest) = (Vec::new(), 0);
    for (place, before) in members_before.iter().enumerate() {
        if *before > 0 && members.of(place) == 0 {
            names.push(groups[place].name.clone());
            largest = largest.max(*before);
        }
    }
    (names, largest)
}
