//! The raw table of a file: header, rows and cells. Does not depend on file formats or validation rules.

use serde::{Deserialize, Serialize};

use crate::model::string_enum;

string_enum!(
    /// A column of the spreadsheet (SPEC §2.1), with its title in the template.
    Field {
        /// Identifies the contact permanently.
        Id = "ID",
        /// First and last name.
        Name = "Name",
        /// Organization.
        OrganizationName = "Organization Name",
        /// Title and/or accreditations.
        Title = "Title",
        /// Phone number.
        Number = "Number",
        /// Type of the phone number.
        NumberType = "Number Type",
        /// Label of the phone number, such as work or home.
        NumberDescription = "Number Description",
        /// Email address.
        Email = "Email Address",
        /// Notification priority.
        Priority = "Notification Priority",
        /// Group names.
        Groups = "Groups",
    }
);

impl Field {
    /// Whether a file without this column is rejected.
    #[must_use]
    pub const fn is_required(self) -> bool {
        matches!(
            self,
            Self::Id | Self::Name | Self::Number | Self::NumberType | Self::Groups
        )
    }
}

/// The columns of one phone number: `Number`, or `Number 2` and so on. Column indexes count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberColumns {
    /// 1 for `Number`, 2 for `Number 2`, and so on.
    pub ordinal: u32,
    /// Column of the number.
    pub number: usize,
    /// Column of its type.
    pub number_type: usize,
    /// Column of its description, if there is one.
    pub description: Option<usize>,
}

/// The header: which column is at which index.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Header {
    /// Row number of the header in the spreadsheet program, from 1.
    pub row: u32,
    /// Cleaned titles in sheet order.
    pub titles: Vec<String>,
    /// Index of each known column, from 0, in the order of [`Field::ALL`].
    column_indexes: [Option<usize>; Field::ALL.len()],
    /// Columns of the phone numbers in sheet order; never empty in a valid header.
    pub numbers: Vec<NumberColumns>,
}

impl Header {
    /// A header with columns at these indexes.
    #[must_use]
    pub fn new(
        row: u32,
        titles: Vec<String>,
        columns: &[(Field, usize)],
        numbers: Vec<NumberColumns>,
    ) -> Self {
        let mut column_indexes = [None; Field::ALL.len()];
        for (field, column_index) in columns {
            column_indexes[*field as usize] = Some(*column_index);
        }
        Self {
            row,
            titles,
            column_indexes,
            numbers,
        }
    }

    /// Index of the column with this title. Titles such as `Number 2` are those of an additional phone number.
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

    /// Index of a column; `None` if the sheet does not have it.
    #[must_use]
    pub fn column_index(&self, field: Field) -> Option<usize> {
        self.column_indexes[field as usize]
    }
}

/// The content of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Text, not cleaned.
    Text(&'a str),
    /// A number with more than 15 digits, whose last digits Excel has lost.
    Rounded(&'a str),
    /// An error of the spreadsheet program, such as `#N/A`.
    Error(&'a str),
    /// A formula that was never calculated.
    FormulaWithoutValue,
}

impl<'a> Cell<'a> {
    /// An empty cell.
    pub const BLANK: Self = Self::Text("");

    /// The text of the cell for messages.
    #[must_use]
    pub fn display_text(self) -> &'a str {
        match self {
            Self::Text(text) | Self::Rounded(text) | Self::Error(text) => text,
            Self::FormulaWithoutValue => "",
        }
    }

    /// Whether the cell is empty or contains only white space.
    #[must_use]
    pub fn is_blank(self) -> bool {
        matches!(self, Self::Text(text) if crate::unicode::trim(text).is_empty())
    }
}

/// Damage of a row that makes it uncertain which cell belongs to which column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Damage {
    /// The row has more cells than the header, and the extra cells are not blank.
    SurplusCells,
    /// Text between a closing quote and the next delimiter.
    TextAfterQuote,
    /// A quote in a cell that is not quoted.
    StrayQuote,
    /// A quoted cell seems to contain a record, or the row is inside such a cell.
    EmbeddedRecord,
    /// One of two adjacent rows that look like a single record split by a line break.
    SplitRecord,
    /// The line ending of this row or the previous one is only CR or LF, while all others are CR LF.
    PartialLineEnding,
    /// The row has another number of cells than the header, and the phone number is in an adjacent column.
    ShiftedCells,
    /// The record uses another delimiter than the rest of the file.
    OtherDelimiter,
}

/// The kind of a [`Cell`], without its text.
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
    /// All kinds; the index of a kind is its discriminant.
    pub const ALL: [Self; 4] = [
        Self::Text,
        Self::Rounded,
        Self::Error,
        Self::FormulaWithoutValue,
    ];
}

/// A row below the header. All cells share one text buffer, so reusing a row needs no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SheetRow {
    /// Row number in the spreadsheet program, from 1.
    pub number: u32,
    /// Damage that makes the columns of the cells uncertain.
    pub damage: Option<Damage>,
    text: String,
    /// Kind of each cell and its end in `text`, in bytes.
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

    /// Clears the row and sets its number.
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

    /// Replaces all cells. `text` contains the concatenated texts; `cells` contains index, kind and end (in bytes) of each
    /// cell. Blank cells may be omitted. Returns `false` and clears the row if the values are inconsistent.
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

    /// The text of all cells, and kind and end (in bytes) of each cell.
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

    /// Number of cells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether the row has no cells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Size of all cells in bytes.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The cell at an index, from 0; blank beyond the last cell.
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

    /// All cells in order.
    #[must_use]
    pub fn cells(&self) -> impl DoubleEndedIterator<Item = Cell<'_>> + ExactSizeIterator {
        (0..self.cells.len()).map(|column_index| self.cell(column_index))
    }

    /// Whether trimming certainly changes no cell: each is empty or starts and ends with a printable ASCII character.
    #[must_use]
    pub fn is_trimmed(&self) -> bool {
        let (text, mut start) = (self.text.as_bytes(), 0);
        self.cells.iter().all(|(_, end)| {
            let cell = &text[start..*end];
            start = *end;
            matches!(cell, [] | [b'!'..=b'~'] | [b'!'..=b'~', .., b'!'..=b'~'])
        })
    }

    /// Whether the row is blank, including any surplus cells that were dropped.
    #[must_use]
    pub fn is_skippable(&self) -> bool {
        self.is_blank() && self.damage != Some(Damage::SurplusCells)
    }

    /// Whether all cells are blank.
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
