//! Clients that speak HTTP, each made for one fetch: authorities and their certificates come and go while a daemon runs for
//! years, and a command that fetches nothing need not read them.

use std::sync::Arc;

use reqwest::{Certificate, Client};

use super::http::HttpFetcher;
use super::network::{CheckedResolver, NetworkPolicy};
use super::{FetchError, Limits};

/// What all clients have in common.
#[derive(Debug)]
pub(super) struct HttpFetcherFactory {
    policy: NetworkPolicy,
    limits: Limits,
    allow_plain_http: bool,
    extra_certificates: Vec<Certificate>,
}

impl HttpFetcherFactory {
    /// Clients that trust the system's certificates and `extra_ca` (PEM).
    ///
    /// # Errors
    /// If `extra_ca` is no PEM certificate.
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

    /// A new client, which trusts the certificates that the system has now.
    ///
    /// # Errors
    /// [`FetchError::Defect`] where the system has none.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that builds an HTTP client"
    )]
    pub(super) fn build_fetcher(&self) -> Result<HttpFetcher, FetchError> {
        let extra_certificates = self.extra_certificates.iter().cloned();
        let builder = Client::builder().tls_backend_rustls();
        let builder = match system_bundle() {
            Some(bundle) => builder.tls_certs_only(bundle.into_iter().chain(extra_certificates)),
            None => builder.tls_certs_merge(extra_certificates),
        };
        let client = builder
            .no_proxy()
            .referer(false)
            // Each hop is looked at before it is followed.
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(CheckedResolver(self.policy.clone())))
            .https_only(!self.allow_plain_http)
            .connect_timeout(self.limits.connect_timeout)
            .read_timeout(self.limits.idle_timeout)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("rosterd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                FetchError::Internal(format!("the system's certificates can't be used: {error}"))
            })?;
        Ok(HttpFetcher::new(
            client,
            self.policy.clone(),
            self.limits,
            self.allow_plain_http,
        ))
    }
}

/// Where Debian, Fedora and Alpine keep all certificates of authorities in one file.
const CA_BUNDLE_PATHS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The system's certificates out of their one file; `None` where there is no such file, or the environment
/// (`SSL_CERT_FILE`, `SSL_CERT_DIR`) names another place. Otherwise the same certificates would be read a second and a
/// third time from the folder beside it, which takes longer than a whole request.
#[expect(
    clippy::disallowed_methods,
    reason = "variables of OpenSSL's, not settings of ours"
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
