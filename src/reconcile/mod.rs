//! Compares the stored contacts of an account with the file and plans what an import has to change (SPEC §3.1 to §3.3).
//!
//! Pure: no clock, no database. Does not depend on how a plan is applied.

mod groups;
mod matching;
mod revert;

use std::collections::HashMap;

pub use revert::plan_revert;

use crate::model::ContactId;
use crate::model::contact::{
    ContactState, FieldUpdate, FileContact, Number, PhoneNumber, StoredContact,
};
use crate::model::hold::{HoldReason, HoldRules, PlanContext};
use crate::model::plan::{Action, Change, Plan, PossibleIdChange, Removal};
use crate::model::snapshot::Snapshot;
use crate::parsed_sheet::ParsedSheet;
use groups::{GroupMembership, MemberCounts, find_emptied_groups};
use matching::{Match, match_contacts};

/// Up to this number of changed contacts, a run is never held for its changes.
const MAX_UNHELD_CHANGES: usize = 10;
/// Emptying a group of up to this size does not hold a run.
const MAX_UNHELD_GROUP_SIZE: usize = 5;

/// Returns the changes after which the account has the contacts of the file, and the reasons to hold them for approval.
#[must_use]
pub fn plan(
    snapshot: Snapshot,
    parsed: &ParsedSheet,
    rules: HoldRules,
    context: &PlanContext,
) -> Plan {
    let Snapshot {
        groups: stored_groups,
        contacts,
        already_stored,
        groups_with_cached_members,
    } = snapshot;
    let stored_active = parsed.cached_contacts
        + already_stored.iter().flatten().count()
        + contacts.iter().filter(|contact| !contact.removed).count();
    let mut membership =
        GroupMembership::new(&stored_groups, &contacts, &groups_with_cached_members);

    let mut plan = Plan {
        unchanged: parsed.cached_contacts,
        ..Plan::default()
    };
    let position_of_id = match_stored_contacts(
        &mut plan,
        &contacts,
        &already_stored,
        parsed,
        context.keep_ids,
    );
    let mut unmatched: Vec<Option<StoredContact>> = contacts.into_iter().map(Some).collect();
    plan_file_contacts(
        &mut plan,
        parsed,
        &already_stored,
        &position_of_id,
        &mut unmatched,
        &mut membership,
    );
    plan_removals(
        &mut plan,
        unmatched.into_iter().flatten(),
        parsed,
        must_withhold_removals(parsed, context),
        &mut membership.after,
    );

    plan.contacts_after =
        stored_active + plan.added.len() + plan.count(Action::Revived) - plan.removed.len();
    // The hold rules judge the plan as if the withheld contacts were removed, but their groups keep them as members.
    let members_if_removed = membership.after.clone();
    for removal in &plan.withheld {
        membership.after.add(&removal.before);
    }
    plan.groups = membership.table.finish(&membership.after);
    let (emptied_groups, largest_emptied) =
        find_emptied_groups(&plan.groups, &membership.before, &members_if_removed);
    plan.emptied_groups = emptied_groups;
    plan.hold_reasons = hold_reasons(
        &plan,
        parsed,
        rules,
        context,
        stored_active,
        largest_emptied,
    );
    if plan.hold_reasons.is_empty() {
        plan.clear_hold();
    }
    plan
}

/// Returns the position of each stored contact by the external ID that it has after the run. Without `keep_ids`, stored
/// contacts that reappear under a new ID are not matched, only recorded in the plan as possible duplicates.
fn match_stored_contacts(
    plan: &mut Plan,
    contacts: &[StoredContact],
    already_stored: &[Option<ContactId>],
    parsed: &ParsedSheet,
    keep_ids: bool,
) -> HashMap<String, usize> {
    let is_already_stored =
        |position: usize| already_stored.get(position).copied().flatten().is_some();
    let (adoptions, possible_id_changes) = match_contacts(contacts, parsed, &is_already_stored);
    let mut position_of_id: HashMap<String, usize> = HashMap::with_capacity(contacts.len());
    for (position, contact) in contacts.iter().enumerate() {
        if let Some(id) = &contact.state.external_id {
            position_of_id.insert(id.clone(), position);
        }
    }
    let matched = possible_id_changes.iter().filter(|_| keep_ids);
    for (id, position) in adoptions.iter().chain(matched) {
        position_of_id.insert(id.as_str().to_owned(), *position);
    }
    if !keep_ids {
        let possible_id_change = |(id, position): &Match| PossibleIdChange {
            contact: contacts[*position].id,
            name: contacts[*position].state.name.clone(),
            old_id: contacts[*position].state.external_id.clone(),
            new_id: id.as_str().to_owned(),
        };
        plan.possible_id_changes = possible_id_changes.iter().map(possible_id_change).collect();
    }
    position_of_id
}

/// Plans an addition or a change for each contact of the file, and takes its stored contact out of `unmatched`.
fn plan_file_contacts(
    plan: &mut Plan,
    parsed: &ParsedSheet,
    already_stored: &[Option<ContactId>],
    position_of_id: &HashMap<String, usize>,
    unmatched: &mut [Option<StoredContact>],
    membership: &mut GroupMembership<'_>,
) {
    let spellings = parsed.contacts.group_names();
    plan.group_index = vec![None; spellings.len()];
    let mut contact_groups = Vec::new();
    for position in 0..parsed.contacts.len() {
        contact_groups.clear();
        contact_groups.extend(parsed.contacts.groups_of(position).map(|spelling| {
            *plan.group_index[spelling]
                .get_or_insert_with(|| membership.table.position_of_name(&spellings[spelling]))
        }));
        contact_groups.sort_unstable();
        contact_groups.dedup();
        for group in &contact_groups {
            membership.after.increment(*group);
        }
        if let Some(id) = already_stored.get(position).copied().flatten() {
            plan.unchanged += 1;
            plan.contact_ids.push(Some(id));
            // The snapshot omits this contact, so it was not counted among the members before the run.
            for group in &contact_groups {
                if let Some(before) = membership.before.get_mut(*group as usize) {
                    *before += 1;
                }
            }
            continue;
        }
        let existing = position_of_id
            .get(parsed.contacts.encoded(position).external_id)
            .and_then(|position| unmatched[*position].take());
        plan.contact_ids
            .push(existing.as_ref().map(|existing| existing.id));
        let Some(existing) = existing else {
            plan.added.push(position);
            continue;
        };
        let contact = parsed.contacts.get(position);
        match compare_with_stored(existing, contact, contact_groups.clone()) {
            Some(change) => plan.changed.push(change),
            None => plan.unchanged += 1,
        }
    }
}

/// Returns the change from the stored contact to the one of the file, or `None` if nothing differs.
fn compare_with_stored(
    existing: StoredContact,
    contact: FileContact,
    groups: Vec<u32>,
) -> Option<Change> {
    let row = contact.rows.first().copied();
    let after = merge_with_stored(contact, &existing.state, groups);
    let action = if existing.removed {
        Action::Revived
    } else if existing.state.external_id.is_none() {
        Action::Adopted
    } else if existing.state == after {
        return None;
    } else {
        Action::Updated
    };
    Some(Change {
        action,
        id: existing.id,
        before: existing.state,
        after,
        row,
    })
}

/// Whether removals are withheld: a contact that seems to be missing may be in an unidentified row or in the truncated part
/// of the file.
fn must_withhold_removals(parsed: &ParsedSheet, context: &PlanContext) -> bool {
    let has_unaccepted_row = parsed
        .unidentified
        .iter()
        .any(|row| !context.accepted_rows.contains(&row.digest));
    !context.apply_withheld_removals && (has_unaccepted_row || parsed.maybe_truncated)
}

/// Plans the removal of the stored contacts that the file does not have; contacts with errors in the file are kept.
/// Contacts whose removal is withheld are not counted in `members_after`.
fn plan_removals(
    plan: &mut Plan,
    unmatched: impl Iterator<Item = StoredContact>,
    parsed: &ParsedSheet,
    withhold: bool,
    members_after: &mut MemberCounts,
) {
    for existing in unmatched.filter(|existing| !existing.removed) {
        let in_error = existing
            .state
            .external_id
            .as_ref()
            .is_some_and(|id| parsed.in_error.contains(id));
        if in_error {
            members_after.add(&existing.state);
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
}

/// Returns the contact as it will be stored. Fields for which the file has no usable value keep their stored value.
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

/// Judges the plan as if nothing were withheld. `largest_emptied` is the size of the largest group that would become empty.
fn hold_reasons(
    plan: &Plan,
    parsed: &ParsedSheet,
    rules: HoldRules,
    context: &PlanContext,
    stored_active: usize,
    largest_emptied: usize,
) -> Vec<HoldReason> {
    let mut reasons = Vec::new();
    let removed = plan.removed.len() + plan.withheld.len();
    if exceeds_removal_limits(removed, rules, stored_active) {
        reasons.push(HoldReason::RemovesTooMany);
    }
    if exceeds_removal_limits(plan.possible_id_changes.len(), rules, stored_active) {
        reasons.push(HoldReason::IdsChanged);
    }
    let changed = plan
        .changed
        .iter()
        .filter(|change| change.action != Action::Revived && change.changes_name_or_numbers())
        .count();
    if changed > MAX_UNHELD_CHANGES && exceeds(changed, rules.changed_percent, stored_active) {
        reasons.push(HoldReason::ChangesTooMany);
    }
    if largest_emptied > MAX_UNHELD_GROUP_SIZE {
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

/// Whether removing this many of the account's `stored_active` contacts needs approval.
fn exceeds_removal_limits(count: usize, rules: HoldRules, stored_active: usize) -> bool {
    let over_limits =
        exceeds(count, rules.removed_percent, stored_active) && count > rules.removed_count;
    count > 0 && (over_limits || count * 2 >= stored_active)
}

fn exceeds(count: usize, percent: usize, total: usize) -> bool {
    count * 100 > percent * total
}

#[cfg(test)]
mod tests;
