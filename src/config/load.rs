//! Reads the configuration from a TOML file, overridden by environment variables, and checks its values. The only module that reads
//! environment variables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use super::{Config, Retention, SECTIONS};

/// File in the current directory that is read if it exists and no other file is given.
const DEFAULT_FILE: &str = "rosterd.toml";
const ENV_PREFIX: &str = "ROSTERD_";

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
    /// Reads the file (default: `rosterd.toml` in the current directory, if it exists) and overrides it with environment variables.
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
                .any(|variable| variable.eq_ignore_ascii_case(name))
        };
        let default_file = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default_file.exists().then_some(default_file));
        // `Toml::file` would also search the parent directories, which may belong to another user.
        let toml = file.map_or_else(Figment::new, |file| {
            Figment::new().merge(Toml::file_exact(file))
        });
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
        Self::from_figment(toml.merge(plain_url).merge(prefixed))
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
        /// About 100 years. Much longer periods begin before the first date that can be computed with.
        const MAX_RETENTION_DAYS: u32 = 36_500;
        let invalid =
            |key: &str, reason: &str| Err(ConfigError::Invalid(format!("`{key}` {reason}")));
        let Retention {
            removed_days,
            issues_days,
            runs_days,
            outbox_days,
        } = self.retention;
        for (key, days) in [
            ("retention.removed_days", removed_days),
            ("retention.issues_days", issues_days),
            ("retention.runs_days", runs_days),
            ("retention.outbox_days", outbox_days),
        ] {
            if !(1..=MAX_RETENTION_DAYS).contains(&days) {
                return invalid(key, "must be from 1 to 36500");
            }
        }
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

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed: Option<jiff::SignedDuration> = text.parse().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"a duration such as 10s or 5m")
        })
}

pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum StringOrList {
        CommaSeparated(String),
        List(Vec<String>),
    }
    let values = match StringOrList::deserialize(deserializer)? {
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
            ("[retention]\nremoved_days = 0", "retention.removed_days"),
            ("[retention]\nissues_days = 36501", "retention.issues_days"),
            ("[retention]\nruns_days = 999999999", "retention.runs_days"),
            ("[retention]\noutbox_days = 0", "retention.outbox_days"),
        ] {
            let error = Config::from_toml(toml).unwrap_err().to_string();
            assert!(error.contains(named), "{toml}: {error}");
        }
    }

    #[test]
    fn retention_from_one_day_to_a_century_is_accepted() {
        for days in [1, 36_500] {
            let config = Config::from_toml(&format!("[retention]\nremoved_days = {days}"));
            assert_eq!(config.unwrap().retention.removed_days, days);
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
