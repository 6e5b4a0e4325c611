//! Ends a run: writes its row and the account's import state, and commits.

use chrono::{DateTime, Utc};

use super::{Session, StoreError, query_error};
use crate::model::failure::Failure;
use crate::model::hold::HoldReason;
use crate::model::run::{Counts, FailureStreak, FileMetadata, RunStatus, Trigger};
use crate::row_cache::RowCache;

/// The account's state after an applied run, for the next run.
#[derive(Debug, Clone)]
pub struct AccountStateUpdate {
    /// The applied file; `None` if the next run must read its file even if it is unchanged.
    pub last_applied_file: Option<FileMetadata>,
    /// Version of the reader that read the file.
    pub reader_version: i32,
    /// Whether the file ended with a newline.
    pub final_newline: Option<bool>,
    /// Digests of unidentified rows that were accepted by an approval and are still in the file.
    pub accepted_rows: Vec<[u8; 32]>,
    /// Whether the next run must still be confirmed (`import_state.must_confirm`).
    pub keep_confirmation_required: bool,
    /// What happens to the row cache.
    pub row_cache: RowCacheUpdate,
}

/// What a run does to the row cache of its account.
#[derive(Debug, Clone)]
pub enum RowCacheUpdate {
    /// Keep it, with this many contacts.
    Keep(usize),
    /// Replace it.
    Replace(RowCache),
    /// Stop using it.
    Clear,
}

impl RowCacheUpdate {
    fn count(&self) -> Option<usize> {
        match self {
            Self::Keep(count) => Some(*count),
            Self::Replace(row_cache) => Some(row_cache.len()),
            Self::Clear => None,
        }
    }
}

/// How a run ends.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// Final status.
    pub status: RunStatus,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Why it is held.
    pub hold_reasons: Vec<HoldReason>,
    /// Names of the groups that lose all their members.
    pub emptied_groups: Vec<String>,
    /// Metadata of the file.
    pub file: FileMetadata,
    /// Counts of rows and contacts; `None` if the file was not read.
    pub counts: Option<Counts>,
    /// The new state of the account; `None` if no plan was applied.
    pub state: Option<AccountStateUpdate>,
    /// Consecutive failures after this run; empty if there are none.
    pub streak: FailureStreak,
}

impl RunOutcome {
    /// An outcome that changed nothing.
    #[must_use]
    pub fn new(status: RunStatus) -> Self {
        Self {
            status,
            failure: None,
            hold_reasons: Vec::new(),
            emptied_groups: Vec::new(),
            file: FileMetadata::default(),
            counts: None,
            state: None,
            streak: FailureStreak::default(),
        }
    }
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl Session {
    /// Writes the outcome of the run and the account's state, and commits.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if another process has taken over the run; then nothing is written.
    pub async fn finish_run(
        mut self,
        outcome: &RunOutcome,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        // A held run stays valid after a revert that refused every contact and so changed nothing.
        let changed_any_contact =
            |c: &Counts| c.added + c.updated + c.removed + c.revived + c.adopted > 0;
        let reverted = self.run.trigger == Trigger::Revert
            && outcome.counts.as_ref().is_some_and(changed_any_contact);
        if outcome.state.is_some() || outcome.status == RunStatus::Held || reverted {
            sqlx::query!(
                "UPDATE import_runs SET status = 'superseded', superseded_by = $2 WHERE account_id = $1 AND status = 'held'",
                self.run.account_id.0,
                self.run.id.0
            )
            .execute(&mut *self.tx)
            .await
            .map_err(query_error("supersede the held run"))?;
        }
        self.write_run(outcome, now).await?;
        self.write_state(outcome).await?;
        sqlx::query("COMMIT")
            .execute(&mut *self.tx)
            .await
            .map_err(query_error("commit the transaction"))?;
        self.committed = true;
        Ok(())
    }

    async fn write_run(
        &mut self,
        outcome: &RunOutcome,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let count_of = |field: fn(&Counts) -> usize| {
            outcome.counts.as_ref().map(|counts| count(field(counts)))
        };
        let reasons: Vec<String> = outcome
            .hold_reasons
            .iter()
            .map(ToString::to_string)
            .collect();
        let written = sqlx::query!(
            "UPDATE import_runs
             SET status = $3, finished_at = $4, lease_owner = NULL, lease_until = NULL,
                 hold_reasons = $5, sha256 = $6, etag = $7, size_bytes = $8,
                 row_count = $9, added = $10, updated = $11, unchanged = $12, removed = $13, revived = $14, adopted = $15,
                 withheld = $16, errors = $17, warnings = $18, contacts_after = $19, failure_code = $20, failure_message = $21,
                 emptied_groups = $22
             WHERE id = $1 AND fence = $2 AND status = 'running'",
            self.run.id.0,
            self.run.fence,
            outcome.status.as_str(),
            now,
            (!reasons.is_empty()).then_some(reasons.as_slice()),
            outcome.file.sha256.as_ref().map(<[u8; 32]>::as_slice),
            outcome.file.etag,
            outcome.file.size_bytes.and_then(|size| i64::try_from(size).ok()),
            count_of(|c| c.rows),
            count_of(|c| c.added),
            count_of(|c| c.updated),
            count_of(|c| c.unchanged),
            count_of(|c| c.removed),
            count_of(|c| c.revived),
            count_of(|c| c.adopted),
            count_of(|c| c.withheld),
            count_of(|c| c.errors),
            count_of(|c| c.warnings),
            count_of(|c| c.contacts_after),
            outcome.failure.as_ref().map(|failure| failure.code.as_str()),
            outcome.failure.as_ref().map(|failure| failure.message.as_str()),
            (!outcome.emptied_groups.is_empty()).then_some(outcome.emptied_groups.as_slice())
        )
        .execute(&mut *self.tx)
        .await
        .map_err(query_error("update the run"))?;
        if written.rows_affected() == 1 {
            Ok(())
        } else {
            Err(StoreError::LeaseLost)
        }
    }

    /// The same bytes may now be served with another `ETag` or time, which the next conditional request must use.
    async fn write_validators(&mut self, file: &FileMetadata) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE import_state
             SET etag = coalesce($3, etag), last_modified = coalesce($4, last_modified), mtime = coalesce($5, mtime)
             WHERE account_id = $1 AND sha256 = $2
               AND (etag, last_modified, mtime)
                   IS DISTINCT FROM (coalesce($3, etag), coalesce($4, last_modified), coalesce($5, mtime))",
            self.run.account_id.0,
            file.sha256.as_ref().map(<[u8; 32]>::as_slice),
            file.etag,
            file.last_modified,
            file.mtime
        )
        .execute(&mut *self.tx)
        .await
        .map_err(query_error("update the ETag and times of the file"))?;
        Ok(())
    }

    async fn write_state(&mut self, outcome: &RunOutcome) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE import_state SET failing_since = $2, failure_code = $3, failure_mailed_at = $4 WHERE account_id = $1",
            self.run.account_id.0,
            outcome.streak.since,
            outcome.streak.code,
            outcome.streak.mailed_at
        )
        .execute(&mut *self.tx)
        .await
        .map_err(query_error("update the account's import state"))?;
        if outcome.status == RunStatus::Unchanged {
            self.write_validators(&outcome.file).await?;
        }
        let Some(state) = &outcome.state else {
            return Ok(());
        };
        if let RowCacheUpdate::Replace(row_cache) = &state.row_cache {
            self.replace_row_cache(row_cache).await?;
        }
        let file = state.last_applied_file.clone().unwrap_or_default();
        let accepted: Vec<Vec<u8>> = state
            .accepted_rows
            .iter()
            .map(|digest| digest.to_vec())
            .collect();
        sqlx::query!(
            "UPDATE import_state
             SET applied_run_id = $2, sha256 = $3, etag = $4, last_modified = $5, size_bytes = $6, reader_version = $7,
                 final_newline = $8, accepted_rows = $9, must_confirm = CASE WHEN $10 THEN must_confirm END, mtime = $11,
                 known_contacts = $12
             WHERE account_id = $1",
            self.run.account_id.0,
            self.run.id.0,
            file.sha256.as_ref().map(<[u8; 32]>::as_slice),
            file.etag,
            file.last_modified,
            file.size_bytes.and_then(|size| i64::try_from(size).ok()),
            state.reader_version,
            state.final_newline,
            &accepted,
            state.keep_confirmation_required,
            file.mtime,
            state.row_cache.count().and_then(|count| i32::try_from(count).ok())
        )
        .execute(&mut *self.tx)
        .await
        .map_err(query_error("update the account's import state"))?;
        Ok(())
    }
}
