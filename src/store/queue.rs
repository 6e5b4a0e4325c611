//! Ownership of runs: claiming them, renewing and taking over leases, and requeuing.
//!
//! Each claim increments the fence number of the run. A process whose lease expired can then no longer commit it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Store, StoreError, parse_column, query_error, violated_constraint};
use crate::model::run::{ClaimedRun, NewRun, Origin, Trigger};
use crate::model::{AccountId, RunId};

/// A run that has crashed its process this often is not retried.
const MAX_ATTEMPTS: i32 = 3;

/// Result of an attempt to start a run in this process.
#[derive(Debug)]
pub enum StartResult {
    /// This process owns the run.
    Run(ClaimedRun),
    /// Another run of the account is running; `None` if it has just ended.
    Busy(Option<RunId>),
}

/// A run whose process died and that is not retried.
#[derive(Debug)]
pub struct DeadRun {
    /// The run, which this process now owns and must end.
    pub run: ClaimedRun,
    /// Whether it crashed its process repeatedly. Otherwise it imported a local file, which only its command can read.
    pub crashed_repeatedly: bool,
}

fn lease_expiry(now: DateTime<Utc>, lease: Duration) -> DateTime<Utc> {
    now + TimeDelta::from_std(lease).unwrap_or(TimeDelta::MAX)
}

fn claimed_run(
    id: i64,
    account: i64,
    trigger: &str,
    origin: &str,
    subject: Option<i64>,
    (keep_ids, forced): (bool, bool),
    fence: i64,
    attempts: i32,
) -> Result<ClaimedRun, StoreError> {
    Ok(ClaimedRun {
        id: RunId(id),
        account_id: AccountId(account),
        trigger: parse_column("trigger", trigger)?,
        origin: parse_column("origin", origin)?,
        subject: subject.map(RunId),
        keep_ids,
        forced,
        fence,
        attempts,
    })
}

impl Store {
    /// Claims up to `limit` queued runs: for each account without a running run, the oldest one. It supersedes other
    /// queued requests of the account.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; then nothing was claimed.
    pub async fn claim_runs(
        &self,
        now: DateTime<Utc>,
        owner: &str,
        lease: Duration,
        limit: i64,
    ) -> Result<Vec<ClaimedRun>, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(query_error("start a transaction"))?;
        let rows = sqlx::query!(
            "WITH next AS (
                 SELECT r.id
                 FROM import_runs r JOIN accounts a ON a.id = r.account_id
                 WHERE r.status = 'queued' AND r.origin = 'source'
                   AND NOT EXISTS (
                       SELECT FROM import_runs o
                       WHERE o.account_id = r.account_id
                         AND (o.status = 'running' OR (o.status = 'queued' AND o.origin = 'source' AND o.id < r.id)))
                 ORDER BY r.requested_at, r.id
                 LIMIT $4
                 -- The account too: two daemons must not claim two runs of one account.
                 FOR NO KEY UPDATE OF r, a SKIP LOCKED
             )
             UPDATE import_runs r
             SET status = 'running', lease_owner = $1, lease_until = $2, fence = fence + 1, attempts = attempts + 1, started_at = $3
             FROM next WHERE r.id = next.id
             RETURNING r.id, r.account_id, r.trigger, r.origin, r.subject_run_id, r.keep_ids, r.forced, r.fence, r.attempts",
            owner,
            lease_expiry(now, lease),
            now,
            limit
        )
        .fetch_all(&mut *tx)
        .await;
        let rows = match rows {
            // Another daemon claimed a run of the same account at the same time. The next tick tries again.
            Err(error) if violated_constraint(&error) == Some("import_runs_one_running") => {
                return Ok(Vec::new());
            }
            other => other.map_err(query_error("claim runs"))?,
        };
        let runs = rows
            .iter()
            .map(|r| {
                claimed_run(
                    r.id,
                    r.account_id,
                    &r.trigger,
                    &r.origin,
                    r.subject_run_id,
                    (r.keep_ids, r.forced),
                    r.fence,
                    r.attempts,
                )
            })
            .collect::<Result<Vec<ClaimedRun>, StoreError>>()?;
        for run in runs
            .iter()
            .filter(|run| matches!(run.trigger, Trigger::Schedule | Trigger::Manual))
        {
            sqlx::query!(
                "UPDATE import_runs SET status = 'superseded', superseded_by = $2, finished_at = $3
                 WHERE account_id = $1 AND status = 'queued' AND origin = 'source' AND trigger IN ('schedule', 'manual')",
                run.account_id.0,
                run.id.0,
                now
            )
            .execute(&mut *tx)
            .await
            .map_err(query_error("claim runs"))?;
        }
        tx.commit().await.map_err(query_error("claim runs"))?;
        Ok(runs)
    }

    /// Creates a run that this process owns, unless another run of the account is running.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn start_run(
        &self,
        new: NewRun,
        now: DateTime<Utc>,
        owner: &str,
        lease: Duration,
    ) -> Result<StartResult, StoreError> {
        // Checked first because every failed INSERT uses up an id, and a waiting caller retries often.
        if let Some(running) = self.running(new.account_id).await? {
            return Ok(StartResult::Busy(Some(running)));
        }
        let inserted = sqlx::query!(
            "INSERT INTO import_runs (account_id, trigger, origin, subject_run_id, keep_ids, forced, status, requested_at, started_at, attempts, fence, lease_owner, lease_until)
             VALUES ($1, $2, $3, $4, $8, $9, 'running', $5, $5, 1, 1, $6, $7)
             RETURNING id",
            new.account_id.0,
            new.trigger.as_str(),
            new.origin.as_str(),
            new.subject.map(|subject| subject.0),
            now,
            owner,
            lease_expiry(now, lease),
            new.keep_ids,
            new.forced
        )
        .fetch_one(&self.pool)
        .await;
        match inserted {
            Ok(row) => Ok(StartResult::Run(ClaimedRun {
                id: RunId(row.id),
                account_id: new.account_id,
                trigger: new.trigger,
                origin: new.origin,
                subject: new.subject,
                keep_ids: new.keep_ids,
                forced: new.forced,
                fence: 1,
                attempts: 1,
            })),
            Err(error) if violated_constraint(&error) == Some("import_runs_one_running") => {
                // If that run has ended in the meantime, the caller tries again.
                let running = self.running(new.account_id).await?;
                Ok(StartResult::Busy(running))
            }
            Err(error) => Err(query_error("start the run")(error)),
        }
    }

    async fn running(&self, account: AccountId) -> Result<Option<RunId>, StoreError> {
        let running = sqlx::query_scalar!(
            "SELECT id FROM import_runs WHERE account_id = $1 AND status = 'running'",
            account.0
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(query_error("look up the running import"))?;
        Ok(running.map(RunId))
    }

    /// Renews the lease of a run; `false` if another process has taken it over.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn renew_lease(
        &self,
        run: &ClaimedRun,
        now: DateTime<Utc>,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let renewed = sqlx::query!(
            "UPDATE import_runs SET lease_until = $3 WHERE id = $1 AND fence = $2 AND status = 'running'",
            run.id.0,
            run.fence,
            lease_expiry(now, lease)
        )
        .execute(&self.pool)
        .await
        .map_err(query_error("renew the lease"))?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Adds `delta` to the attempts of a run. A run is not counted while it waits, because if the process dies then, the
    /// file of this run is not the cause.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn adjust_attempts(&self, run: &ClaimedRun, delta: i32) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE import_runs SET attempts = attempts + $3 WHERE id = $1 AND fence = $2 AND status = 'running'",
            run.id.0,
            run.fence,
            delta
        )
        .execute(&self.pool)
        .await
        .map_err(query_error("update the attempts of the run"))?;
        Ok(())
    }

    /// Returns a run that was stopped before it changed anything to the queue, and does not count the attempt.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn requeue(&self, run: &ClaimedRun) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE import_runs SET status = 'queued', attempts = attempts - 1, lease_owner = NULL, lease_until = NULL
             WHERE id = $1 AND fence = $2 AND status = 'running'",
            run.id.0,
            run.fence
        )
        .execute(&self.pool)
        .await
        .map_err(query_error("requeue the run"))?;
        Ok(())
    }

    /// Fails a run that its user stopped before it changed anything.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn fail_stopped_run(
        &self,
        run: &ClaimedRun,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE import_runs
             SET status = 'failed', finished_at = $3, lease_owner = NULL, lease_until = NULL,
                 failure_code = 'lease_lost', failure_message = 'the import was stopped before it changed anything'
             WHERE id = $1 AND fence = $2 AND status = 'running'",
            run.id.0,
            run.fence,
            now
        )
        .execute(&self.pool)
        .await
        .map_err(query_error("end the stopped run"))?;
        Ok(())
    }

    /// Requeues runs whose lease has expired, and takes over those that are not retried so that the caller can end them.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn recover_expired_runs(
        &self,
        now: DateTime<Utc>,
        owner: &str,
        lease: Duration,
    ) -> Result<Vec<DeadRun>, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(query_error("start a transaction"))?;
        sqlx::query!(
            "UPDATE import_runs SET status = 'queued', lease_owner = NULL, lease_until = NULL
             WHERE id IN (
                 SELECT id FROM import_runs
                 WHERE status = 'running' AND lease_until < $1 AND attempts < $2 AND origin = 'source'
                 FOR UPDATE SKIP LOCKED)",
            now,
            MAX_ATTEMPTS
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("recover expired runs"))?;
        let rows = sqlx::query!(
            "UPDATE import_runs r SET lease_owner = $2, lease_until = $3, fence = fence + 1
             WHERE id IN (
                 SELECT id FROM import_runs WHERE status = 'running' AND lease_until < $1 FOR UPDATE SKIP LOCKED)
             RETURNING r.id, r.account_id, r.trigger, r.origin, r.subject_run_id, r.keep_ids, r.forced, r.fence, r.attempts",
            now,
            owner,
            lease_expiry(now, lease)
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(query_error("recover expired runs"))?;
        tx.commit()
            .await
            .map_err(query_error("recover expired runs"))?;
        rows.iter()
            .map(|r| {
                let run = claimed_run(
                    r.id,
                    r.account_id,
                    &r.trigger,
                    &r.origin,
                    r.subject_run_id,
                    (r.keep_ids, r.forced),
                    r.fence,
                    r.attempts,
                )?;
                Ok(DeadRun {
                    crashed_repeatedly: run.origin == Origin::Source,
                    run,
                })
            })
            .collect()
    }
}
