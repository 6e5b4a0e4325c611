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

pub(super) fn line(text: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}

pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(PIECE, std::io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Prints with colours on a terminal, and without where nobody sees them or `NO_COLOR` asks for none.
pub(super) fn styled(
    print: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let stdout = std::io::stdout();
    let choice = AutoStream::choice(&stdout);
    let mut out = BufWriter::with_capacity(PIECE, stdout.lock());
    if choice == ColorChoice::Never {
        let strip = StripBytes::new();
        print(&mut Colourless {
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
const PIECE: usize = 64 << 10;

/// Passes on what is not for a terminal only.
struct Colourless<W> {
    out: W,
    strip: StripBytes,
}

impl<W: Write> Write for Colourless<W> {
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
pub(super) fn note(text: impl std::fmt::Display) -> std::io::Result<()> {
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
pub(super) fn or_blank(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// What a terminal would obey is made visible instead.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

/// What a run did, in a line.
pub(super) fn counts(run: &RunRow) -> String {
    let of = |count: Option<i32>| count.unwrap_or(0);
    let mut text = format!(
        "{} rows: {} added, {} updated, {} removed, {} unchanged",
        of(run.row_count),
        of(run.added),
        of(run.updated),
        of(run.removed),
        of(run.unchanged)
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
        if of(count) > 0 {
            text = format!("{text}, {} {what}", of(count));
        }
    }
    text
}
