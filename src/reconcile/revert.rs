//! Plans how to revert a run, from its recorded changes and the contacts that are stored now (SPEC §3.5). Pure, like the
//! rest of this module.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::groups::{GroupTable, MemberCounts, count_members, find_emptied_groups};
use crate::compact::Issues;
use crate::model::ContactId;
use crate::model::catalog::Finding;
use crate::model::contact::{ContactImage, ContactState, Number, PhoneNumber, StoredContact};
use crate::model::group::name_key;
use crate::model::issue::Issue;
use crate::model::plan::{Action, Change, Plan, RecordedChange, Removal};
use crate::model::snapshot::Snapshot;

/// State of a contact after the revert.
enum Target {
    /// Removed, with the fields that it had before the run, if it existed then.
    Removed(Option<ContactState>),
    Active(ContactState),
}

/// Returns the plan that restores the contacts to their state before a run. A contact that was changed since is skipped
/// and reported as an issue, unless `force` is set.
#[must_use]
pub fn plan_revert(snapshot: Snapshot, recorded: &[RecordedChange], force: bool) -> (Plan, Issues) {
    let active = |contact: &&StoredContact| !contact.removed;
    let before = count_members(
        snapshot.groups.len(),
        snapshot.contacts.iter().filter(active).map(|c| &c.state),
    );
    let stored_active = snapshot.contacts.iter().filter(active).count();
    let mut groups = GroupTable::new(&snapshot.groups);
    let position_of: HashMap<ContactId, usize> = (0..)
        .zip(&snapshot.contacts)
        .map(|(position, contact)| (contact.id, position))
        .collect();

    let mut issues = Issues::default();
    let mut targets: HashMap<usize, (&RecordedChange, Target)> = HashMap::new();
    for record in recorded {
        let position = position_of.get(&record.contact).copied();
        let stored = position.map(|position| &snapshot.contacts[position]);
        match revert_target(record, stored, &mut groups, force) {
            Ok(target) => {
                if let Some(position) = position {
                    targets.insert(position, (record, target));
                }
            }
            Err(finding) => issues.push(&refusal_issue(finding, record, stored)),
        }
    }
    for position in conflicting_ids(&snapshot.contacts, &targets) {
        if let Some((record, _)) = targets.remove(&position) {
            let stored = Some(&snapshot.contacts[position]);
            issues.push(&refusal_issue(Finding::RevertIdTaken, record, stored));
        }
    }

    let mut plan = Plan::default();
    let mut members = MemberCounts::default();
    for (position, contact) in snapshot.contacts.into_iter().enumerate() {
        let (id, removed, state) = (contact.id, contact.removed, contact.state);
        match targets.remove(&position) {
            None if removed => {}
            None => members.add(&state),
            Some((_, Target::Removed(_))) if removed => plan.unchanged += 1,
            Some((_, Target::Removed(previous))) => {
                if let Some(after) = previous.filter(|previous| *previous != state) {
                    plan.restored_fields.push(Change {
                        action: Action::Removed,
                        id,
                        before: state.clone(),
                        after,
                        row: None,
                    });
                }
                plan.removed.push(Removal { id, before: state });
            }
            Some((_, Target::Active(after))) => {
                members.add(&after);
                if !removed && state == after {
                    plan.unchanged += 1;
                    continue;
                }
                let action = if removed {
                    Action::Revived
                } else {
                    Action::Updated
                };
                plan.changed.push(Change {
                    action,
                    id,
                    before: state,
                    after,
                    row: None,
                });
            }
        }
    }
    plan.contacts_after = stored_active + plan.count(Action::Revived) - plan.removed.len();
    plan.groups = groups.finish(&members);
    (plan.emptied_groups, _) = find_emptied_groups(&plan.groups, &before, &members);
    (plan, issues)
}

/// The state to restore, or why the contact cannot be restored.
fn revert_target(
    record: &RecordedChange,
    stored: Option<&StoredContact>,
    groups: &mut GroupTable<'_>,
    force: bool,
) -> Result<Target, Finding> {
    let stored = stored.ok_or(Finding::RevertPurged)?;
    let was_removed = record.action == Action::Removed;
    let expected = if was_removed {
        &record.before
    } else {
        &record.after
    };
    let expected = expected.as_ref().ok_or(Finding::RevertHistoryDeleted)?;
    // A removed contact has only its before-image, all of which is restored anyway, so there is nothing to compare.
    let is_unchanged = stored.removed == was_removed
        && (was_removed || image_matches(expected, &stored.state, groups));
    if !is_unchanged && !force {
        return Err(Finding::RevertChangedSince);
    }
    match record.action {
        Action::Added => Ok(Target::Removed(None)),
        // The contact will be removed, so groups that no longer exist would be created without members.
        Action::Revived => {
            let previous = record.before.as_ref();
            Ok(Target::Removed(
                previous.map(|image| state_with_stored_groups(image, groups)),
            ))
        }
        Action::Updated | Action::Adopted | Action::Removed => {
            let image = record
                .before
                .as_ref()
                .ok_or(Finding::RevertHistoryDeleted)?;
            Ok(Target::Active(state_from_image(image, |name| {
                Some(groups.position_of_key(name_key(name), name))
            })))
        }
    }
}

/// Whether the stored state is the one in the image.
fn image_matches(image: &ContactImage, state: &ContactState, groups: &GroupTable<'_>) -> bool {
    let keys: BTreeSet<String> = image.groups.iter().map(|name| name_key(name)).collect();
    let stored_keys: BTreeSet<String> = state
        .groups
        .iter()
        .map(|position| groups.key(*position).to_owned())
        .collect();
    let numbers = image.numbers.iter().map(|number| {
        (
            number.number.as_str(),
            number.number_type,
            number.description.as_deref(),
        )
    });
    let stored_numbers = state.numbers.iter().map(|number| {
        (
            number.number.as_str(),
            number.number_type,
            number.description.as_deref(),
        )
    });
    image.external_id == state.external_id
        && image.name == state.name
        && image.organization_name == state.organization_name
        && image.title == state.title
        && image.email == state.email
        && image.notification_priority == state.priority
        && numbers.eq(stored_numbers)
        && keys == stored_keys
}

/// The state recorded in an image, without groups that are no longer stored.
fn state_with_stored_groups(image: &ContactImage, groups: &GroupTable<'_>) -> ContactState {
    state_from_image(image, |name| groups.stored_position(&name_key(name)))
}

/// The state recorded in an image, without groups for which `position` returns `None`.
fn state_from_image(
    image: &ContactImage,
    mut position: impl FnMut(&str) -> Option<u32>,
) -> ContactState {
    let mut positions: Vec<u32> = image
        .groups
        .iter()
        .filter_map(|name| position(name))
        .collect();
    positions.sort_unstable();
    positions.dedup();
    let numbers = image.numbers.iter().map(|number| Number {
        number: PhoneNumber::from_stored(&number.number),
        number_type: number.number_type,
        description: number.description.clone(),
    });
    ContactState {
        external_id: image.external_id.clone(),
        name: image.name.clone(),
        organization_name: image.organization_name.clone(),
        title: image.title.clone(),
        email: image.email.clone(),
        priority: image.notification_priority,
        numbers: numbers.collect(),
        groups: positions,
    }
}

/// Positions of contacts whose restored external ID is in use by another contact.
fn conflicting_ids(
    stored: &[StoredContact],
    targets: &HashMap<usize, (&RecordedChange, Target)>,
) -> Vec<usize> {
    let new_id = |position: usize| match targets.get(&position) {
        Some((_, Target::Active(state))) => Some(state.external_id.as_deref()),
        _ => None,
    };
    let mut kept: HashSet<&str> = HashSet::new();
    for (position, contact) in stored.iter().enumerate() {
        let id = contact.state.external_id.as_deref();
        if new_id(position).is_none_or(|new| new == id) {
            kept.extend(id);
        }
    }
    let mut conflicting = Vec::new();
    for (position, contact) in stored.iter().enumerate() {
        let new = new_id(position).flatten();
        if new != contact.state.external_id.as_deref() && new.is_some_and(|new| !kept.insert(new)) {
            conflicting.push(position);
        }
    }
    conflicting
}

fn refusal_issue(
    finding: Finding,
    record: &RecordedChange,
    stored: Option<&StoredContact>,
) -> Issue {
    let image = record.after.as_ref().or(record.before.as_ref());
    let name = stored
        .map(|stored| stored.state.name.clone())
        .or_else(|| image.map(|image| image.name.clone()));
    Issue {
        external_id: record.external_id.clone(),
        contact_name: name,
        ..Issue::new(finding)
    }
}
