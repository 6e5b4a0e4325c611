//! Dry run: reads a file and plans an import without changing anything.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::plan_input::{compute_digests, compute_plan, load_plan_context};
use super::{
    FileOrigin, ImportError, Importer, Observer, ParsedFile, Progress, RunControl, SourceFile,
    Stage, local_file,
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
    /// Metadata of the file; empty if it could not be fetched.
    pub file: FileMetadata,
    /// The parsed file, or why it could not be fetched or read.
    pub parsed_file: Result<Arc<ParsedFile>, Failure>,
    /// What an import would change; `None` if the file was rejected or no account was given.
    pub plan: Option<Plan>,
}

impl Preview {
    /// Why an import of the file would fail.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match &self.parsed_file {
            Err(failure) => Some(failure.clone()),
            Ok(parsed_file) if parsed_file.sheet.contacts.is_empty() => {
                Some(ImportError::NoContacts(Box::new(parsed_file.sheet.clone())).failure())
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
                        parsed_file: Err(error.failure()),
                        plan: None,
                    });
                }
                Err(error) => return Err(error),
            },
        };
        let context = self.store.run_context(&run).await?;
        observer(Progress::Reading);
        let parsed_file = match self
            .parse_file(source.content, context.final_newline, origin.url(), None)
            .await
        {
            Ok(parsed_file) => parsed_file,
            Err(error @ ImportError::Sheet { .. }) => {
                return Ok(Preview {
                    file: source.metadata,
                    parsed_file: Err(error.failure()),
                    plan: None,
                });
            }
            Err(error) => return Err(error),
        };
        if parsed_file.sheet.contacts.is_empty() {
            return Ok(Preview {
                file: source.metadata,
                parsed_file: Ok(Arc::new(parsed_file)),
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
            ..load_plan_context(&mut session, &context, None, None).await?
        };
        let rules = session.hold_rules().await?.unwrap_or_default();
        let parsed_file = Arc::new(parsed_file);
        let digests = compute_digests(&parsed_file).await?;
        let snapshot = session.load_differing(&digests).await?;
        drop(session);
        let plan = compute_plan(snapshot, &parsed_file, rules, &Arc::new(plan_context)).await?;
        Ok(Preview {
            file: source.metadata,
            parsed_file: Ok(parsed_file),
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
