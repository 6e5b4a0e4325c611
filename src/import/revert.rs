//! Reverts a run, as a run with its own counts and mail.

use tokio_util::sync::CancellationToken;

use super::{ImportError, Importer, notify};
use crate::compact::Contacts;
use crate::model::RunId;
use crate::model::issue::Severity;
use crate::model::plan::{Action, Plan};
use crate::model::run::{ClaimedRun, Counts, RunStatus};
use crate::reconcile;
use crate::report::{Outcome, Report};
use crate::store::RunOutcome;
use crate::telemetry::run_blocking;

impl Importer {
    /// Restores the contacts as they were before `subject`.
    pub(super) async fn revert(
        &self,
        run: &ClaimedRun,
        subject: RunId,
        stop: &CancellationToken,
    ) -> Result<RunStatus, ImportError> {
        let mut transaction = self.begin_transaction(run, None).await?;
        let session = &mut transaction.session;
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
        // A revert adds no contacts.
        let contacts = Contacts::default();
        // Canceling drops the transaction, which rolls it back.
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
        let report = transaction.report(run, Outcome::Reverted(subject), now);
        let report = Report {
            issues,
            is_new: all_new,
            ..notify::with_plan(report, &plan, counts)
        };
        self.queue_report(&mut transaction, &report, now).await?;
        let status = if counts.errors > 0 {
            RunStatus::SucceededWithIssues
        } else {
            RunStatus::Succeeded
        };
        let run_outcome = RunOutcome {
            emptied_groups: plan.emptied_groups,
            counts: Some(counts),
            // A revert does not show whether the source works.
            streak: transaction.context.streak.clone(),
            ..RunOutcome::new(status)
        };
        transaction.session.finish_run(&run_outcome, now).await?;
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
