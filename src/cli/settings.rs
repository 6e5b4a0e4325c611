//! `rosterd settings …`

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use secrecy::SecretString;
use serde_json::json;

use super::app::{App, read_secret};
use super::output::{Format, json as print_json, line, or_blank};
use super::{Exit, account_ref};
use crate::import::PASSWORD_FIELD;
use crate::model::account::{Account, AccountRef};
use crate::model::source::{SourceKind, origin, parse_http_url};
use crate::seal::{Binding, Keyring};
use crate::store::{NewSettings, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sets where the file lies; what belongs to another source is cleared.
    Set(Box<SetArgs>),
    /// Shows the settings; secrets only as present or absent.
    Show {
        /// Id or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct SetArgs {
    /// Id or name.
    #[arg(value_parser = account_ref)]
    account: AccountRef,
    /// https or `https_basic`.
    #[arg(long, value_parser = source)]
    source: SourceKind,
    /// Address of the file.
    #[arg(long)]
    url: String,
    /// User name.
    #[arg(long)]
    username: Option<String>,
    /// File with the password; `-` is standard input.
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
}

fn source(word: &str) -> Result<SourceKind, String> {
    match SourceKind::parse(word) {
        Some(kind @ (SourceKind::Https | SourceKind::HttpsBasic)) => Ok(kind),
        Some(kind) => Err(format!(
            "this version of rosterd does not fetch from {kind} yet; use https or https_basic"
        )),
        None => Err("a source is https or https_basic".to_owned()),
    }
}

pub(super) async fn run(command: &Command, app: &App, format: Format) -> anyhow::Result<Exit> {
    match command {
        Command::Set(args) => set(args, app).await?,
        Command::Show { account } => show(app, account, format).await?,
    }
    Ok(Exit::Done)
}

async fn set(args: &SetArgs, app: &App) -> anyhow::Result<()> {
    let account = app.store.account(&args.account).await?;
    let url = parse_http_url(&args.url)?;
    let plain_allowed = app.config.fetch.allow_plain_http && url.scheme() == "http";
    anyhow::ensure!(
        url.scheme() == "https" || plain_allowed,
        "addresses that begin with {}:// are not fetched; enter one that begins with https://",
        url.scheme()
    );
    let stored = app.store.settings(account.id).await?;
    let basic = args.source == SourceKind::HttpsBasic;
    anyhow::ensure!(
        basic || (args.username.is_none() && args.password_file.is_none()),
        "a public https file has no user name and password; use --source https_basic"
    );
    let username = args
        .username
        .clone()
        .or_else(|| stored.as_ref().and_then(|stored| stored.username.clone()))
        .filter(|_| basic);
    anyhow::ensure!(
        !basic || username.is_some(),
        "https_basic needs a user name: add --username"
    );
    let origin = origin(&url);
    let password_sealed = match &args.password_file {
        Some(path) => Some(seal(app, &account, &origin, &read_secret(path)?)?),
        None => stored
            .and_then(|stored| stored.password_sealed)
            .filter(|_| basic),
    };
    anyhow::ensure!(
        !basic || password_sealed.is_some(),
        "https_basic needs a password: add --password-file"
    );
    let kept = args.password_file.is_none() && basic;
    let new = NewSettings {
        source: args.source,
        url: args.url.trim().to_owned(),
        username,
        password_sealed,
    };
    app.store.save_settings(account.id, &new).await?;
    line(format!("settings of `{}` stored", account.name))?;
    if kept && !password_is_for(app, &account, &origin, &new) {
        line(
            "the stored password was entered for another address and is not sent to this one; enter it again with --password-file",
        )?;
    }
    Ok(())
}

fn seal(
    app: &App,
    account: &Account,
    origin: &str,
    secret: &SecretString,
) -> anyhow::Result<Vec<u8>> {
    let keys = Keyring::load(&app.config.key_file())?;
    Ok(keys.seal(
        secret,
        Binding {
            account: account.id.0,
            field: PASSWORD_FIELD,
            origin,
        },
    )?)
}

fn password_is_for(app: &App, account: &Account, origin: &str, settings: &NewSettings) -> bool {
    let binding = Binding {
        account: account.id.0,
        field: PASSWORD_FIELD,
        origin,
    };
    let keys = Keyring::load(&app.config.key_file());
    keys.ok()
        .zip(settings.password_sealed.as_deref())
        .is_some_and(|(keys, sealed)| keys.open(sealed, binding).is_ok())
}

async fn show(app: &App, wanted: &AccountRef, format: Format) -> anyhow::Result<()> {
    let account = app.store.account(wanted).await?;
    let settings = app.store.settings(account.id).await?;
    if format == Format::Json {
        let shown = settings.as_ref().map(to_json);
        return print_json(&json!({ "settings": shown }));
    }
    let Some(settings) = settings else {
        return Ok(line(format!(
            "`{}` has no import settings yet",
            account.name
        ))?);
    };
    let presence = |sealed: &Option<Vec<u8>>| if sealed.is_some() { "set" } else { "not set" };
    line(format!("source    {}", settings.source))?;
    line(format!("url       {}", or_blank(settings.url.as_deref())))?;
    if matches!(settings.source, SourceKind::HttpsBasic | SourceKind::Sftp) {
        line(format!(
            "username  {}",
            or_blank(settings.username.as_deref())
        ))?;
        line(format!("password  {}", presence(&settings.password_sealed)))?;
    }
    let [
        removed_percent,
        removed_count,
        changed_percent,
        error_percent,
    ] = settings.holds;
    line(format!(
        "held if   more than {removed_percent} % and more than {removed_count} contacts would be removed, \
         more than {changed_percent} % changed, or more than {error_percent} % of the rows newly in error"
    ))?;
    Ok(())
}

fn to_json(settings: &Settings) -> serde_json::Value {
    let [
        removed_percent,
        removed_count,
        changed_percent,
        error_percent,
    ] = settings.holds;
    json!({
        "source": settings.source,
        "url": settings.url,
        "username": settings.username,
        "password_set": settings.password_sealed.is_some(),
        "sftp_port": settings.sftp_port,
        "s3_region": settings.s3_region,
        "s3_access_key_id": settings.s3_access_key_id,
        "s3_secret_set": settings.s3_secret_sealed.is_some(),
        "hold_removed_percent": removed_percent,
        "hold_removed_count": removed_count,
        "hold_changed_percent": changed_percent,
        "hold_error_percent": error_percent,
        "updated_at": settings.updated_at,
    })
}
