//! `rosterd check`: looks at a file as an import would. Also the JSON that `import --dry-run` prints.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::Exit;
use super::app::read_file;
use super::output::{Format, json as print_json, line, plain};
use crate::config::Config;
use crate::import::{self, Preview, Reading};
use crate::model::contact::{FileContact, FileNumber, Priority, Said};
use crate::model::digest::{hex, sha256};
use crate::model::failure::{Failure, FailureCode};
use crate::model::issue::Severity;
use crate::model::plan::PlanSummary;
use crate::model::run::FileFacts;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// An .xlsx or .csv file; `-` is standard input.
    file: PathBuf,
}

pub(super) fn run(args: &Args, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let bytes = read_file(&args.file, config.fetch.max_bytes)?;
    let facts = FileFacts {
        sha256: Some(sha256(&bytes)),
        size_bytes: Some(bytes.len() as u64),
        ..FileFacts::default()
    };
    let reading = if bytes.len() as u64 > config.fetch.max_bytes {
        let message = format!(
            "the file is larger than {} bytes; delete what does not belong to the contact list",
            config.fetch.max_bytes
        );
        Err(Failure::new(FailureCode::TooLarge, message))
    } else {
        import::read(&bytes, config.import.max_rows, None).map_err(|error| error.failure())
    };
    let preview = Preview {
        file: facts,
        reading,
        plan: None,
    };
    print(&preview, format)?;
    Ok(exit(&preview))
}

/// The end of a command that looked at a file.
pub(super) fn exit(preview: &Preview) -> Exit {
    let held = preview
        .plan
        .as_ref()
        .is_some_and(|plan| !plan.hold_reasons.is_empty());
    match &preview.reading {
        _ if preview.failure().is_some() => Exit::Failed,
        Ok(_) if held => Exit::Held,
        Ok(reading) if has_errors(reading) => Exit::ContactsInError,
        _ => Exit::Done,
    }
}

fn has_errors(reading: &Reading) -> bool {
    reading
        .roster
        .issues
        .iter()
        .any(|issue| issue.severity == Severity::Error)
}

pub(super) fn print(preview: &Preview, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => print_json(&to_json(preview)),
        Format::Text => Ok(print_text(preview)?),
    }
}

fn to_json(preview: &Preview) -> Value {
    let sha256 = preview.file.sha256.map(|digest| hex(&digest));
    let mut value = match &preview.reading {
        Err(_) => json!({
            "file": {"format": null, "encoding": null, "delimiter": null, "sheet": null, "rows": null, "sha256": sha256},
            "contacts": [],
            "issues": [],
        }),
        Ok(Reading { facts, roster }) => json!({
            "file": {
                "format": facts.format.format,
                "encoding": facts.format.encoding,
                "delimiter": facts.format.delimiter,
                "sheet": facts.format.sheet,
                "rows": roster.row_count,
                "sha256": sha256,
            },
            "contacts": roster.contacts.iter().map(contact_json).collect::<Vec<_>>(),
            "issues": roster.issues,
        }),
    };
    value["failure"] = json!(preview.failure());
    if let Some(plan) = &preview.plan {
        value["plan"] = json!(plan.summary());
    }
    value
}

/// What the file says of a field; `null` where it says nothing.
fn said<T: Clone>(said: &Said<Option<T>>) -> Option<T> {
    match said {
        Said::This(value) => value.clone(),
        Said::Nothing => None,
    }
}

fn contact_json(contact: &FileContact) -> Value {
    let number = |number: &FileNumber| json!({"number": number.number, "number_type": number.number_type, "description": said(&number.description)});
    let priority = match contact.priority {
        Said::This(priority) => priority,
        Said::Nothing => Priority::Normal,
    };
    json!({
        "external_id": contact.external_id,
        "name": contact.name,
        "organization_name": said(&contact.organization_name),
        "title": said(&contact.title),
        "email": said(&contact.email),
        "notification_priority": priority,
        "numbers": contact.numbers.iter().map(number).collect::<Vec<_>>(),
        "groups": contact.groups,
        "rows": contact.rows,
    })
}

fn print_text(preview: &Preview) -> std::io::Result<()> {
    if let Some(failure) = preview.failure() {
        line(format!("refused: {failure}"))?;
    }
    let Ok(reading) = &preview.reading else {
        return Ok(());
    };
    let (format, roster) = (&reading.facts.format, &reading.roster);
    let detail = match (&format.sheet, format.encoding, format.delimiter) {
        (Some(sheet), ..) => format!("sheet `{}`", plain(sheet)),
        (None, Some(encoding), Some('\t')) => format!("{encoding}, separated by tabs"),
        (None, Some(encoding), Some(delimiter)) => {
            format!("{encoding}, separated by `{delimiter}`")
        }
        _ => String::new(),
    };
    line(format!(
        "{} ({detail}), {} rows",
        format.format, roster.row_count
    ))?;
    let of = |severity| {
        roster
            .issues
            .iter()
            .filter(|issue| issue.severity == severity)
            .count()
    };
    line(format!(
        "{} contacts can be imported; {} errors, {} warnings, {} notices",
        roster.contacts.len(),
        of(Severity::Error),
        of(Severity::Warning),
        of(Severity::Notice)
    ))?;
    for issue in &roster.issues {
        let place = issue
            .cell
            .clone()
            .or_else(|| issue.row.map(|row| format!("row {row}")))
            .unwrap_or_else(|| "file".to_owned());
        let who = match (&issue.contact_name, &issue.external_id) {
            (Some(name), Some(id)) => format!("{} (ID {}): ", plain(name), plain(id)),
            (Some(name), None) => format!("{}: ", plain(name)),
            (None, Some(id)) => format!("ID {}: ", plain(id)),
            (None, None) => String::new(),
        };
        let value = issue
            .value
            .as_ref()
            .map_or_else(String::new, |value| format!(" ({})", plain(value)));
        line(format!(
            "{:<7} {place:<8} {who}{}{value}",
            issue.severity, issue.message
        ))?;
    }
    preview
        .plan
        .as_ref()
        .map_or(Ok(()), |plan| print_plan(&plan.summary()))
}

fn print_plan(plan: &PlanSummary) -> std::io::Result<()> {
    line("an import would:")?;
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
            let shown: Vec<String> = ids.iter().take(20).map(|id| plain(id)).collect();
            let more = if ids.len() > 20 {
                format!(" and {} more", ids.len() - 20)
            } else {
                String::new()
            };
            line(format!(
                "  {what} {}: {}{more}",
                ids.len(),
                shown.join(", ")
            ))?;
        }
    }
    line(format!("  leave {} as they are", plan.unchanged))?;
    for reason in &plan.hold_reasons {
        line(format!("  and be held: {reason}"))?;
    }
    Ok(())
}
