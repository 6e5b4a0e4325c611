//! Brings an account's file onto this machine, or says why it could not.
//!
//! Knows the network; nothing of what is in the file. Retries are not decided here: an error says whether it may pass
//! by itself ([`FetchError::is_transient`]), and `import` does the rest.

mod certificate;
mod clients;
mod complete_body;
mod download;
mod encoding;
mod error;
mod host_key;
mod http;
mod network;
mod request;
mod s3;
mod sftp;
mod share_link;
mod throughput;
mod times;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::address::SftpAddress;
use crate::clock::SharedClock;
use crate::model::host_key::{HostKeyKind, ShownKey};
use crate::temp_file::Spool;

use clients::Clients;
use throughput::Meter;

pub use error::FetchError;
pub use host_key::HostKey;
pub use network::{NetworkPolicy, Refusal};
pub use request::{Credentials, Place, Request, Sighting, Validators};
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
    File(Fetched),
}

/// A file, whole.
#[derive(Debug)]
pub struct Fetched {
    /// Its bytes, decompressed.
    pub content: Spool,
    /// By which it is known next time.
    pub validators: Validators,
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The server has shown a valid certificate, or the host key that is pinned.
    ServerProven,
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
pub type Observer = Arc<dyn Fn(Progress) + Send + Sync>;

/// The right to one fetch from a host; not more than [`Limits::per_host`] have it at once.
#[derive(Debug)]
#[must_use]
pub struct Turn(
    #[expect(dead_code, reason = "given back when dropped")] Option<OwnedSemaphorePermit>,
);

/// Fetches files from sources of every kind.
#[derive(Debug)]
pub struct Fetcher {
    clients: Clients,
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
        allow_plain: bool,
        extra_ca: Option<&[u8]>,
        clock: SharedClock,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            clients: Clients::new(policy.clone(), limits, allow_plain, extra_ca)?,
            policy,
            limits,
            clock,
            hosts: Mutex::default(),
        })
    }

    /// Waits for a turn at the host of a place. That is not the server's fault and does not count against its time.
    pub async fn turn(&self, place: &Place) -> Turn {
        let turns = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            // Hosts that nobody waits for or fetches from; addresses come and go over the years.
            hosts.retain(|_, turns| Arc::strong_count(turns) > 1);
            Arc::clone(
                hosts
                    .entry(place.host())
                    .or_insert_with(|| Arc::new(Semaphore::new(self.limits.per_host))),
            )
        };
        // Never closed.
        Turn(turns.acquire_owned().await.ok())
    }

    /// Fetches a file whole, as soon as its turn comes; one attempt.
    ///
    /// # Errors
    /// [`FetchError`] says what happened and what to do.
    pub async fn fetch(
        &self,
        request: &Request,
        observer: &Observer,
    ) -> Result<Outcome, FetchError> {
        let turn = self.turn(&request.place).await;
        self.fetch_in_turn(request, turn, observer).await
    }

    /// Fetches a file whole; one attempt, for which `turn` is used up.
    ///
    /// # Errors
    /// [`FetchError`] says what happened and what to do.
    pub async fn fetch_in_turn(
        &self,
        request: &Request,
        turn: Turn,
        observer: &Observer,
    ) -> Result<Outcome, FetchError> {
        let _turn = turn;
        let host = request.place.host();
        let meter = Arc::new(Meter::new(Arc::clone(observer)));
        let timed_out = |what| {
            Err(if meter.is_logging_in() {
                FetchError::NoWordOnPassword(host)
            } else {
                FetchError::TimedOut { host, what }
            })
        };
        tokio::select! {
            outcome = self.attempt(request, &meter) => outcome,
            () = meter.too_slow(self.limits) => timed_out("it sends too slowly"),
            () = tokio::time::sleep(self.limits.total_timeout) => timed_out("the whole transfer took too long"),
        }
    }

    async fn attempt(&self, request: &Request, meter: &Arc<Meter>) -> Result<Outcome, FetchError> {
        let known = request.known.as_ref();
        match &request.place {
            Place::Web { url, credentials } => {
                let web = self.clients.make()?;
                web.fetch(url, credentials.as_ref(), known, self.clock.now(), meter)
                    .await
            }
            Place::Sftp {
                address,
                credentials,
                host_key,
            } => {
                let server = self.connect_sftp(address, host_key).await?;
                meter.tell(Progress::ServerProven);
                meter.log_in_begins();
                server.log_in(credentials).await?;
                meter.tell(Progress::LoggedIn);
                // As late as can be: waiting for the server makes files older.
                let now = self.clock.now();
                let sighting = &request.sighting;
                server
                    .read(address, known, sighting, now, self.limits.max_bytes, meter)
                    .await
            }
            Place::S3 {
                address,
                region,
                credentials,
            } => {
                let bucket = s3::Bucket::new(
                    self.clients.make()?,
                    address,
                    region,
                    credentials,
                    request.place.host(),
                    meter,
                );
                bucket.fetch(known, self.limits.max_bytes).await
            }
        }
    }

    /// An SFTP server whose host key is known, before anyone has logged in.
    async fn connect_sftp(
        &self,
        address: &SftpAddress,
        host_key: &HostKey,
    ) -> Result<sftp::Server, FetchError> {
        let kinds = host_key.kinds();
        let server = sftp::Server::connect(address, &self.policy, self.limits, &kinds).await?;
        host_key.check(&address.endpoint(), server.host_key())?;
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
        known: &HostKey,
        fingerprint: Option<&str>,
    ) -> Result<ShownKey, FetchError> {
        let shown = |kinds: Vec<HostKeyKind>| async move {
            let server = sftp::Server::connect(address, &self.policy, self.limits, &kinds).await;
            server.map(|server| server.host_key().clone())
        };
        let first = shown(known.kinds()).await?;
        let wanted = fingerprint.map(HostKey::of);
        let Some(wanted) = wanted.filter(|wanted| !wanted.is(&first.fingerprint)) else {
            return Ok(first);
        };
        for kind in known.kinds().into_iter().filter(|kind| *kind != first.kind) {
            // One that has no key of this kind hangs up.
            if let Ok(other) = shown(vec![kind]).await
                && wanted.is(&other.fingerprint)
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
    pub async fn reach(&self, place: &Place) -> Result<Reached, FetchError> {
        let url = match place {
            Place::Web { url, .. } => Some(url),
            Place::S3 { address, .. } => address.endpoint.as_ref(),
            Place::Sftp { .. } => None,
        };
        if let Some(url) = url {
            self.clients.make()?.check_url(url)?;
        }
        let (name, port) = place.host_and_port();
        let addresses = self.policy.resolve(&name, port).await?;
        let (host, patience) = (place.host(), self.limits.connect_timeout);
        let connected = network::connect(&addresses, &host, patience).await;
        Ok(Reached {
            addresses: addresses.iter().map(SocketAddr::ip).collect(),
            answered: connected.and_then(|stream| {
                stream
                    .peer_addr()
                    .map_err(|error| network::lost(&host, &error))
            }),
        })
    }
}

/// How far one gets on the way to a host.
#[derive(Debug)]
pub struct Reached {
    /// All addresses of its name.
    pub addresses: Vec<IpAddr>,
    /// The one that answered, or why none did.
    pub answered: Result<SocketAddr, FetchError>,
}
