//! Deletes old data (SPEC §3.7): contacts that were removed long ago, with their issues and images, and old issues, runs
//! and mail. Works in batches to keep transactions small.

use chrono::{DateTime, TimeDelta, Utc};

use super::apply::mark_as_writer;
use super::{Store, StoreError, query_error};
use crate::model::AccountId;

/// For how many days data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Removed contacts, counted from their removal.
    pub removed_days: u32,
    /// Issues, images of contacts before and after a change, and permanently refused mail.
    pub issues_days: u32,
    /// Runs.
    pub runs_days: u32,
    /// Sent mail.
    pub outbox_days: u32,
}

/// How much was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeletedCounts {
    /// Contacts that were deleted, or blanked because another table references them.
    pub contacts: u64,
    /// Runs whose issues and images were deleted.
    pub histories: u64,
    /// Runs.
    pub runs: u64,
    /// Mail messages.
    pub mails: u64,
}

impl DeletedCounts {
    /// Whether nothing was deleted.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Mail that no server has accepted is deleted after this many days, or after `issues_days` if that is longer.
const MAX_UNSENT_MAIL_DAYS: u32 = 180;
/// Number of contacts, runs or messages deleted in one transaction.
const BATCH_SIZE: i64 = 1_000;

impl Store {
    /// Deletes the data whose retention has expired.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; batches that were committed before stay deleted.
    pub async fn delete_old_data(
        &self,
        retention: Retention,
        now: DateTime<Utc>,
    ) -> Result<DeletedCounts, StoreError> {
        let before = |days: u32| now - TimeDelta::days(days.into());
        // All are tried before an error is returned: a lasting failure of one must not keep the others from being deleted.
        let contacts = self
            .purge_contacts(before(retention.removed_days), now)
            .await;
        let histories = self
            .delete_old_issues_and_images(before(retention.issues_days))
            .await;
        let runs = self.delete_old_runs(before(retention.runs_days)).await;
        let (sent, refused) = (before(retention.outbox_days), before(retention.issues_days));
        let unsent = before(retention.issues_days.max(MAX_UNSENT_MAIL_DAYS));
        let mails = self.delete_old_mail([sent, refused, unsent]).await;
        Ok(DeletedCounts {
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
        .map_err(query_error("look up contacts to purge"))?;
        let (mut purged, mut failure) = (0, None);
        for account in accounts {
            loop {
                match self.purge_batch(AccountId(account), before, now).await {
                    Ok(batch) => {
                        purged += batch;
                        if batch < BATCH_SIZE.unsigned_abs() {
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

    /// Purges one batch of one account; none while an import has locked the account.
    async fn purge_batch(
        &self,
        account: AccountId,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(query_error("start a transaction"))?;
        // A running import may be about to revive one of them.
        let locked = sqlx::query_scalar!(
            "SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED",
            account.0
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(query_error("lock the account"))?;
        if locked.is_none() {
            return Ok(0);
        }
        mark_as_writer(&mut tx).await?;
        let ids = sqlx::query_scalar!(
            "SELECT id FROM contacts WHERE account_id = $1 AND removed_at < $2 AND purged_at IS NULL ORDER BY id LIMIT $3
             -- Neither restored nor pointed at by another program until this is through.
             FOR UPDATE",
            account.0,
            before,
            BATCH_SIZE
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(query_error("look up contacts to purge"))?;
        sqlx::query!(
            "DELETE FROM import_issues i
             -- Issues have the start and the digest of a long ID (`model::issue::issue_id`).
             USING contacts c, LATERAL (VALUES
                 (c.external_id),
                 (left(c.external_id, 100) || '…' || encode(sha256(convert_to(c.external_id, 'UTF8')), 'hex'))) AS known (id)
             WHERE c.id = ANY ($2) AND i.account_id = $1 AND i.external_id = known.id
               -- The next run is compared with these.
               AND i.run_id IS DISTINCT FROM (SELECT applied_run_id FROM import_state WHERE account_id = $1)
               AND NOT EXISTS (SELECT FROM import_runs r WHERE r.id = i.run_id AND r.status = 'held')",
            account.0,
            &ids
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("delete the issues of contacts"))?;
        sqlx::query!(
            "DELETE FROM import_changes
             WHERE run_id IN (SELECT id FROM import_runs WHERE account_id = $1) AND contact_id = ANY ($2)",
            account.0,
            &ids
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("delete the recorded changes of contacts"))?;
        let in_use = sqlx::query_scalar!(r#"SELECT contacts_in_use($1) AS "id!""#, &ids)
            .fetch_all(&mut *tx)
            .await
            .map_err(query_error("look up references to contacts"))?;
        sqlx::query!(
            "DELETE FROM contacts WHERE id = ANY ($1) AND id <> ALL ($2)",
            &ids,
            &in_use
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("purge contacts"))?;
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
        .map_err(query_error("blank contacts"))?;
        tx.commit().await.map_err(query_error("purge contacts"))?;
        Ok(ids.len() as u64)
    }

    /// Deletes the issues and images of old runs, except of held runs, which can still be approved. The issues of the last
    /// applied run stay as well because the next run is compared with them.
    async fn delete_old_issues_and_images(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let mut tx = self
                .pool
                .begin()
                .await
                .map_err(query_error("start a transaction"))?;
            let runs = sqlx::query_scalar!(
                "SELECT r.id FROM import_runs r
                 WHERE r.finished_at < $1 AND r.status <> 'held'
                   AND ((EXISTS (SELECT FROM import_issues i WHERE i.run_id = r.id)
                         AND NOT EXISTS (SELECT FROM import_state s WHERE s.applied_run_id = r.id))
                        OR EXISTS (SELECT FROM import_changes c WHERE c.run_id = r.id AND (c.before IS NOT NULL OR c.after IS NOT NULL)))
                 LIMIT $2",
                before,
                BATCH_SIZE
            )
            .fetch_all(&mut *tx)
            .await
            .map_err(query_error("look up old runs"))?;
            sqlx::query!(
                "DELETE FROM import_issues i WHERE run_id = ANY ($1)
                   AND NOT EXISTS (SELECT FROM import_state s WHERE s.applied_run_id = i.run_id)",
                &runs
            )
            .execute(&mut *tx)
            .await
            .map_err(query_error("delete issues"))?;
            sqlx::query!(
                "UPDATE import_changes SET before = NULL, after = NULL WHERE run_id = ANY ($1)",
                &runs
            )
            .execute(&mut *tx)
            .await
            .map_err(query_error("delete images of contacts"))?;
            tx.commit().await.map_err(query_error("delete issues"))?;
            deleted += runs.len() as u64;
            if runs.len() < usize::try_from(BATCH_SIZE).unwrap_or(usize::MAX) {
                return Ok(deleted);
            }
        }
    }

    async fn delete_old_runs(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let batch = sqlx::query!(
                "DELETE FROM import_runs WHERE id IN (
                     SELECT r.id FROM import_runs r
                     WHERE r.finished_at < $1 AND r.status NOT IN ('queued', 'running', 'held')
                       AND NOT EXISTS (SELECT FROM import_state s WHERE s.applied_run_id = r.id)
                     LIMIT $2)",
                before,
                BATCH_SIZE
            )
            .execute(&self.pool)
            .await
            .map_err(query_error("delete runs"))?
            .rows_affected();
            deleted += batch;
            if batch < BATCH_SIZE.unsigned_abs() {
                return Ok(deleted);
            }
        }
    }

    async fn delete_old_mail(
        &self,
        [sent_before, refused_before, unsent_before]: [DateTime<Utc>; 3],
    ) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let batch = sqlx::query_scalar!(
                r#"DELETE FROM mail_outbox WHERE id IN (
                     SELECT id FROM mail_outbox
                     WHERE sent_at < $1 OR failed_at < $2 OR (sent_at IS NULL AND failed_at IS NULL AND created_at < $3) LIMIT $4)
                   RETURNING sent_at IS NULL AND failed_at IS NULL AS "given_up!""#,
                sent_before,
                refused_before,
                unsent_before,
                BATCH_SIZE
            )
            .fetch_all(&self.pool)
            .await
            .map_err(query_error("delete mail"))?;
            let given_up = batch.iter().filter(|given_up| **given_up).count();
            if given_up > 0 {
                tracing::warn!(
                    mails = given_up,
                    "deleted mail that no mail server accepted for {MAX_UNSENT_MAIL_DAYS} days or longer"
                );
            }
            let batch = batch.len() as u64;
            deleted += batch;
            if batch < BATCH_SIZE.unsigned_abs() {
                return Ok(deleted);
            }
        }
    }
}
