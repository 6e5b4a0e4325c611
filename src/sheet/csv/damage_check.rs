//! Finds damage that affects the number and position of cells: too many cells, records split by a line break, cells
//! that are in the wrong columns. A row is compared with the header and with the next row. Does not depend on how
//! records are split.

use super::records::{LineEnding, Record};
use crate::model::contact::{NumberType, PhoneNumber};
use crate::sheet::csv::dialect::DELIMITERS;
use crate::table::{Cell, Damage, Field, Header, SheetRow};

/// The expected shape of the rows of a file.
#[derive(Debug)]
pub(super) struct RowChecker {
    width: usize,
    id: Option<usize>,
    /// Index of the type column, if there is only one number column.
    number_type: Option<usize>,
    name: Option<usize>,
    groups: Option<usize>,
    /// Indexes of the number columns, `Number` first.
    numbers: Vec<usize>,
    /// Whether a column inside the header has no title. The header may then have a surplus delimiter, so cells of
    /// rows with fewer cells may be in the wrong columns.
    header_has_gap: bool,
    delimiter: u8,
    /// Usual line ending of the rows read so far.
    line_ending: Option<LineEnding>,
    /// Number of cells of a row that has as many blank cells after those of the header as every row has.
    width_with_blank_surplus: usize,
}

impl RowChecker {
    /// `line_ending` is that of the header row.
    pub(super) fn new(header: &Header, delimiter: u8, line_ending: Option<LineEnding>) -> Self {
        let last = header.titles.iter().rposition(|title| !title.is_empty());
        Self {
            width: header.titles.len(),
            width_with_blank_surplus: header.titles.len(),
            id: header.column_index(Field::Id),
            number_type: match &header.numbers[..] {
                [only] => Some(only.number_type),
                _ => None,
            },
            name: header.column_index(Field::Name),
            groups: header.column_index(Field::Groups),
            numbers: number_column_indexes(header),
            header_has_gap: header.titles[..last.unwrap_or(0)]
                .iter()
                .any(String::is_empty),
            delimiter,
            line_ending,
        }
    }

    /// Whether the row has more cells than the header, and these are blank.
    pub(super) fn has_blank_surplus(&self, row: &SheetRow) -> bool {
        row.len() > self.width && row.cells().skip(self.width).all(Cell::is_blank)
    }

    /// Accepts rows of up to `width` cells if those after the header are blank.
    pub(super) fn allow_blank_surplus(&mut self, width: usize) {
        self.width_with_blank_surplus = width;
    }

    /// Marks a row as damaged if its cells do not fit the header.
    pub(super) fn check_row(&self, row: &mut SheetRow) {
        if row.damage.is_some() || row.len() == self.width {
            return;
        }
        let has_surplus = row.len() > self.width
            && !(row.len() <= self.width_with_blank_surplus && self.has_blank_surplus(row));
        row.damage = if has_surplus {
            Some(Damage::SurplusCells)
        } else if self.uses_other_delimiter(row) {
            Some(Damage::OtherDelimiter)
        } else if self.has_merged_blank_cells(row) {
            Some(Damage::StrayQuote)
        } else if self.is_shifted(row) || (self.header_has_gap && row.len() < self.width) {
            Some(Damage::ShiftedCells)
        } else {
            None
        };
    }

    /// Marks two adjacent rows as damaged if they look like one record split by a line break.
    pub(super) fn check_split_pair(&self, before: &mut Record, after: &mut Record) {
        let (head, tail) = (&before.row, &after.row);
        // The first row may already be marked as split: a part between two rows may belong to either.
        let undamaged =
            matches!(head.damage, None | Some(Damage::SplitRecord)) && tail.damage.is_none();
        let joins_to_one_row = head.len() + tail.len() == self.width + 1
            && (head.len() < self.width || tail.len() < self.width);
        // A line break inside a quoted cell does not split a record.
        let quoted = before.ends_quoted || after.starts_quoted;
        let adjacent = tail.number == head.number + 1;
        let both = |check: fn(&Self, &SheetRow) -> bool| check(self, head) && check(self, tail);
        let each_is_complete = both(Self::has_required_cells) || both(Self::has_id_and_number);
        if undamaged && joins_to_one_row && adjacent && !quoted && !each_is_complete {
            before.row.damage = Some(Damage::SplitRecord);
            after.row.damage = Some(Damage::SplitRecord);
        }
    }

    /// The line ending of nearly all rows checked so far.
    pub(super) fn dominant_line_ending(&self) -> Option<LineEnding> {
        self.line_ending
    }

    /// Marks the first row as damaged if the header ends with only CR of CR LF: the LF may have been replaced by a
    /// character that is now part of the first row.
    pub(super) fn check_first_line_ending(&mut self, first: &mut Record) {
        if (self.line_ending, first.line_ending) == (Some(LineEnding::Cr), Some(LineEnding::CrLf)) {
            self.line_ending = first.line_ending;
            first.row.damage = first.row.damage.or(Some(Damage::PartialLineEnding));
        }
    }

    /// Marks a row that ends with only CR or LF of the usual CR LF, and the next row: the other character may have
    /// been replaced by text of either row. If the next row ends the same way, the file was joined from parts with
    /// different line endings, and this line ending becomes the usual one.
    pub(super) fn check_line_ending(&mut self, before: &mut Record, after: Option<&mut Record>) {
        let is_partial = matches!(before.line_ending, Some(LineEnding::Cr | LineEnding::Lf));
        if self.line_ending != Some(LineEnding::CrLf) || !is_partial {
            return;
        }
        let after = after.filter(|after| after.row.damage.is_none());
        if after
            .as_ref()
            .is_some_and(|after| after.line_ending == before.line_ending)
        {
            self.line_ending = before.line_ending;
            return;
        }
        for record in [Some(before), after].into_iter().flatten() {
            record.row.damage = record.row.damage.or(Some(Damage::PartialLineEnding));
        }
    }

    /// Whether the row has ID, name, groups and a valid number.
    fn has_required_cells(&self, row: &SheetRow) -> bool {
        let filled = |index: Option<usize>| index.is_some_and(|index| !row.cell(index).is_blank());
        filled(self.id)
            && filled(self.name)
            && filled(self.groups)
            && self
                .numbers
                .iter()
                .any(|number| is_phone_number(row, *number))
    }

    /// Whether the row has an ID and a number with its type, each in its column, like a row that adds a number to a
    /// contact. A part of a split record has values of other columns there.
    fn has_id_and_number(&self, row: &SheetRow) -> bool {
        let filled = |index: usize| !row.cell(index).is_blank();
        let number = self.numbers.first();
        self.id.is_some_and(filled)
            && self
                .number_type
                .is_some_and(|index| is_number_type(row, index))
            && number.is_some_and(|number| is_phone_number(row, *number))
    }

    /// Whether the number is next to its column. The other cells are then in wrong columns as well.
    fn is_shifted(&self, row: &SheetRow) -> bool {
        let Some(number) = self.numbers.first().copied() else {
            return false;
        };
        let is_number_in_wrong_column =
            |index: usize| !self.numbers.contains(&index) && is_phone_number(row, index);
        !is_phone_number(row, number)
            && (number.checked_sub(1).is_some_and(is_number_in_wrong_column)
                || is_number_in_wrong_column(number + 1)
                || is_number_type(row, number))
    }

    /// Whether pairs of quoted blank cells (`"",""`) have lost their delimiter. What remains (`""""`) is read as one
    /// cell that contains a quotation mark, and the row has one cell less for each pair.
    fn has_merged_blank_cells(&self, row: &SheetRow) -> bool {
        let quote_cells = row
            .cells()
            .filter(|cell| cell.display_text() == "\"")
            .count();
        quote_cells > 0 && row.len() + quote_cells == self.width
    }

    /// Whether the row is a single cell that another delimiter would split into a full record.
    fn uses_other_delimiter(&self, row: &SheetRow) -> bool {
        row.len() == 1
            && DELIMITERS
                .iter()
                .filter(|delimiter| **delimiter != self.delimiter)
                .any(|delimiter| {
                    let cell = row.cell(0).display_text().as_bytes();
                    memchr::memchr_iter(*delimiter, cell).count() + 1 >= self.width
                })
    }
}

/// Indexes of the number columns, in order of their ordinals.
pub(super) fn number_column_indexes(header: &Header) -> Vec<usize> {
    let mut columns = header.numbers.clone();
    columns.sort_by_key(|columns| columns.ordinal);
    columns.iter().map(|columns| columns.number).collect()
}

fn is_phone_number(row: &SheetRow, index: usize) -> bool {
    PhoneNumber::parse(row.cell(index).display_text()).is_ok()
}

fn is_number_type(row: &SheetRow, index: usize) -> bool {
    NumberType::parse_ignore_case(row.cell(index).display_text().trim()).is_some()
}
