//! One import of one account, from its settings to its mail: the one place that knows all stages.
//!
//! Nothing is written before the last stage, and then all of it in one transaction: contacts, changes, issues, state,
//! mail and the run itself.

mod commit;
mod connection_test;
mod error;
mod fetch_retry;
mod next_row_cache;
mod notify;
mod parse_file;
mod plan_input;
mod preview;
mod revert;
mod run_slots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

pub use connection_test::{Step, StepName, TrustOutcome};
pub use error::{ImportError, Stage};
pub use fetch_retry::s3_region;
pub use parse_file::{CachedRows, Reading, read};
pub use preview::Preview;
pub use run_slots::{RunControl, RunSlot, RunSlots};

use crate::clock::SharedClock;
use crate::fetch::{self, Fetcher, Request};
use crate::lifecycle;
use crate::model::failure::FailureCode;
use crate::model::run::{ClaimedRun, FileMetadata, Origin, RunStatus, Trigger};
use crate::parsed_sheet::ParsedSheet;
use crate::secrets::SecretError;
use crate::sheet::{READER_VERSION, WorkbookReader};
use crate::store::{Settings, Store, StoreError};
use crate::temp_file::TempFile;

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
pub fn no_observer() -> Observer {
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
    /// Who reads workbooks.
    pub workbooks: WorkbookReader,
    /// How long this process vouches for a run.
    pub lease: Duration,
    /// This process, in `import_runs.lease_owner`.
    pub owner: String,
    /// Domain of Message-IDs.
    pub mail_domain: String,
    /// Receives what no admin can.
    pub operator: Option<String>,
    /// What becomes of a run that is stopped.
    pub on_stop: StopPolicy,
}

/// What becomes of a run that is stopped before it has changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopPolicy {
    /// It is queued again for another process.
    Requeue,
    /// It ends as failed.
    Fail,
}

/// Imports accounts.
#[derive(Debug)]
pub struct Importer {
    store: Store,
    clock: SharedClock,
    fetcher: Fetcher,
    options: Options,
}

/// A file with what is known of it.
struct SourceFile {
    content: TempFile,
    facts: FileMetadata,
}

fn settings_missing() -> ImportError {
    ImportError::SettingsIncomplete(
        "the account has no import settings; enter them with `rosterd settings set`".to_owned(),
    )
}

fn unexpected_not_modified() -> ImportError {
    ImportError::Internal("an unconditional request was answered as unchanged".to_owned())
}

fn local_file(content: TempFile) -> SourceFile {
    SourceFile {
        facts: file_facts(&content),
        content,
    }
}

fn file_facts(content: &TempFile) -> FileMetadata {
    FileMetadata {
        sha256: Some(content.sha256()),
        size_bytes: Some(content.size()),
        ..FileMetadata::default()
    }
}

/// What came to light in an attempt, however it ended.
#[derive(Debug, Default)]
struct AttemptState {
    /// The file.
    facts: FileMetadata,
    /// The settings that it was fetched with.
    settings: Option<Settings>,
}

impl Importer {
    /// An importer on this database.
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, fetcher: Fetcher, options: Options) -> Self {
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
    /// one.
    ///
    /// # Errors
    /// [`ImportError`] only where the outcome could not be recorded: the run was stopped, taken over, or the database
    /// is gone. Another process, or this one later, takes it up again.
    pub async fn run(
        &self,
        run: &ClaimedRun,
        file: Option<TempFile>,
        mut control: RunControl,
    ) -> Result<RunStatus, ImportError> {
        let started = self.clock.now();
        async {
            control.stop = control.stop.child_token();
            let lease_guard = self.spawn_lease_renewal(run, &control.stop);
            let outcome = self.run_with_retries(run, file, &mut control).await;
            drop(lease_guard);
            match &outcome {
                Ok((status, code)) => self.log_end(*status, *code, started),
                Err(error) => tracing::warn!(stage = ?error.stage(), %error, "import did not end; it will be taken up again"),
            }
            if matches!(outcome, Err(ImportError::Stopped)) {
                // A daemon's run goes to the next daemon; what a person has stopped stays stopped.
                match self.options.on_stop {
                    StopPolicy::Requeue => self.store.requeue(run).await?,
                    StopPolicy::Fail => self.store.fail_stopped_run(run, self.clock.now()).await?,
                }
            }
            outcome.map(|(status, _)| status)
        }
        .instrument(run_span(run))
        .await
    }

    /// The one line that the log has of each run.
    fn log_end(&self, status: RunStatus, code: Option<FailureCode>, started: DateTime<Utc>) {
        let duration_ms = (self.clock.now() - started).num_milliseconds();
        let failure = code.map_or("", FailureCode::as_str);
        tracing::info!(%status, failure, duration_ms, "import ended");
    }

    /// Renews the lease until the guard is dropped, by a panic, too; stops the run if it was taken over.
    fn spawn_lease_renewal(&self, run: &ClaimedRun, stop: &CancellationToken) -> DropGuard {
        let done = CancellationToken::new();
        let (store, clock, lease) = (
            self.store.clone(),
            Arc::clone(&self.clock),
            self.options.lease,
        );
        let (run, stop, renewal_done) = (run.clone(), stop.clone(), done.clone());
        lifecycle::spawn_detached(async move {
            loop {
                tokio::select! {
                    () = renewal_done.cancelled() => return,
                    () = tokio::time::sleep(lease / 3) => {}
                }
                match store.renew_lease(&run, clock.now(), lease).await {
                    Ok(true) => {}
                    Ok(false) => return stop.cancel(),
                    Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
                }
            }
        });
        done.drop_guard()
    }

    async fn run_with_retries(
        &self,
        run: &ClaimedRun,
        file: Option<TempFile>,
        control: &mut RunControl,
    ) -> Result<(RunStatus, Option<FailureCode>), ImportError> {
        control.acquire_slot().await?;
        let mut attempts_made = 0;
        loop {
            attempts_made += 1;
            let mut attempt_state = AttemptState::default();
            let error = match self
                .attempt(run, file.clone(), control, &mut attempt_state)
                .await
            {
                Ok(status) => return Ok((status, None)),
                Err(error) => error,
            };
            if error.keeps_run_open() {
                return Err(error);
            }
            if attempts_made < 3
                && self
                    .should_repeat_attempt(run, &error, &attempt_state)
                    .await?
            {
                continue;
            }
            let failure = error.failure();
            let code = failure.code;
            let parsed = if let ImportError::NoContacts(parsed) = error {
                *parsed
            } else {
                ParsedSheet::default()
            };
            self.finish_failed(run, failure, attempt_state.facts, parsed.issues)
                .await?;
            return Ok((RunStatus::Failed, Some(code)));
        }
    }

    /// Whether an attempt failed because, or while, something else was changed, so that it is to be made again.
    async fn should_repeat_attempt(
        &self,
        run: &ClaimedRun,
        error: &ImportError,
        attempt_state: &AttemptState,
    ) -> Result<bool, ImportError> {
        // Whoever writes at the same time is through soon. The key may have been changed between the settings and it.
        let should_repeat_attempt = matches!(
            error,
            ImportError::Store(StoreError::SettingsChanged | StoreError::ConcurrentChange)
                | ImportError::Secret(SecretError::DecryptionFailed)
        );
        let Some(attempt_settings) = attempt_state
            .settings
            .as_ref()
            .filter(|_| !should_repeat_attempt)
        else {
            return Ok(should_repeat_attempt);
        };
        // Whoever edits settings wants them used, and no mail about the old ones. The same way is not gone twice: a password
        // that was refused is refused again. A secret that is only sealed anew is no edit.
        let current = self.store.settings(run.account_id).await?;
        Ok(current.is_some_and(|current| {
            current.updated_at != attempt_settings.updated_at
                && !current.has_same_request(attempt_settings)
        }))
    }

    async fn attempt(
        &self,
        run: &ClaimedRun,
        file: Option<TempFile>,
        control: &mut RunControl,
        attempt_state: &mut AttemptState,
    ) -> Result<RunStatus, ImportError> {
        if run.trigger == Trigger::Revert {
            let subject = run.subject.ok_or(ImportError::NothingToRevert)?;
            return self.revert(run, subject, &control.stop).await;
        }
        let context = self.store.run_context(run).await?;
        if !context.import_enabled {
            return Err(ImportError::Disabled);
        }
        let settings = self.store.settings(run.account_id).await?;
        let facts = &mut attempt_state.facts;
        attempt_state.settings = settings.clone().filter(|_| file.is_none());
        let may_skip =
            run.trigger != Trigger::Approval && context.reader_version == Some(READER_VERSION);
        let known = context.last_applied_file.clone().filter(|_| may_skip);
        let source = if let Some(local) = file {
            Some(local_file(local))
        } else {
            let settings = settings.as_ref().ok_or_else(settings_missing)?;
            let request = self.request(run.account_id, settings, known.as_ref())?;
            let fetched = self.fetch_source(run, settings, &request, control).await;
            self.pin_host_key(run.account_id, settings, &request)
                .await?;
            fetched?
        };
        let Some(source) = source else {
            *facts = known.unwrap_or_default();
            return self.finish_unchanged(run, settings.as_ref(), facts).await;
        };
        *facts = source.facts.clone();
        if known.is_some_and(|known| known.sha256 == facts.sha256) {
            let settings = settings.as_ref().filter(|_| run.origin == Origin::Source);
            return self.finish_unchanged(run, settings, facts).await;
        }
        (control.observer)(Progress::Reading);
        let url = settings
            .as_ref()
            .filter(|_| run.origin == Origin::Source)
            .and_then(|s| s.url.clone());
        let known = match context.known_contacts.filter(|_| may_skip) {
            Some(count) => self.store.load_row_cache(run.account_id, count).await?,
            None => None,
        };
        let known = known.map(|known| (known, context.applied_run));
        let reading = self
            .parse_on_worker_thread(source.content, context.final_newline, url, known)
            .await?;
        if reading.parsed.is_empty() {
            return Err(ImportError::NoContacts(Box::new(reading.parsed)));
        }
        (control.observer)(Progress::Writing);
        let settings = settings.filter(|_| run.origin == Origin::Source);
        self.plan_and_apply(
            run,
            settings.as_ref(),
            reading,
            facts.clone(),
            &control.stop,
        )
        .await
    }

    /// The file, or `None` if the source says that it is the known one.
    async fn fetch_source(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut RunControl,
    ) -> Result<Option<SourceFile>, ImportError> {
        match self.fetch(run, settings, request, control).await? {
            fetch::Outcome::NotModified => Ok(None),
            fetch::Outcome::File(fetched) => {
                let facts = FileMetadata {
                    etag: fetched.validators.etag,
                    last_modified: fetched.validators.last_modified,
                    mtime: fetched.validators.size_and_mtime.map(|(_, mtime)| mtime),
                    ..file_facts(&fetched.content)
                };
                Ok(Some(SourceFile {
                    content: fetched.content,
                    facts,
                }))
            }
        }
    }
}

/// What the log says belongs to a run.
fn run_span(run: &ClaimedRun) -> tracing::Span {
    tracing::info_span!("run", account.id = run.account_id.0, run.id = run.id.0, trigger = %run.trigger)
}
