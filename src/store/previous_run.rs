//! Reads the results of earlier runs of the account, and the plan that an approval covers.

use std::collections::HashSet;

use super::run_context::parse_digest;
use super::{Session, StoreError, parse_column, query_error};
use crate::compact::Issues;
use crate::model::approval::ApprovedPlan;
use crate::model::issue::{
    Issue, IssueIdentities, MessageSource, Severity, column_from_cell, issue_id,
};
use crate::model::row::RowInError;
use crate::model::{ContactId, RunId};

/// Number of issues read in one query: a run may have a million.
const ISSUES_PER_BATCH: i64 = 10_000;

impl Session {
    /// The rows of a run that were in error.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn rows_in_error(&mut self, run: RunId) -> Result<HashSet<RowInError>, StoreError> {
        let rows = sqlx::query!(
            "SELECT DISTINCT external_id, row_digest FROM import_issues
             WHERE run_id = $1 AND severity = 'error' AND (external_id IS NOT NULL OR row_digest IS NOT NULL)",
            run.0
        )
        .fetch_all(&mut *self.tx)
        .await
        .map_err(query_error("read the rows in error"))?;
        let rows = rows.into_iter();
        Ok(rows
            .filter_map(|row| match row.external_id {
                Some(id) => Some(RowInError::of_contact(&id)),
                None => row
                    .row_digest
                    .and_then(parse_digest)
                    .map(RowInError::Unidentified),
            })
            .collect())
    }

    /// The identities of the issues of an earlier run, and its errors that are not in `current`, which have been fixed.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn compare_issues(
        &mut self,
        run: RunId,
        current: &IssueIdentities,
    ) -> Result<(IssueIdentities, Issues), StoreError> {
        let (mut identities, mut fixed) = (Vec::new(), Issues::default());
        let mut last_id = 0;
        loop {
            let rows = sqlx::query!(
                "SELECT id, severity, code, row_number, column_name, cell, value, external_id, contact_name, message, row_digest
                 FROM import_issues WHERE run_id = $1 AND id > $2 ORDER BY id LIMIT $3",
                run.0,
                last_id,
                ISSUES_PER_BATCH
            )
            .fetch_all(&mut *self.tx)
            .await
            .map_err(query_error("read the issues"))?;
            let Some(last) = rows.last() else {
                return Ok((identities.into_iter().collect(), fixed));
            };
            last_id = last.id;
            for row in rows {
                let severity = parse_column("severity", &row.severity)?;
                let code = parse_column("code", &row.code)?;
                let issue = Issue {
                    severity,
                    code,
                    row: row.row_number.and_then(|row| u32::try_from(row).ok()),
                    column: row.column_name.map(Into::into),
                    column_index: row.cell.as_deref().and_then(column_from_cell),
                    value: row.value,
                    // Earlier versions stored longer IDs.
                    external_id: row.external_id.map(|id| issue_id(&id).into_owned()),
                    contact_name: row.contact_name,
                    message_source: MessageSource::Stored(row.message),
                    row_digest: row.row_digest.and_then(parse_digest),
                };
                let identity = issue.identity();
                if severity == Severity::Error && !current.contains(identity) {
                    fixed.push(&issue);
                }
                identities.push(identity);
            }
        }
    }

    /// The last run before this one that read its whole file.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn last_read_run(&mut self) -> Result<Option<RunId>, StoreError> {
        let id = sqlx::query_scalar!(
            "SELECT id FROM import_runs
             WHERE account_id = $1 AND id <> $2 AND row_count IS NOT NULL AND status <> 'failed' AND trigger <> 'revert'
             ORDER BY finished_at DESC NULLS LAST, id DESC LIMIT 1",
            self.run.account_id.0,
            self.run.id.0
        )
        .fetch_optional(&mut *self.tx)
        .await
        .map_err(query_error("look up the previous run"))?;
        Ok(id.map(RunId))
    }

    /// The plan that an approval of `subject` covers; `None` if that run can no longer be approved.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn approved_plan(
        &mut self,
        subject: RunId,
    ) -> Result<Option<ApprovedPlan>, StoreError> {
        let run = sqlx::query!(
            r#"SELECT r.sha256, r.keep_ids, r.hold_reasons,
                      (r.status = 'held' OR (r.status = 'succeeded_with_issues' AND r.withheld > 0 AND r.id = s.applied_run_id)) AS "waits!"
               FROM import_runs r JOIN import_state s USING (account_id)
               WHERE r.id = $1 AND account_id = $2"#,
            subject.0,
            self.run.account_id.0
        )
        .fetch_optional(&mut *self.tx)
        .await
        .map_err(query_error("read the approved run"))?;
        let Some(run) = run.filter(|run| run.waits) else {
            return Ok(None);
        };
        let changes = sqlx::query!(
            "SELECT contact_id, action, applied FROM import_changes WHERE run_id = $1",
            subject.0
        )
        .fetch_all(&mut *self.tx)
        .await
        .map_err(query_error("read the approved changes"))?;
        if run.keep_ids {
            // If this run is held as well, its approval must keep IDs, too.
            sqlx::query!(
                "UPDATE import_runs SET keep_ids = true WHERE id = $1",
                self.run.id.0
            )
            .execute(&mut *self.tx)
            .await
            .map_err(query_error("record that IDs are kept"))?;
        }
        let mut approved = ApprovedPlan {
            sha256: run.sha256.and_then(parse_digest),
            in_error: self.rows_in_error(subject).await?,
            keep_ids: run.keep_ids,
            hold_reasons: run
                .hold_reasons
                .iter()
                .flatten()
                .map(|reason| parse_column("hold_reasons", reason))
                .collect::<Result<_, _>>()?,
            ..ApprovedPlan::default()
        };
        for change in changes {
            let Some(contact) = change.contact_id.map(ContactId) else {
                continue;
            };
            match change.action.as_str() {
                "added" => {}
                "removed" => {
                    approved.removed.insert(contact);
                }
                _ => {
                    approved.changed.insert(contact);
                }
            }
        }
        Ok(Some(approved))
    }
}
