//! Contacts: as the file gives them, and as they are stored.

use serde::{Deserialize, Serialize};

use super::{ContactId, words};

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
    pub fn stored(id: String) -> Self {
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

/// Ten digits of the North American Numbering Plan, area code and exchange starting with 2-9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber([u8; 10]);

/// Why a text is no [`PhoneNumber`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneNumberError {
    /// Not ten digits, or other things than digits, punctuation and spaces.
    NotTenDigits,
    /// Area code or exchange starts with 0 or 1.
    NotNanp,
}

impl PhoneNumber {
    /// Reads a number as people type it: punctuation, spaces and a leading `+1` or `1` are dropped.
    ///
    /// # Errors
    /// [`PhoneNumberError`] if ten digits of the plan don't remain.
    pub fn parse(text: &str) -> Result<Self, PhoneNumberError> {
        // Most stand there as ten digits and nothing else.
        if let Ok(number) = <[u8; 10]>::try_from(text.as_bytes())
            && number.iter().all(u8::is_ascii_digit)
        {
            return Self::of_plan(number);
        }
        // A number that a program took for one to calculate with: its last digit is none of it.
        if let Some((whole, part)) = text.trim().split_once('.')
            && part.len() < 4
            && [whole, part]
                .iter()
                .all(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(PhoneNumberError::NotTenDigits);
        }
        // One more than there may be, so that a surplus shows.
        let (mut digits, mut count) = ([0; 12], 0);
        for c in text.chars() {
            match c {
                '0'..='9' => {
                    if let (Some(digit), Ok(value)) = (digits.get_mut(count), u8::try_from(c)) {
                        *digit = value;
                        count += 1;
                    }
                }
                '+'
                | '('
                | ')'
                | '['
                | ']'
                | '{'
                | '}'
                | '-'
                | '.'
                | ','
                | ';'
                | ':'
                | '/'
                | '_'
                | '\''
                | '"'
                | '·'
                | '\u{2010}'..='\u{2015}'
                | '\u{2018}'..='\u{201f}'
                | '\u{2212}' => {}
                c if super::text::is_blank_char(c) => {}
                _ => return Err(PhoneNumberError::NotTenDigits),
            }
        }
        let plus = text.as_bytes().contains(&b'+');
        if plus && !text.trim_start_matches(['(', ' ']).starts_with('+') {
            return Err(PhoneNumberError::NotTenDigits);
        }
        let number = match &digits[..count] {
            [b'1', number @ ..] if number.len() == 10 => number,
            number if !plus => number,
            _ => return Err(PhoneNumberError::NotTenDigits),
        };
        let number = <[u8; 10]>::try_from(number).map_err(|_| PhoneNumberError::NotTenDigits)?;
        Self::of_plan(number)
    }

    fn of_plan(number: [u8; 10]) -> Result<Self, PhoneNumberError> {
        if number[0] < b'2' || number[3] < b'2' {
            return Err(PhoneNumberError::NotNanp);
        }
        Ok(Self(number))
    }

    /// Takes what was a number before: out of the database, whose CHECK has vouched for it, or packed.
    #[must_use]
    pub fn stored(digits: impl AsRef<[u8]>) -> Self {
        let mut number = [b'0'; 10];
        for (to, digit) in number.iter_mut().zip(digits.as_ref()) {
            *to = *digit;
        }
        Self(number)
    }

    /// The ten digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The ten digits as they are packed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }

    /// The ten digits as one number.
    #[must_use]
    pub fn as_digits(&self) -> u64 {
        let digit = |byte: &u8| u64::from(byte.wrapping_sub(b'0'));
        self.0
            .iter()
            .fold(0, |value, byte| value * 10 + digit(byte))
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

words!(
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

words!(
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
pub enum Said<T> {
    /// Nothing that counts (no such column, or an invalid value): the stored value stays.
    Nothing,
    /// This; for a blank cell the field's empty value.
    This(T),
}

impl<T: std::ops::Deref<Target = str>> Said<Option<T>> {
    /// The same, borrowed.
    #[must_use]
    pub fn as_deref(&self) -> Said<Option<&str>> {
        match self {
            Self::Nothing => Said::Nothing,
            Self::This(text) => Said::This(text.as_deref()),
        }
    }
}

impl Said<Option<std::borrow::Cow<'_, str>>> {
    /// The same, owned.
    #[must_use]
    pub fn into_owned(self) -> Said<Option<String>> {
        match self {
            Self::Nothing => Said::Nothing,
            Self::This(text) => Said::This(text.map(std::borrow::Cow::into_owned)),
        }
    }
}

impl<T> Said<T> {
    /// What the file says, or else what is stored.
    pub fn or_stored(self, stored: impl FnOnce() -> T) -> T {
        match self {
            Self::This(value) => value,
            Self::Nothing => stored(),
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
    pub description: Said<Option<String>>,
}

/// A contact without error as the file gives it, put together from all its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContact {
    /// Its ID.
    pub external_id: ExternalId,
    /// First and last name.
    pub name: String,
    /// Organization.
    pub organization_name: Said<Option<String>>,
    /// Title and/or accreditations.
    pub title: Said<Option<String>>,
    /// E-mail address.
    pub email: Said<Option<String>>,
    /// Priority; none where the cell is blank, which is normal.
    pub priority: Said<Option<Priority>>,
    /// Numbers in row order, then column order; at least one.
    pub numbers: Vec<FileNumber>,
    /// A further number can't be read, so that no stored one goes.
    pub keeps_numbers: bool,
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
    /// `high`, `normal` or `low`.
    pub notification_priority: T,
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
    /// `mobile`, `landline` or `pager`.
    pub number_type: T,
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
            number_type: number.number_type.as_str(),
            description: number.description.as_ref().map(T::as_ref),
        });
        Self {
            external_id: state.external_id.as_ref().map(T::as_ref),
            name: state.name.as_ref(),
            organization_name: state.organization_name.as_ref().map(T::as_ref),
            title: state.title.as_ref().map(T::as_ref),
            email: state.email.as_ref().map(T::as_ref),
            notification_priority: state.priority.as_str(),
            numbers: numbers.collect(),
            groups: groups.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, PhoneNumberError>) {
        assert_eq!(
            PhoneNumber::parse(text).as_ref().map(PhoneNumber::as_str),
            expected.as_ref().copied(),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_read_as_people_type_them() {
        for text in [
            "6045550100",
            "(604) 555-0100",
            "604-555-0100",
            "604.555.0100",
            "+1 604 555 0100",
            "1-604-555-0100",
            "+16045550100",
            "16045550100",
            "(+1) 604 555 0100",
            "604\u{2011}555\u{a0}0100",
            "604.5550100",
            "604555.0100",
            "[604] 555:0100",
            "604,555,0100;",
            "'6045550100",
        ] {
            check(text, Ok("6045550100"));
        }
    }

    #[test]
    fn what_is_no_ten_digit_number_is_refused() {
        for text in [
            "",
            "604555010",
            "60455501000",
            "6045550100x12",
            "6045550100 ext 5",
            "CALL 604555010",
            "+6045550100",
            "+44 20 7946 0018",
            "604+5550100",
            "26045550100",
            "6.04E+09",
            "604555010.0",
            "604555010.5",
            "60455501.00",
            "6045550100.0",
            "6045550100, 6045550101",
            "604-555-0100#",
            "٦٠٤٥٥٥٠١٠٠",
        ] {
            check(text, Err(PhoneNumberError::NotTenDigits));
        }
    }

    #[test]
    fn area_code_and_exchange_start_with_2_to_9() {
        check("1045550100", Err(PhoneNumberError::NotNanp));
        check("0045550100", Err(PhoneNumberError::NotNanp));
        check("6041550100", Err(PhoneNumberError::NotNanp));
        check("6040550100", Err(PhoneNumberError::NotNanp));
        check("11045550100", Err(PhoneNumberError::NotNanp));
    }
}
