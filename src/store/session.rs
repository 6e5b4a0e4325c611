//! The one transaction in which a run's outcome is written: contacts, changes, issues, state, mail, and the run itself.
//!
//! It begins by locking the account and ends by proving that the run is still ours. Dropped, it leaves no trace.

use std::borrow::Cow;
use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

use super::copy::CopyWriter;
use super::{
    NewMail, Settings, Store, StoreError, apply, audit, known_word, outbox, query_error, snapshot,
};
use crate::compact::{Contacts, Issues};
use crate::model::hold::{HoldReason, HoldRules};
use crate::model::plan::Plan;
use crate::model::run::{ClaimedRun, FailureStreak, FileMetadata};
use crate::model::snapshot::Snapshot;
use crate::model::{AccountId, ContactId, RunId};

/// What a run must know of its account besides the contacts.
#[derive(Debug, Clone, Default)]
pub struct RunContext {
    /// Whether imports are switched on.
    pub import_enabled: bool,
    /// What the next run must have confirmed.
    pub must_confirm: Option<HoldReason>,
    /// The last applied file, if it need not be read again when it comes unchanged.
    pub last_applied_file: Option<FileMetadata>,
    /// Version of the reader that read it.
    pub reader_version: Option<i32>,
    /// Whether it ended with a newline.
    pub final_newline: Option<bool>,
    /// Nameless rows that a person has accepted.
    pub accepted_rows: HashSet<[u8; 32]>,
    /// The failure that goes on, if any.
    pub streak: FailureStreak,
    /// The last applied run.
    pub applied_run: Option<RunId>,
    /// How many contacts are known since then, each by its row.
    pub known_contacts: Option<usize>,
}

/// See the module.
pub struct Session {
    /// Within a transaction, until it is committed.
    pub(super) tx: PoolConnection<Postgres>,
    pub(super) run: ClaimedRun,
    pub(super) committed: bool,
}

impl Drop for Session {
    /// Only a connection whose transaction is committed is used again: one that is left in the middle of a statement is a
    /// reply behind, and nobody could tell.
    fn drop(&mut self) {
        if !self.committed {
            self.tx.close_on_drop();
        }
    }
}

/// Postgres holds no NUL, wherever one may have slipped through.
fn replace_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

pub(super) fn parse_digest(bytes: Vec<u8>) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

impl Store {
    /// Begins the transaction of a run and locks its account until the end.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails or the account is gone.
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
        // What is stored is looked up by lists of any length: a connection that has seen five short ones must not keep their
        // plan for a long one. It ends where the writing begins.
        sqlx::raw_sql("BEGIN; SET LOCAL plan_cache_mode = force_custom_plan")
            .execute(session.db())
            .await
            .map_err(query_error("begin"))?;
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

    /// What a run must know of its account before it begins.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails or the account is gone.
    pub async fn run_context(&self, run: &ClaimedRun) -> Result<RunContext, StoreError> {
        let mut db = self
            .pool
            .acquire()
            .await
            .map_err(query_error("get a connection"))?;
        context(&mut db, run).await
    }
}

async fn context(db: &mut sqlx::PgConnection, run: &ClaimedRun) -> Result<RunContext, StoreError> {
    let row = sqlx::query!(
        "SELECT a.import_enabled, s.must_confirm, s.sha256, s.etag, s.last_modified, s.mtime, s.size_bytes, s.reader_version,
                s.final_newline, s.accepted_rows, s.failing_since, s.failure_code, s.failure_mailed_at, s.applied_run_id, s.known_contacts
         FROM accounts a JOIN import_state s ON s.account_id = a.id
         WHERE a.id = $1",
        run.account_id.0
    )
    .fetch_optional(db)
    .await
    .map_err(query_error("read the account's state"))?
    .ok_or(StoreError::LeaseLost)?;
    let sha256 = row.sha256.and_then(parse_digest);
    Ok(RunContext {
        import_enabled: row.import_enabled,
        must_confirm: row
            .must_confirm
            .as_deref()
            .map(|reason| known_word("must_confirm", reason))
            .transpose()?,
        last_applied_file: sha256.map(|sha256| FileMetadata {
            sha256: Some(sha256),
            size_bytes: row.size_bytes.and_then(|size| u64::try_from(size).ok()),
            etag: row.etag,
            last_modified: row.last_modified,
            mtime: row.mtime,
        }),
        reader_version: row.reader_version,
        final_newline: row.final_newline,
        accepted_rows: row
            .accepted_rows
            .into_iter()
            .filter_map(parse_digest)
            .collect(),
        streak: FailureStreak {
            since: row.failing_since,
            code: row.failure_code,
            mailed_at: row.failure_mailed_at,
        },
        applied_run: row.applied_run_id.map(RunId),
        known_contacts: row
            .known_contacts
            .and_then(|count| usize::try_from(count).ok()),
    })
}

impl Session {
    pub(super) fn account(&self) -> AccountId {
        self.run.account_id
    }

    pub(super) fn db(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// What the account's state says under the lock, where it can no longer change.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn context(&mut self) -> Result<RunContext, StoreError> {
        context(&mut self.tx, &self.run).await
    }

    /// Refuses to go on where imports were switched off or the settings edited since the run began. `None`: a local
    /// file, which needs no settings.
    ///
    /// # Errors
    /// [`StoreError::ImportDisabled`] or [`StoreError::SettingsChanged`].
    pub async fn ensure_settings_current(
        &mut self,
        settings: Option<&Settings>,
    ) -> Result<(), StoreError> {
        // Edits wait from here on until we are through.
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
        .map_err(query_error("look at the account"))?;
        if !row.import_enabled {
            return Err(StoreError::ImportDisabled);
        }
        if settings.is_some_and(|settings| row.updated_at != Some(settings.updated_at)) {
            return Err(StoreError::SettingsChanged);
        }
        Ok(())
    }

    /// The account's limits for holds; `None` if it has no settings.
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
        .map_err(query_error("read the limits"))?;
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

    /// All groups of the account, and all contacts but those that are stored exactly as the file says. `file_digests` holds the
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

    /// All groups of the account, these active contacts of it, and the removed ones that have one of these external IDs;
    /// all other active contacts are known to be stored as the file says.
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

    /// Writes a plan, made for these contacts of a file, to the contacts and groups, and records what changed; gives back the
    /// ids of those that were added, in the plan's order.
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

    /// Records what a held plan, made for these contacts of a file, would change.
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

    /// Records the issues of the run, each with whether it is new.
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
        let into = "import_issues (run_id, account_id, severity, code, row_number, column_name, cell, value, external_id, \
                    contact_name, message, is_new, row_digest)";
        let mut rows = CopyWriter::begin(&mut self.tx, into, "record the issues").await?;
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

    /// Queues mail that goes out only if the transaction commits.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn queue_mail(
        &mut self,
        mail: &[NewMail],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        outbox::queue(
            &mut self.tx,
            Some(self.run.id),
            self.run.account_id,
            mail,
            now,
        )
        .await
    }

    /// Sets the account aside until a person runs it again.
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
        .map_err(query_error("set the account aside"))?;
        Ok(())
    }

    /// Takes the account back: a person has run it again.
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
        .map_err(query_error("take the account back"))?;
        Ok(())
    }
}
