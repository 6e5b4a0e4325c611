//! The heart: from what is stored and what the file says to what has to be done. Pure: no clock, no database.
//!
//! Knows the rules of SPEC §3.1 to §3.3; knows nothing of how a plan is applied.

mod recognise;
mod revert;

use std::collections::{HashMap, HashSet};

pub use revert::{Recorded, plan_revert};

use crate::model::ContactId;
use crate::model::contact::{ContactState, ExternalId, FileContact, Number, StoredContact};
use crate::model::group::{StoredGroup, name_key};
use crate::model::plan::{
    Action, Addition, Change, GroupChange, HoldReason, Plan, PlanGroup, Removal, Renumbered,
};
use crate::model::roster::{Roster, RowInError};
use recognise::Person;

/// What is stored of an account.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All groups, removed ones too; contacts refer to them by their place here.
    pub groups: Vec<StoredGroup>,
    /// All contacts, removed ones too.
    pub contacts: Vec<StoredContact>,
}

/// When a plan waits for a person; per cent of the contacts or rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldRules {
    /// More removals than this share, and than `removed_count`.
    pub removed_percent: usize,
    /// See `removed_percent`.
    pub removed_count: usize,
    /// More contacts with another name or other numbers than this share.
    pub changed_percent: usize,
    /// More rows newly in error than this share.
    pub error_percent: usize,
    /// Whether the first run after enabling or a revert is still to come.
    pub must_confirm: Option<HoldReason>,
}

/// Changed contacts up to this number never hold a run.
const CHANGES_BELOW_NOTICE: usize = 10;
/// Groups up to this size may be emptied without a hold.
const GROUP_BELOW_NOTICE: usize = 5;

/// What earlier runs and people have said.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Rows in error in the last applied or approved plan.
    pub in_error: HashSet<RowInError>,
    /// Nameless rows that a person has accepted: they block no more.
    pub accepted_rows: HashSet<[u8; 32]>,
    /// A person has approved the removals that were withheld.
    pub release_withheld: bool,
    /// A person has said that those who look like the same person under a new ID are: they keep their record.
    pub keep_ids: bool,
}

/// Whether a roster's nameless rows, or its doubtful end, keep contacts from being removed.
#[must_use]
pub fn blocks_removals(roster: &Roster, history: &History) -> bool {
    let unknown = roster
        .nameless
        .iter()
        .any(|row| !history.accepted_rows.contains(&row.digest));
    !history.release_withheld && (unknown || roster.maybe_cut)
}

/// What has to be done so that the account holds what the file holds.
#[must_use]
pub fn plan(snapshot: Snapshot, roster: &Roster, rules: HoldRules, history: &History) -> Plan {
    let stored_active = snapshot
        .contacts
        .iter()
        .filter(|contact| !contact.removed)
        .count();
    let members_before = count_members(
        snapshot.groups.len(),
        snapshot
            .contacts
            .iter()
            .filter(|c| !c.removed)
            .map(|c| &c.state),
    );
    let mut groups = GroupTable::new(&snapshot.groups);
    let (adoptions, renumbered) = recognised(&snapshot.contacts, roster);
    let mut place_of: HashMap<String, usize> = HashMap::with_capacity(snapshot.contacts.len());
    for (place, contact) in snapshot.contacts.iter().enumerate() {
        if let Some(id) = &contact.state.external_id {
            place_of.insert(id.clone(), place);
        }
    }
    let kept = renumbered.iter().filter(|_| history.keep_ids);
    for (id, place) in adoptions.iter().chain(kept) {
        place_of.insert(id.as_str().to_owned(), *place);
    }

    let mut plan = Plan::default();
    if !history.keep_ids {
        let pair = |(id, place): &(ExternalId, usize)| Renumbered {
            contact: snapshot.contacts[*place].id,
            name: snapshot.contacts[*place].state.name.clone(),
            old_id: snapshot.contacts[*place].state.external_id.clone(),
            new_id: id.as_str().to_owned(),
        };
        plan.renumbered = renumbered.iter().map(pair).collect();
    }
    let mut stored: Vec<Option<StoredContact>> = snapshot.contacts.into_iter().map(Some).collect();
    let mut members = MemberCount::default();
    for contact in roster.contacts.iter() {
        let known = place_of
            .get(contact.external_id.as_str())
            .and_then(|place| stored[*place].take());
        let after = desired(
            &contact,
            known.as_ref().map(|known| &known.state),
            &mut groups,
        );
        members.add(&after);
        let row = contact.rows.first().copied();
        let Some(known) = known else {
            plan.added.push(Addition { after, row });
            continue;
        };
        let action = if known.removed {
            Action::Revived
        } else if known.state.external_id.is_none() {
            Action::Adopted
        } else if known.state == after {
            plan.unchanged += 1;
            continue;
        } else {
            Action::Updated
        };
        plan.changed.push(Change {
            action,
            id: known.id,
            before: known.state,
            after,
            row,
        });
    }

    let withhold = blocks_removals(roster, history);
    for known in stored.into_iter().flatten().filter(|known| !known.removed) {
        let in_error = known
            .state
            .external_id
            .as_ref()
            .is_some_and(|id| roster.in_error.contains(id));
        if in_error || withhold {
            members.add(&known.state);
        }
        if !in_error {
            let removal = Removal {
                id: known.id,
                before: known.state,
            };
            if withhold {
                plan.withheld.push(removal);
            } else {
                plan.removed.push(removal);
            }
        }
    }

    plan.contacts_after =
        stored_active + plan.added.len() + plan.count(Action::Revived) - plan.removed.len();
    plan.groups = groups.finish(&members);
    plan.hold_reasons = hold_reasons(
        &mut plan,
        roster,
        rules,
        history,
        stored_active,
        &members_before,
        &members,
    );
    plan
}

/// The state a contact shall have: what the file says, and what is stored where it says nothing.
fn desired(
    contact: &FileContact,
    stored: Option<&ContactState>,
    groups: &mut GroupTable,
) -> ContactState {
    let numbers = contact.numbers.iter().map(|number| Number {
        number: number.number,
        number_type: number.number_type,
        description: number.description.clone().or_stored(|| {
            let known = stored.and_then(|stored| {
                stored
                    .numbers
                    .iter()
                    .find(|known| known.number == number.number)
            });
            known.and_then(|known| known.description.clone())
        }),
    });
    let mut places: Vec<u32> = contact
        .groups
        .iter()
        .map(|name| groups.place(name))
        .collect();
    places.sort_unstable();
    places.dedup();
    ContactState {
        external_id: Some(contact.external_id.as_str().to_owned()),
        name: contact.name.clone(),
        organization_name: contact
            .organization_name
            .clone()
            .or_stored(|| stored.and_then(|s| s.organization_name.clone())),
        title: contact
            .title
            .clone()
            .or_stored(|| stored.and_then(|s| s.title.clone())),
        email: contact
            .email
            .clone()
            .or_stored(|| stored.and_then(|s| s.email.clone())),
        priority: contact.priority.or_stored(|| {
            stored.map_or(crate::model::contact::Priority::Normal, |stored| {
                stored.priority
            })
        }),
        numbers: numbers.collect(),
        groups: places,
    }
}

/// The external ID that a stored contact, at this place, is recognised under.
type Link = (ExternalId, usize);

/// Stored contacts that are recognised in new ones of the file: those made by hand, and those that are gone from the file
/// but look like the same person as a new contact in it.
fn recognised(stored: &[StoredContact], roster: &Roster) -> (Vec<Link>, Vec<Link>) {
    let in_file: HashSet<&str> = (0..roster.contacts.len())
        .map(|place| roster.contacts.packed(place).external_id)
        .collect();
    let people = |wanted: &dyn Fn(Option<&str>) -> bool| -> Vec<Person> {
        (0..)
            .zip(stored)
            .filter(|(_, contact)| !contact.removed && wanted(contact.state.external_id.as_deref()))
            .map(|(place, contact)| Person::stored(place, &contact.state))
            .collect()
    };
    let by_hand = people(&|id| id.is_none());
    let gone =
        people(&|id| id.is_some_and(|id| !in_file.contains(id) && !roster.in_error.contains(id)));
    if by_hand.is_empty() && gone.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let known: HashMap<&str, bool> = stored
        .iter()
        .filter_map(|contact| Some((contact.state.external_id.as_deref()?, contact.removed)))
        .collect();
    let of_file = |wanted: &dyn Fn(Option<&bool>) -> bool| -> Vec<FileContact> {
        (0..roster.contacts.len())
            .filter(|place| wanted(known.get(roster.contacts.packed(*place).external_id)))
            .map(|place| roster.contacts.get(place))
            .collect()
    };
    let mut new = of_file(&|known| known.is_none());
    let adopted = linked(&by_hand, &new);
    let taken: HashSet<&ExternalId> = adopted.iter().map(|(id, _)| id).collect();
    new.retain(|contact| !taken.contains(&contact.external_id));
    // Who comes back under an ID of old may be the one who is gone: then nobody can say who is who.
    let strangers = new.len();
    new.extend(of_file(&|known| known == Some(&true)));
    let mut renumbered = linked(&gone, &new);
    let returning: HashSet<&ExternalId> = new[strangers..].iter().map(|c| &c.external_id).collect();
    renumbered.retain(|(id, _)| !returning.contains(id));
    (adopted, renumbered)
}

fn linked(known: &[Person], new: &[FileContact]) -> Vec<Link> {
    let new_people: Vec<Person> = (0..)
        .zip(new)
        .map(|(place, contact)| Person::in_file(place, contact))
        .collect();
    recognise::one_to_one(known, &new_people)
        .into_iter()
        .map(|(known, new_place)| (new[new_place].external_id.clone(), known))
        .collect()
}

fn hold_reasons(
    plan: &mut Plan,
    roster: &Roster,
    rules: HoldRules,
    history: &History,
    stored_active: usize,
    members_before: &[usize],
    members: &MemberCount,
) -> Vec<HoldReason> {
    let mut reasons = Vec::new();
    let removed = plan.removed.len();
    let exceeds = |count: usize, percent: usize, of: usize| count * 100 > percent * of;
    let over_limits =
        exceeds(removed, rules.removed_percent, stored_active) && removed > rules.removed_count;
    if removed > 0 && (over_limits || removed * 2 >= stored_active) {
        reasons.push(HoldReason::RemovesTooMany);
    }
    let changed = plan
        .changed
        .iter()
        .filter(|change| change.action != Action::Revived && change.changes_identity())
        .count();
    if changed > CHANGES_BELOW_NOTICE && exceeds(changed, rules.changed_percent, stored_active) {
        reasons.push(HoldReason::ChangesTooMany);
    }
    let (emptied_groups, largest) = emptied(&plan.groups, members_before, members);
    plan.emptied_groups = emptied_groups;
    if largest > GROUP_BELOW_NOTICE {
        reasons.push(HoldReason::EmptiesGroup);
    }
    let newly_in_error = roster
        .rows_in_error
        .iter()
        .filter(|row| !history.in_error.contains(row))
        .count();
    if exceeds(newly_in_error, rules.error_percent, roster.row_count) {
        reasons.push(HoldReason::ErrorsTooMany);
    }
    let touches = removed > 0
        || plan
            .changed
            .iter()
            .any(|change| change.action != Action::Revived);
    reasons.extend(rules.must_confirm.filter(|_| touches));
    reasons
}

/// Names of the groups that lose all their members, and how many the largest of them had.
fn emptied(
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

/// What a person has approved.
#[derive(Debug, Clone, Default)]
pub struct Approved {
    /// SHA-256 of the file that was approved.
    pub sha256: Option<[u8; 32]>,
    /// Contacts whose removal was approved.
    pub removed: HashSet<ContactId>,
    /// Contacts whose change was approved.
    pub changed: HashSet<ContactId>,
    /// Rows in error that were seen.
    pub in_error: HashSet<RowInError>,
}

impl Approved {
    /// Whether a plan is what was approved: the same file, or nobody removed, changed or in error whom the approved one
    /// did not remove, change or have in error.
    #[must_use]
    pub fn covers(&self, plan: &Plan, roster: &Roster, sha256: [u8; 32]) -> bool {
        self.sha256 == Some(sha256)
            || (plan
                .removed
                .iter()
                .all(|removal| self.removed.contains(&removal.id))
                && plan
                    .changed
                    .iter()
                    // Whose removal was approved may as well keep the record under a new ID.
                    .all(|change| {
                        self.changed.contains(&change.id) || self.removed.contains(&change.id)
                    })
                && roster
                    .rows_in_error
                    .iter()
                    .all(|row| self.in_error.contains(row)))
    }
}

/// The groups while a plan is made.
struct GroupTable<'a> {
    stored: &'a [StoredGroup],
    keys: Vec<String>,
    /// Spelling in the file, the first that is met; for a stored group the stored one, if it occurs.
    spelled: Vec<Option<String>>,
    place_of: HashMap<String, u32>,
}

impl<'a> GroupTable<'a> {
    fn new(stored: &'a [StoredGroup]) -> Self {
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
    fn key(&self, place: u32) -> &str {
        &self.keys[place as usize]
    }

    /// The place of a key; a group that is new gets this name.
    fn place_of_key(&mut self, key: String, name: &str) -> u32 {
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
    fn place(&mut self, name: &str) -> u32 {
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

    fn finish(self, members: &MemberCount) -> Vec<PlanGroup> {
        let rows = self.keys.into_iter().zip(self.spelled).enumerate();
        rows.map(|(place, (name_key, spelled))| {
            let filled = members.of(place) > 0;
            let Some(stored) = self.stored.get(place) else {
                return PlanGroup {
                    id: None,
                    name: spelled.unwrap_or_default(),
                    name_key,
                    change: GroupChange::Add,
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
struct MemberCount(Vec<usize>);

impl MemberCount {
    fn add(&mut self, state: &ContactState) {
        for place in state.groups.iter().map(|place| *place as usize) {
            if self.0.len() <= place {
                self.0.resize(place + 1, 0);
            }
            self.0[place] += 1;
        }
    }

    fn of(&self, place: usize) -> usize {
        self.0.get(place).copied().unwrap_or(0)
    }
}

fn count_members<'a>(groups: usize, states: impl Iterator<Item = &'a ContactState>) -> Vec<usize> {
    let mut members = MemberCount(vec![0; groups]);
    states.for_each(|state| members.add(state));
    members.0
}

#[cfg(test)]
mod tests;
