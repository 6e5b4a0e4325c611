//! Pins host keys of SFTP servers. The current server's key is a column of the settings; a trigger keeps the keys of
//! earlier servers in `sftp_host_keys`.

use chrono::{DateTime, Utc};

use super::{Store, StoreError, query_error};
use crate::model::AccountId;
use crate::model::host_key::OfferedHostKey;

impl Store {
    /// Pins the first host key of a server (`sftp://host:port`). Does nothing if the server has a pinned key in the
    /// settings, or if the settings were edited after `settings_updated_at`. Does not count as an edit of the settings.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn pin_host_key(
        &self,
        account: AccountId,
        server: &str,
        key: &OfferedHostKey,
        settings_updated_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE import_settings SET sftp_host_key = $2, sftp_host_key_kind = $3, sftp_host_key_of = $4
             WHERE account_id = $1 AND source = 'sftp' AND updated_at = $5
                 AND (sftp_host_key IS NULL OR sftp_host_key_of <> $4)",
            account.0,
            key.fingerprint,
            key.kind.as_str(),
            server,
            settings_updated_at
        )
        .execute(&self.pool)
        .await
        .map_err(query_error("pin the host key"))?;
        Ok(())
    }

    /// Pins a host key of a server (`sftp://host:port`) and replaces the key that was pinned before.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn trust_host_key(
        &self,
        account: AccountId,
        server: &str,
        key: &OfferedHostKey,
    ) -> Result<(), StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(query_error("start a transaction"))?;
        // The trigger treats a changed key of the same server as edited by hand, so the old key is removed first.
        sqlx::query!(
            "UPDATE import_settings SET sftp_host_key = NULL
             WHERE account_id = $1 AND source = 'sftp' AND sftp_host_key_of = $2",
            account.0,
            server
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("remove the pinned host key"))?;
        sqlx::query!(
            "UPDATE import_settings SET sftp_host_key = $2, sftp_host_key_kind = $3, sftp_host_key_of = $4
             WHERE account_id = $1 AND source = 'sftp'",
            account.0,
            key.fingerprint,
            key.kind.as_str(),
            server
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("pin the host key"))?;
        tx.commit()
            .await
            .map_err(query_error("commit the transaction"))
    }
}
