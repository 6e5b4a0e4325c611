//! The short way of a row of which nothing has to be said: packed at once, without a draft.

use std::borrow::Cow;

use super::cells::Reading;
use super::group_cell;
use super::row::{Phone, RowReader};
use crate::compact::Packing;
use crate::model::contact::Said;
use crate::table::Field;

impl<'a> RowReader<'a> {
    /// Packs the row as a whole contact, if it is one and nothing has to be said of it; else nothing is noted.
    pub(super) fn pack(&mut self, packing: Packing<'_>) -> bool {
        let noted = self.issues.len();
        let packed = noted == 0 && self.pack_silent(packing).is_some();
        self.issues.truncate(noted);
        if !packed {
            self.forget_numbers();
        }
        packed
    }

    fn pack_silent(&mut self, mut packing: Packing<'_>) -> Option<()> {
        for columns in self.number_columns() {
            match self.phone(*columns) {
                Phone::Number {
                    number,
                    number_type,
                    description,
                } => {
                    let (_, earlier) = self.numbers().split_last()?;
                    if earlier.contains(&number) {
                        return None;
                    }
                    packing.number(number, number_type, description.as_deref());
                }
                Phone::None if columns.ordinal > 1 => {}
                Phone::None | Phone::TypeAlone | Phone::Bad => return None,
            }
        }
        let Some(Reading::Value(name)) = self.field(Field::Name) else {
            return None;
        };
        let Some(Reading::Value(groups)) = self.groups() else {
            return None;
        };
        let texts = [
            self.field(Field::OrganizationName),
            self.field(Field::Title),
            self.email(),
        ];
        let priority = match self.priority() {
            None => Said::Nothing,
            Some(Reading::Value(priority)) => Said::This(Some(priority)),
            Some(Reading::Blank) => Said::This(None),
            Some(Reading::Bad) => return None,
        };
        if !self.issues.is_empty() {
            return None;
        }
        let said = |reading: &Option<Reading<Cow<'a, str>>>| match reading {
            Some(Reading::Value(text)) => Said::This(Some(text.clone())),
            Some(Reading::Blank) => Said::This(None),
            Some(Reading::Bad) | None => Said::Nothing,
        };
        let [organization, title, email] = texts.each_ref().map(said);
        packing.fields(
            &name,
            [organization.as_deref(), title.as_deref(), email.as_deref()],
            priority,
        );
        packing.finish(group_cell::split(&groups).into_iter(), &[self.number()]);
        Some(())
    }
}
