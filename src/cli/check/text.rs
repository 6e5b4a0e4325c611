//! The text output of `check` and `import --dry-run`: a summary, the issues in the order of the sheet, and the plan.

use std::io::Write;

use anstyle::{AnsiColor, Style};

use super::plan_summary::PlanSummary;
use crate::cli::output::{escape_controls, explain_hold};
use crate::import::{ParsedFile, Preview};
use crate::model::issue::{Issue, Severity};
use crate::unicode::shorten;

/// Maximum number of contacts or groups listed per action; the others are counted.
const MAX_LISTED: usize = 20;
/// The name of a sheet is cut at this number of characters.
const MAX_NAME_CHARS: usize = 100;

pub(super) fn print(preview: &Preview, out: &mut dyn Write) -> std::io::Result<()> {
    if let Some(failure) = preview.failure() {
        let style = severity_style(Severity::Error);
        // Without a size, the file could not be fetched at all.
        let word = preview.file.size_bytes.map_or("failed", |_| "refused");
        writeln!(out, "{style}{word}{style:#}: {failure}")?;
    }
    let Ok(parsed_file) = &preview.parsed_file else {
        return Ok(());
    };
    print_file_summary(parsed_file, out)?;
    let sheet = &parsed_file.sheet;
    let width = sheet
        .issues
        .iter()
        .map(|issue| location(&issue).len())
        .max()
        .unwrap_or(0);
    for issue in sheet.issues.iter() {
        print_issue(&issue, width, out)?;
    }
    let omitted = sheet.issues.omitted();
    if omitted > 0 {
        writeln!(out, "and {omitted} more issues that are not listed")?;
    }
    preview.plan.as_ref().map_or(Ok(()), |plan| {
        print_plan(&PlanSummary::new(plan, &sheet.contacts), out)
    })
}

fn print_file_summary(parsed_file: &ParsedFile, out: &mut dyn Write) -> std::io::Result<()> {
    let (format, sheet) = (&parsed_file.info.format, &parsed_file.sheet);
    let detail = match (&format.sheet, format.encoding, format.delimiter) {
        (Some(name), ..) => {
            format!(
                "sheet `{}`",
                escape_controls(&shorten(name, MAX_NAME_CHARS))
            )
        }
        (None, Some(encoding), Some('\t')) => format!("{encoding}, delimiter tab"),
        (None, Some(encoding), Some(delimiter)) => {
            format!("{encoding}, delimiter `{delimiter}`")
        }
        _ => String::new(),
    };
    let rows = pluralize(sheet.row_count, "row");
    writeln!(out, "{} ({detail}), {rows}", format.format)?;
    let count = |severity| sheet.issues.count(severity);
    let mut parts = vec![format!(
        "{} can be imported",
        pluralize(sheet.contacts.len(), "contact")
    )];
    if !sheet.in_error.is_empty() {
        parts.push(format!("{} with errors", sheet.in_error.len()));
    }
    if !sheet.unidentified.is_empty() {
        parts.push(pluralize(sheet.unidentified.len(), "unidentified row"));
    }
    writeln!(
        out,
        "{}: {}, {}, {}",
        parts.join(", "),
        pluralize(count(Severity::Error), "error"),
        pluralize(count(Severity::Warning), "warning"),
        pluralize(count(Severity::Notice), "notice")
    )
}

fn pluralize(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn severity_style(severity: Severity) -> Style {
    let color = match severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Notice => AnsiColor::Cyan,
    };
    Style::new().bold().fg_color(Some(color.into()))
}

/// The position of an issue: the cell or row as in the spreadsheet program, or `file`.
fn location(issue: &Issue) -> String {
    issue
        .cell()
        .or_else(|| issue.row.map(|row| format!("row {row}")))
        .unwrap_or_else(|| "file".to_owned())
}

fn print_issue(issue: &Issue, width: usize, out: &mut dyn Write) -> std::io::Result<()> {
    let who = match (&issue.contact_name, &issue.external_id) {
        (Some(name), Some(id)) => {
            format!("{} (ID {}): ", escape_controls(name), escape_controls(id))
        }
        (Some(name), None) => format!("{}: ", escape_controls(name)),
        (None, Some(id)) => format!("ID {}: ", escape_controls(id)),
        (None, None) => String::new(),
    };
    let value = issue.value.as_ref().map_or_else(String::new, |value| {
        format!(" (value: {})", escape_controls(value))
    });
    let style = severity_style(issue.severity);
    writeln!(
        out,
        "{style}{:<7}{style:#} {:<width$}  {who}{}{value}",
        issue.severity,
        location(issue),
        escape_controls(&issue.message())
    )
}

fn print_plan(plan: &PlanSummary, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "an import would:")?;
    for (what, noun, ids) in [
        ("add", "contact", &plan.added),
        ("update", "contact", &plan.updated),
        ("remove", "contact", &plan.removed),
        ("revive", "contact", &plan.revived),
        ("adopt", "contact", &plan.adopted),
        ("withhold the removal of", "contact", &plan.withheld),
        ("remove all members of", "group", &plan.emptied_groups),
    ] {
        if !ids.is_empty() {
            let shown: Vec<String> = ids
                .iter()
                .take(MAX_LISTED)
                .map(|id| escape_controls(id))
                .collect();
            let more = if ids.len() > MAX_LISTED {
                format!(" and {} more", ids.len() - MAX_LISTED)
            } else {
                String::new()
            };
            let count = pluralize(ids.len(), noun);
            writeln!(out, "  {what} {count}: {}{more}", shown.join(", "))?;
        }
    }
    let unchanged = pluralize(plan.unchanged, "contact");
    writeln!(out, "  leave {unchanged} unchanged")?;
    for reason in &plan.hold_reasons {
        writeln!(out, "  be held: {}", explain_hold(reason.as_str()))?;
    }
    Ok(())
}
