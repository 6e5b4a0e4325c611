//! Contacts as read from the file, as compared, and as stored.

pub use super::phone::{PhoneNumber, PhoneNumberError};
use serde::{Deserialize, Serialize};

use super::{ContactId, string_enum};

/// A contact's ID in the spreadsheet: trimmed, in Unicode NFC, never empty. Compared exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ExternalId(String);

impl ExternalId {
    /// The ID of a cleaned cell; `None` if the text is empty.
    #[must_use]
    pub fn parse(cleaned: &str) -> Option<Self> {
        (!cleaned.is_empty()).then(|| Self(cleaned.to_owned()))
    }

    /// An ID that was validated before it was stored.
    #[must_use]
    pub fn from_stored(id: String) -> Self {
        Self(id)
    }

    /// The ID as text.
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
    /// Type of a phone number, which determines how the platform uses it.
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
    /// Notification priority.
    #[derive(Default)]
    Priority {
        /// Called and texted first.
        High = "high",
        /// The value of a blank cell.
        #[default]
        Normal = "normal",
        /// Called and texted last.
        Low = "low",
    }
);

/// A stored phone number of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Number<T = String> {
    /// Ten digits.
    pub number: PhoneNumber,
    /// Its type.
    pub number_type: NumberType,
    /// Label such as work or home.
    pub description: Option<T>,
}

/// What the file does to an optional field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldUpdate<T> {
    /// Keeps the stored value: the column is missing or the value is invalid.
    Keep,
    /// Replaces the stored value; a blank cell gives the field's empty value.
    Set(T),
}

impl<T: std::ops::Deref<Target = str>> FieldUpdate<Option<T>> {
    /// The update with a borrowed text.
    #[must_use]
    pub fn as_deref(&self) -> FieldUpdate<Option<&str>> {
        match self {
            Self::Keep => FieldUpdate::Keep,
            Self::Set(text) => FieldUpdate::Set(text.as_deref()),
        }
    }
}

impl FieldUpdate<Option<std::borrow::Cow<'_, str>>> {
    /// The update with an owned text.
    #[must_use]
    pub fn into_owned(self) -> FieldUpdate<Option<String>> {
        match self {
            Self::Keep => FieldUpdate::Keep,
            Self::Set(text) => FieldUpdate::Set(text.map(std::borrow::Cow::into_owned)),
        }
    }
}

impl<T> FieldUpdate<T> {
    /// The new value; for [`FieldUpdate::Keep`] the stored one.
    pub fn or_stored(self, stored: impl FnOnce() -> T) -> T {
        match self {
            Self::Set(value) => value,
            Self::Keep => stored(),
        }
    }
}

/// A phone number as read from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNumber {
    /// Ten digits.
    pub number: PhoneNumber,
    /// Its type.
    pub number_type: NumberType,
    /// Label such as work or home; kept if the column is missing.
    pub description: FieldUpdate<Option<String>>,
}

/// A contact without errors, merged from all its rows in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContact {
    /// ID in the spreadsheet.
    pub external_id: ExternalId,
    /// First and last name.
    pub name: String,
    /// Organization.
    pub organization_name: FieldUpdate<Option<String>>,
    /// Title and/or accreditations.
    pub title: FieldUpdate<Option<String>>,
    /// Email address.
    pub email: FieldUpdate<Option<String>>,
    /// Priority; `None` if the cell is blank, which means normal.
    pub priority: FieldUpdate<Option<Priority>>,
    /// Numbers in row order, then column order; at least one.
    pub numbers: Vec<FileNumber>,
    /// Stored numbers are kept, because another number of the contact could not be read.
    pub keep_stored_numbers: bool,
    /// Group names as spelled, without duplicates; at least one.
    pub groups: Vec<String>,
    /// Row numbers in the spreadsheet program, from 1.
    pub rows: Vec<u32>,
}

/// The data of a contact in the form in which two states are compared. `T` is the type of its texts, owned or borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactState<T = String> {
    /// ID in the spreadsheet; `None` for a contact entered by hand.
    pub external_id: Option<T>,
    /// First and last name.
    pub name: T,
    /// Organization.
    pub organization_name: Option<T>,
    /// Title.
    pub title: Option<T>,
    /// Email address.
    pub email: Option<T>,
    /// Priority.
    pub priority: Priority,
    /// Numbers in order.
    pub numbers: Vec<Number<T>>,
    /// Indexes in the plan's group table, ascending.
    pub groups: Vec<u32>,
}

/// A contact in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContact {
    /// Database id.
    pub id: ContactId,
    /// Soft-deleted and not yet purged.
    pub removed: bool,
    /// Its data.
    pub state: ContactState,
}

/// A contact with its numbers and groups before or after a run, as stored in JSON (`import_changes.before`, `.after`).
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
    /// Email address.
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
    /// Label such as work or home.
    pub description: Option<T>,
}

impl<'a> ContactImage<&'a str> {
    /// The image of a state; `groups` are the names of its groups.
    #[must_use]
    pub fn new<T: AsRef<str>>(
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
