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
    spellings: Vec<Option<String>>,
    position_of: HashMap<String, u32>,
}

impl<'a> GroupTable<'a> {
    pub(super) fn new(stored: &'a [StoredGroup]) -> Self {
        let keys: Vec<String> = stored.iter().map(|group| group.name_key.clone()).collect();
        let position_of = (0..)
            .zip(&keys)
            .map(|(position, key)| (key.clone(), position))
            .collect();
        Self {
            stored,
            spellings: vec![None; keys.len()],
            keys,
            position_of,
        }
    }

    /// The key of a place.
    pub(super) fn key(&self, position: u32) -> &str {
        &self.keys[position as usize]
    }

    /// The place of a stored group's key.
    pub(super) fn stored_position(&self, key: &str) -> Option<u32> {
        let position = self.position_of.get(key).copied();
        position.filter(|position| (*position as usize) < self.stored.len())
    }

    /// The place of a key; a group that is new gets this name.
    pub(super) fn position_of_key(&mut self, key: String, name: &str) -> u32 {
        if let Some(position) = self.position_of.get(&key) {
            return *position;
        }
        let position = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.position_of.insert(key.clone(), position);
        self.keys.push(key);
        self.spellings.push(Some(name.to_owned()));
        position
    }

    /// The place of a name as the file spells it.
    pub(super) fn position_of_name(&mut self, name: &str) -> u32 {
        let position = self.position_of_key(name_key(name), name);
        let index = position as usize;
        let is_stored_spelling = self
            .stored
            .get(index)
            .is_some_and(|group| group.name == name);
        if self.spellings[index].is_none() || is_stored_spelling {
            self.spellings[index] = Some(name.to_owned());
        }
        position
    }

    pub(super) fn finish(self, members: &MemberCounts) -> Vec<PlanGroup> {
        let rows = self.keys.into_iter().zip(self.spellings).enumerate();
        rows.map(|(position, (name_key, spellings))| {
            let filled = members.of(position) > 0;
            let Some(stored) = self.stored.get(position) else {
                return PlanGroup {
                    id: None,
                    name: spellings.unwrap_or_default(),
                    name_key,
                    // Nobody is in it where a contact that would have been was refused.
                    change: if filled {
                        GroupChange::Add
                    } else {
                        GroupChange::None
                    },
                };
            };
            let name = spellings.unwrap_or_else(|| stored.name.clone());
            let change = match (filled, stored.removed) {
                (true, true) => GroupChange::Update,
                (true, false) if name != stored.name => GroupChange::Update,
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
pub(super) struct MemberCounts(Vec<usize>);

impl MemberCounts {
    pub(super) fn add(&mut self, state: &ContactState) {
        state
            .groups
            .iter()
            .for_each(|position| self.increment(*position));
    }

    pub(super) fn increment(&mut self, position: u32) {
        let position = position as usize;
        if self.0.len() <= position {
            self.0.resize(position + 1, 0);
        }
        self.0[position] += 1;
    }

    pub(super) fn of(&self, position: usize) -> usize {
        self.0.get(position).copied().unwrap_or(0)
    }
}

pub(super) fn count_members<'a>(
    groups: usize,
    states: impl Iterator<Item = &'a ContactState>,
) -> Vec<usize> {
    let mut members = MemberCounts(vec![0; groups]);
    states.for_each(|state| members.add(state));
    members.0
}

/// Names of the groups that lose all their members, and how many the largest of them had.
pub(super) fn find_emptied_groups(
    groups: &[PlanGroup],
    members_before: &[usize],
    members: &MemberCounts,
) -> (Vec<String>, usize) {
    let (mut names, mut largest) = (Vec::new(), 0);
    for (position, before) in members_before.iter().enumerate() {
        if *before > 0 && members.of(position) == 0 {
            names.push(groups[position].name.clone());
            largest = largest.max(*before);
        }
    }
    (names, largest)
}
