//! How a run ends: its plan is applied or held, its file has not changed, or it failed. Each ending is one transaction.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    FileOrigin, ImportError, Importer, Reading, next_row_cache, notify, plan_input, run_span,
};
use crate::compact::Issues;
use crate::model::ContactId;
use crate::model::account::{Account, AccountRef, Admin};
use crate::model::failure::{Failure, FailureCode};
use crate::model::hold::PlanContext;
use crate::model::plan::Plan;
use crate::model::run::{ClaimedRun, FileMetadata, RunStatus, Trigger};
use crate::report::{Outcome, Report};
use crate::sheet::READER_VERSION;
use crate::store::{AccountStateUpdate, DeadRun, RunContext, RunOutcome, Session, StoreError};

/// The transaction in which a run ends, and what it knows of the account.
pub(super) struct Ending {
    pub(super) session: Session,
    /// Read under the lock of the account.
    pub(super) context: RunContext,
    account: Account,
    admins: Vec<Admin>,
}

impl Ending {
    pub(super) fn report(&self, run: &ClaimedRun, outcome: Outcome, now: DateTime<Utc>) -> Report {
        notify::empty_report(&self.account, run, &self.context, outcome, now)
    }
}

impl Importer {
    /// Locks the account. With an `origin`, fails if imports were disabled or the settings edited since the run began.
    pub(super) async fn begin_ending(
        &self,
        run: &ClaimedRun,
        origin: Option<&FileOrigin>,
    ) -> Result<Ending, ImportError> {
        let account = self.store.account(&AccountRef::Id(run.account_id)).await?;
        let admins = self.store.admins(run.account_id).await?;
        let mut session = self.store.open_session(run).await?;
        if let Some(origin) = origin {
            session.ensure_settings_current(origin.settings()).await?;
        }
        let context = session.context().await?;
        Ok(Ending {
            session,
            context,
            account,
            admins,
        })
    }

    pub(super) async fn queue_report(
        &self,
        ending: &mut Ending,
        report: &Report,
        now: DateTime<Utc>,
    ) -> Result<(), ImportError> {
        let messages = self.render_messages(report, &ending.admins)?;
        Ok(ending.session.queue_mail(&messages, now).await?)
    }

    /// Plans under the lock, and applies the plan or holds it.
    pub(super) async fn plan_and_apply(
        &self,
        run: &ClaimedRun,
        origin: &FileOrigin,
        mut reading: Reading,
        file: FileMetadata,
        stop: &CancellationToken,
    ) -> Result<RunStatus, ImportError> {
        let mut ending = self.begin_ending(run, Some(origin)).await?;
        let session = &mut ending.session;
        let context = &ending.context;
        // Read under the lock: settings of a local file may have been edited since it was read.
        let rules = session.hold_rules().await?.unwrap_or_default();
        let approved = match run.subject {
            Some(subject) => Some(
                session
                    .approved(subject)
                    .await?
                    .ok_or(ImportError::NothingToApprove)?,
            ),
            None => None,
        };
        let plan_context = PlanContext {
            keep_ids: run.keep_ids || approved.as_ref().is_some_and(|approved| approved.keep_ids),
            ..plan_input::plan_context(session, context, approved.as_ref(), file.sha256).await?
        };
        let issues = std::mem::take(&mut reading.parsed.issues);
        let (reading, plan_context) = (Arc::new(reading), Arc::new(plan_context));
        let snapshot = plan_input::snapshot(session, context, &reading).await?;
        let mut plan = plan_input::compute_plan(snapshot, &reading, rules, &plan_context).await?;
        if let (Some(approved), Some(sha256)) = (&approved, file.sha256)
            && approved.covers(
                &plan,
                &reading.parsed.rows_in_error,
                sha256,
                context.must_confirm,
            )
        {
            plan.hold_reasons.clear();
        }
        let now = self.clock.now();
        let held = !plan.hold_reasons.is_empty();
        let contacts = &reading.parsed.contacts;
        let write = async {
            if held {
                session.record_held(&plan, contacts).await?;
                return Ok(Vec::new());
            }
            session.apply(&plan, contacts, now).await
        };
        // Canceling drops the transaction, which rolls it back.
        let added = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(ImportError::Stopped),
            written = write => written?,
        };
        let counts = notify::counts(&plan, reading.parsed.row_count, &issues);
        let identities: Vec<_> = issues.iter().map(|issue| issue.identity()).collect();
        let (before, fixed) = match session.last_read_run().await? {
            Some(last) => {
                let now = identities.iter().copied().collect();
                session.compare_issues(last, &now).await?
            }
            None => Default::default(),
        };
        let is_new: Vec<bool> = identities
            .into_iter()
            .map(|identity| !before.contains(identity))
            .collect();
        session.record_issues(&issues, &is_new).await?;

        let outcome = if held {
            Outcome::Held(plan.hold_reasons.clone())
        } else {
            Outcome::Applied
        };
        let mut report = notify::with_plan(ending.report(run, outcome, now), &plan, counts);
        report.rules = rules;
        // Some issues were only counted, so it is unknown whether they are among those of the last run.
        if issues.omitted() == 0 {
            report.fixed = notify::still_in_file(&fixed, &plan);
        }
        report.issues = issues;
        report.is_new = is_new;
        report.recovered = ending.context.streak.since.is_some();
        self.queue_report(&mut ending, &report, now).await?;
        if run.trigger != Trigger::Schedule {
            ending.session.clear_quarantine().await?;
        }
        let status = match (held, counts.errors > 0 || counts.withheld > 0) {
            (true, _) => RunStatus::Held,
            (false, true) => RunStatus::SucceededWithIssues,
            (false, false) => RunStatus::Succeeded,
        };
        let state = (!held)
            .then(|| account_state_update(&reading, &plan, &plan_context, status, &file, &added));
        let run_outcome = RunOutcome {
            hold_reasons: plan.hold_reasons,
            emptied_groups: plan.emptied_groups,
            state,
            file,
            counts: Some(counts),
            ..RunOutcome::new(status)
        };
        ending.session.finish_run(&run_outcome, now).await?;
        Ok(status)
    }

    pub(super) async fn finish_unchanged(
        &self,
        run: &ClaimedRun,
        origin: &FileOrigin,
        file: &FileMetadata,
    ) -> Result<RunStatus, ImportError> {
        let now = self.clock.now();
        let mut ending = self.begin_ending(run, Some(origin)).await?;
        // The state may have been cleared since the run began.
        let last_applied = ending.context.last_applied_file.as_ref();
        if last_applied.map(|last| last.sha256) != Some(file.sha256) {
            return Err(StoreError::ConcurrentChange.into());
        }
        if ending.context.streak.since.is_some() {
            let report = Report {
                recovered: true,
                ..ending.report(run, Outcome::Unchanged, now)
            };
            self.queue_report(&mut ending, &report, now).await?;
        }
        if run.trigger != Trigger::Schedule {
            ending.session.clear_quarantine().await?;
        }
        let run_outcome = RunOutcome {
            file: file.clone(),
            ..RunOutcome::new(RunStatus::Unchanged)
        };
        ending.session.finish_run(&run_outcome, now).await?;
        Ok(RunStatus::Unchanged)
    }

    pub(super) async fn finish_failed(
        &self,
        run: &ClaimedRun,
        failure: Failure,
        file: FileMetadata,
        issues: Issues,
    ) -> Result<(), ImportError> {
        let now = self.clock.now();
        let mut ending = self.begin_ending(run, None).await?;
        let (streak, mail) =
            notify::update_streak(&ending.context.streak, failure.code, run.trigger, now);
        let all_new = vec![true; issues.len()];
        ending.session.record_issues(&issues, &all_new).await?;
        if mail {
            let report = Report {
                issues,
                is_new: all_new,
                ..ending.report(run, Outcome::Failed(failure.clone()), now)
            };
            self.queue_report(&mut ending, &report, now).await?;
        }
        if failure.code == FailureCode::SetAside {
            ending
                .session
                .quarantine_account(now, &failure.message)
                .await?;
        }
        let run_outcome = RunOutcome {
            failure: Some(failure),
            file,
            streak,
            ..RunOutcome::new(RunStatus::Failed)
        };
        ending.session.finish_run(&run_outcome, now).await?;
        Ok(())
    }

    /// Ends a run whose process died and that is not tried again.
    ///
    /// # Errors
    /// [`ImportError`] if that could not be recorded; the next check for dead runs finds it again.
    pub async fn end_dead_run(&self, dead_run: &DeadRun) -> Result<(), ImportError> {
        let run = &dead_run.run;
        let error = if dead_run.crashed_repeatedly {
            ImportError::CrashedRepeatedly {
                attempts: run.attempts,
                account: run.account_id,
            }
        } else {
            ImportError::CommandDied
        };
        let (started, failure) = (self.clock.now(), error.failure());
        let code = failure.code;
        async {
            self.finish_failed(run, failure, FileMetadata::default(), Issues::default())
                .await?;
            self.log_end(RunStatus::Failed, Some(code), started);
            Ok(())
        }
        .instrument(run_span(run))
        .await
    }
}

fn account_state_update(
    reading: &Reading,
    plan: &Plan,
    plan_context: &PlanContext,
    status: RunStatus,
    file: &FileMetadata,
    added: &[ContactId],
) -> AccountStateUpdate {
    // Rows that were accepted and are still in the file stay accepted.
    let accepted = reading.parsed.unidentified.iter().map(|row| row.digest);
    let accepted = accepted
        .filter(|digest| {
            plan_context.apply_withheld_removals || plan_context.accepted_rows.contains(digest)
        })
        .collect();
    AccountStateUpdate {
        last_applied_file: (status == RunStatus::Succeeded).then(|| file.clone()),
        reader_version: READER_VERSION,
        // A file that may be truncated does not change what is expected of the next one, unless it was approved as complete.
        final_newline: if reading.parsed.maybe_truncated && !plan_context.apply_withheld_removals {
            Some(true)
        } else {
            reading.facts.final_newline
        },
        accepted_rows: accepted,
        keep_confirmation_required: !plan.withheld.is_empty(),
        row_cache: next_row_cache::row_cache_update(reading, plan, added),
    }
}
