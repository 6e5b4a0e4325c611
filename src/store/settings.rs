//! Import settings.

use chrono::{DateTime, Utc};

use super::{Store, StoreError, known_word, query_error, violated_constraint};
use crate::address::Address;
use crate::model::AccountId;
use crate::model::hold::HoldRules;
use crate::model::host_key::{HostKeyKind, PinnedHostKey};
use crate::model::settings::{PASSWORD_COLUMN, S3_SECRET_COLUMN, SourceKind};

/// The import settings of an account.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What kind of source.
    pub source: SourceKind,
    /// Where the file lies.
    pub url: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Sealed password.
    pub password_sealed: Option<Vec<u8>>,
    /// SFTP port.
    pub sftp_port: Option<i32>,
    /// Pinned host keys of SFTP servers: the one that stands in the settings, then those of servers that they named before.
    pub pins: Vec<PinnedHostKey>,
    /// S3 region.
    pub s3_region: Option<String>,
    /// S3 access key id.
    pub s3_access_key_id: Option<String>,
    /// Sealed S3 secret.
    pub s3_secret_sealed: Option<Vec<u8>>,
    /// Limits beyond which a plan is held.
    pub hold_rules: HoldRules,
    /// Last edit.
    pub updated_at: DateTime<Utc>,
}

impl Settings {
    /// The port that is stored for an SFTP server.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        u16::try_from(self.sftp_port?).ok()
    }

    /// What the address as it is stored, perhaps by another program, would have a secret bound to.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        let address = Address::parse(self.source, self.url.as_deref()?, self.port()).ok()?;
        Some(address.origin())
    }

    /// The pinned host key of the server that the address names.
    #[must_use]
    pub fn host_key(&self) -> Option<&PinnedHostKey> {
        let server = self.origin()?;
        let is_for_server =
            |pin: &&PinnedHostKey| pin.server.as_ref().is_none_or(|of| *of == server);
        self.pins.iter().find(is_for_server)
    }

    /// Whether the file is looked for in the same way: at the same address, with the same user, password and host key.
    #[must_use]
    pub fn has_same_request(&self, other: &Self) -> bool {
        self.request_fields() == other.request_fields()
    }

    fn request_fields(&self) -> impl PartialEq {
        (
            self.source,
            (&self.url, self.sftp_port, &self.pins),
            (&self.username, &self.password_sealed),
            (
                &self.s3_region,
                &self.s3_access_key_id,
                &self.s3_secret_sealed,
            ),
        )
    }
}

/// Settings to be stored; fields of another source are `None`.
#[derive(Debug, Clone)]
pub struct NewSettings {
    /// What kind of source.
    pub source: SourceKind,
    /// Where the file lies.
    pub url: String,
    /// User name.
    pub username: Option<String>,
    /// Sealed password.
    pub password_sealed: Option<Vec<u8>>,
    /// SFTP port.
    pub sftp_port: Option<u16>,
    /// Host key that is to stay pinned, for this SFTP server or another.
    pub pin: Option<PinnedHostKey>,
    /// S3 region.
    pub s3_region: Option<String>,
    /// S3 access key id.
    pub s3_access_key_id: Option<String>,
    /// Sealed S3 secret.
    pub s3_secret_sealed: Option<Vec<u8>>,
}

impl NewSettings {
    /// Settings without user, password and the like.
    #[must_use]
    pub fn new(source: SourceKind, url: impl Into<String>) -> Self {
        Self {
            source,
            url: url.into(),
            username: None,
            password_sealed: None,
            sftp_port: None,
            pin: None,
            s3_region: None,
            s3_access_key_id: None,
            s3_secret_sealed: None,
        }
    }
}

/// Limits as read from `import_settings`.
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

/// A sealed secret as stored.
#[derive(Debug, Clone)]
pub struct EncryptedSecret {
    /// Whose.
    pub account: AccountId,
    /// `accounts.name`
    pub account_name: String,
    /// The column that it stands in.
    pub field: &'static str,
    /// As stored.
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
        let pin = |fingerprint, kind: Option<&str>, server| -> Result<PinnedHostKey, StoreError> {
            let kind = kind.map(|kind| known_word("sftp_host_key_kind", kind));
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
                others.push(pin(key, row.other_kind.as_deref(), server)?);
            }
        }
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        let own = row
            .sftp_host_key
            .map(|key| pin(key, row.sftp_host_key_kind.as_deref(), row.sftp_host_key_of))
            .transpose()?;
        Ok(Some(Settings {
            source: known_word("source", &row.source)?,
            url: row.url,
            username: row.username,
            password_sealed: row.password_sealed,
            sftp_port: row.sftp_port,
            pins: own.into_iter().chain(others).collect(),
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

    /// Stores settings; what concerns another source is cleared, the limits of holds stay.
    ///
    /// # Errors
    /// [`StoreError::Refused`] says what the database refuses.
    pub async fn save_settings(
        &self,
        account: AccountId,
        new: &NewSettings,
    ) -> Result<(), StoreError> {
        let pin = new.pin.as_ref();
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
            pin.map(|pin| &pin.fingerprint),
            pin.and_then(|pin| pin.kind).map(HostKeyKind::as_str),
            pin.and_then(|pin| pin.server.as_ref()),
            new.s3_region,
            new.s3_access_key_id,
            new.s3_secret_sealed
        )
        .execute(&self.pool)
        .await
        .map_err(|error| match violated_constraint(&error) {
            Some("import_settings_url_without_credentials") => StoreError::Refused(
                "the web address carries a user name or password; give those with --username and --password-file".to_owned(),
            ),
            Some("import_settings_url_printable") => {
                StoreError::Refused("the web address contains a line break or another control character".to_owned())
            }
            _ => query_error("store the import settings")(error),
        })?;
        Ok(())
    }

    /// All sealed secrets of all accounts.
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
        .map_err(query_error("read the sealed secrets"))?;
        let secret_of = |field, ciphertext: Option<Vec<u8>>, account, name: &str| {
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
                    secret_of(PASSWORD_COLUMN, row.password_sealed, row.id, &row.name),
                    secret_of(S3_SECRET_COLUMN, row.s3_secret_sealed, row.id, &row.name),
                ]
            })
            .flatten()
            .collect())
    }

    /// Puts `reencrypted` in the place of a secret, unless it was entered anew meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn replace_secret(
        &self,
        secret: &EncryptedSecret,
        reencrypted: &[u8],
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await.map_err(query_error("begin"))?;
        // The secret is the same: that is no edit of the settings.
        sqlx::query!("SELECT set_config('rosterd.resealing', 'on', true)")
            .fetch_one(&mut *tx)
            .await
            .map_err(query_error("say that a secret is sealed anew"))?;
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
        .map_err(query_error("write a sealed secret"))?;
        tx.commit().await.map_err(query_error("commit"))
    }
}
