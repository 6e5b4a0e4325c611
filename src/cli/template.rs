//! `rosterd template`: the import template as the help page describes it.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args as ClapArgs;
use rust_xlsxwriter::{DataValidation, Format as CellFormat, Workbook};

use super::{Exit, output};
use crate::model::table::Field;
use crate::sheet::template_columns;
use crate::validate::EXAMPLE_ROW;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Where to write it; `-` is standard output [default: contacts.xlsx or contacts.csv].
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// Writes the template; of the kind that was asked for, else as the file's name ends.
pub(super) fn run(args: &Args, csv_asked: bool, asked: bool) -> anyhow::Result<Exit> {
    let ends_in_csv = args
        .output
        .as_deref()
        .and_then(Path::extension)
        .is_some_and(|end| end.eq_ignore_ascii_case("csv"));
    let as_csv = if asked { csv_asked } else { ends_in_csv };
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
        .with_context(|| format!("file `{}` can't be written", path.display()))?;
    output::line(format!("template written to {}", path.display()))?;
    Ok(Exit::Done)
}

/// `"ID"` is quoted, because a file that begins with bare `ID` is taken for SYLK by Excel.
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

fn xlsx() -> anyhow::Result<Vec<u8>> {
    const ROWS: u32 = 10_000;
    let mut workbook = Workbook::new();
    let (bold, text) = (
        CellFormat::new().set_bold(),
        CellFormat::new().set_num_format("@"),
    );
    let sheet = workbook.add_worksheet().set_name("Contacts")?;
    for (column, field) in (0..).zip(Field::ALL) {
        sheet.set_column_width(column, 22)?;
        // As text, so that no ID loses its zeros and no number turns into 6.04E+09.
        sheet.set_column_format(column, &text)?;
        sheet.write_with_format(0, column, field.as_str(), &bold)?;
        sheet.write_with_format(1, column, EXAMPLE_ROW[usize::from(column)], &text)?;
        let choices: &[&str] = match field {
            Field::NumberType => &["mobile", "landline", "pager"],
            Field::Priority => &["High", "Normal", "Low"],
            _ => continue,
        };
        sheet.add_data_validation(
            1,
            column,
            ROWS,
            column,
            &DataValidation::new().allow_list_strings(choices)?,
        )?;
    }
    sheet.set_freeze_panes(1, 0)?;
    Ok(workbook.save_to_buffer()?)
}
