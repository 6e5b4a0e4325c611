//! How a run ends: its plan applied or held, its file found unchanged, or failed. Each is one transaction.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{ImportError, Importer, Reading, next_row_cache, notify, plan_input, run_span};
use crate::compact::Issues;
use crate::model::ContactId;
use crate::model::account::AccountRef;
use crate::model::failure::{Failure, FailureCode};
use crate::model::hold::PlanContext;
use crate::model::plan::Plan;
use crate::model::run::{ClaimedRun, FailureStreak, FileMetadata, RunStatus, Trigger};
use crate::report::Outcome;
use crate::sheet::READER_VERSION;
use crate::store::{AccountStateUpdate, DeadRun, RunOutcome, Settings, StoreError};

impl Importer {
    /// Plans under the lock, and applies the plan or holds it.
    pub(super) async fn plan_and_apply(
        &self,
        run: &ClaimedRun,
        settings: Option<&Settings>,
        mut reading: Reading,
        file: FileMetadata,
        stop: &CancellationToken,
    ) -> Result<RunStatus, ImportError> {
        let account = self.store.account(&AccountRef::Id(run.account_id)).await?;
        let admins = self.store.admins(run.account_id).await?;
        let mut session = self.store.open_session(run).await?;
        session.ensure_settings_current(settings).await?;
        // Nobody edits them until we are through; those of a local file may have been edited since it was read.
        let rules = session.hold_rules().await?.unwrap_or_default();
        let context = session.context().await?;
        let approved = match run.subject {
            Some(subject) => Some(
                session
                    .approved(subject)
                    .await?
                    .ok_or(ImportError::NothingToApprove)?,
            ),
            None => None,
        };
        let history = PlanContext {
            keep_ids: run.keep_ids || approved.as_ref().is_some_and(|approved| approved.keep_ids),
            ..plan_input::history(&mut session, &context, approved.as_ref(), file.sha256).await?
        };
        let issues = std::mem::take(&mut reading.parsed.issues);
        let (reading, history) = (Arc::new(reading), Arc::new(history));
        let snapshot = plan_input::snapshot(&mut session, &context, &reading).await?;
        let mut plan = plan_input::compute_plan(snapshot, &reading, rules, &history).await?;
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
        // Dropped half-way, the transaction is rolled back.
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
        let mut report =
            notify::with_plan(notify::empty_report(&account, run, outcome), &plan, counts);
        // Of what is counted only, nobody knows whether it is one of the last time.
        if issues.omitted() == 0 {
            report.fixed = fixed;
        }
        report.issues = issues;
        report.is_new = is_new;
        report.recovered = context.streak.since.is_some();
        session
            .queue_mail(&self.render_mails(&report, &admins)?, now)
            .await?;
        if run.trigger != Trigger::Schedule {
            session.clear_quarantine().await?;
        }
        let status = match (held, counts.errors > 0 || counts.withheld > 0) {
            (true, _) => RunStatus::Held,
            (false, true) => RunStatus::SucceededWithIssues,
            (false, false) => RunStatus::Succeeded,
        };
        let run_outcome = RunOutcome {
            status,
            failure: None,
            hold_reasons: plan.hold_reasons.clone(),
            emptied_groups: plan.emptied_groups.clone(),
            state: (!held)
                .then(|| account_state_update(&reading, &plan, &history, status, &file, &added)),
            file,
            counts: Some(counts),
            streak: FailureStreak::default(),
        };
        session.finish_run(&run_outcome, now).await?;
        Ok(status)
    }

    pub(super) async fn finish_unchanged(
        &self,
        run: &ClaimedRun,
        settings: Option<&Settings>,
        file: &FileMetadata,
    ) -> Result<RunStatus, ImportError> {
        let account = self.store.account(&AccountRef::Id(run.account_id)).await?;
        let admins = self.store.admins(run.account_id).await?;
        let now = self.clock.now();
        let mut session = self.store.open_session(run).await?;
        session.ensure_settings_current(settings).await?;
        let context = session.context().await?;
        // What was known when the run began may have been forgotten since.
        if context.last_applied_file.map(|known| known.sha256) != Some(file.sha256) {
            return Err(StoreError::ConcurrentChange.into());
        }
        if context.streak.since.is_some() {
            let mut report = notify::empty_report(&account, run, Outcome::Unchanged);
            report.recovered = true;
            session
                .queue_mail(&self.render_mails(&report, &admins)?, now)
                .await?;
        }
        if run.trigger != Trigger::Schedule {
            session.clear_quarantine().await?;
        }
        session
            .finish_run(
                &outcome_without_plan(
                    RunStatus::Unchanged,
                    None,
                    file.clone(),
                    FailureStreak::default(),
                ),
                now,
            )
            .await?;
        Ok(RunStatus::Unchanged)
    }

    pub(super) async fn finish_failed(
        &self,
        run: &ClaimedRun,
        failure: Failure,
        file: FileMetadata,
        issues: Issues,
    ) -> Result<(), ImportError> {
        let account = self.store.account(&AccountRef::Id(run.account_id)).await?;
        let admins = self.store.admins(run.account_id).await?;
        let now = self.clock.now();
        let mut session = self.store.open_session(run).await?;
        let context = session.context().await?;
        let (streak, mail) = notify::update_streak(&context.streak, failure.code, run.trigger, now);
        let all_new = vec![true; issues.len()];
        session.record_issues(&issues, &all_new).await?;
        if mail {
            let mut report = notify::empty_report(&account, run, Outcome::Failed(failure.clone()));
            report.issues = issues;
            report.is_new = all_new;
            session
                .queue_mail(&self.render_mails(&report, &admins)?, now)
                .await?;
        }
        if failure.code == FailureCode::SetAside {
            session.quarantine_account(now, &failure.message).await?;
        }
        session
            .finish_run(
                &outcome_without_plan(RunStatus::Failed, Some(failure), file, streak),
                now,
            )
            .await?;
        Ok(())
    }

    /// Ends a run whose process died and which is not tried again.
    ///
    /// # Errors
    /// [`ImportError`] if that could not be recorded; then it is found dead again.
    pub async fn end_dead_run(&self, dead_run: &DeadRun) -> Result<(), ImportError> {
        let run = &dead_run.run;
        let failure = if dead_run.crashed_repeatedly {
            let message = format!(
                "the import ended its process {} times and is set aside; look at the file, then run it again with `rosterd import {}`",
                run.attempts, run.account_id
            );
            Failure::new(FailureCode::SetAside, message)
        } else {
            Failure::new(
                FailureCode::LeaseLost,
                "the command that imported this file ended before it was done; nothing was changed, run it again",
            )
        };
        let (started, code) = (self.clock.now(), failure.code);
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
    history: &PlanContext,
    status: RunStatus,
    file: &FileMetadata,
    added: &[ContactId],
) -> AccountStateUpdate {
    // What a person has seen and approved blocks no more; what is gone from the file is forgotten.
    let accepted = reading.parsed.unidentified.iter().map(|row| row.digest);
    let accepted = accepted
        .filter(|digest| history.apply_withheld_removals || history.accepted_rows.contains(digest))
        .collect();
    AccountStateUpdate {
        last_applied_file: (status == RunStatus::Succeeded).then(|| file.clone()),
        reader_version: READER_VERSION,
        // A file that may be cut off is no measure for the next one, unless a person has said that it is whole.
        final_newline: if reading.parsed.maybe_truncated && !history.apply_withheld_removals {
            Some(true)
        } else {
            reading.facts.final_newline
        },
        accepted_rows: accepted,
        keep_confirmation_required: !plan.withheld.is_empty(),
        known: next_row_cache::row_cache_update(reading, plan, added),
    }
}

fn outcome_without_plan(
    status: RunStatus,
    failure: Option<Failure>,
    file: FileMetadata,
    streak: FailureStreak,
) -> RunOutcome {
    RunOutcome {
        status,
        failure,
        hold_reasons: Vec::new(),
        emptied_groups: Vec::new(),
        file,
        counts: None,
        state: None,
        streak,
    }
}
