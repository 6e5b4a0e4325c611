//! What the templates of a report see: values only, no sentences.

use askama::Template;
use chrono::{DateTime, Utc};

use super::sections::{LineText, MAX_ISSUE_LINES, MAX_SHOWN_CHARS, Mark, Section, SectionKind};
use super::text::{reflow, sentences};
use super::{Outcome, Recipient, Report, attachment};
use crate::model::RunId;
use crate::model::failure::FailureCode;
use crate::model::hold::{HoldReason, HoldRules};
use crate::model::run::{Counts, Origin};
use crate::model::schedule::display_time;
use crate::unicode::shorten;

/// Which issues are attached.
#[derive(Clone, Copy)]
pub(super) enum Attached {
    Nothing,
    All,
    Part,
}

pub(super) struct View<'a> {
    values: Values<'a>,
    pub(super) attachment: Option<(String, String)>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "templates test one condition each"
)]
struct Values<'a> {
    /// Empty while it is rendered itself.
    headline: String,
    account: String,
    run: RunId,
    time: String,
    /// ` (Mon 30 Nov 2026, 02:30)`, or empty if nothing is scheduled.
    next_run: String,
    outcome: &'a Outcome,
    recipient: Recipient,
    rules: HoldRules,
    counts: Counts,
    /// Updated, revived or adopted contacts.
    changed: usize,
    /// Contacts with errors.
    skipped: usize,
    removed: usize,
    withheld: usize,
    /// Contacts that were removed; in a held run: that approval would remove.
    removals: usize,
    /// Contacts with another name or other numbers.
    renamed: usize,
    possible_id_changes: usize,
    contacts_before: usize,
    /// Groups that lose all their members.
    empty_groups: usize,
    recovered: bool,
    has_errors: bool,
    has_counts: bool,
    /// There is more to say about what happened than the counts.
    has_details: bool,
    is_held: bool,
    is_local_file: bool,
    /// The reader of the mail has to act.
    needs_action: bool,
    /// Only the operator can solve the problem.
    for_operator: bool,
    /// The problem may be in the import settings, which only the operator can change.
    needs_settings: bool,
    /// The next scheduled run will try again.
    is_retried: bool,
    /// The run was to undo another one.
    is_revert: bool,
    problem: String,
    reasons: &'a [HoldReason],
    /// Commands for the operator.
    approve: String,
    reject: String,
    sections: Vec<Section>,
    attached: Attached,
}

// The fields of `Values` are those of each template.
macro_rules! template {
    ($name:ident, $path:literal) => {
        #[derive(Template)]
        #[template(path = $path)]
        struct $name<'a> {
            values: &'a Values<'a>,
        }

        impl<'a> std::ops::Deref for $name<'a> {
            type Target = Values<'a>;

            fn deref(&self) -> &Values<'a> {
                self.values
            }
        }
    };
}

template!(Headline, "en/report/headline.txt");
template!(Subject, "en/report/subject.txt");
template!(BodyText, "en/report/body.txt");
template!(BodyHtml, "en/report/body.html");

impl<'a> View<'a> {
    pub(super) fn new(report: &'a Report, recipient: Recipient) -> Result<Self, askama::Error> {
        let counts = report.counts;
        let has_errors = counts.errors > 0;
        let (reasons, failure): (&[HoldReason], _) = match &report.outcome {
            Outcome::Held(reasons) => (reasons, None),
            Outcome::Failed(failure) => (&[], Some(failure)),
            Outcome::Applied | Outcome::Unchanged | Outcome::Reverted(_) => (&[], None),
        };
        let needs_action = match report.outcome {
            Outcome::Failed(_) | Outcome::Held(_) | Outcome::Reverted(_) => true,
            Outcome::Applied => {
                has_errors || !report.withheld.is_empty() || !report.possible_id_changes.is_empty()
            }
            Outcome::Unchanged => false,
        };
        let is_held = matches!(report.outcome, Outcome::Held(_));
        let local = |at: DateTime<Utc>| display_time(at, &report.time_zone);
        let csv = (report.issues.len() > MAX_ISSUE_LINES)
            .then(|| attachment::issue_csv(report))
            .transpose()?;
        let mut values = Values {
            headline: String::new(),
            account: shorten(&report.account, MAX_SHOWN_CHARS),
            run: report.run,
            time: local(report.ended_at),
            next_run: report
                .next_run_at
                .map_or_else(String::new, |at| format!(" ({})", without_zone(&local(at)))),
            outcome: &report.outcome,
            recipient,
            rules: report.rules,
            counts,
            changed: counts.updated + counts.adopted + counts.revived,
            skipped: report.contacts_in_error(),
            removed: report.removed.len(),
            withheld: report.withheld.len(),
            // Approving a run also applies the removals that it withholds.
            removals: counts.removed + if is_held { counts.withheld } else { 0 },
            renamed: report.changed.len(),
            possible_id_changes: report.possible_id_changes.len(),
            contacts_before: (counts.contacts_after + counts.removed)
                .saturating_sub(counts.added + counts.revived),
            empty_groups: report.emptied_groups.len(),
            recovered: report.recovered,
            has_errors,
            has_counts: matches!(report.outcome, Outcome::Applied | Outcome::Held(_)),
            has_details: report.outcome != Outcome::Applied,
            is_held,
            is_local_file: report.origin == Origin::File,
            needs_action,
            for_operator: failure.is_some_and(|failure| is_for_operator(failure.code)),
            needs_settings: failure.is_some_and(|failure| needs_settings(failure.code)),
            is_retried: !report.is_revert
                && failure.is_none_or(|failure| {
                    !matches!(
                        failure.code,
                        FailureCode::ImportDisabled | FailureCode::SetAside
                    )
                }),
            is_revert: report.is_revert,
            problem: failure.map_or_else(String::new, |failure| sentences(&failure.message)),
            reasons,
            approve: match report.origin {
                Origin::Source => format!("rosterd runs approve {}", report.run),
                Origin::File => format!(
                    "rosterd import {} --file PATH --approve {}",
                    report.account_id, report.run
                ),
            },
            reject: format!("rosterd runs reject {}", report.run),
            sections: report.sections(),
            attached: match &csv {
                None => Attached::Nothing,
                Some(csv) if csv.is_complete => Attached::All,
                Some(_) => Attached::Part,
            },
        };
        let headline = Headline { values: &values }.render()?;
        headline.trim().clone_into(&mut values.headline);
        Ok(Self {
            values,
            attachment: csv.map(|csv| (format!("issues-of-run-{}.csv", report.run), csv.csv)),
        })
    }

    pub(super) fn subject(&self) -> Result<String, askama::Error> {
        let values = &self.values;
        Ok(Subject { values }.render()?.trim().to_owned())
    }

    pub(super) fn text(&self) -> Result<String, askama::Error> {
        let values = &self.values;
        Ok(reflow(&BodyText { values }.render()?))
    }

    pub(super) fn html(&self) -> Result<String, askama::Error> {
        let values = &self.values;
        BodyHtml { values }.render()
    }
}

/// The time zone is already in the time of the run.
fn without_zone(time: &str) -> &str {
    time.split_once(" (").map_or(time, |(time, _)| time)
}

/// Whether an admin can solve the problem neither in the spreadsheet nor on the server that has the file.
fn is_for_operator(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::ImportDisabled
            | FailureCode::SettingsIncomplete
            | FailureCode::SecretUnreadable
            | FailureCode::SecretForOtherOrigin
            | FailureCode::AddressRefused
            | FailureCode::HostKeyChanged
            | FailureCode::ClockSkew
            | FailureCode::DatabaseError
            | FailureCode::LeaseLost
            | FailureCode::SetAside
            | FailureCode::Internal
    )
}

/// Whether the problem may be in the address, the user name or another import setting.
fn needs_settings(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::NameNotFound
            | FailureCode::ConnectFailed
            | FailureCode::TlsInvalid
            | FailureCode::SchemeRefused
            | FailureCode::RedirectRefused
            | FailureCode::TooManyRedirects
            | FailureCode::Unauthorized
            | FailureCode::Forbidden
            | FailureCode::NotFound
            | FailureCode::NotAFile
            | FailureCode::HttpStatus
            | FailureCode::ProtocolError
            | FailureCode::S3UnknownKeyId
            | FailureCode::S3WrongSecret
            | FailureCode::S3WrongRegion
            | FailureCode::S3NoBucket
            | FailureCode::S3Archived
    )
}
