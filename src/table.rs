//! The sheet as rows under a header, before anything is made of it.

use serde::{Deserialize, Serialize};

use crate::model::string_enum;

string_enum!(
    /// A column of SPEC §2.1, spelled as in the template.
    Field {
        /// Identifies the contact for ever.
        Id = "ID",
        /// First and last name.
        Name = "Name",
        /// Organization.
        OrganizationName = "Organization Name",
        /// Title and/or accreditations.
        Title = "Title",
        /// Phone number.
        Number = "Number",
        /// Kind of the number.
        NumberType = "Number Type",
        /// Tells one number from another.
        NumberDescription = "Number Description",
        /// E-mail address.
        Email = "Email Address",
        /// Who is called first.
        Priority = "Notification Priority",
        /// Group names.
        Groups = "Groups",
    }
);

impl Field {
    /// Whether a file without this column is refused.
    #[must_use]
    pub const fn is_required(self) -> bool {
        matches!(
            self,
            Self::Id | Self::Name | Self::Number | Self::NumberType | Self::Groups
        )
    }
}

/// The columns of one number: `Number`, or `Number 2` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberColumns {
    /// 1 for the plain columns.
    pub ordinal: u32,
    /// Place of the number, from 0.
    pub number: usize,
    /// Place of its type.
    pub number_type: usize,
    /// Place of its description, if there is such a column.
    pub description: Option<usize>,
}

/// Which column stands where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Header {
    /// Row of the header, from 1, as the spreadsheet program shows it.
    pub row: u32,
    /// Titles as spelled, cleaned, in the order of the sheet.
    pub titles: Vec<String>,
    /// Place of each known column, from 0; in the order of [`Field::ALL`].
    column_indexes: [Option<usize>; Field::ALL.len()],
    /// Numbers in column order; never empty in a header that was accepted.
    pub numbers: Vec<NumberColumns>,
}

impl Header {
    /// A header with these places.
    #[must_use]
    pub fn new(
        row: u32,
        titles: Vec<String>,
        found: &[(Field, usize)],
        numbers: Vec<NumberColumns>,
    ) -> Self {
        let mut column_indexes = [None; Field::ALL.len()];
        for (field, column_index) in found {
            column_indexes[*field as usize] = Some(*column_index);
        }
        Self {
            row,
            titles,
            column_indexes,
            numbers,
        }
    }

    /// Where the column with this name stands; `Number 2` and its like are those of a further number.
    #[must_use]
    pub fn column_index_by_name(&self, name: &str) -> Option<usize> {
        if let Ok(field) = name.parse() {
            return self.column_index(field);
        }
        let (base, ordinal) = name.rsplit_once(' ')?;
        let ordinal: u32 = ordinal.parse().ok()?;
        let columns = self.numbers.iter().find(|n| n.ordinal == ordinal)?;
        match base.parse().ok()? {
            Field::Number => Some(columns.number),
            Field::NumberType => Some(columns.number_type),
            Field::NumberDescription => columns.description,
            _ => None,
        }
    }

    /// Where a column stands.
    #[must_use]
    pub fn column_index(&self, field: Field) -> Option<usize> {
        self.column_indexes[field as usize]
    }
}

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Text as stored, not yet cleaned.
    Text(&'a str),
    /// A number of more than 15 digits, of which Excel has lost the rest.
    Rounded(&'a str),
    /// An error such as `#N/A`.
    Error(&'a str),
    /// A formula that was never calculated.
    FormulaWithoutValue,
}

impl<'a> Cell<'a> {
    /// An empty cell.
    pub const BLANK: Self = Self::Text("");

    /// The text of the cell, or what stands for it in a message.
    #[must_use]
    pub fn display_text(self) -> &'a str {
        match self {
            Self::Text(text) | Self::Rounded(text) | Self::Error(text) => text,
            Self::FormulaWithoutValue => "",
        }
    }

    /// Whether nothing but white space is in it.
    #[must_use]
    pub fn is_blank(self) -> bool {
        matches!(self, Self::Text(text) if crate::unicode::trim(text).is_empty())
    }
}

/// How a row is out of shape: its cells can't be trusted to stand in their columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Damage {
    /// More cells than the header, and not blank.
    SurplusCells,
    /// Text between a closing quote and the next delimiter.
    TextAfterQuote,
    /// A quote inside a cell that is not quoted.
    StrayQuote,
    /// A quoted cell that seems to have swallowed a record, or one of the rows that it swallowed.
    EmbeddedRecord,
    /// One of two neighbours that look like a single record torn by a line break.
    SplitRecord,
    /// Its line end, or that of the row before it, is a part of the one that all others have.
    PartialLineEnd,
    /// Another count of cells than the header, and the number stands beside its column.
    ShiftedCells,
    /// A record with another delimiter than the rest of the file.
    OtherDelimiter,
}

/// The kind of a [`Cell`], kept apart from its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// [`Cell::Text`].
    Text,
    /// [`Cell::Rounded`].
    Rounded,
    /// [`Cell::Error`].
    Error,
    /// [`Cell::FormulaWithoutValue`], which has no text.
    FormulaWithoutValue,
}

impl CellKind {
    /// Every kind; its place is its number.
    pub const ALL: [Self; 4] = [
        Self::Text,
        Self::Rounded,
        Self::Error,
        Self::FormulaWithoutValue,
    ];
}

/// A row below the header. Its cells lie in one text one after the other, so that a row that is used again and again
/// allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SheetRow {
    /// From 1, as the spreadsheet program shows it.
    pub number: u32,
    /// Set where the cells can't be trusted to stand in their columns.
    pub damage: Option<Damage>,
    text: String,
    /// Kind and end of each cell, bytes.
    cells: Vec<(CellKind, usize)>,
}

impl SheetRow {
    /// An empty row.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Begins anew as an empty, undamaged row with this number.
    pub fn reset_to(&mut self, number: u32) {
        self.number = number;
        self.damage = None;
        self.text.clear();
        self.cells.clear();
    }

    /// Adds a cell at the end.
    #[inline]
    pub fn push(&mut self, cell: Cell<'_>) {
        let kind = match cell {
            Cell::Text(_) => CellKind::Text,
            Cell::Rounded(_) => CellKind::Rounded,
            Cell::Error(_) => CellKind::Error,
            Cell::FormulaWithoutValue => CellKind::FormulaWithoutValue,
        };
        self.text.push_str(cell.display_text());
        self.cells.push((kind, self.text.len()));
    }

    /// Takes all cells at once: their texts one after the other, and the place, the kind and the end of each in bytes, but
    /// for blank ones, which may be left out. `false`, and no cells, where these can't be.
    pub fn set_cells(
        &mut self,
        text: &str,
        cells: impl Iterator<Item = (usize, CellKind, usize)>,
    ) -> bool {
        self.text.clear();
        self.text.push_str(text);
        self.cells.clear();
        let (mut start, mut is_valid) = (0, true);
        for (column_index, kind, end) in cells {
            is_valid &=
                self.cells.len() <= column_index && start <= end && text.is_char_boundary(end);
            if self.cells.len() < column_index {
                self.cells.resize(column_index, (CellKind::Text, start));
            }
            self.cells.push((kind, end));
            start = end;
        }
        if !is_valid {
            self.text.clear();
            self.cells.clear();
        }
        is_valid
    }

    /// All its text, and the kind and the end of each cell in it.
    #[must_use]
    pub fn layout(&self) -> (&str, &[(CellKind, usize)]) {
        (&self.text, &self.cells)
    }

    /// Adds blank cells until there are `count`.
    #[inline]
    pub fn pad(&mut self, count: usize) {
        let end = self.text.len();
        if self.cells.len() < count {
            self.cells.resize(count, (CellKind::Text, end));
        }
    }

    /// How many cells it has; further ones are blank.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has no cells at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Bytes of all its cells.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The cell at a place, counted from 0; blank where the row has none.
    #[must_use]
    pub fn cell(&self, column_index: usize) -> Cell<'_> {
        let Some((kind, end)) = self.cells.get(column_index).copied() else {
            return Cell::BLANK;
        };
        let start = match column_index {
            0 => 0,
            _ => self.cells[column_index - 1].1,
        };
        let text = &self.text[start..end];
        match kind {
            CellKind::Text => Cell::Text(text),
            CellKind::Rounded => Cell::Rounded(text),
            CellKind::Error => Cell::Error(text),
            CellKind::FormulaWithoutValue => Cell::FormulaWithoutValue,
        }
    }

    /// Its cells in order.
    #[must_use]
    pub fn cells(&self) -> impl DoubleEndedIterator<Item = Cell<'_>> + ExactSizeIterator {
        (0..self.cells.len()).map(|column_index| self.cell(column_index))
    }

    /// Whether all its cells surely are as trimming leaves them: none begins or ends with a character that need not be plain
    /// to see.
    #[must_use]
    pub fn is_trimmed(&self) -> bool {
        let (text, mut start) = (self.text.as_bytes(), 0);
        self.cells.iter().all(|(_, end)| {
            let cell = &text[start..*end];
            start = *end;
            matches!(cell, [] | [b'!'..=b'~'] | [b'!'..=b'~', .., b'!'..=b'~'])
        })
    }

    /// Whether it says nothing: it is blank, and no cell was left out of it that isn't.
    #[must_use]
    pub fn is_skippable(&self) -> bool {
        self.is_blank() && self.damage != Some(Damage::SurplusCells)
    }

    /// Whether nothing but white space is in it.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.cells().all(Cell::is_blank)
    }
}

impl<'a> FromIterator<&'a str> for SheetRow {
    fn from_iter<T: IntoIterator<Item = &'a str>>(texts: T) -> Self {
        let mut row = Self::default();
        for text in texts {
            row.push(Cell::Text(text));
        }
        row
    }
}
