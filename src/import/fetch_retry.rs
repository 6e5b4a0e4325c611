//! From import settings to bytes: what to ask for, with which password, and how often.

use std::sync::Arc;
use std::time::Duration;

use super::{Control, Importer, Progress};
use crate::address::{Address, S3Address, SftpAddress, UrlError, is_region};
use crate::fetch::{self, Credentials, FetchError, HostKey, Outcome, Place, Request, Validators};
use crate::import::ImportError;
use crate::model::AccountId;
use crate::model::run::{ClaimedRun, FileFacts};
use crate::model::settings::{PASSWORD_FIELD, S3_SECRET_FIELD, SourceKind};
use crate::secrets::{Binding, Keyring};
use crate::store::{Settings, StoreError};

/// Longest stay away that a server may ask for within a run; one that asks for longer is left to the next.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);
/// Region where neither settings nor address name one and the server is not AWS's, which as a rule have none.
const ANY_REGION: &str = "us-east-1";

/// The region that requests for an object are signed for.
///
/// # Errors
/// What is wrong with it.
pub fn s3_region(address: &S3Address, setting: Option<&str>) -> Result<String, &'static str> {
    let setting = setting.map(str::trim).filter(|region| !region.is_empty());
    let elsewhere = address.endpoint.as_ref().map(|_| ANY_REGION);
    let region = setting
        .or(address.region.as_deref())
        .or(elsewhere)
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

fn filled<'a>(value: Option<&'a str>, what: &str) -> Result<&'a str, ImportError> {
    value
        .filter(|value| !value.trim().is_empty())
        .ok_or_else(|| incomplete(what))
}

/// What is known of a file, in the words of the fetcher.
fn validators(known: &FileFacts) -> Validators {
    Validators {
        etag: known.etag.clone(),
        last_modified: known.last_modified.clone(),
        size_and_mtime: known.size_bytes.zip(known.mtime),
    }
}

/// The address of a place on the web, which a share link may have to be told from.
pub(super) fn web_url(place: &Place) -> Option<String> {
    match place {
        Place::Web { url, .. } => Some(url.to_string()),
        Place::Sftp { .. } | Place::S3 { .. } => None,
    }
}

fn address(settings: &Settings) -> Result<Address, ImportError> {
    let url = filled(settings.url.as_deref(), "enter the address of the file")?;
    Address::parse(settings.source, url, settings.port()).map_err(|error| match error {
        UrlError::Scheme { .. } => ImportError::SchemeRefused(error),
        other => incomplete(&other.to_string()),
    })
}

/// The address of an account's SFTP server.
pub(super) fn sftp_address(settings: &Settings) -> Result<SftpAddress, ImportError> {
    match address(settings)? {
        Address::Sftp(address) => Ok(address),
        Address::Web(_) | Address::S3(_) => Err(ImportError::SettingsIncomplete(
            "only SFTP servers have a host key; the source of this account is another".to_owned(),
        )),
    }
}

impl Importer {
    /// Where the settings say that the file lies; opens the password.
    pub(super) fn place(
        &self,
        account: AccountId,
        settings: &Settings,
    ) -> Result<Place, ImportError> {
        let address = address(settings)?;
        let open = |sealed: Option<&[u8]>, field, what| {
            let sealed = sealed.ok_or_else(|| incomplete(what))?;
            let binding = Binding {
                account: account.0,
                field,
                origin: &address.origin(),
            };
            let keys = Keyring::load(&self.options.key_file).map_err(ImportError::Secret)?;
            keys.open(sealed, binding).map_err(ImportError::Secret)
        };
        let login = || {
            Ok::<_, ImportError>(Credentials {
                username: filled(settings.username.as_deref(), "enter the user name")?.to_owned(),
                password: open(
                    settings.password_sealed.as_deref(),
                    PASSWORD_FIELD,
                    "enter the password",
                )?,
            })
        };
        Ok(match address.clone() {
            Address::Web(url) => Place::Web {
                url,
                credentials: if settings.source == SourceKind::HttpsBasic {
                    Some(login()?)
                } else {
                    None
                },
            },
            Address::Sftp(address) => Place::Sftp {
                address,
                credentials: login()?,
                host_key: HostKey::new(settings.host_key()),
            },
            Address::S3(address) => {
                let region =
                    s3_region(&address, settings.s3_region.as_deref()).map_err(incomplete)?;
                let id = filled(
                    settings.s3_access_key_id.as_deref(),
                    "enter the S3 access key id",
                )?;
                let credentials = Credentials {
                    username: id.trim().to_owned(),
                    password: open(
                        settings.s3_secret_sealed.as_deref(),
                        S3_SECRET_FIELD,
                        "enter the S3 secret key",
                    )?,
                };
                Place::S3 {
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
        known: Option<&FileFacts>,
    ) -> Result<Request, ImportError> {
        Ok(Request {
            known: known.map(validators),
            ..Request::new(self.place(account, settings)?)
        })
    }

    /// Pins the host key of a server that a password was sent to for the first time.
    pub(super) async fn pin_host_key(
        &self,
        account: AccountId,
        settings: &Settings,
        request: &Request,
    ) -> Result<(), ImportError> {
        if let Place::Sftp {
            address, host_key, ..
        } = &request.place
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
    async fn unaccounted<T>(
        &self,
        run: &ClaimedRun,
        among_others: bool,
        waiting: impl Future<Output = Result<T, ImportError>>,
    ) -> Result<T, ImportError> {
        if !among_others {
            return waiting.await;
        }
        self.store.count_attempts(run, -1).await?;
        let done = waiting.await;
        self.store.count_attempts(run, 1).await?;
        done
    }

    /// Whether what was asked for when a run began to wait is asked for still.
    async fn check_still_wanted(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
    ) -> Result<(), ImportError> {
        if !self.store.run_context(run).await?.import_enabled {
            return Err(ImportError::Disabled);
        }
        let present = self.store.settings(run.account_id).await?;
        if present.is_none_or(|present| present.updated_at != settings.updated_at) {
            return Err(StoreError::SettingsChanged.into());
        }
        Ok(())
    }

    /// The first attempt: as soon as the host's turn comes, which may be at once.
    async fn begin_to_fetch(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut Control,
        progress: &fetch::Observer,
    ) -> Result<Result<Outcome, FetchError>, ImportError> {
        let among_others = control.is_among_others();
        let mut turn = Box::pin(self.fetcher.turn(&request.place));
        let at_once = tokio::select! {
            biased;
            turn = &mut turn => Some(turn),
            () = std::future::ready(()) => None,
        };
        let turn = if let Some(turn) = at_once {
            turn
        } else {
            let turn = self
                .unaccounted(run, among_others, control.wait(turn))
                .await?;
            self.check_still_wanted(run, settings).await?;
            turn
        };
        let mut fetching = Box::pin(self.fetcher.fetch_in_turn(request, turn, progress));
        match control.fetch_swiftly(fetching.as_mut()).await? {
            Some(fetched) => Ok(fetched),
            None => {
                self.unaccounted(run, among_others, control.fetch_slowly(fetching))
                    .await
            }
        }
    }

    /// Another attempt after a pause. It has no place among the runs under way until the file is there: a host that failed once
    /// may take long to fail again.
    async fn fetch_again(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut Control,
        progress: &fetch::Observer,
        pause: Duration,
    ) -> Result<Result<Outcome, FetchError>, ImportError> {
        let again = Box::pin(async {
            tokio::time::sleep(pause).await;
            let turn = self.fetcher.turn(&request.place).await;
            self.check_still_wanted(run, settings).await?;
            Ok(self.fetcher.fetch_in_turn(request, turn, progress).await)
        });
        let among_others = control.is_among_others();
        self.unaccounted(run, among_others, control.wait(again))
            .await?
    }

    /// Fetches the file, again and again while the failure may pass by itself.
    pub(super) async fn fetch(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut Control,
    ) -> Result<Outcome, ImportError> {
        let observer = Arc::clone(&control.observer);
        let progress: fetch::Observer = Arc::new(move |progress| {
            if let fetch::Progress::Bytes { bytes, total } = progress {
                observer(Progress::Fetched { bytes, total });
            }
        });
        let mut fetched = self
            .begin_to_fetch(run, settings, request, control, &progress)
            .await?;
        for attempt in 1..self.options.attempts {
            let error = match fetched {
                Err(error) if error.is_transient() => error,
                other => return other.map_err(ImportError::Fetch),
            };
            let asked = error.retry_after().unwrap_or_default();
            if asked > MAX_RETRY_AFTER {
                // It would not hear us any sooner, and its account must not wait for hours in this run.
                return Err(ImportError::Fetch(error));
            }
            let pause = asked.max(jittered(self.options.backoff, attempt));
            tracing::info!(attempt, pause_ms = pause.as_millis(), code = %error.code(), "fetching failed, trying again");
            fetched = self
                .fetch_again(run, settings, request, control, &progress, pause)
                .await?;
        }
        fetched.map_err(ImportError::Fetch)
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
