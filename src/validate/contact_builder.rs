//! A contact while its rows come in.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::cells::Reading;
use super::group_cell;
use super::row::{Phone, RowReader, column_name};
use crate::model::catalogue::Finding;
use crate::model::contact::{ExternalId, FileContact, FileNumber, PhoneNumber, Priority, Said};
use crate::model::group::name_key;
use crate::model::issue::{Issue, VALUE_LIMIT};
use crate::table::Field;
use crate::unicode;

/// A field put together from several rows.
#[derive(Debug)]
struct Merged<T> {
    value: Option<(T, u32)>,
    /// The sheet has the column.
    present: bool,
    /// A row holds something that can't be used.
    bad: bool,
}

impl<T> Default for Merged<T> {
    fn default() -> Self {
        Self {
            value: None,
            present: false,
            bad: false,
        }
    }
}

impl<T: Clone> Merged<T> {
    /// Takes one row's reading; gives back the earlier value and its row if the two disagree.
    fn take(
        &mut self,
        row: u32,
        reading: Option<Reading<T>>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<(T, u32, T)> {
        self.present |= reading.is_some();
        match reading {
            Some(Reading::Value(value)) => match &self.value {
                None => self.value = Some((value, row)),
                Some((earlier, earlier_row)) if !same(earlier, &value) => {
                    return Some((earlier.clone(), *earlier_row, value));
                }
                Some(_) => {}
            },
            Some(Reading::Bad) => self.bad = true,
            Some(Reading::Blank) | None => {}
        }
        None
    }

    /// What a single row said, when a second one comes. In a sheet that has the column nothing was said where the value
    /// was bad.
    fn again(said: Said<Option<T>>, row: u32, present: bool) -> Self {
        let bad = present && matches!(said, Said::Nothing);
        let value = match said {
            Said::This(Some(value)) => Some((value, row)),
            Said::This(None) | Said::Nothing => None,
        };
        Self {
            value,
            present,
            bad,
        }
    }

    fn said(self) -> Said<Option<T>> {
        match self.value {
            Some((value, _)) => Said::This(Some(value)),
            None if !self.present || self.bad => Said::Nothing,
            None => Said::This(None),
        }
    }
}

/// A contact put together row by row.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) id: ExternalId,
    rows: Vec<u32>,
    /// Fingerprint of the first row.
    first: Option<u64>,
    /// Further rows by fingerprint.
    seen: HashMap<u64, u32>,
    name: Merged<String>,
    organization_name: Merged<String>,
    title: Merged<String>,
    email: Merged<String>,
    priority: Merged<Priority>,
    groups: Merged<Vec<String>>,
    numbers: Vec<FileNumber>,
    known_numbers: HashSet<PhoneNumber>,
    number_bad: bool,
    types_alone: Vec<(u32, u32)>,
    failed: bool,
}

impl Draft {
    pub(super) fn new(id: ExternalId) -> Self {
        Self {
            id,
            rows: Vec::new(),
            first: None,
            seen: HashMap::new(),
            name: Merged::default(),
            organization_name: Merged::default(),
            title: Merged::default(),
            email: Merged::default(),
            priority: Merged::default(),
            groups: Merged::default(),
            numbers: Vec::new(),
            known_numbers: HashSet::new(),
            number_bad: false,
            types_alone: Vec::new(),
            failed: false,
        }
    }

    /// Takes up again what was a contact after its first row, whose fingerprint this is.
    pub(super) fn again(
        contact: FileContact,
        fingerprint: u64,
        has: impl Fn(Field) -> bool,
    ) -> Self {
        let row = contact.rows.first().copied().unwrap_or_default();
        Self {
            rows: contact.rows,
            first: Some(fingerprint),
            name: Merged::again(Said::This(Some(contact.name)), row, true),
            organization_name: Merged::again(
                contact.organization_name,
                row,
                has(Field::OrganizationName),
            ),
            title: Merged::again(contact.title, row, has(Field::Title)),
            email: Merged::again(contact.email, row, has(Field::Email)),
            priority: Merged::again(contact.priority, row, has(Field::Priority)),
            groups: Merged::again(Said::This(Some(contact.groups)), row, true),
            known_numbers: contact.numbers.iter().map(|n| n.number).collect(),
            number_bad: contact.keeps_numbers,
            numbers: contact.numbers,
            ..Self::new(contact.external_id)
        }
    }

    /// Whether it is a whole contact with nothing to be said of it as such.
    pub(super) fn is_sound(&self) -> bool {
        !self.failed
            && self.name.value.is_some()
            && self.groups.value.is_some()
            && !self.numbers.is_empty()
            && self.types_alone.is_empty()
    }

    pub(super) fn row_count(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn first_row(&self) -> Option<u32> {
        self.rows.first().copied()
    }

    pub(super) fn numbers(&self) -> &[FileNumber] {
        &self.numbers
    }

    /// The name for messages, where known.
    pub(super) fn name(&self) -> Option<String> {
        self.name.value.as_ref().map(|(name, _)| shown_name(name))
    }

    /// Takes one more row of the contact.
    pub(super) fn add_row(&mut self, reader: &mut RowReader<'_>, fingerprint: u64) {
        let row = reader.number();
        self.rows.push(row);
        if let Some(twin) = self.twin(row, fingerprint) {
            reader.note_clash(Finding::DuplicateRow, (Field::Id, 1), "", "", twin);
            return;
        }
        let reading = owned(reader.field(Field::Name));
        disagreement(
            reader,
            Field::Name,
            self.name.take(row, reading, |a, b| a == b),
            String::clone,
        );
        let reading = owned(reader.field(Field::OrganizationName));
        disagreement(
            reader,
            Field::OrganizationName,
            self.organization_name.take(row, reading, |a, b| a == b),
            String::clone,
        );
        let reading = owned(reader.field(Field::Title));
        disagreement(
            reader,
            Field::Title,
            self.title.take(row, reading, |a, b| a == b),
            String::clone,
        );
        let reading = owned(reader.email());
        disagreement(
            reader,
            Field::Email,
            self.email.take(row, reading, |a, b| a == b),
            String::clone,
        );
        let reading = reader.priority();
        disagreement(
            reader,
            Field::Priority,
            self.priority.take(row, reading, |a, b| a == b),
            ToString::to_string,
        );
        let reading = reader.groups().map(|reading| {
            reading.map(|cell| {
                let names = group_cell::split(&cell).into_iter();
                Reading::Value(names.map(str::to_owned).collect())
            })
        });
        disagreement(
            reader,
            Field::Groups,
            self.groups.take(row, reading, same_groups),
            |groups| groups.join(", "),
        );
        for columns in reader.number_columns() {
            match reader.phone(*columns) {
                Phone::Number {
                    number,
                    number_type,
                    description,
                } => {
                    let number = FileNumber {
                        number,
                        number_type,
                        description: description.into_owned(),
                    };
                    self.add_number(reader, columns.ordinal, number);
                }
                Phone::TypeAlone => self.types_alone.push((row, columns.ordinal)),
                Phone::Bad => self.number_bad = true,
                Phone::None => {}
            }
        }
        self.failed |= reader.has_error();
    }

    /// The earlier row with the same content.
    fn twin(&mut self, row: u32, fingerprint: u64) -> Option<u32> {
        if *self.first.get_or_insert(fingerprint) == fingerprint {
            return self.first_row().filter(|first| *first != row);
        }
        let twin = *self.seen.entry(fingerprint).or_insert(row);
        (twin != row).then_some(twin)
    }

    fn add_number(&mut self, reader: &mut RowReader<'_>, ordinal: u32, number: FileNumber) {
        let known = match &self.numbers[..] {
            // A contact with a single number, as most are, needs no set.
            [] => false,
            [only] if only.number == number.number => true,
            [only] => {
                self.known_numbers.insert(only.number);
                !self.known_numbers.insert(number.number)
            }
            _ => !self.known_numbers.insert(number.number),
        };
        if known {
            let digits = number.number.as_str();
            reader.note(Finding::DuplicateNumber, Field::Number, ordinal, digits);
        } else {
            self.numbers.push(number);
        }
    }

    /// The file may be cut off in this contact's row.
    pub(super) fn distrust(&mut self) -> Issue {
        self.failed = true;
        Issue {
            row: self.rows.last().copied(),
            ..Issue::new(Finding::LastRowMaybeCut)
        }
    }

    /// A further row of this contact is damaged; said of a contact that is not in error already.
    pub(super) fn distrust_row(&mut self, row: u32) -> Option<Issue> {
        let was_sound = !std::mem::replace(&mut self.failed, true);
        was_sound.then(|| Issue {
            row: self.first_row(),
            ..Issue::clashing(Finding::RowOfContactDamaged, "", row)
        })
    }

    /// Judges what only shows on the contact put together.
    pub(super) fn judge(&mut self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let row = self.first_row();
        let mut missing = |field: Field| {
            issues.push(on_column(
                Finding::RequiredMissing,
                field.as_str().into(),
                row,
            ));
        };
        for (field, absent) in [
            (Field::Name, self.name.value.is_none() && !self.name.bad),
            (Field::Number, self.numbers.is_empty() && !self.number_bad),
            (
                Field::Groups,
                self.groups.value.is_none() && !self.groups.bad,
            ),
        ] {
            if absent {
                missing(field);
            }
        }
        self.failed |= !issues.is_empty() || self.number_bad && self.numbers.is_empty();
        if !self.numbers.is_empty() {
            issues.extend(self.types_alone.iter().map(|(row, ordinal)| {
                let column = column_name(Field::NumberType, *ordinal);
                on_column(Finding::TypeWithoutNumber, column, Some(*row))
            }));
        }
        issues
    }

    /// The contact, or `None` if it is in error.
    pub(super) fn into_contact(self) -> Option<FileContact> {
        if self.failed {
            return None;
        }
        Some(FileContact {
            external_id: self.id,
            name: self.name.value?.0,
            organization_name: self.organization_name.said(),
            title: self.title.said(),
            email: self.email.said(),
            priority: self.priority.said(),
            numbers: self.numbers,
            keeps_numbers: self.number_bad,
            groups: self.groups.value?.0,
            rows: self.rows,
        })
    }
}

fn owned(reading: Option<Reading<Cow<'_, str>>>) -> Option<Reading<String>> {
    Some(reading?.map(|text| Reading::Value(text.into_owned())))
}

/// A name as it is shown in messages.
pub(super) fn shown_name(name: &str) -> String {
    unicode::shorten(name, VALUE_LIMIT)
}

#[expect(clippy::ptr_arg, reason = "compares what a merged field holds")]
fn same_groups(one: &Vec<String>, other: &Vec<String>) -> bool {
    let keys = |groups: &[String]| {
        groups
            .iter()
            .map(|name| name_key(name))
            .collect::<BTreeSet<_>>()
    };
    keys(one) == keys(other)
}

fn disagreement<T>(
    reader: &mut RowReader<'_>,
    field: Field,
    found: Option<(T, u32, T)>,
    show: impl Fn(&T) -> String,
) {
    if let Some((earlier, row, value)) = found {
        let other = unicode::shorten(&show(&earlier), 60);
        reader.note_clash(
            Finding::RowsDisagree,
            (field, 1),
            &show(&value),
            &other,
            row,
        );
    }
}

/// A finding on a column of a row.
fn on_column(finding: Finding, column: Cow<'static, str>, row: Option<u32>) -> Issue {
    Issue {
        row,
        column: Some(column),
        ..Issue::new(finding)
    }
}
