//! Brings an account's file onto this machine, or says why it could not.
//!
//! Knows the network; nothing of what is in the file. Retries are not decided here: an error says whether it may pass
//! by itself ([`FetchError::is_transient`]), and `import` does the rest.

mod certificate;
mod complete_body;
mod content_encoding;
mod download;
mod error;
mod host_key;
mod http;
mod http_date;
mod http_factory;
mod network;
mod request;
mod s3;
mod sftp;
mod share_link;
mod throughput;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::address::SftpAddress;
use crate::clock::SharedClock;
use crate::model::host_key::{HostKeyKind, OfferedHostKey};
use crate::temp_file::TempFile;

use http_factory::HttpFetcherFactory;
use throughput::TransferMonitor;

pub use error::FetchError;
pub use host_key::HostKeyVerifier;
pub use network::{BlockedAddress, NetworkPolicy};
pub use request::{Credentials, FetchTarget, LastStat, Request, Validators};
pub use share_link::direct_download_hint;

/// Bounds on a fetch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest file, bytes, also after decompression.
    pub max_bytes: u64,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest silence.
    pub idle_timeout: Duration,
    /// Longest time for the attempt as a whole.
    pub total_timeout: Duration,
    /// Fewest bytes a second, over each stretch as long as the longest silence.
    pub min_rate: u64,
    /// Most files fetched from one host at once.
    pub per_host: usize,
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// The source says that the file is the known one.
    NotModified,
    /// The file.
    File(FetchedFile),
}

/// A file, whole.
#[derive(Debug)]
pub struct FetchedFile {
    /// Its bytes, decompressed.
    pub content: TempFile,
    /// By which it is known next time.
    pub validators: Validators,
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The server has shown a valid certificate, or the host key that is pinned.
    ServerAuthenticated,
    /// It has let us in.
    LoggedIn,
    /// Bytes of the file so far, and their total where it is known.
    Bytes {
        /// Bytes.
        bytes: u64,
        /// Bytes.
        total: Option<u64>,
    },
}

/// Is told how far a fetch has come.
pub type ProgressCallback = Arc<dyn Fn(Progress) + Send + Sync>;

/// The right to one fetch from a host; not more than [`Limits::per_host`] have it at once.
#[derive(Debug)]
#[must_use]
pub struct HostPermit(
    #[expect(dead_code, reason = "given back when dropped")] Option<OwnedSemaphorePermit>,
);

/// Fetches files from sources of every kind.
#[derive(Debug)]
pub struct Fetcher {
    http_factory: HttpFetcherFactory,
    policy: NetworkPolicy,
    limits: Limits,
    clock: SharedClock,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Fetcher {
    /// A fetcher that trusts the system's certificates and `extra_ca` (PEM).
    ///
    /// # Errors
    /// If `extra_ca` is no PEM certificate.
    pub fn new(
        policy: NetworkPolicy,
        limits: Limits,
        allow_plain_http: bool,
        extra_ca: Option<&[u8]>,
        clock: SharedClock,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http_factory: HttpFetcherFactory::new(
                policy.clone(),
                limits,
                allow_plain_http,
                extra_ca,
            )?,
            policy,
            limits,
            clock,
            hosts: Mutex::default(),
        })
    }

    /// Waits for a turn at the host of a place. That is not the server's fault and does not count against its time.
    pub async fn acquire_permit(&self, target: &FetchTarget) -> HostPermit {
        let semaphore = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            // Hosts that nobody waits for or fetches from; addresses come and go over the years.
            hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            Arc::clone(
                hosts
                    .entry(target.host())
                    .or_insert_with(|| Arc::new(Semaphore::new(self.limits.per_host))),
            )
        };
        // Never closed.
        HostPermit(semaphore.acquire_owned().await.ok())
    }

    /// Fetches a file whole, as soon as its turn comes; one attempt.
    ///
    /// # Errors
    /// [`FetchError`] says what happened and what to do.
    pub async fn fetch(
        &self,
        request: &Request,
        observer: &ProgressCallback,
    ) -> Result<Outcome, FetchError> {
        let permit = self.acquire_permit(&request.target).await;
        self.fetch_with_permit(request, permit, observer).await
    }

    /// Fetches a file whole; one attempt, for which `turn` is used up.
    ///
    /// # Errors
    /// [`FetchError`] says what happened and what to do.
    pub async fn fetch_with_permit(
        &self,
        request: &Request,
        permit: HostPermit,
        observer: &ProgressCallback,
    ) -> Result<Outcome, FetchError> {
        let _permit = permit;
        let host = request.target.host();
        let monitor = Arc::new(TransferMonitor::new(Arc::clone(observer)));
        let timed_out = |reason| {
            Err(if monitor.is_login_pending() {
                FetchError::NoReplyAfterPassword(host)
            } else {
                FetchError::TimedOut { host, reason }
            })
        };
        tokio::select! {
            outcome = self.attempt(request, &monitor) => outcome,
            () = monitor.wait_until_too_slow(self.limits) => timed_out("it sends too slowly"),
            () = tokio::time::sleep(self.limits.total_timeout) => timed_out("the whole transfer took too long"),
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        monitor: &Arc<TransferMonitor>,
    ) -> Result<Outcome, FetchError> {
        let previous = request.previous.as_ref();
        match &request.target {
            FetchTarget::Http { url, credentials } => {
                let fetcher = self.http_factory.build_fetcher()?;
                fetcher
                    .fetch(
                        url,
                        credentials.as_ref(),
                        previous,
                        self.clock.now(),
                        monitor,
                    )
                    .await
            }
            FetchTarget::Sftp {
                address,
                credentials,
                host_key,
            } => {
                let server = self.connect_sftp(address, host_key).await?;
                monitor.report(Progress::ServerAuthenticated);
                monitor.mark_login_started();
                server.log_in(credentials).await?;
                monitor.report(Progress::LoggedIn);
                // As late as can be: waiting for the server makes files older.
                let now = self.clock.now();
                let last_stat = &request.last_stat;
                server
                    .read(
                        address,
                        previous,
                        last_stat,
                        now,
                        self.limits.max_bytes,
                        monitor,
                    )
                    .await
            }
            FetchTarget::S3 {
                address,
                region,
                credentials,
            } => {
                let bucket = s3::Bucket::new(
                    self.http_factory.build_fetcher()?,
                    address,
                    region,
                    credentials,
                    request.target.host(),
                    monitor,
                );
                bucket.fetch(previous, self.limits.max_bytes).await
            }
        }
    }

    /// An SFTP server whose host key is known, before anyone has logged in.
    async fn connect_sftp(
        &self,
        address: &SftpAddress,
        host_key: &HostKeyVerifier,
    ) -> Result<sftp::SftpClient, FetchError> {
        let preferred_kinds = host_key.preferred_kinds();
        let server =
            sftp::SftpClient::connect(address, &self.policy, self.limits, &preferred_kinds).await?;
        host_key.verify(&address.endpoint(), server.host_key())?;
        Ok(server)
    }

    /// The key that an SFTP server shows now to whom `known` is known; the one with that fingerprint, if one is given and the
    /// server has it. Nobody logs in.
    ///
    /// # Errors
    /// [`FetchError`] if there is no SFTP server.
    pub async fn sftp_host_key(
        &self,
        address: &SftpAddress,
        pinned: &HostKeyVerifier,
        fingerprint: Option<&str>,
    ) -> Result<OfferedHostKey, FetchError> {
        let probe_key = |preferred_kinds: Vec<HostKeyKind>| async move {
            let server =
                sftp::SftpClient::connect(address, &self.policy, self.limits, &preferred_kinds)
                    .await;
            server.map(|server| server.host_key().clone())
        };
        let first = probe_key(pinned.preferred_kinds()).await?;
        let wanted = fingerprint.map(HostKeyVerifier::from_fingerprint);
        let Some(wanted) = wanted.filter(|wanted| !wanted.matches(&first.fingerprint)) else {
            return Ok(first);
        };
        for kind in pinned
            .preferred_kinds()
            .into_iter()
            .filter(|kind| *kind != first.kind)
        {
            // One that has no key of this kind hangs up.
            if let Ok(other) = probe_key(vec![kind]).await
                && wanted.matches(&other.fingerprint)
            {
                return Ok(other);
            }
        }
        Ok(first)
    }

    /// Looks for the way to a place: the addresses of its host, and the first of them that answers.
    ///
    /// # Errors
    /// [`FetchError`] if its name has no address, or one that may not be reached.
    pub async fn check_reachability(
        &self,
        target: &FetchTarget,
    ) -> Result<Reachability, FetchError> {
        let url = match target {
            FetchTarget::Http { url, .. } => Some(url),
            FetchTarget::S3 { address, .. } => address.endpoint.as_ref(),
            FetchTarget::Sftp { .. } => None,
        };
        if let Some(url) = url {
            self.http_factory.build_fetcher()?.check_url(url)?;
        }
        let (name, port) = target.host_and_port();
        let addresses = self.policy.resolve(&name, port).await?;
        let (host, timeout) = (target.host(), self.limits.connect_timeout);
        let connected = network::connect(&addresses, &host, timeout).await;
        Ok(Reachability {
            addresses: addresses.iter().map(SocketAddr::ip).collect(),
            peer: connected.and_then(|stream| {
                stream
                    .peer_addr()
                    .map_err(|error| network::connection_lost(&host, &error))
            }),
        })
    }
}

/// How far one gets on the way to a host.
#[derive(Debug)]
pub struct Reachability {
    /// All addresses of its name.
    pub addresses: Vec<IpAddr>,
    /// The one that answered, or why none did.
    pub peer: Result<SocketAddr, FetchError>,
}
