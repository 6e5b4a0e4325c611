//! Dry run: reads a file and plans an import without changing anything.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::plan_input::{compute_digests, compute_plan, plan_context};
use super::{
    FileOrigin, ImportError, Importer, Observer, Progress, Reading, RunControl, SourceFile, Stage,
    local_file,
};
use crate::model::RunId;
use crate::model::account::Account;
use crate::model::failure::Failure;
use crate::model::hold::{HoldReason, PlanContext};
use crate::model::plan::Plan;
use crate::model::run::{ClaimedRun, FileMetadata, Origin, Trigger};
use crate::store::Settings;
use crate::temp_file::TempFile;

/// The result of a dry run.
#[derive(Debug)]
pub struct Preview {
    /// The file, as far as it could be fetched.
    pub file: FileMetadata,
    /// Its contacts and issues, or why it was refused.
    pub reading: Result<Arc<Reading>, Failure>,
    /// What an import would do; `None` if the file was refused or no account was given.
    pub plan: Option<Plan>,
}

impl Preview {
    /// Why an import of the file would fail.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match &self.reading {
            Err(failure) => Some(failure.clone()),
            Ok(reading) if reading.parsed.contacts.is_empty() => {
                Some(ImportError::NoContacts(Box::new(reading.parsed.clone())).failure())
            }
            Ok(_) => None,
        }
    }
}

impl Importer {
    /// Reads the file of an account, or a local one, and plans an import; changes nothing.
    ///
    /// # Errors
    /// [`ImportError`] if the database fails.
    pub async fn preview(
        &self,
        account: &Account,
        file: Option<TempFile>,
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
            keep_ids: false,
            forced: false,
            fence: 0,
            attempts: 1,
        };
        let (origin, source) = match file {
            Some(content) => (FileOrigin::Local, local_file(content)),
            None => match self.fetch_current_file(&run, observer).await {
                Ok((settings, source)) => (FileOrigin::Source(Box::new(settings)), source),
                Err(error) if matches!(error.stage(), Stage::Settings | Stage::Fetch) => {
                    return Ok(Preview {
                        file: FileMetadata::default(),
                        reading: Err(error.failure()),
                        plan: None,
                    });
                }
                Err(error) => return Err(error),
            },
        };
        let context = self.store.run_context(&run).await?;
        observer(Progress::Reading);
        let reading = match self
            .parse_on_worker_thread(source.content, context.final_newline, origin.url(), None)
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
        if reading.parsed.contacts.is_empty() {
            return Ok(Preview {
                file: source.facts,
                reading: Ok(Arc::new(reading)),
                plan: None,
            });
        }
        // The session is dropped before it writes anything.
        let mut session = self.store.open_session(&run).await?;
        let must_confirm = if account.import_enabled {
            context.must_confirm
        } else {
            Some(HoldReason::FirstImport)
        };
        let plan_context = PlanContext {
            must_confirm,
            ..plan_context(&mut session, &context, None, None).await?
        };
        let rules = session.hold_rules().await?.unwrap_or_default();
        let reading = Arc::new(reading);
        let digests = compute_digests(&reading).await?;
        let snapshot = session.load_differing(&digests).await?;
        drop(session);
        let plan = compute_plan(snapshot, &reading, rules, &Arc::new(plan_context)).await?;
        Ok(Preview {
            file: source.facts,
            reading: Ok(reading),
            plan: Some(plan),
        })
    }

    /// Fetches the file of an account unconditionally.
    async fn fetch_current_file(
        &self,
        run: &ClaimedRun,
        observer: &Observer,
    ) -> Result<(Settings, SourceFile), ImportError> {
        let settings = self.store.settings(run.account_id).await?;
        let settings = settings.ok_or_else(super::settings_missing)?;
        let request = self.request(run.account_id, &settings, None)?;
        let mut control = RunControl::standalone(Arc::clone(observer), CancellationToken::new());
        let fetched = self
            .fetch_source(run, &settings, &request, &mut control)
            .await?;
        let file = fetched.ok_or_else(super::unexpected_not_modified)?;
        Ok((settings, file))
    }
}
