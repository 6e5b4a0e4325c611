//! Passes the rows below a header to the caller, enforces the row limit, and finds columns with cells but no title.

use std::collections::BTreeMap;

use super::error::{RowLimit, SheetError};
use crate::model::catalog::Finding;
use crate::model::issue::{Issue, column_letters};
use crate::table::{Header, SheetRow};

/// Receives the rows of a sheet whose header is known.
pub(super) struct RowSink<'a, F> {
    header: Header,
    limit: RowLimit,
    row_count: u32,
    /// Columns with cells but no title, each with its first row that has such a cell.
    untitled: BTreeMap<usize, u32>,
    has_untitled_column: bool,
    on_row: &'a mut F,
}

impl<'a, F: FnMut(&Header, &SheetRow)> RowSink<'a, F> {
    pub(super) fn new(header: Header, limit: RowLimit, on_row: &'a mut F) -> Self {
        Self {
            has_untitled_column: header.titles.iter().any(String::is_empty),
            header,
            limit,
            row_count: 0,
            untitled: BTreeMap::new(),
            on_row,
        }
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn push(&mut self, row: &SheetRow) -> Result<(), SheetError> {
        if row.is_skippable() {
            return Ok(());
        }
        self.row_count += 1;
        if self.row_count > self.limit.rows() {
            return Err(SheetError::TooManyRows(self.limit));
        }
        if row.damage.is_none()
            && (self.has_untitled_column || row.len() > self.header.titles.len())
        {
            self.record_untitled_columns(row);
        }
        (self.on_row)(&self.header, row);
        Ok(())
    }

    fn record_untitled_columns(&mut self, row: &SheetRow) {
        let titles = &self.header.titles;
        for (index, cell) in row.cells().enumerate() {
            if titles.get(index).is_none_or(String::is_empty) && !cell.is_blank() {
                self.untitled.entry(index).or_insert(row.number);
            }
        }
    }

    /// The header, and an issue for each column with cells but no title.
    pub(super) fn finish(self) -> (Header, Vec<Issue>) {
        let issue = |(index, row): (usize, u32)| Issue {
            row: Some(row),
            column_index: u32::try_from(index).ok(),
            column: Some(column_letters(index).into()),
            ..Issue::new(Finding::ColumnUntitled)
        };
        let issues = self.untitled.into_iter().map(issue).collect();
        (self.header, issues)
    }
}
