//! The fixed words for what can be wrong or odd in a file.

use super::string_enum;

string_enum!(
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

string_enum!(
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
