//! Parses addresses of files on SFTP servers.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::{UrlError, check_port, redact, scheme_of};

/// Default port of SSH.
const SSH_PORT: u16 = 22;

/// A file on an SFTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftpAddress {
    /// Host name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Paths to try in this order, each only if there is no file at the previous one.
    pub paths: Vec<String>,
}

impl SftpAddress {
    /// Parses `sftp://host/path` or `host/path`; `settings_port` is the port in the settings.
    ///
    /// A path is tried relative to the root directory, then to the user's home directory; `/~/path` only relative to the home
    /// directory, `//path` only relative to the root. Percent-encoded characters such as `%20` are decoded, and tried
    /// literally if there is no such file.
    ///
    /// # Errors
    /// [`UrlError`] if host or file is missing, the scheme is another one, or the ports conflict.
    pub fn parse(text: &str, settings_port: Option<u16>) -> Result<Self, UrlError> {
        let text = text.trim();
        let rest = match scheme_of(text) {
            Some(scheme) if scheme.eq_ignore_ascii_case("sftp") => &text[scheme.len() + 3..],
            Some(scheme) => {
                return Err(UrlError::WrongScheme {
                    scheme: scheme.to_ascii_lowercase(),
                    expected: "sftp://",
                });
            }
            None => text,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(UrlError::HasCredentials);
        }
        let malformed = || UrlError::Malformed {
            address: redact(text),
            expected: "sftp://host/path",
        };
        // Parsed like an https URL, which normalizes the spelling of the host.
        let url = Url::parse(&format!("https://{authority}/")).map_err(|_| malformed())?;
        let host = match url.host().ok_or_else(malformed)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let url_port = explicit_port(authority);
        check_port(url_port)?;
        let port = match (url_port, settings_port) {
            (Some(url_port), Some(settings_port)) if url_port != settings_port => {
                return Err(UrlError::ConflictingPorts {
                    url_port,
                    settings_port,
                });
            }
            _ => url_port.or(settings_port).unwrap_or(SSH_PORT),
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

    /// The origin that a secret is bound to: scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("sftp://{}", self.endpoint())
    }

    /// Host and port; an IPv6 address is in brackets.
    #[must_use]
    pub fn endpoint(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The paths that a path in an address may mean.
fn candidate_paths(path: &str) -> Vec<String> {
    if let Some(home) = path.strip_prefix("~/") {
        vec![home.to_owned()]
    } else if path.starts_with('/') {
        vec![path.to_owned()]
    } else {
        vec![format!("/{path}"), path.to_owned()]
    }
}

/// The port in the address. `Url` omits a port that is the default of the scheme.
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
        // All spellings of an IP address are normalized.
        check(
            "sftp://0x7f.1/x.csv",
            None,
            "127.0.0.1:22",
            &["/x.csv", "x.csv"],
        );
    }

    #[test]
    fn invalid_sftp_addresses_are_refused() {
        let error_of = |text| SftpAddress::parse(text, Some(22)).unwrap_err();
        assert!(matches!(
            error_of("https://h/x.csv"),
            UrlError::WrongScheme { .. }
        ));
        assert!(matches!(
            error_of("sftp://h:23/x.csv"),
            UrlError::ConflictingPorts { .. }
        ));
        assert!(matches!(
            error_of("sftp://jane:secret@h/x.csv"),
            UrlError::HasCredentials
        ));
        assert!(matches!(
            error_of("jane:secret@h/x.csv"),
            UrlError::HasCredentials
        ));
        assert!(matches!(error_of("sftp://h/"), UrlError::NoFilePath(_)));
        assert!(matches!(error_of("h"), UrlError::NoFilePath(_)));
        assert!(matches!(
            error_of("sftp:///x.csv"),
            UrlError::Malformed { .. }
        ));
    }
}
