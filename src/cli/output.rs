//! Printing for people and for scripts.

use std::io::{BufWriter, Write};

use anstream::adapter::StripBytes;
use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::store::RunRow;

/// What `--format` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArg {
    /// For people.
    Text,
    /// For scripts.
    Json,
    /// A workbook (`template` only).
    Xlsx,
    /// A CSV file (`template` only).
    Csv,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

pub(super) fn print_line(text: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}

pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Prints with colours on a terminal, and without where nobody sees them or `NO_COLOR` asks for none.
pub(super) fn with_colors(
    print: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let stdout = std::io::stdout();
    let choice = AutoStream::choice(&stdout);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, stdout.lock());
    if choice == ColorChoice::Never {
        let strip = StripBytes::new();
        print(&mut ColorStripper {
            out: &mut out,
            strip,
        })?;
    } else {
        print(&mut out)?;
    }
    out.flush()?;
    Ok(())
}

/// Bytes that are written in one piece: there may be a million lines.
const BUFFER_BYTES: usize = 64 << 10;

/// Passes on what is not for a terminal only.
struct ColorStripper<W> {
    out: W,
    strip: StripBytes,
}

impl<W: Write> Write for ColorStripper<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for piece in self.strip.strip_next(bytes) {
            self.out.write_all(piece)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Says something beside the data.
pub(super) fn print_note(text: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{text}")
}

/// A table with these titles, as wide as the terminal allows.
pub(super) fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(titles);
    table
}

/// The text of an optional value, or nothing.
pub(super) fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// What a terminal would obey is made visible instead.
pub(super) fn escape_controls(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

/// What a run did, in a line.
pub(super) fn format_counts(run: &RunRow) -> String {
    let or_zero = |count: Option<i32>| count.unwrap_or(0);
    let mut text = format!(
        "{} rows: {} added, {} updated, {} removed, {} unchanged",
        or_zero(run.row_count),
        or_zero(run.added),
        or_zero(run.updated),
        or_zero(run.removed),
        or_zero(run.unchanged)
    );
    for (count, what) in [
        (run.revived, "revived"),
        (run.adopted, "adopted"),
        (run.withheld, "removals withheld"),
        (
            run.errors,
            if run.errors == Some(1) {
                "error"
            } else {
                "errors"
            },
        ),
        (
            run.warnings,
            if run.warnings == Some(1) {
                "warning"
            } else {
                "warnings"
            },
        ),
    ] {
        if or_zero(count) > 0 {
            text = format!("{text}, {} {what}", or_zero(count));
        }
    }
    text
}
