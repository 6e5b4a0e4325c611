//! Writes a copy of the checked sheet as a workbook, with faulty cells colored and a column that explains the issues. Rows and
//! columns keep their positions, so cell references are the same in both files. Does not depend on how issues are found.

use std::path::Path;

use anyhow::Context;
use rust_xlsxwriter::{Color, Format, Workbook};

use crate::cli::template::TEXT_FORMAT_INDEX;
use crate::compact::Issues;
use crate::import::ParsedFile;
use crate::model::issue::{Issue, Severity};
use crate::table::{Header, SheetRow};
use crate::unicode;

/// Maximum length of a cell's text in a workbook, in characters.
const MAX_CELL_CHARS: usize = 32_767;
/// Maximum number of columns to copy. With more, the explanation would be too far to the right to be found.
const MAX_COLUMNS: usize = 200;
/// Title of the column with the explanations.
const EXPLANATION_TITLE: &str = "What to fix";

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
        // Text format keeps leading zeros and all digits when cells are edited in this file.
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

    fn for_severity(&self, severity: Option<Severity>) -> &Format {
        match severity {
            Some(Severity::Error) => &self.error,
            Some(Severity::Warning) => &self.warning,
            Some(Severity::Notice) => &self.notice,
            None => &self.plain,
        }
    }
}

/// Writes the annotated sheet row by row.
pub(super) struct Annotator<'a> {
    /// Rows are written to a temporary file and not kept in memory.
    workbook: Workbook,
    formats: Formats,
    issues: &'a Issues,
    explanation_column: u16,
}

impl<'a> Annotator<'a> {
    /// Prepares a workbook for a sheet whose widest row has `max_cells` cells. Until it is saved, its data is in an unnamed
    /// temporary file in `folder`.
    pub(super) fn new(
        parsed_file: &'a ParsedFile,
        max_cells: usize,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let header = &parsed_file.info.header;
        // After the last column, including columns without a title that have an issue.
        let width = parsed_file
            .sheet
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
            issues: &parsed_file.sheet.issues,
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
        let header_issues: Vec<Issue> = self.issues.issues_of_row(Some(header.row)).collect();
        for (column, title) in (0..).zip(&header.titles) {
            let format = match severity_of(&header_issues, column) {
                None => &self.formats.header,
                severity => self.formats.for_severity(severity),
            };
            sheet.write_string_with_format(row, column, truncate_for_cell(title), format)?;
        }
        sheet.write_string_with_format(
            row,
            self.explanation_column,
            EXPLANATION_TITLE,
            &self.formats.header,
        )?;
        // Issues about the whole file are listed in the header row.
        let issues: Vec<Issue> = self
            .issues
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

    /// Writes a row at its original position.
    pub(super) fn write_row(&mut self, row: &SheetRow) -> anyhow::Result<()> {
        let sheet = self.workbook.worksheet_from_index(0)?;
        let sheet_row = row.number.saturating_sub(1);
        let last = usize::from(self.explanation_column);
        let row_issues: Vec<Issue> = self.issues.issues_of_row(Some(row.number)).collect();
        for (column, cell) in (0..).zip(row.cells().take(last)) {
            let severity = match row.damage {
                Some(_) => Some(Severity::Error),
                None => severity_of(&row_issues, column),
            };
            let format = self.formats.for_severity(severity);
            sheet.write_string_with_format(
                sheet_row,
                column,
                truncate_for_cell(cell.display_text()),
                format,
            )?;
        }
        // Faulty blank cells at the end of the row are not part of `row`.
        for column in (0..self.explanation_column).skip(row.len()) {
            let severity = severity_of(&row_issues, column);
            if severity.is_some() {
                sheet.write_blank(sheet_row, column, self.formats.for_severity(severity))?;
            }
        }
        if !row_issues.is_empty() {
            sheet.write_string_with_format(
                sheet_row,
                self.explanation_column,
                truncate_for_cell(&explanation_text(&row_issues)),
                &self.formats.explanation,
            )?;
        }
        Ok(())
    }

    pub(super) fn save(mut self, header: &Header, path: &Path) -> anyhow::Result<()> {
        let last = self
            .issues
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
            .with_context(|| format!("cannot write file `{}`", path.display()))
    }
}

/// The highest severity of a cell's issues. Issues without a column count for every cell of the row.
fn severity_of(issues: &[Issue], column: u16) -> Option<Severity> {
    let column = u32::from(column);
    issues
        .iter()
        .filter(|issue| issue.column_index.is_none_or(|index| index == column))
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
