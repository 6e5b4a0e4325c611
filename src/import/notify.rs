//! Decides who receives mail about a run, and how often a repeated failure is mailed.

use std::borrow::Cow;
use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{ImportError, Importer};
use crate::compact::Issues;
use crate::model::account::{Account, Admin, Notify};
use crate::model::contact::ContactState;
use crate::model::failure::FailureCode;
use crate::model::hold::{HoldReason, HoldRules};
use crate::model::issue::{Issue, Severity, issue_id};
use crate::model::mail::Message;
use crate::model::plan::{Action, Change, Plan};
use crate::model::run::{ClaimedRun, Counts, FailureStreak, Trigger};
use crate::report::{NamedContact, Outcome, Recipient, Report};
use crate::store::RunContext;

/// The same failure is mailed again after this time.
const REMIND_AFTER: TimeDelta = TimeDelta::days(7);

/// Adds a failure to the streak. Also returns whether it is mailed.
pub(super) fn update_streak(
    streak: &FailureStreak,
    code: FailureCode,
    trigger: Trigger,
    now: DateTime<Utc>,
) -> (FailureStreak, bool) {
    if code == FailureCode::ImportDisabled {
        // Not a failing source: an import was requested while imports are disabled.
        return (streak.clone(), true);
    }
    if trigger == Trigger::Approval && code == FailureCode::LeaseLost {
        // Another approval of the same run came first and was mailed.
        return (streak.clone(), false);
    }
    if trigger == Trigger::Revert {
        // A failed revert does not show whether the source works.
        return (streak.clone(), true);
    }
    let is_same_failure = streak.code.as_deref() == Some(code.as_str());
    let is_due = streak.mailed_at.is_none_or(|at| now - at >= REMIND_AFTER);
    let should_mail = trigger != Trigger::Schedule || !is_same_failure || is_due;
    let mailed_at = if should_mail {
        Some(now)
    } else {
        streak.mailed_at
    };
    (
        FailureStreak {
            since: streak.since.or(Some(now)),
            code: Some(code.to_string()),
            mailed_at,
        },
        should_mail,
    )
}

pub(super) fn counts(plan: &Plan, rows: usize, issues: &Issues) -> Counts {
    Counts {
        rows,
        added: plan.added.len(),
        updated: plan.count(Action::Updated),
        unchanged: plan.unchanged,
        removed: plan.removed.len(),
        revived: plan.count(Action::Revived),
        adopted: plan.count(Action::Adopted),
        withheld: plan.withheld.len(),
        errors: issues.count(Severity::Error),
        warnings: issues.count(Severity::Warning),
        contacts_after: plan.contacts_after,
    }
}

/// A report that has only the outcome.
pub(super) fn empty_report(
    account: &Account,
    run: &ClaimedRun,
    context: &RunContext,
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Report {
    Report {
        account_id: account.id,
        account: account.name.clone(),
        time_zone: account.time_zone.clone(),
        run: run.id,
        ended_at: now,
        next_run_at: context.next_run_at.filter(|_| context.import_enabled),
        origin: run.origin,
        is_revert: run.trigger == Trigger::Revert,
        outcome,
        rules: HoldRules::default(),
        counts: Counts::default(),
        issues: Issues::default(),
        is_new: Vec::new(),
        fixed: Issues::default(),
        removed: Vec::new(),
        withheld: Vec::new(),
        changed: Vec::new(),
        emptied_groups: Vec::new(),
        possible_id_changes: Vec::new(),
        recovered: false,
    }
}

/// Excludes issues of contacts that are missing from the file: their errors were not fixed.
pub(super) fn exclude_missing_contacts(fixed: &Issues, plan: &Plan) -> Issues {
    let missing: HashSet<Cow<'_, str>> = plan
        .removed
        .iter()
        .chain(&plan.withheld)
        .filter_map(|removal| removal.before.external_id.as_deref())
        .map(issue_id)
        .collect();
    let is_in_file = |issue: &Issue| {
        let id = issue.external_id.as_deref();
        id.is_none_or(|id| !missing.contains(id))
    };
    let mut kept = Issues::default();
    for issue in fixed.iter().filter(is_in_file) {
        kept.push(&issue);
    }
    kept
}

/// Adds the contacts and groups that a plan changes.
pub(super) fn with_plan(report: Report, plan: &Plan, counts: Counts) -> Report {
    let named_contact = |state: &ContactState| NamedContact {
        name: state.name.clone(),
        external_id: state.external_id.clone(),
    };
    let changed = plan.changed.iter().filter(|change| {
        change.action != Action::Revived && Change::changes_name_or_numbers(change)
    });
    Report {
        counts,
        removed: plan
            .removed
            .iter()
            .map(|removal| named_contact(&removal.before))
            .collect(),
        withheld: plan
            .withheld
            .iter()
            .map(|removal| named_contact(&removal.before))
            .collect(),
        changed: if plan.hold_reasons.contains(&HoldReason::ChangesTooMany) {
            changed
                .map(|change| named_contact(&change.before))
                .collect()
        } else {
            Vec::new()
        },
        emptied_groups: plan.emptied_groups.clone(),
        possible_id_changes: plan.possible_id_changes.clone(),
        ..report
    }
}

impl Importer {
    /// The messages of a report: to each admin whose settings ask for it, or to the operator if the account has no admin.
    pub(super) fn render_messages(
        &self,
        report: &Report,
        admins: &[Admin],
    ) -> Result<Vec<Message>, ImportError> {
        let mut recipients: Vec<&str> = admins
            .iter()
            .filter(|admin| report.should_send(admin.notify))
            .map(|admin| admin.email.as_str())
            .collect();
        let mut recipient = Recipient::Admin;
        if admins.is_empty() && report.should_send(Notify::All) {
            recipient = Recipient::Operator;
            recipients.extend(self.options.operator.as_deref());
            if recipients.is_empty() {
                tracing::warn!(
                    "no recipient for the report: the account has no admin and `mail.operator` is not set"
                );
            }
        }
        if recipients.is_empty() {
            return Ok(Vec::new());
        }
        let content = report
            .render(recipient)
            .map_err(|error| ImportError::Internal(error.to_string()))?;
        let message = |recipient: &str| Message {
            recipient: recipient.to_owned(),
            message_id: format!(
                "<run-{}.{}@{}>",
                report.run,
                uuid::Uuid::new_v4(),
                self.options.mail_domain
            ),
            content: content.clone(),
        };
        Ok(recipients.into_iter().map(message).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_failure_is_mailed_on_change_and_weekly() {
        let day = |n: i64| DateTime::from_timestamp(n * 86_400, 0).unwrap();
        let mut streak = FailureStreak::default();
        let mut mailed = Vec::new();
        for (n, code) in [
            (1, FailureCode::NotFound),
            (2, FailureCode::NotFound),
            (3, FailureCode::Forbidden),
            (4, FailureCode::Forbidden),
            (9, FailureCode::Forbidden),
            (10, FailureCode::Forbidden),
            (11, FailureCode::Forbidden),
        ] {
            let (next, should_mail) = update_streak(&streak, code, Trigger::Schedule, day(n));
            streak = next;
            if should_mail {
                mailed.push(n);
            }
        }
        assert_eq!(mailed, [1, 3, 10]);
        assert_eq!(streak.since, Some(day(1)));
        assert!(update_streak(&streak, FailureCode::Forbidden, Trigger::Manual, day(11)).1);
    }
}
