//! Reads the cells of one row and notes what is wrong with them.

use super::EXAMPLE_ROW;
use super::cells::{Reading, is_email, is_scientific};
use crate::model::contact::{
    ExternalId, FileNumber, NumberType, PhoneNumber, PhoneNumberError, Priority, Said,
};
use crate::model::digest::TextDigest;
use crate::model::group;
use crate::model::issue::{Code, Issue, Severity, VALUE_LIMIT, column_letters};
use crate::model::table::{CellValue, Damage, Field, Header, NumberColumns, SheetRow};
use crate::model::text;

/// Whose row it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowIdentity {
    /// This contact's.
    Contact(ExternalId),
    /// Somebody's, but nobody can know whose.
    Nameless,
    /// Nobody's.
    Ignored,
}

/// A row being read.
pub(super) struct RowReader<'a> {
    header: &'a Header,
    row: &'a SheetRow,
    issues: Vec<Issue>,
}

const BLANK: &CellValue = &CellValue::Text(String::new());

impl<'a> RowReader<'a> {
    pub(super) fn new(header: &'a Header, row: &'a SheetRow) -> Self {
        Self {
            header,
            row,
            issues: Vec::new(),
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.row.number
    }

    pub(super) fn into_issues(self) -> Vec<Issue> {
        self.issues
    }

    /// Of a nameless row only what makes it so counts; each such issue carries the row's digest and its name.
    pub(super) fn into_nameless_issues(self) -> Vec<Issue> {
        let (digest, name) = (self.digest(), self.plain(Field::Name));
        let errors = self
            .issues
            .into_iter()
            .filter(|issue| issue.severity == Severity::Error);
        errors
            .map(|issue| Issue {
                row_digest: Some(digest),
                contact_name: (!name.is_empty()).then(|| text::shorten(&name, VALUE_LIMIT)),
                ..issue
            })
            .collect()
    }

    /// SHA-256 of the row's cells: the same for the same content, whatever the row's number.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = TextDigest::default();
        let filled = self.row.cells.iter().rposition(|cell| !cell.is_blank());
        for cell in &self.row.cells[..filled.map_or(0, |last| last + 1)] {
            digest.push(Some(&text::clean(cell.shown()).text));
        }
        digest.finish()
    }

    fn cell(&self, place: usize) -> &'a CellValue {
        self.row.cells.get(place).unwrap_or(BLANK)
    }

    fn plain(&self, field: Field) -> String {
        self.header.place(field).map_or_else(String::new, |place| {
            text::clean(self.cell(place).shown()).text.into_owned()
        })
    }

    pub(super) fn is_example(&self) -> bool {
        self.plain(Field::Id) == EXAMPLE_ROW[0]
            && Field::ALL.iter().zip(EXAMPLE_ROW).all(|(field, example)| {
                self.header.place(*field).is_none() || self.plain(*field) == example
            })
    }

    /// Notes an issue on a cell. `ordinal` is that of a numbered column, else 1.
    pub(super) fn issue(
        &mut self,
        field: Field,
        ordinal: u32,
        code: Code,
        value: &str,
        message: impl Into<String>,
    ) {
        self.issue_of(field, ordinal, code, code.severity(), value, message);
    }

    fn issue_of(
        &mut self,
        field: Field,
        ordinal: u32,
        code: Code,
        severity: Severity,
        value: &str,
        message: impl Into<String>,
    ) {
        let place = match self
            .header
            .numbers
            .iter()
            .find(|columns| columns.ordinal == ordinal)
        {
            Some(columns) if field == Field::Number => Some(columns.number),
            Some(columns) if field == Field::NumberType => Some(columns.number_type),
            Some(columns) if field == Field::NumberDescription => columns.description,
            _ => self.header.place(field),
        };
        self.issues.push(Issue {
            severity,
            row: Some(self.row.number),
            column: Some(column_name(field, ordinal)),
            cell: place.map(|place| format!("{}{}", column_letters(place), self.row.number)),
            value: (!value.is_empty()).then(|| text::shorten(value, VALUE_LIMIT)),
            ..Issue::of_file(code, message)
        });
    }

    /// Whose row this is; notes what makes it nameless.
    pub(super) fn identity(&mut self) -> RowIdentity {
        if let Some(damage) = self.row.damage {
            let why = match damage {
                Damage::SurplusCells => {
                    "has more cells than the header, so it can't be known which belongs where"
                }
                Damage::TextAfterQuote => {
                    "has text behind a closing quotation mark, so it can't be known where its cells end"
                }
                Damage::SwallowedRecord => {
                    "has a quoted cell that seems to contain another row: a quotation mark is missing or too many"
                }
            };
            let message = format!(
                "the row {why}; mend it in the spreadsheet and export it again. Nobody was removed by this import"
            );
            let id = self.plain(Field::Id);
            self.issue(Field::Id, 1, Code::RowDamaged, &id, message);
            return RowIdentity::Nameless;
        }
        let Some(place) = self.header.place(Field::Id) else {
            return RowIdentity::Ignored;
        };
        let cell = self.cell(place);
        let (code, message) = match cell {
            CellValue::Text(raw) => {
                let cleaned = text::clean(raw);
                if cleaned.text.is_empty() {
                    if self.plain(Field::Name).is_empty() && !self.has_number() {
                        let message = "the row has neither ID, Name nor Number and was ignored; fill it in or clear it";
                        self.issue(Field::Id, 1, Code::RowWithoutIdIgnored, "", message);
                        return RowIdentity::Ignored;
                    }
                    (
                        Code::IdMissing,
                        "the ID is blank, so it can't be known whose row this is; enter the ID. Nobody was removed by this import",
                    )
                } else if cleaned.has_control {
                    (
                        Code::IdUnreadable,
                        "the ID contains an invisible control character; type it anew. Nobody was removed by this import",
                    )
                } else if is_scientific(&cleaned.text) {
                    (Code::IdUnreadable, EXCEL_ROUNDED_ID)
                } else if text::is_placeholder(&cleaned.text) {
                    (
                        Code::PlaceholderInRequired,
                        "the ID says \"nothing\" in words, so it can't be known whose row this is; enter the ID. Nobody was removed by this import",
                    )
                } else {
                    if cleaned.had_line_break {
                        self.line_break(Field::Id, 1, &cleaned.text);
                    }
                    return ExternalId::parse(&cleaned.text)
                        .map_or(RowIdentity::Ignored, RowIdentity::Contact);
                }
            }
            CellValue::Rounded(_) => (Code::IdUnreadable, EXCEL_ROUNDED_ID),
            CellValue::Error(_) => (
                Code::IdUnreadable,
                "the ID cell shows an error of the spreadsheet program; mend its formula or type the ID. Nobody was removed by this import",
            ),
            CellValue::FormulaWithoutValue => (
                Code::IdUnreadable,
                "the ID cell holds a formula without a value; open and save the workbook in the spreadsheet program. Nobody was removed by this import",
            ),
        };
        let shown = cell.shown().to_owned();
        self.issue(Field::Id, 1, code, &shown, message);
        RowIdentity::Nameless
    }

    fn has_number(&self) -> bool {
        self.header
            .numbers
            .iter()
            .any(|columns| !self.cell(columns.number).is_blank())
    }

    fn line_break(&mut self, field: Field, ordinal: u32, value: &str) {
        let message = format!(
            "a line break or tab inside {} was read as a space",
            column_name(field, ordinal)
        );
        self.issue(field, ordinal, Code::LineBreakInCell, value, message);
    }

    /// The cleaned text of a cell; notes errors, control characters and placeholders.
    fn text(&mut self, field: Field, ordinal: u32, place: usize) -> Reading<String> {
        let required = field.is_required() && ordinal == 1;
        let column = column_name(field, ordinal);
        let severity = if required {
            Severity::Error
        } else {
            Severity::Warning
        };
        let kept = if required {
            ""
        } else {
            "; what is stored stays"
        };
        let raw = match self.cell(place) {
            CellValue::Text(raw) | CellValue::Rounded(raw) => raw,
            CellValue::Error(shown) => {
                let message = format!(
                    "{column} shows an error of the spreadsheet program; mend its formula or type the value{kept}"
                );
                self.issue_of(field, ordinal, Code::CellError, severity, shown, message);
                return Reading::Bad;
            }
            CellValue::FormulaWithoutValue => {
                let message = format!(
                    "{column} holds a formula without a value; open and save the workbook in the spreadsheet program{kept}"
                );
                self.issue_of(
                    field,
                    ordinal,
                    Code::FormulaWithoutValue,
                    severity,
                    "",
                    message,
                );
                return Reading::Bad;
            }
        };
        let cleaned = text::clean(raw);
        if cleaned.text.is_empty() {
            return Reading::Blank;
        }
        if cleaned.has_control {
            let message =
                format!("{column} contains an invisible control character; type the cell anew");
            self.issue(
                field,
                ordinal,
                Code::ControlCharacter,
                &cleaned.text,
                message,
            );
            return Reading::Bad;
        }
        if cleaned.had_line_break {
            self.line_break(field, ordinal, &cleaned.text);
        }
        if text::is_placeholder(&cleaned.text) {
            return if required {
                let message =
                    format!("{column} says \"nothing\" in words, but is required; enter it");
                self.issue(
                    field,
                    ordinal,
                    Code::PlaceholderInRequired,
                    &cleaned.text,
                    message,
                );
                Reading::Bad
            } else {
                let message = format!(
                    "{column} says \"nothing\" in words and was read as blank; leave the cell empty"
                );
                self.issue(
                    field,
                    ordinal,
                    Code::PlaceholderInOptional,
                    &cleaned.text,
                    message,
                );
                Reading::Blank
            };
        }
        Reading::Value(cleaned.text.into_owned())
    }

    /// A text column; `None` where the sheet has no such column.
    pub(super) fn field(&mut self, field: Field) -> Option<Reading<String>> {
        let place = self.header.place(field)?;
        Some(self.text(field, 1, place))
    }

    pub(super) fn email(&mut self) -> Option<Reading<String>> {
        let reading = self.field(Field::Email)?;
        Some(reading.map(|email| {
            if is_email(&email) {
                return Reading::Value(email);
            }
            let message = "this is not an e-mail address; correct it. What is stored stays";
            self.issue(Field::Email, 1, Code::EmailInvalid, &email, message);
            Reading::Bad
        }))
    }

    pub(super) fn priority(&mut self) -> Option<Reading<Priority>> {
        let reading = self.field(Field::Priority)?;
        Some(reading.map(|word| if let Some(priority) = Priority::parse(&word.to_lowercase()) { Reading::Value(priority) } else {
            let message = "Notification Priority is High, Normal or Low; correct it. What is stored stays";
            self.issue(Field::Priority, 1, Code::PriorityUnknown, &word, message);
            Reading::Bad
        }))
    }

    pub(super) fn groups(&mut self) -> Option<Reading<Vec<String>>> {
        let reading = self.field(Field::Groups)?;
        Some(reading.map(|cell| {
            if cell.contains(';') {
                let message = "Groups contains a semicolon, which was taken as part of the name; separate groups with commas";
                self.issue(Field::Groups, 1, Code::SemicolonInGroups, &cell, message);
            }
            let groups = group::split(&cell);
            if groups.is_empty() { Reading::Blank } else { Reading::Value(groups) }
        }))
    }

    /// The number in these columns.
    pub(super) fn phone(&mut self, columns: NumberColumns) -> Phone {
        let ordinal = columns.ordinal;
        let number = if let CellValue::Rounded(shown) = self.cell(columns.number) {
            let shown = shown.clone();
            self.issue(
                Field::Number,
                ordinal,
                Code::NumberScientific,
                &shown,
                EXCEL_ROUNDED_NUMBER,
            );
            Reading::Bad
        } else {
            self.text(Field::Number, ordinal, columns.number)
        };
        let text = match number {
            Reading::Blank => {
                let typed = matches!(self.cell(columns.number_type), CellValue::Text(raw) if {
                    let cleaned = text::clean(raw).text;
                    !cleaned.is_empty() && !text::is_placeholder(&cleaned)
                });
                return if typed { Phone::TypeAlone } else { Phone::None };
            }
            Reading::Bad => return Phone::Bad,
            Reading::Value(text) => text,
        };
        let number = self.phone_number(ordinal, &text);
        let number_type = self.number_type(columns, &text);
        let description = match columns.description {
            None => Said::Nothing,
            Some(place) => match self.text(Field::NumberDescription, ordinal, place) {
                Reading::Blank => Said::This(None),
                Reading::Value(text) => Said::This(Some(text)),
                Reading::Bad => Said::Nothing,
            },
        };
        match (number, number_type) {
            (Some(number), Some(number_type)) => Phone::Number(FileNumber {
                number,
                number_type,
                description,
            }),
            _ => Phone::Bad,
        }
    }

    fn phone_number(&mut self, ordinal: u32, text: &str) -> Option<PhoneNumber> {
        if is_scientific(text) {
            self.issue(
                Field::Number,
                ordinal,
                Code::NumberScientific,
                text,
                EXCEL_ROUNDED_NUMBER,
            );
            return None;
        }
        match PhoneNumber::parse(text) {
            Ok(number) => Some(number),
            Err(PhoneNumberError::NotTenDigits) => {
                let message = "this is not a number of 10 digits; enter area code and local number, without an extension";
                self.issue(
                    Field::Number,
                    ordinal,
                    Code::NumberNotTenDigits,
                    text,
                    message,
                );
                None
            }
            Err(PhoneNumberError::NotNanp) => {
                let message =
                    "no such number exists: area code and exchange begin with 2 to 9; correct it";
                self.issue(Field::Number, ordinal, Code::NumberNotNanp, text, message);
                None
            }
        }
    }

    fn number_type(&mut self, columns: NumberColumns, number: &str) -> Option<NumberType> {
        let ordinal = columns.ordinal;
        match self.text(Field::NumberType, ordinal, columns.number_type) {
            Reading::Value(word) => {
                let found = NumberType::parse(&word.to_lowercase());
                if found.is_none() {
                    let message = "this Number Type is not known; write mobile, landline or pager";
                    self.issue(
                        Field::NumberType,
                        ordinal,
                        Code::NumberTypeUnknown,
                        &word,
                        message,
                    );
                }
                found
            }
            Reading::Blank => {
                let message = format!(
                    "the number {number} has no Number Type; write mobile, landline or pager"
                );
                self.issue(
                    Field::NumberType,
                    ordinal,
                    Code::NumberTypeMissing,
                    "",
                    message,
                );
                None
            }
            Reading::Bad => None,
        }
    }

    pub(super) fn number_columns(&self) -> &'a [NumberColumns] {
        &self.header.numbers
    }

    /// Whether an issue so far means that the contact is not imported.
    pub(super) fn has_error(&self) -> bool {
        self.issues
            .iter()
            .any(|issue| issue.severity == Severity::Error)
    }
}

const EXCEL_ROUNDED_ID: &str = "Excel has rounded this ID, so it can't be known whose row this is; format the column as Text and enter the ID anew. Nobody was removed by this import";
const EXCEL_ROUNDED_NUMBER: &str = "Excel has turned this number into scientific notation; format the column as Text and enter the number anew";

/// What the columns of a number hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phone {
    /// A number.
    Number(FileNumber),
    /// Nothing.
    None,
    /// A type without a number.
    TypeAlone,
    /// A number that can't be used; an issue says why.
    Bad,
}

/// The name of a column, with its ordinal where it is a further number's.
pub(super) fn column_name(field: Field, ordinal: u32) -> String {
    if ordinal == 1 {
        field.as_str().to_owned()
    } else {
        format!("{field} {ordinal}")
    }
}
