//! The transaction in which a run's outcome is written: contacts, changes, issues, account state, mail and the run itself.
//!
//! It starts by locking the account, and commits only if this process still owns the run. Dropping it rolls back.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

use super::copy::CopyWriter;
use super::{Settings, Store, StoreError, apply, audit, outbox, query_error, snapshot};
use crate::compact::{Contacts, Issues};
use crate::model::hold::HoldRules;
use crate::model::mail::Message;
use crate::model::plan::Plan;
use crate::model::run::ClaimedRun;
use crate::model::snapshot::Snapshot;
use crate::model::{AccountId, ContactId};

/// The open transaction of a run; see the module's documentation.
pub struct Session {
    /// A connection on which the transaction is open until `committed`.
    pub(super) tx: PoolConnection<Postgres>,
    pub(super) run: ClaimedRun,
    pub(super) committed: bool,
}

impl Drop for Session {
    /// Returns only connections with a committed transaction to the pool. A connection dropped during a statement has an
    /// unread reply, which the next user would mistake for its own.
    fn drop(&mut self) {
        if !self.committed {
            self.tx.close_on_drop();
        }
    }
}

/// Replaces NUL characters, which Postgres can't store in texts.
fn replace_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

impl Store {
    /// Starts the transaction of a run and locks its account until the transaction ends.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails or the account was deleted.
    pub async fn open_session(&self, run: &ClaimedRun) -> Result<Session, StoreError> {
        let tx = self
            .pool
            .acquire()
            .await
            .map_err(query_error("get a connection"))?;
        let mut session = Session {
            tx,
            run: run.clone(),
            committed: false,
        };
        // The reads pass lists of very different lengths. After five short ones, Postgres could keep a generic plan that
        // is slow for a long one. `allow_cached_plans` switches this off again before rows are written.
        sqlx::raw_sql("BEGIN; SET LOCAL plan_cache_mode = force_custom_plan")
            .execute(session.db())
            .await
            .map_err(query_error("start a transaction"))?;
        sqlx::query!(
            "SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE",
            run.account_id.0
        )
        .fetch_optional(session.db())
        .await
        .map_err(query_error("lock the account"))?
        .ok_or(StoreError::LeaseLost)?;
        Ok(session)
    }
}

impl Session {
    pub(super) fn account(&self) -> AccountId {
        self.run.account_id
    }

    pub(super) fn db(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Checks that imports are still enabled and that the settings were not edited since the run read them. Pass `None`
    /// for a local file, which needs no settings.
    ///
    /// # Errors
    /// [`StoreError::ImportDisabled`] or [`StoreError::SettingsChanged`].
    pub async fn ensure_settings_current(
        &mut self,
        settings: Option<&Settings>,
    ) -> Result<(), StoreError> {
        // From here on, edits of the settings wait until this transaction ends.
        sqlx::query!(
            "SELECT account_id FROM import_settings WHERE account_id = $1 FOR SHARE",
            self.run.account_id.0
        )
        .fetch_optional(&mut *self.tx)
        .await
        .map_err(query_error("lock the settings"))?;
        let row = sqlx::query!(
            r#"SELECT a.import_enabled, s.updated_at AS "updated_at?"
               FROM accounts a LEFT JOIN import_settings s ON s.account_id = a.id WHERE a.id = $1"#,
            self.run.account_id.0
        )
        .fetch_one(&mut *self.tx)
        .await
        .map_err(query_error("read the account"))?;
        if !row.import_enabled {
            return Err(StoreError::ImportDisabled);
        }
        if settings.is_some_and(|settings| row.updated_at != Some(settings.updated_at)) {
            return Err(StoreError::SettingsChanged);
        }
        Ok(())
    }

    /// The account's limits for holds; `None` if it has no import settings.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn hold_rules(&mut self) -> Result<Option<HoldRules>, StoreError> {
        let row = sqlx::query!(
            "SELECT hold_removed_percent, hold_removed_count, hold_changed_percent, hold_error_percent
             FROM import_settings WHERE account_id = $1",
            self.run.account_id.0
        )
        .fetch_optional(&mut *self.tx)
        .await
        .map_err(query_error("read the hold limits"))?;
        row.map(|row| {
            super::settings::hold_rules(
                row.hold_removed_percent,
                row.hold_removed_count,
                row.hold_changed_percent,
                row.hold_error_percent,
            )
        })
        .transpose()
    }

    /// All groups of the account, and the contacts that are not stored exactly as in the file. `file_digests` has the
    /// digest of each contact of the file ([`Contacts::digests`](crate::compact::Contacts::digests)).
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn load_differing(
        &mut self,
        file_digests: &[Option<[u8; 32]>],
    ) -> Result<Snapshot, StoreError> {
        snapshot::load_differing(&mut self.tx, self.run.account_id, file_digests).await
    }

    /// All groups of the account, its contacts `others`, and its removed contacts that have one of these external IDs.
    /// The row cache must cover all other active contacts.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn load_uncached(
        &mut self,
        others: &[ContactId],
        external_ids: &[String],
    ) -> Result<Snapshot, StoreError> {
        snapshot::load_uncached(&mut self.tx, self.run.account_id, others, external_ids).await
    }

    /// All contacts and groups of the account.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        snapshot::load(&mut self.tx, self.run.account_id).await
    }

    /// Applies a plan to the contacts and groups and records the changes. `contacts` are those of the file for which the
    /// plan was made. Returns the ids of the added contacts in the plan's order.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn apply(
        &mut self,
        plan: &Plan,
        contacts: &Contacts,
        now: DateTime<Utc>,
    ) -> Result<Vec<ContactId>, StoreError> {
        let (db, run) = (&mut self.tx, &self.run);
        let added = apply::apply(db, run.account_id, plan, contacts, now).await?;
        audit::record(db, run.id, plan, contacts, &added, true).await?;
        Ok(added)
    }

    /// Records what a held plan would change. `contacts` are those of the file for which the plan was made.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn record_held(
        &mut self,
        plan: &Plan,
        contacts: &Contacts,
    ) -> Result<(), StoreError> {
        audit::record(&mut self.tx, self.run.id, plan, contacts, &[], false).await
    }

    /// Records the issues of the run. `is_new` says for each issue whether the previous run did not have it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn record_issues(
        &mut self,
        issues: &Issues,
        is_new: &[bool],
    ) -> Result<(), StoreError> {
        if issues.is_empty() {
            return Ok(());
        }
        apply::allow_cached_plans(&mut self.tx).await?;
        let (run, account) = (self.run.id.0, self.run.account_id.0);
        let target = "import_issues (run_id, account_id, severity, code, row_number, column_name, cell, value, external_id, \
                    contact_name, message, is_new, row_digest)";
        let mut rows = CopyWriter::begin(&mut self.tx, target, "record the issues").await?;
        for (issue, is_new) in issues.iter().zip(is_new) {
            let cell = issue.cell();
            let texts = [
                issue.column.as_deref(),
                cell.as_deref(),
                issue.value.as_deref(),
                issue.external_id.as_deref(),
                issue.contact_name.as_deref(),
            ];
            rows.bigint(run)
                .bigint(account)
                .text(issue.severity.as_str())
                .text(issue.code.as_str())
                .optional_integer(issue.row.and_then(|row| i32::try_from(row).ok()));
            for text in texts {
                rows.optional_text(text.map(replace_nul).as_deref());
            }
            rows.text(&replace_nul(&issue.message()))
                .boolean(*is_new)
                .optional_bytes(issue.row_digest.as_ref().map(<[u8; 32]>::as_slice));
            rows.end().await?;
        }
        rows.finish().await
    }

    /// Queues mail, which is sent only if the transaction commits.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn queue_mail(
        &mut self,
        messages: &[Message],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        outbox::queue(
            &mut self.tx,
            Some(self.run.id),
            self.run.account_id,
            messages,
            now,
        )
        .await
    }

    /// Quarantines the account: its schedules are skipped until a manual run completes or imports are enabled again.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn quarantine_account(
        &mut self,
        now: DateTime<Utc>,
        reason: &str,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE accounts SET set_aside_at = $2, set_aside_reason = $3 WHERE id = $1",
            self.run.account_id.0,
            now,
            reason
        )
        .execute(&mut *self.tx)
        .await
        .map_err(query_error("quarantine the account"))?;
        Ok(())
    }

    /// Ends the quarantine of the account.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn clear_quarantine(&mut self) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE accounts SET set_aside_at = NULL, set_aside_reason = NULL WHERE id = $1 AND set_aside_at IS NOT NULL",
            self.run.account_id.0
        )
        .execute(&mut *self.tx)
        .await
        .map_err(query_error("end the quarantine of the account"))?;
        Ok(())
    }
}
