//! Reads the cells of one row and notes what is wrong with them.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use hashbrown::DefaultHashBuilder;

use super::EXAMPLE_ROW;
use super::cells::{Reading, is_email, is_scientific};
use super::group_cell;
use crate::model::catalogue::Finding;
use crate::model::contact::{NumberType, PhoneNumber, PhoneNumberError, Priority, Said};
use crate::model::digest::TextDigest;
use crate::model::issue::{Issue, Severity, VALUE_LIMIT};
use crate::table::{Cell, CellKind, Damage, Field, Header, NumberColumns, SheetRow};
use crate::unicode::{self, Cleaned};

/// Whose row it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowIdentity<'a> {
    /// This contact's; the text of its ID.
    Contact(Cow<'a, str>),
    /// Somebody's, but nobody can know whose.
    Nameless,
    /// Nobody's.
    Ignored,
}

/// A row being read.
pub(super) struct RowReader<'a> {
    header: &'a Header,
    row: &'a SheetRow,
    /// No cell needs more cleaning than trimming.
    plain: bool,
    /// Nor does any need that.
    tidy: bool,
    /// The numbers that were read so far.
    numbers: Vec<PhoneNumber>,
    pub(super) issues: Vec<Issue>,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(header: &'a Header, row: &'a SheetRow) -> Self {
        let plain = unicode::is_plain(row.layout().0);
        Self {
            header,
            row,
            plain,
            tidy: plain && row.is_trimmed(),
            numbers: Vec::new(),
            issues: Vec::new(),
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.row.number
    }

    fn clean(&self, raw: &'a str) -> Cleaned<'a> {
        if self.plain {
            return Cleaned {
                text: Cow::Borrowed(if self.tidy { raw } else { unicode::trim(raw) }),
                had_line_break: false,
                has_control: false,
            };
        }
        unicode::clean(raw)
    }

    /// The numbers that were read so far, a number again where it was read again.
    pub(super) fn numbers(&self) -> &[PhoneNumber] {
        &self.numbers
    }

    /// As if no number had been read so far.
    pub(super) fn forget_numbers(&mut self) {
        self.numbers.clear();
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
                contact_name: (!name.is_empty()).then(|| unicode::shorten(&name, VALUE_LIMIT)),
                ..issue
            })
            .collect()
    }

    /// SHA-256 of the row's cells: the same for the same content, whatever the row's number.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = TextDigest::default();
        for cell in self.filled_cells() {
            digest.push(Some(&unicode::clean(cell.shown()).text));
        }
        digest.finish()
    }

    /// A quick hash of the row's cells, by which a row that stands twice is noticed.
    pub(super) fn fingerprint(&self, state: &DefaultHashBuilder) -> u64 {
        let mut hasher = state.build_hasher();
        let (text, cells) = self.row.layout();
        // A formula without a value fills its cell, though it has no text.
        let last = self.row.cells().rposition(|cell| !cell.is_blank());
        let cells = &cells[..last.map_or(0, |last| last + 1)];
        let mut hash = |kind: CellKind, end: usize| {
            hasher.write_usize(end);
            hasher.write_u8(kind as u8);
        };
        let mut trimmed = String::new();
        if self.tidy {
            for (kind, end) in cells {
                hash(*kind, *end);
            }
        } else {
            for ((kind, _), cell) in cells.iter().zip(self.row.cells()) {
                trimmed.push_str(unicode::trim(cell.shown()));
                hash(*kind, trimmed.len());
            }
        }
        hasher.write(if self.tidy { text } else { &trimmed }.as_bytes());
        hasher.finish()
    }

    /// The cells up to the last that isn't blank.
    fn filled_cells(&self) -> impl Iterator<Item = Cell<'a>> {
        let last = self.row.cells().rposition(|cell| !cell.is_blank());
        self.row.cells().take(last.map_or(0, |last| last + 1))
    }

    fn cell(&self, place: usize) -> Cell<'a> {
        self.row.cell(place)
    }

    fn plain(&self, field: Field) -> Cow<'a, str> {
        self.header.place(field).map_or(Cow::Borrowed(""), |place| {
            self.clean(self.cell(place).shown()).text
        })
    }

    pub(super) fn is_example(&self) -> bool {
        self.plain(Field::Id) == EXAMPLE_ROW[0]
            && Field::ALL.iter().zip(EXAMPLE_ROW).all(|(field, example)| {
                self.header.place(*field).is_none() || self.plain(*field) == example
            })
    }

    /// Notes a finding on a cell. `ordinal` is that of a numbered column, else 1.
    pub(super) fn note(&mut self, finding: Finding, field: Field, ordinal: u32, value: &str) {
        self.note_clash(finding, (field, ordinal), value, "", 0);
    }

    /// As [`RowReader::note`], of a finding whose text names another one too, or another row (0 for none).
    pub(super) fn note_clash(
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
            value: (!value.is_empty()).then(|| unicode::shorten(value, VALUE_LIMIT)),
            ..Issue::clashing(finding, other, row)
        });
    }

    /// What stands in the ID column of a damaged row, and its number.
    pub(super) fn damaged_id(&self) -> Option<(String, u32)> {
        if matches!(self.row.damage?, Damage::OtherDelimiter) {
            // All of the row is one cell.
            return None;
        }
        let id = self.plain(Field::Id);
        (!id.is_empty()).then(|| (id.into_owned(), self.row.number))
    }

    /// Whose row this is; notes what makes it nameless.
    pub(super) fn identity(&mut self) -> RowIdentity<'a> {
        if let Some(damage) = self.row.damage {
            let id = self.plain(Field::Id);
            self.note(of_damage(damage), Field::Id, 1, &id);
            return RowIdentity::Nameless;
        }
        let Some(place) = self.header.place(Field::Id) else {
            return RowIdentity::Ignored;
        };
        let cell = self.cell(place);
        let finding = match cell {
            Cell::Text(raw) => {
                let cleaned = self.clean(raw);
                if cleaned.text.is_empty() {
                    let place = self.header.place(Field::Name);
                    let formula = place.map(|place| self.cell(place));
                    let named = !self.plain(Field::Name).is_empty()
                        || matches!(formula, Some(Cell::FormulaWithoutValue));
                    if !named && !self.has_number() {
                        self.note(Finding::RowIgnored, Field::Id, 1, "");
                        return RowIdentity::Ignored;
                    }
                    Finding::IdMissing
                } else if cleaned.has_control {
                    Finding::IdControl
                } else if is_scientific(&cleaned.text) {
                    Finding::IdRounded
                } else if unicode::is_placeholder(&cleaned.text) {
                    Finding::IdPlaceholder
                } else {
                    if cleaned.had_line_break {
                        self.note(Finding::LineBreak, Field::Id, 1, &cleaned.text);
                    }
                    return RowIdentity::Contact(cleaned.text);
                }
            }
            Cell::Rounded(_) => Finding::IdRounded,
            Cell::Error(_) => Finding::IdError,
            Cell::FormulaWithoutValue => Finding::IdFormula,
        };
        self.note(finding, Field::Id, 1, cell.shown());
        RowIdentity::Nameless
    }

    fn has_number(&self) -> bool {
        self.header
            .numbers
            .iter()
            .any(|columns| !self.cell(columns.number).is_blank())
    }

    /// The cleaned text of a cell; notes errors, control characters and placeholders.
    fn text(&mut self, field: Field, ordinal: u32, place: usize) -> Reading<Cow<'a, str>> {
        let required = field.is_required() && ordinal == 1;
        let raw = match self.cell(place) {
            Cell::Text(raw) | Cell::Rounded(raw) => raw,
            Cell::Error(shown) => {
                let finding = if required {
                    Finding::CellError
                } else {
                    Finding::CellErrorOptional
                };
                self.note(finding, field, ordinal, shown);
                return Reading::Bad;
            }
            Cell::FormulaWithoutValue => {
                let finding = if required {
                    Finding::FormulaWithoutValue
                } else {
                    Finding::FormulaWithoutValueOptional
                };
                self.note(finding, field, ordinal, "");
                return Reading::Bad;
            }
        };
        let cleaned = self.clean(raw);
        if cleaned.text.is_empty() {
            return Reading::Blank;
        }
        if cleaned.has_control {
            self.note(Finding::ControlCharacter, field, ordinal, &cleaned.text);
            return Reading::Bad;
        }
        if cleaned.had_line_break {
            self.note(Finding::LineBreak, field, ordinal, &cleaned.text);
        }
        if unicode::is_placeholder(&cleaned.text) {
            return if required {
                self.note(Finding::RequiredPlaceholder, field, ordinal, &cleaned.text);
                Reading::Bad
            } else {
                self.note(Finding::OptionalPlaceholder, field, ordinal, &cleaned.text);
                Reading::Blank
            };
        }
        Reading::Value(cleaned.text)
    }

    /// A text column; `None` where the sheet has no such column.
    pub(super) fn field(&mut self, field: Field) -> Option<Reading<Cow<'a, str>>> {
        let place = self.header.place(field)?;
        Some(self.text(field, 1, place))
    }

    pub(super) fn email(&mut self) -> Option<Reading<Cow<'a, str>>> {
        let reading = self.field(Field::Email)?;
        Some(reading.map(|email| {
            if is_email(&email) {
                return Reading::Value(email);
            }
            self.note(Finding::EmailInvalid, Field::Email, 1, &email);
            Reading::Bad
        }))
    }

    pub(super) fn priority(&mut self) -> Option<Reading<Priority>> {
        let reading = self.field(Field::Priority)?;
        Some(reading.map(|word| {
            if let Some(priority) = Priority::parse_any_case(&word) {
                return Reading::Value(priority);
            }
            self.note(Finding::PriorityUnknown, Field::Priority, 1, &word);
            Reading::Bad
        }))
    }

    /// The names of the groups, still in one text.
    pub(super) fn groups(&mut self) -> Option<Reading<Cow<'a, str>>> {
        let reading = self.field(Field::Groups)?;
        Some(reading.map(|cell| {
            if memchr::memchr(b';', cell.as_bytes()).is_some() {
                self.note(Finding::SemicolonInGroups, Field::Groups, 1, &cell);
            }
            if group_cell::is_blank(&cell) {
                Reading::Blank
            } else {
                Reading::Value(cell)
            }
        }))
    }

    /// The number in these columns.
    pub(super) fn phone(&mut self, columns: NumberColumns) -> Phone<'a> {
        let ordinal = columns.ordinal;
        let number = if let Cell::Rounded(shown) = self.cell(columns.number) {
            self.note(Finding::NumberScientific, Field::Number, ordinal, shown);
            Reading::Bad
        } else {
            self.text(Field::Number, ordinal, columns.number)
        };
        let text = match number {
            Reading::Blank => {
                let typed = matches!(self.cell(columns.number_type), Cell::Text(raw) if {
                    let cleaned = self.clean(raw).text;
                    !cleaned.is_empty() && !unicode::is_placeholder(&cleaned)
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
            (Some(number), Some(number_type)) => Phone::Number {
                number,
                number_type,
                description,
            },
            _ => Phone::Bad,
        }
    }

    fn phone_number(&mut self, ordinal: u32, text: &str) -> Option<PhoneNumber> {
        let finding = if is_scientific(text) {
            Finding::NumberScientific
        } else {
            match PhoneNumber::parse(text) {
                Ok(number) => {
                    self.numbers.push(number);
                    return Some(number);
                }
                Err(PhoneNumberError::NotTenDigits) => Finding::NumberNotTenDigits,
                Err(PhoneNumberError::NotNanp) => Finding::NumberNotNanp,
            }
        };
        self.note(finding, Field::Number, ordinal, text);
        None
    }

    fn number_type(&mut self, columns: NumberColumns, number: &str) -> Option<NumberType> {
        let ordinal = columns.ordinal;
        match self.text(Field::NumberType, ordinal, columns.number_type) {
            Reading::Value(word) => {
                let found = NumberType::parse_any_case(&word);
                if found.is_none() {
                    self.note(
                        Finding::NumberTypeUnknown,
                        Field::NumberType,
                        ordinal,
                        &word,
                    );
                }
                found
            }
            Reading::Blank => {
                let column = (Field::NumberType, ordinal);
                let number = unicode::shorten(number, 60);
                self.note_clash(Finding::NumberTypeMissing, column, "", &number, 0);
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

fn of_damage(damage: Damage) -> Finding {
    match damage {
        Damage::SurplusCells => Finding::RowSurplus,
        Damage::TextAfterQuote => Finding::RowTextAfterQuote,
        Damage::StrayQuote => Finding::RowStrayQuote,
        Damage::SwallowedRecord => Finding::RowSwallowed,
        Damage::TornRecord => Finding::RowTorn,
        Damage::LineEnd => Finding::RowLineEnd,
        Damage::Shifted => Finding::RowShifted,
        Damage::OtherDelimiter => Finding::RowOtherDelimiter,
    }
}

/// What the columns of a number hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phone<'a> {
    /// A number.
    Number {
        /// Ten digits.
        number: PhoneNumber,
        /// Its kind.
        number_type: NumberType,
        /// Description, if there is such a column.
        description: Said<Option<Cow<'a, str>>>,
    },
    /// Nothing.
    None,
    /// A type without a number.
    TypeAlone,
    /// A number that can't be used; an issue says why.
    Bad,
}

/// The name of a column, with its ordinal where it is a further number's.
pub(super) fn column_name(field: Field, ordinal: u32) -> Cow<'static, str> {
    if ordinal == 1 {
        field.as_str().into()
    } else {
        format!("{field} {ordinal}").into()
    }
}
