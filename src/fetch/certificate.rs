//! Describes why a server's certificate is not valid, for the server's administrator.

use chrono::DateTime;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use crate::unicode;

/// Maximum number of names of a certificate to list.
const MAX_NAMES_LISTED: usize = 3;
/// Maximum length of a listed name, in characters. The server chooses the names.
const MAX_NAME_CHARS: usize = 80;

/// Completes the sentence "the certificate is not valid (...)".
pub(super) fn describe_error(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it expired on {}", format_date(*not_after))
        }
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "it is not valid before {} according to the clock of this machine",
            format_date(*not_before)
        ),
        CertificateError::NotValidForName => "it was issued for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            describe_name_mismatch(presented)
        }
        CertificateError::UnknownIssuer => {
            "it was not issued by an authority that this machine trusts".to_owned()
        }
        CertificateError::BadSignature => "its signature is invalid".to_owned(),
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it was not issued for servers".to_owned()
        }
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "it is the certificate of an authority, not of a server".to_owned()
        }
        other => other.to_string(),
    }
}

fn format_date(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(
        || "an invalid date".to_owned(),
        |time| time.format("%-d %B %Y").to_string(),
    )
}

fn describe_name_mismatch(presented: &[String]) -> String {
    if presented.is_empty() {
        return "it contains no name".to_owned();
    }
    // `DnsName("example.org")`, `IpAddress(192.0.2.1)`
    let strip_wrapper = |name: &String| {
        let name = name.split_once('(').map_or(name.as_str(), |(_, name)| name);
        let name: String = name
            .chars()
            .filter(|c| !c.is_control() && !"\"()".contains(*c))
            .collect();
        unicode::shorten(&name, MAX_NAME_CHARS)
    };
    let mut listed: Vec<String> = presented
        .iter()
        .take(MAX_NAMES_LISTED)
        .map(strip_wrapper)
        .collect();
    if presented.len() > MAX_NAMES_LISTED {
        listed.push("others".to_owned());
    }
    format!("it was issued for {}", unicode::join_with_and(&listed))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn certificate_errors_are_described_briefly() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext {
            time: time(1_700_000_000),
            not_after: time(1_609_459_200),
        };
        assert_eq!(describe_error(&expired), "it expired on 1 January 2021");
        let not_yet_valid = CertificateError::NotValidYetContext {
            time: time(0),
            not_before: time(u64::MAX),
        };
        assert!(
            describe_error(&not_yet_valid).contains("an invalid date"),
            "{}",
            describe_error(&not_yet_valid)
        );
        let for_names = |presented: &[&str]| {
            describe_error(&CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("localhost").unwrap(),
                presented: presented.iter().map(|name| (*name).to_owned()).collect(),
            })
        };
        assert_eq!(for_names(&[]), "it contains no name");
        assert_eq!(
            for_names(&[
                "DnsName(\"a.org\")",
                "IpAddress(192.0.2.1)",
                "c\u{1b}\n.org",
                "d.org"
            ]),
            "it was issued for a.org, 192.0.2.1, c.org and others"
        );
        assert!(for_names(&["x".repeat(10_000).as_str()]).len() < 200);
    }
}
