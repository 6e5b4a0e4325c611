//! Which addresses may be reached. Account admins choose URLs, so only public ones, unless the operator allows more.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpStream;

use super::FetchError;

/// The operator's policy.
#[derive(Debug, Clone, Default)]
pub struct NetworkPolicy {
    allow: Arc<[IpNet]>,
}

/// An address that may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{kind}, where files are not fetched from", describe_resolution(.host, *.address))]
pub struct BlockedAddress {
    /// As written in the URL.
    pub host: String,
    /// What it leads to.
    pub address: IpAddr,
    /// What kind of address that is.
    pub kind: &'static str,
}

/// What leads to the address, unless it stands there itself.
fn describe_resolution(host: &str, address: IpAddr) -> String {
    if host.parse() == Ok(address) {
        return format!("{address} is ");
    }
    format!("{host} leads to {address}, ")
}

/// Longest time in which a name is looked up; the system's own limits are as long as its list of name servers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
/// What the system says (glibc, musl) where no name server could tell; the error has no number.
const TEMPORARY_LOOKUP_ERRORS: [&str; 2] = ["Temporary failure in name resolution", "Try again"];

/// A name that has no address.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the name {host} has no address: {reason}")]
pub(super) struct LookupFailed {
    pub(super) host: String,
    reason: String,
    /// No name server could tell; another time one may.
    pub(super) is_transient: bool,
}

/// Why a host can't be connected to.
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

    /// Checks one address that `host` leads to.
    ///
    /// # Errors
    /// [`Refusal`] if it is neither public nor allowed.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), BlockedAddress> {
        if self.allow.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        let kind = match address {
            IpAddr::V4(v4) => blocked_range_v4(v4),
            IpAddr::V6(v6) => blocked_range_v6(v6),
        };
        kind.map_or(Ok(()), |kind| {
            Err(BlockedAddress {
                host: host.to_owned(),
                address,
                kind,
            })
        })
    }

    /// The addresses of a name or literal, all of them checked: what is connected to is what was looked at.
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
        let found = lookup
            .await
            .map_err(|_| lookup_failed("no answer in time", true))?
            .map_err(|error| {
                let reason = error.to_string();
                let is_transient = TEMPORARY_LOOKUP_ERRORS
                    .iter()
                    .any(|message| reason.contains(message));
                lookup_failed(&reason, is_transient)
            })?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.is_empty() {
            return Err(lookup_failed("no answer", false).into());
        }
        // One forbidden answer spoils the name: a name that is half inside is not to be trusted with the other half.
        for address in &addresses {
            self.check(host, address.ip())?;
        }
        Ok(addresses)
    }
}

fn blocked_range_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        (0, ..) => Some("an unspecified address"),
        (127, ..) => Some("this machine itself"),
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => Some("a private address"),
        (100, 64..=127, ..) => Some("an address within a provider's network"),
        (169, 254, ..) | (168, 63, 129, 16) => Some("a link-local or cloud metadata address"),
        (192, 0, 0 | 2, _)
        | (192, 88, 99, _)
        | (198, 18..=19, ..)
        | (198, 51, 100, _)
        | (203, 0, 113, _) => Some("an address reserved for special use"),
        (224..=239, ..) => Some("a multicast address"),
        (240..=255, ..) => Some("a reserved or broadcast address"),
        _ => None,
    }
}

fn blocked_range_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("this machine itself"),
        [0, 0, 0, 0, 0, 0xffff | 0, ..] | [0x64, 0xff9b, ..] | [0x2002, ..] | [0x2001, 0, ..] => {
            Some("a translated IPv4 address")
        }
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        // ISATAP: the last 32 bits are an IPv4 address.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some("a translated IPv4 address"),
        [0x2001, 0x1..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => {
            Some("an address reserved for special use")
        }
        [0x2000..=0x3fff, ..] => None,
        _ => Some("an address that is not public"),
    }
}

/// Connects to the first of the addresses that answers; each has the same time.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    host: &str,
    timeout: Duration,
) -> Result<TcpStream, FetchError> {
    let mut failure = None;
    for address in addresses {
        failure = Some(
            match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => FetchError::ConnectFailed {
                    host: host.to_owned(),
                    reason: error.to_string(),
                },
                Err(_) => FetchError::TimedOut {
                    host: host.to_owned(),
                    reason: "connecting took too long",
                },
            },
        );
    }
    Err(failure.unwrap_or_else(|| FetchError::NameNotFound(host.to_owned())))
}

/// A connection that the network gave up.
pub(super) fn connection_lost(host: &str, error: &std::io::Error) -> FetchError {
    FetchError::ConnectFailed {
        host: host.to_owned(),
        reason: error.to_string(),
    }
}

/// Resolves names and gives out only addresses that were checked: what is connected to is what was looked at.
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
        let found = NetworkPolicy::default().check("host", address.parse().unwrap());
        assert_eq!(found.is_ok(), allowed, "{address}: {found:?}");
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
