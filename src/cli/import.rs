//! `rosterd import`: an import or a dry run in this process, from the source or a local file.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args as ClapArgs;

use super::app::{App, open_file};
use super::output::Format;
use super::run_now::{progress_bar, run_now};
use super::{Exit, account_ref, check, runs};
use crate::import::Preview;
use crate::model::RunId;
use crate::model::account::{Account, AccountRef};
use crate::model::run::{NewRun, Origin, Trigger};
use crate::temp_file::{TempFile, TempFileError};

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Account ID or name.
    #[arg(value_parser = account_ref)]
    account: AccountRef,
    /// Show what an import would change, without changing anything.
    #[arg(long, conflicts_with = "approve")]
    dry_run: bool,
    /// Import this file instead of the account's source; `-` is standard input.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Approve this held run of a local file, or its withheld removals.
    #[arg(long, value_name = "RUN", requires = "file")]
    approve: Option<i64>,
    /// With --approve: keep the records of contacts whose ID was changed (possible duplicates) and give them the new ID.
    #[arg(long, requires = "approve")]
    keep_ids: bool,
}

pub(super) async fn run(args: &Args, app: &App, format: Format) -> anyhow::Result<Exit> {
    let account = app.store.account(&args.account).await?;
    let file = args
        .file
        .as_deref()
        .map(|path| copy_local_file(path, app))
        .transpose();
    if args.dry_run {
        let preview = preview(app, &account, file, format).await?;
        check::print(&preview, format)?;
        return Ok(check::exit(&preview));
    }
    let file = file?;
    let Some(subject) = args.approve.map(RunId) else {
        let origin = if file.is_some() {
            Origin::File
        } else {
            Origin::Source
        };
        return run_now(app, NewRun::manual(account.id, origin), file, format).await;
    };
    let held = app.store.run(subject).await?;
    anyhow::ensure!(
        held.account_id == account.id.0,
        "run {subject} does not belong to account `{}`",
        account.name
    );
    runs::check_approvable(app, &held, args.keep_ids).await?;
    let new = NewRun {
        trigger: Trigger::Approval,
        subject: Some(subject),
        keep_ids: args.keep_ids,
        ..NewRun::manual(account.id, Origin::File)
    };
    run_now(app, new, file, format).await
}

async fn preview(
    app: &App,
    account: &Account,
    file: anyhow::Result<Option<TempFile>>,
    format: Format,
) -> anyhow::Result<Preview> {
    let file = match file {
        Ok(file) => file,
        Err(error) => match error.downcast_ref() {
            Some(TempFileError::TooLarge(limit)) => return Ok(check::too_large(*limit)),
            _ => return Err(error),
        },
    };
    let (observer, bar) = progress_bar(format);
    let preview = app.importer()?.preview(account, file, &observer).await;
    bar.finish_and_clear();
    Ok(preview?)
}

fn copy_local_file(path: &std::path::Path, app: &App) -> anyhow::Result<TempFile> {
    TempFile::copy(&mut open_file(path)?, app.config.fetch.max_bytes)
        .with_context(|| format!("cannot import file `{}`", path.display()))
}
