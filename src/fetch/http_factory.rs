//! Builds an HTTP client for each fetch. A daemon runs for years, so it must see changes of the system's certificates, and commands
//! that fetch nothing need not read them.

use std::sync::Arc;

use reqwest::{Certificate, Client};

use super::Limits;
use super::error::FetchErrorKind;
use super::http::HttpFetcher;
use super::network::{CheckedResolver, NetworkPolicy};

/// The settings that all clients share.
#[derive(Debug)]
pub(super) struct HttpFetcherFactory {
    policy: NetworkPolicy,
    limits: Limits,
    allow_plain_http: bool,
    extra_certificates: Vec<Certificate>,
}

impl HttpFetcherFactory {
    /// Its clients trust the system's certificates and `extra_ca` (PEM).
    ///
    /// # Errors
    /// If `extra_ca` is not a PEM certificate.
    pub(super) fn new(
        policy: NetworkPolicy,
        limits: Limits,
        allow_plain_http: bool,
        extra_ca: Option<&[u8]>,
    ) -> Result<Self, reqwest::Error> {
        let extra_certificates = extra_ca.map(Certificate::from_pem_bundle).transpose()?;
        Ok(Self {
            policy,
            limits,
            allow_plain_http,
            extra_certificates: extra_certificates.unwrap_or_default(),
        })
    }

    /// A new client that trusts the current certificates of the system.
    ///
    /// # Errors
    /// [`FetchErrorKind::SystemCertificates`] if they cannot be used.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only function that builds HTTP clients"
    )]
    pub(super) fn build_fetcher(&self) -> Result<HttpFetcher, FetchErrorKind> {
        let extra_certificates = self.extra_certificates.iter().cloned();
        let builder = Client::builder().tls_backend_rustls();
        let builder = match system_bundle() {
            Some(bundle) => builder.tls_certs_only(bundle.into_iter().chain(extra_certificates)),
            None => builder.tls_certs_merge(extra_certificates),
        };
        let client = builder
            .no_proxy()
            .referer(false)
            // Every redirect is checked before it is followed.
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(CheckedResolver(self.policy.clone())))
            .https_only(!self.allow_plain_http)
            .connect_timeout(self.limits.connect_timeout)
            .read_timeout(self.limits.idle_timeout)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("rosterd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(FetchErrorKind::SystemCertificates)?;
        Ok(HttpFetcher::new(
            client,
            self.policy.clone(),
            self.limits,
            self.allow_plain_http,
        ))
    }
}

/// Files with all CA certificates on Debian, Fedora and Alpine.
const CA_BUNDLE_PATHS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The system's certificates from a single file. `None` if there is no such file or `SSL_CERT_FILE` or `SSL_CERT_DIR` is set.
/// The default loader also reads the directory next to it with the same certificates, which takes longer than an entire request.
#[expect(
    clippy::disallowed_methods,
    reason = "environment variables of OpenSSL, not settings of rosterd"
)]
fn system_bundle() -> Option<Vec<Certificate>> {
    let overrides = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    if overrides.iter().any(Option::is_some) {
        return None;
    }
    CA_BUNDLE_PATHS.iter().find_map(|path| {
        let pem = std::fs::read(path).ok()?;
        let bundle = Certificate::from_pem_bundle(&pem).ok()?;
        (!bundle.is_empty()).then_some(bundle)
    })
}
