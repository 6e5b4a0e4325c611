//! The heart: from what is stored and what the file says to what has to be done. Pure: no clock, no database.
//!
//! Knows the rules of SPEC §3.1 to §3.3; knows nothing of how a plan is applied.

mod groups;
mod matching;
mod revert;

use std::collections::HashMap;

pub use revert::plan_revert;

use crate::model::contact::{ContactState, FileContact, Number, PhoneNumber, Said, StoredContact};
use crate::model::hold::{History, HoldReason, HoldRules};
use crate::model::plan::{Action, Change, Plan, Removal, Renumbered};
use crate::model::snapshot::Snapshot;
use crate::parsed_sheet::Roster;
use groups::{GroupTable, MemberCount, count_members, emptied};
use matching::{Link, recognised};

/// Changed contacts up to this number never hold a run.
const CHANGES_BELOW_NOTICE: usize = 10;
/// Groups up to this size may be emptied without a hold.
const GROUP_BELOW_NOTICE: usize = 5;

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
    let settled = |place: usize| snapshot.settled.get(place).copied().flatten();
    let stored_active = roster.known
        + snapshot.settled.iter().flatten().count()
        + snapshot
            .contacts
            .iter()
            .filter(|contact| !contact.removed)
            .count();
    let mut members_before = count_members(
        snapshot.groups.len(),
        snapshot
            .contacts
            .iter()
            .filter(|c| !c.removed)
            .map(|c| &c.state),
    );
    let mut groups = GroupTable::new(&snapshot.groups);
    let mut members = MemberCount::default();
    for (place, group) in snapshot.groups.iter().enumerate() {
        if snapshot.filled.get(place) == Some(&true) {
            members_before[place] += 1;
            members.add_to(groups.place(&group.name));
        }
    }
    let is_settled = |place: usize| settled(place).is_some();
    let (adoptions, renumbered) = recognised(&snapshot.contacts, roster, &is_settled);
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

    let mut plan = Plan {
        unchanged: roster.known,
        ..Plan::default()
    };
    if !history.keep_ids {
        let pair = |(id, place): &Link| Renumbered {
            contact: snapshot.contacts[*place].id,
            name: snapshot.contacts[*place].state.name.clone(),
            old_id: snapshot.contacts[*place].state.external_id.clone(),
            new_id: id.as_str().to_owned(),
        };
        plan.renumbered = renumbered.iter().map(pair).collect();
    }
    let settled = snapshot.settled;
    let mut stored: Vec<Option<StoredContact>> = snapshot.contacts.into_iter().map(Some).collect();
    let spellings = roster.contacts.group_names();
    plan.group_of = vec![None; spellings.len()];
    let mut its_groups = Vec::new();
    for place in 0..roster.contacts.len() {
        its_groups.clear();
        its_groups.extend(roster.contacts.groups_of(place).map(|spelling| {
            *plan.group_of[spelling].get_or_insert_with(|| groups.place(&spellings[spelling]))
        }));
        its_groups.sort_unstable();
        its_groups.dedup();
        for group in &its_groups {
            members.add_to(*group);
        }
        if let Some(id) = settled.get(place).copied().flatten() {
            plan.unchanged += 1;
            plan.stored.push(Some(id));
            for group in &its_groups {
                if let Some(before) = members_before.get_mut(*group as usize) {
                    *before += 1;
                }
            }
            continue;
        }
        let known = place_of
            .get(roster.contacts.packed(place).external_id)
            .and_then(|place| stored[*place].take());
        plan.stored.push(known.as_ref().map(|known| known.id));
        let Some(known) = known else {
            plan.added.push(place);
            continue;
        };
        let contact = roster.contacts.get(place);
        let row = contact.rows.first().copied();
        let after = desired(contact, &known.state, its_groups.clone());
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
        if in_error {
            plan.in_error.push(known.id);
        } else {
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

/// The state a stored contact shall have: what the file says, and what is stored where it says nothing.
fn desired(contact: FileContact, stored: &ContactState, groups: Vec<u32>) -> ContactState {
    let in_file: Vec<PhoneNumber> = contact.numbers.iter().map(|n| n.number).collect();
    let kept = stored
        .numbers
        .iter()
        .filter(|number| contact.keeps_numbers && !in_file.contains(&number.number));
    let numbers = contact.numbers.into_iter().map(|number| Number {
        number: number.number,
        number_type: number.number_type,
        description: number.description.or_stored(|| {
            let mut known = stored.numbers.iter();
            let known = known.find(|known| known.number == number.number);
            known.and_then(|known| known.description.clone())
        }),
    });
    ContactState {
        numbers: numbers.chain(kept.cloned()).collect(),
        external_id: Some(contact.external_id.into()),
        name: contact.name,
        organization_name: contact
            .organization_name
            .or_stored(|| stored.organization_name.clone()),
        title: contact.title.or_stored(|| stored.title.clone()),
        email: contact.email.or_stored(|| stored.email.clone()),
        priority: match contact.priority {
            Said::This(priority) => priority.unwrap_or_default(),
            Said::Nothing => stored.priority,
        },
        groups,
    }
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
    reasons.extend(history.must_confirm.filter(|_| touches));
    reasons
}

#[cfg(test)]
mod tests;
