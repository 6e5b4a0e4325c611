//! Settings of the program: a TOML file, and environment variables over it.
//!
//! The one place that reads environment variables. `config/rosterd.example.toml` shows every key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de};

/// File that is read if present and no other is named.
const DEFAULT_FILE: &str = "rosterd.toml";
const ENV_PREFIX: &str = "ROSTERD_";
const SECTIONS: [&str; 8] = [
    "database", "smtp", "mail", "secrets", "fetch", "import", "web", "log",
];

/// All settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Postgres.
    pub database: Database,
    /// Mail server.
    pub smtp: Smtp,
    /// Mail.
    pub mail: Mail,
    /// Sealing of passwords.
    pub secrets: Secrets,
    /// Fetching files.
    pub fetch: Fetch,
    /// Runs.
    pub import: Import,
    /// How long what is kept.
    pub retention: Retention,
    /// HTTP server.
    pub web: Web,
    /// Logs.
    pub log: Log,
}

/// `[database]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// Postgres URL.
    pub url: Option<SecretString>,
    /// Where the private Postgres lives.
    pub data_dir: PathBuf,
    /// Whether a missing URL means the private Postgres.
    pub embedded: bool,
    /// Most connections at once.
    pub max_connections: u32,
}

/// `[smtp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// Mail server.
    pub url: Option<SecretString>,
    /// Certificates trusted besides the system's.
    pub extra_ca_file: Option<PathBuf>,
    /// Longest time for one message.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[mail]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// Sender.
    pub from: String,
    /// Operator's address.
    pub operator: Option<String>,
}

/// `[secrets]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// Key file; see [`Config::key_file`].
    pub key_file: Option<PathBuf>,
}

/// `[fetch]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fetch {
    /// Networks allowed besides public addresses.
    #[serde(deserialize_with = "networks")]
    pub allow_networks: Vec<IpNet>,
    /// Also fetch `http://`.
    pub allow_plain_http: bool,
    /// Certificates trusted besides the system's.
    pub extra_ca_file: Option<PathBuf>,
    /// Largest file, bytes.
    pub max_bytes: u64,
    /// Longest time to connect.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// Longest silence.
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
    /// Longest time for one attempt.
    #[serde(deserialize_with = "duration")]
    pub total_timeout: Duration,
    /// Fewest bytes a second.
    pub min_rate: u64,
    /// Attempts.
    pub attempts: u32,
    /// Wait before the second attempt.
    #[serde(deserialize_with = "duration")]
    pub backoff: Duration,
    /// Most files fetched from one host at once.
    pub per_host: usize,
}

/// `[import]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Import {
    /// Most runs under way at once, those that wait for others not counted.
    pub max_concurrent: usize,
    /// Most rows of a CSV file.
    pub max_rows: u32,
    /// How long a process vouches for a run.
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
}

/// `[retention]`, days.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Removed contacts.
    pub removed_days: u32,
    /// Issues and images of contacts.
    pub issues_days: u32,
    /// Runs.
    pub runs_days: u32,
    /// Sent mail.
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
    /// Address to listen on; without it [`Web::DEFAULT_LISTEN`], if that is free.
    pub listen: Option<String>,
}

impl Web {
    /// See [`Web::listen`].
    pub const DEFAULT_LISTEN: &'static str = "127.0.0.1:8377";
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// Filter.
    pub level: String,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
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

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The named file is not there.
    #[error("configuration file `{0}` does not exist")]
    FileMissing(PathBuf),
    /// An unknown key or a bad value.
    #[error("configuration: {0}")]
    Invalid(String),
}

impl Config {
    /// Reads the file (or `rosterd.toml`, if present) and the environment over it.
    ///
    /// # Errors
    /// [`ConfigError`] names the key that is unknown or has a bad value.
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
        // An empty variable is one that is not set, as compose files and unit files leave them.
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

    /// Reads settings from TOML text alone.
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

    /// Where the key lies that seals passwords.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.secrets
            .key_file
            .clone()
            .unwrap_or_else(|| self.database.data_dir.join("secrets.key"))
    }
}

/// A variable meant for us, but spelled with one underscore where two belong, must not be passed over in silence.
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
                "environment variable `{name}` is not known; did you mean `{suggestion}`?"
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
        let error = check_variable_names(&["ROSTERD_FETCH_MAX_BYTES".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("ROSTERD_FETCH__MAX_BYTES"), "{error}");
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
