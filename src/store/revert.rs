//! Reads the recorded changes of a run to revert it, and updates the account's state after a revert.

use super::{Session, Store, StoreError, query_error};
use crate::model::contact::ContactImage;
use crate::model::plan::RecordedChange;
use crate::model::{ContactId, RunId};

impl Session {
    /// The changes that a run of the account made, one per contact.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails, or [`StoreError::UnreadableChange`].
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
        .map_err(query_error("read the changes of the run"))?;
        let image =
            |value: Option<serde_json::Value>| -> Result<Option<ContactImage>, serde_json::Error> {
                value.map(serde_json::from_value).transpose()
            };
        rows.into_iter()
            .map(|row| {
                let contact = ContactId(row.contact_id);
                let unreadable = || StoreError::UnreadableChange { run, contact };
                Ok(RecordedChange {
                    contact,
                    action: row.action.parse().map_err(|_| unreadable())?,
                    external_id: row.external_id,
                    before: image(row.before).map_err(|_| unreadable())?,
                    after: image(row.after).map_err(|_| unreadable())?,
                })
            })
            .collect()
    }

    /// Makes the next import read its whole file, and hold its plan if that would remove, change or adopt contacts.
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
        .map_err(query_error("update the account's import state"))?;
        sqlx::query!("SELECT forget_applied_file($1)", account)
            .fetch_one(self.db())
            .await
            .map_err(query_error("update the account's import state"))?;
        Ok(())
    }
}

impl Store {
    /// Checks that a run changed contacts, which can then be reverted.
    ///
    /// # Errors
    /// [`StoreError::NothingToRevert`] if it changed none, [`StoreError::RunNotFound`] if it does not exist.
    pub async fn check_revertible(&self, run: RunId) -> Result<(), StoreError> {
        let row = self.run(run).await?;
        let changed = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM import_changes WHERE run_id = $1 AND applied) AS "changed!""#,
            run.0
        )
        .fetch_one(&self.pool)
        .await
        .map_err(query_error("read the changes of the run"))?;
        if changed {
            return Ok(());
        }
        Err(StoreError::NothingToRevert {
            run,
            status: row.status,
        })
    }
}
