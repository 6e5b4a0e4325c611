//! From import settings to bytes: what to ask for, with which password, and how often.

use std::sync::Arc;
use std::time::Duration;

use super::{Importer, Progress, RunControl};
use crate::address::{Address, S3Address, SftpAddress, UrlError, is_region};
use crate::fetch::{
    self, Credentials, FetchError, FetchTarget, HostKeyVerifier, Outcome, Request, Validators,
};
use crate::import::ImportError;
use crate::model::AccountId;
use crate::model::run::{ClaimedRun, FileMetadata};
use crate::model::settings::{PASSWORD_COLUMN, S3_SECRET_COLUMN, SourceKind};
use crate::secrets::{Binding, Keyring};
use crate::store::{Settings, StoreError};

/// Longest stay away that a server may ask for within a run; one that asks for longer is left to the next.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);
/// Region where neither settings nor address name one and the server is not AWS's, which as a rule have none.
const DEFAULT_REGION: &str = "us-east-1";

/// The region that requests for an object are signed for.
///
/// # Errors
/// What is wrong with it.
pub fn s3_region(address: &S3Address, setting: Option<&str>) -> Result<String, &'static str> {
    let setting = setting.map(str::trim).filter(|region| !region.is_empty());
    let endpoint_region = address.endpoint.as_ref().map(|_| DEFAULT_REGION);
    let region = setting
        .or(address.region.as_deref())
        .or(endpoint_region)
        .ok_or("enter the S3 region, for example ca-central-1")?;
    if is_region(region) {
        Ok(region.to_owned())
    } else {
        Err("the S3 region is not one; enter it as in ca-central-1")
    }
}

fn incomplete(what: &str) -> ImportError {
    ImportError::SettingsIncomplete(format!(
        "the import settings are incomplete: {what} (`rosterd settings set`)"
    ))
}

fn require_setting<'a>(value: Option<&'a str>, what: &str) -> Result<&'a str, ImportError> {
    value
        .filter(|value| !value.trim().is_empty())
        .ok_or_else(|| incomplete(what))
}

/// What is known of a file, in the words of the fetcher.
fn validators(known: &FileMetadata) -> Validators {
    Validators {
        etag: known.etag.clone(),
        last_modified: known.last_modified.clone(),
        size_and_mtime: known.size_bytes.zip(known.mtime),
    }
}

/// The address of a place on the web, which a share link may have to be told from.
pub(super) fn web_url(target: &FetchTarget) -> Option<String> {
    match target {
        FetchTarget::Http { url, .. } => Some(url.to_string()),
        FetchTarget::Sftp { .. } | FetchTarget::S3 { .. } => None,
    }
}

fn address(settings: &Settings) -> Result<Address, ImportError> {
    let url = require_setting(settings.url.as_deref(), "enter the address of the file")?;
    Address::parse(settings.source, url, settings.port()).map_err(|error| match error {
        UrlError::WrongScheme { .. } => ImportError::SchemeRefused(error),
        other => incomplete(&other.to_string()),
    })
}

/// The address of an account's SFTP server.
pub(super) fn sftp_address(settings: &Settings) -> Result<SftpAddress, ImportError> {
    match address(settings)? {
        Address::Sftp(address) => Ok(address),
        Address::Http(_) | Address::S3(_) => Err(ImportError::SettingsIncomplete(
            "only SFTP servers have a host key; the source of this account is another".to_owned(),
        )),
    }
}

impl Importer {
    /// Where the settings say that the file lies; opens the password.
    pub(super) fn build_target(
        &self,
        account: AccountId,
        settings: &Settings,
    ) -> Result<FetchTarget, ImportError> {
        let address = address(settings)?;
        let open = |ciphertext: Option<&[u8]>, field, what| {
            let ciphertext = ciphertext.ok_or_else(|| incomplete(what))?;
            let binding = Binding {
                account: account.0,
                field,
                origin: &address.origin(),
            };
            let keys = Keyring::load(&self.options.key_file).map_err(ImportError::Secret)?;
            keys.decrypt(ciphertext, binding)
                .map_err(ImportError::Secret)
        };
        let login = || {
            Ok::<_, ImportError>(Credentials {
                username: require_setting(settings.username.as_deref(), "enter the user name")?
                    .to_owned(),
                password: open(
                    settings.password_sealed.as_deref(),
                    PASSWORD_COLUMN,
                    "enter the password",
                )?,
            })
        };
        Ok(match address.clone() {
            Address::Http(url) => FetchTarget::Http {
                url,
                credentials: if settings.source == SourceKind::HttpsBasic {
                    Some(login()?)
                } else {
                    None
                },
            },
            Address::Sftp(address) => FetchTarget::Sftp {
                address,
                credentials: login()?,
                host_key: HostKeyVerifier::new(settings.host_key()),
            },
            Address::S3(address) => {
                let region =
                    s3_region(&address, settings.s3_region.as_deref()).map_err(incomplete)?;
                let id = require_setting(
                    settings.s3_access_key_id.as_deref(),
                    "enter the S3 access key id",
                )?;
                let credentials = Credentials {
                    username: id.trim().to_owned(),
                    password: open(
                        settings.s3_secret_sealed.as_deref(),
                        S3_SECRET_COLUMN,
                        "enter the S3 secret key",
                    )?,
                };
                FetchTarget::S3 {
                    address,
                    region,
                    credentials,
                }
            }
        })
    }

    /// What to ask for, unless the file is the known one.
    pub(super) fn request(
        &self,
        account: AccountId,
        settings: &Settings,
        known: Option<&FileMetadata>,
    ) -> Result<Request, ImportError> {
        Ok(Request {
            previous: known.map(validators),
            ..Request::new(self.build_target(account, settings)?)
        })
    }

    /// Pins the host key of a server that a password was sent to for the first time.
    pub(super) async fn pin_host_key(
        &self,
        account: AccountId,
        settings: &Settings,
        request: &Request,
    ) -> Result<(), ImportError> {
        if let FetchTarget::Sftp {
            address, host_key, ..
        } = &request.target
            && let Some(key) = host_key.first_seen()
        {
            self.store
                .pin_host_key(account, &address.origin(), key, settings.updated_at)
                .await?;
        }
        Ok(())
    }

    /// Waits without a place, where there are others: what ends the process meanwhile, another run perhaps, is not this one's
    /// file.
    async fn without_counting_attempt<T>(
        &self,
        run: &ClaimedRun,
        shares_slots: bool,
        waiting: impl Future<Output = Result<T, ImportError>>,
    ) -> Result<T, ImportError> {
        if !shares_slots {
            return waiting.await;
        }
        self.store.adjust_attempts(run, -1).await?;
        let done = waiting.await;
        self.store.adjust_attempts(run, 1).await?;
        done
    }

    /// Whether what was asked for when a run began to wait is asked for still.
    async fn ensure_settings_current(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
    ) -> Result<(), ImportError> {
        if !self.store.run_context(run).await?.import_enabled {
            return Err(ImportError::Disabled);
        }
        let current = self.store.settings(run.account_id).await?;
        if current.is_none_or(|current| current.updated_at != settings.updated_at) {
            return Err(StoreError::SettingsChanged.into());
        }
        Ok(())
    }

    /// The first attempt: as soon as the host's turn comes, which may be at once.
    async fn first_fetch(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut RunControl,
        progress: &fetch::ProgressCallback,
    ) -> Result<Result<Outcome, FetchError>, ImportError> {
        let shares_slots = control.shares_slots();
        let mut permit = Box::pin(self.fetcher.acquire_permit(&request.target));
        let immediate = tokio::select! {
            biased;
            permit = &mut permit => Some(permit),
            () = std::future::ready(()) => None,
        };
        let permit = if let Some(permit) = immediate {
            permit
        } else {
            let permit = self
                .without_counting_attempt(run, shares_slots, control.wait(permit))
                .await?;
            self.ensure_settings_current(run, settings).await?;
            permit
        };
        let mut fetching = Box::pin(self.fetcher.fetch_with_permit(request, permit, progress));
        match control.fetch_within_grace(fetching.as_mut()).await? {
            Some(fetched) => Ok(fetched),
            None => {
                self.without_counting_attempt(
                    run,
                    shares_slots,
                    control.fetch_without_slot(fetching),
                )
                .await
            }
        }
    }

    /// Another attempt after a pause. It has no place among the runs under way until the file is there: a host that failed once
    /// may take long to fail again.
    async fn retry_fetch(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut RunControl,
        progress: &fetch::ProgressCallback,
        pause: Duration,
    ) -> Result<Result<Outcome, FetchError>, ImportError> {
        let retry = Box::pin(async {
            tokio::time::sleep(pause).await;
            let permit = self.fetcher.acquire_permit(&request.target).await;
            self.ensure_settings_current(run, settings).await?;
            Ok(self
                .fetcher
                .fetch_with_permit(request, permit, progress)
                .await)
        });
        let shares_slots = control.shares_slots();
        self.without_counting_attempt(run, shares_slots, control.wait(retry))
            .await?
    }

    /// Fetches the file, again and again while the failure may pass by itself.
    pub(super) async fn fetch(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut RunControl,
    ) -> Result<Outcome, ImportError> {
        let observer = Arc::clone(&control.observer);
        let progress: fetch::ProgressCallback = Arc::new(move |progress| {
            if let fetch::Progress::Bytes { bytes, total } = progress {
                observer(Progress::Fetched { bytes, total });
            }
        });
        let mut fetched = self
            .first_fetch(run, settings, request, control, &progress)
            .await?;
        for attempt in 1..self.options.attempts {
            let error = match fetched {
                Err(error) if error.is_transient() => error,
                other => return other.map_err(ImportError::Fetch),
            };
            let requested_delay = error.retry_after().unwrap_or_default();
            if requested_delay > MAX_RETRY_AFTER {
                // It would not hear us any sooner, and its account must not wait for hours in this run.
                return Err(ImportError::Fetch(error));
            }
            let pause = requested_delay.max(retry_delay(self.options.backoff, attempt));
            tracing::info!(attempt, pause_ms = pause.as_millis(), code = %error.code(), "fetching failed, trying again");
            fetched = self
                .retry_fetch(run, settings, request, control, &progress, pause)
                .await?;
        }
        fetched.map_err(ImportError::Fetch)
    }
}

/// Doubled with each attempt, and up to half of it by chance, so that many accounts don't come back at once.
fn retry_delay(backoff: Duration, attempt: u32) -> Duration {
    let pause = backoff.saturating_mul(1 << attempt.saturating_sub(1).min(8));
    let mut random = [0; 1];
    // Without chance the pause is merely the same for all.
    let _ = aws_lc_rs::rand::fill(&mut random);
    pause + pause / 2 * u32::from(random[0]) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_doubles_with_up_to_half_jitter() {
        for (attempt, base) in [(1, 100), (2, 200), (3, 400)] {
            let pause = retry_delay(Duration::from_millis(100), attempt).as_millis();
            assert!((base..=base * 3 / 2).contains(&pause), "{attempt}: {pause}");
        }
    }
}
