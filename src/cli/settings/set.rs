//! `rosterd settings set`: stores where an account's file is fetched from, and encrypts the secret.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use secrecy::SecretString;

use super::super::account_ref;
use super::super::app::{App, read_secret};
use super::super::output::print_line;
use crate::address::Address;
use crate::import::s3_region;
use crate::model::account::{Account, AccountRef};
use crate::model::host_key::PinnedHostKey;
use crate::model::settings::{PASSWORD_COLUMN, S3_SECRET_COLUMN, SourceKind};
use crate::secrets::{Binding, Keyring, bound_origin};
use crate::store::{NewSettings, Settings};

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Args {
    /// Account ID or name.
    #[arg(value_parser = account_ref)]
    account: AccountRef,
    /// Kind of source: `https` (public file), `https_basic`, `sftp` or `s3`.
    #[arg(long, value_parser = source)]
    source: SourceKind,
    /// URL of the file, for example `https://host/path`, `sftp://host/path` or `s3://bucket/key`.
    #[arg(long)]
    url: String,
    /// User name for `https_basic` or `sftp`.
    #[arg(long)]
    username: Option<String>,
    /// File that contains the password; `-` is standard input.
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
    /// Port of the SFTP server [default: 22].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    sftp_port: Option<u16>,
    /// Region of the S3 bucket, for example ca-central-1; not needed if the URL contains it.
    #[arg(long, value_name = "REGION")]
    s3_region: Option<String>,
    /// S3 access key ID.
    #[arg(long, value_name = "ID")]
    s3_access_key_id: Option<String>,
    /// File that contains the S3 secret key; `-` is standard input.
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
}

fn source(word: &str) -> Result<SourceKind, String> {
    word.parse()
        .map_err(|_| "expected https, https_basic, sftp or s3".to_owned())
}

impl Args {
    /// Refuses options that belong to another source.
    fn check_source(&self) -> anyhow::Result<()> {
        use SourceKind::{HttpsBasic, S3, Sftp};
        let login: &[_] = &[HttpsBasic, Sftp];
        for (flag, is_set, sources) in [
            ("--username", self.username.is_some(), login),
            ("--password-file", self.password_file.is_some(), login),
            ("--sftp-port", self.sftp_port.is_some(), &[Sftp]),
            ("--s3-region", self.s3_region.is_some(), &[S3]),
            ("--s3-access-key-id", self.s3_access_key_id.is_some(), &[S3]),
            ("--secret-file", self.secret_file.is_some(), &[S3]),
        ] {
            let allowed_sources: Vec<&str> = sources.iter().map(|source| source.as_str()).collect();
            anyhow::ensure!(
                !is_set || sources.contains(&self.source),
                "{flag} applies only to {}, not to {}",
                allowed_sources.join(" and "),
                self.source
            );
        }
        Ok(())
    }
}

pub(super) async fn run(args: &Args, app: &App) -> anyhow::Result<()> {
    let account = app.store.account(&args.account).await?;
    args.check_source()?;
    let given = args
        .password_file
        .as_deref()
        .or(args.secret_file.as_deref());
    let given = given.map(read_secret).transpose()?;
    // Until the secret is stored, a concurrent key rotation must not replace the key that encrypts it.
    let _key_lock = Keyring::lock_shared(&app.config.key_file())?;
    // Options that are not given keep their stored values, unless the kind of source changes.
    let stored = app.store.settings(account.id).await?;
    let stored = stored.filter(|stored| source_family(stored.source) == source_family(args.source));
    let stored = stored.as_ref();
    let (address, sftp_port) = address(args, stored)?;
    check_scheme(&address, app)?;
    let mut new = NewSettings {
        sftp_port,
        ..NewSettings::new(args.source, args.url.trim())
    };
    let secret = SecretInput::for_source(args.source, given.as_ref(), &address, stored);
    match &address {
        Address::Http(_) if secret.is_none() => {}
        Address::Http(_) | Address::Sftp(_) => {
            new.username = args.username.clone().or_else(|| stored?.username.clone());
            let username = new.username.as_deref().unwrap_or_default();
            anyhow::ensure!(
                !username.trim().is_empty(),
                "{} needs a user name: add --username",
                args.source
            );
            let is_basic = args.source == SourceKind::HttpsBasic;
            anyhow::ensure!(
                !username.contains(|c: char| c.is_control() || is_basic && c == ':'),
                "the user name contains a line break or other control character, or (for {}) a colon",
                SourceKind::HttpsBasic
            );
        }
        Address::S3(address) => {
            let stored_value = || {
                stored?
                    .s3_region
                    .clone()
                    .filter(|_| address.region.is_none())
            };
            new.s3_region = args.s3_region.clone().or_else(stored_value);
            s3_region(address, new.s3_region.as_deref())?;
            let stored_value = || stored?.s3_access_key_id.clone();
            new.s3_access_key_id = args.s3_access_key_id.clone().or_else(stored_value);
            anyhow::ensure!(
                new.s3_access_key_id.is_some(),
                "s3 needs an access key ID: add --s3-access-key-id"
            );
        }
    }
    if let Some(secret) = &secret {
        let ciphertext = Some(secret.ciphertext(app, &account)?);
        if secret.field == PASSWORD_COLUMN {
            new.password_sealed = ciphertext;
        } else {
            new.s3_secret_sealed = ciphertext;
        }
        new.pinned_host_key = stored.and_then(|stored| retained_host_key(stored, secret));
    }
    app.store.save_settings(account.id, &new).await?;
    print_line(format!("settings of `{}` saved", account.name))?;
    let current = app.store.settings(account.id).await?;
    let is_pinned = current.is_some_and(|current| current.host_key().is_some());
    if args.source == SourceKind::Sftp && !is_pinned {
        print_line(format!(
            "no host key is pinned for this server: the first import pins the one it receives, or pin the current one now with `rosterd settings trust {}`",
            account.id
        ))?;
    }
    if let Some(secret) = secret.filter(|secret| secret.given.is_none() && !secret.matches_origin())
    {
        print_line(format!(
            "the stored {} was entered for another server and is not sent to this one; enter it again with {}",
            secret.noun, secret.flag
        ))?;
    }
    Ok(())
}

/// `https` and `https_basic` count as the same kind of source, because they use the same URLs.
fn source_family(source: SourceKind) -> SourceKind {
    if source == SourceKind::HttpsBasic {
        SourceKind::Https
    } else {
        source
    }
}

/// Parses the URL. Returns the address, and for SFTP the port to store.
fn address(args: &Args, stored: Option<&Settings>) -> anyhow::Result<(Address, Option<u16>)> {
    let parse = |port| Address::parse(args.source, &args.url, port);
    let stored_value = stored.and_then(Settings::port);
    let port = args
        .sftp_port
        .or(stored_value)
        .filter(|_| args.source == SourceKind::Sftp);
    match parse(port) {
        // A port in the new URL overrides a different stored port.
        Err(_) if args.sftp_port.is_none() => Ok((parse(None)?, None)),
        other => Ok((other?, port)),
    }
}

/// The pinned host key, tied to its server. If the URL is later set back to that server, its key is still pinned.
fn retained_host_key(stored: &Settings, secret: &SecretInput<'_>) -> Option<PinnedHostKey> {
    let pinned = stored.pinned_host_keys.first()?.clone();
    // A pinned key without a server (set in SQL) belongs to the server that the stored password is for, else to that of the stored URL.
    let password_origin = || secret.matches_origin().then(|| secret.origin.clone());
    let server = pinned.server.or_else(password_origin);
    Some(PinnedHostKey {
        server: Some(server.or_else(|| stored.origin())?),
        ..pinned
    })
}

/// Refuses `http://` URLs unless `fetch.allow_plain_http` is set.
fn check_scheme(address: &Address, app: &App) -> anyhow::Result<()> {
    let scheme = match address {
        Address::Http(url) => url.scheme(),
        Address::S3(address) => address
            .endpoint
            .as_ref()
            .map_or("https", |url| url.scheme()),
        Address::Sftp(_) => return Ok(()),
    };
    let http_allowed = app.config.fetch.allow_plain_http && scheme == "http";
    anyhow::ensure!(
        scheme == "https" || http_allowed,
        "{scheme}:// URLs are not allowed; enter an https:// URL (`fetch.allow_plain_http` allows http://)",
    );
    Ok(())
}

/// The secret that a source needs: the one given now, else the stored one.
struct SecretInput<'a> {
    field: &'static str,
    noun: &'static str,
    flag: &'static str,
    given: Option<&'a SecretString>,
    stored: Option<&'a [u8]>,
    origin: String,
    source: SourceKind,
}

impl<'a> SecretInput<'a> {
    /// `None` if the source needs no secret.
    fn for_source(
        source: SourceKind,
        given: Option<&'a SecretString>,
        address: &Address,
        stored: Option<&'a Settings>,
    ) -> Option<Self> {
        let origin = address.origin();
        match source {
            SourceKind::Https => None,
            SourceKind::HttpsBasic | SourceKind::Sftp => Some(Self {
                field: PASSWORD_COLUMN,
                noun: "password",
                flag: "--password-file",
                given,
                stored: stored.and_then(|stored| stored.password_sealed.as_deref()),
                origin,
                source,
            }),
            SourceKind::S3 => Some(Self {
                field: S3_SECRET_COLUMN,
                noun: "secret key",
                flag: "--secret-file",
                given,
                stored: stored.and_then(|stored| stored.s3_secret_sealed.as_deref()),
                origin,
                source,
            }),
        }
    }

    /// Whether the stored secret was entered for the server of the new URL.
    fn matches_origin(&self) -> bool {
        self.stored.and_then(bound_origin) == Some(self.origin.as_str())
    }

    /// Encrypts the given secret, or returns the stored ciphertext.
    fn ciphertext(&self, app: &App, account: &Account) -> anyhow::Result<Vec<u8>> {
        let Some(secret) = self.given else {
            return self.stored.map(<[u8]>::to_vec).ok_or_else(|| {
                anyhow::anyhow!("{} needs a {}: add {}", self.source, self.noun, self.flag)
            });
        };
        let keys = Keyring::load(&app.config.key_file())?;
        let binding = Binding {
            account: account.id.0,
            field: self.field,
            origin: &self.origin,
        };
        Ok(keys.encrypt(secret, binding)?)
    }
}
