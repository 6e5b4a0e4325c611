//! Issues: findings in a file or a revert, with location and message.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::catalog::{Finding, MessageArgs};
pub use super::code::{Code, Severity};
use super::digest::{TextDigest, hex, sha256};
use crate::unicode::shorten;

/// Longest value, ID or name in an issue, in characters.
pub const MAX_VALUE_CHARS: usize = 200;
/// Number of characters that are kept of a longer ID.
const LONG_ID_CHARS: usize = 100;

/// A finding in a file or a revert. Serializes as specified in SPEC §9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Effect on the contact.
    pub severity: Severity,
    /// Kind of the issue.
    pub code: Code,
    /// Row number in the spreadsheet program, from 1; `None` if the issue concerns the whole file.
    pub row: Option<u32>,
    /// Title of the column.
    pub column: Option<Cow<'static, str>>,
    /// Index of the column in the sheet, from 0.
    pub column_index: Option<u32>,
    /// The offending value, at most [`MAX_VALUE_CHARS`] characters.
    pub value: Option<String>,
    /// The contact's ID in the form of [`issue_id`], if known.
    pub external_id: Option<String>,
    /// The contact's name, if known; at most [`MAX_VALUE_CHARS`] characters.
    pub contact_name: Option<String>,
    /// What [`Issue::message`] is made from.
    pub message_source: MessageSource,
    /// SHA-256 of the cells of an unidentified row.
    pub row_digest: Option<[u8; 32]>,
}

/// What the message of an issue is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageSource {
    /// An entry of the catalog.
    Catalog {
        /// The entry.
        finding: Finding,
        /// Value of `{other}`; empty for none.
        other: String,
        /// Value of `{row}`; 0 for none.
        row: u32,
    },
    /// A complete message, from the database or another process.
    Stored(String),
}

impl Issue {
    /// An issue without a location.
    #[must_use]
    pub fn new(finding: Finding) -> Self {
        Self::with_reference(finding, "", 0)
    }

    /// An issue without a location, whose message names another value, and another row if `row` is not 0.
    #[must_use]
    pub fn with_reference(finding: Finding, other: &str, row: u32) -> Self {
        let rule = finding.rule();
        Self {
            severity: rule.severity,
            code: rule.code,
            row: None,
            column: None,
            column_index: None,
            value: None,
            external_id: None,
            contact_name: None,
            message_source: MessageSource::Catalog {
                finding,
                other: other.to_owned(),
                row,
            },
            row_digest: None,
        }
    }

    /// The message: what is wrong and what to do.
    #[must_use]
    pub fn message(&self) -> Cow<'_, str> {
        match &self.message_source {
            MessageSource::Stored(text) => Cow::Borrowed(text),
            MessageSource::Catalog {
                finding,
                other,
                row,
            } => Cow::Owned(finding.message(MessageArgs {
                column: self.column.as_deref().unwrap_or_default(),
                other,
                row: *row,
            })),
        }
    }

    /// The cell as the spreadsheet program names it (`E17`).
    #[must_use]
    pub fn cell(&self) -> Option<String> {
        let index = usize::try_from(self.column_index?).ok()?;
        Some(format!("{}{}", column_letters(index), self.row?))
    }

    /// Identifies the issue across runs: code, column, and contact ID (or digest of the unidentified row, or else the value).
    #[must_use]
    pub fn identity(&self) -> IssueIdentity {
        let mut digest = TextDigest::default();
        digest.push(Some(self.code.as_str()));
        digest.push(self.external_id.as_deref());
        if self.external_id.is_none() {
            digest.push_bytes(self.row_digest.as_ref().map(<[u8; 32]>::as_slice));
            if self.row_digest.is_none() {
                digest.push(self.value.as_deref());
            }
        }
        digest.push(self.column.as_deref());
        let mut half = [0; 16];
        half.copy_from_slice(&digest.finish()[..16]);
        IssueIdentity(half)
    }
}

/// The form in which issues name a contact's ID. An ID of more than [`MAX_VALUE_CHARS`] characters becomes its start, `…` and the
/// SHA-256 of the whole ID, because a contact may have thousands of issues. It still identifies the contact. Applied to its own
/// result, it changes nothing.
///
/// `store::retention` computes the same in SQL.
#[must_use]
pub fn issue_id(id: &str) -> Cow<'_, str> {
    if id.len() <= MAX_VALUE_CHARS || id.char_indices().nth(MAX_VALUE_CHARS).is_none() {
        return Cow::Borrowed(id);
    }
    let start: String = id.chars().take(LONG_ID_CHARS).collect();
    Cow::Owned(format!("{start}…{}", hex(&sha256(id.as_bytes()))))
}

/// The form in which issues name a contact: at most [`MAX_VALUE_CHARS`] characters.
#[must_use]
pub fn issue_name(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_VALUE_CHARS {
        return Cow::Borrowed(name);
    }
    Cow::Owned(shorten(name, MAX_VALUE_CHARS))
}

/// Identity of an issue across runs ([`Issue::identity`]): the first half of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssueIdentity([u8; 16]);

/// The identities of a run's issues.
#[derive(Debug, Clone, Default)]
pub struct IssueIdentities(Vec<IssueIdentity>);

impl IssueIdentities {
    /// Whether the run has this issue.
    #[must_use]
    pub fn contains(&self, identity: IssueIdentity) -> bool {
        self.0.binary_search(&identity).is_ok()
    }
}

impl FromIterator<IssueIdentity> for IssueIdentities {
    fn from_iter<T: IntoIterator<Item = IssueIdentity>>(identities: T) -> Self {
        let mut identities: Vec<_> = identities.into_iter().collect();
        identities.sort_unstable();
        identities.dedup();
        Self(identities)
    }
}

/// The JSON form of an issue.
#[derive(Serialize, Deserialize)]
struct IssueJson<'a> {
    severity: Severity,
    code: Code,
    row: Option<u32>,
    column: Option<Cow<'a, str>>,
    cell: Option<Cow<'a, str>>,
    value: Option<Cow<'a, str>>,
    external_id: Option<Cow<'a, str>>,
    contact_name: Option<Cow<'a, str>>,
    message: Cow<'a, str>,
}

impl Serialize for Issue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn borrowed(text: Option<&String>) -> Option<Cow<'_, str>> {
            text.map(|text| Cow::Borrowed(text.as_str()))
        }
        IssueJson {
            severity: self.severity,
            code: self.code,
            row: self.row,
            column: self.column.as_deref().map(Cow::Borrowed),
            cell: self.cell().map(Cow::Owned),
            value: borrowed(self.value.as_ref()),
            external_id: borrowed(self.external_id.as_ref()),
            contact_name: borrowed(self.contact_name.as_ref()),
            message: self.message(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Issue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = IssueJson::deserialize(deserializer)?;
        Ok(Self {
            severity: json.severity,
            code: json.code,
            row: json.row,
            column: json.column.map(|text| text.into_owned().into()),
            column_index: json.cell.and_then(|cell| column_from_cell(&cell)),
            value: json.value.map(Cow::into_owned),
            external_id: json.external_id.map(Cow::into_owned),
            contact_name: json.contact_name.map(Cow::into_owned),
            message_source: MessageSource::Stored(json.message.into_owned()),
            row_digest: None,
        })
    }
}

/// The letters of a column in spreadsheet programs (`A`, …, `Z`, `AA`, …); `index` counts from 0.
#[must_use]
pub fn column_letters(index: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        letters.push(char::from(
            b'A' + u8::try_from((rest - 1) % 26).unwrap_or(0),
        ));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

/// The column index of a cell such as `E17`, from 0; `None` if it is not a cell name.
#[must_use]
pub fn column_from_cell(cell: &str) -> Option<u32> {
    let letters = cell.trim_end_matches(|c: char| c.is_ascii_digit());
    let position = letters.bytes().try_fold(0_u32, |position, letter| {
        let letter = u32::from(letter.checked_sub(b'A')?);
        if letter >= 26 {
            return None;
        }
        position.checked_mul(26)?.checked_add(letter + 1)
    })?;
    position.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_id_is_cut_and_still_identifies_its_contact() {
        for id in ["", "A-1", &"x".repeat(200), &"é".repeat(200)] {
            assert_eq!(issue_id(id), id);
        }
        let (one, other) = ("é".repeat(201), format!("{}f", "é".repeat(200)));
        let cut = issue_id(&one);
        let digest = hex(&sha256(one.as_bytes()));
        assert_eq!(cut, format!("{}…{digest}", "é".repeat(100)));
        assert_ne!(cut, issue_id(&other));
        assert_eq!(issue_id(&cut), cut);
    }

    #[test]
    fn long_name_is_cut() {
        assert_eq!(issue_name("Ann"), "Ann");
        assert_eq!(issue_name(&"é".repeat(200)), "é".repeat(200));
        let cut = format!("{}…", "é".repeat(199));
        assert_eq!(issue_name(&"é".repeat(201)), cut);
    }

    #[test]
    fn column_letters_match_spreadsheet_programs() {
        for (index, letters) in [
            (0, "A"),
            (25, "Z"),
            (26, "AA"),
            (51, "AZ"),
            (52, "BA"),
            (701, "ZZ"),
            (702, "AAA"),
            (16383, "XFD"),
        ] {
            assert_eq!(column_letters(index), letters);
            let position = column_from_cell(&format!("{letters}17"));
            assert_eq!(position, u32::try_from(index).ok());
        }
    }
}
