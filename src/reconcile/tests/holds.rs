//! Table tests of the reasons to hold a plan, and of what an approval covers.

use super::*;
use crate::model::approval::ApprovedPlan;

/// Contact `n` of the file under a new ID.
fn renumbered(n: usize) -> FileContact {
    FileContact {
        external_id: ExternalId::parse(&format!("{n}.0")).unwrap(),
        ..file(n, &["Team"])
    }
}

/// A file with these contacts and an unidentified row.
fn with_unidentified_row(contacts: Vec<FileContact>) -> ParsedSheet {
    let mut parsed = parsed(contacts);
    parsed.row_count += 1;
    parsed.unidentified.push(UnidentifiedRow {
        row: 2,
        digest: [7; 32],
    });
    parsed
}

#[test]
fn withheld_removals_above_limits_are_held() {
    use HoldReason::{FirstImport, RemovesTooMany};
    let hold_reasons = |first, must_confirm| {
        let context = PlanContext {
            must_confirm,
            ..PlanContext::default()
        };
        let file = with_unidentified_row(team(first..=60));
        let plan = plan(stored(team(1..=60)), &file, RULES, &context);
        assert_eq!((plan.removed.len(), plan.withheld.len()), (0, first - 1));
        plan.hold_reasons
    };
    assert_eq!(hold_reasons(7, None), []); // 10 %
    assert_eq!(hold_reasons(8, None), [RemovesTooMany]);
    assert_eq!(hold_reasons(1, Some(FirstImport)), []);
    assert_eq!(hold_reasons(2, Some(FirstImport)), [FirstImport]);
}

#[test]
fn withheld_removals_empty_groups_only_in_held_plan() {
    let before = |drivers: usize| {
        let mut contacts = team(1..=60);
        for contact in contacts.iter_mut().take(drivers) {
            contact.groups = vec!["Drivers".to_owned()];
        }
        stored(contacts)
    };
    let context = PlanContext::default();
    let held_file = with_unidentified_row(team(7..=60));
    let mut held = plan(before(6), &held_file, RULES, &context);
    assert_eq!(held.hold_reasons, [HoldReason::EmptiesGroup]);
    assert_eq!(held.emptied_groups, ["Drivers"]);
    assert_eq!(held.groups[0].change, GroupChange::None);
    // Without the hold, the members stay.
    held.clear_hold();
    assert!(held.emptied_groups.is_empty() && held.hold_reasons.is_empty());

    let applied_file = with_unidentified_row(team(6..=60));
    let applied = plan(before(5), &applied_file, RULES, &context);
    assert!(applied.hold_reasons.is_empty() && applied.emptied_groups.is_empty());
    assert_eq!(applied.groups[0].change, GroupChange::None);
}

#[test]
fn withheld_removals_do_not_hide_other_emptied_groups() {
    let mut before = team(1..=60);
    before[0].groups = vec!["Drivers".to_owned()];
    before[59].groups = vec!["Pilots".to_owned(), "Team".to_owned()];
    // Contact 1 is withheld; contact 60 leaves its group.
    let file = with_unidentified_row(team(2..=60));
    let plan = plan(stored(before), &file, RULES, &PlanContext::default());
    assert!(plan.hold_reasons.is_empty());
    assert_eq!(plan.emptied_groups, ["Pilots"]);
}

#[test]
fn id_changes_above_limits_are_held() {
    use HoldReason::{IdsChanged, RemovesTooMany};
    let hold_reasons = |changed: usize, keep_ids| {
        let contacts = (1..=changed)
            .map(renumbered)
            .chain(team(changed + 1..=60))
            .collect();
        let context = PlanContext {
            keep_ids,
            ..PlanContext::default()
        };
        let parsed = parsed(contacts);
        plan(stored(team(1..=60)), &parsed, RULES, &context).hold_reasons
    };
    assert_eq!(hold_reasons(6, false), []); // 10 %
    assert_eq!(hold_reasons(7, false), [RemovesTooMany, IdsChanged]);
    assert_eq!(hold_reasons(7, true), []);
}

#[test]
fn few_id_changes_among_many_removals_are_no_reason() {
    let contacts = (1..=6).map(renumbered).chain(team(11..=60)).collect();
    let plan = plan_of(stored(team(1..=60)), contacts);
    assert_eq!(plan.possible_id_changes.len(), 6);
    assert_eq!(plan.hold_reasons, [HoldReason::RemovesTooMany]);
}

#[test]
fn id_changes_are_held_if_removals_are_withheld() {
    use HoldReason::{IdsChanged, RemovesTooMany};
    let file = with_unidentified_row((1..=19).map(renumbered).collect());
    let held = plan(stored(team(1..=20)), &file, RULES, &PlanContext::default());
    assert_eq!(
        (held.withheld.len(), held.possible_id_changes.len()),
        (20, 19)
    );
    assert_eq!(held.hold_reasons, [RemovesTooMany, IdsChanged]);
    // An approval of the same file with `--keep-ids` removes only the contact without a row.
    let approval = PlanContext {
        apply_withheld_removals: true,
        keep_ids: true,
        ..PlanContext::default()
    };
    let approved = plan(stored(team(1..=20)), &file, RULES, &approval);
    assert_eq!(counts(&approved), [0, 19, 1, 0, 0, 0]);
    assert_eq!(approved.changed[0].id, ContactId(1));
    assert_eq!(
        approved.changed[0].after.external_id.as_deref(),
        Some("1.0")
    );
    assert!(approved.hold_reasons.is_empty());
}

#[track_caller]
fn check_hold(before: Vec<FileContact>, after: Vec<FileContact>, expected: &[HoldReason]) {
    assert_eq!(plan_of(stored(before), after).hold_reasons, expected);
}

#[test]
fn removals_above_limits_are_held() {
    use HoldReason::RemovesTooMany;
    check_hold(team(1..=60), team(7..=60), &[]); // 10 %
    check_hold(team(1..=59), team(7..=59), &[RemovesTooMany]); // more than 10 %, more than 5
    check_hold(team(1..=20), team(6..=20), &[]); // 25 %, but only 5
    check_hold(team(1..=4), team(3..=4), &[RemovesTooMany]); // half
    check_hold(team(1..=3), team(2..=3), &[]);
}

#[test]
fn changes_above_limits_are_held() {
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
        contact.title = FieldUpdate::Set(Some("EMT".to_owned()));
    }
    check_hold(team(1..=20), retitled, &[]);
}

#[test]
fn emptying_group_over_five_is_held() {
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
fn new_errors_above_limit_are_held() {
    let hold_reasons = |errors: usize, already_in_error: usize| {
        let mut file = parsed(team(errors + 1..=20));
        file.row_count = 20;
        let ids: Vec<String> = (1..=errors).map(|n| n.to_string()).collect();
        file.rows_in_error = ids.iter().cloned().map(RowInError::Contact).collect();
        file.in_error = ids.into_iter().collect();
        let in_error = (1..=already_in_error)
            .map(|n| RowInError::Contact(n.to_string()))
            .collect();
        plan(
            stored(team(1..=20)),
            &file,
            RULES,
            &PlanContext {
                in_error,
                ..PlanContext::default()
            },
        )
        .hold_reasons
    };
    assert_eq!(hold_reasons(5, 0), []);
    assert_eq!(hold_reasons(6, 0), [HoldReason::ErrorsTooMany]);
    assert_eq!(hold_reasons(6, 1), []);
}

#[test]
fn first_import_is_held_only_if_it_changes_contacts() {
    let context = PlanContext {
        must_confirm: Some(HoldReason::FirstImport),
        ..PlanContext::default()
    };
    let hold_reasons =
        |snapshot, contacts| plan(snapshot, &parsed(contacts), RULES, &context).hold_reasons;
    assert_eq!(hold_reasons(Snapshot::default(), team(1..=20)), []);
    assert_eq!(hold_reasons(stored(team(1..=20)), team(1..=21)), []);
    assert_eq!(
        hold_reasons(stored(team(1..=20)), team(2..=20)),
        [HoldReason::FirstImport]
    );
}

#[test]
fn approval_covers_same_file_or_subset() {
    let parsed = parsed(team(3..=20));
    let plan = plan(
        stored(team(1..=20)),
        &parsed,
        RULES,
        &PlanContext::default(),
    );
    let approved = |ids: &[i64], sha| ApprovedPlan {
        sha256: Some(sha),
        removed: ids.iter().map(|id| ContactId(*id)).collect(),
        ..ApprovedPlan::default()
    };
    let covers = |approved: ApprovedPlan, must_confirm| {
        approved.covers(&plan, &parsed.rows_in_error, [1; 32], must_confirm)
    };
    assert!(covers(approved(&[], [1; 32]), None));
    assert!(covers(approved(&[1, 2, 3], [2; 32]), None));
    assert!(!covers(approved(&[1], [2; 32]), None));
    // Imports were disabled in between: the same file is not enough, unless the approved run was held for that reason.
    let enabled = Some(HoldReason::FirstImport);
    assert!(!covers(approved(&[], [1; 32]), enabled));
    assert!(covers(approved(&[1, 2], [1; 32]), enabled));
    let held_as_first_import = ApprovedPlan {
        hold_reasons: vec![HoldReason::FirstImport],
        ..approved(&[], [1; 32])
    };
    assert!(covers(held_as_first_import, enabled));
}

#[test]
fn approval_of_other_file_covers_only_shown_withheld_removals() {
    let mut parsed = parsed(team(11..=20));
    parsed.maybe_truncated = true;
    let plan = plan(
        stored(team(1..=20)),
        &parsed,
        RULES,
        &PlanContext::default(),
    );
    assert_eq!(plan.withheld.len(), 10);
    let covers = |last: i64| {
        let approved = ApprovedPlan {
            removed: (1..=last).map(ContactId).collect(),
            ..ApprovedPlan::default()
        };
        approved.covers(&plan, &parsed.rows_in_error, [1; 32], None)
    };
    assert!(covers(10));
    assert!(!covers(9));
}

#[test]
fn approved_removal_does_not_cover_change() {
    let mut other = team(1..=20);
    other[0].name = "Another Name".to_owned();
    let parsed = parsed(other);
    let plan = plan(
        stored(team(1..=20)),
        &parsed,
        RULES,
        &PlanContext::default(),
    );
    let approved = |change: fn(ContactId) -> ApprovedPlan| change(plan.changed[0].id);
    let removed = approved(|id| ApprovedPlan {
        removed: [id].into(),
        ..ApprovedPlan::default()
    });
    let changed = approved(|id| ApprovedPlan {
        changed: [id].into(),
        ..ApprovedPlan::default()
    });
    assert!(!removed.covers(&plan, &parsed.rows_in_error, [1; 32], None));
    assert!(changed.covers(&plan, &parsed.rows_in_error, [1; 32], None));
}

/// The approval did not mention that a contact created outside of imports would be overwritten with a row.
#[test]
fn approved_removal_does_not_cover_adoption() {
    let parsed = parsed(team(1..=20));
    let mut snapshot = stored(team(1..=20));
    snapshot.contacts[0].state.external_id = None;
    let plan = plan(snapshot, &parsed, RULES, &PlanContext::default());
    assert_eq!(plan.changed[0].action, Action::Adopted);
    let removed = ApprovedPlan {
        removed: [plan.changed[0].id].into(),
        ..ApprovedPlan::default()
    };
    assert!(!removed.covers(&plan, &parsed.rows_in_error, [1; 32], None));
}
