//! Judges the rows of a sheet and puts contacts together from them. What is wrong with the data is an [`Issue`], never
//! an error: one bad row must not stop the others.
//!
//! Knows the rules of SPEC §2.3 to §2.5; nothing of files, and nothing of what is stored.

mod cells;
mod compact_row;
mod contact_builder;
mod cross;
mod group_cell;
mod incremental;
mod index;
mod row;

use hashbrown::DefaultHashBuilder;

use crate::compact::{Contacts, Issues};
use crate::model::catalogue::Finding;
use crate::model::contact::{ExternalId, PhoneNumber};
use crate::model::issue::Issue;
use crate::model::row::{NamelessRow, RowInError};
use crate::parsed_sheet::Roster;
use crate::row_cache::{RowMark, RowMarker};
use crate::table::{Field, Header, SheetRow};
use contact_builder::Draft;
use cross::Numbers;
pub use incremental::{Skimmed, Skimmer};
use index::Ids;
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
///
/// A contact that is whole after its first row, as nearly all are, is packed at once; one that has more rows, or is in
/// error, stays a draft.
#[derive(Debug, Default)]
pub struct Collector {
    packed: Contacts,
    drafts: Vec<Draft>,
    /// In the order of the sheet.
    known: Vec<Known>,
    /// Places in `known`, by ID.
    ids: Ids,
    numbers: Numbers,
    /// By which rows are hashed.
    state: DefaultHashBuilder,
    /// Those of a contact by its place in `known`; it is named in the end.
    issues: Issues,
    nameless: Vec<NamelessRow>,
    /// What stands in the ID column of damaged rows, with their numbers.
    damaged: Vec<(String, u32)>,
    row_count: usize,
    last: Option<usize>,
    header: Header,
    marks: Option<Marks>,
}

/// Marks of rows, where they are kept.
#[derive(Debug, Default)]
struct Marks {
    /// Made when the header is known.
    marker: Option<RowMarker>,
    /// In the order of `known`; none for a contact of several rows, or of which something has to be said.
    of_known: Vec<Option<RowMark>>,
}

/// Where a contact is.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// Packed, at this place, with the fingerprint of its row.
    Packed(usize, u64),
    /// Among the drafts, at this place.
    Draft(usize),
}

impl Collector {
    /// One that also keeps by which row each contact is known again.
    #[must_use]
    pub fn marking() -> Self {
        Self {
            marks: Some(Marks::default()),
            ..Self::default()
        }
    }

    /// Takes the next row.
    pub fn push(&mut self, header: &Header, row: &SheetRow) {
        let mark = self.marks.as_mut().map(|marks| {
            let marker = &mut marks.marker;
            marker
                .get_or_insert_with(|| RowMarker::new(header))
                .mark(row)
        });
        self.push_marked(header, row, mark);
    }

    /// Takes the next row, which has this mark.
    fn push_marked(&mut self, header: &Header, row: &SheetRow, mark: Option<RowMark>) {
        if self.row_count == 0 {
            self.header = header.clone();
        }
        self.row_count += 1;
        self.last = None;
        let mut reader = RowReader::new(header, row);
        if reader.is_example() {
            reader.note(Finding::ExampleRow, Field::Id, 1, EXAMPLE_ROW[0]);
            self.keep_issues(None, reader.into_issues());
            return;
        }
        match reader.identity() {
            RowIdentity::Contact(id) => {
                let place = self.take(header, &id, &mut reader);
                for number in reader.numbers() {
                    self.numbers.take(*number);
                }
                self.last = Some(place);
                if let Some(marks) = &mut self.marks {
                    if place < marks.of_known.len() {
                        marks.of_known[place] = None;
                    } else {
                        marks.of_known.push(mark);
                    }
                }
                self.keep_issues(Some(place), reader.into_issues());
            }
            RowIdentity::Nameless => {
                self.damaged.extend(reader.damaged_id());
                self.nameless.push(NamelessRow {
                    row: row.number,
                    digest: reader.digest(),
                });
                self.keep_issues(None, reader.into_nameless_issues());
            }
            RowIdentity::Ignored => self.keep_issues(None, reader.into_issues()),
        }
    }

    /// Takes a row of the contact with this ID; its place in `known`.
    fn take(&mut self, header: &Header, id: &str, reader: &mut RowReader<'_>) -> usize {
        let fingerprint = reader.fingerprint(&self.state);
        let Self {
            packed,
            drafts,
            known,
            ids,
            ..
        } = self;
        let id_of = |place: usize| external_id(packed, drafts, known[place]);
        let Some(place) = ids.find_or_keep(id, known.len(), id_of) else {
            known.push(if reader.pack(packed.begin(id)) {
                Known::Packed(packed.len() - 1, fingerprint)
            } else {
                let mut draft = Draft::new(ExternalId::stored(id.to_owned()));
                draft.add_row(reader, fingerprint);
                if draft.is_sound() {
                    packed.extend(draft.into_contact());
                    Known::Packed(packed.len() - 1, fingerprint)
                } else {
                    drafts.push(draft);
                    Known::Draft(drafts.len() - 1)
                }
            });
            return known.len() - 1;
        };
        let draft = match known[place] {
            Known::Draft(draft) => draft,
            Known::Packed(contact, fingerprint) => {
                let contact = packed.get(contact);
                let has = |field| header.place(field).is_some();
                drafts.push(Draft::again(contact, fingerprint, has));
                known[place] = Known::Draft(drafts.len() - 1);
                drafts.len() - 1
            }
        };
        drafts[draft].add_row(reader, fingerprint);
        place
    }

    /// Keeps what was found, of the contact at this place, with the place of its column.
    fn keep_issues(&mut self, place: Option<usize>, issues: Vec<Issue>) {
        if let (Some(place), Some(marks), false) = (place, &mut self.marks, issues.is_empty()) {
            // Something has to be said of it every time.
            marks.of_known[place] = None;
        }
        for mut issue in issues {
            let column = issue.column.as_deref();
            let column = column.and_then(|name| self.header.place_named(name));
            issue.column_place = column.and_then(|column| u32::try_from(column).ok());
            match place.and_then(|place| u32::try_from(place).ok()) {
                Some(contact) => self.issues.push_of(contact, &issue),
                None => self.issues.push(&issue),
            }
        }
    }

    /// Judges what only shows once all rows are in. `maybe_cut`: the file lacks the final newline that the last applied
    /// one had, so its last contact can't be trusted. `file_issues` are those about the file as a whole.
    #[must_use]
    pub fn finish(mut self, file_issues: &[Issue], maybe_cut: bool) -> Roster {
        if maybe_cut && let Some(place) = self.last {
            self.distrust(place, |draft| Some(draft.distrust()));
        }
        for (id, row) in std::mem::take(&mut self.damaged) {
            if let Some(place) = self.ids.find(&id, |place| self.id(place)) {
                self.distrust(place, |draft| draft.distrust_row(row));
            }
        }
        for place in 0..self.known.len() {
            if let Known::Draft(draft) = self.known[place] {
                let issues = self.drafts[draft].judge();
                self.keep_issues(Some(place), issues);
            }
        }
        let found = cross::check(
            self.known.len(),
            &self.ids,
            std::mem::take(&mut self.numbers),
            |place| self.id(place),
            |place, numbers| self.numbers(place, numbers),
            |place| self.first_row(place),
        );
        for found in found {
            if let Some(marks) = &mut self.marks {
                marks.of_known[found.other] = None;
            }
            self.keep_issues(Some(found.place), vec![found.issue]);
        }
        self.into_roster(file_issues, maybe_cut)
    }

    /// Makes a contact one in error, for the reason that its draft gives.
    fn distrust(&mut self, place: usize, reason: impl FnOnce(&mut Draft) -> Option<Issue>) {
        let draft = match self.known[place] {
            Known::Draft(draft) => draft,
            Known::Packed(contact, fingerprint) => {
                let contact = self.packed.get(contact);
                self.drafts
                    .push(Draft::again(contact, fingerprint, |_| true));
                self.known[place] = Known::Draft(self.drafts.len() - 1);
                self.drafts.len() - 1
            }
        };
        let issue = reason(&mut self.drafts[draft]);
        self.keep_issues(Some(place), issue.into_iter().collect());
    }

    fn id(&self, place: usize) -> &str {
        external_id(&self.packed, &self.drafts, self.known[place])
    }

    fn numbers(&self, place: usize, numbers: &mut Vec<PhoneNumber>) {
        match self.known[place] {
            Known::Packed(contact, _) => numbers.extend(self.packed.packed(contact).numbers()),
            Known::Draft(draft) => {
                let of_draft = self.drafts[draft].numbers().iter();
                numbers.extend(of_draft.map(|n| n.number));
            }
        }
    }

    fn first_row(&self, place: usize) -> Option<u32> {
        match self.known[place] {
            Known::Packed(contact, _) => Some(self.packed.packed(contact).first_row()),
            Known::Draft(draft) => self.drafts[draft].first_row(),
        }
    }

    fn name(&self, place: usize) -> Option<String> {
        match self.known[place] {
            Known::Packed(contact, _) => {
                Some(contact_builder::shown_name(&self.packed.get(contact).name))
            }
            Known::Draft(draft) => self.drafts[draft].name(),
        }
    }

    fn into_roster(mut self, file_issues: &[Issue], maybe_cut: bool) -> Roster {
        let mut issues = std::mem::take(&mut self.issues);
        issues.name_contacts(|place| {
            let place = place as usize;
            (self.id(place).to_owned(), self.name(place))
        });
        for issue in file_issues {
            issues.push(issue);
        }
        issues.sort();
        let mut rows_in_error: Vec<RowInError> = self
            .nameless
            .iter()
            .map(|row| RowInError::Nameless(row.digest))
            .collect();
        let mut marks = self
            .marks
            .take()
            .map_or_else(Vec::new, |marks| marks.of_known);
        let mut roster = Roster {
            contacts: self.packed,
            nameless: self.nameless,
            maybe_cut,
            row_count: self.row_count,
            issues,
            ..Roster::default()
        };
        if !self.drafts.is_empty() {
            let mut drafts: Vec<Option<Draft>> = self.drafts.into_iter().map(Some).collect();
            let mut order = Vec::with_capacity(self.known.len());
            let mut in_error = vec![false; marks.len()];
            for (place, known) in self.known.into_iter().enumerate() {
                let draft = match known {
                    Known::Packed(contact, _) => {
                        order.push(contact);
                        continue;
                    }
                    Known::Draft(draft) => drafts[draft].take(),
                };
                let Some(draft) = draft else { continue };
                let (id, rows) = (draft.id.as_str().to_owned(), draft.row_count());
                if let Some(contact) = draft.into_contact() {
                    order.push(roster.contacts.len());
                    roster.contacts.push(&contact);
                } else {
                    rows_in_error.extend((0..rows).map(|_| RowInError::Contact(id.clone())));
                    roster.in_error.insert(id);
                    if let Some(in_error) = in_error.get_mut(place) {
                        *in_error = true;
                    }
                }
            }
            roster.contacts.arrange(&order);
            let mut in_error = in_error.into_iter();
            marks.retain(|_| in_error.next() != Some(true));
        }
        roster.marks = marks;
        roster.rows_in_error = rows_in_error;
        roster
    }
}

fn external_id<'a>(packed: &'a Contacts, drafts: &'a [Draft], known: Known) -> &'a str {
    match known {
        Known::Packed(contact, _) => packed.packed(contact).external_id,
        Known::Draft(draft) => drafts[draft].id.as_str(),
    }
}

#[cfg(test)]
mod tests;
