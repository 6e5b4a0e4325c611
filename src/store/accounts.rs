//! Accounts and their admins.

use chrono::{DateTime, Utc};

use super::{Store, StoreError, parse_column, query_error, violated_constraint};
use crate::model::AccountId;
use crate::model::account::{Account, AccountRef, Admin};

struct AccountLookup {
    id: i64,
    name: String,
    time_zone: String,
    import_enabled: bool,
    set_aside_at: Option<DateTime<Utc>>,
    set_aside_reason: Option<String>,
}

impl From<AccountLookup> for Account {
    fn from(row: AccountLookup) -> Self {
        Self {
            id: AccountId(row.id),
            name: row.name,
            time_zone: row.time_zone,
            import_enabled: row.import_enabled,
            set_aside: row
                .set_aside_at
                .map(|at| (at, row.set_aside_reason.unwrap_or_default())),
        }
    }
}

impl Store {
    /// Adds an account with its admins. Its imports are disabled.
    ///
    /// # Errors
    /// [`StoreError`] if the name, the time zone or an address is invalid, or the name is taken.
    pub async fn add_account(
        &self,
        name: &str,
        time_zone: &str,
        admins: &[String],
    ) -> Result<AccountId, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(query_error("start a transaction"))?;
        let id = sqlx::query_scalar!(
            "INSERT INTO accounts (name, time_zone) VALUES ($1, $2) RETURNING id",
            name,
            time_zone
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(|error| match violated_constraint(&error) {
            Some("accounts_name_unique") => StoreError::AccountNameTaken(name.to_owned()),
            Some("accounts_name_not_a_number") => StoreError::AccountNameAllDigits(name.to_owned()),
            Some("accounts_name_not_blank") => StoreError::AccountNameBlank,
            Some("accounts_time_zone_known") => StoreError::UnknownTimeZone(time_zone.to_owned()),
            _ => query_error("add the account")(error),
        })?;
        sqlx::query!("INSERT INTO account_admins (account_id, email) SELECT $1, email FROM unnest($2::text[]) AS email ON CONFLICT DO NOTHING", id, admins)
            .execute(&mut *tx)
            .await
            .map_err(|error| match violated_constraint(&error) {
                Some("account_admins_email_plausible") => StoreError::InvalidAdminEmail(admins.to_vec()),
                _ => query_error("add the admins")(error),
            })?;
        tx.commit().await.map_err(query_error("add the account"))?;
        Ok(AccountId(id))
    }

    /// All accounts, sorted by name.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let rows = sqlx::query_as!(
            AccountLookup,
            "SELECT id, name, time_zone, import_enabled, set_aside_at, set_aside_reason FROM accounts ORDER BY name"
        );
        let rows = rows
            .fetch_all(&self.pool)
            .await
            .map_err(query_error("list the accounts"))?;
        Ok(rows.into_iter().map(Account::from).collect())
    }

    /// The account with this id or name.
    ///
    /// # Errors
    /// [`StoreError::AccountNotFound`] if there is none.
    pub async fn account(&self, account: &AccountRef) -> Result<Account, StoreError> {
        let (id, name) = match account {
            AccountRef::Id(id) => (Some(id.0), None),
            AccountRef::Name(name) => (None, Some(name.as_str())),
        };
        let row = sqlx::query_as!(
            AccountLookup,
            "SELECT id, name, time_zone, import_enabled, set_aside_at, set_aside_reason FROM accounts WHERE id = $1 OR name = $2",
            id,
            name
        );
        let row = row
            .fetch_optional(&self.pool)
            .await
            .map_err(query_error("look up the account"))?;
        row.map(Account::from)
            .ok_or_else(|| StoreError::AccountNotFound(account.clone()))
    }

    /// The admins of an account.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn admins(&self, account: AccountId) -> Result<Vec<Admin>, StoreError> {
        let rows = sqlx::query!(
            "SELECT email, name, notify FROM account_admins WHERE account_id = $1 ORDER BY email",
            account.0
        )
        .fetch_all(&self.pool)
        .await
        .map_err(query_error("read the admins"))?;
        rows.into_iter()
            .map(|row| {
                Ok(Admin {
                    notify: parse_column("notify", &row.notify)?,
                    email: row.email,
                    name: row.name,
                })
            })
            .collect()
    }

    /// Counts the contacts and the groups of an account that are not removed.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn count_active(&self, account: AccountId) -> Result<(i64, i64), StoreError> {
        let row = sqlx::query!(
            r#"SELECT (SELECT count(*) FROM active_contacts WHERE account_id = $1) AS "contacts!",
                      (SELECT count(*) FROM active_groups WHERE account_id = $1) AS "groups!""#,
            account.0
        );
        let row = row
            .fetch_one(&self.pool)
            .await
            .map_err(query_error("count the contacts"))?;
        Ok((row.contacts, row.groups))
    }

    /// Enables or disables imports. Enabling also ends a quarantine.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn set_import_enabled(
        &self,
        account: AccountId,
        enabled: bool,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE accounts
             SET import_enabled = $2,
                 set_aside_at = CASE WHEN $2 THEN NULL ELSE set_aside_at END,
                 set_aside_reason = CASE WHEN $2 THEN NULL ELSE set_aside_reason END
             WHERE id = $1",
            account.0,
            enabled
        )
        .execute(&self.pool)
        .await
        .map_err(query_error("enable or disable imports"))?;
        Ok(())
    }

    /// Deletes an account and all its data.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn delete_account(&self, account: AccountId) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM accounts WHERE id = $1", account.0)
            .execute(&self.pool)
            .await
            .map_err(query_error("delete the account"))?;
        Ok(())
    }
}
