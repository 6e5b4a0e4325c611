//! What commands need to run: the database (a private Postgres if none is configured), the importer and the mailer, built
//! from the configuration. Does not depend on a particular command.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::SecretString;

use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::embedded::{EmbeddedPostgres, Role};
use crate::fetch::{Fetcher, Limits, NetworkPolicy};
use crate::import::{Importer, Options, StopPolicy};
use crate::mail::Mailer;
use crate::sheet::WorkbookReader;
use crate::store::{Store, StoreError};
use crate::telemetry::run_blocking;

/// Name of the database in the private Postgres.
const EMBEDDED_DATABASE: &str = "rosterd";
/// Maximum time a command waits for a database connection.
const COMMAND_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct App {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    embedded: Option<EmbeddedPostgres>,
}

/// Returns the database URL. Starts or joins the private Postgres if no URL is configured.
pub(super) async fn resolve_database(
    config: &Config,
    role: Role,
) -> anyhow::Result<(SecretString, Option<EmbeddedPostgres>)> {
    if let Some(url) = &config.database.url {
        return Ok((url.clone(), None));
    }
    anyhow::ensure!(
        config.database.embedded,
        "no database is configured: set DATABASE_URL (or `database.url`), or `database.embedded = true` for a private Postgres"
    );
    let data_dir = config.database.data_dir.clone();
    let embedded = run_blocking(move || EmbeddedPostgres::start(&data_dir, role, &[])).await??;
    let location = embedded.data_dir().display();
    let psql = embedded.psql_command(EMBEDDED_DATABASE);
    if embedded.is_owner() {
        tracing::info!(
            "DATABASE_URL is not set: started the private Postgres in {location} (to connect: {psql})"
        );
    } else {
        tracing::info!(
            "DATABASE_URL is not set: using the private Postgres in {location} (to connect: {psql})"
        );
    }
    Store::ensure_database(&embedded.url("postgres").into(), EMBEDDED_DATABASE).await?;
    Ok((embedded.url(EMBEDDED_DATABASE).into(), Some(embedded)))
}

pub(super) async fn stop_embedded(embedded: Option<EmbeddedPostgres>) {
    if let Some(embedded) = embedded {
        // A panic in the blocking task has already been logged.
        let _ = run_blocking(move || embedded.stop()).await;
    }
}

impl App {
    /// Connects to the database for a command. Migrates it if `migrate` is set, and always if it is private.
    pub(super) async fn open(config: Config, migrate: bool) -> anyhow::Result<Self> {
        let (url, embedded) = resolve_database(&config, Role::Command).await?;
        let app = Self::with_database(config, &url, embedded).await?;
        match app.store.check_migrated().await {
            Ok(()) => {}
            Err(StoreError::NotMigrated) if migrate || app.embedded.is_some() => {
                app.store.migrate().await?;
            }
            Err(error) => {
                app.close().await;
                return Err(error.into());
            }
        }
        Ok(app)
    }

    async fn with_database(
        config: Config,
        url: &SecretString,
        embedded: Option<EmbeddedPostgres>,
    ) -> anyhow::Result<Self> {
        match Store::connect(
            url,
            config.database.max_connections,
            COMMAND_CONNECT_TIMEOUT,
        )
        .await
        {
            Ok(store) => Ok(Self {
                config,
                store,
                clock: Arc::new(SystemClock),
                embedded,
            }),
            Err(error) => {
                stop_embedded(embedded).await;
                Err(error.into())
            }
        }
    }

    pub(super) fn importer(&self) -> anyhow::Result<Importer> {
        importer(
            &self.config,
            self.store.clone(),
            Arc::clone(&self.clock),
            StopPolicy::Fail,
        )
    }

    pub(super) async fn close(self) {
        self.store.close().await;
        stop_embedded(self.embedded).await;
    }
}

/// Creates an importer from the configuration.
pub(super) fn importer(
    config: &Config,
    store: Store,
    clock: SharedClock,
    on_stop: StopPolicy,
) -> anyhow::Result<Importer> {
    let fetch = &config.fetch;
    let limits = Limits {
        max_bytes: fetch.max_bytes,
        connect_timeout: fetch.connect_timeout,
        idle_timeout: fetch.idle_timeout,
        total_timeout: fetch.total_timeout,
        min_rate: fetch.min_rate,
        per_host: fetch.per_host,
    };
    let policy = NetworkPolicy::new(&fetch.allow_networks);
    let extra_ca = read_ca(fetch.extra_ca_file.as_deref(), "fetch.extra_ca_file")?;
    let (plain, file_clock) = (fetch.allow_plain_http, Arc::clone(&clock));
    let fetcher = Fetcher::new(policy, limits, plain, extra_ca.as_deref(), file_clock)
        .context("cannot load the certificates of the system or of `fetch.extra_ca_file`")?;
    let domain = config
        .mail
        .from
        .trim_end_matches('>')
        .rsplit_once('@')
        .map_or("localhost", |(_, domain)| domain);
    let options = Options {
        key_file: config.key_file(),
        attempts: fetch.attempts,
        backoff: fetch.backoff,
        max_rows: config.import.max_rows,
        workbooks: WorkbookReader::current_exe(),
        lease: config.import.lease,
        owner: owner(),
        mail_domain: domain.to_owned(),
        operator: config.mail.operator.clone(),
        on_stop,
    };
    Ok(Importer::new(store, clock, fetcher, options))
}

/// Creates the mailer, or returns `None` if `smtp.url` is not set.
pub(super) fn mailer(config: &Config) -> anyhow::Result<Option<Mailer>> {
    let Some(url) = &config.smtp.url else {
        return Ok(None);
    };
    let extra_ca = read_ca(config.smtp.extra_ca_file.as_deref(), "smtp.extra_ca_file")?;
    Ok(Some(Mailer::new(
        url,
        &config.mail.from,
        config.smtp.timeout,
        extra_ca.as_deref(),
    )?))
}

fn read_ca(path: Option<&Path>, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
    path.map(|path| {
        std::fs::read(path)
            .with_context(|| format!("cannot read file `{}` (`{key}`)", path.display()))
    })
    .transpose()
}

/// Unique name of this process across machines, used as the owner of run leases.
fn owner() -> String {
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    format!("{host}/{}/{}", std::process::id(), uuid::Uuid::new_v4())
}

/// Opens a file, or standard input for `-`.
pub(super) fn open_file(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = std::fs::File::open(path)
        .with_context(|| format!("cannot open file `{}`", path.display()))?;
    Ok(Box::new(file))
}

/// Reads a password from a file or standard input, without a trailing line break.
pub(super) fn read_secret(path: &Path) -> anyhow::Result<SecretString> {
    let mut bytes = Vec::new();
    open_file(path)?
        .take(64 << 10)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read file `{}`", path.display()))?;
    let text = String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("the password in `{}` is not UTF-8 text", path.display()))?;
    // Editors on Windows write a byte order mark at the start of a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let secret = text
        .strip_suffix('\n')
        .map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    anyhow::ensure!(
        !secret.is_empty(),
        "the password in `{}` is empty",
        path.display()
    );
    Ok(secret.into())
}
