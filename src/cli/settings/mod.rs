//! `rosterd settings …`: sets, shows and tests where an account's file is fetched from. Never prints a secret.

mod set;

use clap::Subcommand;
use serde_json::json;

use super::app::App;
use super::output::{Format, or_empty, print_json, print_line};
use super::{Exit, account_ref};
use crate::import::{Step, TrustOutcome};
use crate::model::account::AccountRef;
use crate::model::hold::HoldRules;
use crate::model::settings::SourceKind;
use crate::store::Settings;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Set where the file is fetched from. Options that are omitted keep their values unless the kind of source changes.
    Set(Box<set::Args>),
    /// Show the settings; secrets are shown only as set or not set.
    Show {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
    /// Test the connection to the file step by step, without changing anything.
    Test {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
    /// Pin the host key that the SFTP server presents now.
    Trust {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
        /// Pin the key only if it has this fingerprint (`SHA256:…`, as printed by `ssh-keygen -l` on the server).
        #[arg(long, value_name = "SHA256")]
        fingerprint: Option<String>,
    },
}

pub(super) async fn run(command: &Command, app: &App, format: Format) -> anyhow::Result<Exit> {
    match command {
        Command::Set(args) => set::run(args, app).await?,
        Command::Show { account } => show(app, account, format).await?,
        Command::Test { account } => return test(app, account, format).await,
        Command::Trust {
            account,
            fingerprint,
        } => trust(app, account, fingerprint.as_deref()).await?,
    }
    Ok(Exit::Done)
}

async fn test(app: &App, account: &AccountRef, format: Format) -> anyhow::Result<Exit> {
    let account = app.store.account(account).await?;
    let steps = app.importer()?.test_connection(&account).await?;
    let all_passed = steps.iter().all(|step| step.outcome.is_ok());
    if format == Format::Json {
        let steps: Vec<_> = steps.iter().map(step_to_json).collect();
        print_json(&json!({ "ok": all_passed, "steps": steps }))?;
    } else {
        for step in &steps {
            let name = step_title(step);
            match &step.outcome {
                Ok(detail) => print_line(format!("✓ {name:<14} {detail}"))?,
                Err(failure) => print_line(format!(
                    "✗ {name:<14} {}: {}",
                    failure.code, failure.message
                ))?,
            }
        }
    }
    Ok(if all_passed { Exit::Done } else { Exit::Failed })
}

fn step_title(step: &Step) -> String {
    let name = serde_json::to_value(step.name).unwrap_or_default();
    name.as_str().unwrap_or_default().replace('_', " ")
}

fn step_to_json(step: &Step) -> serde_json::Value {
    match &step.outcome {
        Ok(detail) => json!({ "step": step.name, "ok": true, "found": detail }),
        Err(failure) => {
            json!({ "step": step.name, "ok": false, "code": failure.code, "message": failure.message })
        }
    }
}

async fn trust(app: &App, account: &AccountRef, fingerprint: Option<&str>) -> anyhow::Result<()> {
    let account = app.store.account(account).await?;
    match app
        .importer()?
        .trust_host_key(&account, fingerprint)
        .await?
    {
        TrustOutcome::Pinned { current, replaced } => {
            if let Some(replaced) = replaced {
                print_line(format!("no longer pinned: {}", replaced.fingerprint))?;
            }
            Ok(print_line(format!("pinned: {}", current.fingerprint))?)
        }
        TrustOutcome::Mismatch(current) => anyhow::bail!(
            "the server presents host key {}, not {}; nothing was pinned",
            current.fingerprint,
            fingerprint.unwrap_or_default()
        ),
    }
}

async fn show(app: &App, account: &AccountRef, format: Format) -> anyhow::Result<()> {
    let account = app.store.account(account).await?;
    let settings = app.store.settings(account.id).await?;
    if format == Format::Json {
        let shown = settings.as_ref().map(to_json);
        return print_json(&json!({ "settings": shown }));
    }
    let Some(settings) = settings else {
        return Ok(print_line(format!(
            "`{}` has no import settings yet; enter them with `rosterd settings set {}`",
            account.name, account.id
        ))?);
    };
    let presence = |ciphertext: &Option<Vec<u8>>| {
        if ciphertext.is_some() {
            "set"
        } else {
            "not set"
        }
    };
    print_line(format!("source    {}", settings.source))?;
    print_line(format!("url       {}", or_empty(settings.url.as_deref())))?;
    if matches!(settings.source, SourceKind::HttpsBasic | SourceKind::Sftp) {
        print_line(format!(
            "username  {}",
            or_empty(settings.username.as_deref())
        ))?;
        print_line(format!("password  {}", presence(&settings.password_sealed)))?;
    }
    if settings.source == SourceKind::Sftp {
        let port = settings.sftp_port.map(|port| port.to_string());
        print_line(format!(
            "port      {}",
            port.as_deref().unwrap_or("from the URL, else 22")
        ))?;
        print_line(format!(
            "host key  {}",
            fingerprint(&settings).unwrap_or("not pinned yet; the first import pins it")
        ))?;
    }
    if settings.source == SourceKind::S3 {
        print_line(format!(
            "region    {}",
            settings.s3_region.as_deref().unwrap_or("from the URL")
        ))?;
        print_line(format!(
            "key id    {}",
            or_empty(settings.s3_access_key_id.as_deref())
        ))?;
        print_line(format!(
            "secret    {}",
            presence(&settings.s3_secret_sealed)
        ))?;
    }
    let HoldRules {
        removed_percent,
        removed_count,
        changed_percent,
        error_percent,
    } = settings.hold_rules;
    print_line(format!(
        "held if   more than {removed_percent} % and more than {removed_count} contacts would be removed, \
         more than {changed_percent} % would be changed, or more than {error_percent} % of the rows have new errors"
    ))?;
    Ok(())
}

/// Fingerprint of the host key that is pinned for the current server.
fn fingerprint(settings: &Settings) -> Option<&str> {
    settings.host_key().map(|key| key.fingerprint.as_str())
}

fn to_json(settings: &Settings) -> serde_json::Value {
    let HoldRules {
        removed_percent,
        removed_count,
        changed_percent,
        error_percent,
    } = settings.hold_rules;
    json!({
        "source": settings.source,
        "url": settings.url,
        "username": settings.username,
        "password_set": settings.password_sealed.is_some(),
        "sftp_port": settings.sftp_port,
        "sftp_host_key": fingerprint(settings),
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
