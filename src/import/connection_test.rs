//! Walks the way to an account's file step by step, and changes nothing.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::{ImportError, Importer, fetch_retry};
use crate::fetch::{self, FetchError, FetchTarget, HostKeyVerifier, Outcome, Progress, Request};
use crate::model::account::Account;
use crate::model::failure::{Failure, FailureCode};
use crate::model::host_key::{OfferedHostKey, PinnedHostKey};

/// A step on the way, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    /// The settings are complete, and the password can be opened.
    Settings,
    /// The name has addresses that may be reached.
    Resolve,
    /// Something answers there.
    Connect,
    /// It shows a certificate that is valid.
    Tls,
    /// It shows the host key that is pinned.
    HostKey,
    /// It accepts user and password.
    Authenticate,
    /// The file is there.
    File,
    /// The file is a spreadsheet with the header that is asked for.
    Header,
}

/// How a step went: what was found, or why it ended there.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which.
    pub name: StepName,
    /// What was found, or why the way ends here.
    pub outcome: Result<String, Failure>,
}

/// What came of trusting a server's host key.
#[derive(Debug, Clone)]
pub enum TrustOutcome {
    /// It is pinned.
    Pinned {
        /// The key.
        current: OfferedHostKey,
        /// The one that is no longer pinned.
        replaced: Option<PinnedHostKey>,
    },
    /// The server shows this key and has none with the fingerprint that was given; nothing was pinned.
    Mismatch(OfferedHostKey),
}

/// The steps between connection and file, and what there is to say of each that was taken.
fn intermediate_steps(target: &FetchTarget) -> Vec<(StepName, String)> {
    let certificate = (StepName::Tls, "the certificate is valid".to_owned());
    let login = |user: &str| (StepName::Authenticate, format!("logged in as {user}"));
    match target {
        FetchTarget::Http { url, credentials } => {
            let tls = (url.scheme() == "https").then_some(certificate);
            let login = credentials.as_ref().map(|with| login(&with.username));
            tls.into_iter().chain(login).collect()
        }
        FetchTarget::Sftp {
            credentials,
            host_key,
            ..
        } => {
            let key = host_key.first_seen().map_or_else(
                || "it is the one that is pinned".to_owned(),
                |key| {
                    format!(
                        "{}; none is pinned yet, the first import pins it",
                        key.fingerprint
                    )
                },
            );
            vec![(StepName::HostKey, key), login(&credentials.username)]
        }
        FetchTarget::S3 {
            address,
            credentials,
            ..
        } => {
            let is_plain = address
                .endpoint
                .as_ref()
                .is_some_and(|url| url.scheme() == "http");
            let signed = format!("the signature of {} is accepted", credentials.username);
            let tls = (!is_plain).then_some(certificate);
            tls.into_iter()
                .chain([(StepName::Authenticate, signed)])
                .collect()
        }
    }
}

/// At which step a fetch failed that had come so far.
fn failed_step(
    code: FailureCode,
    intermediate: &[(StepName, String)],
    reached: &[Progress],
) -> StepName {
    let is_pending = |name: StepName| match name {
        StepName::Tls | StepName::HostKey => !reached.contains(&Progress::ServerAuthenticated),
        _ => !reached.contains(&Progress::LoggedIn),
    };
    let names = intermediate.iter().map(|(name, _)| *name);
    let next = names
        .clone()
        .find(|name| is_pending(*name))
        .unwrap_or(StepName::File);
    match code {
        FailureCode::TlsInvalid => StepName::Tls,
        FailureCode::HostKeyChanged => StepName::HostKey,
        // A redirect may lead where nobody may go, too.
        FailureCode::SchemeRefused if reached.is_empty() => StepName::Settings,
        FailureCode::AddressRefused | FailureCode::NameNotFound if reached.is_empty() => {
            StepName::Resolve
        }
        FailureCode::Unauthorized
        | FailureCode::S3UnknownKeyId
        | FailureCode::S3WrongSecret
        | FailureCode::S3WrongRegion
        | FailureCode::ClockSkew => StepName::Authenticate,
        // None of these says how far it went.
        FailureCode::ConnectFailed
        | FailureCode::ProtocolError
        | FailureCode::TimedOut
        | FailureCode::ServerError
        | FailureCode::RateLimited
        | FailureCode::HttpStatus => next,
        _ => StepName::File,
    }
}

impl Importer {
    /// Walks from the settings of an account to the header of its file; ends with the first step that fails.
    ///
    /// # Errors
    /// [`ImportError`] if the database fails.
    pub async fn test_connection(&self, account: &Account) -> Result<Vec<Step>, ImportError> {
        let mut steps = Vec::new();
        let settings = self.store.settings(account.id).await?;
        let request = settings
            .ok_or_else(super::settings_missing)
            .and_then(|settings| self.request(account.id, &settings, None));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Ok(failed_at(steps, StepName::Settings, error.failure())),
        };
        let target = &request.target;
        steps.push(passed(
            StepName::Settings,
            format!("complete, for {}", target.host()),
        ));
        let reached = match self.fetcher.check_reachability(target).await {
            Ok(reached) => reached,
            Err(error) => {
                let name = match error.code() {
                    FailureCode::SchemeRefused => StepName::Settings,
                    _ => StepName::Resolve,
                };
                steps.retain(|step| step.name < name);
                return Ok(failed_at(steps, name, error.failure()));
            }
        };
        let addresses: Vec<String> = reached.addresses.iter().map(ToString::to_string).collect();
        steps.push(passed(StepName::Resolve, addresses.join(", ")));
        match reached.peer {
            Ok(address) => steps.push(passed(StepName::Connect, format!("{address} answers"))),
            Err(error) => return Ok(failed_at(steps, StepName::Connect, error.failure())),
        }
        self.test_file(&request, steps).await
    }

    async fn test_file(
        &self,
        request: &Request,
        mut steps: Vec<Step>,
    ) -> Result<Vec<Step>, ImportError> {
        let reached = Arc::new(Mutex::new(Vec::new()));
        let observer: fetch::ProgressCallback = {
            let reached = Arc::clone(&reached);
            Arc::new(move |progress| {
                let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
                if !reached.contains(&progress) && !matches!(progress, Progress::Bytes { .. }) {
                    reached.push(progress);
                }
            })
        };
        let mut fetched = self.fetcher.fetch(request, &observer).await;
        if let Err(FetchError::ChangedWhileReading {
            retry_after: Some(wait),
            ..
        }) = &fetched
        {
            // Written a moment ago, as whoever tries out new settings may have done: an import waits for it, too.
            tokio::time::sleep(*wait).await;
            reached
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            fetched = self.fetcher.fetch(request, &observer).await;
        }
        let intermediate = intermediate_steps(&request.target);
        let content = match fetched {
            Ok(Outcome::File(fetched)) => fetched.content,
            Ok(Outcome::NotModified) => return Err(super::unexpected_not_modified()),
            Err(error) => {
                let reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
                let name = failed_step(error.code(), &intermediate, &reached);
                steps.extend(
                    intermediate
                        .into_iter()
                        .map(|(step, found)| passed(step, found)),
                );
                // What held a moment ago may no longer do so, and what nobody got to is not ticked.
                steps.retain(|step| step.name < name);
                return Ok(failed_at(steps, name, error.failure()));
            }
        };
        steps.extend(
            intermediate
                .into_iter()
                .map(|(step, found)| passed(step, found)),
        );
        steps.push(passed(StepName::File, format!("{} bytes", content.size())));
        match self
            .parse_on_worker_thread(content, None, fetch_retry::web_url(&request.target), None)
            .await
        {
            Ok(reading) => {
                let header = &reading.facts.header;
                let titles: Vec<&str> = header
                    .titles
                    .iter()
                    .map(String::as_str)
                    .filter(|title| !title.is_empty())
                    .collect();
                let rows = reading.parsed.row_count;
                steps.push(passed(
                    StepName::Header,
                    format!(
                        "row {}: {}; {rows} rows below it",
                        header.row,
                        titles.join(", ")
                    ),
                ));
                Ok(steps)
            }
            Err(error @ ImportError::Sheet { .. }) => {
                Ok(failed_at(steps, StepName::Header, error.failure()))
            }
            Err(error) => Err(error),
        }
    }

    /// Pins the host key that the SFTP server of an account shows now; with `fingerprint` only that one, which it may show
    /// besides others.
    ///
    /// # Errors
    /// [`ImportError`] if the account's source is no SFTP server, or it can't be reached.
    pub async fn trust_host_key(
        &self,
        account: &Account,
        fingerprint: Option<&str>,
    ) -> Result<TrustOutcome, ImportError> {
        let settings = self
            .store
            .settings(account.id)
            .await?
            .ok_or_else(super::settings_missing)?;
        let address = fetch_retry::sftp_address(&settings)?;
        let pin = settings.host_key();
        let current = self
            .fetcher
            .sftp_host_key(&address, &HostKeyVerifier::new(pin), fingerprint)
            .await
            .map_err(ImportError::Fetch)?;
        if fingerprint.is_some_and(|expected| {
            !HostKeyVerifier::from_fingerprint(expected).matches(&current.fingerprint)
        }) {
            return Ok(TrustOutcome::Mismatch(current));
        }
        self.store
            .trust_host_key(account.id, &address.origin(), &current)
            .await?;
        let replaced =
            pin.filter(|pin| !HostKeyVerifier::new(Some(pin)).matches(&current.fingerprint));
        Ok(TrustOutcome::Pinned {
            current,
            replaced: replaced.cloned(),
        })
    }
}

fn passed(name: StepName, found: String) -> Step {
    Step {
        name,
        outcome: Ok(found),
    }
}

fn failed_at(mut steps: Vec<Step>, name: StepName, failure: Failure) -> Vec<Step> {
    steps.push(Step {
        name,
        outcome: Err(failure),
    });
    steps
}
