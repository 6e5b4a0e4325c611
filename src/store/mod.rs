//! All SQL, one file per concern. A [`Session`] is the transaction in which a run's outcome is written.
//!
//! Uses `model` and the storage formats `compact` and `row_cache`. Makes no decisions about imports.

mod accounts;
mod apply;
mod audit;
mod copy;
mod error;
mod host_keys;
mod insert;
mod outbox;
mod outcome;
mod previous_run;
mod queue;
mod retention;
mod revert;
mod row_cache;
mod run_context;
mod runs;
mod schedules;
mod session;
mod settings;
mod snapshot;

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

pub use error::StoreError;
pub use outbox::{DueMail, UndeliveredMail};
pub use outcome::{AccountStateUpdate, RowCacheUpdate, RunOutcome};
pub use queue::{DeadRun, StartResult};
pub use retention::{DeletedCounts, Retention};
pub use run_context::RunContext;
pub use runs::{ChangeRow, IssueRow, RunRow};
pub use schedules::{DueSlot, ScheduleRow};
pub use session::Session;
pub use settings::{EncryptedSecret, NewSettings, Settings};

use error::{parse_column, query_error, server_message, violated_constraint};

static MIGRATOR: Migrator = sqlx::migrate!();

/// A pool of connections to the database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Connects, waiting up to `connect_timeout` for a server that is starting.
    ///
    /// # Errors
    /// [`StoreError::InvalidUrl`] or [`StoreError::Unreachable`].
    pub async fn connect(
        url: &SecretString,
        max_connections: u32,
        connect_timeout: Duration,
    ) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url.expose_secret())
            .map_err(|_| StoreError::InvalidUrl)?
            .application_name("rosterd")
            // Without limits, a half-open connection would block a run forever.
            .options([
                ("statement_timeout", "600s"),
                ("idle_in_transaction_session_timeout", "600s"),
                ("tcp_keepalives_idle", "30"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(connect_timeout)
            .connect_with(options)
            .await
            .map_err(|error| StoreError::Unreachable(server_message(&error)))?;
        Ok(Self { pool })
    }

    /// Creates the database of the private Postgres if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`] if the server can't be reached or refuses to create it.
    pub async fn ensure_database(admin_url: &SecretString, name: &str) -> Result<(), StoreError> {
        let store = Self::connect(admin_url, 1, Duration::from_secs(30)).await?;
        let exists = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1) AS "exists!""#,
            name
        )
        .fetch_one(&store.pool)
        .await
        .map_err(query_error("look up the database"))?;
        if !exists {
            let create = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
            let created = sqlx::query(sqlx::AssertSqlSafe(create))
                .execute(&store.pool)
                .await;
            match created {
                // 42P04 duplicate_database, 23505 unique_violation: another process created it first.
                Err(sqlx::Error::Database(error))
                    if matches!(error.code().as_deref(), Some("42P04" | "23505")) => {}
                created => {
                    created.map_err(query_error("create the database"))?;
                }
            }
        }
        store.pool.close().await;
        Ok(())
    }

    /// Applies pending migrations. Several processes may call it at the same time.
    ///
    /// # Errors
    /// [`StoreError::MigrationFailed`].
    pub async fn migrate(&self) -> Result<(), StoreError> {
        MIGRATOR
            .run(&self.pool)
            .await
            .map_err(StoreError::MigrationFailed)
    }

    /// Checks that all migrations of this version have been applied.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] if one is missing.
    pub async fn check_migrated(&self) -> Result<(), StoreError> {
        let newest = MIGRATOR
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0);
        let applied = sqlx::query_scalar::<_, Option<i64>>(
            "SELECT max(version) FROM _sqlx_migrations WHERE success",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(query_error("read the schema version"))?;
        if applied.is_some_and(|applied| applied >= newest) {
            Ok(())
        } else {
            Err(StoreError::NotMigrated)
        }
    }

    /// Name and version of the server, and the number of seconds that its clock is ahead of `now`.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn server_info(
        &self,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<(String, i64), StoreError> {
        let row = sqlx::query!(r#"SELECT version() AS "version!", clock_timestamp() AS "now!""#)
            .fetch_one(&self.pool)
            .await
            .map_err(query_error("report its version"))?;
        let version = row
            .version
            .split(" on ")
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok((version, (row.now - now).num_seconds()))
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
