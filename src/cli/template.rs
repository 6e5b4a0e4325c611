//! `rosterd template`: writes the import template as a workbook or a CSV file.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args as ClapArgs;
use rust_xlsxwriter::{
    Color, DataValidation, DataValidationErrorStyle, Format as CellFormat, Workbook, Worksheet,
};

use super::{Exit, output};
use crate::model::contact::NumberType;
use crate::sheet::template_columns;
use crate::table::Field;
use crate::validate::EXAMPLE_ROW;

/// Excel's built-in number format `@` (Text).
pub(super) const TEXT_FORMAT_INDEX: u8 = 49;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// File to write; `-` is standard output [default: contacts.xlsx or contacts.csv].
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// Writes the template in the requested format, or in the format that the file extension suggests.
pub(super) fn run(args: &Args, csv_requested: bool, format_given: bool) -> anyhow::Result<Exit> {
    let has_csv_extension = args
        .output
        .as_deref()
        .and_then(Path::extension)
        .is_some_and(|end| end.eq_ignore_ascii_case("csv"));
    let as_csv = if format_given {
        csv_requested
    } else {
        has_csv_extension
    };
    let (bytes, default) = if as_csv {
        (csv().into_bytes(), "contacts.csv")
    } else {
        (xlsx()?, "contacts.xlsx")
    };
    let path = args.output.clone().unwrap_or_else(|| default.into());
    if path == Path::new("-") {
        std::io::stdout().write_all(&bytes)?;
        return Ok(Exit::Done);
    }
    std::fs::write(&path, bytes)
        .with_context(|| format!("cannot write file `{}`", path.display()))?;
    output::print_line(format!("template written to {}", path.display()))?;
    Ok(Exit::Done)
}

/// `"ID"` is quoted because Excel takes a file that begins with an unquoted `ID` for a SYLK file.
fn csv() -> String {
    let quoted = |cell: &str| {
        if cell == "ID" || cell.contains(',') {
            format!("\"{cell}\"")
        } else {
            cell.to_owned()
        }
    };
    let header: Vec<String> = template_columns().map(quoted).collect();
    let example: Vec<String> = EXAMPLE_ROW.into_iter().map(quoted).collect();
    format!("{}\r\n{}\r\n", header.join(","), example.join(","))
}

/// A workbook with a sheet for contacts and a sheet that describes the columns.
fn xlsx() -> anyhow::Result<Vec<u8>> {
    let mut workbook = Workbook::new();
    contacts(workbook.add_worksheet())?;
    explanations(workbook.add_worksheet())?;
    Ok(workbook.save_to_buffer()?)
}

fn contacts(sheet: &mut Worksheet) -> anyhow::Result<()> {
    /// Rows that have drop-down lists.
    const ROWS: u32 = 10_000;
    let text = CellFormat::new().set_num_format_index(TEXT_FORMAT_INDEX);
    sheet.set_name("Contacts")?;
    for (column, field) in (0..).zip(Field::ALL) {
        sheet.set_column_width(column, 22)?;
        // Text format keeps leading zeros of IDs and prevents numbers such as 6.04E+09.
        sheet.set_column_format(column, &text)?;
        sheet.write_with_format(0, column, field.as_str(), &heading())?;
        sheet.write_with_format(1, column, EXAMPLE_ROW[usize::from(column)], &text)?;
        let choices = choices(*field);
        if choices.is_empty() {
            continue;
        }
        let list = DataValidation::new()
            .allow_list_strings(&choices)?
            .set_error_title("Invalid value")?
            .set_error_message(format!("{field} must be one of: {}", choices.join(", ")))?
            .set_error_style(DataValidationErrorStyle::Stop);
        sheet.add_data_validation(1, column, ROWS, column, &list)?;
    }
    sheet.set_freeze_panes(1, 0)?;
    Ok(())
}

/// This sheet comes second because an import reads the first sheet that has the header.
fn explanations(sheet: &mut Worksheet) -> anyhow::Result<()> {
    const WIDTHS: [f64; 4] = [24.0, 10.0, 90.0, 28.0];
    let wrapped = CellFormat::new()
        .set_num_format_index(TEXT_FORMAT_INDEX)
        .set_text_wrap();
    sheet.set_name("Column descriptions")?;
    let titles = ["Column", "Required", "What to enter", "Example"];
    for ((column, title), width) in (0..).zip(titles).zip(WIDTHS) {
        sheet.set_column_width(column, width)?;
        sheet.write_with_format(0, column, title, &heading())?;
    }
    for ((row, field), example) in (1..).zip(Field::ALL).zip(EXAMPLE_ROW) {
        let required = if field.is_required() { "yes" } else { "no" };
        for (column, cell) in (0..).zip([field.as_str(), required, explanation(*field), example]) {
            sheet.write_with_format(row, column, cell, &wrapped)?;
        }
    }
    sheet.set_freeze_panes(1, 0)?;
    Ok(())
}

fn heading() -> CellFormat {
    CellFormat::new()
        .set_bold()
        .set_num_format_index(TEXT_FORMAT_INDEX)
        .set_background_color(Color::RGB(0x00DD_E6EE))
}

/// Values of the drop-down list of a column; empty if the column has none.
fn choices(field: Field) -> Vec<&'static str> {
    match field {
        Field::NumberType => NumberType::ALL.iter().map(|kind| kind.as_str()).collect(),
        // Spelled as on the help page. An import ignores case.
        Field::Priority => vec!["High", "Normal", "Low"],
        _ => Vec::new(),
    }
}

fn explanation(field: Field) -> &'static str {
    match field {
        Field::Id => {
            "A unique text that never changes, for example a member number or staff number. If you change an ID, the \
             old contact is removed and a new one is added. If an ID is no longer in the file, its contact is removed. \
             Several rows with the same ID are one contact with several numbers."
        }
        Field::Name => "First and last name.",
        Field::OrganizationName => "Organization of the contact.",
        Field::Title => "Title, accreditations or both.",
        Field::Number => {
            "Area code and local number, 10 digits, without an extension. Spaces, dashes, parentheses and a leading +1 \
             are allowed. To enter more numbers, add the columns `Number 2` and `Number Type 2`, or another row with \
             the same ID."
        }
        Field::NumberType => {
            "mobile, landline or pager. Determines whether the number is texted, called or paged."
        }
        Field::NumberDescription => {
            "Distinguishes several numbers of a contact, for example work and home."
        }
        Field::Email => "Email address for notifications.",
        Field::Priority => {
            "High, Normal or Low; blank means Normal. Contacts with High are called and texted first."
        }
        Field::Groups => {
            "Group names, separated by commas. Groups that do not exist yet are created."
        }
    }
}
