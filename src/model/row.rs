//! Identities of rows with errors, which later runs use to recognize them.

use super::issue::issue_id;

/// A row whose ID cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnidentifiedRow {
    /// Row number in the spreadsheet program, from 1.
    pub row: u32,
    /// SHA-256 of its cells.
    pub digest: [u8; 32],
}

/// Identity of a row with errors across runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowInError {
    /// ID of its contact, in the form of [`issue_id`]: the other side of the comparison comes from the issues of a run.
    Contact(String),
    /// SHA-256 of the cells of an unidentified row.
    Unidentified([u8; 32]),
}

impl RowInError {
    /// A row of the contact with this ID.
    #[must_use]
    pub fn of_contact(id: &str) -> Self {
        Self::Contact(issue_id(id).into_owned())
    }
}
