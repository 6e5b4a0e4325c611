//! Who runs what: claiming, renewing, handing back and taking over runs. A fence number grows with each claim, so that a
//! process that was thought dead can no longer commit.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Store, StoreError, known_word, query_error, violated_constraint};
use crate::model::run::{ClaimedRun, NewRun, Origin, Trigger};
use crate::model::{AccountId, RunId};

/// A file that kills its process this often is not tried again.
const MAX_ATTEMPTS: i32 = 3;

/// What came of starting a run here and now.
#[derive(Debug)]
pub enum StartResult {
    /// It is ours.
    Run(ClaimedRun),
    /// Another run of the account is under way; `None` if it has just ended.
    Busy(Option<RunId>),
}

/// A run whose process died, and which is not tried again.
#[derive(Debug)]
pub struct DeadRun {
    /// The run, now ours to end.
    pub run: ClaimedRun,
    /// Its file killed its process repeatedly (else it was a local file's run, which only its command could go on with).
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
        trigger: known_word("trigger", trigger)?,
        origin: known_word("origin", origin)?,
        subject: subject.map(RunId),
        keep_ids,
        forced,
        fence,
        attempts,
    })
}

impl Store {
    /// Claims up to `limit` queued runs, the oldest of each account that has none under way. Other requests that wait
    /// for the same account are served by it.
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
        let mut tx = self.pool.begin().await.map_err(query_error("begin"))?;
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
            // Another daemon was faster by a hair; the next tick will tell.
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

    /// Starts a run in this process.
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
        // Asked first: each attempt to insert would use up an id, and whoever waits asks often.
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
                // Over in between: the caller asks again.
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
        .map_err(query_error("look for the running import"))?;
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

    /// Counts a run as one attempt more, or one less while it waits: it is not the file of one that waits which ends the
    /// process.
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
        .map_err(query_error("count the attempts"))?;
        Ok(())
    }

    /// Hands a run back that was stopped before it changed anything; it counts as not tried.
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
        .map_err(query_error("hand the run back"))?;
        Ok(())
    }

    /// Ends a run that its user has stopped before it changed anything.
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

    /// Queues the runs again whose process has died, and takes over those that are not tried again, to end them.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn recover_expired_runs(
        &self,
        now: DateTime<Utc>,
        owner: &str,
        lease: Duration,
    ) -> Result<Vec<DeadRun>, StoreError> {
        let mut tx = self.pool.begin().await.map_err(query_error("begin"))?;
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
        .map_err(query_error("take up runs of dead processes"))?;
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
        .map_err(query_error("take up runs of dead processes"))?;
        tx.commit()
            .await
            .map_err(query_error("take up runs of dead processes"))?;
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
