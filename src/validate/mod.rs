//! Judges the rows of a sheet and puts contacts together from them. What is wrong with the data is an [`Issue`], never
//! an error: one bad row must not stop the others.
//!
//! Knows the rules of SPEC §2.3 to §2.5; nothing of files, and nothing of what is stored.

mod cells;
mod cross;
mod draft;
mod row;

use std::collections::HashMap;

use crate::model::issue::{Code, Issue};
use crate::model::roster::{NamelessRow, Roster, RowInError};
use crate::model::table::{Field, Header, SheetRow};
use draft::Draft;
use row::{RowIdentity, RowReader};

/// Row 2 of the template, in the order of [`Field::ALL`] (SPEC §2.3).
pub const EXAMPLE_ROW: [&str; Field::ALL.len()] = [
    "EXAMPLE-1",
    "Jane Example",
    "Example Search and Rescue",
    "Team Lead, EMT",
    "6045550100",
    "mobile",
    "cell",
    "jane@example.org",
    "High",
    "Search Team, Medics",
];

/// Takes the rows of a sheet one by one.
#[derive(Debug, Default)]
pub struct Collector {
    drafts: Vec<Draft>,
    by_id: HashMap<String, usize>,
    /// Each with the draft it belongs to, whose ID and name it gets in the end.
    issues: Vec<(Option<usize>, Issue)>,
    nameless: Vec<NamelessRow>,
    row_count: usize,
    last_draft: Option<usize>,
}

impl Collector {
    /// Takes the next row.
    pub fn push(&mut self, header: &Header, row: &SheetRow) {
        self.row_count += 1;
        self.last_draft = None;
        let mut reader = RowReader::new(header, row);
        if reader.is_example() {
            let message =
                "this is the example row of the template and was skipped; delete it when you like";
            reader.issue(Field::Id, 1, Code::ExampleRow, "EXAMPLE-1", message);
            self.keep_issues(None, reader.into_issues());
            return;
        }
        match reader.identity() {
            RowIdentity::Contact(id) => {
                let id = id.as_str().to_owned();
                let place = *self.by_id.entry(id.clone()).or_insert_with(|| {
                    self.drafts.push(Draft::new(id));
                    self.drafts.len() - 1
                });
                self.drafts[place].add_row(&mut reader);
                self.last_draft = Some(place);
                self.keep_issues(Some(place), reader.into_issues());
            }
            RowIdentity::Nameless => {
                self.nameless.push(NamelessRow {
                    row: row.number,
                    digest: reader.digest(),
                });
                self.keep_issues(None, reader.into_nameless_issues());
            }
            RowIdentity::Ignored => self.keep_issues(None, reader.into_issues()),
        }
    }

    fn keep_issues(&mut self, draft: Option<usize>, issues: Vec<Issue>) {
        self.issues
            .extend(issues.into_iter().map(|issue| (draft, issue)));
    }

    /// Judges what only shows once all rows are in. `maybe_cut`: the file lacks the final newline that the last applied
    /// one had, so its last contact can't be trusted. `file_issues` are those about the file as a whole.
    #[must_use]
    pub fn finish(mut self, file_issues: Vec<Issue>, maybe_cut: bool) -> Roster {
        if maybe_cut && let Some(place) = self.last_draft {
            let issue = self.drafts[place].distrust();
            self.issues.push((Some(place), issue));
        }
        for place in 0..self.drafts.len() {
            let issues = self.drafts[place].judge();
            self.keep_issues(Some(place), issues);
        }
        let found = cross::check(&self.drafts);
        self.issues.extend(found);
        self.into_roster(file_issues, maybe_cut)
    }

    fn into_roster(self, file_issues: Vec<Issue>, maybe_cut: bool) -> Roster {
        let mut issues = file_issues;
        let mut found: Vec<Issue> = self
            .issues
            .into_iter()
            .map(
                |(draft, issue)| match draft.map(|place| &self.drafts[place]) {
                    Some(draft) => Issue {
                        external_id: Some(draft.id.clone()),
                        contact_name: draft.name(),
                        ..issue
                    },
                    None => issue,
                },
            )
            .collect();
        found.sort_by_key(|issue| issue.row);
        issues.extend(found);

        let mut rows_in_error: Vec<RowInError> = self
            .nameless
            .iter()
            .map(|row| RowInError::Nameless(row.digest))
            .collect();
        let mut roster = Roster {
            nameless: self.nameless,
            maybe_cut,
            row_count: self.row_count,
            issues,
            ..Roster::default()
        };
        for draft in self.drafts {
            let (id, rows) = (draft.id.clone(), draft.row_count());
            if let Some(contact) = draft.into_contact() {
                roster.contacts.push(contact);
            } else {
                rows_in_error.extend((0..rows).map(|_| RowInError::Contact(id.clone())));
                roster.in_error.insert(id);
            }
        }
        roster.rows_in_error = rows_in_error;
        roster
    }
}

#[cfg(test)]
mod tests;
