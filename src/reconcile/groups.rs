//! The groups of a plan: matches names to groups, chooses their spelling, and counts members before and after the
//! run. Uses only the group memberships of contacts.

use std::collections::HashMap;

use crate::model::contact::{ContactState, StoredContact};
use crate::model::group::{StoredGroup, name_key};
use crate::model::plan::{GroupChange, PlanGroup};

/// Stored groups, followed by new ones in the order in which they occur.
pub(super) struct GroupTable<'a> {
    stored: &'a [StoredGroup],
    keys: Vec<String>,
    /// Spelling in the file: the first one, or the stored spelling if it also occurs.
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

    pub(super) fn key(&self, position: u32) -> &str {
        &self.keys[position as usize]
    }

    /// Position of the stored group with this key.
    pub(super) fn stored_position(&self, key: &str) -> Option<u32> {
        let position = self.position_of.get(key).copied();
        position.filter(|position| (*position as usize) < self.stored.len())
    }

    /// Position of the group with this key; adds a group with this name if there is none.
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

    /// Position of the group with this name, as spelled in the file; adds it if there is none.
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
        let groups = self.keys.into_iter().zip(self.spellings).enumerate();
        groups
            .map(|(position, (name_key, spelling))| {
                let has_members = members.get(position) > 0;
                let Some(stored) = self.stored.get(position) else {
                    return PlanGroup {
                        id: None,
                        name: spelling.unwrap_or_default(),
                        name_key,
                        // A revert that refuses a contact may leave a group of that contact without members.
                        change: if has_members {
                            GroupChange::Add
                        } else {
                            GroupChange::None
                        },
                    };
                };
                let name = spelling.unwrap_or_else(|| stored.name.clone());
                let change = match (has_members, stored.removed) {
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

/// Number of members by position of the group.
#[derive(Clone, Default)]
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

    pub(super) fn get(&self, position: usize) -> usize {
        self.0.get(position).copied().unwrap_or(0)
    }
}

/// Groups, and how many members each has before and after the run.
pub(super) struct GroupMembership<'a> {
    pub(super) table: GroupTable<'a>,
    /// By position; stored groups only.
    pub(super) before: Vec<usize>,
    pub(super) after: MemberCounts,
}

impl<'a> GroupMembership<'a> {
    /// Counts the active stored contacts as members before the run. A group with members in skipped rows
    /// (`has_cached_members`, by position) counts as one member, before and after: those members do not change.
    pub(super) fn new(
        stored: &'a [StoredGroup],
        contacts: &[StoredContact],
        has_cached_members: &[bool],
    ) -> Self {
        let active = contacts.iter().filter(|contact| !contact.removed);
        let mut before = count_members(stored.len(), active.map(|contact| &contact.state));
        let mut table = GroupTable::new(stored);
        let mut after = MemberCounts::default();
        for (position, group) in stored.iter().enumerate() {
            if has_cached_members.get(position) == Some(&true) {
                before[position] += 1;
                after.increment(table.position_of_name(&group.name));
            }
        }
        Self {
            table,
            before,
            after,
        }
    }
}

/// Number of members by position of the group.
pub(super) fn count_members<'a>(
    groups: usize,
    states: impl Iterator<Item = &'a ContactState>,
) -> Vec<usize> {
    let mut members = MemberCounts(vec![0; groups]);
    states.for_each(|state| members.add(state));
    members.0
}

/// Names of the groups that would lose all their members, and the size of the largest of them.
pub(super) fn find_emptied_groups(
    groups: &[PlanGroup],
    members_before: &[usize],
    members: &MemberCounts,
) -> (Vec<String>, usize) {
    let (mut names, mut largest) = (Vec::new(), 0);
    for (position, before) in members_before.iter().enumerate() {
        if *before > 0 && members.get(position) == 0 {
            names.push(groups[position].name.clone());
            largest = largest.max(*before);
        }
    }
    (names, largest)
}
