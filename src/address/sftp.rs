//! Where a file lies on an SFTP server.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::{UrlError, check_port, redact, scheme_of};

/// Port of SSH where none is given.
const SSH_PORT: u16 = 22;

/// A file on an SFTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftpAddress {
    /// Name or literal address; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Paths to try, in this order: the next only where there is no file under the one before.
    pub paths: Vec<String>,
}

impl SftpAddress {
    /// Reads `sftp://host/path` or `host/path`; `port` is that of the settings.
    ///
    /// A path is looked for from the root, then in the user's home; `/~/path` in the home only, `//path` from the root
    /// only. `%20` and the like are decoded, and stand for themselves where there is no such file.
    ///
    /// # Errors
    /// [`UrlError`] if it names no host, no file, another scheme or two ports.
    pub fn parse(text: &str, port: Option<u16>) -> Result<Self, UrlError> {
        let text = text.trim();
        let rest = match scheme_of(text) {
            Some(scheme) if scheme.eq_ignore_ascii_case("sftp") => &text[scheme.len() + 3..],
            Some(scheme) => {
                return Err(UrlError::WrongScheme {
                    found: scheme.to_ascii_lowercase(),
                    wanted: "sftp://",
                });
            }
            None => text,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(UrlError::HasCredentials);
        }
        let malformed = || UrlError::Malformed {
            found: redact(text),
            wanted: "sftp://host/path",
        };
        // Of a web address, so that a host is spelled in one way only.
        let url = Url::parse(&format!("https://{authority}/")).map_err(|_| malformed())?;
        let host = match url.host().ok_or_else(malformed)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let written = explicit_port(authority);
        check_port(written)?;
        let port = match (written, port) {
            (Some(written), Some(port)) if written != port => {
                return Err(UrlError::ConflictingPorts { written, port });
            }
            (written, port) => written.or(port).unwrap_or(SSH_PORT),
        };
        let decoded = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| malformed())?;
        if decoded.contains('\0') {
            return Err(malformed());
        }
        let mut paths = candidate_paths(&decoded);
        if decoded != path {
            paths.extend(candidate_paths(path));
        }
        if paths.iter().any(|path| path.trim_matches('/').is_empty()) {
            return Err(UrlError::NoFilePath("sftp://host/path"));
        }
        Ok(Self { host, port, paths })
    }

    /// What a password is bound to.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("sftp://{}", self.endpoint())
    }

    /// Host and port.
    #[must_use]
    pub fn endpoint(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Where a file may lie that is written so.
fn candidate_paths(path: &str) -> Vec<String> {
    if let Some(home) = path.strip_prefix("~/") {
        vec![home.to_owned()]
    } else if path.starts_with('/') {
        vec![path.to_owned()]
    } else {
        vec![format!("/{path}"), path.to_owned()]
    }
}

/// The port as written; a URL hides the one that its scheme implies.
fn explicit_port(authority: &str) -> Option<u16> {
    let (_, port) = authority.rsplit_once(':')?;
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, port: Option<u16>, endpoint: &str, paths: &[&str]) {
        let address = SftpAddress::parse(text, port).unwrap();
        assert_eq!(address.endpoint(), endpoint, "{text}");
        assert_eq!(address.paths, paths, "{text}");
    }

    #[test]
    fn sftp_address_parses_with_or_without_scheme() {
        let both = ["/lists/a b.csv", "lists/a b.csv"];
        check(
            "sftp://Files.Example.org/lists/a b.csv",
            None,
            "files.example.org:22",
            &both,
        );
        check(
            "files.example.org/lists/a%20b.csv",
            Some(2222),
            "files.example.org:2222",
            &[
                "/lists/a b.csv",
                "lists/a b.csv",
                "/lists/a%20b.csv",
                "lists/a%20b.csv",
            ],
        );
        check(
            "SFTP://files.example.org:2222/x.csv",
            Some(2222),
            "files.example.org:2222",
            &["/x.csv", "x.csv"],
        );
        check("sftp://h:443/x.csv", None, "h:443", &["/x.csv", "x.csv"]);
        check("sftp://h//etc/x.csv", None, "h:22", &["/etc/x.csv"]);
        check("sftp://h/~/x.csv", None, "h:22", &["x.csv"]);
        check(
            "sftp://[::1]:22/100%.csv?v=1#2",
            None,
            "[::1]:22",
            &["/100%.csv?v=1#2", "100%.csv?v=1#2"],
        );
        // Every spelling of an address is one address.
        check(
            "sftp://0x7f.1/x.csv",
            None,
            "127.0.0.1:22",
            &["/x.csv", "x.csv"],
        );
    }

    #[test]
    fn invalid_sftp_addresses_are_refused() {
        let of = |text| SftpAddress::parse(text, Some(22)).unwrap_err();
        assert!(matches!(
            of("https://h/x.csv"),
            UrlError::WrongScheme { .. }
        ));
        assert!(matches!(
            of("sftp://h:23/x.csv"),
            UrlError::ConflictingPorts { .. }
        ));
        assert!(matches!(
            of("sftp://jane:secret@h/x.csv"),
            UrlError::HasCredentials
        ));
        assert!(matches!(
            of("jane:secret@h/x.csv"),
            UrlError::HasCredentials
        ));
        assert!(matches!(of("sftp://h/"), UrlError::NoFilePath(_)));
        assert!(matches!(of("h"), UrlError::NoFilePath(_)));
        assert!(matches!(of("sftp:///x.csv"), UrlError::Malformed { .. }));
    }
}
