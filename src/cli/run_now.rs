//! A run that a command carries out itself: started, watched, its mail brought, its end told.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::app::{App, mailer};
use super::output::{Format, counts, json as print_json, line};
use crate::import::{Control, Importer, Observer, Progress};
use crate::lifecycle::Lifecycle;
use crate::model::RunId;
use crate::model::run::{ClaimedRun, NewRun, Origin, RunStatus};
use crate::outbox;
use crate::store::{RunRow, Started};
use crate::temp_file::Spool;

/// Starts a run in this process and stays with it to its end.
pub(super) async fn run_now(
    app: &App,
    new: NewRun,
    file: Option<Spool>,
    format: Format,
) -> anyhow::Result<Exit> {
    let importer = app.importer()?;
    let lifecycle = Lifecycle::listen()?;
    let run = start(app, &importer, new).await?;
    let (observer, bar) = observer(format);
    // Here nothing else is to be waited for: the first signal rolls back.
    let outcome = importer
        .run(
            &run,
            file,
            Control::alone(observer, stop_at_once(&lifecycle)),
        )
        .await;
    bar.finish_and_clear();
    let status = outcome?;
    deliver(app, run.id).await;
    let row = app.store.run(run.id).await?;
    match format {
        Format::Json => print_json(&json!({ "run": row }))?,
        Format::Text => print_summary(&row)?,
    }
    Ok(exit(status, &row))
}

fn stop_at_once(lifecycle: &Lifecycle) -> CancellationToken {
    lifecycle.soft.clone()
}

async fn start(app: &App, importer: &Importer, new: NewRun) -> anyhow::Result<ClaimedRun> {
    let options = importer.options();
    let mut told = false;
    loop {
        match app
            .store
            .start_run(new, app.clock.now(), &options.owner, options.lease)
            .await?
        {
            Started::Run(run) => return Ok(run),
            Started::Busy(other) => {
                if !told {
                    tracing::info!(
                        "run {other} of this account is under way; waiting for it to end"
                    );
                    told = true;
                }
                for abandoned in app
                    .store
                    .take_over_dead(app.clock.now(), &options.owner, options.lease)
                    .await?
                {
                    importer.end_abandoned(&abandoned).await?;
                }
                // Its process may be on another machine, or dead: nothing but the table tells that it has ended.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Without a daemon nobody else would bring the mail; what fails here waits for one.
async fn deliver(app: &App, run: RunId) {
    let outcome = match mailer(&app.config) {
        Ok(None) => return,
        Ok(Some(mailer)) => outbox::deliver_due(&app.store, &mailer, app.clock.as_ref(), Some(run))
            .await
            .map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, "the mail about this run waits in the outbox");
    }
}

fn exit(status: RunStatus, row: &RunRow) -> Exit {
    match status {
        RunStatus::Held => Exit::Held,
        RunStatus::Failed => Exit::Failed,
        RunStatus::SucceededWithIssues if row.errors.unwrap_or(0) > 0 => Exit::ContactsInError,
        _ => Exit::Done,
    }
}

fn print_summary(row: &RunRow) -> std::io::Result<()> {
    line(format!("run {}: {}", row.id, row.status.replace('_', " ")))?;
    if let Some(message) = &row.failure_message {
        line(format!("  {message}"))?;
    }
    if row.row_count.is_some() {
        line(format!("  {}", counts(row)))?;
    }
    for reason in row.hold_reasons.iter().flatten() {
        line(format!("  held: {reason}"))?;
    }
    if row.errors.unwrap_or(0) + row.warnings.unwrap_or(0) > 0 {
        line(format!("  what is wrong: rosterd runs issues {}", row.id))?;
    }
    if row.is_approvable() {
        let approve = if row.origin == Origin::File.as_str() {
            format!(
                "rosterd import {} --file PATH --approve {}",
                row.account_id, row.id
            )
        } else {
            format!("rosterd runs approve {}", row.id)
        };
        line(format!(
            "  who is concerned: rosterd runs show {}; to carry it out: {approve}",
            row.id
        ))?;
    }
    Ok(())
}

/// A progress bar on a terminal, and silence elsewhere.
pub(super) fn observer(format: Format) -> (Observer, ProgressBar) {
    let shown = format == Format::Text && std::io::stderr().is_terminal();
    let bar = if shown {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    bar.enable_steady_tick(Duration::from_millis(120));
    let seen = bar.clone();
    let observer = move |progress: Progress| match progress {
        Progress::Fetched { bytes, total } => {
            let style = match total {
                Some(total) => {
                    seen.set_length(total);
                    ProgressStyle::with_template("fetching  {bar:30} {bytes}/{total_bytes}")
                }
                None => ProgressStyle::with_template("{spinner} fetching  {bytes}"),
            };
            seen.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            seen.set_position(bytes);
        }
        Progress::Reading => step(&seen, "reading and checking the sheet"),
        Progress::Writing => step(&seen, "comparing with what is stored, and writing"),
    };
    (Arc::new(observer), bar)
}

fn step(bar: &ProgressBar, message: &'static str) {
    bar.set_style(ProgressStyle::default_spinner());
    bar.set_message(message);
}
