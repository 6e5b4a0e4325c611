//! The state of an account that a run starts from.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::{Session, Store, StoreError, parse_column, query_error};
use crate::model::RunId;
use crate::model::hold::HoldReason;
use crate::model::run::{ClaimedRun, FailureStreak, FileMetadata};

/// The state of an account that a run needs, apart from the contacts.
#[derive(Debug, Clone, Default)]
pub struct RunContext {
    /// Whether imports are enabled.
    pub import_enabled: bool,
    /// Why the next run that changes existing contacts must be held, if it must.
    pub must_confirm: Option<HoldReason>,
    /// The last applied file; `None` if the next run must read its file even if it is unchanged.
    pub last_applied_file: Option<FileMetadata>,
    /// Version of the reader that read the last applied file.
    pub reader_version: Option<i32>,
    /// Whether the last applied file ended with a newline.
    pub final_newline: Option<bool>,
    /// Digests of unidentified rows that were accepted by an approval.
    pub accepted_rows: HashSet<[u8; 32]>,
    /// Consecutive failures so far; empty if there are none.
    pub streak: FailureStreak,
    /// The last applied run.
    pub applied_run: Option<RunId>,
    /// When the schedule starts the next run.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Number of contacts in the row cache; `None` if the cache can't be used.
    pub cached_contacts: Option<usize>,
}

impl Store {
    /// The state of the run's account, read without a lock.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails or the account was deleted.
    pub async fn run_context(&self, run: &ClaimedRun) -> Result<RunContext, StoreError> {
        let mut db = self
            .pool
            .acquire()
            .await
            .map_err(query_error("get a connection"))?;
        context(&mut db, run).await
    }
}

impl Session {
    /// The state of the account, read under the lock: it can't change until the transaction ends.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn context(&mut self) -> Result<RunContext, StoreError> {
        context(&mut self.tx, &self.run).await
    }
}

async fn context(db: &mut sqlx::PgConnection, run: &ClaimedRun) -> Result<RunContext, StoreError> {
    let row = sqlx::query!(
        "SELECT a.import_enabled, s.must_confirm, s.sha256, s.etag, s.last_modified, s.mtime, s.size_bytes, s.reader_version,
                s.final_newline, s.accepted_rows, s.failing_since, s.failure_code, s.failure_mailed_at, s.applied_run_id, s.known_contacts,
                (SELECT min(next_run_at) FROM import_schedules WHERE account_id = a.id AND enabled) AS next_run_at
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
            .map(|reason| parse_column("must_confirm", reason))
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
        next_run_at: row.next_run_at,
        cached_contacts: row
            .known_contacts
            .and_then(|count| usize::try_from(count).ok()),
    })
}

pub(super) fn parse_digest(bytes: Vec<u8>) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}
