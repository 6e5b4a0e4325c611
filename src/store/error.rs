//! The errors of the database layer and their messages. Does not depend on particular queries.

use std::str::FromStr;

use crate::model::account::AccountRef;
use crate::model::{ContactId, RunId};

/// Why an operation on the database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database URL can't be parsed.
    #[error(
        "the database URL (`DATABASE_URL` or `database.url`) is not valid; write it as postgres://user:password@host/database"
    )]
    InvalidUrl,
    /// The server can't be reached, or no connection became free in time.
    #[error(
        "no connection to the database ({0}); check `DATABASE_URL` and that Postgres is running"
    )]
    Unreachable(String),
    /// The schema is missing or older than this version needs.
    #[error("the database schema is missing or out of date")]
    NotMigrated,
    /// A migration failed.
    #[error("the database migration failed: {0}")]
    MigrationFailed(#[source] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("the database failed to {operation}: {}", server_message(.source))]
    Query {
        /// What the statement was for, as a verb phrase such as `read the run`.
        operation: &'static str,
        /// Why it failed.
        source: sqlx::Error,
    },
    /// The run is no longer owned by this process.
    #[error("another process has taken over this run, or the account was deleted")]
    LeaseLost,
    /// The settings were edited during the run.
    #[error(
        "the import settings were edited during the import, so nothing was changed; run it again"
    )]
    SettingsChanged,
    /// Another run or program wrote to the same account.
    #[error(
        "another run or program wrote to the account at the same time, so nothing was changed; run it again"
    )]
    ConcurrentChange,
    /// Imports are disabled for the account.
    #[error("imports are disabled for this account")]
    ImportDisabled,
    /// A column has a value that this version doesn't support.
    #[error(
        "column `{column}` has the value `{value}`, which this version of rosterd does not support; check that all daemons run the same version"
    )]
    UnexpectedValue {
        /// Name of the column.
        column: &'static str,
        /// Its value.
        value: String,
    },
    /// A contact can't be written as JSON.
    #[error("a contact could not be written as JSON")]
    Serialize(#[source] serde_json::Error),

    /// No account has this id or name.
    #[error("there is no account `{0}`")]
    AccountNotFound(AccountRef),
    /// Another account has this name.
    #[error("there is already an account named `{0}`; choose another name")]
    AccountNameTaken(String),
    /// An account name of digits only.
    #[error(
        "the account name `{0}` is all digits and would be read as an account ID; add a letter"
    )]
    AccountNameAllDigits(String),
    /// A blank account name.
    #[error("the account name is blank; enter a name")]
    AccountNameBlank,
    /// The database server doesn't know the time zone.
    #[error("`{0}` is not an IANA time zone; use a name such as America/Vancouver or Europe/Oslo")]
    UnknownTimeZone(String),
    /// At least one of these admins has no valid email address.
    #[error("not an email address: `{}`; enter one such as ann@example.org", .0.join("`, `"))]
    InvalidAdminEmail(Vec<String>),

    /// The URL of a source contains a user name or password.
    #[error("the URL contains a user name or password")]
    UrlHasCredentials,
    /// The URL of a source contains `@` where a password may end.
    #[error(
        "the URL contains `@` before its path, so the text before it may be a password; enter a password as a separate setting, or \
         write `@` as `%40`"
    )]
    UrlMayHaveCredentials,
    /// The URL of a source contains a control character.
    #[error("the URL contains a line break or another control character; remove it")]
    UrlHasControlCharacter,

    /// No run has this id.
    #[error("there is no run {0}")]
    RunNotFound(RunId),
    /// A superseded run can't be approved or rejected.
    #[error("run {run} was superseded by run {successor}")]
    RunSuperseded {
        /// The superseded run.
        run: RunId,
        /// The run that superseded it.
        successor: RunId,
    },
    /// A run that isn't held can't be approved or rejected.
    #[error("run {run} is not held for approval (its status is `{status}`)")]
    NotHeld {
        /// The run.
        run: RunId,
        /// `import_runs.status`
        status: String,
    },
    /// A run that changed no contact can't be reverted.
    #[error(
        "run {run} changed no contacts (its status is `{status}`), so there is nothing to revert"
    )]
    NothingToRevert {
        /// The run.
        run: RunId,
        /// `import_runs.status`
        status: String,
    },
    /// The record of a change has an unsupported format.
    #[error(
        "run {run} recorded its change to contact {contact} in a format that this version of rosterd cannot read"
    )]
    UnreadableChange {
        /// The run.
        run: RunId,
        /// The contact that it changed.
        contact: ContactId,
    },
}

impl StoreError {
    pub(super) fn unexpected(column: &'static str, value: impl std::fmt::Display) -> Self {
        Self::UnexpectedValue {
            column,
            value: value.to_string(),
        }
    }
}

/// Parses a column whose values are a closed set of words.
pub(super) fn parse_column<T: FromStr>(column: &'static str, value: &str) -> Result<T, StoreError> {
    value
        .parse()
        .map_err(|_| StoreError::unexpected(column, value))
}

/// The server's message without its DETAIL, which can contain personal data of rows; otherwise the driver's message.
pub(super) fn server_message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    }
}

/// Converts the error of a failed statement. `operation` completes the sentence "the database failed to …".
pub(super) fn query_error(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| match &source {
        // 42P01: undefined_table.
        sqlx::Error::Database(database) if database.code().as_deref() == Some("42P01") => {
            StoreError::NotMigrated
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => {
            StoreError::Unreachable(source.to_string())
        }
        // 40P01: deadlock_detected, 40001: serialization_failure.
        sqlx::Error::Database(database)
            if matches!(database.code().as_deref(), Some("40P01" | "40001")) =>
        {
            StoreError::ConcurrentChange
        }
        _ => StoreError::Query { operation, source },
    }
}

/// The name of the constraint that a statement violated.
pub(super) fn violated_constraint(error: &sqlx::Error) -> Option<&str> {
    error
        .as_database_error()
        .and_then(|error| error.constraint())
}
