//! Logs to standard error, as text or JSON. Callers must not log names, addresses, phone numbers or secrets.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{ConfigError, Log, LogFormat};

/// Limits for the logs of other crates, for any `log.level`: at lower levels they log SQL statements and HTTP headers, which
/// may contain personal data. A filter in `log.level` that names one of these crates takes precedence.
const DEFAULT_DIRECTIVES: &str = "aws=warn,sqlx=warn,h2=info,hyper=info,hyper_util=info,reqwest=info,rustls=info,lettre=info,tokio_cron_scheduler=warn";

/// Sets up logging for the whole process.
///
/// # Errors
/// [`ConfigError`] if `log.level` is not a valid filter.
pub fn init(log: &Log) -> Result<(), ConfigError> {
    let filter = EnvFilter::builder()
        .parse(format!("{DEFAULT_DIRECTIVES},{}", log.level))
        .map_err(|error| ConfigError::Invalid(format!("`log.level`: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Internal errors go to standard error, too. If it is closed, reporting that would panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.with_target(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| ConfigError::Invalid(error.to_string()))
}

/// Runs blocking work on a thread of its own, within the caller's tracing span.
///
/// # Errors
/// [`tokio::task::JoinError`] if it panicked.
#[expect(
    clippy::disallowed_methods,
    reason = "the only wrapper, which keeps the span"
)]
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await
}
