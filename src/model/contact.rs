//! Contacts: as the file gives them, and as they are stored.

pub use super::phone::{PhoneNumber, PhoneNumberError};
use serde::{Deserialize, Serialize};

use super::{ContactId, string_enum};

/// A contact's ID in the spreadsheet: trimmed, NFC, never empty; compared exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ExternalId(String);

impl ExternalId {
    /// Takes a text that was cleaned already; `None` if it is empty.
    #[must_use]
    pub fn parse(cleaned: &str) -> Option<Self> {
        (!cleaned.is_empty()).then(|| Self(cleaned.to_owned()))
    }

    /// Takes what was an ID before.
    #[must_use]
    pub fn from_stored(id: String) -> Self {
        Self(id)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<ExternalId> for String {
    fn from(id: ExternalId) -> Self {
        id.0
    }
}

impl std::fmt::Display for ExternalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

string_enum!(
    /// How the platform treats a number.
    NumberType {
        /// Called and texted.
        Mobile = "mobile",
        /// Called.
        Landline = "landline",
        /// Paged.
        Pager = "pager",
    }
);

string_enum!(
    /// Who is called and texted first.
    #[derive(Default)]
    Priority {
        /// First.
        High = "high",
        /// The default.
        #[default]
        Normal = "normal",
        /// Last.
        Low = "low",
    }
);

/// A phone number of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Number<T = String> {
    /// Ten digits.
    pub number: PhoneNumber,
    /// Its kind.
    pub number_type: NumberType,
    /// Tells one from another.
    pub description: Option<T>,
}

/// What the file says of an optional field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldUpdate<T> {
    /// Nothing that counts (no such column, or an invalid value): the stored value stays.
    Keep,
    /// This; for a blank cell the field's empty value.
    Set(T),
}

impl<T: std::ops::Deref<Target = str>> FieldUpdate<Option<T>> {
    /// The same, borrowed.
    #[must_use]
    pub fn as_deref(&self) -> FieldUpdate<Option<&str>> {
        match self {
            Self::Keep => FieldUpdate::Keep,
            Self::Set(text) => FieldUpdate::Set(text.as_deref()),
        }
    }
}

impl FieldUpdate<Option<std::borrow::Cow<'_, str>>> {
    /// The same, owned.
    #[must_use]
    pub fn into_owned(self) -> FieldUpdate<Option<String>> {
        match self {
            Self::Keep => FieldUpdate::Keep,
            Self::Set(text) => FieldUpdate::Set(text.map(std::borrow::Cow::into_owned)),
        }
    }
}

impl<T> FieldUpdate<T> {
    /// What the file says, or else what is stored.
    pub fn or_stored(self, stored: impl FnOnce() -> T) -> T {
        match self {
            Self::Set(value) => value,
            Self::Keep => stored(),
        }
    }
}

/// A phone number as the file gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNumber {
    /// Ten digits.
    pub number: PhoneNumber,
    /// Its kind.
    pub number_type: NumberType,
    /// Description, if there is such a column.
    pub description: FieldUpdate<Option<String>>,
}

/// A contact without error as the file gives it, put together from all its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContact {
    /// Its ID.
    pub external_id: ExternalId,
    /// First and last name.
    pub name: String,
    /// Organization.
    pub organization_name: FieldUpdate<Option<String>>,
    /// Title and/or accreditations.
    pub title: FieldUpdate<Option<String>>,
    /// E-mail address.
    pub email: FieldUpdate<Option<String>>,
    /// Priority; none where the cell is blank, which is normal.
    pub priority: FieldUpdate<Option<Priority>>,
    /// Numbers in row order, then column order; at least one.
    pub numbers: Vec<FileNumber>,
    /// A further number can't be read, so that no stored one goes.
    pub keep_stored_numbers: bool,
    /// Group names as spelled, without repeats; at least one.
    pub groups: Vec<String>,
    /// The rows it came from, from 1, as the spreadsheet program shows them.
    pub rows: Vec<u32>,
}

/// All that is kept of a contact, in the form in which two states are compared and kept as before- and after-image; with texts
/// of its own, or borrowed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactState<T = String> {
    /// ID in the spreadsheet; none for a contact made by hand.
    pub external_id: Option<T>,
    /// First and last name.
    pub name: T,
    /// Organization.
    pub organization_name: Option<T>,
    /// Title.
    pub title: Option<T>,
    /// E-mail address.
    pub email: Option<T>,
    /// Priority.
    pub priority: Priority,
    /// Numbers in order.
    pub numbers: Vec<Number<T>>,
    /// Places in the plan's group table, ascending.
    pub groups: Vec<u32>,
}

/// A contact as the database holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContact {
    /// Stable id.
    pub id: ContactId,
    /// Removed earlier and not yet purged.
    pub removed: bool,
    /// What is kept of it.
    pub state: ContactState,
}

/// A contact with numbers and groups as before- or after-image (`import_changes.before`, `.after`); with texts of its own, or
/// borrowed ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactImage<T = String> {
    /// ID in the spreadsheet.
    pub external_id: Option<T>,
    /// First and last name.
    pub name: T,
    /// Organization.
    pub organization_name: Option<T>,
    /// Title.
    pub title: Option<T>,
    /// E-mail address.
    pub email: Option<T>,
    /// Priority.
    pub notification_priority: Priority,
    /// Numbers in order.
    pub numbers: Vec<NumberImage<T>>,
    /// Group names.
    pub groups: Vec<T>,
}

/// A number within a [`ContactImage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberImage<T = String> {
    /// Ten digits.
    pub number: T,
    /// Its type.
    pub number_type: NumberType,
    /// Tells one from another.
    pub description: Option<T>,
}

impl<'a> ContactImage<&'a str> {
    /// That of a state whose groups have these names.
    #[must_use]
    pub fn of<T: AsRef<str>>(
        state: &'a ContactState<T>,
        groups: impl Iterator<Item = &'a str>,
    ) -> Self {
        let numbers = state.numbers.iter().map(|number| NumberImage {
            number: number.number.as_str(),
            number_type: number.number_type,
            description: number.description.as_ref().map(T::as_ref),
        });
        Self {
            external_id: state.external_id.as_ref().map(T::as_ref),
            name: state.name.as_ref(),
            organization_name: state.organization_name.as_ref().map(T::as_ref),
            title: state.title.as_ref().map(T::as_ref),
            email: state.email.as_ref().map(T::as_ref),
            notification_priority: state.priority,
            numbers: numbers.collect(),
            groups: groups.collect(),
        }
    }
}
