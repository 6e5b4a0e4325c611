//! `rosterd doctor`: checks what the daemon depends on and explains how to fix problems. Changes nothing.

use std::os::unix::fs::PermissionsExt;

use serde::Serialize;

use super::Exit;
use super::app::{App, mailer};
use super::hint;
use super::output::{Format, escape_controls, print_json, print_line};
use crate::config::Config;
use crate::model::schedule::zone;
use crate::secrets::Keyring;
use crate::store::EncryptedSecret;

/// Maximum difference to the clock of the database server, in seconds.
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
            let database = finding("database", Err(hint::message(&error)));
            // The stored secrets are unknown without a database, but the key file can still be checked.
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
                    if finding.ok { "ok  " } else { "FAIL" },
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
        Err(error) => findings.push(finding("database", Err(hint::message(&error.into())))),
        Ok((version, skew)) => {
            findings.push(finding("database", Ok(format!("{version}, migrated"))));
            let difference = skew.abs();
            findings.push(finding(
                "clock",
                if difference <= MAX_CLOCK_SKEW_SECONDS {
                    Ok("in sync with the clock of the database server".to_owned())
                } else {
                    Err(format!(
                        "the clocks of this machine and the database server differ by {difference} s; set up time synchronization on both"
                    ))
                },
            ));
        }
    }
    let accounts = app.store.accounts().await;
    findings.push(finding(
        "zones",
        accounts
            .map_err(|error| hint::message(&error.into()))
            .and_then(|accounts| {
                let unknown: Vec<String> = accounts
                    .iter()
                    .filter_map(|account| zone(&account.time_zone).err())
                    .map(|e| e.to_string())
                    .collect();
                if unknown.is_empty() {
                    Ok("the time zones of all accounts are known".to_owned())
                } else {
                    Err(unknown.join("; "))
                }
            }),
    ));
    findings.push(finding(
        "outbox",
        match app.store.undelivered_mail(now).await {
            Err(error) => Err(hint::message(&error.into())),
            Ok(all_undelivered) if all_undelivered.is_empty() => {
                Ok("no undeliverable mail".to_owned())
            }
            Ok(all_undelivered) => Err(all_undelivered
                .iter()
                .map(|undelivered| {
                    let recipient = &undelivered.recipient;
                    let since = undelivered.since.format("%Y-%m-%d %H:%M UTC");
                    let error = undelivered
                        .last_error
                        .as_deref()
                        .unwrap_or("no error recorded");
                    if undelivered.permanent {
                        format!("mail to {recipient} was refused at {since}: {error}")
                    } else {
                        format!("mail to {recipient} has not been delivered since {since}: {error}")
                    }
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
            "key file {} cannot decrypt the secrets of {}; restore the matching key file (`secrets.key_file`), or enter the secrets again with `rosterd settings set`",
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
        Ok(format!("key file {} is usable", path.display()))
    } else {
        Err(format!(
            "key file {0} is accessible to other users; run `chmod 600 {0}`",
            path.display()
        ))
    }
}

async fn check_mail(config: &Config) -> Result<String, String> {
    match mailer(config) {
        Err(error) => Err(hint::message(&error)),
        Ok(None) => Err("`smtp.url` is not set, so mail stays queued; set it, or ROSTERD_SMTP__URL, to the URL of your mail server".to_owned()),
        Ok(Some(mailer)) => mailer
            .check_connection()
            .await
            .map(|()| "the mail server is reachable".to_owned())
            .map_err(|error| format!("cannot use the mail server: {error}; check `smtp.url`")),
    }
}
