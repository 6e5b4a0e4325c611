//! Fetches an account's file over HTTPS, SFTP or from S3.
//!
//! Does not depend on what the file contains. Each call makes one attempt: an error says whether a retry may succeed
//! ([`FetchError::is_transient`]), and `import` decides.

mod certificate;
mod complete_body;
mod content_encoding;
mod download;
mod error;
mod error_chain;
mod error_detail;
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

use error::FetchErrorKind;
use error_detail::TimeoutReason;
use http_factory::HttpFetcherFactory;
use throughput::TransferMonitor;

pub use error::{FetchError, FetchStage};
pub use host_key::HostKeyVerifier;
pub use network::{AddressKind, BlockedAddress, NetworkPolicy};
pub use request::{Credentials, FetchTarget, LastStat, Request, Validators};
pub use share_link::direct_download_hint;

/// Limits of a fetch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum size of a file in bytes, before and after decompression.
    pub max_bytes: u64,
    /// Maximum time to connect.
    pub connect_timeout: Duration,
    /// Maximum time without data from the server.
    pub idle_timeout: Duration,
    /// Maximum time of an attempt.
    pub total_timeout: Duration,
    /// Minimum speed in bytes per second, averaged over a period of `idle_timeout`.
    pub min_rate: u64,
    /// Maximum number of concurrent fetches from one host.
    pub per_host: usize,
}

/// The result of a fetch.
#[derive(Debug)]
pub enum Outcome {
    /// The file has not changed since it was last fetched.
    NotModified,
    /// The complete file.
    File(FetchedFile),
}

/// A complete file.
#[derive(Debug)]
pub struct FetchedFile {
    /// Decompressed content.
    pub content: TempFile,
    /// For the next conditional request.
    pub validators: Validators,
}

/// Progress of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes received so far, as transferred.
    pub bytes: u64,
    /// Total number of bytes, if the server announced it.
    pub total: Option<u64>,
}

/// Called whenever data was received.
pub type ProgressCallback = Arc<dyn Fn(Progress) + Send + Sync>;

/// Permission for one fetch from a host. At most [`Limits::per_host`] exist at a time for each host.
#[derive(Debug)]
#[must_use]
pub struct HostPermit(
    #[expect(dead_code, reason = "dropping it releases the permit")] Option<OwnedSemaphorePermit>,
);

/// Fetches files from all kinds of sources.
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
    /// If `extra_ca` is not a PEM certificate.
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

    /// Waits for a permit for the host of `target`. Time limits of a fetch do not include this wait.
    pub async fn acquire_permit(&self, target: &FetchTarget) -> HostPermit {
        let semaphore = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            // Remove unused hosts. Otherwise the map would grow over the years.
            hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            Arc::clone(
                hosts
                    .entry(target.host())
                    .or_insert_with(|| Arc::new(Semaphore::new(self.limits.per_host))),
            )
        };
        // `acquire_owned` fails only on a closed semaphore, and none is ever closed.
        HostPermit(semaphore.acquire_owned().await.ok())
    }

    /// Waits for a permit and fetches a file, with one attempt.
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

    /// Fetches a file, with one attempt. Releases `permit` at the end.
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
                FetchErrorKind::NoReplyAfterPassword { host, reason }
            } else {
                FetchErrorKind::TimedOut { host, reason }
            })
        };
        let total = self.limits.total_timeout;
        let too_slow = TimeoutReason::TooSlow {
            min_rate: self.limits.min_rate,
            period: self.limits.idle_timeout,
        };
        let result = tokio::select! {
            outcome = self.attempt(request, &monitor) => outcome,
            () = monitor.wait_until_too_slow(self.limits) => timed_out(too_slow),
            () = tokio::time::sleep(total) => timed_out(TimeoutReason::Total(total)),
        };
        result.map_err(|kind| kind.at(monitor.stage()))
    }

    async fn attempt(
        &self,
        request: &Request,
        monitor: &Arc<TransferMonitor>,
    ) -> Result<Outcome, FetchErrorKind> {
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
                let server = self.connect_sftp(address, host_key, monitor).await?;
                monitor.enter(FetchStage::Authenticate);
                monitor.mark_login_started();
                server.log_in(credentials).await?;
                monitor.mark_login_finished();
                monitor.enter(FetchStage::File);
                // Read the clock as late as possible: the file gets older while the server is slow.
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

    /// Connects to an SFTP server and verifies its host key. Does not log in.
    async fn connect_sftp(
        &self,
        address: &SftpAddress,
        host_key: &HostKeyVerifier,
        monitor: &TransferMonitor,
    ) -> Result<sftp::SftpClient, FetchErrorKind> {
        let kinds = host_key.preferred_kinds();
        let server =
            sftp::SftpClient::connect(address, &self.policy, self.limits, &kinds, monitor).await?;
        host_key.verify(&address.endpoint(), server.host_key())?;
        Ok(server)
    }

    /// The host key that an SFTP server presents to a client with this pinned key. If the server has a key with `fingerprint`, that
    /// key instead. Does not log in.
    ///
    /// # Errors
    /// [`FetchError`] if the SSH handshake fails.
    pub async fn sftp_host_key(
        &self,
        address: &SftpAddress,
        pinned: &HostKeyVerifier,
        fingerprint: Option<&str>,
    ) -> Result<OfferedHostKey, FetchError> {
        let probe_key = |kinds: Vec<HostKeyKind>| async move {
            let monitor = TransferMonitor::new(Arc::new(|_| {}));
            let server =
                sftp::SftpClient::connect(address, &self.policy, self.limits, &kinds, &monitor)
                    .await;
            server
                .map(|server| server.host_key().clone())
                .map_err(|kind| kind.at(monitor.stage()))
        };
        let first = probe_key(pinned.preferred_kinds()).await?;
        let expected = fingerprint.map(HostKeyVerifier::from_fingerprint);
        let Some(expected) = expected.filter(|expected| !expected.matches(&first.fingerprint))
        else {
            return Ok(first);
        };
        for kind in pinned
            .preferred_kinds()
            .into_iter()
            .filter(|kind| *kind != first.kind)
        {
            // A server without a key of this type closes the connection.
            if let Ok(other) = probe_key(vec![kind]).await
                && expected.matches(&other.fingerprint)
            {
                return Ok(other);
            }
        }
        Ok(first)
    }

    /// Resolves the host of `target` and connects to it, without sending anything.
    ///
    /// # Errors
    /// [`FetchError`] if the address is not allowed or cannot be resolved. A failed connection is not an error, see
    /// [`Reachability::peer`].
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
            let fetcher = self.http_factory.build_fetcher();
            fetcher
                .map_err(|kind| kind.at(FetchStage::Resolve))?
                .check_url(url)?;
        }
        let (name, port) = target.host_and_port();
        let addresses = self.policy.resolve(&name, port).await;
        let addresses =
            addresses.map_err(|error| FetchErrorKind::from(error).at(FetchStage::Resolve))?;
        let (host, timeout) = (target.host(), self.limits.connect_timeout);
        let connected = network::connect(&addresses, &host, timeout).await;
        let peer = connected.and_then(|stream| {
            stream
                .peer_addr()
                .map_err(|error| network::connection_lost(&host, &error))
        });
        Ok(Reachability {
            addresses: addresses.iter().map(SocketAddr::ip).collect(),
            peer: peer.map_err(|kind| kind.at(FetchStage::Connect)),
        })
    }
}

/// Whether a host can be reached.
#[derive(Debug)]
pub struct Reachability {
    /// All addresses that its name resolves to.
    pub addresses: Vec<IpAddr>,
    /// The address that accepted a connection, or why none did.
    pub peer: Result<SocketAddr, FetchError>,
}
