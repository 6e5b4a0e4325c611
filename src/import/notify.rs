//! What is told of a run: who gets which mail, and how often of a failure that goes on.

use chrono::{DateTime, TimeDelta, Utc};

use super::{ImportError, Importer};
use crate::compact::Issues;
use crate::model::account::{Account, Admin};
use crate::model::contact::ContactState;
use crate::model::failure::FailureCode;
use crate::model::hold::HoldReason;
use crate::model::issue::Severity;
use crate::model::plan::{Action, Change, Plan};
use crate::model::run::{ClaimedRun, Counts, FailureStreak, Trigger};
use crate::report::{NamedContact, Outcome, Report};
use crate::store::NewMail;

/// A failure that goes on is mailed again after this time.
const REMIND_AFTER: TimeDelta = TimeDelta::days(7);

/// How a series of failures goes on after one more, and whether this one is mailed.
pub(super) fn update_streak(
    streak: &FailureStreak,
    code: FailureCode,
    trigger: Trigger,
    now: DateTime<Utc>,
) -> (FailureStreak, bool) {
    if code == FailureCode::ImportDisabled {
        // Nothing is failing: a person asked for what is switched off, and is told.
        return (streak.clone(), true);
    }
    if trigger == Trigger::Approval && code == FailureCode::LeaseLost {
        // Somebody else has approved it at the same time, and is told.
        return (streak.clone(), false);
    }
    if trigger == Trigger::Revert {
        // It says nothing about the source.
        return (streak.clone(), true);
    }
    let same = streak.code.as_deref() == Some(code.as_str());
    let is_due = streak.mailed_at.is_none_or(|at| now - at >= REMIND_AFTER);
    let mail = trigger != Trigger::Schedule || !same || is_due;
    let mailed_at = if mail { Some(now) } else { streak.mailed_at };
    (
        FailureStreak {
            since: streak.since.or(Some(now)),
            code: Some(code.to_string()),
            mailed_at,
        },
        mail,
    )
}

/// The counts of a plan that was made from a roster.
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

/// A report of a run of which nothing is known yet but its outcome.
pub(super) fn empty_report(account: &Account, run: &ClaimedRun, outcome: Outcome) -> Report {
    Report {
        account: account.name.clone(),
        run: run.id,
        origin: run.origin,
        outcome,
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

/// Adds to a report whom a plan concerns.
pub(super) fn with_plan(report: Report, plan: &Plan, counts: Counts) -> Report {
    let person = |state: &ContactState| NamedContact {
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
            .map(|removal| person(&removal.before))
            .collect(),
        withheld: plan
            .withheld
            .iter()
            .map(|removal| person(&removal.before))
            .collect(),
        changed: if plan.hold_reasons.contains(&HoldReason::ChangesTooMany) {
            changed.map(|change| person(&change.before)).collect()
        } else {
            Vec::new()
        },
        emptied_groups: plan.emptied_groups.clone(),
        possible_id_changes: plan.possible_id_changes.clone(),
        ..report
    }
}

impl Importer {
    /// The mails of a report: to each admin who wants it, or to the operator where the account has no admin.
    pub(super) fn render_mails(
        &self,
        report: &Report,
        admins: &[Admin],
    ) -> Result<Vec<NewMail>, ImportError> {
        let mut recipients: Vec<&str> = admins
            .iter()
            .filter(|admin| report.should_send(admin.notify))
            .map(|admin| admin.email.as_str())
            .collect();
        if admins.is_empty() && report.should_send(crate::model::account::Notify::All) {
            recipients.extend(self.options.operator.as_deref());
            if recipients.is_empty() {
                tracing::warn!(
                    "the account has no admin and `mail.operator` is not set: nobody receives the report"
                );
            }
        }
        if recipients.is_empty() {
            return Ok(Vec::new());
        }
        let rendered = report
            .render()
            .map_err(|error| ImportError::Internal(error.to_string()))?;
        let mail = |recipient: &str| NewMail {
            recipient: recipient.to_owned(),
            message_id: format!(
                "<run-{}.{}@{}>",
                report.run,
                uuid::Uuid::new_v4(),
                self.options.mail_domain
            ),
            subject: rendered.subject.clone(),
            text: rendered.text.clone(),
            html: rendered.html.clone(),
            attachment: rendered.attachment.clone(),
        };
        Ok(recipients.into_iter().map(mail).collect())
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
            let (next, mail) = update_streak(&streak, code, Trigger::Schedule, day(n));
            streak = next;
            if mail {
                mailed.push(n);
            }
        }
        assert_eq!(mailed, [1, 3, 10]);
        assert_eq!(streak.since, Some(day(1)));
        assert!(update_streak(&streak, FailureCode::Forbidden, Trigger::Manual, day(11)).1);
    }
}
