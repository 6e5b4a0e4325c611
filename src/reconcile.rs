//! The heart: from what is stored and what the file says to what has to be done. Pure: no clock, no database.
//!
//! Knows the rules of SPEC §3.1 to §3.3; knows nothing of how a plan is applied.

mod groups;
mod matching;
mod revert;

use std::collections::HashMap;

pub use revert::plan_revert;

use crate::model::contact::{
    ContactState, FieldUpdate, FileContact, Number, PhoneNumber, StoredContact,
};
use crate::model::hold::{HoldReason, HoldRules, PlanContext};
use crate::model::plan::{Action, Change, Plan, PossibleIdChange, Removal};
use crate::model::snapshot::Snapshot;
use crate::parsed_sheet::ParsedSheet;
use groups::{GroupTable, MemberCounts, count_members, find_emptied_groups};
use matching::{Match, match_contacts};

/// Changed contacts up to this number never hold a run.
const MAX_UNHELD_CHANGES: usize = 10;
/// Groups up to this size may be emptied without a hold.
const MAX_UNHELD_GROUP_SIZE: usize = 5;

/// Whether a roster's nameless rows, or its doubtful end, keep contacts from being removed.
#[must_use]
pub fn blocks_removals(parsed: &ParsedSheet, context: &PlanContext) -> bool {
    let has_unaccepted_row = parsed
        .unidentified
        .iter()
        .any(|row| !context.accepted_rows.contains(&row.digest));
    !context.apply_withheld_removals && (has_unaccepted_row || parsed.maybe_truncated)
}

/// What has to be done so that the account holds what the file holds.
#[must_use]
pub fn plan(
    snapshot: Snapshot,
    parsed: &ParsedSheet,
    rules: HoldRules,
    context: &PlanContext,
) -> Plan {
    let already_stored = |position: usize| snapshot.already_stored.get(position).copied().flatten();
    let stored_active = parsed.cached_contacts
        + snapshot.already_stored.iter().flatten().count()
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
    let mut members = MemberCounts::default();
    for (position, group) in snapshot.groups.iter().enumerate() {
        if snapshot.groups_with_cached_members.get(position) == Some(&true) {
            members_before[position] += 1;
            members.increment(groups.position_of_name(&group.name));
        }
    }
    let is_already_stored = |position: usize| already_stored(position).is_some();
    let (adoptions, possible_id_changes) =
        match_contacts(&snapshot.contacts, parsed, &is_already_stored);
    let mut position_of: HashMap<String, usize> = HashMap::with_capacity(snapshot.contacts.len());
    for (position, contact) in snapshot.contacts.iter().enumerate() {
        if let Some(id) = &contact.state.external_id {
            position_of.insert(id.clone(), position);
        }
    }
    let kept = possible_id_changes.iter().filter(|_| context.keep_ids);
    for (id, position) in adoptions.iter().chain(kept) {
        position_of.insert(id.as_str().to_owned(), *position);
    }

    let mut plan = Plan {
        unchanged: parsed.cached_contacts,
        ..Plan::default()
    };
    if !context.keep_ids {
        let pair = |(id, position): &Match| PossibleIdChange {
            contact: snapshot.contacts[*position].id,
            name: snapshot.contacts[*position].state.name.clone(),
            old_id: snapshot.contacts[*position].state.external_id.clone(),
            new_id: id.as_str().to_owned(),
        };
        plan.possible_id_changes = possible_id_changes.iter().map(pair).collect();
    }
    let already_stored = snapshot.already_stored;
    let mut stored: Vec<Option<StoredContact>> = snapshot.contacts.into_iter().map(Some).collect();
    let spellings = parsed.contacts.group_names();
    plan.group_index = vec![None; spellings.len()];
    let mut contact_groups = Vec::new();
    for position in 0..parsed.contacts.len() {
        contact_groups.clear();
        contact_groups.extend(parsed.contacts.groups_of(position).map(|spelling| {
            *plan.group_index[spelling]
                .get_or_insert_with(|| groups.position_of_name(&spellings[spelling]))
        }));
        contact_groups.sort_unstable();
        contact_groups.dedup();
        for group in &contact_groups {
            members.increment(*group);
        }
        if let Some(id) = already_stored.get(position).copied().flatten() {
            plan.unchanged += 1;
            plan.contact_ids.push(Some(id));
            for group in &contact_groups {
                if let Some(before) = members_before.get_mut(*group as usize) {
                    *before += 1;
                }
            }
            continue;
        }
        let existing = position_of
            .get(parsed.contacts.encoded(position).external_id)
            .and_then(|position| stored[*position].take());
        plan.contact_ids
            .push(existing.as_ref().map(|existing| existing.id));
        let Some(existing) = existing else {
            plan.added.push(position);
            continue;
        };
        let contact = parsed.contacts.get(position);
        let row = contact.rows.first().copied();
        let after = merge_with_stored(contact, &existing.state, contact_groups.clone());
        let action = if existing.removed {
            Action::Revived
        } else if existing.state.external_id.is_none() {
            Action::Adopted
        } else if existing.state == after {
            plan.unchanged += 1;
            continue;
        } else {
            Action::Updated
        };
        plan.changed.push(Change {
            action,
            id: existing.id,
            before: existing.state,
            after,
            row,
        });
    }

    let withhold = blocks_removals(parsed, context);
    for existing in stored
        .into_iter()
        .flatten()
        .filter(|existing| !existing.removed)
    {
        let in_error = existing
            .state
            .external_id
            .as_ref()
            .is_some_and(|id| parsed.in_error.contains(id));
        if in_error || withhold {
            members.add(&existing.state);
        }
        if in_error {
            plan.in_error.push(existing.id);
        } else {
            let removal = Removal {
                id: existing.id,
                before: existing.state,
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
        parsed,
        rules,
        context,
        stored_active,
        &members_before,
        &members,
    );
    plan
}

/// The state a stored contact shall have: what the file says, and what is stored where it says nothing.
fn merge_with_stored(
    contact: FileContact,
    stored: &ContactState,
    groups: Vec<u32>,
) -> ContactState {
    let in_file: Vec<PhoneNumber> = contact.numbers.iter().map(|n| n.number).collect();
    let kept = stored
        .numbers
        .iter()
        .filter(|number| contact.keep_stored_numbers && !in_file.contains(&number.number));
    let numbers = contact.numbers.into_iter().map(|number| Number {
        number: number.number,
        number_type: number.number_type,
        description: number.description.or_stored(|| {
            let mut existing = stored.numbers.iter();
            let existing = existing.find(|existing| existing.number == number.number);
            existing.and_then(|existing| existing.description.clone())
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
            FieldUpdate::Set(priority) => priority.unwrap_or_default(),
            FieldUpdate::Keep => stored.priority,
        },
        groups,
    }
}

fn hold_reasons(
    plan: &mut Plan,
    parsed: &ParsedSheet,
    rules: HoldRules,
    context: &PlanContext,
    stored_active: usize,
    members_before: &[usize],
    members: &MemberCounts,
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
        .filter(|change| change.action != Action::Revived && change.changes_name_or_numbers())
        .count();
    if changed > MAX_UNHELD_CHANGES && exceeds(changed, rules.changed_percent, stored_active) {
        reasons.push(HoldReason::ChangesTooMany);
    }
    let (emptied_groups, largest) = find_emptied_groups(&plan.groups, members_before, members);
    plan.emptied_groups = emptied_groups;
    if largest > MAX_UNHELD_GROUP_SIZE {
        reasons.push(HoldReason::EmptiesGroup);
    }
    let newly_in_error = parsed
        .rows_in_error
        .iter()
        .filter(|row| !context.in_error.contains(row))
        .count();
    if exceeds(newly_in_error, rules.error_percent, parsed.row_count) {
        reasons.push(HoldReason::ErrorsTooMany);
    }
    let changes_existing = removed > 0
        || plan
            .changed
            .iter()
            .any(|change| change.action != Action::Revived);
    reasons.extend(context.must_confirm.filter(|_| changes_existing));
    reasons
}

#[cfg(test)]
mod tests;
