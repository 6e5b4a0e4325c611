//! The sheet as rows under a header, before anything is made of it.

use super::words;

words!(
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Row of the header, from 1, as the spreadsheet program shows it.
    pub row: u32,
    /// Titles as spelled, cleaned, in the order of the sheet.
    pub titles: Vec<String>,
    /// Place of each known column, from 0; in the order of [`Field::ALL`].
    places: [Option<usize>; Field::ALL.len()],
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
        let mut places = [None; Field::ALL.len()];
        for (field, place) in found {
            places[*field as usize] = Some(*place);
        }
        Self {
            row,
            titles,
            places,
            numbers,
        }
    }

    /// Where a column stands.
    #[must_use]
    pub fn place(&self, field: Field) -> Option<usize> {
        self.places[field as usize]
    }
}

/// What a cell holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellValue {
    /// Text as stored, not yet cleaned.
    Text(String),
    /// A number of more than 15 digits, of which Excel has lost the rest.
    Rounded(String),
    /// An error such as `#N/A`.
    Error(String),
    /// A formula that was never calculated.
    FormulaWithoutValue,
}

impl CellValue {
    /// The text of the cell, or what stands for it in a message.
    #[must_use]
    pub fn shown(&self) -> &str {
        match self {
            Self::Text(text) | Self::Rounded(text) | Self::Error(text) => text,
            Self::FormulaWithoutValue => "",
        }
    }

    /// Whether nothing but white space is in it.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if super::text::trim(text).is_empty())
    }
}

/// How a row is out of shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// More cells than the header, and not blank.
    SurplusCells,
    /// Text between a closing quote and the next delimiter.
    TextAfterQuote,
    /// A quoted cell that seems to have swallowed a record.
    SwallowedRecord,
}

/// A row below the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetRow {
    /// From 1, as the spreadsheet program shows it.
    pub number: u32,
    /// Cells by place; missing trailing ones are blank.
    pub cells: Vec<CellValue>,
    /// Set where the cells can't be trusted to stand in their columns.
    pub damage: Option<Damage>,
}

impl SheetRow {
    /// Whether nothing but white space is in it.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.cells.iter().all(CellValue::is_blank)
    }
}
