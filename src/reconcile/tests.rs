//! Table tests of plans: stored contacts, contacts of the file, and the expected changes.

mod holds;

use super::*;
use std::collections::HashSet;

use crate::model::contact::{
    ExternalId, FieldUpdate, FileNumber, NumberType, PhoneNumber, Priority,
};
use crate::model::group::StoredGroup;
use crate::model::plan::GroupChange;
use crate::model::row::{RowInError, UnidentifiedRow};
use crate::model::{ContactId, GroupId};

const RULES: HoldRules = HoldRules {
    removed_percent: 10,
    removed_count: 5,
    changed_percent: 50,
    error_percent: 25,
};

fn phone(n: usize) -> PhoneNumber {
    PhoneNumber::parse(&format!("604555{n:04}")).unwrap()
}

/// Contact `n` of the file, in these groups.
fn file(n: usize, groups: &[&str]) -> FileContact {
    FileContact {
        external_id: ExternalId::parse(&n.to_string()).unwrap(),
        name: format!("Name {n}"),
        organization_name: FieldUpdate::Set(None),
        title: FieldUpdate::Set(None),
        email: FieldUpdate::Set(None),
        priority: FieldUpdate::Set(Some(Priority::Normal)),
        numbers: vec![FileNumber {
            number: phone(n),
            number_type: NumberType::Mobile,
            description: FieldUpdate::Set(None),
        }],
        keep_stored_numbers: false,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        rows: vec![u32::try_from(n).unwrap() + 1],
    }
}

fn parsed(contacts: Vec<FileContact>) -> ParsedSheet {
    ParsedSheet {
        row_count: contacts.len(),
        contacts: contacts.into_iter().collect(),
        ..ParsedSheet::default()
    }
}

fn owned(state: ContactState<&str>) -> ContactState {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let numbers = state.numbers.into_iter().map(|number| Number {
        number: number.number,
        number_type: number.number_type,
        description: text(number.description),
    });
    ContactState {
        external_id: text(state.external_id),
        name: state.name.to_owned(),
        organization_name: text(state.organization_name),
        title: text(state.title),
        email: text(state.email),
        priority: state.priority,
        numbers: numbers.collect(),
        groups: state.groups,
    }
}

/// Snapshot of an account after `contacts` were imported into it.
fn stored(contacts: Vec<FileContact>) -> Snapshot {
    let parsed = parsed(contacts);
    let plan = plan(Snapshot::default(), &parsed, RULES, &PlanContext::default());
    let contacts = (1..).zip(parsed.contacts.additions(&plan));
    let contacts = contacts.map(|(id, added)| StoredContact {
        id: ContactId(id),
        removed: false,
        state: owned(added.after),
    });
    let contacts = contacts.collect();
    let groups = (1..).zip(plan.groups).map(|(id, group)| StoredGroup {
        id: GroupId(id),
        name: group.name,
        name_key: group.name_key,
        removed: false,
    });
    Snapshot {
        groups: groups.collect(),
        contacts,
        ..Snapshot::default()
    }
}

fn team(numbers: std::ops::RangeInclusive<usize>) -> Vec<FileContact> {
    numbers.map(|n| file(n, &["Team"])).collect()
}

fn plan_of(snapshot: Snapshot, contacts: Vec<FileContact>) -> Plan {
    plan(snapshot, &parsed(contacts), RULES, &PlanContext::default())
}

/// added, updated, removed, revived, adopted, unchanged
fn counts(plan: &Plan) -> [usize; 6] {
    let count = |action| plan.count(action);
    [
        count(Action::Added),
        count(Action::Updated),
        count(Action::Removed),
        count(Action::Revived),
        count(Action::Adopted),
        plan.unchanged,
    ]
}

#[test]
fn same_file_changes_nothing() {
    let plan = plan_of(stored(team(1..=20)), team(1..=20));
    assert!(plan.is_empty());
    assert_eq!(
        (counts(&plan), plan.contacts_after),
        ([0, 0, 0, 0, 0, 20], 20)
    );
}

#[test]
fn contacts_are_matched_by_id() {
    let mut contacts = team(1..=20);
    contacts.remove(4);
    contacts[0].name = "Changed".to_owned();
    contacts.push(file(21, &["Team", "New"]));
    let plan = plan_of(stored(team(1..=20)), contacts);
    assert_eq!(
        (counts(&plan), plan.contacts_after),
        ([1, 1, 1, 0, 0, 18], 20)
    );
    assert_eq!(plan.changed[0].id, ContactId(1));
    assert_eq!(plan.removed[0].before.external_id.as_deref(), Some("5"));
    assert_eq!(plan.groups[1].change, GroupChange::Add);
    assert!(plan.hold_reasons.is_empty());
}

#[test]
fn removed_contact_is_revived_with_same_id() {
    let mut snapshot = stored(team(1..=20));
    snapshot.contacts[2].removed = true;
    let plan = plan_of(snapshot, team(1..=20));
    assert_eq!(
        (counts(&plan), plan.changed[0].id),
        ([0, 0, 0, 1, 0, 19], ContactId(3))
    );
    assert_eq!(plan.contacts_after, 20);
}

#[test]
fn contact_in_error_keeps_its_group() {
    let mut before = team(1..=20);
    before[0].groups = vec!["Solo".to_owned()];
    let mut parsed = parsed(team(2..=20));
    parsed.in_error.insert("1".to_owned());
    parsed
        .rows_in_error
        .push(RowInError::Contact("1".to_owned()));
    let plan = plan(stored(before), &parsed, RULES, &PlanContext::default());
    assert!(
        plan.is_empty() && plan.unchanged == 19 && plan.contacts_after == 20,
        "{plan:?}"
    );
}

#[test]
fn unidentified_row_withholds_removals_until_accepted() {
    let digest = [7; 32];
    let mut parsed = parsed(team(2..=20));
    parsed.unidentified.push(UnidentifiedRow { row: 2, digest });
    let withheld = plan(
        stored(team(1..=20)),
        &parsed,
        RULES,
        &PlanContext::default(),
    );
    assert_eq!(
        (
            withheld.removed.len(),
            withheld.withheld.len(),
            withheld.contacts_after
        ),
        (0, 1, 20)
    );
    let accepted = PlanContext {
        accepted_rows: HashSet::from([digest]),
        ..PlanContext::default()
    };
    assert_eq!(
        plan(stored(team(1..=20)), &parsed, RULES, &accepted)
            .removed
            .len(),
        1
    );
    let approved = PlanContext {
        apply_withheld_removals: true,
        ..PlanContext::default()
    };
    assert_eq!(
        plan(stored(team(1..=20)), &parsed, RULES, &approved)
            .removed
            .len(),
        1
    );
    parsed.unidentified.clear();
    parsed.maybe_truncated = true;
    assert_eq!(
        plan(
            stored(team(1..=20)),
            &parsed,
            RULES,
            &PlanContext::default()
        )
        .withheld
        .len(),
        1
    );
}

#[test]
fn contact_without_id_is_adopted_only_if_unambiguous() {
    let without_external_id = |numbers: &[usize]| {
        let mut snapshot = stored(numbers.iter().map(|n| file(*n, &["Team"])).collect());
        for contact in &mut snapshot.contacts {
            contact.state.external_id = None;
            contact.state.name = contact.state.name.to_uppercase();
        }
        snapshot
    };
    let plan = plan_of(without_external_id(&[1]), team(1..=3));
    assert_eq!(
        (counts(&plan), plan.changed[0].id),
        ([2, 0, 0, 0, 1, 0], ContactId(1))
    );
    let plan = plan_of(without_external_id(&[1, 1]), team(1..=3));
    assert_eq!(counts(&plan), [3, 0, 2, 0, 0, 0]);
}

#[test]
fn group_is_renamed_only_if_old_spelling_is_unused() {
    let spelled = |names: &[&str]| {
        (1..=20)
            .zip(names.iter().cycle())
            .map(|(n, name)| file(n, &[*name]))
            .collect::<Vec<_>>()
    };
    let plan = plan_of(stored(spelled(&["Team"])), spelled(&["TEAM", "Team"]));
    assert!(plan.is_empty(), "{plan:?}");
    let plan = plan_of(stored(spelled(&["Team"])), spelled(&["TEAM"]));
    assert_eq!(
        (
            plan.groups[0].id,
            plan.groups[0].name.as_str(),
            plan.groups[0].change
        ),
        (Some(GroupId(1)), "TEAM", GroupChange::Update)
    );
    assert_eq!(plan.unchanged, 20);
}

#[test]
fn absent_fields_keep_stored_values() {
    let mut before = team(1..=20);
    before[0].title = FieldUpdate::Set(Some("EMT".to_owned()));
    before[0].numbers[0].description = FieldUpdate::Set(Some("work".to_owned()));
    let mut after = team(1..=20);
    for contact in &mut after {
        contact.title = FieldUpdate::Keep;
        contact.numbers[0].description = FieldUpdate::Keep;
    }
    assert!(plan_of(stored(before), after).is_empty());
}

#[test]
fn unreadable_extra_number_keeps_stored_numbers() {
    let mut before = team(1..=20);
    let other = FileNumber {
        number: PhoneNumber::from_stored("6045559999"),
        ..before[0].numbers[0].clone()
    };
    before[0].numbers.push(other);
    let mut after = team(1..=20);
    after[0].keep_stored_numbers = true;
    assert!(plan_of(stored(before.clone()), after.clone()).is_empty());
    after[0].keep_stored_numbers = false;
    let plan = plan_of(stored(before), after);
    assert_eq!(plan.changed[0].after.numbers.len(), 1);
}
