//! Looking at a file and at what an import would do, without changing anything.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::plan_input::{compute_digests, compute_plan, history};
use super::{
    ImportError, Importer, Observer, Progress, Reading, RunControl, SourceFile, Stage, local_file,
};
use crate::model::RunId;
use crate::model::account::Account;
use crate::model::failure::Failure;
use crate::model::hold::{HoldReason, PlanContext};
use crate::model::plan::Plan;
use crate::model::run::{ClaimedRun, FileMetadata, Origin, Trigger};
use crate::store::Settings;
use crate::temp_file::TempFile;

/// A file that was looked at without changing anything.
#[derive(Debug)]
pub struct Preview {
    /// What is known of the file, if it could be had.
    pub file: FileMetadata,
    /// What it turned out to be and says, or why it was refused.
    pub reading: Result<Arc<Reading>, Failure>,
    /// What an import would do, if the file could be read.
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
    /// Looks at the file of an account (or a local one) and at what an import would do; changes nothing.
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
        let settings = self.store.settings(account.id).await?;
        let source = match file {
            Some(content) => local_file(content),
            None => match self
                .fetch_current_file(&run, settings.as_ref(), observer)
                .await
            {
                Ok(source) => source,
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
        let url = settings
            .as_ref()
            .filter(|_| run.origin == Origin::Source)
            .and_then(|s| s.url.clone());
        observer(Progress::Reading);
        let reading = match self
            .parse_on_worker_thread(source.content, context.final_newline, url, None)
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
        // Dropped without a conclusion, the session leaves no trace.
        let mut session = self.store.open_session(&run).await?;
        let must_confirm = if account.import_enabled {
            context.must_confirm
        } else {
            Some(HoldReason::FirstImport)
        };
        let history = PlanContext {
            must_confirm,
            ..history(&mut session, &context, None, None).await?
        };
        let rules = settings
            .map(|settings| settings.hold_rules)
            .unwrap_or_default();
        let reading = Arc::new(reading);
        let digests = compute_digests(&reading).await?;
        let snapshot = session.load_differing(&digests).await?;
        drop(session);
        let plan = compute_plan(snapshot, &reading, rules, &Arc::new(history)).await?;
        Ok(Preview {
            file: source.facts,
            reading: Ok(reading),
            plan: Some(plan),
        })
    }

    /// The file of an account, whatever is known of it.
    async fn fetch_current_file(
        &self,
        run: &ClaimedRun,
        settings: Option<&Settings>,
        observer: &Observer,
    ) -> Result<SourceFile, ImportError> {
        let settings = settings.ok_or_else(super::settings_missing)?;
        let request = self.request(run.account_id, settings, None)?;
        let mut control = RunControl::standalone(Arc::clone(observer), CancellationToken::new());
        let fetched = self
            .fetch_source(run, settings, &request, &mut control)
            .await?;
        fetched.ok_or_else(super::unexpected_not_modified)
    }
}
