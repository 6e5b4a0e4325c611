//! The catalog of findings: code, severity and texts of every issue that a file or a revert can have. Messages and the
//! reference page (`docs/checks.md`) are made from it.
//!
//! `problem` and `fix` may contain the placeholders `{column}`, `{other}` and `{row}` (see [`MessageArgs`]).

use super::code::{Code, Severity};

/// An entry of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The finding that the entry describes.
    pub finding: Finding,
    /// Its code; several findings may share one.
    pub code: Code,
    /// Its effect on the contact.
    pub severity: Severity,
    /// When it is reported, for the reference page.
    pub condition: &'static str,
    /// First half of the message: what is wrong.
    pub problem: &'static str,
    /// Second half of the message: what to do, and what happens until then.
    pub fix: &'static str,
}

/// Values of the placeholders in a finding's texts. Those that the texts do not contain are ignored.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageArgs<'a> {
    /// `{column}`: title of the column.
    pub column: &'a str,
    /// `{other}`: the conflicting value, contact or number, or the suggested title.
    pub other: &'a str,
    /// `{row}`: number of the other row.
    pub row: u32,
}

macro_rules! catalog {
    ($($finding:ident = $code:ident, $severity:ident, $condition:literal, $problem:literal, $fix:literal;)+) => {
        /// Something that can be reported about a file or a revert.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the `condition` in the catalog describes each variant")]
        pub enum Finding { $($finding),+ }

        /// All entries, in the order of [`Finding`] and of the reference page.
        pub const CATALOG: &[Rule] = &[$(Rule {
            finding: Finding::$finding,
            code: Code::$code,
            severity: Severity::$severity,
            condition: $condition,
            problem: $problem,
            fix: $fix,
        }),+];
    };
}

catalog! {
    IdMissing = IdMissing, Error,
        "the ID is blank, but Name or Number is not",
        "this row cannot be matched to a contact, because its ID is blank",
        "enter the ID. No contacts are removed until this is fixed";
    IdPlaceholder = PlaceholderInRequired, Error,
        "the ID is a placeholder for an empty value (n/a, na, nan, null, nil, none, undefined, -, \\N, #N/A)",
        "this row cannot be matched to a contact, because its ID is a placeholder such as n/a",
        "enter the ID. No contacts are removed until this is fixed";
    IdRounded = IdUnreadable, Error,
        "the ID is a number with more than 15 digits, or text such as 6.04E+09",
        "this row cannot be matched to a contact, because Excel rounded its ID",
        "format the column as Text and enter the ID again. No contacts are removed until this is fixed";
    IdControlCharacter = IdUnreadable, Error,
        "the ID contains an invisible control character",
        "this row cannot be matched to a contact, because its ID contains an invisible control character",
        "type the ID again. No contacts are removed until this is fixed";
    IdCellError = IdUnreadable, Error,
        "the ID cell shows #N/A, #REF! or another error of the spreadsheet program",
        "this row cannot be matched to a contact, because its ID shows a spreadsheet error",
        "fix the formula or type the ID. No contacts are removed until this is fixed";
    IdFormulaWithoutValue = IdUnreadable, Error,
        "the ID cell contains a formula that was never calculated",
        "this row cannot be matched to a contact, because its ID is a formula without a calculated value",
        "open the workbook in the spreadsheet program and save it. No contacts are removed until this is fixed";
    RowSurplusCells = RowDamaged, Error,
        "the row has more cells than the header, and the extra cells are not blank",
        "this row has more cells than the header, so its values may be in the wrong columns",
        "correct the row in the spreadsheet and export the file again. No contacts are removed until this is fixed";
    RowShifted = RowDamaged, Error,
        "the row has more or fewer cells than the header, and its phone number is in a column next to Number",
        "this row has more or fewer cells than the header, and its values are in the wrong columns",
        "correct the row in the spreadsheet and export the file again. No contacts are removed until this is fixed";
    RowSplit = RowDamaged, Error,
        "two adjacent rows together have the cells of one row, and at least one of them lacks a required value",
        "this row and the one before or after it look like a single row split by a line break",
        "join the two rows, or clear the one that is not a contact. No contacts are removed until this is fixed";
    RowPartialLineEnding = RowDamaged, Error,
        "a row ends with only CR or only LF where all rows around it end with CR LF; also reported on the next row",
        "this row or the row above has an incomplete line ending, so text may be missing or wrong",
        "export the file again from the spreadsheet program. No contacts are removed until this is fixed";
    RowStrayQuote = RowDamaged, Error,
        "a quotation mark is inside a cell that does not start with one, or is the only text of a cell in a row with too few cells",
        "this row has a misplaced quotation mark, so it is unclear where its cells end",
        "export the file again from the spreadsheet program. No contacts are removed until this is fixed";
    RowTextAfterQuote = RowDamaged, Error,
        "there is text between a closing quotation mark and the next delimiter",
        "this row has text after a closing quotation mark, so it is unclear where its cells end",
        "export the file again from the spreadsheet program. No contacts are removed until this is fixed";
    RowInQuotedCell = RowDamaged, Error,
        "a quoted cell contains text that looks like a row; also reported on the rows inside that cell",
        "this row is part of a quoted cell that seems to contain other rows, probably because of a missing or extra quotation mark",
        "export the file again from the spreadsheet program. No contacts are removed until this is fixed";
    RowOtherDelimiter = RowDamaged, Error,
        "the row is a single cell that another delimiter would split into a complete row",
        "this row separates its cells with another character than the other rows, for example semicolons instead of commas",
        "export the file again from the spreadsheet program. No contacts are removed until this is fixed";
    ContactRowDamaged = RowDamaged, Error,
        "a contact has several rows, and one of them is damaged",
        "row {row}, which has the same ID, is damaged, so information about this contact may be missing",
        "correct that row";
    RequiredMissing = RequiredMissing, Error,
        "Name, Number or Groups is blank in all rows of the contact",
        "{column} is required but blank",
        "enter a value";
    RequiredPlaceholder = PlaceholderInRequired, Error,
        "a required cell contains a placeholder for an empty value (n/a, na, nan, null, nil, none, undefined, -, \\N, #N/A)",
        "{column} is required but contains a placeholder such as n/a",
        "enter a value";
    NumberNotTenDigits = NumberNotTenDigits, Error,
        "the number does not have exactly 10 digits after punctuation, spaces and a leading +1 or 1 are removed",
        "phone number does not have 10 digits",
        "enter the area code and local number without an extension";
    NumberNotNanp = NumberNotNanp, Error,
        "the area code or the three digits after it start with 0 or 1",
        "phone number cannot exist, because its area code or the three digits after it start with 0 or 1",
        "correct the number";
    NumberScientific = NumberScientific, Error,
        "the number has more than 15 digits or is text such as 6.04E+09",
        "Excel changed the phone number to scientific notation",
        "format the column as Text and enter the number again";
    NumberTypeMissing = NumberTypeMissing, Error,
        "a number is filled in, but its type is blank",
        "{column} of phone number {other} is blank",
        "enter mobile, landline or pager";
    NumberTypeUnknown = NumberTypeUnknown, Error,
        "the type is not mobile, landline or pager",
        "{column} is not one of the allowed values",
        "enter mobile, landline or pager";
    CellError = CellError, Error,
        "a required cell shows #N/A, #REF! or another error of the spreadsheet program",
        "{column} shows a spreadsheet error",
        "fix the formula or type the value";
    CellErrorOptional = CellError, Warning,
        "an optional cell shows #N/A, #REF! or another error of the spreadsheet program",
        "{column} shows a spreadsheet error",
        "fix the formula or type the value. Until then the stored value is kept";
    FormulaWithoutValue = FormulaWithoutValue, Error,
        "a required cell contains a formula that was never calculated",
        "{column} contains a formula without a calculated value",
        "open the workbook in the spreadsheet program and save it";
    FormulaWithoutValueOptional = FormulaWithoutValue, Warning,
        "an optional cell contains a formula that was never calculated",
        "{column} contains a formula without a calculated value",
        "open the workbook in the spreadsheet program and save it. Until then the stored value is kept";
    ControlCharacter = ControlCharacter, Error,
        "a cell contains an invisible control character other than a tab or line break",
        "{column} contains an invisible control character",
        "type the value again";
    RowsDisagree = RowsDisagree, Error,
        "rows with the same ID have different values in a column other than the number columns",
        "{column} is `{other}` in row {row}, which has the same ID, but different in this row",
        "enter the same value in both rows, or give each person a different ID";
    LastRowMaybeCut = LastRowMaybeCut, Error,
        "the file does not end with a line break, but the last applied file did",
        "the file may be truncated in this row, because it does not end with a line break as the last imported file did",
        "export the file again, or add a line break after its last row. Until then this contact is skipped and no contacts are removed";
    OptionalPlaceholder = PlaceholderInOptional, Warning,
        "an optional cell contains a placeholder for an empty value (n/a, na, nan, null, nil, none, undefined, -, \\N, #N/A)",
        "{column} contains a placeholder such as n/a, which was read as blank",
        "clear the cell";
    EmailInvalid = EmailInvalid, Warning,
        "the Email Address is not a valid email address",
        "email address is not valid",
        "correct it. Until then the stored value is kept";
    PriorityUnknown = PriorityUnknown, Warning,
        "the Notification Priority is not High, Normal or Low",
        "Notification Priority is not one of the allowed values",
        "enter High, Normal or Low. Until then the stored value is kept";
    TypeWithoutNumber = TypeWithoutNumber, Warning,
        "a type is filled in, but its number is blank (and the contact has another number)",
        "{column} is filled in, but its number is blank",
        "enter the number or clear the type";
    DuplicateRow = DuplicateRow, Warning,
        "two rows are identical in all cells",
        "this row is identical to row {row} and was ignored",
        "delete one of the two rows";
    DuplicateNumber = DuplicateNumber, Warning,
        "a contact has the same number twice",
        "this contact has the same phone number twice, and it was stored once",
        "delete one of the two";
    NumberShared = NumberShared, Warning,
        "two contacts have the same number",
        "the contact with ID `{other}` has the same phone number",
        "check that both contacts are correct";
    SimilarId = SimilarId, Warning,
        "two IDs differ only in case, leading zeros or invisible characters",
        "ID differs from `{other}` only in upper and lower case, leading zeros or invisible characters",
        "check that these are two different contacts";
    IdBareExponent = SimilarId, Warning,
        "the ID looks like a number with an exponent, such as 3e3",
        "ID looks like a number that a spreadsheet program shortened",
        "check that it is the ID that was entered, and format the column as text";
    RowIgnored = RowWithoutIdIgnored, Warning,
        "the row has no ID, Name or Number, but is not blank",
        "this row has no ID, Name or Number and was ignored",
        "complete the row or clear it";
    ColumnMissing = ColumnMissing, Warning,
        "an optional column is missing",
        "the column `{column}` is missing, so its stored values are kept",
        "add the column to change them";
    ColumnUnknown = ColumnUnknown, Warning,
        "a column title is unknown",
        "the column `{column}` is unknown and was ignored",
        "rename or delete it";
    ColumnMisspelled = ColumnUnknown, Warning,
        "a column title is unknown but similar to a known one",
        "the column `{column}` is unknown and was ignored",
        "did you mean `{other}`? If so, rename the column";
    ColumnUntitled = ColumnUnknown, Warning,
        "a column without a title contains values",
        "the column {column} has no title, so its values were ignored",
        "add a title or clear the column";
    EncodingGuessed = EncodingGuessed, Warning,
        "the file is not UTF-8 and has no byte order mark, so it was read as Windows-1252",
        "letters with accents may be wrong, because the file does not declare its encoding and was read as Windows-1252",
        "check them, or save the file as \"CSV UTF-8\"";
    NoFinalNewline = NoFinalNewline, Warning,
        "the file does not end with a line break",
        "the file does not end with a line break, so it may be truncated",
        "check that its last row is complete";
    LineBreak = LineBreakInCell, Warning,
        "a cell contains a line break or tab",
        "{column} contains a line break or tab, which was read as a space",
        "replace it with a space";
    TextMarker = TextMarker, Warning,
        "a cell is marked as text for spreadsheet programs: `=\"0042\"` or `'0042`",
        "{column} is marked as text with a formula or an apostrophe, and was read without the mark",
        "enter the plain value, and format the column as text";
    InvisibleCharacter = InvisibleCharacter, Warning,
        "ID, Name or Groups contains an invisible character",
        "{column} contains an invisible character",
        "delete the value and type it again";
    SemicolonInGroups = SemicolonInGroups, Warning,
        "Groups contains a semicolon",
        "Groups contains a semicolon, which was read as part of a group name",
        "separate groups with commas";
    RevertChangedSince = RevertRefused, Error,
        "a run is reverted (`runs revert`), but a later run or another program changed the contact",
        "this contact was changed after the run, so it was left unchanged",
        "check the contact. The operator can restore it anyway by reverting the run again with --force";
    RevertPurged = RevertRefused, Error,
        "a run is reverted, but the contact has been purged",
        "this contact was deleted permanently (purged), so it cannot be restored",
        "add it to the spreadsheet if it is still needed";
    RevertHistoryDeleted = RevertRefused, Error,
        "a run is reverted, but the record of what it changed in the contact has been deleted",
        "the record of what the run changed in this contact was deleted, so it was left unchanged",
        "correct the contact in the spreadsheet";
    RevertIdTaken = RevertRefused, Error,
        "a run is reverted, but another contact has the ID that this one had before",
        "another contact has the ID that this contact had before the run, so it was left unchanged",
        "check both contacts and correct the spreadsheet";
    ExampleRow = ExampleRow, Notice,
        "row 2 of the template was left unchanged",
        "this is the example row of the template and was skipped",
        "you can delete it";
}

impl Finding {
    /// The finding's entry in the catalog.
    #[must_use]
    pub fn rule(self) -> &'static Rule {
        // The macro generates both in the same order.
        &CATALOG[self as usize]
    }

    /// The message: what is wrong and what to do.
    #[must_use]
    pub fn message(self, args: MessageArgs<'_>) -> String {
        let rule = self.rule();
        let mut message = String::with_capacity(rule.problem.len() + rule.fix.len() + 32);
        expand(rule.problem, args, &mut message);
        message.push_str("; ");
        expand(rule.fix, args, &mut message);
        message
    }
}

fn expand(template: &str, args: MessageArgs<'_>, message: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        message.push_str(before);
        match name {
            "column" => message.push_str(args.column),
            "other" => message.push_str(args.other),
            _ => message.push_str(&args.row.to_string()),
        }
        rest = after;
    }
    message.push_str(rest);
}

/// The reference page (`docs/checks.md`), in Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Checks\n\n\
         This page lists every check with its message. It is generated from `src/model/catalog.rs` by `make docs`.\n\n\
         | severity | effect |\n\
         | --- | --- |\n\
         | error | The contact is skipped. An existing contact is left unchanged and is never removed because of an error. \
         A new one is not added. All other contacts are imported. |\n\
         | warning | The contact is imported. |\n\
         | notice | Nothing to do. |\n\n\
         If a file cannot be read at all, the import fails and the message gives the reason. Those failures are not listed \
         here.\n\n\
         | code | severity | condition | message | what to do |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    let placeholder = |text: &str| {
        text.replace("{column}", "*column*")
            .replace("{other}", "*other*")
            .replace("{row}", "*row*")
            .replace('|', "\\|")
    };
    for rule in CATALOG {
        for cell in [
            format!("| `{}` ", rule.code),
            format!("| {} ", rule.severity),
            format!("| {} ", rule.condition),
            format!("| {} ", placeholder(rule.problem)),
            format!("| {} |\n", placeholder(rule.fix)),
        ] {
            page.push_str(&cell);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalog_covers_every_code_in_order() {
        for code in Code::ALL {
            assert!(
                CATALOG.iter().any(|rule| rule.code == *code),
                "`{code}` has no entry"
            );
        }
        for rule in CATALOG {
            assert_eq!(rule.finding.rule(), rule);
        }
    }

    #[test]
    fn reference_page_matches_catalog() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/checks.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert!(
            page == reference_page(),
            "docs/checks.md is out of date; run `make docs`"
        );
    }

    /// SPEC §2.5: a code always has the same severity, except for two that are warnings on optional columns.
    #[test]
    fn code_severity_differs_only_for_optional_columns() {
        for rule in CATALOG {
            let optional = matches!(
                rule.finding,
                Finding::CellErrorOptional | Finding::FormulaWithoutValueOptional
            );
            let first = CATALOG
                .iter()
                .find(|other| other.code == rule.code)
                .unwrap();
            assert_eq!(
                rule.severity,
                if optional {
                    Severity::Warning
                } else {
                    first.severity
                },
                "{rule:?}"
            );
        }
    }

    #[test]
    fn every_message_states_problem_and_fix() {
        let args = MessageArgs {
            column: "Title",
            other: "y",
            row: 7,
        };
        for rule in CATALOG {
            let message = rule.finding.message(args);
            assert!(!message.contains(['{', '}']), "{message}");
            assert!(rule.problem.len() > 20 && !rule.fix.is_empty() && !rule.condition.is_empty());
            // Mails split a message at its last semicolon.
            assert!(!rule.fix.contains("; "), "{message}");
            for text in [rule.condition, rule.problem, rule.fix] {
                assert!(!text.ends_with('.'), "{text}");
            }
        }
        assert_eq!(
            Finding::RowsDisagree.message(args),
            "Title is `y` in row 7, which has the same ID, but different in this row; enter the same value in both rows, or give each person a different ID"
        );
    }
}
