//! The lists of a report: a line per contact, per person, per group.

use std::collections::HashMap;

use super::{NamedContact, Outcome, Report};
use crate::model::hold::HoldReason;
use crate::model::issue::{Issue, Severity};
use crate::unicode::shorten;

/// Most issues in the text itself; beyond them all are attached.
pub(super) const MAX_ISSUE_LINES: usize = 100;
/// Most names in a list of people who were, or would be, removed.
const MAX_NAMES: usize = 100;

/// A list under a title.
pub(super) struct Section {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// Lines beyond those shown.
    pub(super) more: usize,
}

pub(super) struct Line {
    pub(super) who: String,
    pub(super) place: String,
    pub(super) what: String,
    pub(super) mark: &'static str,
}

impl Report {
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut remaining_lines = MAX_ISSUE_LINES;
        let held = matches!(self.outcome, Outcome::Held(_));
        let title = if matches!(self.outcome, Outcome::Reverted(_)) {
            "Left as they are:"
        } else {
            "Contacts in error:"
        };
        let errors = self.issue_section(title, Severity::Error, &mut remaining_lines);
        let warnings = self.issue_section(
            "Warnings (imported all the same):",
            Severity::Warning,
            &mut remaining_lines,
        );
        let fixed = Section {
            title: "Fixed since last time:".to_owned(),
            lines: self
                .fixed
                .iter()
                .take(MAX_ISSUE_LINES)
                .map(|issue| line(&[issue], ""))
                .collect(),
            more: self.fixed.len().saturating_sub(MAX_ISSUE_LINES),
        };
        let changed: &[NamedContact] = match &self.outcome {
            Outcome::Held(reasons) if reasons.contains(&HoldReason::ChangesTooMany) => {
                &self.changed
            }
            _ => &[],
        };
        let groups = Section {
            title: if held {
                "Groups that would be empty:"
            } else {
                "Groups that are empty now:"
            }
            .to_owned(),
            lines: self
                .emptied_groups
                .iter()
                .map(|name| text_line(name.clone()))
                .collect(),
            more: 0,
        };
        let sections = vec![
            errors,
            contacts_section(
                if held {
                    "Would be removed:"
                } else {
                    "Removed:"
                },
                &self.removed,
            ),
            contacts_section("Would have been removed:", &self.withheld),
            self.possible_id_changes_section(),
            contacts_section("Would get another name or other numbers:", changed),
            groups,
            fixed,
            warnings,
        ];
        sections
            .into_iter()
            .filter(|section| !section.lines.is_empty())
            .collect()
    }

    fn possible_id_changes_section(&self) -> Section {
        let lines = self
            .possible_id_changes
            .iter()
            .take(MAX_NAMES)
            .map(|person| {
                let old = person.old_id.as_deref().unwrap_or_default();
                text_line(format!(
                    "{} (ID {}) looks like the new contact with the ID {}",
                    shorten(&person.name, 80),
                    shorten(old, 80),
                    shorten(&person.new_id, 80)
                ))
            });
        Section {
            title: "Probably the same person under a new ID:".to_owned(),
            lines: lines.collect(),
            more: self.possible_id_changes.len().saturating_sub(MAX_NAMES),
        }
    }

    /// A line per contact, with all that is wrong with it.
    fn issue_section(
        &self,
        title: &str,
        severity: Severity,
        remaining_lines: &mut usize,
    ) -> Section {
        let mut position_of: HashMap<LineSubject, usize> = HashMap::new();
        let mut shown: Vec<(Vec<Issue>, bool)> = Vec::new();
        for (issue, is_new) in self.issues_by_severity(severity) {
            let count = position_of.len();
            let place = *position_of.entry(LineSubject::of(&issue)).or_insert(count);
            if place == shown.len() && place < *remaining_lines {
                shown.push((Vec::new(), false));
            }
            if let Some((issues, any_new)) = shown.get_mut(place) {
                issues.push(issue);
                *any_new |= is_new;
            }
        }
        *remaining_lines -= shown.len();
        let mark = |is_new: bool| match (severity, is_new) {
            (Severity::Error, true) => "new",
            (Severity::Error, false) => "still open",
            _ => "",
        };
        let lines = shown.iter();
        Section {
            title: title.to_owned(),
            lines: lines
                .map(|(issues, is_new)| line(issues, mark(*is_new)))
                .collect(),
            more: position_of.len() - shown.len(),
        }
    }
}

/// What a line is about.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum LineSubject {
    Contact(String),
    Row(u32),
    File(String),
}

impl LineSubject {
    pub(super) fn of(issue: &Issue) -> Self {
        match (&issue.external_id, issue.row) {
            (Some(id), _) => Self::Contact(id.clone()),
            (None, Some(row)) => Self::Row(row),
            (None, None) => Self::File(issue.message().into_owned()),
        }
    }
}

fn line(issues: &[Issue], mark: &'static str) -> Line {
    let first = issues.first();
    let name = issues
        .iter()
        .find_map(|issue| issue.contact_name.as_deref());
    let id = first.and_then(|issue| issue.external_id.as_deref());
    let who = match (name, id, first.and_then(|issue| issue.row)) {
        (Some(name), Some(id), _) => format!("{} (ID {})", shorten(name, 80), shorten(id, 80)),
        (Some(name), None, _) => shorten(name, 80),
        (None, Some(id), _) => format!("ID {}", shorten(id, 80)),
        (None, None, Some(row)) => format!("row {row}"),
        (None, None, None) => "the file".to_owned(),
    };
    let cells: Vec<String> = issues
        .iter()
        .filter_map(|issue| {
            issue
                .cell()
                .or_else(|| issue.row.map(|row| format!("row {row}")))
        })
        .collect();
    let what = issues.iter().map(|issue| match &issue.value {
        Some(value) => format!("{} ({})", issue.message(), shorten(value, 80)),
        None => issue.message().into_owned(),
    });
    Line {
        who,
        place: cells.join(", "),
        what: what.collect::<Vec<_>>().join("; "),
        mark,
    }
}

fn text_line(who: String) -> Line {
    Line {
        who,
        place: String::new(),
        what: String::new(),
        mark: "",
    }
}

fn contacts_section(title: &str, contacts_section: &[NamedContact]) -> Section {
    let lines = contacts_section.iter().take(MAX_NAMES).map(|person| {
        let name = shorten(&person.name, 80);
        text_line(match &person.external_id {
            Some(id) => format!("{name} (ID {})", shorten(id, 80)),
            None => format!("{name} (made by hand)"),
        })
    });
    Section {
        title: title.to_owned(),
        lines: lines.collect(),
        more: contacts_section.len().saturating_sub(MAX_NAMES),
    }
}
