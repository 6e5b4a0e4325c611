//! Logs: to standard error, as text or JSON. No names, addresses, numbers or secrets are ever given to it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{ConfigError, Log, LogFormat};

/// Other crates say nothing below this, whatever level is asked for: at their finest they print statements and headers.
/// A filter that names one of them still prevails.
const DEFAULT_DIRECTIVES: &str = "aws=warn,sqlx=warn,h2=info,hyper=info,hyper_util=info,reqwest=info,rustls=info,lettre=info,tokio_cron_scheduler=warn";

/// Starts logging for the life of the process.
///
/// # Errors
/// [`ConfigError`] if `log.level` is no filter.
pub fn init(log: &Log) -> Result<(), ConfigError> {
    let filter = EnvFilter::builder()
        .parse(format!("{DEFAULT_DIRECTIVES},{}", log.level))
        .map_err(|error| ConfigError::Invalid(format!("`log.level`: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // With standard error closed there is nowhere to complain; complaining there would be a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.with_target(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| ConfigError::Invalid(error.to_string()))
}

/// Runs blocking work on its own thread, under the caller's span.
///
/// # Errors
/// [`tokio::task::JoinError`] if it panicked.
#[expect(
    clippy::disallowed_methods,
    reason = "the one wrapper that carries the span"
)]
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await
}
