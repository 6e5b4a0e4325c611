//! What is wrong with a server's certificate, in words for its administrator.

use chrono::DateTime;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use crate::unicode;

/// Most names of a certificate that are told.
const TOLD_NAMES: usize = 3;
/// Longest name that is told, characters. The server chooses them.
const LONGEST_NAME: usize = 80;

/// What is wrong with it.
pub(super) fn fault(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it expired on {}", day(*not_after))
        }
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "it is not valid before {}, says the clock of this machine",
            day(*not_before)
        ),
        CertificateError::NotValidForName => "it is made out to another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => names(presented),
        CertificateError::UnknownIssuer => {
            "no authority that this machine trusts has signed it".to_owned()
        }
        CertificateError::BadSignature => "its signature is false".to_owned(),
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not meant for servers".to_owned()
        }
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "it is an authority's, not a server's".to_owned()
        }
        other => other.to_string(),
    }
}

fn day(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(
        || "a day that no calendar has".to_owned(),
        |time| time.format("%-d %B %Y").to_string(),
    )
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "it is made out to no name".to_owned();
    }
    // `DnsName("example.org")`, `IpAddress(192.0.2.1)`
    let bare = |name: &String| {
        let name = name.split_once('(').map_or(name.as_str(), |(_, name)| name);
        let name: String = name
            .chars()
            .filter(|c| !c.is_control() && !"\"()".contains(*c))
            .collect();
        unicode::shorten(&name, LONGEST_NAME)
    };
    let mut told: Vec<String> = presented.iter().take(TOLD_NAMES).map(bare).collect();
    if presented.len() > TOLD_NAMES {
        told.push("others".to_owned());
    }
    format!("it is made out to {}", unicode::join_and(&told))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn faults_are_said_in_words_and_without_end_of_names() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext {
            time: time(1_700_000_000),
            not_after: time(1_609_459_200),
        };
        assert_eq!(fault(&expired), "it expired on 1 January 2021");
        let early = CertificateError::NotValidYetContext {
            time: time(0),
            not_before: time(u64::MAX),
        };
        assert!(fault(&early).contains("no calendar"), "{}", fault(&early));
        let for_names = |presented: &[&str]| {
            fault(&CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("localhost").unwrap(),
                presented: presented.iter().map(|name| (*name).to_owned()).collect(),
            })
        };
        assert_eq!(for_names(&[]), "it is made out to no name");
        assert_eq!(
            for_names(&[
                "DnsName(\"a.org\")",
                "IpAddress(192.0.2.1)",
                "c\u{1b}\n.org",
                "d.org"
            ]),
            "it is made out to a.org, 192.0.2.1, c.org and others"
        );
        assert!(for_names(&["x".repeat(10_000).as_str()]).len() < 200);
    }
}
