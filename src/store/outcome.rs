//! How a run ends: its row, what is remembered for the next one, and the commit.

use chrono::{DateTime, Utc};

use super::{Session, StoreError, query_error};
use crate::model::failure::Failure;
use crate::model::hold::HoldReason;
use crate::model::run::{Counts, FailureStreak, FileMetadata, RunStatus, Trigger};
use crate::row_cache::RowCache;

/// What is to be remembered after an applied run.
#[derive(Debug, Clone)]
pub struct AccountStateUpdate {
    /// The file, if it need not be read again when it comes unchanged.
    pub last_applied_file: Option<FileMetadata>,
    /// Version of the reader.
    pub reader_version: i32,
    /// Whether the file ended with a newline.
    pub final_newline: Option<bool>,
    /// Nameless rows that a person has accepted and that are still there.
    pub accepted_rows: Vec<[u8; 32]>,
    /// Whether the next run must still be confirmed.
    pub keep_confirmation_required: bool,
    /// The active contacts, each with its row, if they are known.
    pub known: RowCacheUpdate,
}

/// What becomes of the known contacts.
#[derive(Debug, Clone)]
pub enum RowCacheUpdate {
    /// They are the same as before, so many.
    Keep(usize),
    /// They are these.
    Replace(RowCache),
    /// Not to be believed any more.
    Clear,
}

impl RowCacheUpdate {
    fn count(&self) -> Option<usize> {
        match self {
            Self::Keep(count) => Some(*count),
            Self::Replace(known) => Some(known.len()),
            Self::Clear => None,
        }
    }
}

/// How a run ends.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// Its status.
    pub status: RunStatus,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Why it is held.
    pub hold_reasons: Vec<HoldReason>,
    /// Names of the groups that lose all their members.
    pub emptied_groups: Vec<String>,
    /// What is known of the file.
    pub file: FileMetadata,
    /// How many of each; `None` where the file was not read.
    pub counts: Option<Counts>,
    /// Present where the plan was applied.
    pub state: Option<AccountStateUpdate>,
    /// The failure that goes on after this run.
    pub streak: FailureStreak,
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl Session {
    /// Writes how the run ends, what is remembered of it, and commits.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if another process has taken the run over; then nothing was written.
    pub async fn finish_run(
        mut self,
        outcome: &RunOutcome,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        // A revert in which every contact was refused has changed nothing that anybody waits for.
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
            .map_err(query_error("commit"))?;
        self.committed = true;
        Ok(())
    }

    async fn write_run(
        &mut self,
        outcome: &RunOutcome,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let count_of =
            |pick: fn(&Counts) -> usize| outcome.counts.as_ref().map(|counts| count(pick(counts)));
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
        .map_err(query_error("write the run"))?;
        if written.rows_affected() == 1 {
            Ok(())
        } else {
            Err(StoreError::LeaseLost)
        }
    }

    /// The same bytes may lie under another `ETag` or time: by those the next run asks.
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
        .map_err(query_error("write by what the file is known"))?;
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
        .map_err(query_error("write the account's state"))?;
        if outcome.status == RunStatus::Unchanged {
            self.write_validators(&outcome.file).await?;
        }
        let Some(state) = &outcome.state else {
            return Ok(());
        };
        if let RowCacheUpdate::Replace(known) = &state.known {
            self.replace_row_cache(known).await?;
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
            state.known.count().and_then(|count| i32::try_from(count).ok())
        )
        .execute(&mut *self.tx)
        .await
        .map_err(query_error("write the account's state"))?;
        Ok(())
    }
}
