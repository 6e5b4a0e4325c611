//! Runs one import of one account, from its settings to its mail. The only module that knows all stages.
//!
//! Nothing is written before the last stage. Contacts, changes, issues, state, mail and the run itself are then written in one
//! transaction.

mod commit;
mod connection_test;
mod error;
mod fetch_request;
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
pub use error::{ImportError, SettingsError, Stage};
pub use fetch_request::s3_region;
pub use parse_file::{CachedRows, ParsedFile, read};
pub use preview::Preview;
pub use run_slots::{RunControl, RunSlot, RunSlots};

use crate::clock::SharedClock;
use crate::fetch::{self, Fetcher, Request};
use crate::lifecycle;
use crate::model::failure::FailureCode;
use crate::model::run::{ClaimedRun, FileMetadata, RunStatus, Trigger};
use crate::parsed_sheet::ParsedSheet;
use crate::secrets::SecretError;
use crate::sheet::{READER_VERSION, WorkbookReader};
use crate::store::{Settings, Store, StoreError};
use crate::temp_file::TempFile;

/// Progress of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Fetching the file.
    Fetched {
        /// Bytes fetched so far.
        bytes: u64,
        /// Size of the file in bytes, if the server announced it.
        total: Option<u64>,
    },
    /// Reading and validating the sheet.
    Reading,
    /// Writing the outcome.
    Writing,
}

/// Receives the progress of an import.
pub type Observer = Arc<dyn Fn(Progress) + Send + Sync>;

/// Ignores all progress.
#[must_use]
pub fn no_observer() -> Observer {
    Arc::new(|_| {})
}

/// Settings of an importer, from the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// Key file that decrypts passwords.
    pub key_file: PathBuf,
    /// Maximum number of attempts to fetch a file.
    pub attempts: u32,
    /// Delay before the second attempt.
    pub backoff: Duration,
    /// Maximum number of rows in a CSV file.
    pub max_rows: u32,
    /// How workbooks are read.
    pub workbooks: WorkbookReader,
    /// Duration of a lease on a run, which is renewed while the run is in progress.
    pub lease: Duration,
    /// Name of this process in `import_runs.lease_owner`.
    pub owner: String,
    /// Domain of Message-IDs.
    pub mail_domain: String,
    /// Receives reports of accounts without admins.
    pub operator: Option<String>,
    /// What to do with a run that is stopped.
    pub on_stop: StopPolicy,
}

/// What to do with a run that is stopped before it changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopPolicy {
    /// Queue it again for another process.
    Requeue,
    /// Record it as failed.
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

/// Where the file of a run comes from.
#[derive(Debug, Clone)]
enum FileOrigin {
    /// Fetched with these settings.
    Source(Box<Settings>),
    /// A local file, which needs no settings.
    Local,
}

impl FileOrigin {
    /// The settings that the file was fetched with.
    fn settings(&self) -> Option<&Settings> {
        match self {
            Self::Source(settings) => Some(settings),
            Self::Local => None,
        }
    }

    /// The address of the file as entered.
    fn url(&self) -> Option<String> {
        self.settings()?.url.clone()
    }
}

/// A file before it is read.
struct SourceFile {
    content: TempFile,
    metadata: FileMetadata,
}

fn settings_missing() -> ImportError {
    SettingsError::NoSettings.into()
}

fn unexpected_not_modified() -> ImportError {
    ImportError::Internal("the server answered 304 to an unconditional request".to_owned())
}

fn local_file(content: TempFile) -> SourceFile {
    SourceFile {
        metadata: file_metadata(&content),
        content,
    }
}

fn file_metadata(content: &TempFile) -> FileMetadata {
    FileMetadata {
        sha256: Some(content.sha256()),
        size_bytes: Some(content.size()),
        ..FileMetadata::default()
    }
}

/// Results of an attempt that are needed even if it failed.
#[derive(Debug, Default)]
struct AttemptState {
    file: FileMetadata,
    /// The settings that the file was fetched with.
    settings: Option<Settings>,
}

impl Importer {
    /// Creates an importer for this database.
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

    /// The settings of the importer.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Runs a claimed run to its end and records the outcome. `file` is the local file of the run, if it has one.
    ///
    /// # Errors
    /// [`ImportError`] only if the outcome could not be recorded: the run was stopped or taken over, or the database cannot be
    /// reached. The run is claimed again later, by this process or another one.
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
                Err(error) => tracing::warn!(stage = ?error.stage(), %error, "import interrupted; it will be run again"),
            }
            if matches!(outcome, Err(ImportError::Stopped)) {
                // Another daemon takes over the run of a daemon. A command that was interrupted is not continued.
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

    /// Writes the one log line of each run.
    fn log_end(&self, status: RunStatus, code: Option<FailureCode>, started: DateTime<Utc>) {
        let duration_ms = (self.clock.now() - started).num_milliseconds();
        let failure = code.map_or("", FailureCode::as_str);
        tracing::info!(%status, failure, duration_ms, "import ended");
    }

    /// Renews the lease until the guard is dropped, also by a panic; stops the run if another process took it over.
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
                    Err(error) => tracing::warn!(%error, "could not renew the lease"),
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
            let sheet = if let ImportError::NoContacts(sheet) = error {
                *sheet
            } else {
                ParsedSheet::default()
            };
            self.finish_failed(run, failure, attempt_state.file, sheet.issues)
                .await?;
            return Ok((RunStatus::Failed, Some(code)));
        }
    }

    /// Whether to repeat an attempt because something changed while it ran.
    async fn should_repeat_attempt(
        &self,
        run: &ClaimedRun,
        error: &ImportError,
        attempt_state: &AttemptState,
    ) -> Result<bool, ImportError> {
        // A concurrent writer will be done soon. The key may have been rotated after the settings were read.
        let is_concurrent_change = matches!(
            error,
            ImportError::Store(StoreError::SettingsChanged | StoreError::ConcurrentChange)
                | ImportError::Secret(SecretError::DecryptionFailed)
        );
        let Some(attempt_settings) = attempt_state
            .settings
            .as_ref()
            .filter(|_| !is_concurrent_change)
        else {
            return Ok(is_concurrent_change);
        };
        // If the settings were edited meanwhile, try the new ones. If the request would be the same, do not repeat it, since a
        // wrong password sent repeatedly can lock an account. Re-encrypting a secret does not count as an edit.
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
        let may_skip =
            run.trigger != Trigger::Approval && context.reader_version == Some(READER_VERSION);
        let last_applied = context.last_applied_file.clone().filter(|_| may_skip);
        let (origin, source) = if let Some(content) = file {
            (FileOrigin::Local, Some(local_file(content)))
        } else {
            let settings = self.store.settings(run.account_id).await?;
            let settings = settings.ok_or_else(settings_missing)?;
            attempt_state.settings = Some(settings.clone());
            let request = self.request(run.account_id, &settings, last_applied.as_ref())?;
            let fetched = self.fetch_source(run, &settings, &request, control).await;
            self.pin_host_key(run.account_id, &settings, &request)
                .await?;
            (FileOrigin::Source(Box::new(settings)), fetched?)
        };
        let metadata = &mut attempt_state.file;
        let Some(source) = source else {
            *metadata = last_applied.unwrap_or_default();
            return self.finish_unchanged(run, &origin, metadata).await;
        };
        *metadata = source.metadata.clone();
        if last_applied.is_some_and(|last| last.sha256 == metadata.sha256) {
            return self.finish_unchanged(run, &origin, metadata).await;
        }
        (control.observer)(Progress::Reading);
        let row_cache = match context.cached_contacts.filter(|_| may_skip) {
            Some(count) => self.store.load_row_cache(run.account_id, count).await?,
            None => None,
        };
        let row_cache = row_cache.map(|row_cache| (row_cache, context.applied_run));
        let parsed_file = self
            .parse_file(
                source.content,
                context.final_newline,
                origin.url(),
                row_cache,
            )
            .await?;
        if parsed_file.sheet.is_empty() {
            return Err(ImportError::NoContacts(Box::new(parsed_file.sheet)));
        }
        (control.observer)(Progress::Writing);
        self.plan_and_apply(run, &origin, parsed_file, metadata.clone(), &control.stop)
            .await
    }

    /// Fetches the file; `None` if it has not changed since the last applied run.
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
                let metadata = FileMetadata {
                    etag: fetched.validators.etag,
                    last_modified: fetched.validators.last_modified,
                    mtime: fetched.validators.size_and_mtime.map(|(_, mtime)| mtime),
                    ..file_metadata(&fetched.content)
                };
                Ok(Some(SourceFile {
                    content: fetched.content,
                    metadata,
                }))
            }
        }
    }
}

/// The span of all log lines of a run.
fn run_span(run: &ClaimedRun) -> tracing::Span {
    tracing::info_span!("run", account.id = run.account_id.0, run.id = run.id.0, trigger = %run.trigger)
}
