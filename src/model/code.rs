//! Codes and severities of issues. They are stored and printed, so they never change.

use super::string_enum;

string_enum!(
    /// Effect of an issue on the contact.
    Severity {
        /// The contact is skipped; an existing contact is left unchanged.
        Error = "error",
        /// The contact is imported.
        Warning = "warning",
        /// Nothing to do.
        Notice = "notice",
    }
);

string_enum!(
    /// The kind of an issue (SPEC §2.5).
    Code {
        /// The ID cell is blank.
        IdMissing = "id_missing",
        /// The content of the ID cell cannot be the ID that was entered.
        IdUnreadable = "id_unreadable",
        /// The row's cells may be in the wrong columns.
        RowDamaged = "row_damaged",
        /// A required cell is blank.
        RequiredMissing = "required_missing",
        /// A required cell contains a placeholder such as `n/a`.
        PlaceholderInRequired = "placeholder_in_required",
        /// The phone number does not have ten digits.
        NumberNotTenDigits = "number_not_10_digits",
        /// The area code or exchange starts with 0 or 1.
        NumberNotNanp = "number_not_nanp",
        /// Excel changed the phone number to scientific notation.
        NumberScientific = "number_scientific",
        /// A number without its type.
        NumberTypeMissing = "number_type_missing",
        /// A number type other than mobile, landline or pager.
        NumberTypeUnknown = "number_type_unknown",
        /// The cell contains an error of the spreadsheet program, such as `#N/A`.
        CellError = "cell_error",
        /// A formula that was never calculated.
        FormulaWithoutValue = "formula_without_value",
        /// An invisible control character.
        ControlCharacter = "control_character",
        /// Rows with the same ID have different values.
        RowsDisagree = "rows_disagree",
        /// The file may be truncated in this row.
        LastRowMaybeCut = "last_row_maybe_cut",
        /// An optional cell contains a placeholder such as `n/a`.
        PlaceholderInOptional = "placeholder_in_optional",
        /// Not a valid email address.
        EmailInvalid = "email_invalid",
        /// A priority other than high, normal or low.
        PriorityUnknown = "priority_unknown",
        /// A number type without a number.
        TypeWithoutNumber = "type_without_number",
        /// A row that is identical to another one.
        DuplicateRow = "duplicate_row",
        /// The same number twice on one contact.
        DuplicateNumber = "duplicate_number",
        /// The same number on two contacts.
        NumberShared = "number_shared",
        /// IDs that differ only in case or leading zeros.
        SimilarId = "similar_id",
        /// A row without ID, name and number that is not blank.
        RowWithoutIdIgnored = "row_without_id_ignored",
        /// An optional column is missing.
        ColumnMissing = "column_missing",
        /// A column with an unknown title.
        ColumnUnknown = "column_unknown",
        /// The file does not declare its encoding.
        EncodingGuessed = "encoding_guessed",
        /// The file does not end with a line break.
        NoFinalNewline = "no_final_newline",
        /// A line break or tab in a cell.
        LineBreakInCell = "line_break_in_cell",
        /// A cell marked as text, such as `="0042"` or `'0042`.
        TextMarker = "text_marker",
        /// An invisible character inside an ID, name or group.
        InvisibleCharacter = "invisible_character",
        /// A semicolon in the groups, where a comma was probably meant.
        SemicolonInGroups = "semicolon_in_groups",
        /// A contact that a revert could not restore.
        RevertRefused = "revert_refused",
        /// The template's example row.
        ExampleRow = "example_row",
    }
);
