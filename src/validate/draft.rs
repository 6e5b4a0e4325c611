//! A contact while its rows come in.

use std::collections::BTreeSet;

use super::cells::Reading;
use super::row::{Phone, RowReader, column_name};
use crate::model::contact::{ExternalId, FileContact, FileNumber, Priority, Said};
use crate::model::group::name_key;
use crate::model::issue::{Code, Issue, VALUE_LIMIT};
use crate::model::table::Field;
use crate::model::text;

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
    pub(super) id: String,
    rows: Vec<u32>,
    digests: Vec<[u8; 32]>,
    name: Merged<String>,
    organization_name: Merged<String>,
    title: Merged<String>,
    email: Merged<String>,
    priority: Merged<Priority>,
    groups: Merged<Vec<String>>,
    numbers: Vec<FileNumber>,
    number_bad: bool,
    types_alone: Vec<(u32, u32)>,
    failed: bool,
}

impl Draft {
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            rows: Vec::new(),
            digests: Vec::new(),
            name: Merged::default(),
            organization_name: Merged::default(),
            title: Merged::default(),
            email: Merged::default(),
            priority: Merged::default(),
            groups: Merged::default(),
            numbers: Vec::new(),
            number_bad: false,
            types_alone: Vec::new(),
            failed: false,
        }
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
        self.name
            .value
            .as_ref()
            .map(|(name, _)| text::shorten(name, VALUE_LIMIT))
    }

    /// Takes one more row of the contact.
    pub(super) fn add_row(&mut self, reader: &mut RowReader<'_>) {
        let (row, digest) = (reader.number(), reader.digest());
        let twin = self.digests.iter().position(|seen| *seen == digest);
        self.rows.push(row);
        self.digests.push(digest);
        if let Some(twin) = twin {
            let message = format!(
                "this row is the same as row {} and was read once; delete one",
                self.rows[twin]
            );
            reader.issue(Field::Id, 1, Code::DuplicateRow, "", message);
            return;
        }
        let reading = reader.field(Field::Name);
        disagreement(
            reader,
            Field::Name,
            self.name.take(row, reading, |a, b| a == b),
            String::clone,
        );
        let reading = reader.field(Field::OrganizationName);
        disagreement(
            reader,
            Field::OrganizationName,
            self.organization_name.take(row, reading, |a, b| a == b),
            String::clone,
        );
        let reading = reader.field(Field::Title);
        disagreement(
            reader,
            Field::Title,
            self.title.take(row, reading, |a, b| a == b),
            String::clone,
        );
        let reading = reader.email();
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
        let reading = reader.groups();
        disagreement(
            reader,
            Field::Groups,
            self.groups.take(row, reading, same_groups),
            |groups| groups.join(", "),
        );
        for columns in reader.number_columns() {
            match reader.phone(*columns) {
                Phone::Number(number) => self.add_number(reader, columns.ordinal, number),
                Phone::TypeAlone => self.types_alone.push((row, columns.ordinal)),
                Phone::Bad => self.number_bad = true,
                Phone::None => {}
            }
        }
        self.failed |= reader.has_error();
    }

    fn add_number(&mut self, reader: &mut RowReader<'_>, ordinal: u32, number: FileNumber) {
        if self
            .numbers
            .iter()
            .any(|known| known.number == number.number)
        {
            let message = "this number stands twice on the contact and was kept once; delete one";
            reader.issue(
                Field::Number,
                ordinal,
                Code::DuplicateNumber,
                number.number.as_str(),
                message,
            );
        } else {
            self.numbers.push(number);
        }
    }

    /// The file may be cut off in this contact's row.
    pub(super) fn distrust(&mut self) -> Issue {
        self.failed = true;
        let message = "the file does not end with a line break, but the last one did: it may be cut off in this row. \
                       The contact stays as it is and nobody was removed; export the file again, or add a line break at its end";
        Issue {
            row: self.rows.last().copied(),
            ..Issue::of_file(Code::LastRowMaybeCut, message)
        }
    }

    /// Judges what only shows on the contact put together.
    pub(super) fn judge(&mut self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let row = self.first_row();
        let mut missing = |field: Field| {
            issues.push(Issue {
                row,
                column: Some(field.as_str().to_owned()),
                ..Issue::of_file(
                    Code::RequiredMissing,
                    format!("{field} is blank, but is required; enter it"),
                )
            });
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
                let message = format!("{column} is filled, but the number is blank; enter the number or clear the type");
                Issue { row: Some(*row), column: Some(column), ..Issue::of_file(Code::TypeWithoutNumber, message) }
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
            external_id: ExternalId::parse(&self.id)?,
            name: self.name.value?.0,
            organization_name: self.organization_name.said(),
            title: self.title.said(),
            email: self.email.said(),
            priority: match self.priority.said() {
                Said::This(priority) => Said::This(priority.unwrap_or(Priority::Normal)),
                Said::Nothing => Said::Nothing,
            },
            numbers: self.numbers,
            groups: self.groups.value?.0,
            rows: self.rows,
        })
    }
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
        let (earlier, value) = (text::shorten(&show(&earlier), 60), show(&value));
        let message = format!(
            "{field} differs from `{earlier}` in row {row}, which has the same ID; make them agree, or give each person an ID of their own"
        );
        reader.issue(field, 1, Code::RowsDisagree, &value, message);
    }
}
