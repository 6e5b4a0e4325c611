//! Turns a run's outcome into the mail that an admin reads: first what happened and what to do, then a line per contact.
//!
//! Knows `model` only. Puts nothing of a contact into mail but name, ID and the offending cell.

mod attachment;
mod sections;

use std::collections::HashSet;

use askama::Template;

use crate::compact::Issues;
use crate::model::RunId;
use crate::model::account::Notify;
use crate::model::failure::Failure;
use crate::model::hold::HoldReason;
use crate::model::issue::{Issue, Severity};
use crate::model::plan::PossibleIdChange;
use crate::model::run::{Counts, Origin};
use crate::unicode::{join_with_and, shorten};

use sections::{LineSubject, MAX_ISSUE_LINES, Section};

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing changed, and why.
    Failed(Failure),
    /// Waits for a person.
    Held(Vec<HoldReason>),
    /// The plan was applied.
    Applied,
    /// Nothing to do, and an earlier failure is over.
    Unchanged,
    /// This run was undone.
    Reverted(RunId),
}

/// A person by name and ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContact {
    /// Name.
    pub name: String,
    /// ID in the spreadsheet; none for a contact made by hand.
    pub external_id: Option<String>,
}

/// All that a mail about a run may say.
#[derive(Debug, Clone)]
pub struct Report {
    /// Account.
    pub account: String,
    /// Run.
    pub run: RunId,
    /// Where the file came from.
    pub origin: Origin,
    /// What came of it.
    pub outcome: Outcome,
    /// How many of each; zero where the file was not read.
    pub counts: Counts,
    /// Issues of the file.
    pub issues: Issues,
    /// Of each of them, whether it is new.
    pub is_new: Vec<bool>,
    /// Errors of the last time that are gone.
    pub fixed: Issues,
    /// People who were removed (held: who would be).
    pub removed: Vec<NamedContact>,
    /// People whose removal is withheld.
    pub withheld: Vec<NamedContact>,
    /// People who get another name or other numbers, where that is why the run is held.
    pub changed: Vec<NamedContact>,
    /// Groups that lose all their members.
    pub emptied_groups: Vec<String>,
    /// People who are gone, but look like a new contact.
    pub possible_id_changes: Vec<PossibleIdChange>,
    /// An earlier failure is over.
    pub recovered: bool,
}

/// A mail without its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedMail {
    /// Subject line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// HTML.
    pub html: String,
    /// File name and content of the list of all issues.
    pub attachment: Option<(String, String)>,
}

#[derive(Template)]
#[template(path = "report/subject.txt")]
struct Subject<'a> {
    account: &'a str,
    headline: &'a str,
}

#[derive(Template)]
#[template(path = "report/body.txt")]
struct BodyText<'a> {
    account: &'a str,
    headline: &'a str,
    run: RunId,
    happened: &'a [String],
    todo: &'a [String],
    sections: &'a [Section],
    attached: &'a str,
}

#[derive(Template)]
#[template(path = "report/body.html")]
struct BodyHtml<'a> {
    account: &'a str,
    headline: &'a str,
    run: RunId,
    happened: &'a [String],
    todo: &'a [String],
    sections: &'a [Section],
    attached: &'a str,
}

impl Report {
    /// Whether an admin with this wish gets a mail about the run at all.
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

    /// The mail.
    ///
    /// # Errors
    /// If a template fails, which only a defect can cause.
    pub fn render(&self) -> Result<RenderedMail, askama::Error> {
        let account = &shorten(&self.account, 80);
        let headline = &self.headline();
        let (happened, todo, sections) = (&self.happened(), &self.todo(), &self.sections());
        let issue_csv = (self.issues.len() > MAX_ISSUE_LINES).then(|| attachment::issue_csv(self));
        let attached = match &issue_csv {
            None => "",
            Some(issue_csv) if issue_csv.is_complete => "; all issues are in the attached file",
            Some(_) => "; as many issues as mail takes, errors first, are in the attached file",
        };
        let attachment =
            issue_csv.map(|issue_csv| (format!("issues-of-run-{}.csv", self.run), issue_csv.csv));
        Ok(RenderedMail {
            subject: Subject { account, headline }.render()?.trim().to_owned(),
            text: BodyText {
                account,
                headline,
                run: self.run,
                happened,
                todo,
                sections,
                attached,
            }
            .render()?,
            html: BodyHtml {
                account,
                headline,
                run: self.run,
                happened,
                todo,
                sections,
                attached,
            }
            .render()?,
            attachment,
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

    fn headline(&self) -> String {
        let after = if self.recovered {
            "import works again"
        } else {
            "import done"
        };
        match &self.outcome {
            Outcome::Failed(_) => "import failed, nothing was changed".to_owned(),
            Outcome::Held(_) => "import waits for you, nothing was changed".to_owned(),
            Outcome::Unchanged => "import works again".to_owned(),
            Outcome::Reverted(run) if self.counts.errors > 0 => format!(
                "import {run} was undone, but for {}",
                pluralize(self.contacts_in_error(), "contact")
            ),
            Outcome::Reverted(run) => format!("import {run} was undone"),
            Outcome::Applied if self.counts.errors > 0 => {
                format!(
                    "{after}, {} in error",
                    pluralize(self.contacts_in_error(), "contact")
                )
            }
            Outcome::Applied if !self.removed.is_empty() => format!(
                "{after}, {} removed",
                pluralize(self.removed.len(), "contact")
            ),
            Outcome::Applied => after.to_owned(),
        }
    }

    fn happened(&self) -> Vec<String> {
        let counts = &self.counts;
        let mut sentences = Vec::new();
        match &self.outcome {
            Outcome::Failed(failure) => sentences.push(format!(
                "The import failed: {}.",
                failure.message.trim_end_matches('.')
            )),
            Outcome::Held(reasons) => {
                sentences.push("The import was read, but not carried out, because:".to_owned());
                sentences.extend(
                    reasons
                        .iter()
                        .map(|reason| format!("* {}", self.reason(*reason))),
                );
                sentences.push(format!(
                    "It would add {}, change {}, remove {} and leave {} as they are.",
                    counts.added,
                    counts.updated + counts.adopted + counts.revived,
                    counts.removed,
                    counts.unchanged
                ));
            }
            Outcome::Applied => sentences.push(format!(
                "{} added, {} changed, {} removed, {} unchanged; {} now.",
                counts.added,
                counts.updated + counts.adopted + counts.revived,
                counts.removed,
                counts.unchanged,
                pluralize(counts.contacts_after, "contact")
            )),
            Outcome::Unchanged => {
                sentences
                    .push("The file could be read again; it is the same as before.".to_owned());
            }
            Outcome::Reverted(_) => {}
        }
        if let Outcome::Reverted(run) = self.outcome {
            sentences.push(format!(
                "What import {run} did was undone: {} brought back, {} put back as they were, {} removed; {} now.",
                counts.revived,
                counts.updated,
                counts.removed,
                pluralize(counts.contacts_after, "contact")
            ));
            sentences.push(
                "The next import that would remove, change or adopt a contact waits for you, since the spreadsheet may still say the same."
                    .to_owned(),
            );
        }
        if !self.possible_id_changes.is_empty() {
            sentences.push(format!(
                "{} would be removed, and look like the same person as a new contact: their IDs were probably changed in the spreadsheet. \
                 A removed contact loses its place in duty rosters and phone lines.",
                pluralize(self.possible_id_changes.len(), "contact")
            ));
        }
        if matches!(self.outcome, Outcome::Applied) && counts.errors > 0 {
            sentences.push("The contacts in error were not imported: who was stored stays as before, who is new was not added.".to_owned());
        }
        if !self.withheld.is_empty() {
            sentences.push(format!(
                "Nobody was removed, because a row's ID could not be known or the file may be cut off; {} would have been.",
                pluralize(self.withheld.len(), "contact")
            ));
        }
        sentences
    }

    fn reason(&self, reason: HoldReason) -> String {
        let counts = &self.counts;
        match reason {
            HoldReason::RemovesTooMany => {
                let before = counts.contacts_after + counts.removed - counts.added - counts.revived;
                format!("it would remove {} of {}", counts.removed, pluralize(before, "contact"))
            }
            HoldReason::ChangesTooMany => {
                format!("it would give {} another name or other numbers", pluralize(self.changed.len(), "contact"))
            }
            HoldReason::EmptiesGroup => format!("it would leave nobody in {}", join_with_and(&self.emptied_groups)),
            HoldReason::ErrorsTooMany => format!("too many of its {} rows are in error", counts.rows),
            HoldReason::FirstImport => "it is the first since imports were switched on, and touches contacts that are there".to_owned(),
            HoldReason::AfterRevert => "it is the first since an import was reverted, and touches contacts that are there".to_owned(),
        }
    }

    fn todo(&self) -> Vec<String> {
        let approve = match self.origin {
            Origin::Source => format!("rosterd runs approve {}", self.run),
            Origin::File => format!("rosterd import --file PATH --approve {}", self.run),
        };
        match &self.outcome {
            Outcome::Failed(_) => vec![
                "What to do: mend what the sentence above names; the next import tries again."
                    .to_owned(),
            ],
            Outcome::Held(_) => {
                let mut todo = vec![
                    format!("What to do: if this is right, have it approved ({approve})."),
                    format!(
                        "If it is not, mend the spreadsheet and import again, or have it rejected (rosterd runs reject {}).",
                        self.run
                    ),
                ];
                if !self.possible_id_changes.is_empty() {
                    todo.push(format!(
                        "If those with a new ID are the same people, give them their old ID again, or have it approved so that they keep \
                         their records ({approve} --keep-ids)."
                    ));
                }
                todo
            }
            Outcome::Applied | Outcome::Unchanged if self.counts.errors > 0 => {
                let mut todo = vec!["What to do: mend these cells in the spreadsheet; the next import takes them over.".to_owned()];
                if !self.withheld.is_empty() {
                    todo.push(format!("If those who would have been removed shall go, have it approved ({approve})."));
                }
                todo
            }
            Outcome::Reverted(_) if self.counts.errors > 0 => vec![
                "What to do: look at the contacts below; they were left as they are.".to_owned(),
            ],
            Outcome::Applied | Outcome::Unchanged | Outcome::Reverted(_) => Vec::new(),
        }
    }
}

fn pluralize(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

#[cfg(test)]
mod tests;
