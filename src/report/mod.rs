//! Renders the outcome of a run as mail: what to do first, then what happened, then one line per contact.
//!
//! Knows only the domain types. Nothing of a contact enters a mail but its name, its ID and the cells with problems. Sentences are in
//! `templates/en/report`; this module passes values to them.

mod attachment;
mod sections;
mod text;
mod view;

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use crate::compact::Issues;
use crate::model::account::Notify;
use crate::model::failure::Failure;
use crate::model::hold::{HoldReason, HoldRules};
use crate::model::issue::{Issue, Severity};
use crate::model::mail::Content;
use crate::model::plan::PossibleIdChange;
use crate::model::run::{Counts, Origin};
use crate::model::{AccountId, RunId};

use sections::LineSubject;
use view::View;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing changed, and why.
    Failed(Failure),
    /// The plan was not applied: it needs approval.
    Held(Vec<HoldReason>),
    /// The plan was applied.
    Applied,
    /// The file has not changed, and an earlier failure is over.
    Unchanged,
    /// The changes of this run were undone.
    Reverted(RunId),
}

/// Who reads a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// An admin of the account.
    Admin,
    /// The operator, because the account has no admin.
    Operator,
}

/// A contact by name and ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContact {
    /// Name.
    pub name: String,
    /// ID in the spreadsheet; `None` for a contact that was not imported.
    pub external_id: Option<String>,
}

/// Everything that a mail about a run can say.
#[derive(Debug, Clone)]
pub struct Report {
    /// Account.
    pub account_id: AccountId,
    /// Its name.
    pub account: String,
    /// Its IANA time zone, in which times are shown.
    pub time_zone: String,
    /// Run.
    pub run: RunId,
    /// When the run ended.
    pub ended_at: DateTime<Utc>,
    /// When the schedule starts the next run.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Where the file came from.
    pub origin: Origin,
    /// Whether the run was to revert another one; then it can fail without saying anything about the file.
    pub is_revert: bool,
    /// How the run ended.
    pub outcome: Outcome,
    /// The limits that the plan was compared with.
    pub rules: HoldRules,
    /// Zero if the file was not read.
    pub counts: Counts,
    /// Issues of the file.
    pub issues: Issues,
    /// For each issue, whether the previous run did not have it.
    pub is_new: Vec<bool>,
    /// Errors of the previous run that are fixed.
    pub fixed: Issues,
    /// Contacts that were removed; in a held run: that would be.
    pub removed: Vec<NamedContact>,
    /// Contacts whose removal is withheld.
    pub withheld: Vec<NamedContact>,
    /// Contacts that get another name or other numbers, if that is why the run is held.
    pub changed: Vec<NamedContact>,
    /// Groups that lose all their members.
    pub emptied_groups: Vec<String>,
    /// Contacts missing from the file that look like a new contact in it.
    pub possible_id_changes: Vec<PossibleIdChange>,
    /// An earlier failure is over.
    pub recovered: bool,
}

impl Report {
    /// Whether an admin with this setting gets a mail about the run.
    #[must_use]
    pub fn should_send(&self, notify: Notify) -> bool {
        let is_problem = match self.outcome {
            Outcome::Failed(_) | Outcome::Held(_) => true,
            Outcome::Applied | Outcome::Unchanged => self.counts.errors > 0 || self.recovered,
            Outcome::Reverted(_) => self.counts.errors > 0 || notify == Notify::All,
        };
        is_problem
            || (notify == Notify::All
                && (!self.removed.is_empty() || !self.emptied_groups.is_empty()))
    }

    /// Renders the mail for one kind of recipient.
    ///
    /// # Errors
    /// If a template fails, which only a defect can cause.
    pub fn render(&self, recipient: Recipient) -> Result<Content, askama::Error> {
        let view = View::new(self, recipient)?;
        Ok(Content {
            subject: view.subject()?,
            text: view.text()?,
            html: view.html()?,
            attachment: view.attachment,
        })
    }

    fn contacts_in_error(&self) -> usize {
        let errors = self.issues_by_severity(Severity::Error);
        errors
            .map(|(issue, _)| LineSubject::of(&issue))
            .collect::<HashSet<_>>()
            .len()
    }

    /// The issues of this severity, each with whether it is new.
    fn issues_by_severity(&self, severity: Severity) -> impl Iterator<Item = (Issue, bool)> {
        let issues = self.issues.iter().zip(self.is_new.iter().copied());
        issues.filter(move |(issue, _)| issue.severity == severity)
    }
}

#[cfg(test)]
mod tests;
