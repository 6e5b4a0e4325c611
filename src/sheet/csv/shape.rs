//! Damage that shows in the shape of rows: cells too many, records torn by a line break, cells that slid out of their
//! columns. A row alone may look whole; held against the header and its neighbour it does not.

use super::records::{LineEnd, Record};
use crate::model::contact::{NumberType, PhoneNumber};
use crate::sheet::csv::dialect::DELIMITERS;
use crate::table::{Damage, Field, Header, SheetRow};

/// What rows of a file must look like.
#[derive(Debug)]
pub(super) struct Mould {
    width: usize,
    id: Option<usize>,
    /// Place of the type of the number, where a row has one number only.
    number_type: Option<usize>,
    name: Option<usize>,
    groups: Option<usize>,
    /// Places of the numbers, that of the column `Number` first.
    numbers: Vec<usize>,
    /// A column within the header has no title, so a short row can't be trusted: a delimiter may be too many above.
    gap_in_header: bool,
    delimiter: u8,
    /// How the rows so far end.
    line_end: Option<LineEnd>,
}

impl Mould {
    /// That of a file with this header, whose row ends like this.
    pub(super) fn new(header: &Header, delimiter: u8, line_end: Option<LineEnd>) -> Self {
        let last = header.titles.iter().rposition(|title| !title.is_empty());
        Self {
            width: header.titles.len(),
            id: header.place(Field::Id),
            number_type: match &header.numbers[..] {
                [only] => Some(only.number_type),
                _ => None,
            },
            name: header.place(Field::Name),
            groups: header.place(Field::Groups),
            numbers: number_places(header),
            gap_in_header: header.titles[..last.unwrap_or(0)]
                .iter()
                .any(String::is_empty),
            delimiter,
            line_end,
        }
    }

    /// Marks a row that is out of shape by itself.
    pub(super) fn judge(&self, row: &mut SheetRow) {
        if row.damage.is_some() || row.len() == self.width {
            return;
        }
        let surplus = row.cells().skip(self.width).any(|cell| !cell.is_blank());
        row.damage = if surplus {
            Some(Damage::SurplusCells)
        } else if self.has_other_delimiter(row) {
            Some(Damage::OtherDelimiter)
        } else if self.has_joined_blanks(row) {
            Some(Damage::StrayQuote)
        } else if self.is_shifted(row) || (self.gap_in_header && row.len() < self.width) {
            Some(Damage::Shifted)
        } else {
            None
        };
    }

    /// Marks two neighbours that look like one record torn by a line break.
    pub(super) fn judge_pair(&self, before: &mut Record, after: &mut Record) {
        let (head, tail) = (&before.row, &after.row);
        // A piece between two rows may belong to either, so a torn head may have another neighbour.
        let whole = matches!(head.damage, None | Some(Damage::TornRecord)) && tail.damage.is_none();
        let fits = head.len() + tail.len() == self.width + 1
            && (head.len() < self.width || tail.len() < self.width);
        // A line break within a quoted cell tears nothing.
        let quoted = before.ends_quoted || after.begins_quoted;
        let neighbours = tail.number == head.number + 1;
        let both = |is: fn(&Self, &SheetRow) -> bool| is(self, head) && is(self, tail);
        let explained = both(Self::is_sound) || both(Self::has_entry);
        if whole && fits && neighbours && !quoted && !explained {
            before.row.damage = Some(Damage::TornRecord);
            after.row.damage = Some(Damage::TornRecord);
        }
    }

    /// How nearly all rows end, as far as they have been judged.
    pub(super) fn usual_line_end(&self) -> Option<LineEnd> {
        self.line_end
    }

    /// Marks the first row where the header lost the second half of its CR LF, which may have become text of the row.
    pub(super) fn judge_first_line_end(&mut self, first: &mut Record) {
        if (self.line_end, first.line_end) == (Some(LineEnd::Cr), Some(LineEnd::CrLf)) {
            self.line_end = first.line_end;
            first.row.damage = first.row.damage.or(Some(Damage::LineEnd));
        }
    }

    /// Marks a row that ends with a half of the usual CR LF, and its successor: the other half may have become text of
    /// either. Where the successor ends so too, the file was put together from parts, and that is how rows end now.
    pub(super) fn judge_line_end(&mut self, before: &mut Record, after: Option<&mut Record>) {
        let half = matches!(before.line_end, Some(LineEnd::Cr | LineEnd::Lf));
        if self.line_end != Some(LineEnd::CrLf) || !half {
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
            record.row.damage = record.row.damage.or(Some(Damage::LineEnd));
        }
    }

    /// Whether all that a contact needs is there.
    fn is_sound(&self, row: &SheetRow) -> bool {
        let filled = |place: Option<usize>| place.is_some_and(|place| !row.cell(place).is_blank());
        filled(self.id)
            && filled(self.name)
            && filled(self.groups)
            && self.numbers.iter().any(|number| is_phone(row, *number))
    }

    /// Whether the row has an ID and a number with its type, each in its column, as a row that adds a number to a contact
    /// does. A piece of a torn record would need the number of another column there.
    fn has_entry(&self, row: &SheetRow) -> bool {
        let filled = |place: usize| !row.cell(place).is_blank();
        let number = self.numbers.first();
        self.id.is_some_and(filled)
            && self.number_type.is_some_and(|place| is_type(row, place))
            && number.is_some_and(|number| is_phone(row, *number))
    }

    /// Whether the number stands beside its column: then the other cells do, too.
    fn is_shifted(&self, row: &SheetRow) -> bool {
        let Some(number) = self.numbers.first().copied() else {
            return false;
        };
        let beside = |place: usize| !self.numbers.contains(&place) && is_phone(row, place);
        !is_phone(row, number)
            && (number.checked_sub(1).is_some_and(beside)
                || beside(number + 1)
                || is_type(row, number))
    }

    /// Whether blank cells in quotes have lost what stood between them: each such pair is a quotation mark now, and the row
    /// lacks a cell for it.
    fn has_joined_blanks(&self, row: &SheetRow) -> bool {
        let marks = row.cells().filter(|cell| cell.shown() == "\"").count();
        marks > 0 && row.len() + marks == self.width
    }

    /// Whether the row is a single cell that another delimiter would split into a record.
    fn has_other_delimiter(&self, row: &SheetRow) -> bool {
        row.len() == 1
            && DELIMITERS
                .iter()
                .filter(|delimiter| **delimiter != self.delimiter)
                .any(|delimiter| {
                    let cell = row.cell(0).shown().as_bytes();
                    memchr::memchr_iter(*delimiter, cell).count() + 1 >= self.width
                })
    }
}

/// Places of the number columns, in order of their ordinals.
pub(super) fn number_places(header: &Header) -> Vec<usize> {
    let mut columns = header.numbers.clone();
    columns.sort_by_key(|columns| columns.ordinal);
    columns.iter().map(|columns| columns.number).collect()
}

fn is_phone(row: &SheetRow, place: usize) -> bool {
    PhoneNumber::parse(row.cell(place).shown()).is_ok()
}

fn is_type(row: &SheetRow, place: usize) -> bool {
    NumberType::parse_any_case(row.cell(place).shown().trim()).is_some()
}
