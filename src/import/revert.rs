//! Undoing a run, as a run of its own with its own counts and mail.

use tokio_util::sync::CancellationToken;

use super::{ImportError, Importer, notify};
use crate::compact::Contacts;
use crate::model::RunId;
use crate::model::account::AccountRef;
use crate::model::issue::Severity;
use crate::model::plan::{Action, Plan};
use crate::model::run::{ClaimedRun, Counts, FileMetadata, RunStatus};
use crate::reconcile;
use crate::report::Outcome;
use crate::store::RunOutcome;
use crate::telemetry::run_blocking;

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
        let recorded_changes = session.recorded_changes(subject).await?;
        if recorded_changes.is_empty() {
            return Err(ImportError::NothingToRevert);
        }
        let snapshot = session.snapshot().await?;
        let force = run.forced;
        let (plan, issues) =
            run_blocking(move || reconcile::plan_revert(snapshot, &recorded_changes, force))
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
            session.require_confirmation().await?;
        }
        let counts = counts(&plan, issues.count(Severity::Error));
        let empty = notify::empty_report(&account, run, Outcome::Reverted(subject));
        let mut report = notify::with_plan(empty, &plan, counts);
        report.issues = issues;
        report.is_new = all_new;
        session
            .queue_mail(&self.render_mails(&report, &admins)?, now)
            .await?;
        let status = if counts.errors > 0 {
            RunStatus::SucceededWithIssues
        } else {
            RunStatus::Succeeded
        };
        let run_outcome = RunOutcome {
            status,
            failure: None,
            hold_reasons: Vec::new(),
            emptied_groups: plan.emptied_groups,
            file: FileMetadata::default(),
            counts: Some(counts),
            state: None,
            // The source is no better or worse for it.
            streak: context.streak,
        };
        session.finish_run(&run_outcome, now).await?;
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
