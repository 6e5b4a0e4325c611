//! All SQL. Each file is one concern; a [`Session`] is the one transaction in which a run's outcome is written.
//!
//! Knows `model`, and `reconcile`'s types of input; decides nothing about imports.

mod accounts;
mod apply;
mod audit;
mod copy;
mod host_keys;
mod insert;
mod outbox;
mod outcome;
mod previous_run;
mod queue;
mod retention;
mod revert;
mod row_cache;
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

pub use outbox::{DueMail, NewMail, UndeliveredMail};
pub use outcome::{AccountStateUpdate, RowCacheUpdate, RunOutcome};
pub use queue::{DeadRun, StartResult};
pub use retention::{DeletedCounts, Retention};
pub use runs::{ChangeRow, IssueRow, RunRow};
pub use schedules::{DueSlot, ScheduleRow};
pub use session::{RunContext, Session};
pub use settings::{EncryptedSecret, NewSettings, Settings};

static MIGRATOR: Migrator = sqlx::migrate!();

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

/// What the database could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not a database URL.
    #[error(
        "the database URL (`DATABASE_URL` or `database.url`) can't be read; write postgres://user:password@host/database"
    )]
    InvalidUrl,
    /// No connection.
    #[error("no connection to the database ({0}); check DATABASE_URL and that Postgres is up")]
    Unreachable(String),
    /// Schema missing or old.
    #[error("the database is not migrated; run `rosterd migrate`")]
    NotMigrated,
    /// Migration failed.
    #[error("the database could not be migrated: {0}")]
    MigrationFailed(#[source] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("the database failed to {operation}: {}", server_message(.source))]
    Query {
        /// What was attempted.
        operation: &'static str,
        /// Why it failed.
        source: sqlx::Error,
    },
    /// Another process has taken the run over.
    #[error("another process has taken this run over")]
    LeaseLost,
    /// The settings were edited, or the account disabled, while the run was under way.
    #[error(
        "the import settings were edited while the import was under way; nothing was changed, run it again"
    )]
    SettingsChanged,
    /// Another run or another program wrote at the same time.
    #[error(
        "another run or another program wrote to the account's contacts at the same time; nothing was changed, run it again"
    )]
    ConcurrentChange,
    /// Imports are switched off.
    #[error(
        "imports are switched off for this account; switch them on with `rosterd account enable`"
    )]
    ImportDisabled,
    /// A column has a value that this version of the program does not know.
    #[error(
        "column `{column}` has the value `{value}`, which this version of rosterd does not know; check that all daemons run the same version"
    )]
    UnexpectedValue {
        /// The column.
        column: &'static str,
        /// What it has.
        value: String,
    },
    /// The database refuses what was asked.
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    fn unexpected(column: &'static str, value: impl std::fmt::Display) -> Self {
        Self::UnexpectedValue {
            column,
            value: value.to_string(),
        }
    }
}

/// The value of a column of a closed set of words.
fn known_word<T: FromStr>(column: &'static str, word: &str) -> Result<T, StoreError> {
    word.parse()
        .map_err(|_| StoreError::unexpected(column, word))
}

/// The server's own words, or the driver's; never its DETAIL, which repeats rows.
fn server_message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    }
}

/// Names the operation of a failed statement.
fn query_error(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| match &source {
        sqlx::Error::Database(database) if database.code().as_deref() == Some("42P01") => {
            StoreError::NotMigrated
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => {
            StoreError::Unreachable(source.to_string())
        }
        // Deadlock, and a transaction that can't be put in an order with others.
        sqlx::Error::Database(database)
            if matches!(database.code().as_deref(), Some("40P01" | "40001")) =>
        {
            StoreError::ConcurrentChange
        }
        _ => StoreError::Query { operation, source },
    }
}

/// The name of the constraint that a statement broke.
fn violated_constraint(error: &sqlx::Error) -> Option<&str> {
    error
        .as_database_error()
        .and_then(|error| error.constraint())
}

impl Store {
    /// Connects; waits up to `connect_timeout` for a server that is starting.
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
            // A half-open connection must not hold a run for ever.
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

    /// Makes the database of the private Postgres if it is not there.
    ///
    /// # Errors
    /// [`StoreError`] if the server can't be reached or refuses.
    pub async fn ensure_database(admin_url: &SecretString, name: &str) -> Result<(), StoreError> {
        let store = Self::connect(admin_url, 1, Duration::from_secs(30)).await?;
        let exists = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1) AS "exists!""#,
            name
        )
        .fetch_one(&store.pool)
        .await
        .map_err(query_error("look for the database"))?;
        if !exists {
            let create = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
            let created = sqlx::query(sqlx::AssertSqlSafe(create))
                .execute(&store.pool)
                .await;
            match created {
                // Another process was quicker.
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

    /// Brings the schema up to date; safe to call from several processes at once.
    ///
    /// # Errors
    /// [`StoreError::MigrationFailed`].
    pub async fn migrate(&self) -> Result<(), StoreError> {
        MIGRATOR
            .run(&self.pool)
            .await
            .map_err(StoreError::MigrationFailed)
    }

    /// Whether the schema is the one this program needs.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] if not.
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
        .map_err(query_error("look at the schema"))?;
        if applied.is_some_and(|applied| applied >= newest) {
            Ok(())
        } else {
            Err(StoreError::NotMigrated)
        }
    }

    /// Name and version of the server, and how far its clock is from `now`, seconds.
    ///
    /// # Errors
    /// [`StoreError`] if it can't be asked.
    pub async fn server_info(
        &self,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<(String, i64), StoreError> {
        let row = sqlx::query!(r#"SELECT version() AS "version!", clock_timestamp() AS "now!""#)
            .fetch_one(&self.pool)
            .await
            .map_err(query_error("tell its version"))?;
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
