//! Pinned host keys of SFTP servers. The one pinned last stands in the settings; a trigger keeps those of other servers.

use chrono::{DateTime, Utc};

use super::{Store, StoreError, query_error};
use crate::model::AccountId;
use crate::model::host_key::OfferedHostKey;

impl Store {
    /// Pins the host key of a server (`sftp://host:port`) that has none pinned in the settings, if they are still those
    /// edited at `settings_updated_at`. The settings don't count as edited by that.
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

    /// Pins another host key of a server (`sftp://host:port`), whatever was pinned for it before.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn trust_host_key(
        &self,
        account: AccountId,
        server: &str,
        key: &OfferedHostKey,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await.map_err(query_error("begin"))?;
        // Unpinned first: a key that changes while its server stays counts as entered by hand.
        sqlx::query!(
            "UPDATE import_settings SET sftp_host_key = NULL
             WHERE account_id = $1 AND source = 'sftp' AND sftp_host_key_of = $2",
            account.0,
            server
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("unpin a host key"))?;
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
        tx.commit().await.map_err(query_error("commit"))
    }
}
