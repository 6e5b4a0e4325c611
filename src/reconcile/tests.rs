//! Plans as tables: stored contacts, rows of a file, and what has to be done.

use super::*;
use std::collections::HashSet;

use crate::model::contact::{ExternalId, FileNumber, NumberType, PhoneNumber, Priority, Said};
use crate::model::group::StoredGroup;
use crate::model::hold::Approved;
use crate::model::plan::GroupChange;
use crate::model::row::{NamelessRow, RowInError};
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

/// Contact `n` as the file has it, in these groups.
fn file(n: usize, groups: &[&str]) -> FileContact {
    FileContact {
        external_id: ExternalId::parse(&n.to_string()).unwrap(),
        name: format!("Name {n}"),
        organization_name: Said::This(None),
        title: Said::This(None),
        email: Said::This(None),
        priority: Said::This(Some(Priority::Normal)),
        numbers: vec![FileNumber {
            number: phone(n),
            number_type: NumberType::Mobile,
            description: Said::This(None),
        }],
        keeps_numbers: false,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        rows: vec![u32::try_from(n).unwrap() + 1],
    }
}

fn roster(contacts: Vec<FileContact>) -> Roster {
    Roster {
        row_count: contacts.len(),
        contacts: contacts.into_iter().collect(),
        ..Roster::default()
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

/// What is stored once `contacts` have been imported into an empty account.
fn stored(contacts: Vec<FileContact>) -> Snapshot {
    let roster = roster(contacts);
    let plan = plan(Snapshot::default(), &roster, RULES, &History::default());
    let contacts = (1..).zip(roster.contacts.additions(&plan));
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
    plan(snapshot, &roster(contacts), RULES, &History::default())
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
fn the_same_file_again_changes_nothing() {
    let plan = plan_of(stored(team(1..=20)), team(1..=20));
    assert!(plan.is_empty());
    assert_eq!(
        (counts(&plan), plan.contacts_after),
        ([0, 0, 0, 0, 0, 20], 20)
    );
}

#[test]
fn contacts_are_added_updated_and_removed_by_id() {
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
fn a_removed_contact_comes_back_under_its_id() {
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
fn a_contact_in_error_stays_and_keeps_its_group_alive() {
    let mut before = team(1..=20);
    before[0].groups = vec!["Solo".to_owned()];
    let mut roster = roster(team(2..=20));
    roster.in_error.insert("1".to_owned());
    roster
        .rows_in_error
        .push(RowInError::Contact("1".to_owned()));
    let plan = plan(stored(before), &roster, RULES, &History::default());
    assert!(
        plan.is_empty() && plan.unchanged == 19 && plan.contacts_after == 20,
        "{plan:?}"
    );
}

#[test]
fn a_nameless_row_withholds_removals_until_it_is_accepted() {
    let digest = [7; 32];
    let mut roster = roster(team(2..=20));
    roster.nameless.push(NamelessRow { row: 2, digest });
    let withheld = plan(stored(team(1..=20)), &roster, RULES, &History::default());
    assert_eq!(
        (
            withheld.removed.len(),
            withheld.withheld.len(),
            withheld.contacts_after
        ),
        (0, 1, 20)
    );
    let accepted = History {
        accepted_rows: HashSet::from([digest]),
        ..History::default()
    };
    assert_eq!(
        plan(stored(team(1..=20)), &roster, RULES, &accepted)
            .removed
            .len(),
        1
    );
    let approved = History {
        release_withheld: true,
        ..History::default()
    };
    assert_eq!(
        plan(stored(team(1..=20)), &roster, RULES, &approved)
            .removed
            .len(),
        1
    );
    roster.nameless.clear();
    roster.maybe_cut = true;
    assert_eq!(
        plan(stored(team(1..=20)), &roster, RULES, &History::default())
            .withheld
            .len(),
        1
    );
}

#[track_caller]
fn check_hold(before: Vec<FileContact>, after: Vec<FileContact>, expected: &[HoldReason]) {
    assert_eq!(plan_of(stored(before), after).hold_reasons, expected);
}

#[test]
fn too_many_removals_are_held() {
    use HoldReason::RemovesTooMany;
    check_hold(team(1..=60), team(7..=60), &[]); // 10 %
    check_hold(team(1..=59), team(7..=59), &[RemovesTooMany]); // more than 10 %, more than 5
    check_hold(team(1..=20), team(6..=20), &[]); // 25 %, but only 5
    check_hold(team(1..=4), team(3..=4), &[RemovesTooMany]); // half
    check_hold(team(1..=3), team(2..=3), &[]);
}

#[test]
fn too_many_changes_are_held() {
    let renamed = |count: usize| {
        let mut contacts = team(1..=20);
        contacts
            .iter_mut()
            .take(count)
            .for_each(|contact| contact.name.push('x'));
        contacts
    };
    check_hold(team(1..=20), renamed(10), &[]);
    check_hold(team(1..=20), renamed(11), &[HoldReason::ChangesTooMany]);
    let mut retitled = team(1..=20);
    for contact in &mut retitled {
        contact.title = Said::This(Some("EMT".to_owned()));
    }
    check_hold(team(1..=20), retitled, &[]);
}

#[test]
fn emptying_a_group_of_more_than_five_is_held_and_named() {
    let with_drivers = |count: usize| {
        let mut contacts = team(1..=40);
        contacts
            .iter_mut()
            .take(count)
            .for_each(|contact| contact.groups.push("Drivers".to_owned()));
        contacts
    };
    check_hold(with_drivers(5), with_drivers(0), &[]);
    let plan = plan_of(stored(with_drivers(6)), with_drivers(0));
    assert_eq!(plan.hold_reasons, [HoldReason::EmptiesGroup]);
    assert_eq!(plan.emptied_groups, ["Drivers"]);
    assert_eq!(plan.groups[1].change, GroupChange::Remove);
}

#[test]
fn too_many_rows_newly_in_error_are_held() {
    let hold = |errors: usize, known: usize| {
        let mut file = roster(team(errors + 1..=20));
        file.row_count = 20;
        let ids: Vec<String> = (1..=errors).map(|n| n.to_string()).collect();
        file.rows_in_error = ids.iter().cloned().map(RowInError::Contact).collect();
        file.in_error = ids.into_iter().collect();
        let in_error = (1..=known)
            .map(|n| RowInError::Contact(n.to_string()))
            .collect();
        plan(
            stored(team(1..=20)),
            &file,
            RULES,
            &History {
                in_error,
                ..History::default()
            },
        )
        .hold_reasons
    };
    assert_eq!(hold(5, 0), []);
    assert_eq!(hold(6, 0), [HoldReason::ErrorsTooMany]);
    assert_eq!(hold(6, 1), []);
}

#[test]
fn the_first_import_is_held_only_if_it_touches_someone() {
    let history = History {
        must_confirm: Some(HoldReason::FirstImport),
        ..History::default()
    };
    let hold = |snapshot, contacts| plan(snapshot, &roster(contacts), RULES, &history).hold_reasons;
    assert_eq!(hold(Snapshot::default(), team(1..=20)), []);
    assert_eq!(hold(stored(team(1..=20)), team(1..=21)), []);
    assert_eq!(
        hold(stored(team(1..=20)), team(2..=20)),
        [HoldReason::FirstImport]
    );
}

#[test]
fn a_contact_made_by_hand_is_adopted_only_without_doubt() {
    let by_hand = |numbers: &[usize]| {
        let mut snapshot = stored(numbers.iter().map(|n| file(*n, &["Team"])).collect());
        for contact in &mut snapshot.contacts {
            contact.state.external_id = None;
            contact.state.name = contact.state.name.to_uppercase();
        }
        snapshot
    };
    let plan = plan_of(by_hand(&[1]), team(1..=3));
    assert_eq!(
        (counts(&plan), plan.changed[0].id),
        ([2, 0, 0, 0, 1, 0], ContactId(1))
    );
    let plan = plan_of(by_hand(&[1, 1]), team(1..=3));
    assert_eq!(counts(&plan), [3, 0, 2, 0, 0, 0]);
}

#[test]
fn a_group_keeps_its_id_and_takes_the_new_spelling_only_when_the_old_is_gone() {
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
        (Some(GroupId(1)), "TEAM", GroupChange::Write)
    );
    assert_eq!(plan.unchanged, 20);
}

#[test]
fn what_the_file_does_not_say_stays_as_stored() {
    let mut before = team(1..=20);
    before[0].title = Said::This(Some("EMT".to_owned()));
    before[0].numbers[0].description = Said::This(Some("work".to_owned()));
    let mut after = team(1..=20);
    for contact in &mut after {
        contact.title = Said::Nothing;
        contact.numbers[0].description = Said::Nothing;
    }
    assert!(plan_of(stored(before), after).is_empty());
}

#[test]
fn an_approval_covers_the_same_file_or_fewer_people() {
    let roster = roster(team(3..=20));
    let plan = plan(stored(team(1..=20)), &roster, RULES, &History::default());
    let approved = |ids: &[i64], sha| Approved {
        sha256: Some(sha),
        removed: ids.iter().map(|id| ContactId(*id)).collect(),
        ..Approved::default()
    };
    let covers =
        |approved: Approved, since| approved.covers(&plan, &roster.rows_in_error, [1; 32], since);
    assert!(covers(approved(&[], [1; 32]), None));
    assert!(covers(approved(&[1, 2, 3], [2; 32]), None));
    assert!(!covers(approved(&[1], [2; 32]), None));
    // Imports were off meanwhile: the file alone says nothing, unless that is what the approved run waited for.
    let enabled = Some(HoldReason::FirstImport);
    assert!(!covers(approved(&[], [1; 32]), enabled));
    assert!(covers(approved(&[1, 2], [1; 32]), enabled));
    let waited = Approved {
        hold_reasons: vec![HoldReason::FirstImport],
        ..approved(&[], [1; 32])
    };
    assert!(covers(waited, enabled));
}

#[test]
fn an_approved_removal_is_no_approved_change() {
    let mut other = team(1..=20);
    other[0].name = "Somebody Else".to_owned();
    let roster = roster(other);
    let plan = plan(stored(team(1..=20)), &roster, RULES, &History::default());
    let approved = |change: fn(ContactId) -> Approved| change(plan.changed[0].id);
    let removed = approved(|id| Approved {
        removed: [id].into(),
        ..Approved::default()
    });
    let changed = approved(|id| Approved {
        changed: [id].into(),
        ..Approved::default()
    });
    assert!(!removed.covers(&plan, &roster.rows_in_error, [1; 32], None));
    assert!(changed.covers(&plan, &roster.rows_in_error, [1; 32], None));
}

/// Nobody was told that a contact which they made would get the fields of a row.
#[test]
fn an_approved_removal_is_no_approved_adoption() {
    let roster = roster(team(1..=20));
    let mut snapshot = stored(team(1..=20));
    snapshot.contacts[0].state.external_id = None;
    let plan = plan(snapshot, &roster, RULES, &History::default());
    assert_eq!(plan.changed[0].action, Action::Adopted);
    let removed = Approved {
        removed: [plan.changed[0].id].into(),
        ..Approved::default()
    };
    assert!(!removed.covers(&plan, &roster.rows_in_error, [1; 32], None));
}

#[test]
fn a_further_number_that_can_t_be_read_takes_no_stored_one_away() {
    let mut before = team(1..=20);
    let other = FileNumber {
        number: PhoneNumber::stored("6045559999"),
        ..before[0].numbers[0].clone()
    };
    before[0].numbers.push(other);
    let mut after = team(1..=20);
    after[0].keeps_numbers = true;
    assert!(plan_of(stored(before.clone()), after.clone()).is_empty());
    after[0].keeps_numbers = false;
    let plan = plan_of(stored(before), after);
    assert_eq!(plan.changed[0].after.numbers.len(), 1);
}
