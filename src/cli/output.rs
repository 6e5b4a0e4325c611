//! Output of commands: text, tables and JSON, and phrases that several commands print. Does not depend on a particular command.

use std::io::{BufWriter, Write};

use anstream::adapter::StripBytes;
use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::model::hold::HoldReason;
use crate::model::run::Origin;
use crate::store::RunRow;

/// Values of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArg {
    /// Text for a terminal.
    Text,
    /// JSON for scripts.
    Json,
    /// A workbook (`template` only).
    Xlsx,
    /// A CSV file (`template` only).
    Csv,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Text for a terminal.
    Text,
    /// JSON for scripts.
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

/// Prints with colors on a terminal, and without them elsewhere or if `NO_COLOR` is set.
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

/// Size of the output buffer in bytes. The output may have a million lines.
const BUFFER_BYTES: usize = 64 << 10;

/// Removes terminal escape sequences and writes the rest.
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

/// Prints to standard error, to keep standard output free for data.
pub(super) fn print_note(text: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{text}")
}

/// Creates a table with these column titles that adapts to the width of the terminal.
pub(super) fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(titles);
    table
}

/// Returns the value as text, or an empty string.
pub(super) fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Replaces control characters, which a terminal would interpret, with U+FFFD.
pub(super) fn escape_controls(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

/// Formats the counts of a run in one line.
pub(super) fn format_counts(run: &RunRow) -> String {
    let or_zero = |count: Option<i32>| count.unwrap_or(0);
    let plural = |count: Option<i32>, one, many| if count == Some(1) { one } else { many };
    // A revert reads no file.
    let rows = run.row_count.map_or_else(String::new, |rows| {
        format!("{rows} {}: ", plural(Some(rows), "row", "rows"))
    });
    let mut text = format!(
        "{rows}{} added, {} updated, {} removed, {} unchanged",
        or_zero(run.added),
        or_zero(run.updated),
        or_zero(run.removed),
        or_zero(run.unchanged)
    );
    for (count, what) in [
        (run.revived, "revived"),
        (run.adopted, "adopted"),
        (
            run.withheld,
            plural(run.withheld, "removal withheld", "removals withheld"),
        ),
        (run.errors, plural(run.errors, "error", "errors")),
        (run.warnings, plural(run.warnings, "warning", "warnings")),
    ] {
        if or_zero(count) > 0 {
            text = format!("{text}, {} {what}", or_zero(count));
        }
    }
    text
}

/// Explains a code from `import_runs.hold_reasons`.
pub(super) fn explain_hold(code: &str) -> String {
    let Ok(reason) = code.parse::<HoldReason>() else {
        return code.to_owned();
    };
    let explanation = match reason {
        HoldReason::RemovesTooMany => "too many contacts would be removed",
        HoldReason::IdsChanged => "too many contacts are probably in the file under a new ID",
        HoldReason::ChangesTooMany => "too many contacts would get another name or other numbers",
        HoldReason::EmptiesGroup => "a group would lose all its members",
        HoldReason::ErrorsTooMany => "too many rows have new errors",
        HoldReason::FirstImport => {
            "first import since imports were enabled, and it would change existing contacts"
        }
        HoldReason::AfterRevert => {
            "first import since a revert, and it would change existing contacts"
        }
    };
    format!("{explanation} ({code})")
}

/// The command that approves a run.
pub(super) fn approve_command(run: &RunRow) -> String {
    if run.origin == Origin::File.as_str() {
        format!(
            "rosterd import {} --file PATH --approve {}",
            run.account_id, run.id
        )
    } else {
        format!("rosterd runs approve {}", run.id)
    }
}
