//! Tests the connection to an account's file step by step, and pins host keys. The test must not change anything.

use std::sync::Arc;

use serde::Serialize;

use super::{ImportError, Importer, fetch_request};
use crate::fetch::{self, FetchError, FetchStage, FetchTarget, HostKeyVerifier, Outcome, Request};
use crate::model::account::Account;
use crate::model::failure::{Failure, FailureCode};
use crate::model::host_key::{OfferedHostKey, PinnedHostKey};

/// A step of the test, in the order in which they are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    /// The settings are complete, and the password can be decrypted.
    Settings,
    /// The host name resolves to addresses that are allowed.
    Resolve,
    /// The server accepts connections.
    Connect,
    /// The server has a valid certificate.
    Tls,
    /// The server has the pinned host key.
    HostKey,
    /// The server accepts the credentials.
    Authenticate,
    /// The file can be fetched.
    File,
    /// The file is a spreadsheet with the required header.
    Header,
}

impl From<FetchStage> for StepName {
    fn from(stage: FetchStage) -> Self {
        match stage {
            FetchStage::Address => Self::Settings,
            FetchStage::Resolve => Self::Resolve,
            FetchStage::Connect => Self::Connect,
            FetchStage::Tls => Self::Tls,
            FetchStage::HostKey => Self::HostKey,
            FetchStage::Authenticate => Self::Authenticate,
            FetchStage::File => Self::File,
        }
    }
}

/// The result of a step.
#[derive(Debug, Clone)]
pub struct Step {
    /// The step.
    pub name: StepName,
    /// A detail such as the address that was connected to, or why the step failed.
    pub outcome: Result<String, Failure>,
}

/// The result of [`Importer::trust_host_key`].
#[derive(Debug, Clone)]
pub enum TrustOutcome {
    /// The key was pinned.
    Pinned {
        /// The pinned key.
        current: OfferedHostKey,
        /// The key that was pinned before, if it was another one.
        replaced: Option<PinnedHostKey>,
    },
    /// The server presented this key and has none with the given fingerprint. Nothing was pinned.
    Mismatch(OfferedHostKey),
}

/// The steps between connection and file, each with its text for a passed step.
fn intermediate_steps(target: &FetchTarget) -> Vec<(StepName, String)> {
    let certificate = (StepName::Tls, "certificate is valid".to_owned());
    let login = |user: &str| (StepName::Authenticate, format!("logged in as {user}"));
    match target {
        FetchTarget::Http { url, credentials } => {
            let tls = (url.scheme() == "https").then_some(certificate);
            let login = credentials
                .as_ref()
                .map(|credentials| login(&credentials.username));
            tls.into_iter().chain(login).collect()
        }
        FetchTarget::Sftp {
            credentials,
            host_key,
            ..
        } => {
            let key = host_key.first_seen().map_or_else(
                || "matches the pinned key".to_owned(),
                |key| {
                    format!(
                        "{}; not pinned yet, the first import pins it",
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
            let signed = format!(
                "signature of access key ID {} accepted",
                credentials.username
            );
            let tls = (!is_plain).then_some(certificate);
            tls.into_iter()
                .chain([(StepName::Authenticate, signed)])
                .collect()
        }
    }
}

impl Importer {
    /// Tests every step from the settings of an account to the header of its file, and stops at the first one that fails.
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
            format!("complete (host `{}`)", target.host()),
        ));
        let reachability = match self.fetcher.check_reachability(target).await {
            Ok(reachability) => reachability,
            Err(error) => return Ok(failed(steps, &error)),
        };
        let addresses: Vec<String> = reachability
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        steps.push(passed(StepName::Resolve, addresses.join(", ")));
        match reachability.peer {
            Ok(address) => steps.push(passed(StepName::Connect, format!("connected to {address}"))),
            Err(error) => return Ok(failed(steps, &error)),
        }
        self.test_file(&request, steps).await
    }

    async fn test_file(
        &self,
        request: &Request,
        mut steps: Vec<Step>,
    ) -> Result<Vec<Step>, ImportError> {
        let observer: fetch::ProgressCallback = Arc::new(|_| {});
        let mut fetched = self.fetcher.fetch(request, &observer).await;
        if let Err(error) = &fetched
            && error.code() == FailureCode::ChangedWhileReading
            && let Some(wait) = error.retry_after()
        {
            // The file was modified a moment ago, perhaps for this test. An import would wait, too.
            tokio::time::sleep(wait).await;
            fetched = self.fetcher.fetch(request, &observer).await;
        }
        steps.extend(
            intermediate_steps(&request.target)
                .into_iter()
                .map(|(step, detail)| passed(step, detail)),
        );
        let content = match fetched {
            Ok(Outcome::File(fetched)) => fetched.content,
            Ok(Outcome::NotModified) => return Err(super::unexpected_not_modified()),
            Err(error) => return Ok(failed(steps, &error)),
        };
        steps.push(passed(StepName::File, format!("{} bytes", content.size())));
        match self
            .parse_file(content, None, fetch_request::web_url(&request.target), None)
            .await
        {
            Ok(parsed_file) => {
                let header = &parsed_file.info.header;
                let titles: Vec<&str> = header
                    .titles
                    .iter()
                    .map(String::as_str)
                    .filter(|title| !title.is_empty())
                    .collect();
                let rows = parsed_file.sheet.row_count;
                steps.push(passed(
                    StepName::Header,
                    format!(
                        "header in row {}: {}; {rows} rows below it",
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

    /// Pins the host key that the SFTP server of an account presents now. With `fingerprint`, pins only that key, which may be any key
    /// that the server has.
    ///
    /// # Errors
    /// [`ImportError`] if the account's source is not an SFTP server, or it cannot be reached.
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
        let address = fetch_request::sftp_address(&settings)?;
        let pinned = settings.host_key();
        let current = self
            .fetcher
            .sftp_host_key(&address, &HostKeyVerifier::new(pinned), fingerprint)
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
            pinned.filter(|key| !HostKeyVerifier::new(Some(key)).matches(&current.fingerprint));
        Ok(TrustOutcome::Pinned {
            current,
            replaced: replaced.cloned(),
        })
    }
}

fn passed(name: StepName, detail: String) -> Step {
    Step {
        name,
        outcome: Ok(detail),
    }
}

/// Ends the test with a failed fetch. A step that passed before may fail now, so the steps from the failed one on are removed.
fn failed(mut steps: Vec<Step>, error: &FetchError) -> Vec<Step> {
    let name = StepName::from(error.stage());
    steps.retain(|step| step.name < name);
    failed_at(steps, name, error.failure())
}

fn failed_at(mut steps: Vec<Step>, name: StepName, failure: Failure) -> Vec<Step> {
    steps.push(Step {
        name,
        outcome: Err(failure),
    });
    steps
}
