//! Reads runs, their issues and changes for display, and rejects held runs.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::{Store, StoreError, query_error};
use crate::model::digest::hex;
use crate::model::run::RunStatus;
use crate::model::{AccountId, RunId};

/// A row of `import_runs`. Serializes to the JSON of a run in SPEC §9.
#[derive(Debug, Clone, Serialize)]
#[expect(
    missing_docs,
    reason = "the columns of import_runs, documented by comments in the database"
)]
pub struct RunRow {
    pub id: i64,
    pub account_id: i64,
    pub trigger: String,
    pub status: String,
    pub origin: String,
    pub due_at: Option<DateTime<Utc>>,
    pub requested_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub attempts: i32,
    pub lease_owner: Option<String>,
    pub lease_until: Option<DateTime<Utc>>,
    pub fence: i64,
    pub subject_run_id: Option<i64>,
    pub superseded_by: Option<i64>,
    pub keep_ids: bool,
    pub forced: bool,
    pub hold_reasons: Option<Vec<String>>,
    pub emptied_groups: Option<Vec<String>>,
    #[serde(serialize_with = "hex_or_null")]
    pub sha256: Option<Vec<u8>>,
    pub etag: Option<String>,
    pub size_bytes: Option<i64>,
    pub row_count: Option<i32>,
    pub added: Option<i32>,
    pub updated: Option<i32>,
    pub unchanged: Option<i32>,
    pub removed: Option<i32>,
    pub revived: Option<i32>,
    pub adopted: Option<i32>,
    pub withheld: Option<i32>,
    pub errors: Option<i32>,
    pub warnings: Option<i32>,
    pub contacts_after: Option<i32>,
    pub failure_code: Option<String>,
    pub failure_message: Option<String>,
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn hex_or_null<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(hex).serialize(serializer)
}

/// A row of `import_issues`, as commands print it.
#[derive(Debug, Clone, Serialize)]
#[expect(
    missing_docs,
    reason = "the columns of import_issues, documented by comments in the database"
)]
pub struct IssueRow {
    pub severity: String,
    pub code: String,
    pub row: Option<i32>,
    pub column: Option<String>,
    pub cell: Option<String>,
    pub value: Option<String>,
    pub external_id: Option<String>,
    pub contact_name: Option<String>,
    pub message: String,
    pub is_new: bool,
}

/// A row of `import_changes`, with the contact's name.
#[derive(Debug, Clone, Serialize)]
#[expect(
    missing_docs,
    reason = "the columns of import_changes, documented by comments in the database"
)]
pub struct ChangeRow {
    pub contact_id: Option<i64>,
    pub external_id: Option<String>,
    pub name: Option<String>,
    pub action: String,
    pub applied: bool,
    pub row_number: Option<i32>,
    pub same_as: Option<i64>,
}

impl Store {
    /// The run with this id.
    ///
    /// # Errors
    /// [`StoreError::RunNotFound`] if there is none.
    pub async fn run(&self, id: RunId) -> Result<RunRow, StoreError> {
        let row = sqlx::query_as!(
            RunRow,
            "SELECT id, account_id, trigger, status, origin, due_at, requested_at, started_at, finished_at, attempts,
                    lease_owner, lease_until, fence,
                    subject_run_id, superseded_by, keep_ids, forced, hold_reasons, emptied_groups, sha256, etag, size_bytes, row_count, added, updated, unchanged,
                    removed, revived, adopted, withheld, errors, warnings, contacts_after, failure_code, failure_message
             FROM import_runs WHERE id = $1",
            id.0
        );
        let row = row
            .fetch_optional(&self.pool)
            .await
            .map_err(query_error("read the run"))?;
        row.ok_or(StoreError::RunNotFound(id))
    }

    /// Up to `limit` runs of one account or of all accounts, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn runs(
        &self,
        account: Option<AccountId>,
        limit: i64,
    ) -> Result<Vec<RunRow>, StoreError> {
        sqlx::query_as!(
            RunRow,
            "SELECT id, account_id, trigger, status, origin, due_at, requested_at, started_at, finished_at, attempts,
                    lease_owner, lease_until, fence,
                    subject_run_id, superseded_by, keep_ids, forced, hold_reasons, emptied_groups, sha256, etag, size_bytes, row_count, added, updated, unchanged,
                    removed, revived, adopted, withheld, errors, warnings, contacts_after, failure_code, failure_message
             FROM import_runs WHERE $1::bigint IS NULL OR account_id = $1 ORDER BY id DESC LIMIT $2",
            account.map(|account| account.0),
            limit
        )
        .fetch_all(&self.pool)
        .await
        .map_err(query_error("list the runs"))
    }

    /// The issues of a run, in the order of the spreadsheet.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn run_issues(&self, run: RunId) -> Result<Vec<IssueRow>, StoreError> {
        sqlx::query_as!(
            IssueRow,
            r#"SELECT severity, code, row_number AS "row", column_name AS "column", cell, value, external_id, contact_name, message, is_new
               FROM import_issues WHERE run_id = $1 ORDER BY id"#,
            run.0
        )
        .fetch_all(&self.pool)
        .await
        .map_err(query_error("read the issues"))
    }

    /// The changes that a run made, or would make if it were approved.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn run_changes(&self, run: RunId) -> Result<Vec<ChangeRow>, StoreError> {
        sqlx::query_as!(
            ChangeRow,
            r#"SELECT contact_id, external_id, coalesce(after ->> 'name', before ->> 'name') AS name, action, applied, row_number, same_as
               FROM import_changes WHERE run_id = $1 ORDER BY action, row_number, contact_id"#,
            run.0
        )
        .fetch_all(&self.pool)
        .await
        .map_err(query_error("read the changes"))
    }

    /// The last applied run of an account, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn applied_run(&self, account: i64) -> Result<Option<RunId>, StoreError> {
        let id = sqlx::query_scalar!(
            "SELECT applied_run_id FROM import_state WHERE account_id = $1",
            account
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(query_error("look up the last applied run"))?;
        Ok(id.flatten().map(RunId))
    }

    /// Rejects a held run without applying it.
    ///
    /// # Errors
    /// [`StoreError::RunSuperseded`] or [`StoreError::NotHeld`] if it is not held.
    pub async fn reject_run(&self, id: RunId, now: DateTime<Utc>) -> Result<(), StoreError> {
        let rejected =
            sqlx::query!("UPDATE import_runs SET status = 'rejected', finished_at = $2 WHERE id = $1 AND status = 'held'", id.0, now)
                .execute(&self.pool)
                .await
                .map_err(query_error("reject the run"))?;
        if rejected.rows_affected() == 1 {
            return Ok(());
        }
        let run = self.run(id).await?;
        Err(run.not_held_error())
    }
}

impl RunRow {
    /// Whether the run is held for approval.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.status == RunStatus::Held.as_str()
    }

    /// Whether the run can be approved: it is held, or it withheld removals.
    #[must_use]
    pub fn is_approvable(&self) -> bool {
        self.is_held()
            || (self.status == RunStatus::SucceededWithIssues.as_str()
                && self.withheld.is_some_and(|withheld| withheld > 0))
    }

    /// The error for an attempt to approve or reject a run that is not held.
    #[must_use]
    pub fn not_held_error(&self) -> StoreError {
        let run = RunId(self.id);
        match self.superseded_by {
            Some(successor) => StoreError::RunSuperseded {
                run,
                successor: RunId(successor),
            },
            None => StoreError::NotHeld {
                run,
                status: self.status.clone(),
            },
        }
    }
}
