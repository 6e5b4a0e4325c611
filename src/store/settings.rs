//! Import settings.

use chrono::{DateTime, Utc};

use super::{Store, StoreError, broken_constraint, failed};
use crate::model::AccountId;
use crate::model::source::SourceKind;

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
    /// S3 region.
    pub s3_region: Option<String>,
    /// S3 access key id.
    pub s3_access_key_id: Option<String>,
    /// Sealed S3 secret.
    pub s3_secret_sealed: Option<Vec<u8>>,
    /// `hold_removed_percent`, `hold_removed_count`, `hold_changed_percent`, `hold_error_percent`
    pub holds: [i32; 4],
    /// Last edit.
    pub updated_at: DateTime<Utc>,
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
}

impl Store {
    /// The settings of an account, if there are any.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn settings(&self, account: AccountId) -> Result<Option<Settings>, StoreError> {
        let row = sqlx::query!(
            "SELECT * FROM import_settings WHERE account_id = $1",
            account.0
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(failed("read the import settings"))?;
        Ok(row.and_then(|row| {
            Some(Settings {
                source: SourceKind::parse(&row.source)?,
                url: row.url,
                username: row.username,
                password_sealed: row.password_sealed,
                sftp_port: row.sftp_port,
                s3_region: row.s3_region,
                s3_access_key_id: row.s3_access_key_id,
                s3_secret_sealed: row.s3_secret_sealed,
                holds: [
                    row.hold_removed_percent,
                    row.hold_removed_count,
                    row.hold_changed_percent,
                    row.hold_error_percent,
                ],
                updated_at: row.updated_at,
            })
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
        sqlx::query!(
            "INSERT INTO import_settings (account_id, source, url, username, password_sealed)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (account_id) DO UPDATE
             SET source = excluded.source, url = excluded.url, username = excluded.username,
                 password_sealed = excluded.password_sealed, sftp_port = NULL, sftp_host_key = NULL,
                 s3_region = NULL, s3_access_key_id = NULL, s3_secret_sealed = NULL",
            account.0,
            new.source.as_str(),
            new.url,
            new.username,
            new.password_sealed
        )
        .execute(&self.pool)
        .await
        .map_err(|error| match broken_constraint(&error) {
            Some("import_settings_url_without_credentials") => StoreError::Refused(
                "the web address carries a user name or password; give those with --username and --password-file".to_owned(),
            ),
            Some("import_settings_url_printable") => {
                StoreError::Refused("the web address contains a line break or another control character".to_owned())
            }
            _ => failed("store the import settings")(error),
        })?;
        Ok(())
    }
}
