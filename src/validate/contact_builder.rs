//! Merges the rows that have the same ID into one contact. Does not depend on other contacts.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::cells::CellValue;
use super::group_cell;
use super::row::{PhoneCells, RowReader, column_name};
use crate::model::catalog::Finding;
use crate::model::contact::{
    ExternalId, FieldUpdate, FileContact, FileNumber, PhoneNumber, Priority,
};
use crate::model::group::name_key;
use crate::model::issue::{Issue, MAX_VALUE_CHARS};
use crate::table::Field;
use crate::unicode;

/// A field merged from several rows.
#[derive(Debug)]
struct MergedField<T> {
    /// The value and the number of the row that it comes from.
    value: Option<(T, u32)>,
    /// The sheet has the column.
    has_column: bool,
    /// The cell of at least one row is unusable.
    has_bad_value: bool,
}

impl<T> Default for MergedField<T> {
    fn default() -> Self {
        Self {
            value: None,
            has_column: false,
            has_bad_value: false,
        }
    }
}

impl<T: Clone> MergedField<T> {
    /// Merges the value of a row. If it disagrees with an earlier one, returns the earlier value, its row and the new value.
    fn merge(
        &mut self,
        row: u32,
        cell_value: Option<CellValue<T>>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<(T, u32, T)> {
        self.has_column |= cell_value.is_some();
        match cell_value {
            Some(CellValue::Value(value)) => match &self.value {
                None => self.value = Some((value, row)),
                Some((earlier, earlier_row)) if !same(earlier, &value) => {
                    return Some((earlier.clone(), *earlier_row, value));
                }
                Some(_) => {}
            },
            Some(CellValue::Invalid) => self.has_bad_value = true,
            Some(CellValue::Blank) | None => {}
        }
        None
    }

    /// Restores the field of a contact that was complete after its first row. Its update is `Keep` either because the sheet
    /// does not have the column or because the cell was unusable.
    fn resume(update: FieldUpdate<Option<T>>, row: u32, has_column: bool) -> Self {
        let has_bad_value = has_column && matches!(update, FieldUpdate::Keep);
        let value = match update {
            FieldUpdate::Set(Some(value)) => Some((value, row)),
            FieldUpdate::Set(None) | FieldUpdate::Keep => None,
        };
        Self {
            value,
            has_column,
            has_bad_value,
        }
    }

    fn update(self) -> FieldUpdate<Option<T>> {
        match self.value {
            Some((value, _)) => FieldUpdate::Set(Some(value)),
            None if !self.has_column || self.has_bad_value => FieldUpdate::Keep,
            None => FieldUpdate::Set(None),
        }
    }
}

/// Builds a contact row by row.
#[derive(Debug)]
pub(super) struct ContactBuilder {
    pub(super) id: ExternalId,
    rows: Vec<u32>,
    first_row_hash: Option<u64>,
    /// Row numbers of all other rows, by row hash.
    other_rows: HashMap<u64, u32>,
    name: MergedField<String>,
    organization_name: MergedField<String>,
    title: MergedField<String>,
    email: MergedField<String>,
    priority: MergedField<Priority>,
    groups: MergedField<Vec<String>>,
    numbers: Vec<FileNumber>,
    seen_numbers: HashSet<PhoneNumber>,
    has_bad_number: bool,
    /// Row number and ordinal of the column.
    types_without_number: Vec<(u32, u32)>,
    in_error: bool,
}

impl ContactBuilder {
    pub(super) fn new(id: ExternalId) -> Self {
        Self {
            id,
            rows: Vec::new(),
            first_row_hash: None,
            other_rows: HashMap::new(),
            name: MergedField::default(),
            organization_name: MergedField::default(),
            title: MergedField::default(),
            email: MergedField::default(),
            priority: MergedField::default(),
            groups: MergedField::default(),
            numbers: Vec::new(),
            seen_numbers: HashSet::new(),
            has_bad_number: false,
            types_without_number: Vec::new(),
            in_error: false,
        }
    }

    /// Continues a contact that was complete after its first row, which has this hash. `has` returns whether the sheet has
    /// the column.
    pub(super) fn resume(contact: FileContact, row_hash: u64, has: impl Fn(Field) -> bool) -> Self {
        let row = contact.rows.first().copied().unwrap_or_default();
        Self {
            rows: contact.rows,
            first_row_hash: Some(row_hash),
            name: MergedField::resume(FieldUpdate::Set(Some(contact.name)), row, true),
            organization_name: MergedField::resume(
                contact.organization_name,
                row,
                has(Field::OrganizationName),
            ),
            title: MergedField::resume(contact.title, row, has(Field::Title)),
            email: MergedField::resume(contact.email, row, has(Field::Email)),
            priority: MergedField::resume(contact.priority, row, has(Field::Priority)),
            groups: MergedField::resume(FieldUpdate::Set(Some(contact.groups)), row, true),
            seen_numbers: contact.numbers.iter().map(|n| n.number).collect(),
            has_bad_number: contact.keep_stored_numbers,
            numbers: contact.numbers,
            ..Self::new(contact.external_id)
        }
    }

    /// Whether the contact has no error so far and [`validate_contact`](Self::validate_contact) would find nothing.
    pub(super) fn is_complete(&self) -> bool {
        !self.in_error
            && self.name.value.is_some()
            && self.groups.value.is_some()
            && !self.numbers.is_empty()
            && self.types_without_number.is_empty()
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

    /// The name for messages, if a row has one.
    pub(super) fn name(&self) -> Option<String> {
        self.name.value.as_ref().map(|(name, _)| display_name(name))
    }

    pub(super) fn add_row(&mut self, reader: &mut RowReader<'_>, row_hash: u64) {
        let row = reader.number();
        self.rows.push(row);
        if let Some(duplicate_of) = self.duplicate_of(row, row_hash) {
            reader.add_issue_with_reference(
                Finding::DuplicateRow,
                (Field::Id, 1),
                "",
                "",
                duplicate_of,
            );
            return;
        }
        let cell_value = owned_value(reader.field(Field::Name));
        report_disagreement(
            reader,
            Field::Name,
            self.name.merge(row, cell_value, |a, b| a == b),
            String::clone,
        );
        let cell_value = owned_value(reader.field(Field::OrganizationName));
        report_disagreement(
            reader,
            Field::OrganizationName,
            self.organization_name.merge(row, cell_value, |a, b| a == b),
            String::clone,
        );
        let cell_value = owned_value(reader.field(Field::Title));
        report_disagreement(
            reader,
            Field::Title,
            self.title.merge(row, cell_value, |a, b| a == b),
            String::clone,
        );
        let cell_value = owned_value(reader.email());
        report_disagreement(
            reader,
            Field::Email,
            self.email.merge(row, cell_value, |a, b| a == b),
            String::clone,
        );
        let cell_value = reader.priority();
        report_disagreement(
            reader,
            Field::Priority,
            self.priority.merge(row, cell_value, |a, b| a == b),
            ToString::to_string,
        );
        let cell_value = reader.groups().map(|cell_value| {
            cell_value.map(|cell| {
                let names = group_cell::split(&cell).into_iter();
                CellValue::Value(names.map(str::to_owned).collect())
            })
        });
        report_disagreement(
            reader,
            Field::Groups,
            self.groups.merge(row, cell_value, same_groups),
            |groups| groups.join(", "),
        );
        for columns in reader.number_columns() {
            match reader.phone(*columns) {
                PhoneCells::Number {
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
                PhoneCells::TypeOnly => self.types_without_number.push((row, columns.ordinal)),
                PhoneCells::Invalid => self.has_bad_number = true,
                PhoneCells::None => {}
            }
        }
        self.in_error |= reader.has_error();
    }

    /// The number of an earlier row with the same content.
    fn duplicate_of(&mut self, row: u32, row_hash: u64) -> Option<u32> {
        if *self.first_row_hash.get_or_insert(row_hash) == row_hash {
            return self.first_row().filter(|first| *first != row);
        }
        let duplicate_of = *self.other_rows.entry(row_hash).or_insert(row);
        (duplicate_of != row).then_some(duplicate_of)
    }

    fn add_number(&mut self, reader: &mut RowReader<'_>, ordinal: u32, number: FileNumber) {
        let is_repeat = match &self.numbers[..] {
            // Most contacts have a single number and need no set.
            [] => false,
            [only] if only.number == number.number => true,
            [only] => {
                self.seen_numbers.insert(only.number);
                !self.seen_numbers.insert(number.number)
            }
            _ => !self.seen_numbers.insert(number.number),
        };
        if is_repeat {
            let digits = number.number.as_str();
            reader.add_issue(Finding::DuplicateNumber, Field::Number, ordinal, digits);
        } else {
            self.numbers.push(number);
        }
    }

    /// Puts the contact in error because the file may be truncated in its last row.
    pub(super) fn mark_maybe_truncated(&mut self) -> Issue {
        self.in_error = true;
        Issue {
            row: self.rows.last().copied(),
            ..Issue::new(Finding::LastRowMaybeCut)
        }
    }

    /// Puts the contact in error because another row of it is damaged. Returns no issue if the contact is in error already.
    pub(super) fn mark_row_damaged(&mut self, row: u32) -> Option<Issue> {
        let was_valid = !std::mem::replace(&mut self.in_error, true);
        was_valid.then(|| Issue {
            row: self.first_row(),
            ..Issue::with_reference(Finding::ContactRowDamaged, "", row)
        })
    }

    /// Checks the merged contact: required fields, and number types without a number.
    pub(super) fn validate_contact(&mut self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let row = self.first_row();
        let mut report_missing = |field: Field| {
            issues.push(column_issue(
                Finding::RequiredMissing,
                field.as_str().into(),
                row,
            ));
        };
        for (field, is_missing) in [
            (
                Field::Name,
                self.name.value.is_none() && !self.name.has_bad_value,
            ),
            (
                Field::Number,
                self.numbers.is_empty() && !self.has_bad_number,
            ),
            (
                Field::Groups,
                self.groups.value.is_none() && !self.groups.has_bad_value,
            ),
        ] {
            if is_missing {
                report_missing(field);
            }
        }
        self.in_error |= !issues.is_empty() || self.has_bad_number && self.numbers.is_empty();
        if !self.numbers.is_empty() {
            issues.extend(self.types_without_number.iter().map(|(row, ordinal)| {
                let column = column_name(Field::NumberType, *ordinal);
                column_issue(Finding::TypeWithoutNumber, column, Some(*row))
            }));
        }
        issues
    }

    /// The contact, or `None` if it is in error.
    pub(super) fn into_contact(self) -> Option<FileContact> {
        if self.in_error {
            return None;
        }
        Some(FileContact {
            external_id: self.id,
            name: self.name.value?.0,
            organization_name: self.organization_name.update(),
            title: self.title.update(),
            email: self.email.update(),
            priority: self.priority.update(),
            numbers: self.numbers,
            keep_stored_numbers: self.has_bad_number,
            groups: self.groups.value?.0,
            rows: self.rows,
        })
    }
}

fn owned_value(cell_value: Option<CellValue<Cow<'_, str>>>) -> Option<CellValue<String>> {
    Some(cell_value?.map(|text| CellValue::Value(text.into_owned())))
}

/// The name as shown in messages, shortened.
pub(super) fn display_name(name: &str) -> String {
    unicode::shorten(name, MAX_VALUE_CHARS)
}

#[expect(
    clippy::ptr_arg,
    reason = "`MergedField::merge` passes references to its value type"
)]
fn same_groups(one: &Vec<String>, other: &Vec<String>) -> bool {
    let keys = |groups: &[String]| {
        groups
            .iter()
            .map(|name| name_key(name))
            .collect::<BTreeSet<_>>()
    };
    keys(one) == keys(other)
}

/// Reports a value that disagrees with an earlier row of the contact.
fn report_disagreement<T>(
    reader: &mut RowReader<'_>,
    field: Field,
    disagreement: Option<(T, u32, T)>,
    display: impl Fn(&T) -> String,
) {
    if let Some((earlier, row, value)) = disagreement {
        let other = unicode::shorten(&display(&earlier), 60);
        reader.add_issue_with_reference(
            Finding::RowsDisagree,
            (field, 1),
            &display(&value),
            &other,
            row,
        );
    }
}

fn column_issue(finding: Finding, column: Cow<'static, str>, row: Option<u32>) -> Issue {
    Issue {
        row,
        column: Some(column),
        ..Issue::new(finding)
    }
}
