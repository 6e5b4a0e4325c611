//! Checks the rows of a sheet and builds contacts from them (SPEC §2.3 to §2.5). Problems in the data are [`Issue`]s, never
//! errors: one bad row must not stop the others.
//!
//! Does not depend on file formats or stored contacts.

mod cells;
mod compact_row;
mod contact_builder;
mod cross_checks;
mod group_cell;
mod incremental;
mod index;
mod row;

use hashbrown::DefaultHashBuilder;

use crate::compact::{Contacts, Issues};
use crate::model::catalog::Finding;
use crate::model::contact::{ExternalId, PhoneNumber};
use crate::model::issue::Issue;
use crate::model::row::{RowInError, UnidentifiedRow};
use crate::parsed_sheet::ParsedSheet;
use crate::row_cache::{RowFingerprint, RowHasher};
use crate::table::{Field, Header, SheetRow};
use contact_builder::ContactBuilder;
use cross_checks::SeenNumbers;
pub use incremental::{IncrementalReader, IncrementalResult};
use index::IdIndex;
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

/// Checks the rows of a sheet one by one and collects their contacts.
///
/// Nearly all contacts are complete after their first row and are encoded at once, to save memory. Only contacts with
/// further rows or with errors are kept as builders.
#[derive(Debug, Default)]
pub struct Validator {
    encoded: Contacts,
    builders: Vec<ContactBuilder>,
    /// One per contact, in the order of the sheet. "Position" means the index in this list.
    slots: Vec<ContactSlot>,
    ids: IdIndex,
    numbers: SeenNumbers,
    /// For row hashes.
    hash_builder: DefaultHashBuilder,
    /// Issues of a contact refer to its position; [`Validator::finish`] fills in its ID and name.
    issues: Issues,
    unidentified: Vec<UnidentifiedRow>,
    /// Texts of the ID cells of damaged rows, with the row numbers.
    damaged_ids: Vec<(String, u32)>,
    row_count: usize,
    /// Position of the contact of the last row; `None` if that row has no contact.
    last_contact: Option<usize>,
    header: Header,
    fingerprints: Option<FingerprintTracker>,
}

/// Row fingerprints of the contacts.
#[derive(Debug, Default)]
struct FingerprintTracker {
    /// Created with the first row, because it needs the header.
    row_hasher: Option<RowHasher>,
    /// By position; `None` for a contact that has several rows or an issue.
    by_contact: Vec<Option<RowFingerprint>>,
}

/// Where a contact is stored.
#[derive(Debug, Clone, Copy)]
enum ContactSlot {
    /// Index in `encoded`, and the hash of its row.
    Encoded(usize, u64),
    /// Index in `builders`.
    Building(usize),
}

impl Validator {
    /// Returns a validator that also records the row fingerprint of each contact.
    #[must_use]
    pub fn with_fingerprints() -> Self {
        Self {
            fingerprints: Some(FingerprintTracker::default()),
            ..Self::default()
        }
    }

    /// Checks the next row.
    pub fn push(&mut self, header: &Header, row: &SheetRow) {
        let row_fingerprint = self.fingerprints.as_mut().map(|fingerprints| {
            fingerprints
                .row_hasher
                .get_or_insert_with(|| RowHasher::new(header))
                .row_fingerprint(row)
        });
        self.push_with_fingerprint(header, row, row_fingerprint);
    }

    fn push_with_fingerprint(
        &mut self,
        header: &Header,
        row: &SheetRow,
        row_fingerprint: Option<RowFingerprint>,
    ) {
        if self.row_count == 0 {
            self.header = header.clone();
        }
        self.row_count += 1;
        self.last_contact = None;
        let mut reader = RowReader::new(header, row);
        if reader.is_example() {
            reader.add_issue(Finding::ExampleRow, Field::Id, 1, EXAMPLE_ROW[0]);
            self.record_issues(None, reader.into_issues());
            return;
        }
        match reader.identity() {
            RowIdentity::Contact(id) => {
                let position = self.add_contact_row(header, &id, &mut reader);
                for number in reader.numbers() {
                    self.numbers.push(*number);
                }
                self.last_contact = Some(position);
                if let Some(fingerprints) = &mut self.fingerprints {
                    if position < fingerprints.by_contact.len() {
                        fingerprints.by_contact[position] = None;
                    } else {
                        fingerprints.by_contact.push(row_fingerprint);
                    }
                }
                self.record_issues(Some(position), reader.into_issues());
            }
            RowIdentity::Unidentified => {
                self.damaged_ids.extend(reader.damaged_id());
                self.unidentified.push(UnidentifiedRow {
                    row: row.number,
                    digest: reader.digest(),
                });
                self.record_issues(None, reader.into_unidentified_issues());
            }
            RowIdentity::Ignored => self.record_issues(None, reader.into_issues()),
        }
    }

    /// Adds a row to the contact with this ID and returns the contact's position.
    fn add_contact_row(&mut self, header: &Header, id: &str, reader: &mut RowReader<'_>) -> usize {
        let row_hash = reader.row_hash(&self.hash_builder);
        let Self {
            encoded,
            builders,
            slots,
            ids,
            ..
        } = self;
        let id_of = |position: usize| external_id(encoded, builders, slots[position]);
        let Some(position) = ids.find_or_insert(id, slots.len(), id_of) else {
            slots.push(if reader.encode(encoded.begin_contact(id)) {
                ContactSlot::Encoded(encoded.len() - 1, row_hash)
            } else {
                let mut builder = ContactBuilder::new(ExternalId::from_stored(id.to_owned()));
                builder.add_row(reader, row_hash);
                if builder.is_complete() {
                    encoded.extend(builder.into_contact());
                    ContactSlot::Encoded(encoded.len() - 1, row_hash)
                } else {
                    builders.push(builder);
                    ContactSlot::Building(builders.len() - 1)
                }
            });
            return slots.len() - 1;
        };
        let builder = match slots[position] {
            ContactSlot::Building(builder) => builder,
            ContactSlot::Encoded(contact, row_hash) => {
                let contact = encoded.get(contact);
                let has = |field| header.column_index(field).is_some();
                builders.push(ContactBuilder::resume(contact, row_hash, has));
                slots[position] = ContactSlot::Building(builders.len() - 1);
                builders.len() - 1
            }
        };
        builders[builder].add_row(reader, row_hash);
        position
    }

    /// Adds issues, of the contact at this position if there is one.
    fn record_issues(&mut self, position: Option<usize>, issues: Vec<Issue>) {
        if let (Some(position), Some(fingerprints), false) =
            (position, &mut self.fingerprints, issues.is_empty())
        {
            // A contact with issues must be checked again by every run, to report them again.
            fingerprints.by_contact[position] = None;
        }
        for mut issue in issues {
            let column = issue.column.as_deref();
            let column = column.and_then(|name| self.header.column_index_by_name(name));
            issue.column_index = column.and_then(|column| u32::try_from(column).ok());
            match position.and_then(|position| u32::try_from(position).ok()) {
                Some(contact) => self.issues.push_for_contact(contact, &issue),
                None => self.issues.push(&issue),
            }
        }
    }

    /// Runs the checks that need all rows and returns the result. `file_issues` are issues of the file as a whole. With
    /// `maybe_truncated`, the last contact is put in error: the last applied file ended with a newline and this one does not.
    #[must_use]
    pub fn finish(mut self, file_issues: &[Issue], maybe_truncated: bool) -> ParsedSheet {
        if maybe_truncated && let Some(position) = self.last_contact {
            self.mark_in_error(position, |builder| Some(builder.mark_maybe_truncated()));
        }
        for (id, row) in std::mem::take(&mut self.damaged_ids) {
            if let Some(position) = self.ids.find(&id, |position| self.id(position)) {
                self.mark_in_error(position, |builder| builder.mark_row_damaged(row));
            }
        }
        for position in 0..self.slots.len() {
            if let ContactSlot::Building(builder) = self.slots[position] {
                let issues = self.builders[builder].validate_contact();
                self.record_issues(Some(position), issues);
            }
        }
        let findings = cross_checks::check(
            self.slots.len(),
            &self.ids,
            std::mem::take(&mut self.numbers),
            |position| self.id(position),
            |position, numbers| self.numbers(position, numbers),
            |position| self.first_row(position),
        );
        for finding in findings {
            if let Some(fingerprints) = &mut self.fingerprints {
                // If that contact were skipped by the next run, the finding would be missed.
                fingerprints.by_contact[finding.other] = None;
            }
            self.record_issues(Some(finding.position), vec![finding.issue]);
        }
        self.into_parsed_sheet(file_issues, maybe_truncated)
    }

    /// Puts the contact in error with `reason`, which returns the issue to report.
    fn mark_in_error(
        &mut self,
        position: usize,
        reason: impl FnOnce(&mut ContactBuilder) -> Option<Issue>,
    ) {
        let builder = match self.slots[position] {
            ContactSlot::Building(builder) => builder,
            ContactSlot::Encoded(contact, row_hash) => {
                let contact = self.encoded.get(contact);
                self.builders
                    .push(ContactBuilder::resume(contact, row_hash, |_| true));
                self.slots[position] = ContactSlot::Building(self.builders.len() - 1);
                self.builders.len() - 1
            }
        };
        let issue = reason(&mut self.builders[builder]);
        self.record_issues(Some(position), issue.into_iter().collect());
    }

    fn id(&self, position: usize) -> &str {
        external_id(&self.encoded, &self.builders, self.slots[position])
    }

    fn numbers(&self, position: usize, numbers: &mut Vec<PhoneNumber>) {
        match self.slots[position] {
            ContactSlot::Encoded(contact, _) => {
                numbers.extend(self.encoded.encoded(contact).numbers());
            }
            ContactSlot::Building(builder) => {
                let file_numbers = self.builders[builder].numbers().iter();
                numbers.extend(file_numbers.map(|n| n.number));
            }
        }
    }

    fn first_row(&self, position: usize) -> Option<u32> {
        match self.slots[position] {
            ContactSlot::Encoded(contact, _) => Some(self.encoded.encoded(contact).first_row()),
            ContactSlot::Building(builder) => self.builders[builder].first_row(),
        }
    }

    fn name(&self, position: usize) -> Option<String> {
        match self.slots[position] {
            ContactSlot::Encoded(contact, _) => Some(contact_builder::display_name(
                &self.encoded.get(contact).name,
            )),
            ContactSlot::Building(builder) => self.builders[builder].name(),
        }
    }

    fn into_parsed_sheet(mut self, file_issues: &[Issue], maybe_truncated: bool) -> ParsedSheet {
        let mut issues = std::mem::take(&mut self.issues);
        issues.set_contact_names(|position| {
            let position = position as usize;
            (self.id(position).to_owned(), self.name(position))
        });
        for issue in file_issues {
            issues.push(issue);
        }
        issues.sort();
        let mut rows_in_error: Vec<RowInError> = self
            .unidentified
            .iter()
            .map(|row| RowInError::Unidentified(row.digest))
            .collect();
        let mut row_fingerprints = self
            .fingerprints
            .take()
            .map_or_else(Vec::new, |fingerprints| fingerprints.by_contact);
        let mut parsed = ParsedSheet {
            contacts: self.encoded,
            unidentified: self.unidentified,
            maybe_truncated,
            row_count: self.row_count,
            issues,
            ..ParsedSheet::default()
        };
        if !self.builders.is_empty() {
            let mut builders: Vec<Option<ContactBuilder>> =
                self.builders.into_iter().map(Some).collect();
            let mut order = Vec::with_capacity(self.slots.len());
            let mut in_error = vec![false; row_fingerprints.len()];
            for (position, slot) in self.slots.into_iter().enumerate() {
                let builder = match slot {
                    ContactSlot::Encoded(contact, _) => {
                        order.push(contact);
                        continue;
                    }
                    ContactSlot::Building(builder) => builders[builder].take(),
                };
                let Some(builder) = builder else { continue };
                let (id, rows) = (builder.id.as_str().to_owned(), builder.row_count());
                if let Some(contact) = builder.into_contact() {
                    order.push(parsed.contacts.len());
                    parsed.contacts.push(&contact);
                } else {
                    rows_in_error.extend((0..rows).map(|_| RowInError::of_contact(&id)));
                    parsed.in_error.insert(id);
                    if let Some(in_error) = in_error.get_mut(position) {
                        *in_error = true;
                    }
                }
            }
            parsed.contacts.reorder(&order);
            let mut in_error = in_error.into_iter();
            row_fingerprints.retain(|_| in_error.next() != Some(true));
        }
        parsed.row_fingerprints = row_fingerprints;
        parsed.rows_in_error = rows_in_error;
        parsed
    }
}

fn external_id<'a>(
    encoded: &'a Contacts,
    builders: &'a [ContactBuilder],
    slot: ContactSlot,
) -> &'a str {
    match slot {
        ContactSlot::Encoded(contact, _) => encoded.encoded(contact).external_id,
        ContactSlot::Building(builder) => builders[builder].id.as_str(),
    }
}

#[cfg(test)]
mod tests;
