//! One import of one account, from its settings to its mail: the one place that knows all stages.
//!
//! Nothing is written before the last stage, and then all of it in one transaction: contacts, changes, issues, state,
//! mail and the run itself.

mod error;
mod outcome;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use error::{ImportError, Stage};
pub use source::PASSWORD_FIELD;

use crate::clock::SharedClock;
use crate::fetch::{self, HttpFetcher, Validators};
use crate::lifecycle;
use crate::model::account::{Account, AccountRef};
use crate::model::digest::sha256;
use crate::model::failure::{Failure, FailureCode};
use crate::model::plan::{HoldReason, Plan};
use crate::model::roster::Roster;
use crate::model::run::{ClaimedRun, FailureStreak, FileFacts, Origin, RunStatus, Trigger};
use crate::model::{AccountId, RunId};
use crate::reconcile::{self, Approved, History, HoldRules};
use crate::report::Outcome;
use crate::sheet::{self, Facts, Limits, READER_VERSION};
use crate::store::{
    Abandoned, Conclusion, RunContext, Session, Settings, StateAfter, Store, StoreError,
};
use crate::telemetry::blocking;
use crate::validate::Collector;

/// How an import proceeds, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Bytes fetched so far, and their total where it is known.
    Fetched {
        /// Bytes.
        bytes: u64,
        /// Bytes.
        total: Option<u64>,
    },
    /// Reading and judging the sheet.
    Reading,
    /// Writing the outcome.
    Writing,
}

/// Is told how an import proceeds.
pub type Observer = Arc<dyn Fn(Progress) + Send + Sync>;

/// Watches nothing.
#[must_use]
pub fn unobserved() -> Observer {
    Arc::new(|_| {})
}

/// What an importer is told by the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// Key that opens passwords.
    pub key_file: PathBuf,
    /// Attempts to fetch.
    pub attempts: u32,
    /// Wait before the second attempt.
    pub backoff: Duration,
    /// Most rows of a CSV file.
    pub max_rows: u32,
    /// How long this process vouches for a run.
    pub lease: Duration,
    /// This process, in `import_runs.lease_owner`.
    pub owner: String,
    /// Domain of Message-IDs.
    pub mail_domain: String,
    /// Receives what no admin can.
    pub operator: Option<String>,
}

/// Imports accounts.
#[derive(Debug)]
pub struct Importer {
    store: Store,
    clock: SharedClock,
    fetcher: HttpFetcher,
    options: Options,
}

/// A sheet, read and judged.
#[derive(Debug)]
pub struct Reading {
    /// What the file turned out to be.
    pub facts: Facts,
    /// What it says.
    pub roster: Roster,
}

/// A file that was looked at without changing anything.
#[derive(Debug)]
pub struct Preview {
    /// What is known of the file, if it could be had.
    pub file: FileFacts,
    /// What it turned out to be and says, or why it was refused.
    pub reading: Result<Reading, Failure>,
    /// What an import would do, if the file could be read.
    pub plan: Option<Plan>,
}

impl Preview {
    /// Why an import of the file would fail.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match &self.reading {
            Err(failure) => Some(failure.clone()),
            Ok(reading) if reading.roster.contacts.is_empty() => {
                Some(ImportError::NoContacts(Box::new(reading.roster.clone())).failure())
            }
            Ok(_) => None,
        }
    }
}

/// A file with what is known of it.
struct SourceFile {
    bytes: Vec<u8>,
    facts: FileFacts,
}

/// Reads and judges a file. `final_newline`: whether the last applied file ended with one.
///
/// # Errors
/// [`sheet::SheetError`] if the file is refused.
pub fn read(
    bytes: &[u8],
    max_rows: u32,
    final_newline: Option<bool>,
) -> Result<Reading, sheet::SheetError> {
    let mut collector = Collector::default();
    let facts = sheet::read(bytes, Limits { max_rows }, |header, row| {
        collector.push(header, &row);
    })?;
    let maybe_cut = final_newline == Some(true) && facts.final_newline == Some(false);
    let roster = collector.finish(facts.issues.clone(), maybe_cut);
    Ok(Reading { facts, roster })
}

fn local_file(bytes: Vec<u8>) -> SourceFile {
    let facts = FileFacts {
        sha256: Some(sha256(&bytes)),
        size_bytes: Some(bytes.len() as u64),
        ..FileFacts::default()
    };
    SourceFile { bytes, facts }
}

impl Importer {
    /// An importer on this database.
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, fetcher: HttpFetcher, options: Options) -> Self {
        Self {
            store,
            clock,
            fetcher,
            options,
        }
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the configuration says.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Carries a claimed run out to its end, whatever that is, and records it. `file` is the local file, if the run has
    /// one. `stop` rolls back and hands the run back.
    ///
    /// # Errors
    /// [`ImportError`] only where the outcome could not be recorded: the run was stopped, taken over, or the database
    /// is gone. Another process, or this one later, takes it up again.
    pub async fn run(
        &self,
        run: &ClaimedRun,
        file: Option<Vec<u8>>,
        observer: &Observer,
        stop: &CancellationToken,
    ) -> Result<RunStatus, ImportError> {
        let span = tracing::info_span!("run", account.id = run.account_id.0, run.id = run.id.0, trigger = %run.trigger);
        async {
            let started = self.clock.now();
            let stop = stop.child_token();
            let keeper = self.keep_lease(run, &stop);
            let outcome = self.run_to_end(run, file, observer, &stop).await;
            keeper.cancel();
            match &outcome {
                Ok((status, code)) => {
                    let duration_ms = (self.clock.now() - started).num_milliseconds();
                    tracing::info!(%status, failure = code.map_or("", FailureCode::as_str), duration_ms, "import ended");
                }
                Err(error) => tracing::warn!(stage = ?error.stage(), %error, "import did not end; it will be taken up again"),
            }
            if matches!(outcome, Err(ImportError::Stopped)) {
                self.store.hand_back(run).await?;
            }
            outcome.map(|(status, _)| status)
        }
        .instrument(span)
        .await
    }

    /// Renews the lease until cancelled; stops the run if it was taken over.
    fn keep_lease(&self, run: &ClaimedRun, stop: &CancellationToken) -> CancellationToken {
        let done = CancellationToken::new();
        let (store, clock, lease) = (
            self.store.clone(),
            Arc::clone(&self.clock),
            self.options.lease,
        );
        let (run, stop, ended) = (run.clone(), stop.clone(), done.clone());
        lifecycle::spawn(async move {
            loop {
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = tokio::time::sleep(lease / 3) => {}
                }
                match store.renew_lease(&run, clock.now(), lease).await {
                    Ok(true) => {}
                    Ok(false) => return stop.cancel(),
                    Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
                }
            }
        });
        done
    }

    async fn run_to_end(
        &self,
        run: &ClaimedRun,
        file: Option<Vec<u8>>,
        observer: &Observer,
        stop: &CancellationToken,
    ) -> Result<(RunStatus, Option<FailureCode>), ImportError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut facts = FileFacts::default();
            let error = match self
                .attempt(run, file.clone(), observer, stop, &mut facts)
                .await
            {
                Ok(status) => return Ok((status, None)),
                Err(error) => error,
            };
            if error.leaves_run_open() {
                return Err(error);
            }
            // Whoever edits settings wants them used: begin again with the new ones.
            if matches!(error, ImportError::Store(StoreError::SettingsChanged)) && tries < 3 {
                continue;
            }
            let failure = error.failure();
            let code = failure.code;
            let roster = if let ImportError::NoContacts(roster) = error {
                *roster
            } else {
                Roster::default()
            };
            self.conclude_failed(run, failure, facts, &roster).await?;
            return Ok((RunStatus::Failed, Some(code)));
        }
    }

    async fn attempt(
        &self,
        run: &ClaimedRun,
        file: Option<Vec<u8>>,
        observer: &Observer,
        stop: &CancellationToken,
        facts: &mut FileFacts,
    ) -> Result<RunStatus, ImportError> {
        let context = self.store.run_context(run).await?;
        if !context.import_enabled {
            return Err(ImportError::Disabled);
        }
        let settings = self.store.settings(run.account_id).await?;
        let may_skip =
            run.trigger != Trigger::Approval && context.reader_version == Some(READER_VERSION);
        let known = context.known_file.clone().filter(|_| may_skip);
        let source = match file {
            Some(bytes) => Some(local_file(bytes)),
            None => {
                self.fetch_source(
                    run.account_id,
                    settings.as_ref(),
                    known.as_ref(),
                    observer,
                    stop,
                )
                .await?
            }
        };
        let Some(source) = source else {
            *facts = known.unwrap_or_default();
            return self.conclude_unchanged(run, facts.clone()).await;
        };
        *facts = source.facts.clone();
        if known.is_some_and(|known| known.sha256 == facts.sha256) {
            return self.conclude_unchanged(run, facts.clone()).await;
        }
        observer(Progress::Reading);
        let url = settings
            .as_ref()
            .filter(|_| run.origin == Origin::Source)
            .and_then(|s| s.url.clone());
        let reading = self
            .read_blocking(source.bytes, context.final_newline, url)
            .await?;
        if reading.roster.contacts.is_empty() {
            return Err(ImportError::NoContacts(Box::new(reading.roster)));
        }
        observer(Progress::Writing);
        let settings = settings.filter(|_| run.origin == Origin::Source);
        self.reconcile(run, settings.as_ref(), reading, facts.clone(), stop)
            .await
    }

    /// The file, or `None` if the source says that it is the known one.
    async fn fetch_source(
        &self,
        account: AccountId,
        settings: Option<&Settings>,
        known: Option<&FileFacts>,
        observer: &Observer,
        stop: &CancellationToken,
    ) -> Result<Option<SourceFile>, ImportError> {
        let missing = || {
            ImportError::SettingsIncomplete(
                "the account has no import settings; enter them with `rosterd settings set`"
                    .to_owned(),
            )
        };
        let settings = settings.ok_or_else(missing)?;
        let validators = known.map(|known| Validators {
            etag: known.etag.clone(),
            last_modified: known.last_modified.clone(),
        });
        let request = self.request(account, settings, validators)?;
        match self.fetch(&request, observer, stop).await? {
            fetch::Outcome::NotModified => Ok(None),
            fetch::Outcome::File(fetched) => {
                let facts = FileFacts {
                    sha256: Some(sha256(&fetched.bytes)),
                    size_bytes: Some(fetched.bytes.len() as u64),
                    etag: fetched.validators.etag,
                    last_modified: fetched.validators.last_modified,
                };
                Ok(Some(SourceFile {
                    bytes: fetched.bytes,
                    facts,
                }))
            }
        }
    }

    async fn read_blocking(
        &self,
        bytes: Vec<u8>,
        final_newline: Option<bool>,
        url: Option<String>,
    ) -> Result<Reading, ImportError> {
        let max_rows = self.options.max_rows;
        let reading = blocking(move || read(&bytes, max_rows, final_newline)).await;
        let reading = reading
            .map_err(|error| ImportError::Internal(format!("reading the sheet: {error}")))?;
        reading.map_err(|source| {
            let url = url.and_then(|url| url::Url::parse(&url).ok()).map(Box::new);
            ImportError::Sheet { source, url }
        })
    }

    /// Plans under the lock, and applies the plan or holds it.
    async fn reconcile(
        &self,
        run: &ClaimedRun,
        settings: Option<&Settings>,
        reading: Reading,
        file: FileFacts,
        stop: &CancellationToken,
    ) -> Result<RunStatus, ImportError> {
        let account = self.store.account(&AccountRef::Id(run.account_id)).await?;
        let admins = self.store.admins(run.account_id).await?;
        let rules_from = self.store.settings(run.account_id).await?;
        let mut session = self.store.open_session(run).await?;
        session.check_still_wanted(settings).await?;
        let context = session.context().await?;
        let approved = match run.subject {
            Some(subject) => Some(
                session
                    .approved(subject)
                    .await?
                    .ok_or(ImportError::NothingToApprove)?,
            ),
            None => None,
        };
        let history = history(&mut session, &context, approved.as_ref()).await?;
        let rules = hold_rules(rules_from.as_ref(), context.must_confirm);
        let snapshot = session.snapshot().await?;
        let (mut plan, reading, history) = plan_blocking(snapshot, reading, rules, history).await?;
        if let (Some(approved), Some(sha256)) = (&approved, file.sha256)
            && approved.covers(&plan, &reading.roster, sha256)
        {
            plan.hold_reasons.clear();
        }
        if stop.is_cancelled() {
            return Err(ImportError::Stopped);
        }
        let now = self.clock.now();
        let held = !plan.hold_reasons.is_empty();
        if held {
            session.record_held(&plan).await?;
        } else {
            session.apply(&plan, now).await?;
        }
        let last_issues = match session.last_read_run().await? {
            Some(last) => session.issues_of(last).await?,
            None => Vec::new(),
        };
        let roster = &reading.roster;
        let (is_new, fixed) = outcome::compare(&roster.issues, &last_issues);
        session.record_issues(&roster.issues, &is_new).await?;

        let counts = outcome::counts(&plan, roster);
        let outcome = if held {
            Outcome::Held(plan.hold_reasons.clone())
        } else {
            Outcome::Applied
        };
        let mut report =
            outcome::with_plan(outcome::blank_report(&account, run, outcome), &plan, counts);
        report.issues = roster.issues.iter().cloned().zip(is_new).collect();
        report.fixed = fixed;
        report.recovered = context.streak.since.is_some();
        session
            .queue_mail(&self.mails(&report, &admins)?, now)
            .await?;
        if run.trigger != Trigger::Schedule {
            session.take_back().await?;
        }
        let status = match (held, counts.errors > 0 || counts.withheld > 0) {
            (true, _) => RunStatus::Held,
            (false, true) => RunStatus::SucceededWithIssues,
            (false, false) => RunStatus::Succeeded,
        };
        let end = Conclusion {
            status,
            failure: None,
            hold_reasons: plan.hold_reasons.clone(),
            state: (!held)
                .then(|| state_after(&reading, &plan, &history, approved.as_ref(), status, &file)),
            file,
            counts: Some(counts),
            streak: FailureStreak::default(),
        };
        session.conclude(&end, now).await?;
        Ok(status)
    }

    async fn conclude_unchanged(
        &self,
        run: &ClaimedRun,
        file: FileFacts,
    ) -> Result<RunStatus, ImportError> {
        let account = self.store.account(&AccountRef::Id(run.account_id)).await?;
        let admins = self.store.admins(run.account_id).await?;
        let now = self.clock.now();
        let mut session = self.store.open_session(run).await?;
        let context = session.context().await?;
        if context.streak.since.is_some() {
            let mut report = outcome::blank_report(&account, run, Outcome::Unchanged);
            report.recovered = true;
            session
                .queue_mail(&self.mails(&report, &admins)?, now)
                .await?;
        }
        if run.trigger != Trigger::Schedule {
            session.take_back().await?;
        }
        session
            .conclude(
                &ended(RunStatus::Unchanged, None, file, FailureStreak::default()),
                now,
            )
            .await?;
        Ok(RunStatus::Unchanged)
    }

    async fn conclude_failed(
        &self,
        run: &ClaimedRun,
        failure: Failure,
        file: FileFacts,
        roster: &Roster,
    ) -> Result<(), ImportError> {
        let account = self.store.account(&AccountRef::Id(run.account_id)).await?;
        let admins = self.store.admins(run.account_id).await?;
        let now = self.clock.now();
        let mut session = self.store.open_session(run).await?;
        let context = session.context().await?;
        let (streak, mail) =
            outcome::after_failure(&context.streak, failure.code, run.trigger, now);
        let all_new = vec![true; roster.issues.len()];
        session.record_issues(&roster.issues, &all_new).await?;
        if mail {
            let mut report = outcome::blank_report(&account, run, Outcome::Failed(failure.clone()));
            report.issues = roster.issues.iter().cloned().zip(all_new).collect();
            session
                .queue_mail(&self.mails(&report, &admins)?, now)
                .await?;
        }
        if failure.code == FailureCode::SetAside {
            session.set_aside(now, &failure.message).await?;
        }
        session
            .conclude(&ended(RunStatus::Failed, Some(failure), file, streak), now)
            .await?;
        Ok(())
    }

    /// Ends a run whose process died and which is not tried again.
    ///
    /// # Errors
    /// [`ImportError`] if that could not be recorded; then it is found dead again.
    pub async fn end_abandoned(&self, abandoned: &Abandoned) -> Result<(), ImportError> {
        let run = &abandoned.run;
        let failure = if abandoned.repeatedly {
            let message = format!(
                "the import ended its process {} times and is set aside; look at the file, then run it again with `rosterd import {}`",
                run.attempts, run.account_id
            );
            Failure::new(FailureCode::SetAside, message)
        } else {
            Failure::new(
                FailureCode::LeaseLost,
                "the command that imported this file ended before it was done; nothing was changed, run it again",
            )
        };
        self.conclude_failed(run, failure, FileFacts::default(), &Roster::default())
            .await
    }

    /// Looks at the file of an account (or a local one) and at what an import would do; changes nothing.
    ///
    /// # Errors
    /// [`ImportError`] if the database or the source fails.
    pub async fn preview(
        &self,
        account: &Account,
        file: Option<Vec<u8>>,
        observer: &Observer,
    ) -> Result<Preview, ImportError> {
        let run = ClaimedRun {
            id: RunId(0),
            account_id: account.id,
            trigger: Trigger::Manual,
            origin: if file.is_some() {
                Origin::File
            } else {
                Origin::Source
            },
            subject: None,
            fence: 0,
            attempts: 1,
        };
        let settings = self.store.settings(account.id).await?;
        let source = match file {
            Some(bytes) => local_file(bytes),
            None => match self
                .fetch_source(
                    account.id,
                    settings.as_ref(),
                    None,
                    observer,
                    &CancellationToken::new(),
                )
                .await?
            {
                Some(source) => source,
                None => {
                    return Err(ImportError::Internal(
                        "an unconditional request was answered as unchanged".to_owned(),
                    ));
                }
            },
        };
        let context = self.store.run_context(&run).await?;
        let url = settings
            .as_ref()
            .filter(|_| run.origin == Origin::Source)
            .and_then(|s| s.url.clone());
        observer(Progress::Reading);
        let reading = match self
            .read_blocking(source.bytes, context.final_newline, url)
            .await
        {
            Ok(reading) => reading,
            Err(error @ ImportError::Sheet { .. }) => {
                return Ok(Preview {
                    file: source.facts,
                    reading: Err(error.failure()),
                    plan: None,
                });
            }
            Err(error) => return Err(error),
        };
        if reading.roster.contacts.is_empty() {
            return Ok(Preview {
                file: source.facts,
                reading: Ok(reading),
                plan: None,
            });
        }
        // Dropped without a conclusion, the session leaves no trace.
        let mut session = self.store.open_session(&run).await?;
        let history = history(&mut session, &context, None).await?;
        let must_confirm = if account.import_enabled {
            context.must_confirm
        } else {
            Some(HoldReason::FirstImport)
        };
        let rules = hold_rules(settings.as_ref(), must_confirm);
        let snapshot = session.snapshot().await?;
        drop(session);
        let (plan, reading, _) = plan_blocking(snapshot, reading, rules, history).await?;
        Ok(Preview {
            file: source.facts,
            reading: Ok(reading),
            plan: Some(plan),
        })
    }
}

async fn plan_blocking(
    snapshot: reconcile::Snapshot,
    reading: Reading,
    rules: HoldRules,
    history: History,
) -> Result<(Plan, Reading, History), ImportError> {
    blocking(move || {
        (
            reconcile::plan(snapshot, &reading.roster, rules, &history),
            reading,
            history,
        )
    })
    .await
    .map_err(|error| ImportError::Internal(format!("planning: {error}")))
}

async fn history(
    session: &mut Session,
    context: &RunContext,
    approved: Option<&Approved>,
) -> Result<History, ImportError> {
    let in_error = match context.applied_run {
        Some(applied) => session.rows_in_error(applied).await?,
        None => std::collections::HashSet::new(),
    };
    Ok(History {
        in_error,
        accepted_rows: context.accepted_rows.clone(),
        release_withheld: approved.is_some(),
    })
}

fn hold_rules(settings: Option<&Settings>, must_confirm: Option<HoldReason>) -> HoldRules {
    let [
        removed_percent,
        removed_count,
        changed_percent,
        error_percent,
    ] = settings
        .map_or([10, 5, 50, 25], |settings| settings.holds)
        .map(|limit| usize::try_from(limit).unwrap_or(0));
    HoldRules {
        removed_percent,
        removed_count,
        changed_percent,
        error_percent,
        must_confirm,
    }
}

fn state_after(
    reading: &Reading,
    plan: &Plan,
    history: &History,
    approved: Option<&Approved>,
    status: RunStatus,
    file: &FileFacts,
) -> StateAfter {
    // What a person has seen and approved blocks no more; what is gone from the file is forgotten.
    let accepted = reading.roster.nameless.iter().map(|row| row.digest);
    let accepted = accepted
        .filter(|digest| approved.is_some() || history.accepted_rows.contains(digest))
        .collect();
    StateAfter {
        known_file: (status == RunStatus::Succeeded).then(|| file.clone()),
        reader_version: READER_VERSION,
        // A file that may be cut off is no measure for the next one, unless a person has said that it is whole.
        final_newline: if reading.roster.maybe_cut && approved.is_none() {
            Some(true)
        } else {
            reading.facts.final_newline
        },
        accepted_rows: accepted,
        keep_must_confirm: !plan.withheld.is_empty(),
    }
}

fn ended(
    status: RunStatus,
    failure: Option<Failure>,
    file: FileFacts,
    streak: FailureStreak,
) -> Conclusion {
    Conclusion {
        status,
        failure,
        hold_reasons: Vec::new(),
        file,
        counts: None,
        state: None,
        streak,
    }
}
