//! Damage that shows in the shape of rows: cells too many, records torn by a line break, cells that slid out of their
//! columns. A row alone may look whole; held against the header and its neighbour it does not.

use super::records::{LineTerminator, Record};
use crate::model::contact::{NumberType, PhoneNumber};
use crate::sheet::csv::dialect::DELIMITERS;
use crate::table::{Damage, Field, Header, SheetRow};

/// What rows of a file must look like.
#[derive(Debug)]
pub(super) struct RowChecker {
    width: usize,
    id: Option<usize>,
    /// Place of the type of the number, where a row has one number only.
    number_type: Option<usize>,
    name: Option<usize>,
    groups: Option<usize>,
    /// Places of the numbers, that of the column `Number` first.
    numbers: Vec<usize>,
    /// A column within the header has no title, so a short row can't be trusted: a delimiter may be too many above.
    header_has_gap: bool,
    delimiter: u8,
    /// How the rows so far end.
    line_end: Option<LineTerminator>,
}

impl RowChecker {
    /// That of a file with this header, whose row ends like this.
    pub(super) fn new(header: &Header, delimiter: u8, line_end: Option<LineTerminator>) -> Self {
        let last = header.titles.iter().rposition(|title| !title.is_empty());
        Self {
            width: header.titles.len(),
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
            line_end,
        }
    }

    /// Marks a row that is out of shape by itself.
    pub(super) fn check_row(&self, row: &mut SheetRow) {
        if row.damage.is_some() || row.len() == self.width {
            return;
        }
        let surplus = row.cells().skip(self.width).any(|cell| !cell.is_blank());
        row.damage = if surplus {
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

    /// Marks two neighbours that look like one record torn by a line break.
    pub(super) fn check_torn_pair(&self, before: &mut Record, after: &mut Record) {
        let (head, tail) = (&before.row, &after.row);
        // A piece between two rows may belong to either, so a torn head may have another neighbour.
        let undamaged =
            matches!(head.damage, None | Some(Damage::SplitRecord)) && tail.damage.is_none();
        let joins_to_one_row = head.len() + tail.len() == self.width + 1
            && (head.len() < self.width || tail.len() < self.width);
        // A line break within a quoted cell tears nothing.
        let quoted = before.ends_quoted || after.starts_quoted;
        let adjacent = tail.number == head.number + 1;
        let both = |is: fn(&Self, &SheetRow) -> bool| is(self, head) && is(self, tail);
        let complete_by_themselves =
            both(Self::has_required_cells) || both(Self::has_id_and_number);
        if undamaged && joins_to_one_row && adjacent && !quoted && !complete_by_themselves {
            before.row.damage = Some(Damage::SplitRecord);
            after.row.damage = Some(Damage::SplitRecord);
        }
    }

    /// How nearly all rows end, as far as they have been judged.
    pub(super) fn dominant_line_end(&self) -> Option<LineTerminator> {
        self.line_end
    }

    /// Marks the first row where the header lost the second half of its CR LF, which may have become text of the row.
    pub(super) fn check_first_line_end(&mut self, first: &mut Record) {
        if (self.line_end, first.line_end) == (Some(LineTerminator::Cr), Some(LineTerminator::CrLf))
        {
            self.line_end = first.line_end;
            first.row.damage = first.row.damage.or(Some(Damage::PartialLineEnd));
        }
    }

    /// Marks a row that ends with a half of the usual CR LF, and its successor: the other half may have become text of
    /// either. Where the successor ends so too, the file was put together from parts, and that is how rows end now.
    pub(super) fn check_line_end(&mut self, before: &mut Record, after: Option<&mut Record>) {
        let is_half_line_end = matches!(
            before.line_end,
            Some(LineTerminator::Cr | LineTerminator::Lf)
        );
        if self.line_end != Some(LineTerminator::CrLf) || !is_half_line_end {
            return;
        }
        let after = after.filter(|after| after.row.damage.is_none());
        if after
            .as_ref()
            .is_some_and(|after| after.line_end == before.line_end)
        {
            self.line_end = before.line_end;
            return;
        }
        for record in [Some(before), after].into_iter().flatten() {
            record.row.damage = record.row.damage.or(Some(Damage::PartialLineEnd));
        }
    }

    /// Whether all that a contact needs is there.
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

    /// Whether the row has an ID and a number with its type, each in its column, as a row that adds a number to a contact
    /// does. A piece of a torn record would need the number of another column there.
    fn has_id_and_number(&self, row: &SheetRow) -> bool {
        let filled = |index: usize| !row.cell(index).is_blank();
        let number = self.numbers.first();
        self.id.is_some_and(filled)
            && self
                .number_type
                .is_some_and(|index| is_number_type(row, index))
            && number.is_some_and(|number| is_phone_number(row, *number))
    }

    /// Whether the number stands beside its column: then the other cells do, too.
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

    /// Whether blank cells in quotes have lost what stood between them: each such pair is a quotation mark now, and the row
    /// lacks a cell for it.
    fn has_merged_blank_cells(&self, row: &SheetRow) -> bool {
        let marks = row
            .cells()
            .filter(|cell| cell.display_text() == "\"")
            .count();
        marks > 0 && row.len() + marks == self.width
    }

    /// Whether the row is a single cell that another delimiter would split into a record.
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

/// Places of the number columns, in order of their ordinals.
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
