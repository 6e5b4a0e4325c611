//! Rows that are recognized again in the next run of the account.

/// A row whose ID can't be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnidentifiedRow {
    /// Its number.
    pub row: u32,
    /// SHA-256 of its cells, by which it is known again.
    pub digest: [u8; 32],
}

/// By what a row in error is known again in the next run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowInError {
    /// By its contact.
    Contact(String),
    /// By its cells.
    Unidentified([u8; 32]),
}
