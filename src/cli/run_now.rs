//! Runs an import in this process: starts it, shows progress, delivers its mail and prints the outcome.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::app::{App, mailer};
use super::output::{Format, approve_command, explain_hold, format_counts, print_json, print_line};
use crate::import::{Importer, Observer, Progress, RunControl};
use crate::lifecycle::Lifecycle;
use crate::model::RunId;
use crate::model::failure::clean_message;
use crate::model::run::{ClaimedRun, NewRun, RunStatus};
use crate::outbox;
use crate::store::{RunRow, StartResult};
use crate::temp_file::TempFile;

/// Starts a run in this process and waits until it has ended.
pub(super) async fn run_now(
    app: &App,
    new: NewRun,
    file: Option<TempFile>,
    format: Format,
) -> anyhow::Result<Exit> {
    let importer = app.importer()?;
    let lifecycle = Lifecycle::listen()?;
    let run = start(app, &importer, new).await?;
    let (observer, bar) = progress_bar(format);
    // A command has no other running work to finish, so the first signal rolls back.
    let outcome = importer
        .run(
            &run,
            file,
            RunControl::standalone(observer, stop_token(&lifecycle)),
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

fn stop_token(lifecycle: &Lifecycle) -> CancellationToken {
    lifecycle.soft.clone()
}

async fn start(app: &App, importer: &Importer, new: NewRun) -> anyhow::Result<ClaimedRun> {
    let options = importer.options();
    let mut logged = false;
    loop {
        match app
            .store
            .start_run(new, app.clock.now(), &options.owner, options.lease)
            .await?
        {
            StartResult::Run(run) => return Ok(run),
            StartResult::Busy(other) => {
                if let Some(other) = other.filter(|_| !logged) {
                    tracing::info!(
                        "run {other} of this account is still running; waiting for it to end"
                    );
                    logged = true;
                }
                for dead_run in app
                    .store
                    .recover_expired_runs(app.clock.now(), &options.owner, options.lease)
                    .await?
                {
                    importer.end_dead_run(&dead_run).await?;
                }
                // The other process may be on another machine or dead, so only polling the table shows that it has ended.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Delivers the run's mail, because there may be no daemon. Mail that fails stays in the outbox.
async fn deliver(app: &App, run: RunId) {
    let outcome = match mailer(&app.config) {
        Ok(None) => return,
        Ok(Some(mailer)) => outbox::deliver_due(&app.store, &mailer, app.clock.as_ref(), Some(run))
            .await
            .map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, "mail about this run stays in the outbox");
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
    print_line(format!("run {}: {}", row.id, row.status.replace('_', " ")))?;
    if let Some(message) = &row.failure_message {
        print_line(format!("  {}", clean_message(message)))?;
    }
    if row.row_count.is_some() {
        print_line(format!("  {}", format_counts(row)))?;
    }
    for reason in row.hold_reasons.iter().flatten() {
        print_line(format!("  held: {}", explain_hold(reason)))?;
    }
    if row.errors.unwrap_or(0) + row.warnings.unwrap_or(0) > 0 {
        print_line(format!("  issues: rosterd runs issues {}", row.id))?;
    }
    if row.is_approvable() {
        print_line(format!("  review: rosterd runs show {}", row.id))?;
        print_line(format!("  approve: {}", approve_command(row)))?;
    }
    Ok(())
}

/// Returns a progress bar and its observer. The bar is hidden unless text is printed and standard error is a terminal.
pub(super) fn progress_bar(format: Format) -> (Observer, ProgressBar) {
    let shown = format == Format::Text && std::io::stderr().is_terminal();
    let bar = if shown {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    bar.enable_steady_tick(Duration::from_millis(120));
    let bar_handle = bar.clone();
    let observer = move |progress: Progress| match progress {
        Progress::Fetched { bytes, total } => {
            let style = match total {
                Some(total) => {
                    bar_handle.set_length(total);
                    ProgressStyle::with_template("fetching  {bar:30} {bytes}/{total_bytes}")
                }
                None => ProgressStyle::with_template("{spinner} fetching  {bytes}"),
            };
            bar_handle.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar_handle.set_position(bytes);
        }
        Progress::Reading => step(&bar_handle, "reading and checking the file"),
        Progress::Writing => step(&bar_handle, "comparing with stored contacts and writing"),
    };
    (Arc::new(observer), bar)
}

fn step(bar: &ProgressBar, message: &'static str) {
    bar.set_style(ProgressStyle::default_spinner());
    bar.set_message(message);
}
