//! Name resolution, the network policy and TCP connections. Account admins choose the URLs, so only public addresses are
//! allowed unless the operator allows more. Does not depend on protocols above TCP.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpStream;

use super::error::FetchErrorKind;
use super::error_detail::{ConnectFault, TimeoutReason};

/// Which addresses may be connected to.
#[derive(Debug, Clone, Default)]
pub struct NetworkPolicy {
    allow: Arc<[IpNet]>,
}

/// An address that the network policy forbids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockedAddress {
    /// The URL contains the address.
    #[error("`{address}` is {kind}, from which files are not fetched")]
    Literal {
        /// The address.
        address: IpAddr,
        /// The range that it belongs to.
        kind: AddressKind,
    },
    /// The host name resolves to the address.
    #[error("`{host}` resolves to {address}, {kind}, from which files are not fetched")]
    Resolved {
        /// Host name in the URL.
        host: String,
        /// The address.
        address: IpAddr,
        /// The range that it belongs to.
        kind: AddressKind,
    },
}

/// A range of addresses that are not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressKind {
    /// `0.0.0.0/8`, `::`.
    #[error("an unspecified address")]
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    #[error("a loopback address (this machine itself)")]
    Loopback,
    /// `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16`, `fc00::/7`, `fec0::/10`.
    #[error("a private address")]
    Private,
    /// `100.64.0.0/10`.
    #[error("an address within a provider's network")]
    CarrierGradeNat,
    /// `169.254.0.0/16` and the metadata address of Azure.
    #[error("a link-local or cloud metadata address")]
    LinkLocalOrMetadata,
    /// `fe80::/10`.
    #[error("a link-local address")]
    LinkLocal,
    /// Documentation, benchmarks, protocol assignments.
    #[error("an address reserved for special use")]
    SpecialUse,
    /// `224.0.0.0/4`, `ff00::/8`.
    #[error("a multicast address")]
    Multicast,
    /// `240.0.0.0/4`.
    #[error("a reserved or broadcast address")]
    ReservedOrBroadcast,
    /// IPv6 address that contains an IPv4 address, for example 6to4.
    #[error("a translated IPv4 address")]
    TranslatedIpv4,
    /// Outside of `2000::/3`.
    #[error("an address that is not public")]
    NotPublic,
}

/// Maximum time of a name lookup. The system's own limit grows with its number of name servers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
/// Texts of glibc and musl for a lookup that no name server answered. The error has no code to test instead.
const TEMPORARY_LOOKUP_ERRORS: [&str; 2] = ["Temporary failure in name resolution", "Try again"];

/// A host name that could not be resolved.
#[derive(Debug, Clone, thiserror::Error)]
#[error("host name `{host}` could not be resolved: {reason}")]
pub(super) struct LookupFailed {
    pub(super) host: String,
    reason: String,
    /// No name server responded, so a retry may succeed.
    pub(super) is_transient: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error(transparent)]
    Blocked(#[from] BlockedAddress),
    #[error(transparent)]
    LookupFailed(#[from] LookupFailed),
}

impl NetworkPolicy {
    /// A policy that allows public addresses and `allow`.
    #[must_use]
    pub fn new(allow: &[IpNet]) -> Self {
        Self {
            allow: allow.into(),
        }
    }

    /// Checks one address of `host`.
    ///
    /// # Errors
    /// [`BlockedAddress`] if it is neither public nor allowed.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), BlockedAddress> {
        if self.allow.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        let kind = match address {
            IpAddr::V4(v4) => blocked_range_v4(v4),
            IpAddr::V6(v6) => blocked_range_v6(v6),
        };
        kind.map_or(Ok(()), |kind| {
            Err(if host.parse() == Ok(address) {
                BlockedAddress::Literal { address, kind }
            } else {
                BlockedAddress::Resolved {
                    host: host.to_owned(),
                    address,
                    kind,
                }
            })
        })
    }

    /// Resolves a host name or literal address and checks all of its addresses. Callers must connect to the returned addresses:
    /// a second lookup could return others.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let lookup_failed = |reason: &str, is_transient: bool| LookupFailed {
            host: host.to_owned(),
            reason: reason.to_owned(),
            is_transient,
        };
        let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, port)));
        let resolved = lookup
            .await
            .map_err(|_| lookup_failed("no name server responded in time", true))?
            .map_err(|error| {
                let reason = error.to_string();
                let is_transient = TEMPORARY_LOOKUP_ERRORS
                    .iter()
                    .any(|message| reason.contains(message));
                lookup_failed(&reason, is_transient)
            })?;
        let addresses: Vec<SocketAddr> = resolved.collect();
        if addresses.is_empty() {
            return Err(lookup_failed("it has no addresses", false).into());
        }
        // A name with both public and forbidden addresses is refused entirely: it may be an attack on the internal network.
        for address in &addresses {
            self.check(host, address.ip())?;
        }
        Ok(addresses)
    }
}

fn blocked_range_v4(address: Ipv4Addr) -> Option<AddressKind> {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        (0, ..) => Some(AddressKind::Unspecified),
        (127, ..) => Some(AddressKind::Loopback),
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => Some(AddressKind::Private),
        (100, 64..=127, ..) => Some(AddressKind::CarrierGradeNat),
        (169, 254, ..) | (168, 63, 129, 16) => Some(AddressKind::LinkLocalOrMetadata),
        (192, 0, 0 | 2, _)
        | (192, 88, 99, _)
        | (198, 18..=19, ..)
        | (198, 51, 100, _)
        | (203, 0, 113, _) => Some(AddressKind::SpecialUse),
        (224..=239, ..) => Some(AddressKind::Multicast),
        (240..=255, ..) => Some(AddressKind::ReservedOrBroadcast),
        _ => None,
    }
}

fn blocked_range_v6(address: Ipv6Addr) -> Option<AddressKind> {
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(AddressKind::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(AddressKind::Loopback),
        [0, 0, 0, 0, 0, 0xffff | 0, ..] | [0x64, 0xff9b, ..] | [0x2002, ..] | [0x2001, 0, ..] => {
            Some(AddressKind::TranslatedIpv4)
        }
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some(AddressKind::Private),
        [0xfe80..=0xfebf, ..] => Some(AddressKind::LinkLocal),
        [0xff00..=0xffff, ..] => Some(AddressKind::Multicast),
        // ISATAP: the last 32 bits are an IPv4 address.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(AddressKind::TranslatedIpv4),
        [0x2001, 0x1..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => {
            Some(AddressKind::SpecialUse)
        }
        [0x2000..=0x3fff, ..] => None,
        _ => Some(AddressKind::NotPublic),
    }
}

/// Connects to the first of the addresses that accepts a connection. `timeout` applies to each of them.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    host: &str,
    timeout: Duration,
) -> Result<TcpStream, FetchErrorKind> {
    let mut failure = None;
    for address in addresses {
        failure = Some(
            match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => connection_lost(host, &error),
                Err(_) => FetchErrorKind::TimedOut {
                    host: host.to_owned(),
                    reason: TimeoutReason::Connect(timeout),
                },
            },
        );
    }
    Err(failure.unwrap_or_else(|| FetchErrorKind::NameNotFound(host.to_owned())))
}

/// The error for a connection that the operating system reports as failed or lost.
pub(super) fn connection_lost(host: &str, error: &std::io::Error) -> FetchErrorKind {
    FetchErrorKind::ConnectFailed {
        host: host.to_owned(),
        reason: ConnectFault::Network(error.to_string()),
    }
}

/// The HTTP client's resolver. It returns only checked addresses, so the client cannot connect to others.
#[derive(Clone)]
pub(super) struct CheckedResolver(pub(super) NetworkPolicy);

impl fmt::Debug for CheckedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckedResolver")
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            match policy.resolve(name.as_str(), 0).await {
                Ok(addresses) => Ok(Box::new(addresses.into_iter()) as Addrs),
                Err(ResolveError::Blocked(blocked)) => Err(blocked.into()),
                Err(ResolveError::LookupFailed(lookup_failed)) => Err(lookup_failed.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, allowed: bool) {
        let result = NetworkPolicy::default().check("host", address.parse().unwrap());
        assert_eq!(result.is_ok(), allowed, "{address}: {result:?}");
    }

    #[test]
    fn only_public_addresses_are_allowed() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2606:4700::5efe:127.0.0.1",
            "4000::1",
        ] {
            check(address, false);
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860::8888",
        ] {
            check(address, true);
        }
    }

    #[test]
    fn allowed_network_extends_policy() {
        let policy = NetworkPolicy::new(&["10.1.0.0/16".parse().unwrap()]);
        assert!(policy.check("h", "10.1.2.3".parse().unwrap()).is_ok());
        assert!(policy.check("h", "10.2.2.3".parse().unwrap()).is_err());
        assert!(
            policy
                .check("h", "::ffff:10.1.2.3".parse().unwrap())
                .is_err()
        );
    }
}
