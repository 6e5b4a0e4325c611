//! The lists of a report: one line per contact, group or possible ID change, as values for the templates.

use std::collections::{HashMap, HashSet};

use super::text::sentence;
use super::{NamedContact, Outcome, Report};
use crate::model::issue::{Issue, Severity};
use crate::unicode::shorten;

/// Most contacts with issues in the text; beyond it all issues are attached.
pub(super) const MAX_ISSUE_LINES: usize = 100;
/// Most contacts in each of the other lists.
const MAX_NAMES: usize = 100;
/// Names, IDs and values are cut at this number of characters.
pub(super) const MAX_SHOWN_CHARS: usize = 80;

pub(super) struct Section {
    pub(super) kind: SectionKind,
    pub(super) lines: Vec<Line>,
    /// Lines beyond those shown.
    pub(super) more: usize,
}

#[derive(Clone, Copy)]
pub(super) enum SectionKind {
    Errors,
    NotRestored,
    Removed,
    WouldBeRemoved,
    NotRemoved,
    PossibleIdChanges,
    WouldBeRenamed,
    EmptyGroups,
    WouldBeEmptyGroups,
    Fixed,
    Warnings,
    WarningsOfHeldRun,
}

pub(super) struct Line {
    pub(super) text: LineText,
    pub(super) problems: Vec<Problem>,
    pub(super) mark: Mark,
}

pub(super) enum LineText {
    /// At least one of both.
    Contact {
        name: Option<String>,
        id: Option<String>,
    },
    ContactWithoutId {
        name: String,
    },
    Row(u32),
    File,
    Group(String),
    IdChange {
        name: String,
        old_id: String,
        new_id: String,
    },
}

pub(super) struct Problem {
    /// `E17`, or empty.
    pub(super) cell: String,
    /// The row, where neither the cell nor the line says it.
    pub(super) row: Option<u32>,
    /// What is wrong, without a final period.
    pub(super) text: String,
    pub(super) value: Option<String>,
    /// What to do, without a final period; may be empty.
    pub(super) fix: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    New,
    StillOpen,
}

impl Section {
    pub(super) fn has_problems(&self) -> bool {
        self.lines.iter().any(|line| !line.problems.is_empty())
    }
}

impl Problem {
    pub(super) fn has_place(&self) -> bool {
        !self.cell.is_empty() || self.row.is_some()
    }
}

impl Report {
    pub(super) fn sections(&self) -> Vec<Section> {
        use SectionKind as Kind;
        let held = matches!(self.outcome, Outcome::Held(_));
        let errors = match self.outcome {
            Outcome::Reverted(_) => Kind::NotRestored,
            _ => Kind::Errors,
        };
        let (removed, groups, warnings) = if held {
            (
                Kind::WouldBeRemoved,
                Kind::WouldBeEmptyGroups,
                Kind::WarningsOfHeldRun,
            )
        } else {
            (Kind::Removed, Kind::EmptyGroups, Kind::Warnings)
        };
        let mut remaining_lines = MAX_ISSUE_LINES;
        let errors = self.issue_section(errors, Severity::Error, &mut remaining_lines);
        let warnings = self.issue_section(warnings, Severity::Warning, &mut remaining_lines);
        let sections = [
            errors,
            contacts_section(removed, &self.removed),
            contacts_section(Kind::NotRemoved, &self.withheld),
            self.possible_id_changes_section(),
            contacts_section(Kind::WouldBeRenamed, &self.changed),
            section(groups, &self.emptied_groups, |name| {
                LineText::Group(shorten(name, MAX_SHOWN_CHARS))
            }),
            self.fixed_section(),
            warnings,
        ];
        sections
            .into_iter()
            .filter(|section| !section.lines.is_empty())
            .collect()
    }

    fn possible_id_changes_section(&self) -> Section {
        section(
            SectionKind::PossibleIdChanges,
            &self.possible_id_changes,
            |change| LineText::IdChange {
                name: shorten(&change.name, MAX_SHOWN_CHARS),
                old_id: shorten(
                    change.old_id.as_deref().unwrap_or_default(),
                    MAX_SHOWN_CHARS,
                ),
                new_id: shorten(&change.new_id, MAX_SHOWN_CHARS),
            },
        )
    }

    /// Contacts whose errors are all fixed: by name only, since what was wrong no longer matters.
    fn fixed_section(&self) -> Section {
        let errors = self.issues_by_severity(Severity::Error);
        let mut listed: HashSet<LineSubject> =
            errors.map(|(issue, _)| LineSubject::of(&issue)).collect();
        let mut lines = Vec::new();
        let mut more = 0;
        for issue in self.fixed.iter() {
            if !listed.insert(LineSubject::of(&issue)) {
                continue;
            }
            if lines.len() == MAX_NAMES {
                more += 1;
                continue;
            }
            lines.push(Line {
                text: line_text(std::slice::from_ref(&issue)),
                problems: Vec::new(),
                mark: Mark::None,
            });
        }
        Section {
            kind: SectionKind::Fixed,
            lines,
            more,
        }
    }

    /// One line per contact, with all of its problems.
    fn issue_section(
        &self,
        kind: SectionKind,
        severity: Severity,
        remaining_lines: &mut usize,
    ) -> Section {
        let mut index_of: HashMap<LineSubject, usize> = HashMap::new();
        let mut shown: Vec<(Vec<Issue>, bool)> = Vec::new();
        for (issue, is_new) in self.issues_by_severity(severity) {
            let count = index_of.len();
            let index = *index_of.entry(LineSubject::of(&issue)).or_insert(count);
            if index == shown.len() && index < *remaining_lines {
                shown.push((Vec::new(), false));
            }
            if let Some((issues, any_new)) = shown.get_mut(index) {
                issues.push(issue);
                *any_new |= is_new;
            }
        }
        *remaining_lines -= shown.len();
        let mark = |is_new: bool| match (severity, is_new) {
            // All issues of a revert are new.
            _ if matches!(kind, SectionKind::NotRestored) => Mark::None,
            (Severity::Error, true) => Mark::New,
            (Severity::Error, false) => Mark::StillOpen,
            _ => Mark::None,
        };
        Section {
            kind,
            more: index_of.len() - shown.len(),
            lines: shown
                .iter()
                .map(|(issues, is_new)| Line {
                    text: line_text(issues),
                    problems: issues.iter().map(problem).collect(),
                    mark: mark(*is_new),
                })
                .collect(),
        }
    }
}

/// What a line is about; issues with the same subject share a line.
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

fn line_text(issues: &[Issue]) -> LineText {
    let first = issues.first();
    let name = issues
        .iter()
        .find_map(|issue| issue.contact_name.as_deref());
    let id = first.and_then(|issue| issue.external_id.as_deref());
    let shown = |text: &str| shorten(text, MAX_SHOWN_CHARS);
    match (name, id, first.and_then(|issue| issue.row)) {
        (None, None, Some(row)) => LineText::Row(row),
        (None, None, None) => LineText::File,
        (name, id, _) => LineText::Contact {
            name: name.map(shown),
            id: id.map(shown),
        },
    }
}

fn problem(issue: &Issue) -> Problem {
    let message = issue.message();
    let (text, fix) = message.rsplit_once("; ").unwrap_or((&message, ""));
    let cell = issue.cell().unwrap_or_default();
    let is_about_row = issue.external_id.is_none() && issue.contact_name.is_none();
    let value = issue.value.as_deref();
    Problem {
        row: issue.row.filter(|_| cell.is_empty() && !is_about_row),
        cell,
        text: sentence(text),
        // Some messages quote the value.
        value: value
            .filter(|value| !text.contains(&format!("`{value}`")))
            .map(|value| shorten(value, MAX_SHOWN_CHARS)),
        fix: sentence(fix),
    }
}

fn contacts_section(kind: SectionKind, contacts: &[NamedContact]) -> Section {
    section(kind, contacts, |contact| {
        let name = shorten(&contact.name, MAX_SHOWN_CHARS);
        match &contact.external_id {
            Some(id) => LineText::Contact {
                name: Some(name),
                id: Some(shorten(id, MAX_SHOWN_CHARS)),
            },
            None => LineText::ContactWithoutId { name },
        }
    })
}

fn section<T>(kind: SectionKind, items: &[T], text: impl Fn(&T) -> LineText) -> Section {
    let lines = items.iter().take(MAX_NAMES).map(|item| Line {
        text: text(item),
        problems: Vec::new(),
        mark: Mark::None,
    });
    Section {
        kind,
        lines: lines.collect(),
        more: items.len().saturating_sub(MAX_NAMES),
    }
}
