//! How a run ends: its row, what is remembered for the next one, and the commit.

use chrono::{DateTime, Utc};

use super::{Session, StoreError, failed};
use crate::model::failure::Failure;
use crate::model::hold::HoldReason;
use crate::model::run::{Counts, FailureStreak, FileFacts, RunStatus, Trigger};
use crate::row_cache::KnownContacts;

/// What is to be remembered after an applied run.
#[derive(Debug, Clone)]
pub struct StateAfter {
    /// The file, if it need not be read again when it comes unchanged.
    pub known_file: Option<FileFacts>,
    /// Version of the reader.
    pub reader_version: i32,
    /// Whether the file ended with a newline.
    pub final_newline: Option<bool>,
    /// Nameless rows that a person has accepted and that are still there.
    pub accepted_rows: Vec<[u8; 32]>,
    /// Whether the next run must still be confirmed.
    pub keep_must_confirm: bool,
    /// The active contacts, each with its row, if they are known.
    pub known: KnownAfter,
}

/// What becomes of the known contacts.
#[derive(Debug, Clone)]
pub enum KnownAfter {
    /// They are the same as before, so many.
    Same(usize),
    /// They are these.
    These(KnownContacts),
    /// Not to be believed any more.
    Forgotten,
}

impl KnownAfter {
    fn count(&self) -> Option<usize> {
        match self {
            Self::Same(count) => Some(*count),
            Self::These(known) => Some(known.len()),
            Self::Forgotten => None,
        }
    }
}

/// How a run ends.
#[derive(Debug, Clone)]
pub struct Conclusion {
    /// Its status.
    pub status: RunStatus,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Why it is held.
    pub hold_reasons: Vec<HoldReason>,
    /// Names of the groups that lose all their members.
    pub emptied_groups: Vec<String>,
    /// What is known of the file.
    pub file: FileFacts,
    /// How many of each; `None` where the file was not read.
    pub counts: Option<Counts>,
    /// Present where the plan was applied.
    pub state: Option<StateAfter>,
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
    pub async fn conclude(
        mut self,
        end: &Conclusion,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        // A revert in which every contact was refused has changed nothing that anybody waits for.
        let did_any = |c: &Counts| c.added + c.updated + c.removed + c.revived + c.adopted > 0;
        let reverted =
            self.run.trigger == Trigger::Revert && end.counts.as_ref().is_some_and(did_any);
        if end.state.is_some() || end.status == RunStatus::Held || reverted {
            sqlx::query!(
                "UPDATE import_runs SET status = 'superseded', superseded_by = $2 WHERE account_id = $1 AND status = 'held'",
                self.run.account_id.0,
                self.run.id.0
            )
            .execute(&mut *self.tx)
            .await
            .map_err(failed("supersede the held run"))?;
        }
        self.write_run(end, now).await?;
        self.write_state(end).await?;
        sqlx::query("COMMIT")
            .execute(&mut *self.tx)
            .await
            .map_err(failed("commit"))?;
        self.committed = true;
        Ok(())
    }

    async fn write_run(&mut self, end: &Conclusion, now: DateTime<Utc>) -> Result<(), StoreError> {
        let counted =
            |pick: fn(&Counts) -> usize| end.counts.as_ref().map(|counts| count(pick(counts)));
        let reasons: Vec<String> = end.hold_reasons.iter().map(ToString::to_string).collect();
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
            end.status.as_str(),
            now,
            (!reasons.is_empty()).then_some(reasons.as_slice()),
            end.file.sha256.as_ref().map(<[u8; 32]>::as_slice),
            end.file.etag,
            end.file.size_bytes.and_then(|size| i64::try_from(size).ok()),
            counted(|c| c.rows),
            counted(|c| c.added),
            counted(|c| c.updated),
            counted(|c| c.unchanged),
            counted(|c| c.removed),
            counted(|c| c.revived),
            counted(|c| c.adopted),
            counted(|c| c.withheld),
            counted(|c| c.errors),
            counted(|c| c.warnings),
            counted(|c| c.contacts_after),
            end.failure.as_ref().map(|failure| failure.code.as_str()),
            end.failure.as_ref().map(|failure| failure.message.as_str()),
            (!end.emptied_groups.is_empty()).then_some(end.emptied_groups.as_slice())
        )
        .execute(&mut *self.tx)
        .await
        .map_err(failed("write the run"))?;
        if written.rows_affected() == 1 {
            Ok(())
        } else {
            Err(StoreError::LeaseLost)
        }
    }

    /// The same bytes may lie under another `ETag` or time: by those the next run asks.
    async fn write_validators(&mut self, file: &FileFacts) -> Result<(), StoreError> {
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
        .map_err(failed("write by what the file is known"))?;
        Ok(())
    }

    async fn write_state(&mut self, end: &Conclusion) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE import_state SET failing_since = $2, failure_code = $3, failure_mailed_at = $4 WHERE account_id = $1",
            self.run.account_id.0,
            end.streak.since,
            end.streak.code,
            end.streak.mailed_at
        )
        .execute(&mut *self.tx)
        .await
        .map_err(failed("write the account's state"))?;
        if end.status == RunStatus::Unchanged {
            self.write_validators(&end.file).await?;
        }
        let Some(state) = &end.state else {
            return Ok(());
        };
        if let KnownAfter::These(known) = &state.known {
            self.replace_known(known).await?;
        }
        let file = state.known_file.clone().unwrap_or_default();
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
            state.keep_must_confirm,
            file.mtime,
            state.known.count().and_then(|count| i32::try_from(count).ok())
        )
        .execute(&mut *self.tx)
        .await
        .map_err(failed("write the account's state"))?;
        Ok(())
    }
}
