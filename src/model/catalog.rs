//! Everything that can be found wrong or odd in a sheet, in one table: the single source of messages, of the reference
//! page (`docs/checks.md`) and of tests.
//!
//! In `problem` and `fix`, `{column}`, `{other}` and `{row}` stand for what a finding is about.

use super::code::{Code, Severity};

/// A line of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Which finding it is.
    pub finding: Finding,
    /// The fixed word for it; several findings may share one.
    pub code: Code,
    /// What it means for the contact.
    pub severity: Severity,
    /// In which case it is found.
    pub condition: &'static str,
    /// What is wrong.
    pub problem: &'static str,
    /// What to do, and what happens until then.
    pub fix: &'static str,
}

/// What a message is about; what a finding's text does not name stays unused.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageArgs<'a> {
    /// Title of the column.
    pub column: &'a str,
    /// The other one that it clashes with, or what was meant.
    pub other: &'a str,
    /// The other row.
    pub row: u32,
}

macro_rules! catalogue {
    ($($finding:ident = $code:ident, $severity:ident, $condition:literal, $problem:literal, $fix:literal;)+) => {
        /// Something that can be found in a sheet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "`when` in the catalogue says it")]
        pub enum Finding { $($finding),+ }

        /// The whole catalogue, in the order of the reference page.
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

catalogue! {
    IdMissing = IdMissing, Error,
        "the ID is blank, but Name or Number is not",
        "the ID is blank, so it can't be known whose row this is",
        "enter the ID. Until then nobody is removed";
    IdPlaceholder = PlaceholderInRequired, Error,
        "the ID says \"nothing\" in words (n/a, na, null, nil, none, -, #N/A)",
        "the ID says \"nothing\" in words, so it can't be known whose row this is",
        "enter the ID. Until then nobody is removed";
    IdRounded = IdUnreadable, Error,
        "the ID is a number of more than 15 digits, or text like 6.04E+09",
        "Excel has rounded this ID, so it can't be known whose row this is",
        "format the column as Text and enter the ID anew. Until then nobody is removed";
    IdControlCharacter = IdUnreadable, Error,
        "an invisible control character stands in the ID",
        "the ID contains an invisible control character, so it can't be known whose row this is",
        "type it anew. Until then nobody is removed";
    IdCellError = IdUnreadable, Error,
        "the ID cell shows #N/A, #REF! or another error of the spreadsheet program",
        "the ID cell shows an error of the spreadsheet program",
        "mend its formula or type the ID. Until then nobody is removed";
    IdFormulaWithoutValue = IdUnreadable, Error,
        "the ID cell holds a formula that was never calculated",
        "the ID cell holds a formula without a value",
        "open and save the workbook in the spreadsheet program. Until then nobody is removed";
    RowSurplusCells = RowDamaged, Error,
        "the row has more cells than the header, and they are not blank",
        "the row has more cells than the header, so it can't be known which belongs where",
        "mend it in the spreadsheet and export it again. Until then nobody is removed";
    RowShifted = RowDamaged, Error,
        "the row has another count of cells than the header, and its number stands beside the Number column",
        "the row has another count of cells than the header and they have slid out of their columns",
        "mend it in the spreadsheet and export it again. Until then nobody is removed";
    RowSplit = RowDamaged, Error,
        "two neighbouring rows have together the cells of one, and at least one of them lacks what every contact needs",
        "this row and its neighbour look like one row torn apart by a line break",
        "join them again, or clear the row that is none. Until then nobody is removed";
    RowPartialLineEnd = RowDamaged, Error,
        "a row alone among its neighbours ends with half a line end: CR or LF, where all others have both; it and the next row are concerned",
        "this row or the one above it lacks a part of its line end, and what stands in its place can't be told",
        "export the file again from the spreadsheet program. Until then nobody is removed";
    RowStrayQuote = RowDamaged, Error,
        "a quotation mark stands inside a cell that does not begin with one, or is all of a cell in a row that lacks cells",
        "the row has a quotation mark where none may stand, so it can't be known where its cells end",
        "export the file again from the spreadsheet program. Until then nobody is removed";
    RowTextAfterQuote = RowDamaged, Error,
        "text stands between a closing quotation mark and the next delimiter",
        "the row has text behind a closing quotation mark, so it can't be known where its cells end",
        "export the file again from the spreadsheet program. Until then nobody is removed";
    RowInQuotedCell = RowDamaged, Error,
        "a quoted cell contains what looks like a row, or the row is one of those that such a cell contains",
        "the row is part of a quoted cell that seems to contain other rows: a quotation mark is missing or too many",
        "export the file again from the spreadsheet program. Until then nobody is removed";
    RowOtherDelimiter = RowDamaged, Error,
        "the row is one cell that another delimiter would split into a whole row",
        "the row is separated by another character than the rest of the file",
        "export the file again from the spreadsheet program. Until then nobody is removed";
    ContactRowDamaged = RowDamaged, Error,
        "a contact has several rows, and one of them is damaged",
        "row {row}, which has the same ID, is damaged, so it can't be known what it says of this contact",
        "mend that row";
    RequiredMissing = RequiredMissing, Error,
        "Name, Number or Groups is blank in all rows of the contact",
        "{column} is blank, but is required",
        "enter it";
    RequiredPlaceholder = PlaceholderInRequired, Error,
        "a required cell says \"nothing\" in words (n/a, na, null, nil, none, -, #N/A)",
        "{column} says \"nothing\" in words, but is required",
        "enter it";
    NumberNotTenDigits = NumberNotTenDigits, Error,
        "without punctuation, spaces and a leading +1 or 1, ten digits do not remain",
        "this is not a number of 10 digits",
        "enter area code and local number, without an extension";
    NumberNotNanp = NumberNotNanp, Error,
        "area code or exchange begins with 0 or 1",
        "no such number exists, for area code and exchange begin with 2 to 9",
        "correct it";
    NumberScientific = NumberScientific, Error,
        "the number has more than 15 digits or reads like 6.04E+09",
        "Excel has turned this number into scientific notation",
        "format the column as Text and enter the number anew";
    NumberTypeMissing = NumberTypeMissing, Error,
        "there is a number, but its type is blank",
        "the number {other} has no {column}",
        "write mobile, landline or pager";
    NumberTypeUnknown = NumberTypeUnknown, Error,
        "the type is none of mobile, landline and pager",
        "this {column} is not known",
        "write mobile, landline or pager";
    CellError = CellError, Error,
        "a required cell shows #N/A, #REF! or another error of the spreadsheet program",
        "{column} shows an error of the spreadsheet program",
        "mend its formula or type the value";
    CellErrorOptional = CellError, Warning,
        "an optional cell shows #N/A, #REF! or another error of the spreadsheet program",
        "{column} shows an error of the spreadsheet program",
        "mend its formula or type the value. What is stored stays";
    FormulaWithoutValue = FormulaWithoutValue, Error,
        "a required cell holds a formula that was never calculated",
        "{column} holds a formula without a value",
        "open and save the workbook in the spreadsheet program";
    FormulaWithoutValueOptional = FormulaWithoutValue, Warning,
        "an optional cell holds a formula that was never calculated",
        "{column} holds a formula without a value",
        "open and save the workbook in the spreadsheet program. What is stored stays";
    ControlCharacter = ControlCharacter, Error,
        "an invisible control character stands inside a cell (tabs and line breaks are none)",
        "{column} contains an invisible control character",
        "type the cell anew";
    RowsDisagree = RowsDisagree, Error,
        "rows with one ID have different values in a column other than those of numbers",
        "{column} differs from `{other}` in row {row}, which has the same ID",
        "make them agree, or give each person an ID of their own";
    LastRowMaybeCut = LastRowMaybeCut, Error,
        "the file does not end with a line break, but the last applied one did",
        "the file does not end with a line break, but the last one did, so it may be cut off in this row",
        "export the file again, or add a line break at its end. Until then the contact stays as it is and nobody is removed";
    OptionalPlaceholder = PlaceholderInOptional, Warning,
        "an optional cell says \"nothing\" in words (n/a, na, null, nil, none, -, #N/A)",
        "{column} says \"nothing\" in words and was read as blank",
        "leave the cell empty";
    EmailInvalid = EmailInvalid, Warning,
        "the Email Address is none",
        "this is not an e-mail address",
        "correct it. What is stored stays";
    PriorityUnknown = PriorityUnknown, Warning,
        "the Notification Priority is none of High, Normal and Low",
        "this Notification Priority is not known",
        "write High, Normal or Low. What is stored stays";
    TypeWithoutNumber = TypeWithoutNumber, Warning,
        "there is a type, but its number is blank (and the contact has another number)",
        "{column} is filled, but the number is blank",
        "enter the number or clear the type";
    DuplicateRow = DuplicateRow, Warning,
        "two rows are the same in all cells",
        "this row is the same as row {row} and was read once",
        "delete one";
    DuplicateNumber = DuplicateNumber, Warning,
        "a contact has the same number twice",
        "this number stands twice on the contact and was kept once",
        "delete one";
    NumberShared = NumberShared, Warning,
        "two contacts have the same number",
        "the contact with the ID `{other}` has the same number",
        "check that both are right";
    SimilarId = SimilarId, Warning,
        "two IDs differ only in case or leading zeros",
        "this ID differs from `{other}` only in case or leading zeros",
        "check that these are two people";
    RowIgnored = RowWithoutIdIgnored, Warning,
        "the row has neither ID, Name nor Number, but is not blank",
        "the row has neither ID, Name nor Number and was ignored",
        "fill it in or clear it";
    ColumnMissing = ColumnMissing, Warning,
        "an optional column is missing",
        "the column `{column}` is missing, so what is stored for it stays as it is",
        "add the column to change it";
    ColumnUnknown = ColumnUnknown, Warning,
        "a column has a title that is none of ours",
        "the column `{column}` is not known and was ignored",
        "rename or delete it";
    ColumnMisspelled = ColumnUnknown, Warning,
        "a column has a title that is nearly one of ours",
        "the column `{column}` is not known and was ignored",
        "did you mean `{other}`?";
    ColumnUntitled = ColumnUnknown, Warning,
        "cells are filled in a column without a title",
        "the column {column} has no title, so what is in it was ignored",
        "give it a title or clear it";
    EncodingGuessed = EncodingGuessed, Warning,
        "the text is not UTF-8 and has no mark, so it was read as Windows-1252",
        "the file's encoding is not marked and was taken for Windows-1252",
        "look at the accents, and save as \"CSV UTF-8\" to be sure";
    NoFinalNewline = NoFinalNewline, Warning,
        "the file does not end with a line break",
        "the file does not end with a line break, as a file that was cut off does",
        "check that its last row is whole";
    LineBreak = LineBreakInCell, Warning,
        "a line break or tab stands inside a cell",
        "a line break or tab inside {column} was read as a space",
        "replace it with a space";
    SemicolonInGroups = SemicolonInGroups, Warning,
        "a semicolon stands in Groups",
        "Groups contains a semicolon, which was taken as part of the name",
        "separate groups with commas";
    RevertChangedSince = RevertRefused, Error,
        "a run is reverted (`runs revert`), and the contact was changed after it by another run or program",
        "the contact was changed after the run, so it was left as it is",
        "look at it, and revert with --force to put it back all the same";
    RevertPurged = RevertRefused, Error,
        "a run is reverted, and the contact has been purged",
        "the contact was removed long ago and has been purged, so it can't be put back",
        "add it to the spreadsheet";
    RevertHistoryDeleted = RevertRefused, Error,
        "a run is reverted, and what it did to the contact is no longer kept",
        "what the run did to the contact is no longer kept, so it was left as it is",
        "mend it in the spreadsheet";
    RevertIdTaken = RevertRefused, Error,
        "a run is reverted, and another contact has the ID that this one had before",
        "another contact has the ID that this one had before the run, so it was left as it is",
        "look at both, and mend the spreadsheet";
    ExampleRow = ExampleRow, Notice,
        "row 2 of the template was left in unchanged",
        "this is the example row of the template and was skipped",
        "delete it when you like";
}

impl Finding {
    /// Its line in the catalogue.
    #[must_use]
    pub fn rule(self) -> &'static Rule {
        // The table is made in the order of the enum.
        &CATALOG[self as usize]
    }

    /// What is wrong and what to do, for people.
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

/// The reference page, in Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# What is checked\n\n\
         Made from `src/model/catalogue.rs` by `make docs`; a test fails where the two differ. A file that can't be read\n\
         at all is refused as a whole, with its reason; what is below is found in files that can.\n\n\
         An **error** means that the contact is not imported: stored, it stays exactly as it is and is never removed for being\n\
         in error; new, it is not added. All others go on. A **warning** means imported. A **notice** needs nothing.\n\n\
         | code | severity | found when | what it says | what to do |\n\
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
                "`{code}` has no line"
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
            "`make docs` brings docs/checks.md up to date"
        );
    }

    /// SPEC §2.5: the severity of a code is the same everywhere, but for two that are warnings on optional columns.
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
            for text in [rule.condition, rule.problem, rule.fix] {
                assert!(!text.ends_with('.'), "{text}");
            }
        }
        assert_eq!(
            Finding::RowsDisagree.message(args),
            "Title differs from `y` in row 7, which has the same ID; make them agree, or give each person an ID of their own"
        );
    }
}
