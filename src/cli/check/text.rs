//! What a person reads of a file that was looked at: a summary, then what was found, in the order of the sheet.

use std::io::Write;

use anstyle::{AnsiColor, Style};

use super::plan_summary::PlanSummary;
use crate::cli::output::escape_controls;
use crate::import::{Preview, Reading};
use crate::model::issue::{Issue, Severity};

/// Shown of a list of people; the rest is counted.
const MAX_LISTED: usize = 20;

pub(super) fn print(preview: &Preview, out: &mut dyn Write) -> std::io::Result<()> {
    if let Some(failure) = preview.failure() {
        let style = severity_style(Severity::Error);
        // Of a file that could not be had nothing is known.
        let word = preview.file.size_bytes.map_or("failed", |_| "refused");
        writeln!(out, "{style}{word}{style:#}: {failure}")?;
    }
    let Ok(reading) = &preview.reading else {
        return Ok(());
    };
    summary(reading, out)?;
    let width = reading
        .parsed
        .issues
        .iter()
        .map(|issue| location(&issue).len())
        .max()
        .unwrap_or(0);
    for issue in reading.parsed.issues.iter() {
        print_issue(&issue, width, out)?;
    }
    let omitted = reading.parsed.issues.omitted();
    if omitted > 0 {
        writeln!(out, "and {omitted} more, which are counted only")?;
    }
    preview.plan.as_ref().map_or(Ok(()), |plan| {
        print_plan(&PlanSummary::new(plan, &reading.parsed.contacts), out)
    })
}

fn summary(reading: &Reading, out: &mut dyn Write) -> std::io::Result<()> {
    let (format, parsed) = (&reading.facts.format, &reading.parsed);
    let detail = match (&format.sheet, format.encoding, format.delimiter) {
        (Some(sheet), ..) => format!("sheet `{}`", escape_controls(sheet)),
        (None, Some(encoding), Some('\t')) => format!("{encoding}, separated by tabs"),
        (None, Some(encoding), Some(delimiter)) => {
            format!("{encoding}, separated by `{delimiter}`")
        }
        _ => String::new(),
    };
    let rows = pluralize(parsed.row_count, "row");
    writeln!(out, "{} ({detail}), {rows}", format.format)?;
    let of = |severity| parsed.issues.count(severity);
    let mut parts = vec![format!(
        "{} can be imported",
        pluralize(parsed.contacts.len(), "contact")
    )];
    if !parsed.in_error.is_empty() {
        parts.push(format!("{} in error", parsed.in_error.len()));
    }
    if !parsed.unidentified.is_empty() {
        let rows = pluralize(parsed.unidentified.len(), "row");
        parts.push(format!("{rows} of which nobody can know whose it is"));
    }
    writeln!(
        out,
        "{}: {}, {}, {}",
        parts.join(", "),
        pluralize(of(Severity::Error), "error"),
        pluralize(of(Severity::Warning), "warning"),
        pluralize(of(Severity::Notice), "notice")
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

/// Where it is, as the spreadsheet program names it.
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
        format!(" ({})", escape_controls(value))
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
    for (what, ids) in [
        ("add", &plan.added),
        ("update", &plan.updated),
        ("remove", &plan.removed),
        ("revive", &plan.revived),
        ("adopt", &plan.adopted),
        ("withhold the removal of", &plan.withheld),
        ("leave nobody in", &plan.emptied_groups),
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
            writeln!(out, "  {what} {}: {}{more}", ids.len(), shown.join(", "))?;
        }
    }
    writeln!(out, "  leave {} as they are", plan.unchanged)?;
    for reason in &plan.hold_reasons {
        writeln!(out, "  and be held: {reason}")?;
    }
    Ok(())
}
