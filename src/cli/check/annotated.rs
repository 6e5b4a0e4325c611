//! The sheet written back with what was found in it: the cells concerned coloured, and a column that explains. Rows stand
//! where they stood, so that a cell's name is the same in both files.

use std::path::Path;

use anyhow::Context;
use rust_xlsxwriter::{Color, Format, Workbook};

use crate::cli::template::TEXT_FORMAT_INDEX;
use crate::compact::Issues;
use crate::import::Reading;
use crate::model::issue::{Issue, Severity};
use crate::table::{Header, SheetRow};
use crate::unicode;

/// Longest text of a cell in a workbook, characters.
const MAX_CELL_CHARS: usize = 32_767;
/// Cells further to the right are not written back: the explanation would stand where nobody finds it.
const MAX_COLUMNS: usize = 200;
/// Title of the explaining column.
const EXPLANATION_TITLE: &str = "What to mend";

struct Formats {
    plain: Format,
    header: Format,
    error: Format,
    warning: Format,
    notice: Format,
    explanation: Format,
}

impl Formats {
    fn new() -> Self {
        // As text: what is mended by hand here keeps its zeros and digits.
        let plain = Format::new().set_num_format_index(TEXT_FORMAT_INDEX);
        let filled = |color| plain.clone().set_background_color(Color::RGB(color));
        Self {
            header: plain.clone().set_bold(),
            error: filled(0x00F8_B4B4),
            warning: filled(0x00FF_E08A),
            notice: filled(0x00BF_DDF7),
            explanation: plain.clone().set_text_wrap(),
            plain,
        }
    }

    fn of(&self, severity: Option<Severity>) -> &Format {
        match severity {
            Some(Severity::Error) => &self.error,
            Some(Severity::Warning) => &self.warning,
            Some(Severity::Notice) => &self.notice,
            None => &self.plain,
        }
    }
}

/// A sheet on its way back into a workbook.
pub(super) struct Annotator<'a> {
    /// Its only sheet is written row by row, and not kept in memory.
    workbook: Workbook,
    formats: Formats,
    found: &'a Issues,
    explanation_column: u16,
}

impl<'a> Annotator<'a> {
    /// For a sheet whose widest row has so many cells. Until it is saved it lies, without a name, in this folder.
    pub(super) fn new(
        reading: &'a Reading,
        max_cells: usize,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let header = &reading.facts.header;
        // Behind the last column, and behind those without a title of which something is said.
        let width = reading
            .parsed
            .issues
            .iter()
            .filter_map(|issue| issue.column_index)
            .max()
            .map_or(0, |last| last as usize + 1)
            .max(header.titles.len())
            .max(max_cells.min(MAX_COLUMNS));
        let explanation_column =
            u16::try_from(width).context("the sheet is too wide for a workbook")?;
        let mut workbook = Workbook::new();
        workbook.set_tempdir(folder)?;
        workbook.add_worksheet_with_constant_memory()?;
        let mut annotator = Self {
            workbook,
            formats: Formats::new(),
            found: &reading.parsed.issues,
            explanation_column,
        };
        annotator.write_header(header)?;
        Ok(annotator)
    }

    fn write_header(&mut self, header: &Header) -> anyhow::Result<()> {
        let sheet = self.workbook.worksheet_from_index(0)?;
        sheet.set_name("Contacts")?;
        for column in 0..self.explanation_column {
            sheet.set_column_width(column, 22)?;
        }
        sheet.set_column_width(self.explanation_column, 80)?;
        let row = header.row.saturating_sub(1);
        let header_issues: Vec<Issue> = self.found.issues_of_row(Some(header.row)).collect();
        for (column, title) in (0..).zip(&header.titles) {
            let format = match severity_of(&header_issues, column) {
                None => &self.formats.header,
                some => self.formats.of(some),
            };
            sheet.write_string_with_format(row, column, truncate_for_cell(title), format)?;
        }
        sheet.write_string_with_format(
            row,
            self.explanation_column,
            EXPLANATION_TITLE,
            &self.formats.header,
        )?;
        // What is about the whole file stands beside the header.
        let issues: Vec<Issue> = self
            .found
            .issues_of_row(None)
            .chain(header_issues)
            .collect();
        if !issues.is_empty() {
            let text = format!("{EXPLANATION_TITLE}\n{}", explanation_text(&issues));
            sheet.write_string_with_format(
                row,
                self.explanation_column,
                truncate_for_cell(&text),
                &self.formats.explanation,
            )?;
        }
        sheet.set_freeze_panes(header.row, 0)?;
        Ok(())
    }

    /// Writes a row where it stood.
    pub(super) fn write_row(&mut self, row: &SheetRow) -> anyhow::Result<()> {
        let sheet = self.workbook.worksheet_from_index(0)?;
        let sheet_row = row.number.saturating_sub(1);
        let last = usize::from(self.explanation_column);
        let found: Vec<Issue> = self.found.issues_of_row(Some(row.number)).collect();
        for (column, cell) in (0..).zip(row.cells().take(last)) {
            let severity = match row.damage {
                Some(_) => Some(Severity::Error),
                None => severity_of(&found, column),
            };
            let format = self.formats.of(severity);
            sheet.write_string_with_format(
                sheet_row,
                column,
                truncate_for_cell(cell.display_text()),
                format,
            )?;
        }
        // Faulty cells that the row does not have, because they are blank.
        for column in (0..self.explanation_column).skip(row.len()) {
            let severity = severity_of(&found, column);
            if severity.is_some() {
                sheet.write_blank(sheet_row, column, self.formats.of(severity))?;
            }
        }
        if !found.is_empty() {
            sheet.write_string_with_format(
                sheet_row,
                self.explanation_column,
                truncate_for_cell(&explanation_text(&found)),
                &self.formats.explanation,
            )?;
        }
        Ok(())
    }

    pub(super) fn save(mut self, header: &Header, path: &Path) -> anyhow::Result<()> {
        let last = self
            .found
            .iter()
            .last()
            .and_then(|issue| issue.row)
            .unwrap_or(header.row);
        let sheet = self.workbook.worksheet_from_index(0)?;
        sheet.autofilter(
            header.row.saturating_sub(1),
            0,
            last.max(header.row).saturating_sub(1),
            self.explanation_column,
        )?;
        self.workbook
            .save(path)
            .with_context(|| format!("file `{}` can't be written", path.display()))
    }
}

/// The worst that was found in a cell of a row; what is about no cell counts for all of its row.
fn severity_of(found: &[Issue], column: u16) -> Option<Severity> {
    let column = u32::from(column);
    found
        .iter()
        .filter(|issue| {
            issue
                .column_index
                .is_none_or(|sheet_row| sheet_row == column)
        })
        .map(|issue| issue.severity)
        .min()
}

fn explanation_text(issues: &[Issue]) -> String {
    let lines: Vec<String> = issues
        .iter()
        .map(|issue| {
            let cell = issue
                .cell()
                .map_or_else(String::new, |cell| format!(" {cell}"));
            format!("{}{cell}: {}", issue.severity, issue.message())
        })
        .collect();
    lines.join("\n")
}

fn truncate_for_cell(text: &str) -> String {
    unicode::shorten(text, MAX_CELL_CHARS)
}
