//! `rosterd runs …`: lists and shows import runs; approves, rejects and reverts them.

use clap::Subcommand;
use serde_json::json;

use super::app::App;
use super::output::{
    Format, approve_command, escape_controls, explain_hold, format_counts, or_empty, print_json,
    print_line, table,
};
use super::run_now::run_now;
use super::{Exit, account_ref};
use crate::model::account::AccountRef;
use crate::model::failure::clean_message;
use crate::model::run::{NewRun, Origin, Trigger};
use crate::model::{AccountId, RunId};
use crate::store::{ChangeRow, RunRow};

/// Maximum number of contacts of one kind that `runs show` lists by name.
const MAX_LISTED: usize = 50;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the most recent runs.
    List {
        /// Account ID or name [default: all accounts].
        #[arg(value_parser = account_ref)]
        account: Option<AccountRef>,
        /// Maximum number of runs.
        #[arg(long, default_value_t = 20)]
        limit: i64,
    },
    /// Show a run and the contacts that it changed or would change.
    Show {
        /// Run ID.
        run: i64,
    },
    /// List the errors and warnings that a run found in its file.
    Issues {
        /// Run ID.
        run: i64,
    },
    /// List all changes that a run made or would make.
    Changes {
        /// Run ID.
        run: i64,
    },
    /// Approve a held run or withheld removals: import the file again and apply the changes.
    Approve {
        /// Run ID.
        run: i64,
        /// Keep the records of contacts whose ID was changed (possible duplicates) and give them the new ID.
        #[arg(long)]
        keep_ids: bool,
    },
    /// Reject a held run without applying its changes.
    Reject {
        /// Run ID.
        run: i64,
    },
    /// Undo the changes of a run. Contacts that were changed since are skipped and listed.
    Revert {
        /// Run ID.
        run: i64,
        /// Also restore contacts that were changed since.
        #[arg(long)]
        force: bool,
    },
}

pub(super) async fn run(command: &Command, app: &App, format: Format) -> anyhow::Result<Exit> {
    match command {
        Command::List { account, limit } => {
            let account = match account {
                Some(account) => Some(app.store.account(account).await?.id),
                None => None,
            };
            let runs = app.store.runs(account, *limit).await?;
            match format {
                Format::Json => print_json(&runs)?,
                Format::Text => list(&runs)?,
            }
        }
        Command::Show { run } => show(app, RunId(*run), format).await?,
        Command::Issues { run } => issues(app, RunId(*run), format).await?,
        Command::Changes { run } => {
            app.store.run(RunId(*run)).await?;
            let changes = app.store.run_changes(RunId(*run)).await?;
            match format {
                Format::Json => print_json(&changes)?,
                Format::Text => print_changes(RunId(*run), &changes, usize::MAX)?,
            }
        }
        Command::Approve { run, keep_ids } => {
            return approve(app, RunId(*run), *keep_ids, format).await;
        }
        Command::Revert { run, force } => return revert(app, RunId(*run), *force, format).await,
        Command::Reject { run } => {
            app.store.reject_run(RunId(*run), app.clock.now()).await?;
            print_line(format!("run {run} rejected; nothing was changed"))?;
        }
    }
    Ok(Exit::Done)
}

async fn revert(app: &App, id: RunId, force: bool, format: Format) -> anyhow::Result<Exit> {
    app.store.check_revertible(id).await?;
    let run = app.store.run(id).await?;
    let new = NewRun {
        trigger: Trigger::Revert,
        subject: Some(id),
        forced: force,
        ..NewRun::manual(AccountId(run.account_id), Origin::Source)
    };
    run_now(app, new, None, format).await
}

async fn approve(app: &App, id: RunId, keep_ids: bool, format: Format) -> anyhow::Result<Exit> {
    let run = app.store.run(id).await?;
    check_approvable(app, &run, keep_ids).await?;
    anyhow::ensure!(
        run.origin == Origin::Source.as_str(),
        "run {id} used a local file; approve it with `{}`",
        approve_command(&run)
    );
    let new = NewRun {
        trigger: Trigger::Approval,
        subject: Some(id),
        keep_ids,
        ..NewRun::manual(AccountId(run.account_id), Origin::Source)
    };
    run_now(app, new, None, format).await
}

/// Fails if there is nothing to approve, or if `keep_ids` comes too late because the new contacts were already added.
pub(super) async fn check_approvable(
    app: &App,
    run: &RunRow,
    keep_ids: bool,
) -> anyhow::Result<()> {
    anyhow::ensure!(run.is_approvable(), run.not_held_error());
    if run.is_held() {
        return Ok(());
    }
    if let Some(applied) = app.store.applied_run(run.account_id).await? {
        anyhow::ensure!(
            applied.0 == run.id,
            "run {} was followed by run {applied}; see `rosterd runs show {applied}`",
            run.id
        );
    }
    anyhow::ensure!(
        !keep_ids,
        "--keep-ids works only for held runs; run {} has already added the contacts with new IDs, and an ID can belong to only \
         one contact",
        run.id
    );
    Ok(())
}

fn list(runs: &[RunRow]) -> std::io::Result<()> {
    let mut listing = table(&[
        "run",
        "account",
        "trigger",
        "status",
        "finished (UTC)",
        "outcome",
    ]);
    for run in runs {
        let outcome = match &run.failure_code {
            Some(code) => code.clone(),
            None if run.row_count.is_some() => format_counts(run),
            None => String::new(),
        };
        listing.add_row([
            run.id.to_string(),
            run.account_id.to_string(),
            run.trigger.clone(),
            run.status.replace('_', " "),
            or_empty(run.finished_at.map(|at| at.format("%Y-%m-%d %H:%M:%S"))),
            outcome,
        ]);
    }
    print_line(listing)
}

async fn show(app: &App, id: RunId, format: Format) -> anyhow::Result<()> {
    let run = app.store.run(id).await?;
    let changes = app.store.run_changes(id).await?;
    if format == Format::Json {
        return print_json(&json!({ "run": run, "changes": changes }));
    }
    print_line(format!(
        "run {} of account {} (trigger: {}): {}",
        run.id,
        run.account_id,
        run.trigger,
        run.status.replace('_', " ")
    ))?;
    for (what, at) in [
        ("requested", Some(run.requested_at)),
        ("started", run.started_at),
        ("finished", run.finished_at),
    ] {
        if let Some(at) = at {
            print_line(format!(
                "  {what:<10} {}",
                at.format("%Y-%m-%d %H:%M:%S UTC")
            ))?;
        }
    }
    if let (Some(code), Some(message)) = (&run.failure_code, &run.failure_message) {
        print_line(format!("  failed: {} ({code})", clean_message(message)))?;
    }
    if run.row_count.is_some() {
        print_line(format!("  {}", format_counts(&run)))?;
    }
    for reason in run.hold_reasons.iter().flatten() {
        print_line(format!("  held: {}", explain_hold(reason)))?;
    }
    if let Some(successor) = run.superseded_by {
        print_line(format!("  superseded by run {successor}"))?;
    }
    for group in run.emptied_groups.iter().flatten() {
        let what = if run.hold_reasons.is_some() {
            "group would become empty"
        } else {
            "group became empty"
        };
        print_line(format!("  {what}: {}", escape_controls(group)))?;
    }
    print_possible_duplicates(&run, &changes)?;
    print_changes(id, &changes, MAX_LISTED)?;
    Ok(())
}

/// Lists pairs of a removed and an added contact that look like the same contact under a new ID.
fn print_possible_duplicates(run: &RunRow, changes: &[ChangeRow]) -> std::io::Result<()> {
    let pairs: Vec<(&ChangeRow, &ChangeRow)> = changes
        .iter()
        .filter_map(|addition| {
            let same_as_id = addition.same_as?;
            let removed_contact = changes.iter().find(|change| {
                change.action == "removed" && change.contact_id == Some(same_as_id)
            })?;
            Some((removed_contact, addition))
        })
        .collect();
    for (removed_contact, addition) in pairs.iter().take(MAX_LISTED) {
        print_line(format!(
            "  possible duplicate: {} (ID {}, new ID {})",
            escape_controls(removed_contact.name.as_deref().unwrap_or("?")),
            escape_controls(removed_contact.external_id.as_deref().unwrap_or("?")),
            escape_controls(addition.external_id.as_deref().unwrap_or("?"))
        ))?;
    }
    // In a run that is no longer held, the contacts were already added or removed, so IDs can't be kept.
    if !pairs.is_empty() && run.is_held() {
        print_line(format!(
            "  possible duplicates in total: {}; to keep their records under the new IDs: {} --keep-ids",
            pairs.len(),
            approve_command(run)
        ))?;
    }
    Ok(())
}

fn print_changes(run: RunId, changes: &[ChangeRow], limit: usize) -> std::io::Result<()> {
    for (action, past_tense, conditional) in [
        ("removed", "removed", "would be removed"),
        ("updated", "updated", "would be updated"),
        ("adopted", "adopted", "would be adopted"),
        ("revived", "revived", "would be revived"),
        ("added", "added", "would be added"),
    ] {
        for (applied, what) in [(true, past_tense), (false, conditional)] {
            let matching: Vec<&ChangeRow> = changes
                .iter()
                .filter(|c| c.action == action && c.applied == applied)
                .collect();
            for change in matching.iter().take(limit) {
                let id = change.external_id.as_ref().map_or_else(
                    || "no ID".to_owned(),
                    |id| format!("ID {}", escape_controls(id)),
                );
                print_line(format!(
                    "  {what}: {} ({id})",
                    escape_controls(change.name.as_deref().unwrap_or("?"))
                ))?;
            }
            if matching.len() > limit {
                print_line(format!(
                    "  {what}: and {} more (rosterd runs changes {run})",
                    matching.len() - limit
                ))?;
            }
        }
    }
    Ok(())
}

async fn issues(app: &App, id: RunId, format: Format) -> anyhow::Result<()> {
    app.store.run(id).await?;
    let issues = app.store.run_issues(id).await?;
    if format == Format::Json {
        return print_json(&issues);
    }
    let mut listing = table(&["severity", "cell", "contact", "problem", "value"]);
    for issue in &issues {
        let who = match (&issue.contact_name, &issue.external_id) {
            (Some(name), Some(id)) => {
                format!("{} (ID {})", escape_controls(name), escape_controls(id))
            }
            (Some(name), None) => escape_controls(name),
            (None, Some(id)) => format!("ID {}", escape_controls(id)),
            (None, None) => String::new(),
        };
        let location = issue
            .cell
            .clone()
            .or_else(|| issue.row.map(|row| format!("row {row}")))
            .unwrap_or_default();
        listing.add_row([
            issue.severity.clone(),
            location,
            who,
            escape_controls(&issue.message),
            escape_controls(issue.value.as_deref().unwrap_or_default()),
        ]);
    }
    print_line(listing)?;
    Ok(())
}
