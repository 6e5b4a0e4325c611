//! From import settings to bytes: what to ask for, with which password, and how often.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Importer, Observer, Progress};
use crate::fetch::{Credentials, Outcome, Request, Validators};
use crate::import::ImportError;
use crate::model::AccountId;
use crate::model::source::{SourceKind, origin, parse_http_url};
use crate::seal::{Binding, Keyring};
use crate::store::Settings;

/// Column of the password of `https_basic` and `sftp`, to which it is bound.
pub const PASSWORD_FIELD: &str = "password_sealed";

impl Importer {
    /// What the settings ask for; opens the password.
    pub(super) fn request(
        &self,
        account: AccountId,
        settings: &Settings,
        known: Option<Validators>,
    ) -> Result<Request, ImportError> {
        let incomplete = |what: &str| {
            ImportError::SettingsIncomplete(format!(
                "the import settings are incomplete: {what} (`rosterd settings set`)"
            ))
        };
        let url = settings
            .url
            .as_deref()
            .filter(|url| !url.trim().is_empty())
            .ok_or_else(|| incomplete("enter the address of the file"))?;
        if !matches!(settings.source, SourceKind::Https | SourceKind::HttpsBasic) {
            return Err(incomplete(&format!(
                "this version of rosterd does not fetch from {} yet",
                settings.source
            )));
        }
        let url = parse_http_url(url).map_err(|error| incomplete(&error.to_string()))?;
        let credentials = match settings.source {
            SourceKind::HttpsBasic => {
                let username = settings
                    .username
                    .clone()
                    .ok_or_else(|| incomplete("enter the user name"))?;
                let sealed = settings
                    .password_sealed
                    .as_deref()
                    .ok_or_else(|| incomplete("enter the password"))?;
                let binding = Binding {
                    account: account.0,
                    field: PASSWORD_FIELD,
                    origin: &origin(&url),
                };
                let keys = Keyring::load(&self.options.key_file).map_err(ImportError::Secret)?;
                Some(Credentials {
                    username,
                    password: keys.open(sealed, binding).map_err(ImportError::Secret)?,
                })
            }
            _ => None,
        };
        Ok(Request {
            url,
            credentials,
            known,
        })
    }

    /// Fetches the file, again and again while the failure may pass by itself.
    pub(super) async fn fetch(
        &self,
        request: &Request,
        observer: &Observer,
        stop: &CancellationToken,
    ) -> Result<Outcome, ImportError> {
        let progress = |bytes, total| observer(Progress::Fetched { bytes, total });
        let mut attempt = 1;
        loop {
            let fetched = tokio::select! {
                fetched = self.fetcher.fetch(request, &progress) => fetched.map_err(ImportError::Fetch),
                () = stop.cancelled() => return Err(ImportError::Stopped),
            };
            let error = match fetched {
                Err(error) if error.is_transient() && attempt < self.options.attempts => error,
                other => return other,
            };
            let asked = if let ImportError::Fetch(error) = &error {
                error.retry_after()
            } else {
                None
            };
            let pause = asked.unwrap_or_else(|| jittered(self.options.backoff, attempt));
            tracing::info!(attempt, pause_ms = pause.as_millis(), code = %error.failure().code, "fetching failed, trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return Err(ImportError::Stopped),
            }
            attempt += 1;
        }
    }
}

/// Doubled with each attempt, and up to half of it by chance, so that many accounts don't come back at once.
fn jittered(backoff: Duration, attempt: u32) -> Duration {
    let pause = backoff.saturating_mul(1 << attempt.saturating_sub(1).min(8));
    let mut chance = [0; 1];
    // Without chance the pause is merely the same for all.
    let _ = aws_lc_rs::rand::fill(&mut chance);
    pause + pause / 2 * u32::from(chance[0]) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_vary_by_up_to_half() {
        for (attempt, base) in [(1, 100), (2, 200), (3, 400)] {
            let pause = jittered(Duration::from_millis(100), attempt).as_millis();
            assert!((base..=base * 3 / 2).contains(&pause), "{attempt}: {pause}");
        }
    }
}
