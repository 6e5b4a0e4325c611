//! What can be wrong or odd in a file: the catalogue of codes, and one finding.

use serde::{Deserialize, Serialize};

use super::catalogue::{About, Finding};
use super::words;

words!(
    /// What an issue means for the contact.
    Severity {
        /// Not imported; a stored contact stays exactly as it is.
        Error = "error",
        /// Imported.
        Warning = "warning",
        /// Nothing to do.
        Notice = "notice",
    }
);

words!(
    /// Every code of SPEC §2.5.
    Code {
        /// The ID cell is blank.
        IdMissing = "id_missing",
        /// The ID cell holds something that can't be the ID that was typed.
        IdUnreadable = "id_unreadable",
        /// The row's cells are out of place.
        RowDamaged = "row_damaged",
        /// A required cell is blank.
        RequiredMissing = "required_missing",
        /// A required cell says "nothing" in words.
        PlaceholderInRequired = "placeholder_in_required",
        /// Not ten digits.
        NumberNotTenDigits = "number_not_10_digits",
        /// Area code or exchange starts with 0 or 1.
        NumberNotNanp = "number_not_nanp",
        /// Excel has rounded the number.
        NumberScientific = "number_scientific",
        /// A number without its type.
        NumberTypeMissing = "number_type_missing",
        /// A type that isn't one of the three.
        NumberTypeUnknown = "number_type_unknown",
        /// The cell shows an Excel error.
        CellError = "cell_error",
        /// A formula that was never calculated.
        FormulaWithoutValue = "formula_without_value",
        /// An invisible control character.
        ControlCharacter = "control_character",
        /// Rows of one ID contradict each other.
        RowsDisagree = "rows_disagree",
        /// The file may be cut off in this row.
        LastRowMaybeCut = "last_row_maybe_cut",
        /// An optional cell says "nothing" in words.
        PlaceholderInOptional = "placeholder_in_optional",
        /// Not an e-mail address.
        EmailInvalid = "email_invalid",
        /// Not high, normal or low.
        PriorityUnknown = "priority_unknown",
        /// A type, but no number.
        TypeWithoutNumber = "type_without_number",
        /// The same row twice.
        DuplicateRow = "duplicate_row",
        /// The same number twice on one contact.
        DuplicateNumber = "duplicate_number",
        /// The same number on two contacts.
        NumberShared = "number_shared",
        /// IDs that differ only in case or leading zeros.
        SimilarId = "similar_id",
        /// Neither ID, name nor number, but not blank.
        RowWithoutIdIgnored = "row_without_id_ignored",
        /// An optional column is missing.
        ColumnMissing = "column_missing",
        /// A column that means nothing to us.
        ColumnUnknown = "column_unknown",
        /// The encoding had to be guessed.
        EncodingGuessed = "encoding_guessed",
        /// The file does not end with a newline.
        NoFinalNewline = "no_final_newline",
        /// A line break or tab inside a cell.
        LineBreakInCell = "line_break_in_cell",
        /// Groups separated by semicolons.
        SemicolonInGroups = "semicolon_in_groups",
        /// A contact that a revert has left as it is.
        RevertRefused = "revert_refused",
        /// The template's example row.
        ExampleRow = "example_row",
    }
);

/// Longest offending value that an issue carries, characters.
pub const VALUE_LIMIT: usize = 200;

/// One finding in a file. Serialises as the JSON of SPEC §9 has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// What it means for the contact.
    pub severity: Severity,
    /// What it is.
    pub code: Code,
    /// The spreadsheet's own row number; none for the file as a whole.
    pub row: Option<u32>,
    /// The column's header.
    pub column: Option<String>,
    /// The cell as the spreadsheet program names it (`E17`).
    pub cell: Option<String>,
    /// The offending value, at most [`VALUE_LIMIT`] characters.
    pub value: Option<String>,
    /// The contact's ID, where known.
    pub external_id: Option<String>,
    /// The contact's name, where known.
    pub contact_name: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
    /// Of a nameless row: SHA-256 of its cells.
    #[serde(skip)]
    pub row_digest: Option<[u8; 32]>,
}

impl Issue {
    /// A finding with its message.
    #[must_use]
    pub fn new(finding: Finding, about: About<'_>) -> Self {
        let rule = finding.rule();
        Self {
            severity: rule.severity,
            code: rule.code,
            row: None,
            column: None,
            cell: None,
            value: None,
            external_id: None,
            contact_name: None,
            message: finding.message(about),
            row_digest: None,
        }
    }

    /// A finding about the file as a whole.
    #[must_use]
    pub fn of_file(finding: Finding) -> Self {
        Self::new(finding, About::default())
    }

    /// Place in the sheet: row, then column, counted from 0; what has no row comes first.
    #[must_use]
    pub fn place(&self) -> (Option<u32>, Option<usize>) {
        (self.row, self.cell.as_deref().and_then(column_of))
    }

    /// What makes two issues of two runs the same one: code, contact (or nameless row) and column.
    #[must_use]
    pub fn identity(&self) -> IssueIdentity {
        let subject = match (&self.external_id, self.row_digest) {
            (Some(id), _) => Subject::Contact(id.clone()),
            (None, Some(digest)) => Subject::Row(digest),
            (None, None) => Subject::File(self.value.clone()),
        };
        IssueIdentity {
            code: self.code,
            subject,
            column: self.column.clone(),
        }
    }
}

/// See [`Issue::identity`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IssueIdentity {
    code: Code,
    subject: Subject,
    column: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Contact(String),
    Row([u8; 32]),
    File(Option<String>),
}

/// The letters by which spreadsheet programs name a column, counted from 0 (`A`, …, `Z`, `AA`, …).
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

/// The column of a cell (`E17`), counted from 0.
#[must_use]
pub fn column_of(cell: &str) -> Option<usize> {
    let letters = cell.trim_end_matches(|c: char| c.is_ascii_digit());
    let place = letters.bytes().try_fold(0_usize, |place, letter| {
        let letter = usize::from(letter.checked_sub(b'A')?);
        (letter < 26).then_some(place * 26 + letter + 1)
    })?;
    place.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_spreadsheet_programs_do() {
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
            assert_eq!(column_of(&format!("{letters}17")), Some(index));
        }
    }
}
