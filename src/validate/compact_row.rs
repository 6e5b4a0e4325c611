//! Fast path for a row without issues that has a complete contact: encodes it directly, without a `ContactBuilder`.

use std::borrow::Cow;

use super::cells::CellValue;
use super::group_cell;
use super::row::{PhoneCells, RowReader};
use crate::compact::ContactEncoder;
use crate::model::contact::FieldUpdate;
use crate::table::Field;

impl<'a> RowReader<'a> {
    /// Encodes the row if it is a complete contact without issues. Otherwise leaves the reader as it was, and the caller
    /// reads the row again with a builder.
    pub(super) fn encode(&mut self, encoder: ContactEncoder<'_>) -> bool {
        let issue_count = self.issues.len();
        let is_encoded = issue_count == 0 && self.try_encode(encoder).is_some();
        self.issues.truncate(issue_count);
        if !is_encoded {
            self.clear_numbers();
        }
        is_encoded
    }

    fn try_encode(&mut self, mut encoder: ContactEncoder<'_>) -> Option<()> {
        for columns in self.number_columns() {
            match self.phone(*columns) {
                PhoneCells::Number {
                    number,
                    number_type,
                    description,
                } => {
                    let (_, earlier) = self.numbers().split_last()?;
                    if earlier.contains(&number) {
                        return None;
                    }
                    encoder.number(number, number_type, description.as_deref());
                }
                PhoneCells::None if columns.ordinal > 1 => {}
                PhoneCells::None | PhoneCells::TypeOnly | PhoneCells::Invalid => return None,
            }
        }
        let Some(CellValue::Value(name)) = self.field(Field::Name) else {
            return None;
        };
        let Some(CellValue::Value(groups)) = self.groups() else {
            return None;
        };
        let texts = [
            self.field(Field::OrganizationName),
            self.field(Field::Title),
            self.email(),
        ];
        let priority = match self.priority() {
            None => FieldUpdate::Keep,
            Some(CellValue::Value(priority)) => FieldUpdate::Set(Some(priority)),
            Some(CellValue::Blank) => FieldUpdate::Set(None),
            Some(CellValue::Invalid) => return None,
        };
        if !self.issues.is_empty() {
            return None;
        }
        let update = |cell_value: &Option<CellValue<Cow<'a, str>>>| match cell_value {
            Some(CellValue::Value(text)) => FieldUpdate::Set(Some(text.clone())),
            Some(CellValue::Blank) => FieldUpdate::Set(None),
            Some(CellValue::Invalid) | None => FieldUpdate::Keep,
        };
        let [organization, title, email] = texts.each_ref().map(update);
        encoder.fields(
            &name,
            [organization.as_deref(), title.as_deref(), email.as_deref()],
            priority,
        );
        encoder.finish(group_cell::split(&groups).into_iter(), &[self.number()]);
        Some(())
    }
}
