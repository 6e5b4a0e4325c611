//! Undoing a run, as a run of its own with its own counts and mail.

use tokio_util::sync::CancellationToken;

use super::{ImportError, Importer, notify};
use crate::compact::Contacts;
use crate::model::RunId;
use crate::model::account::AccountRef;
use crate::model::issue::Severity;
use crate::model::plan::{Action, Plan};
use crate::model::run::{ClaimedRun, Counts, FileFacts, RunStatus};
use crate::reconcile;
use crate::report::Outcome;
use crate::store::Conclusion;
use crate::telemetry::blocking;

impl Importer {
    /// Puts the contacts back as they were before `subject`.
    pub(super) async fn revert(
        &self,
        run: &ClaimedRun,
        subject: RunId,
        stop: &CancellationToken,
    ) -> Result<RunStatus, ImportError> {
        let account = self.store.account(&AccountRef::Id(run.account_id)).await?;
        let admins = self.store.admins(run.account_id).await?;
        let mut session = self.store.open_session(run).await?;
        let context = session.context().await?;
        let recorded = session.recorded(subject).await?;
        if recorded.is_empty() {
            return Err(ImportError::NothingToRevert);
        }
        let snapshot = session.snapshot().await?;
        let force = run.forced;
        let (plan, issues) = blocking(move || reconcile::plan_revert(snapshot, &recorded, force))
            .await
            .map_err(|error| ImportError::Internal(format!("planning: {error}")))?;
        let now = self.clock.now();
        // Dropped half-way, the transaction is rolled back.
        // Nobody comes from a file.
        let contacts = Contacts::default();
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(ImportError::Stopped),
            written = session.apply(&plan, &contacts, now) => { written?; }
        }
        let all_new = vec![true; issues.len()];
        session.record_issues(&issues, &all_new).await?;
        if !plan.is_empty() {
            session.await_confirmation().await?;
        }
        let counts = counts(&plan, issues.count(Severity::Error));
        let blank = notify::blank_report(&account, run, Outcome::Reverted(subject));
        let mut report = notify::with_plan(blank, &plan, counts);
        report.issues = issues;
        report.is_new = all_new;
        session
            .queue_mail(&self.mails(&report, &admins)?, now)
            .await?;
        let status = if counts.errors > 0 {
            RunStatus::SucceededWithIssues
        } else {
            RunStatus::Succeeded
        };
        let end = Conclusion {
            status,
            failure: None,
            hold_reasons: Vec::new(),
            emptied_groups: plan.emptied_groups,
            file: FileFacts::default(),
            counts: Some(counts),
            state: None,
            // The source is no better or worse for it.
            streak: context.streak,
        };
        session.conclude(&end, now).await?;
        Ok(status)
    }
}

fn counts(plan: &Plan, errors: usize) -> Counts {
    Counts {
        updated: plan.count(Action::Updated),
        unchanged: plan.unchanged,
        removed: plan.removed.len(),
        revived: plan.count(Action::Revived),
        errors,
        contacts_after: plan.contacts_after,
        ..Counts::default()
    }
}
