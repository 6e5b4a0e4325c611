//! What a run did, for undoing it, and what an undone run leaves behind in the account's state.

use super::{Session, Store, StoreError, query_error};
use crate::model::contact::ContactImage;
use crate::model::plan::RecordedChange;
use crate::model::{ContactId, RunId};

impl Session {
    /// What a run of the account did to each contact.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails, or what is recorded can't be understood.
    pub async fn recorded_changes(
        &mut self,
        run: RunId,
    ) -> Result<Vec<RecordedChange>, StoreError> {
        let account = self.account().0;
        let rows = sqlx::query!(
            r#"SELECT c.contact_id AS "contact_id!", c.action, c.external_id, c.before, c.after
               FROM import_changes c JOIN import_runs r ON r.id = c.run_id
               WHERE r.id = $1 AND r.account_id = $2 AND c.applied AND c.contact_id IS NOT NULL
               ORDER BY c.contact_id"#,
            run.0,
            account
        )
        .fetch_all(self.db())
        .await
        .map_err(query_error("read what the run did"))?;
        let unreadable_error = |contact: i64| {
            StoreError::Refused(format!(
                "what run {run} did to contact {contact} is recorded in a form that this version can't read"
            ))
        };
        let image =
            |value: Option<serde_json::Value>| -> Result<Option<ContactImage>, serde_json::Error> {
                value.map(serde_json::from_value).transpose()
            };
        rows.into_iter()
            .map(|row| {
                let unreadable_record = || unreadable_error(row.contact_id);
                Ok(RecordedChange {
                    contact: ContactId(row.contact_id),
                    action: row.action.parse().map_err(|_| unreadable_record())?,
                    external_id: row.external_id,
                    before: image(row.before).map_err(|_| unreadable_record())?,
                    after: image(row.after).map_err(|_| unreadable_record())?,
                })
            })
            .collect()
    }

    /// Makes the next import read its file whatever it looks like, and wait for a person if it would touch anyone.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn require_confirmation(&mut self) -> Result<(), StoreError> {
        let account = self.account().0;
        sqlx::query!(
            "UPDATE import_state SET must_confirm = 'after_revert' WHERE account_id = $1",
            account
        )
        .execute(self.db())
        .await
        .map_err(query_error("write the account's state"))?;
        sqlx::query!("SELECT forget_applied_file($1)", account)
            .fetch_one(self.db())
            .await
            .map_err(query_error("write the account's state"))?;
        Ok(())
    }
}

impl Store {
    /// Whether a run can be reverted at all; says why not.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the reason.
    pub async fn check_revertible(&self, run: RunId) -> Result<(), StoreError> {
        let row = self.run(run).await?;
        let changed = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM import_changes WHERE run_id = $1 AND applied) AS "changed!""#,
            run.0
        )
        .fetch_one(&self.pool)
        .await
        .map_err(query_error("read what the run did"))?;
        if changed {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "run {run} is {} and changed no contact, so there is nothing to revert",
            row.status.replace('_', " ")
        )))
    }
}
