//! Import settings, and the encrypted secrets in them. Never decrypts a secret.

use chrono::{DateTime, Utc};

use super::{Store, StoreError, parse_column, query_error, violated_constraint};
use crate::address::Address;
use crate::model::AccountId;
use crate::model::hold::HoldRules;
use crate::model::host_key::{HostKeyKind, PinnedHostKey};
use crate::model::settings::{PASSWORD_COLUMN, S3_SECRET_COLUMN, SourceKind};

/// The import settings of an account.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Kind of source.
    pub source: SourceKind,
    /// Address of the file.
    pub url: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Encrypted password.
    pub password_sealed: Option<Vec<u8>>,
    /// SFTP port.
    pub sftp_port: Option<i32>,
    /// Pinned host keys of SFTP servers: first the key of the current server, then those of earlier servers.
    pub pinned_host_keys: Vec<PinnedHostKey>,
    /// S3 region.
    pub s3_region: Option<String>,
    /// S3 access key ID.
    pub s3_access_key_id: Option<String>,
    /// Encrypted S3 secret access key.
    pub s3_secret_sealed: Option<Vec<u8>>,
    /// Limits above which a plan is held.
    pub hold_rules: HoldRules,
    /// Time of the last edit.
    pub updated_at: DateTime<Utc>,
}

impl Settings {
    /// The SFTP port, if one is stored and valid.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        u16::try_from(self.sftp_port?).ok()
    }

    /// The origin to which secrets for this address are bound; `None` if the URL is missing or invalid.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        let address = Address::parse(self.source, self.url.as_deref()?, self.port()).ok()?;
        Some(address.origin())
    }

    /// The pinned host key of the server in the URL.
    #[must_use]
    pub fn host_key(&self) -> Option<&PinnedHostKey> {
        let server = self.origin()?;
        let is_for_server =
            |key: &&PinnedHostKey| key.server.as_ref().is_none_or(|origin| *origin == server);
        self.pinned_host_keys.iter().find(is_for_server)
    }

    /// Whether both fetch the file with the same request: same address, user name, secrets and host keys.
    #[must_use]
    pub fn has_same_request(&self, other: &Self) -> bool {
        self.request_fields() == other.request_fields()
    }

    fn request_fields(&self) -> impl PartialEq {
        (
            self.source,
            (&self.url, self.sftp_port, &self.pinned_host_keys),
            (&self.username, &self.password_sealed),
            (
                &self.s3_region,
                &self.s3_access_key_id,
                &self.s3_secret_sealed,
            ),
        )
    }
}

/// Settings to store. Fields that belong to another kind of source must be `None`.
#[derive(Debug, Clone)]
pub struct NewSettings {
    /// Kind of source.
    pub source: SourceKind,
    /// Address of the file.
    pub url: String,
    /// User name.
    pub username: Option<String>,
    /// Encrypted password.
    pub password_sealed: Option<Vec<u8>>,
    /// SFTP port.
    pub sftp_port: Option<u16>,
    /// Host key that stays pinned, of this SFTP server or another.
    pub pinned_host_key: Option<PinnedHostKey>,
    /// S3 region.
    pub s3_region: Option<String>,
    /// S3 access key ID.
    pub s3_access_key_id: Option<String>,
    /// Encrypted S3 secret access key.
    pub s3_secret_sealed: Option<Vec<u8>>,
}

impl NewSettings {
    /// Settings with only a source and an address.
    #[must_use]
    pub fn new(source: SourceKind, url: impl Into<String>) -> Self {
        Self {
            source,
            url: url.into(),
            username: None,
            password_sealed: None,
            sftp_port: None,
            pinned_host_key: None,
            s3_region: None,
            s3_access_key_id: None,
            s3_secret_sealed: None,
        }
    }
}

pub(super) fn hold_rules(
    removed_percent: i32,
    removed_count: i32,
    changed_percent: i32,
    error_percent: i32,
) -> Result<HoldRules, StoreError> {
    let limit = |column, value: i32| {
        usize::try_from(value).map_err(|_| StoreError::unexpected(column, value))
    };
    Ok(HoldRules {
        removed_percent: limit("hold_removed_percent", removed_percent)?,
        removed_count: limit("hold_removed_count", removed_count)?,
        changed_percent: limit("hold_changed_percent", changed_percent)?,
        error_percent: limit("hold_error_percent", error_percent)?,
    })
}

/// An encrypted secret of an account.
#[derive(Debug, Clone)]
pub struct EncryptedSecret {
    /// The account.
    pub account: AccountId,
    /// `accounts.name`
    pub account_name: String,
    /// The column that contains it.
    pub field: &'static str,
    /// Value of the column.
    pub ciphertext: Vec<u8>,
}

impl Store {
    /// The settings of an account, if there are any.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn settings(&self, account: AccountId) -> Result<Option<Settings>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT s.*, k.server AS "other_server?", k.fingerprint AS "other_key?", k.kind AS other_kind
               FROM import_settings s LEFT JOIN sftp_host_keys k ON k.account_id = s.account_id
               WHERE s.account_id = $1"#,
            account.0
        )
        .fetch_all(&self.pool)
        .await
        .map_err(query_error("read the import settings"))?;
        let host_key =
            |fingerprint, kind: Option<&str>, server| -> Result<PinnedHostKey, StoreError> {
                let kind = kind.map(|kind| parse_column("sftp_host_key_kind", kind));
                Ok(PinnedHostKey {
                    fingerprint,
                    kind: kind.transpose()?,
                    server,
                })
            };
        let mut others = Vec::new();
        for row in &rows {
            if let Some(key) = row.other_key.clone() {
                let server = row.other_server.clone();
                others.push(host_key(key, row.other_kind.as_deref(), server)?);
            }
        }
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        let current = row
            .sftp_host_key
            .map(|key| host_key(key, row.sftp_host_key_kind.as_deref(), row.sftp_host_key_of))
            .transpose()?;
        Ok(Some(Settings {
            source: parse_column("source", &row.source)?,
            url: row.url,
            username: row.username,
            password_sealed: row.password_sealed,
            sftp_port: row.sftp_port,
            pinned_host_keys: current.into_iter().chain(others).collect(),
            s3_region: row.s3_region,
            s3_access_key_id: row.s3_access_key_id,
            s3_secret_sealed: row.s3_secret_sealed,
            hold_rules: hold_rules(
                row.hold_removed_percent,
                row.hold_removed_count,
                row.hold_changed_percent,
                row.hold_error_percent,
            )?,
            updated_at: row.updated_at,
        }))
    }

    /// Replaces the settings of an account, except its limits for holds.
    ///
    /// # Errors
    /// [`StoreError::UrlHasCredentials`], [`StoreError::UrlMayHaveCredentials`] or [`StoreError::UrlHasControlCharacter`] if the
    /// database rejects the URL.
    pub async fn save_settings(
        &self,
        account: AccountId,
        new: &NewSettings,
    ) -> Result<(), StoreError> {
        let pinned = new.pinned_host_key.as_ref();
        sqlx::query!(
            "INSERT INTO import_settings (account_id, source, url, username, password_sealed, sftp_port, sftp_host_key,
                 sftp_host_key_kind, sftp_host_key_of, s3_region, s3_access_key_id, s3_secret_sealed)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (account_id) DO UPDATE
             SET source = excluded.source, url = excluded.url, username = excluded.username,
                 password_sealed = excluded.password_sealed, sftp_port = excluded.sftp_port,
                 sftp_host_key = excluded.sftp_host_key, sftp_host_key_kind = excluded.sftp_host_key_kind,
                 sftp_host_key_of = excluded.sftp_host_key_of, s3_region = excluded.s3_region,
                 s3_access_key_id = excluded.s3_access_key_id, s3_secret_sealed = excluded.s3_secret_sealed",
            account.0,
            new.source.as_str(),
            new.url,
            new.username,
            new.password_sealed,
            new.sftp_port.map(i32::from),
            pinned.map(|key| &key.fingerprint),
            pinned.and_then(|key| key.kind).map(HostKeyKind::as_str),
            pinned.and_then(|key| key.server.as_ref()),
            new.s3_region,
            new.s3_access_key_id,
            new.s3_secret_sealed
        )
        .execute(&self.pool)
        .await
        .map_err(|error| match violated_constraint(&error) {
            Some("import_settings_url_without_credentials") => StoreError::UrlHasCredentials,
            Some("import_settings_url_without_secrets") => StoreError::UrlMayHaveCredentials,
            Some("import_settings_url_printable") => StoreError::UrlHasControlCharacter,
            _ => query_error("store the import settings")(error),
        })?;
        Ok(())
    }

    /// The encrypted secrets of all accounts.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn encrypted_secrets(&self) -> Result<Vec<EncryptedSecret>, StoreError> {
        let rows = sqlx::query!(
            "SELECT a.id, a.name, s.password_sealed, s.s3_secret_sealed
             FROM import_settings s JOIN accounts a ON a.id = s.account_id
             WHERE s.password_sealed IS NOT NULL OR s.s3_secret_sealed IS NOT NULL ORDER BY a.id"
        )
        .fetch_all(&self.pool)
        .await
        .map_err(query_error("read the encrypted secrets"))?;
        let secret = |field, ciphertext: Option<Vec<u8>>, account, name: &str| {
            ciphertext.map(|ciphertext| EncryptedSecret {
                account: AccountId(account),
                account_name: name.to_owned(),
                field,
                ciphertext,
            })
        };
        Ok(rows
            .into_iter()
            .flat_map(|row| {
                [
                    secret(PASSWORD_COLUMN, row.password_sealed, row.id, &row.name),
                    secret(S3_SECRET_COLUMN, row.s3_secret_sealed, row.id, &row.name),
                ]
            })
            .flatten()
            .collect())
    }

    /// Replaces a secret with `reencrypted`, unless the stored secret was changed in the meantime.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn replace_secret(
        &self,
        secret: &EncryptedSecret,
        reencrypted: &[u8],
    ) -> Result<(), StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(query_error("start a transaction"))?;
        // Tells the trigger that the secret itself is unchanged: this must not count as an edit of the settings.
        sqlx::query!("SELECT set_config('rosterd.resealing', 'on', true)")
            .fetch_one(&mut *tx)
            .await
            .map_err(query_error("mark the secret as re-encrypted"))?;
        sqlx::query!(
            "UPDATE import_settings
             SET password_sealed = CASE WHEN password_sealed = $2 THEN $3 ELSE password_sealed END,
                 s3_secret_sealed = CASE WHEN s3_secret_sealed = $2 THEN $3 ELSE s3_secret_sealed END
             WHERE account_id = $1 AND (password_sealed = $2 OR s3_secret_sealed = $2)",
            secret.account.0,
            secret.ciphertext,
            reencrypted
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("store the secret"))?;
        tx.commit()
            .await
            .map_err(query_error("commit the transaction"))
    }
}
