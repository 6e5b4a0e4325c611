//! Where an account's file lies, as its import settings say.

use url::Url;

use super::words;

words!(
    /// `import_settings.source`
    SourceKind {
        /// A public file over HTTPS.
        Https = "https",
        /// A private file over HTTPS with Basic authorization.
        HttpsBasic = "https_basic",
        /// A private file over SFTP.
        Sftp = "sftp",
        /// A private file in AWS S3 or what speaks its protocol.
        S3 = "s3",
    }
);

/// Why a URL can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("`{0}` is not a web address; enter one that begins with https://")]
    Malformed(String),
    /// Carries user or password.
    #[error("the web address carries a user name or password; enter those in their own fields")]
    Credentials,
}

/// Reads the URL of an `https` or `https_basic` source.
///
/// # Errors
/// [`UrlError`] if it is no URL with a host, or carries credentials.
pub fn parse_http_url(text: &str) -> Result<Url, UrlError> {
    let url = Url::parse(text.trim()).map_err(|_| UrlError::Malformed(redact(text)))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    if url.host().is_none() {
        return Err(UrlError::Malformed(redact(text)));
    }
    Ok(url)
}

/// Scheme, host and port: what a secret is bound to.
#[must_use]
pub fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The address as it may be shown and logged: without query and fragment, which may hold tokens.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn redact(text: &str) -> String {
    let plain = text.split(['?', '#']).next().unwrap_or_default();
    match plain.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_tell_scheme_host_and_port_apart() {
        let origin_of = |text| origin(&parse_http_url(text).unwrap());
        assert_eq!(
            origin_of("https://Files.Example.org/a.csv"),
            "https://files.example.org"
        );
        assert_eq!(
            origin_of("https://files.example.org:443/b"),
            "https://files.example.org"
        );
        assert_eq!(
            origin_of("https://files.example.org:8443/b"),
            "https://files.example.org:8443"
        );
        assert_ne!(
            origin_of("http://files.example.org/"),
            origin_of("https://files.example.org/")
        );
    }

    #[test]
    fn credentials_and_non_urls_are_refused_without_being_repeated() {
        assert_eq!(
            parse_http_url("https://jane:secret@h/x"),
            Err(UrlError::Credentials)
        );
        let error = parse_http_url("jane:secret@").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(parse_http_url("contacts.csv").is_err());
    }

    #[test]
    fn tokens_in_queries_are_not_shown() {
        assert_eq!(
            shown(&Url::parse("https://h/x.csv?sig=abc#f").unwrap()),
            "https://h/x.csv"
        );
    }
}
