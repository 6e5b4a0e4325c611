//! Ends a run in one transaction: applies or holds its plan, or records that its file has not changed or that it failed.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    FileOrigin, ImportError, Importer, ParsedFile, next_row_cache, notify, plan_input, run_span,
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

/// The transaction that ends a run, and the data of the account that it needs.
pub(super) struct RunTransaction {
    pub(super) session: Session,
    /// Read under the lock of the account.
    pub(super) context: RunContext,
    account: Account,
    admins: Vec<Admin>,
}

impl RunTransaction {
    pub(super) fn report(&self, run: &ClaimedRun, outcome: Outcome, now: DateTime<Utc>) -> Report {
        notify::empty_report(&self.account, run, &self.context, outcome, now)
    }
}

impl Importer {
    /// Locks the account. With an `origin`, fails if imports were disabled or the settings edited since the run began.
    pub(super) async fn begin_transaction(
        &self,
        run: &ClaimedRun,
        origin: Option<&FileOrigin>,
    ) -> Result<RunTransaction, ImportError> {
        let account = self.store.account(&AccountRef::Id(run.account_id)).await?;
        let admins = self.store.admins(run.account_id).await?;
        let mut session = self.store.open_session(run).await?;
        if let Some(origin) = origin {
            session.ensure_settings_current(origin.settings()).await?;
        }
        let context = session.context().await?;
        Ok(RunTransaction {
            session,
            context,
            account,
            admins,
        })
    }

    pub(super) async fn queue_report(
        &self,
        transaction: &mut RunTransaction,
        report: &Report,
        now: DateTime<Utc>,
    ) -> Result<(), ImportError> {
        let messages = self.render_messages(report, &transaction.admins)?;
        Ok(transaction.session.queue_mail(&messages, now).await?)
    }

    /// Plans the import under the lock of the account, and applies or holds the plan.
    pub(super) async fn plan_and_apply(
        &self,
        run: &ClaimedRun,
        origin: &FileOrigin,
        mut parsed_file: ParsedFile,
        file: FileMetadata,
        stop: &CancellationToken,
    ) -> Result<RunStatus, ImportError> {
        let mut transaction = self.begin_transaction(run, Some(origin)).await?;
        let session = &mut transaction.session;
        let context = &transaction.context;
        // Read under the lock: the limits may have been edited since the run began.
        let rules = session.hold_rules().await?.unwrap_or_default();
        let approved = match run.subject {
            Some(subject) => Some(
                session
                    .approved_plan(subject)
                    .await?
                    .ok_or(ImportError::NothingToApprove)?,
            ),
            None => None,
        };
        let plan_context = PlanContext {
            keep_ids: run.keep_ids || approved.as_ref().is_some_and(|approved| approved.keep_ids),
            ..plan_input::load_plan_context(session, context, approved.as_ref(), file.sha256)
                .await?
        };
        let issues = std::mem::take(&mut parsed_file.sheet.issues);
        let (parsed_file, plan_context) = (Arc::new(parsed_file), Arc::new(plan_context));
        let snapshot = plan_input::load_snapshot(session, context, &parsed_file).await?;
        let mut plan =
            plan_input::compute_plan(snapshot, &parsed_file, rules, &plan_context).await?;
        if let (Some(approved), Some(sha256)) = (&approved, file.sha256)
            && approved.covers(
                &plan,
                &parsed_file.sheet.rows_in_error,
                sha256,
                context.must_confirm,
            )
        {
            plan.clear_hold();
        }
        let now = self.clock.now();
        let held = !plan.hold_reasons.is_empty();
        let contacts = &parsed_file.sheet.contacts;
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
        let counts = notify::counts(&plan, parsed_file.sheet.row_count, &issues);
        let identities: Vec<_> = issues.iter().map(|issue| issue.identity()).collect();
        let (previous_issues, fixed) = match session.last_read_run().await? {
            Some(last) => {
                let current = identities.iter().copied().collect();
                session.compare_issues(last, &current).await?
            }
            None => Default::default(),
        };
        let is_new: Vec<bool> = identities
            .into_iter()
            .map(|identity| !previous_issues.contains(identity))
            .collect();
        session.record_issues(&issues, &is_new).await?;

        let outcome = if held {
            Outcome::Held(plan.hold_reasons.clone())
        } else {
            Outcome::Applied
        };
        let mut report = notify::with_plan(transaction.report(run, outcome, now), &plan, counts);
        report.rules = rules;
        // Some issues were only counted, so it is unknown whether they are among those of the last run.
        if issues.omitted() == 0 {
            report.fixed = notify::exclude_missing_contacts(&fixed, &plan);
        }
        report.issues = issues;
        report.is_new = is_new;
        report.recovered = transaction.context.streak.since.is_some();
        self.queue_report(&mut transaction, &report, now).await?;
        if run.trigger != Trigger::Schedule {
            transaction.session.clear_quarantine().await?;
        }
        let status = match (held, counts.errors > 0 || counts.withheld > 0) {
            (true, _) => RunStatus::Held,
            (false, true) => RunStatus::SucceededWithIssues,
            (false, false) => RunStatus::Succeeded,
        };
        let state = (!held).then(|| {
            account_state_update(&parsed_file, &plan, &plan_context, status, &file, &added)
        });
        let run_outcome = RunOutcome {
            hold_reasons: plan.hold_reasons,
            emptied_groups: plan.emptied_groups,
            state,
            file,
            counts: Some(counts),
            ..RunOutcome::new(status)
        };
        transaction.session.finish_run(&run_outcome, now).await?;
        Ok(status)
    }

    pub(super) async fn finish_unchanged(
        &self,
        run: &ClaimedRun,
        origin: &FileOrigin,
        file: &FileMetadata,
    ) -> Result<RunStatus, ImportError> {
        let now = self.clock.now();
        let mut transaction = self.begin_transaction(run, Some(origin)).await?;
        // The state may have been cleared since the run began.
        let last_applied = transaction.context.last_applied_file.as_ref();
        if last_applied.map(|last| last.sha256) != Some(file.sha256) {
            return Err(StoreError::ConcurrentChange.into());
        }
        if transaction.context.streak.since.is_some() {
            let report = Report {
                recovered: true,
                ..transaction.report(run, Outcome::Unchanged, now)
            };
            self.queue_report(&mut transaction, &report, now).await?;
        }
        if run.trigger != Trigger::Schedule {
            transaction.session.clear_quarantine().await?;
        }
        let run_outcome = RunOutcome {
            file: file.clone(),
            ..RunOutcome::new(RunStatus::Unchanged)
        };
        transaction.session.finish_run(&run_outcome, now).await?;
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
        let mut transaction = self.begin_transaction(run, None).await?;
        let (streak, should_mail) =
            notify::update_streak(&transaction.context.streak, failure.code, run.trigger, now);
        let all_new = vec![true; issues.len()];
        transaction.session.record_issues(&issues, &all_new).await?;
        if should_mail {
            let report = Report {
                issues,
                is_new: all_new,
                ..transaction.report(run, Outcome::Failed(failure.clone()), now)
            };
            self.queue_report(&mut transaction, &report, now).await?;
        }
        if failure.code == FailureCode::SetAside {
            transaction
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
        transaction.session.finish_run(&run_outcome, now).await?;
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
    parsed_file: &ParsedFile,
    plan: &Plan,
    plan_context: &PlanContext,
    status: RunStatus,
    file: &FileMetadata,
    added: &[ContactId],
) -> AccountStateUpdate {
    // Rows that were accepted and are still in the file stay accepted.
    let accepted = parsed_file.sheet.unidentified.iter().map(|row| row.digest);
    let accepted = accepted
        .filter(|digest| {
            plan_context.apply_withheld_removals || plan_context.accepted_rows.contains(digest)
        })
        .collect();
    AccountStateUpdate {
        last_applied_file: (status == RunStatus::Succeeded).then(|| file.clone()),
        reader_version: READER_VERSION,
        // A file that may be truncated does not change whether the next one must end with a newline, unless it was approved.
        final_newline: if parsed_file.sheet.maybe_truncated && !plan_context.apply_withheld_removals
        {
            Some(true)
        } else {
            parsed_file.info.final_newline
        },
        accepted_rows: accepted,
        keep_confirmation_required: !plan.withheld.is_empty(),
        row_cache: next_row_cache::row_cache_update(parsed_file, plan, added),
    }
}
