//! `rosterd doctor`: looks at all that the daemon depends on, and says how to mend what is wrong.

use std::os::unix::fs::PermissionsExt;

use serde::Serialize;

use super::Exit;
use super::app::{App, mailer};
use super::output::{Format, escape_controls, print_json, print_line};
use crate::config::Config;
use crate::model::schedule::zone;
use crate::secrets::Keyring;
use crate::store::EncryptedSecret;

/// More than this is worth mending, seconds.
const MAX_CLOCK_SKEW_SECONDS: i64 = 5;

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    message: String,
}

fn finding(check: &'static str, outcome: Result<String, String>) -> Finding {
    let ok = outcome.is_ok();
    Finding {
        check,
        ok,
        message: outcome.unwrap_or_else(|error| error),
    }
}

pub(super) async fn run(config: &Config, format: Format) -> anyhow::Result<Exit> {
    let (mut findings, secrets) = match App::open(config.clone(), false).await {
        Err(error) => {
            let database = finding("database", Err(format!("{error:#}")));
            // Which there are, nobody can tell; the key is looked at all the same.
            (vec![database], Ok(Vec::new()))
        }
        Ok(app) => {
            let secrets = app.store.encrypted_secrets().await;
            let findings = check_database(&app).await;
            app.close().await;
            (findings, secrets)
        }
    };
    let key = secrets
        .map_err(|error| error.to_string())
        .and_then(|secrets| check_key(config, &secrets));
    findings.push(finding("key", key));
    findings.push(finding("mail", check_mail(config).await));
    let all_ok = findings.iter().all(|finding| finding.ok);
    match format {
        Format::Json => print_json(&findings)?,
        Format::Text => {
            for finding in &findings {
                print_line(format!(
                    "{} {:<9} {}",
                    if finding.ok { "ok   " } else { "WRONG" },
                    finding.check,
                    escape_controls(&finding.message)
                ))?;
            }
        }
    }
    Ok(if all_ok { Exit::Done } else { Exit::Failed })
}

async fn check_database(app: &App) -> Vec<Finding> {
    let now = app.clock.now();
    let mut findings = Vec::new();
    match app.store.server_info(now).await {
        Err(error) => findings.push(finding("database", Err(error.to_string()))),
        Ok((version, skew)) => {
            findings.push(finding("database", Ok(format!("{version}, migrated"))));
            findings.push(finding("clock", if skew.abs() <= MAX_CLOCK_SKEW_SECONDS {
                Ok("agrees with the database's".to_owned())
            } else {
                Err(format!("this machine's clock and the database's are {} s apart; set up time synchronisation on both", skew.abs()))
            }));
        }
    }
    let accounts = app.store.accounts().await;
    findings.push(finding(
        "zones",
        accounts
            .map_err(|error| error.to_string())
            .and_then(|accounts| {
                let unknown: Vec<String> = accounts
                    .iter()
                    .filter_map(|account| zone(&account.time_zone).err())
                    .map(|e| e.to_string())
                    .collect();
                if unknown.is_empty() {
                    Ok("all accounts' time zones are known".to_owned())
                } else {
                    Err(unknown.join("; "))
                }
            }),
    ));
    findings.push(finding(
        "outbox",
        match app.store.undelivered_mail(now).await {
            Err(error) => Err(error.to_string()),
            Ok(all_undelivered) if all_undelivered.is_empty() => {
                Ok("no undeliverable mail".to_owned())
            }
            Ok(all_undelivered) => Err(all_undelivered
                .iter()
                .map(|undelivered| {
                    let what = if undelivered.permanent {
                        "was refused"
                    } else {
                        "waits"
                    };
                    let why = undelivered.last_error.as_deref().unwrap_or("not tried yet");
                    format!(
                        "mail to {} {what} since {}: {why}",
                        undelivered.recipient,
                        undelivered.since.format("%Y-%m-%d %H:%M")
                    )
                })
                .collect::<Vec<_>>()
                .join("; ")),
        },
    ));
    findings
}

fn check_key(config: &Config, secrets: &[EncryptedSecret]) -> Result<String, String> {
    let path = config.key_file();
    let keys = Keyring::load(&path).map_err(|error| error.to_string())?;
    let undecryptable = secrets
        .iter()
        .filter(|secret| !keys.can_decrypt(&secret.ciphertext, secret.account.0, secret.field));
    let undecryptable: Vec<_> = undecryptable
        .map(|secret| format!("`{}`", secret.account_name))
        .collect();
    if !undecryptable.is_empty() {
        return Err(format!(
            "{} does not open the secrets of {}; put the right key in place (`secrets.key_file`), or enter them again with `rosterd settings set`",
            path.display(),
            undecryptable.join(", ")
        ));
    }
    let mode = std::fs::metadata(&path)
        .map_err(|error| error.to_string())?
        .permissions()
        .mode();
    let others_mode_bits = mode & 0o077;
    if others_mode_bits == 0 {
        Ok(format!("{} can be used", path.display()))
    } else {
        Err(format!(
            "{0} can be read by others; run: chmod 600 {0}",
            path.display()
        ))
    }
}

async fn check_mail(config: &Config) -> Result<String, String> {
    match mailer(config) {
        Err(error) => Err(format!("{error:#}")),
        Ok(None) => Err("`smtp.url` is not set: mail to admins waits in the outbox".to_owned()),
        Ok(Some(mailer)) => mailer
            .test()
            .await
            .map(|()| "the mail server can be reached".to_owned())
            .map_err(|error| format!("the mail server can't be used ({error}); check `smtp.url`")),
    }
}
