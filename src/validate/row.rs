//! Reads and checks the cells of one row. Does not depend on other rows.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use hashbrown::DefaultHashBuilder;

use super::EXAMPLE_ROW;
use super::cells::{CellValue, ExponentForm, exponent_form, is_email};
use super::group_cell;
use crate::model::catalog::Finding;
use crate::model::contact::{FieldUpdate, NumberType, PhoneNumber, PhoneNumberError, Priority};
use crate::model::digest::TextDigest;
use crate::model::issue::{Issue, MAX_VALUE_CHARS, Severity};
use crate::table::{Cell, CellKind, Damage, Field, Header, NumberColumns, SheetRow};
use crate::unicode::{self, Cleaned};

/// Which contact a row belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowIdentity<'a> {
    /// The contact with this ID.
    Contact(Cow<'a, str>),
    /// The row has contact data, but its ID is missing or unreadable.
    Unidentified,
    /// The row has no ID, name or number.
    Ignored,
}

/// Reads the cells of a row and collects issues.
pub(super) struct RowReader<'a> {
    header: &'a Header,
    row: &'a SheetRow,
    /// No cell needs more cleaning than trimming.
    trim_only: bool,
    /// No cell needs any cleaning.
    all_trimmed: bool,
    /// Valid numbers read so far, including repeats.
    numbers: Vec<PhoneNumber>,
    pub(super) issues: Vec<Issue>,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(header: &'a Header, row: &'a SheetRow) -> Self {
        let text = row.layout().0;
        let may_have_markers = memchr::memchr2(b'=', b'\'', text.as_bytes()).is_some();
        let has_marker =
            |cell: Cell<'_>| unicode::may_have_text_marker(unicode::trim(cell.display_text()));
        let trim_only = unicode::needs_only_trimming(text)
            && !(may_have_markers && row.cells().any(has_marker));
        Self {
            header,
            row,
            trim_only,
            all_trimmed: trim_only && row.is_trimmed(),
            numbers: Vec::new(),
            issues: Vec::new(),
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.row.number
    }

    fn clean(&self, raw: &'a str) -> Cleaned<'a> {
        if self.trim_only {
            return Cleaned::plain(if self.all_trimmed {
                raw
            } else {
                unicode::trim(raw)
            });
        }
        unicode::clean(raw)
    }

    /// Numbers read so far, including repeats.
    pub(super) fn numbers(&self) -> &[PhoneNumber] {
        &self.numbers
    }

    pub(super) fn clear_numbers(&mut self) {
        self.numbers.clear();
    }

    pub(super) fn into_issues(self) -> Vec<Issue> {
        self.issues
    }

    /// Only the errors that make the row unidentified, each with the digest of the row and the contact's name.
    pub(super) fn into_unidentified_issues(self) -> Vec<Issue> {
        let (digest, name) = (self.digest(), self.cleaned_text(Field::Name));
        let errors = self
            .issues
            .into_iter()
            .filter(|issue| issue.severity == Severity::Error);
        errors
            .map(|issue| Issue {
                row_digest: Some(digest),
                contact_name: (!name.is_empty()).then(|| unicode::shorten(&name, MAX_VALUE_CHARS)),
                ..issue
            })
            .collect()
    }

    /// SHA-256 of the row's cells. Does not depend on the row number: an accepted row stays accepted when it moves.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = TextDigest::default();
        for cell in self.cells_to_last_filled() {
            digest.push(Some(&unicode::clean(cell.display_text()).text));
        }
        digest.finish()
    }

    /// Fast hash of the row's cells, to detect duplicate rows.
    pub(super) fn row_hash(&self, hash_builder: &DefaultHashBuilder) -> u64 {
        let mut hasher = hash_builder.build_hasher();
        let (text, cells) = self.row.layout();
        // A cell with a formula that has no value has no text either, but is not blank.
        let last = self.row.cells().rposition(|cell| !cell.is_blank());
        let cells = &cells[..last.map_or(0, |last| last + 1)];
        let mut hash = |kind: CellKind, end: usize| {
            hasher.write_usize(end);
            hasher.write_u8(kind as u8);
        };
        let mut trimmed = String::new();
        if self.all_trimmed {
            for (kind, end) in cells {
                hash(*kind, *end);
            }
        } else {
            for ((kind, _), cell) in cells.iter().zip(self.row.cells()) {
                trimmed.push_str(unicode::trim(cell.display_text()));
                hash(*kind, trimmed.len());
            }
        }
        hasher.write(if self.all_trimmed { text } else { &trimmed }.as_bytes());
        hasher.finish()
    }

    /// The cells up to the last that is not blank.
    fn cells_to_last_filled(&self) -> impl Iterator<Item = Cell<'a>> {
        let last = self.row.cells().rposition(|cell| !cell.is_blank());
        self.row.cells().take(last.map_or(0, |last| last + 1))
    }

    fn cell(&self, column_index: usize) -> Cell<'a> {
        self.row.cell(column_index)
    }

    fn cleaned_text(&self, field: Field) -> Cow<'a, str> {
        self.header
            .column_index(field)
            .map_or(Cow::Borrowed(""), |column_index| {
                self.clean(self.cell(column_index).display_text()).text
            })
    }

    pub(super) fn is_example(&self) -> bool {
        self.cleaned_text(Field::Id) == EXAMPLE_ROW[0]
            && Field::ALL.iter().zip(EXAMPLE_ROW).all(|(field, example)| {
                self.header.column_index(*field).is_none() || self.cleaned_text(*field) == example
            })
    }

    /// `ordinal` is the number of a numbered column (`Number 2`), or 1.
    pub(super) fn add_issue(&mut self, finding: Finding, field: Field, ordinal: u32, value: &str) {
        self.add_issue_with_reference(finding, (field, ordinal), value, "", 0);
    }

    /// Like [`RowReader::add_issue`], for a message that also names another value or another row (0 for none).
    pub(super) fn add_issue_with_reference(
        &mut self,
        finding: Finding,
        (field, ordinal): (Field, u32),
        value: &str,
        other: &str,
        row: u32,
    ) {
        self.issues.push(Issue {
            row: Some(self.row.number),
            column: Some(column_name(field, ordinal)),
            value: (!value.is_empty()).then(|| unicode::shorten(value, MAX_VALUE_CHARS)),
            ..Issue::with_reference(finding, other, row)
        });
    }

    /// The text of the ID cell and the row number, if the row is damaged and has such text.
    pub(super) fn damaged_id(&self) -> Option<(String, u32)> {
        if matches!(self.row.damage?, Damage::OtherDelimiter) {
            // The whole row was read as a single cell.
            return None;
        }
        let id = self.cleaned_text(Field::Id);
        (!id.is_empty()).then(|| (id.into_owned(), self.row.number))
    }

    /// The contact that the row belongs to. Reports why the row is unidentified or ignored.
    pub(super) fn identity(&mut self) -> RowIdentity<'a> {
        if let Some(damage) = self.row.damage {
            let id = self.cleaned_text(Field::Id);
            self.add_issue(finding_for_damage(damage), Field::Id, 1, &id);
            return RowIdentity::Unidentified;
        }
        let Some(column_index) = self.header.column_index(Field::Id) else {
            return RowIdentity::Ignored;
        };
        let cell = self.cell(column_index);
        let finding = match cell {
            Cell::Text(raw) => {
                let cleaned = self.clean(raw);
                if cleaned.text.is_empty() {
                    let column_index = self.header.column_index(Field::Name);
                    let name_cell = column_index.map(|column_index| self.cell(column_index));
                    let has_name = !self.cleaned_text(Field::Name).is_empty()
                        || matches!(name_cell, Some(Cell::FormulaWithoutValue));
                    if !has_name && !self.has_number() {
                        self.add_issue(Finding::RowIgnored, Field::Id, 1, "");
                        return RowIdentity::Ignored;
                    }
                    Finding::IdMissing
                } else if cleaned.has_control {
                    Finding::IdControlCharacter
                } else if exponent_form(&cleaned.text) == Some(ExponentForm::Shortened) {
                    Finding::IdRounded
                } else if unicode::is_error_word(&cleaned.text) {
                    Finding::IdCellError
                } else if unicode::is_placeholder(&cleaned.text) {
                    Finding::IdPlaceholder
                } else {
                    self.report_cleaning(&cleaned, Field::Id, 1);
                    if exponent_form(&cleaned.text) == Some(ExponentForm::Bare) {
                        self.add_issue(Finding::IdBareExponent, Field::Id, 1, &cleaned.text);
                    }
                    return RowIdentity::Contact(cleaned.text);
                }
            }
            Cell::Rounded(_) => Finding::IdRounded,
            Cell::Error(_) => Finding::IdCellError,
            Cell::FormulaWithoutValue => Finding::IdFormulaWithoutValue,
        };
        self.add_issue(finding, Field::Id, 1, cell.display_text());
        RowIdentity::Unidentified
    }

    fn has_number(&self) -> bool {
        self.header
            .numbers
            .iter()
            .any(|columns| !self.cell(columns.number).is_blank())
    }

    /// The cleaned text of a cell. Reports errors, control characters and placeholders.
    fn text(&mut self, field: Field, ordinal: u32, column_index: usize) -> CellValue<Cow<'a, str>> {
        let required = field.is_required() && ordinal == 1;
        let raw = match self.cell(column_index) {
            Cell::Text(raw) | Cell::Rounded(raw) => raw,
            Cell::Error(display_text) => {
                let finding = if required {
                    Finding::CellError
                } else {
                    Finding::CellErrorOptional
                };
                self.add_issue(finding, field, ordinal, display_text);
                return CellValue::Invalid;
            }
            Cell::FormulaWithoutValue => {
                let finding = if required {
                    Finding::FormulaWithoutValue
                } else {
                    Finding::FormulaWithoutValueOptional
                };
                self.add_issue(finding, field, ordinal, "");
                return CellValue::Invalid;
            }
        };
        let cleaned = self.clean(raw);
        if cleaned.text.is_empty() {
            return CellValue::Blank;
        }
        if cleaned.has_control {
            self.add_issue(Finding::ControlCharacter, field, ordinal, &cleaned.text);
            return CellValue::Invalid;
        }
        if unicode::is_error_word(&cleaned.text) {
            let finding = if required {
                Finding::CellError
            } else {
                Finding::CellErrorOptional
            };
            self.add_issue(finding, field, ordinal, &cleaned.text);
            return CellValue::Invalid;
        }
        self.report_cleaning(&cleaned, field, ordinal);
        if unicode::is_placeholder(&cleaned.text) {
            return if required {
                self.add_issue(Finding::RequiredPlaceholder, field, ordinal, &cleaned.text);
                CellValue::Invalid
            } else {
                self.add_issue(Finding::OptionalPlaceholder, field, ordinal, &cleaned.text);
                CellValue::Blank
            };
        }
        CellValue::Value(cleaned.text)
    }

    /// Reports what cleaning changed or could not see in the text of a cell.
    fn report_cleaning(&mut self, cleaned: &Cleaned<'a>, field: Field, ordinal: u32) {
        if cleaned.had_line_break {
            self.add_issue(Finding::LineBreak, field, ordinal, &cleaned.text);
        }
        if cleaned.had_text_marker {
            self.add_issue(Finding::TextMarker, field, ordinal, &cleaned.text);
        }
        let is_compared = matches!(field, Field::Id | Field::Name | Field::Groups);
        if is_compared && unicode::has_invisible(&cleaned.text) {
            self.add_issue(Finding::InvisibleCharacter, field, ordinal, &cleaned.text);
        }
    }

    /// The text of a column, or `None` if the sheet does not have the column.
    pub(super) fn field(&mut self, field: Field) -> Option<CellValue<Cow<'a, str>>> {
        let column_index = self.header.column_index(field)?;
        Some(self.text(field, 1, column_index))
    }

    pub(super) fn email(&mut self) -> Option<CellValue<Cow<'a, str>>> {
        let cell_value = self.field(Field::Email)?;
        Some(cell_value.map(|email| {
            if is_email(&email) {
                return CellValue::Value(email);
            }
            self.add_issue(Finding::EmailInvalid, Field::Email, 1, &email);
            CellValue::Invalid
        }))
    }

    pub(super) fn priority(&mut self) -> Option<CellValue<Priority>> {
        let cell_value = self.field(Field::Priority)?;
        Some(cell_value.map(|word| {
            if let Some(priority) = Priority::parse_ignore_case(&word) {
                return CellValue::Value(priority);
            }
            self.add_issue(Finding::PriorityUnknown, Field::Priority, 1, &word);
            CellValue::Invalid
        }))
    }

    /// The text of the `Groups` cell, not yet split.
    pub(super) fn groups(&mut self) -> Option<CellValue<Cow<'a, str>>> {
        let cell_value = self.field(Field::Groups)?;
        Some(cell_value.map(|cell| {
            if memchr::memchr(b';', cell.as_bytes()).is_some() {
                self.add_issue(Finding::SemicolonInGroups, Field::Groups, 1, &cell);
            }
            if group_cell::is_blank(&cell) {
                CellValue::Blank
            } else {
                CellValue::Value(cell)
            }
        }))
    }

    pub(super) fn phone(&mut self, columns: NumberColumns) -> PhoneCells<'a> {
        let ordinal = columns.ordinal;
        let number = if let Cell::Rounded(display_text) = self.cell(columns.number) {
            self.add_issue(
                Finding::NumberScientific,
                Field::Number,
                ordinal,
                display_text,
            );
            CellValue::Invalid
        } else {
            self.text(Field::Number, ordinal, columns.number)
        };
        let text = match number {
            CellValue::Blank => {
                let has_type = matches!(self.cell(columns.number_type), Cell::Text(raw) if {
                    let cleaned = self.clean(raw).text;
                    !cleaned.is_empty() && !unicode::is_placeholder(&cleaned)
                });
                return if has_type {
                    PhoneCells::TypeOnly
                } else {
                    PhoneCells::None
                };
            }
            CellValue::Invalid => return PhoneCells::Invalid,
            CellValue::Value(text) => text,
        };
        let number = self.phone_number(ordinal, &text);
        let number_type = self.number_type(columns, &text);
        let description = match columns.description {
            None => FieldUpdate::Keep,
            Some(column_index) => {
                match self.text(Field::NumberDescription, ordinal, column_index) {
                    CellValue::Blank => FieldUpdate::Set(None),
                    CellValue::Value(text) => FieldUpdate::Set(Some(text)),
                    CellValue::Invalid => FieldUpdate::Keep,
                }
            }
        };
        match (number, number_type) {
            (Some(number), Some(number_type)) => PhoneCells::Number {
                number,
                number_type,
                description,
            },
            _ => PhoneCells::Invalid,
        }
    }

    fn phone_number(&mut self, ordinal: u32, text: &str) -> Option<PhoneNumber> {
        let finding = match PhoneNumber::parse(text) {
            Ok(number) => {
                self.numbers.push(number);
                return Some(number);
            }
            Err(_) if exponent_form(text) == Some(ExponentForm::Shortened) => {
                Finding::NumberScientific
            }
            Err(PhoneNumberError::NotTenDigits) => Finding::NumberNotTenDigits,
            Err(PhoneNumberError::NotNanp) => Finding::NumberNotNanp,
        };
        self.add_issue(finding, Field::Number, ordinal, text);
        None
    }

    fn number_type(&mut self, columns: NumberColumns, number: &str) -> Option<NumberType> {
        let ordinal = columns.ordinal;
        match self.text(Field::NumberType, ordinal, columns.number_type) {
            CellValue::Value(word) => {
                let number_type = NumberType::parse_ignore_case(&word);
                if number_type.is_none() {
                    self.add_issue(
                        Finding::NumberTypeUnknown,
                        Field::NumberType,
                        ordinal,
                        &word,
                    );
                }
                number_type
            }
            CellValue::Blank => {
                let column = (Field::NumberType, ordinal);
                let number = unicode::shorten(number, 60);
                self.add_issue_with_reference(Finding::NumberTypeMissing, column, "", &number, 0);
                None
            }
            CellValue::Invalid => None,
        }
    }

    pub(super) fn number_columns(&self) -> &'a [NumberColumns] {
        &self.header.numbers
    }

    pub(super) fn has_error(&self) -> bool {
        self.issues
            .iter()
            .any(|issue| issue.severity == Severity::Error)
    }
}

fn finding_for_damage(damage: Damage) -> Finding {
    match damage {
        Damage::SurplusCells => Finding::RowSurplusCells,
        Damage::TextAfterQuote => Finding::RowTextAfterQuote,
        Damage::StrayQuote => Finding::RowStrayQuote,
        Damage::EmbeddedRecord => Finding::RowInQuotedCell,
        Damage::SplitRecord => Finding::RowSplit,
        Damage::PartialLineEnding => Finding::RowPartialLineEnding,
        Damage::ShiftedCells => Finding::RowShifted,
        Damage::OtherDelimiter => Finding::RowOtherDelimiter,
    }
}

/// Value of the columns that describe a phone number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PhoneCells<'a> {
    Number {
        number: PhoneNumber,
        number_type: NumberType,
        /// `Keep` if the sheet has no description column or the cell is unusable.
        description: FieldUpdate<Option<Cow<'a, str>>>,
    },
    None,
    /// A type without a number.
    TypeOnly,
    /// The number or its type is missing or unusable, which is reported as an issue.
    Invalid,
}

/// Column title in issues, with the ordinal of an additional number: `Number Type 2`.
pub(super) fn column_name(field: Field, ordinal: u32) -> Cow<'static, str> {
    if ordinal == 1 {
        field.as_str().into()
    } else {
        format!("{field} {ordinal}").into()
    }
}
