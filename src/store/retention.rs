//! Forgetting (SPEC §3.7): contacts that were removed long ago, with what is recorded of them, and history that has served.
//! Piece by piece, so that no transaction is large.

use chrono::{DateTime, TimeDelta, Utc};

use super::apply::mark_as_ours;
use super::{Store, StoreError, failed};
use crate::model::AccountId;

/// How long what is kept, days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Removed contacts.
    pub removed_days: u32,
    /// Issues, before- and after-images, and refused mail.
    pub issues_days: u32,
    /// Runs.
    pub runs_days: u32,
    /// Sent mail.
    pub outbox_days: u32,
}

/// How many of each were forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Contacts deleted, or blanked where another table points at them.
    pub contacts: u64,
    /// Runs whose issues and images were deleted.
    pub histories: u64,
    /// Runs.
    pub runs: u64,
    /// Messages.
    pub mails: u64,
}

impl Forgotten {
    /// Whether there was anything to forget.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Mail that no server has taken for so many days is given up, unless history is kept longer.
const GIVE_UP_DAYS: u32 = 180;
/// Contacts, runs or messages in one transaction.
const BATCH: i64 = 1_000;

impl Store {
    /// Forgets what is older than it may get.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; what was forgotten before stays so.
    pub async fn forget(
        &self,
        retention: Retention,
        now: DateTime<Utc>,
    ) -> Result<Forgotten, StoreError> {
        let before = |days: u32| now - TimeDelta::days(days.into());
        // Each for itself: what fails in one must not keep the others for ever.
        let contacts = self
            .purge_contacts(before(retention.removed_days), now)
            .await;
        let histories = self.forget_histories(before(retention.issues_days)).await;
        let runs = self.forget_runs(before(retention.runs_days)).await;
        let (sent, refused) = (before(retention.outbox_days), before(retention.issues_days));
        let given_up = before(retention.issues_days.max(GIVE_UP_DAYS));
        let mails = self.forget_mails([sent, refused, given_up]).await;
        Ok(Forgotten {
            contacts: contacts?,
            histories: histories?,
            runs: runs?,
            mails: mails?,
        })
    }

    async fn purge_contacts(
        &self,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let accounts = sqlx::query_scalar!(
            "SELECT DISTINCT account_id FROM contacts WHERE removed_at < $1 AND purged_at IS NULL",
            before
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed("look for contacts to purge"))?;
        let (mut purged, mut failure) = (0, None);
        for account in accounts {
            loop {
                match self.purge_batch(AccountId(account), before, now).await {
                    Ok(batch) => {
                        purged += batch;
                        if batch < BATCH.unsigned_abs() {
                            break;
                        }
                    }
                    Err(error) => {
                        failure = failure.or(Some(error));
                        break;
                    }
                }
            }
        }
        failure.map_or(Ok(purged), Err)
    }

    /// One batch of one account; none where an import has the account.
    async fn purge_batch(
        &self,
        account: AccountId,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut tx = self.pool.begin().await.map_err(failed("begin"))?;
        // A run may be about to revive one of them.
        let free = sqlx::query_scalar!(
            "SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED",
            account.0
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed("lock the account"))?;
        if free.is_none() {
            return Ok(0);
        }
        mark_as_ours(&mut tx).await?;
        let ids = sqlx::query_scalar!(
            "SELECT id FROM contacts WHERE account_id = $1 AND removed_at < $2 AND purged_at IS NULL ORDER BY id LIMIT $3
             -- Neither restored nor pointed at by another program until this is through.
             FOR UPDATE",
            account.0,
            before,
            BATCH
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(failed("look for contacts to purge"))?;
        sqlx::query!(
            "DELETE FROM import_issues i USING contacts c
             WHERE c.id = ANY ($2) AND i.account_id = $1 AND i.external_id = c.external_id
               -- The next run is held against these.
               AND i.run_id IS DISTINCT FROM (SELECT applied_run_id FROM import_state WHERE account_id = $1)
               AND NOT EXISTS (SELECT FROM import_runs r WHERE r.id = i.run_id AND r.status = 'held')",
            account.0,
            &ids
        )
        .execute(&mut *tx)
        .await
        .map_err(failed("forget the issues of a contact"))?;
        sqlx::query!(
            "DELETE FROM import_changes
             WHERE run_id IN (SELECT id FROM import_runs WHERE account_id = $1) AND contact_id = ANY ($2)",
            account.0,
            &ids
        )
        .execute(&mut *tx)
        .await
        .map_err(failed("forget the images of a contact"))?;
        let in_use = sqlx::query_scalar!(r#"SELECT contacts_in_use($1) AS "id!""#, &ids)
            .fetch_all(&mut *tx)
            .await
            .map_err(failed("look who points at a contact"))?;
        sqlx::query!(
            "DELETE FROM contacts WHERE id = ANY ($1) AND id <> ALL ($2)",
            &ids,
            &in_use
        )
        .execute(&mut *tx)
        .await
        .map_err(failed("purge contacts"))?;
        sqlx::query!(
            "WITH gone AS (DELETE FROM contact_numbers WHERE contact_id = ANY ($1)),
                  left_groups AS (DELETE FROM group_members WHERE contact_id = ANY ($1))
             UPDATE contacts
             SET external_id = NULL, name = '', organization_name = NULL, title = NULL, email = NULL,
                 notification_priority = 'normal', digest = NULL, purged_at = $2, updated_at = $2
             WHERE id = ANY ($1)",
            &in_use,
            now
        )
        .execute(&mut *tx)
        .await
        .map_err(failed("blank contacts"))?;
        tx.commit().await.map_err(failed("purge contacts"))?;
        Ok(ids.len() as u64)
    }

    /// Issues and images of old runs. What the next run is compared with stays, and what a person may still approve.
    async fn forget_histories(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let mut tx = self.pool.begin().await.map_err(failed("begin"))?;
            let runs = sqlx::query_scalar!(
                "SELECT r.id FROM import_runs r
                 WHERE r.finished_at < $1 AND r.status <> 'held'
                   AND ((EXISTS (SELECT FROM import_issues i WHERE i.run_id = r.id)
                         AND NOT EXISTS (SELECT FROM import_state s WHERE s.applied_run_id = r.id))
                        OR EXISTS (SELECT FROM import_changes c WHERE c.run_id = r.id AND (c.before IS NOT NULL OR c.after IS NOT NULL)))
                 LIMIT $2",
                before,
                BATCH
            )
            .fetch_all(&mut *tx)
            .await
            .map_err(failed("look for old runs"))?;
            sqlx::query!(
                "DELETE FROM import_issues i WHERE run_id = ANY ($1)
                   AND NOT EXISTS (SELECT FROM import_state s WHERE s.applied_run_id = i.run_id)",
                &runs
            )
            .execute(&mut *tx)
            .await
            .map_err(failed("forget issues"))?;
            sqlx::query!(
                "UPDATE import_changes SET before = NULL, after = NULL WHERE run_id = ANY ($1)",
                &runs
            )
            .execute(&mut *tx)
            .await
            .map_err(failed("forget images"))?;
            tx.commit().await.map_err(failed("forget issues"))?;
            forgotten += runs.len() as u64;
            if runs.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                return Ok(forgotten);
            }
        }
    }

    async fn forget_runs(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let batch = sqlx::query!(
                "DELETE FROM import_runs WHERE id IN (
                     SELECT r.id FROM import_runs r
                     WHERE r.finished_at < $1 AND r.status NOT IN ('queued', 'running', 'held')
                       AND NOT EXISTS (SELECT FROM import_state s WHERE s.applied_run_id = r.id)
                     LIMIT $2)",
                before,
                BATCH
            )
            .execute(&self.pool)
            .await
            .map_err(failed("forget runs"))?
            .rows_affected();
            forgotten += batch;
            if batch < BATCH.unsigned_abs() {
                return Ok(forgotten);
            }
        }
    }

    async fn forget_mails(
        &self,
        [sent_before, refused_before, queued_before]: [DateTime<Utc>; 3],
    ) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let batch = sqlx::query_scalar!(
                r#"DELETE FROM mail_outbox WHERE id IN (
                     SELECT id FROM mail_outbox
                     WHERE sent_at < $1 OR failed_at < $2 OR (sent_at IS NULL AND failed_at IS NULL AND created_at < $3) LIMIT $4)
                   RETURNING sent_at IS NULL AND failed_at IS NULL AS "given_up!""#,
                sent_before,
                refused_before,
                queued_before,
                BATCH
            )
            .fetch_all(&self.pool)
            .await
            .map_err(failed("forget mail"))?;
            let given_up = batch.iter().filter(|given_up| **given_up).count();
            if given_up > 0 {
                tracing::warn!(
                    mails = given_up,
                    "mail that no server has taken for so long is given up"
                );
            }
            let batch = batch.len() as u64;
            forgotten += batch;
            if batch < BATCH.unsigned_abs() {
                return Ok(forgotten);
            }
        }
    }
}
