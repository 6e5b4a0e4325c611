//! The configuration and its defaults. `config/rosterd.example.toml` documents every key.

mod load;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;

pub use load::ConfigError;
use load::{duration, networks};

/// Defines [`Config`] and the names of its sections from one list.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident: $section:ty,)+) => {
        /// The whole configuration.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $($(#[$doc])* pub $name: $section,)+
        }

        const SECTIONS: &[&str] = &[$(stringify!($name)),+];
    };
}

sections! {
    /// Postgres.
    database: Database,
    /// Mail server.
    smtp: Smtp,
    /// Addresses in mail.
    mail: Mail,
    /// Encryption of stored passwords.
    secrets: Secrets,
    /// Fetching files.
    fetch: Fetch,
    /// Import runs.
    import: Import,
    /// Deletion of old data.
    retention: Retention,
    /// HTTP server.
    web: Web,
    /// Logs.
    log: Log,
}

/// `[database]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// Postgres URL. Without it, a private Postgres is used if `embedded` is set.
    pub url: Option<SecretString>,
    /// Directory for the files of the private Postgres.
    pub data_dir: PathBuf,
    /// Whether to start a private Postgres if there is no URL; if false, a missing URL is an error.
    pub embedded: bool,
    /// Maximum number of open connections; at least 4.
    pub max_connections: u32,
}

/// `[smtp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// URL of the mail server. Without it, mail stays in the outbox.
    pub url: Option<SecretString>,
    /// PEM file with certificates to trust in addition to the system's.
    pub extra_ca_file: Option<PathBuf>,
    /// Maximum time to deliver one message; at least 1 s.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[mail]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// Sender of all mail.
    pub from: String,
    /// Address that receives the reports of accounts without admins.
    pub operator: Option<String>,
}

/// `[secrets]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// Key file that encrypts stored passwords; for the default see [`Config::key_file`].
    pub key_file: Option<PathBuf>,
}

/// `[fetch]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fetch {
    /// Networks that may be reached in addition to public addresses.
    #[serde(deserialize_with = "networks")]
    pub allow_networks: Vec<IpNet>,
    /// Whether to allow `http://` sources.
    pub allow_plain_http: bool,
    /// PEM file with certificates to trust in addition to the system's.
    pub extra_ca_file: Option<PathBuf>,
    /// Maximum file size in bytes, before and after decompression.
    pub max_bytes: u64,
    /// Maximum time to connect; at least 1 s.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// Maximum time without data from the server; at least 1 s.
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
    /// Maximum time for one attempt; at least 1 s.
    #[serde(deserialize_with = "duration")]
    pub total_timeout: Duration,
    /// Minimum transfer rate in bytes per second, averaged over `idle_timeout`.
    pub min_rate: u64,
    /// Maximum number of attempts after temporary failures.
    pub attempts: u32,
    /// Delay before the second attempt; doubled for each further attempt, with jitter.
    #[serde(deserialize_with = "duration")]
    pub backoff: Duration,
    /// Maximum number of concurrent downloads from one host, 1 to 1000.
    pub per_host: usize,
}

/// `[import]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Import {
    /// Maximum number of concurrent runs, 1 to 1000; runs that wait for a slow host or for the next attempt do not count.
    pub max_concurrent: usize,
    /// Maximum number of rows in a CSV file.
    pub max_rows: u32,
    /// Lease of a running import; at least 1 s. After it expires, another daemon takes the run over.
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
}

/// `[retention]`: days until old data is deleted, 1 to 36500.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Removed contacts are purged.
    pub removed_days: u32,
    /// Issues, before and after images, and refused mail are deleted.
    pub issues_days: u32,
    /// Runs are deleted.
    pub runs_days: u32,
    /// Sent mail is deleted.
    pub outbox_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            removed_days: 30,
            issues_days: 180,
            runs_days: 730,
            outbox_days: 30,
        }
    }
}

/// `[web]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Address of `/healthz` and `/readyz`. Without it: [`Web::DEFAULT_LISTEN`], or none if that port is in use.
    pub listen: Option<String>,
}

impl Web {
    /// Default of [`Web::listen`].
    pub const DEFAULT_LISTEN: &'static str = "127.0.0.1:8377";
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Format of log lines.
    pub format: LogFormat,
    /// Level, or a filter such as `info,rosterd=debug`.
    pub level: String,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            data_dir: "rosterd-data".into(),
            embedded: true,
            max_connections: 16,
        }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            url: None,
            extra_ca_file: None,
            timeout: Duration::from_mins(2),
        }
    }
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            from: "rosterd <rosterd@localhost>".to_owned(),
            operator: None,
        }
    }
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            allow_networks: Vec::new(),
            allow_plain_http: false,
            extra_ca_file: None,
            max_bytes: 64 << 20,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_mins(10),
            min_rate: 1024,
            attempts: 4,
            backoff: Duration::from_secs(2),
            per_host: 2,
        }
    }
}

impl Default for Import {
    fn default() -> Self {
        Self {
            max_concurrent: 4,
            max_rows: 1_000_000,
            lease: Duration::from_secs(30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

impl Config {
    /// Key file that encrypts stored passwords: `secrets.key_file`, else `secrets.key` in `database.data_dir`.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.secrets
            .key_file
            .clone()
            .unwrap_or_else(|| self.database.data_dir.join("secrets.key"))
    }
}
