//! The configuration: a TOML file, overridden by environment variables.
//!
//! The only module that reads environment variables. `config/rosterd.example.toml` documents every key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de};

/// File that is read if it exists and no other file is given.
const DEFAULT_FILE: &str = "rosterd.toml";
const ENV_PREFIX: &str = "ROSTERD_";

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
    /// Address that receives mail about the daemon, and mail that cannot be delivered to any admin.
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

/// `[retention]`: days until old data is deleted.
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

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The given file does not exist.
    #[error("configuration file `{0}` does not exist")]
    FileMissing(PathBuf),
    /// An unknown key or an invalid value.
    #[error("invalid configuration: {0}")]
    Invalid(String),
}

impl Config {
    /// Reads the file (default: `rosterd.toml`, if it exists) and overrides it with environment variables.
    ///
    /// # Errors
    /// [`ConfigError`] names the missing file, or the key that is unknown or has an invalid value.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        if let Some(file) = file
            && !file.exists()
        {
            return Err(ConfigError::FileMissing(file.to_owned()));
        }
        let variables = || {
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        };
        check_variable_names(&variables().map(|(name, _)| name).collect::<Vec<_>>())?;
        // Compose files and unit files set unused variables to an empty value, so an empty variable counts as not set.
        let non_empty: Vec<String> = variables()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, _)| name)
            .collect();
        let is_set = move |name: &str| {
            non_empty
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        };
        let toml = Toml::file(file.unwrap_or(Path::new(DEFAULT_FILE)));
        let plain_url = Env::raw()
            .only(if is_set("DATABASE_URL") {
                &["DATABASE_URL"]
            } else {
                &[]
            })
            .map(|_| "database.url".into());
        let prefixed = Env::prefixed(ENV_PREFIX)
            .filter(move |name| {
                name.as_str().contains("__") && is_set(&format!("{ENV_PREFIX}{name}"))
            })
            .split("__");
        Self::from_figment(Figment::new().merge(toml).merge(plain_url).merge(prefixed))
    }

    /// Reads the configuration from TOML text only.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_figment(Figment::new().merge(Toml::string(text)))
    }

    fn from_figment(figment: Figment) -> Result<Self, ConfigError> {
        let empty = Serialized::defaults(std::collections::BTreeMap::<String, String>::new());
        let config: Self = Figment::from(empty)
            .merge(figment)
            .extract()
            .map_err(|error| ConfigError::Invalid(error.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        const SECOND: Duration = Duration::from_secs(1);
        const TOO_SHORT: &str = "must be at least 1s";
        const MAX_CONCURRENCY: usize = 1_000;
        const TOO_MANY: &str = "must be at most 1000";
        let invalid =
            |key: &str, reason: &str| Err(ConfigError::Invalid(format!("`{key}` {reason}")));
        match () {
            () if self.fetch.attempts == 0 => invalid("fetch.attempts", "must be at least 1"),
            () if self.fetch.per_host == 0 => invalid("fetch.per_host", "must be at least 1"),
            () if self.fetch.per_host > MAX_CONCURRENCY => invalid("fetch.per_host", TOO_MANY),
            () if self.import.max_concurrent > MAX_CONCURRENCY => {
                invalid("import.max_concurrent", TOO_MANY)
            }
            () if self.smtp.timeout < SECOND => invalid("smtp.timeout", TOO_SHORT),
            () if self.fetch.connect_timeout < SECOND => {
                invalid("fetch.connect_timeout", TOO_SHORT)
            }
            () if self.fetch.idle_timeout < SECOND => invalid("fetch.idle_timeout", TOO_SHORT),
            () if self.fetch.total_timeout < SECOND => invalid("fetch.total_timeout", TOO_SHORT),
            () if self.fetch.max_bytes == 0 => invalid("fetch.max_bytes", "must be at least 1"),
            () if self.import.max_concurrent == 0 => {
                invalid("import.max_concurrent", "must be at least 1")
            }
            () if self.import.max_rows == 0 => invalid("import.max_rows", "must be at least 1"),
            () if self.import.lease < SECOND => invalid("import.lease", TOO_SHORT),
            () if self.database.max_connections < 4 => {
                invalid("database.max_connections", "must be at least 4")
            }
            () => Ok(()),
        }
    }

    /// Key file that encrypts stored passwords: `secrets.key_file`, else `secrets.key` in `database.data_dir`.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.secrets
            .key_file
            .clone()
            .unwrap_or_else(|| self.database.data_dir.join("secrets.key"))
    }
}

/// Refuses variables such as `ROSTERD_FETCH_MAX_BYTES`, which have one underscore instead of two after the section and would
/// otherwise be ignored without a message.
fn check_variable_names(names: &[String]) -> Result<(), ConfigError> {
    for name in names {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        if rest.contains("__") {
            continue;
        }
        let rest = rest.to_ascii_lowercase();
        if let Some(section) = SECTIONS
            .iter()
            .find(|section| rest.starts_with(&format!("{section}_")))
        {
            let key = rest[section.len() + 1..].to_ascii_uppercase();
            let suggestion = format!("{ENV_PREFIX}{}__{key}", section.to_ascii_uppercase());
            return Err(ConfigError::Invalid(format!(
                "unknown environment variable `{name}`; did you mean `{suggestion}`?"
            )));
        }
    }
    Ok(())
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let parsed: Option<jiff::SignedDuration> = text.parse().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"a duration such as 10s or 5m")
        })
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum StringOrList {
        CommaSeparated(String),
        List(Vec<String>),
    }
    let values = match StringOrList::deserialize(from)? {
        StringOrList::CommaSeparated(line) => line
            .split(',')
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect(),
        StringOrList::List(list) => list,
    };
    values
        .iter()
        .map(|text| {
            let address = text.parse::<std::net::IpAddr>().map(IpNet::from).ok();
            text.parse::<IpNet>().ok().or(address).ok_or_else(|| {
                de::Error::invalid_value(
                    de::Unexpected::Str(text),
                    &"a network such as 10.1.0.0/16",
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_file_lists_every_key_with_default() {
        let example = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/config/rosterd.example.toml"
        ))
        .unwrap();
        let shown = Config::from_toml(&example).unwrap();
        assert_eq!(format!("{shown:?}"), format!("{:?}", Config::default()));
        let uncommented = example
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|rest| rest.contains(" = "))
                    .unwrap_or(line)
            })
            .collect::<Vec<_>>()
            .join("\n");
        let all = format!("{:?}", Config::from_toml(&uncommented).unwrap());
        assert!(
            !all.contains("None"),
            "a key is missing from the example: {all}"
        );
        let mut section = String::new();
        for line in uncommented.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_uppercase();
            } else if let Some((key, _)) = line.split_once(" = ") {
                let variable = format!("{ENV_PREFIX}{section}__{}", key.to_uppercase());
                assert!(example.contains(&variable), "{variable} is not named");
            }
        }
    }

    #[test]
    fn error_names_unknown_key_or_bad_value() {
        for (toml, named) in [
            ("[fetch]\nmax_byte = 1", "max_byte"),
            ("[fetsh]\n", "fetsh"),
            (
                "[fetch]\nconnect_timeout = \"soon\"",
                "fetch.connect_timeout",
            ),
            (
                "[fetch]\nallow_networks = \"10.0.0.0/33\"",
                "fetch.allow_networks",
            ),
            ("[import]\nmax_concurrent = 0", "import.max_concurrent"),
            ("[fetch]\nper_host = 1001", "fetch.per_host"),
            ("[smtp]\ntimeout = \"0s\"", "smtp.timeout"),
            ("[fetch]\nidle_timeout = \"0s\"", "fetch.idle_timeout"),
            ("[fetch]\ntotal_timeout = \"0s\"", "fetch.total_timeout"),
            ("[log]\nformat = \"xml\"", "log.format"),
        ] {
            let error = Config::from_toml(toml).unwrap_err().to_string();
            assert!(error.contains(named), "{toml}: {error}");
        }
    }

    #[test]
    fn variable_with_single_underscore_is_rejected() {
        for (variable, suggestion) in [
            ("ROSTERD_FETCH_MAX_BYTES", "ROSTERD_FETCH__MAX_BYTES"),
            (
                "ROSTERD_RETENTION_REMOVED_DAYS",
                "ROSTERD_RETENTION__REMOVED_DAYS",
            ),
        ] {
            let error = check_variable_names(&[variable.to_owned()])
                .unwrap_err()
                .to_string();
            assert!(error.contains(suggestion), "{error}");
        }
        for section in SECTIONS {
            let variable = format!("{ENV_PREFIX}{}_KEY", section.to_uppercase());
            assert!(check_variable_names(&[variable]).is_err(), "{section}");
        }
        assert!(
            check_variable_names(&["ROSTERD_SERVICE_HOST".to_owned(), "PATH".to_owned()]).is_ok()
        );
    }

    #[test]
    fn networks_accept_list_or_comma_separated_string() {
        let parse = |value: &str| {
            Config::from_toml(&format!("[fetch]\nallow_networks = {value}"))
                .unwrap()
                .fetch
                .allow_networks
        };
        assert_eq!(
            parse("\"127.0.0.0/8, ::1/128\""),
            parse("[\"127.0.0.0/8\", \"::1\"]")
        );
    }

    #[test]
    fn debug_output_hides_secrets() {
        let config = Config::from_toml(
            "[smtp]\nurl = \"smtps://u:hunter2@h\"\n[database]\nurl = \"postgres://u:hunter2@h\"",
        )
        .unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
