//! HTTP requests under the network policy, and files over HTTPS with or without Basic authentication. Does not build clients.

use std::error::Error as StdError;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, DATE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode};
use secrecy::ExposeSecret;
use url::{Host, Url};

use super::certificate;
use super::complete_body::CompleteBody;
use super::content_encoding::ContentEncoding;
use super::download::Download;
use super::error::{FetchError, FetchErrorKind, FetchStage};
use super::error_chain::{find_cause, root_cause_message};
use super::error_detail::{ConnectFault, ProtocolFault, RedirectFault, ServerReply, TimeoutReason};
use super::http_date::{is_reliable_last_modified, parse_retry_after};
use super::network::{LookupFailed, NetworkPolicy};
use super::throughput::TransferMonitor;
use super::{BlockedAddress, Credentials, FetchedFile, Limits, Outcome, Validators};
use crate::address::display_url;

const MAX_REDIRECTS: usize = 5;
/// Maximum length of a header value that is used, in bytes.
const MAX_HEADER_VALUE_BYTES: usize = 1024;

/// Sends HTTP requests under the network policy.
#[derive(Debug, Clone)]
pub(super) struct HttpFetcher {
    client: Client,
    policy: NetworkPolicy,
    limits: Limits,
    allow_plain_http: bool,
}

impl HttpFetcher {
    pub(super) fn new(
        client: Client,
        policy: NetworkPolicy,
        limits: Limits,
        allow_plain_http: bool,
    ) -> Self {
        Self {
            client,
            policy,
            limits,
            allow_plain_http,
        }
    }

    /// Fetches a file and follows redirects. `now` is used if the server does not send its own time.
    pub(super) async fn fetch(
        &self,
        from: &Url,
        credentials: Option<&Credentials>,
        previous: Option<&Validators>,
        now: DateTime<Utc>,
        monitor: &TransferMonitor,
    ) -> Result<Outcome, FetchErrorKind> {
        let previous =
            previous.filter(|previous| previous.etag.is_some() || previous.last_modified.is_some());
        monitor.enter(connecting_stage(from.scheme()));
        let mut url = from.clone();
        for hop in 0..=MAX_REDIRECTS {
            let sent_credentials = credentials.filter(|_| url.origin() == from.origin());
            // Validators are only valid for the configured address: a redirect may lead to another file each time.
            let previous = previous.filter(|_| hop == 0);
            let request = self.get_request(&url, sent_credentials, previous)?;
            let response = self.send(&url, request).await.map_err(|error| {
                // After a redirect, the stage remains `File`: the configured server has been reached.
                if hop == 0 {
                    monitor.enter(match error.stage {
                        FetchStage::Authenticate if credentials.is_none() => FetchStage::File,
                        stage => stage,
                    });
                }
                error.kind
            })?;
            let status = response.status();
            monitor.enter(stage_of_status(status, hop == 0 && credentials.is_some()));
            if status == StatusCode::NOT_MODIFIED {
                // Without a condition in the request, a 304 is an error.
                return previous.map_or_else(
                    || Err(status_error(&url, &response)),
                    |_| Ok(Outcome::NotModified),
                );
            }
            if status.is_redirection() {
                url = redirect_target(&url, &response)?;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && sent_credentials.is_none() {
                return Err(match credentials {
                    None => FetchErrorKind::LoginRequired(host_of(&url)),
                    Some(_) => FetchErrorKind::LoginRequiredAfterRedirect {
                        host: host_of(from),
                        redirect_host: host_of(&url),
                    },
                });
            }
            if status != StatusCode::OK {
                return Err(status_error(&url, &response));
            }
            let mut fetched = self.download_body(&url, response, now, monitor).await?;
            if hop > 0 {
                fetched.validators = Validators::default();
            }
            return Ok(Outcome::File(fetched));
        }
        Err(FetchErrorKind::TooManyRedirects {
            host: host_of(from),
            limit: MAX_REDIRECTS,
        })
    }

    /// Maximum time without data.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.limits.idle_timeout
    }

    /// Checks the scheme and a literal address. Host names are checked when they are resolved.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), FetchError> {
        if url.scheme() != "https" && !(self.allow_plain_http && url.scheme() == "http") {
            let scheme = url.scheme().to_owned();
            return Err(FetchErrorKind::SchemeRefused(scheme).at(FetchStage::Address));
        }
        let literal: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            _ => return Ok(()),
        };
        self.policy
            .check(&literal.to_string(), literal)
            .map_err(|blocked| FetchErrorKind::AddressRefused(blocked).at(FetchStage::Resolve))
    }

    /// Sends a request and waits for the response headers. An error has the stage `Authenticate` if the server was connected, but
    /// did not respond.
    pub(super) async fn send(
        &self,
        url: &Url,
        request: reqwest::Request,
    ) -> Result<Response, FetchError> {
        self.check_url(url)?;
        let timeout = self.limits.connect_timeout + self.limits.idle_timeout;
        match tokio::time::timeout(timeout, self.client.execute(request)).await {
            Ok(result) => result.map_err(|error| self.classify_error(url, &error)),
            Err(_) => Err(FetchErrorKind::TimedOut {
                host: host_of(url),
                reason: TimeoutReason::Response(timeout),
            }
            .at(connecting_stage(url.scheme()))),
        }
    }

    fn get_request(
        &self,
        url: &Url,
        credentials: Option<&Credentials>,
        previous: Option<&Validators>,
    ) -> Result<reqwest::Request, FetchErrorKind> {
        let mut request = self.client.get(url.clone());
        request = request.header(ACCEPT_ENCODING, "gzip");
        if let Some(credentials) = credentials {
            request = request.basic_auth(
                &credentials.username,
                Some(credentials.password.expose_secret()),
            );
        }
        if let Some(previous) = previous {
            if let Some(etag) = &previous.etag {
                request = request.header(IF_NONE_MATCH, etag);
            } else if let Some(last_modified) = &previous.last_modified {
                request = request.header(IF_MODIFIED_SINCE, last_modified);
            }
        }
        request
            .build()
            .map_err(|error| self.classify_error(url, &error).kind)
    }

    async fn download_body(
        &self,
        url: &Url,
        response: Response,
        now: DateTime<Utc>,
        monitor: &TransferMonitor,
    ) -> Result<FetchedFile, FetchErrorKind> {
        let (declared_len, host) = (response.content_length(), host_of(url));
        let headers = response.headers();
        let encodings = headers.get_all(CONTENT_ENCODING).into_iter();
        let encodings = encodings.filter_map(|value| value.to_str().ok());
        let encoding = ContentEncoding::parse(encodings, &host)?;
        let mut download = Download::new(
            &host,
            self.limits.max_bytes,
            declared_len,
            encoding,
            monitor,
        )?;
        let date = header(headers, DATE);
        let last_modified = header(headers, LAST_MODIFIED);
        let validators = Validators {
            etag: header(headers, ETAG),
            last_modified: last_modified
                .filter(|time| is_reliable_last_modified(time, date.as_deref(), now)),
            size_and_mtime: None,
        };
        let mut body = CompleteBody::new(response);
        while let Some(chunk) = body.next().await {
            download.push(&chunk.map_err(|error| self.classify_body_error(url, &*error))?)?;
        }
        download.finish(validators)
    }

    fn classify_error(&self, url: &Url, error: &reqwest::Error) -> FetchError {
        let host = host_of(url);
        if let Some(blocked) = find_cause::<BlockedAddress>(error) {
            return FetchErrorKind::AddressRefused(blocked.clone()).at(FetchStage::Resolve);
        }
        if let Some(lookup_failed) = find_cause::<LookupFailed>(error) {
            return FetchErrorKind::from(lookup_failed.clone()).at(FetchStage::Resolve);
        }
        // The read timeout also covers the connection, so it does not tell whether the server was connected.
        let stage = if error.is_connect() || error.is_timeout() {
            connecting_stage(url.scheme())
        } else {
            FetchStage::Authenticate
        };
        if let Some(tls) = find_cause::<rustls::Error>(error) {
            return match tls {
                rustls::Error::InvalidCertificate(reason) => FetchErrorKind::TlsInvalid {
                    host,
                    reason: certificate::describe_error(reason),
                }
                .at(FetchStage::Tls),
                other => FetchErrorKind::ProtocolError {
                    host,
                    reason: ProtocolFault::Tls(other.to_string()),
                }
                .at(stage),
            };
        }
        let kind = if error.is_timeout() {
            let reason = if error.is_connect() {
                TimeoutReason::Connect(self.limits.connect_timeout)
            } else {
                TimeoutReason::Idle(self.limits.idle_timeout)
            };
            FetchErrorKind::TimedOut { host, reason }
        } else if error.is_connect() || is_connection_lost(error) {
            let reason = ConnectFault::Network(root_cause_message(error));
            FetchErrorKind::ConnectFailed { host, reason }
        } else {
            let reason = ProtocolFault::Http(root_cause_message(error));
            FetchErrorKind::ProtocolError { host, reason }
        };
        kind.at(stage)
    }

    fn classify_body_error(&self, url: &Url, error: &(dyn StdError + 'static)) -> FetchErrorKind {
        let host = host_of(url);
        if find_cause::<reqwest::Error>(error).is_some_and(reqwest::Error::is_timeout) {
            return FetchErrorKind::TimedOut {
                host,
                reason: TimeoutReason::Idle(self.limits.idle_timeout),
            };
        }
        FetchErrorKind::Incomplete { host }
    }
}

/// The stage of a request that has not been answered. The HTTP client opens the connection and does the TLS handshake in one step.
pub(super) fn connecting_stage(scheme: &str) -> FetchStage {
    match scheme {
        "http" => FetchStage::Connect,
        _ => FetchStage::Tls,
    }
}

/// The stage that a response with this status belongs to.
fn stage_of_status(status: StatusCode, sends_credentials: bool) -> FetchStage {
    match status.as_u16() {
        401 | 407 => FetchStage::Authenticate,
        // These are about the file, so the server has accepted the credentials.
        200 | 300..=399 | 403 | 404 | 410 => FetchStage::File,
        // Other errors do not tell whether the server has checked the credentials.
        _ => {
            if sends_credentials {
                FetchStage::Authenticate
            } else {
                FetchStage::File
            }
        }
    }
}

pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (!value.is_empty() && value.len() <= MAX_HEADER_VALUE_BYTES).then(|| value.to_owned())
}

fn redirect_target(from: &Url, response: &Response) -> Result<Url, FetchErrorKind> {
    let location = response.headers().get(LOCATION);
    // Some servers do not encode non-ASCII characters.
    let location = location.and_then(|location| std::str::from_utf8(location.as_bytes()).ok());
    let Some(location) = location else {
        return Err(status_error(from, response));
    };
    let refused = |target: RedirectFault| FetchErrorKind::RedirectRefused {
        host: host_of(from),
        target,
    };
    let Ok(to) = from.join(location) else {
        return Err(refused(RedirectFault::InvalidUrl));
    };
    if to.scheme() != from.scheme() {
        return Err(refused(RedirectFault::OtherScheme(to.scheme().to_owned())));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused(RedirectFault::HasCredentials));
    }
    Ok(to)
}

fn status_error(url: &Url, response: &Response) -> FetchErrorKind {
    let host = host_of(url);
    let status = response.status().as_u16();
    let reply = ServerReply::Http(status);
    let date = header(response.headers(), DATE);
    let retry_after = header(response.headers(), RETRY_AFTER)
        .and_then(|value| parse_retry_after(&value, date.as_deref()));
    match status {
        401 | 407 => FetchErrorKind::Unauthorized { host, reply },
        403 => FetchErrorKind::Forbidden { host, reply },
        404 | 410 => FetchErrorKind::NotFound(display_url(url)),
        429 => FetchErrorKind::RateLimited {
            host,
            reply,
            retry_after,
        },
        500..=599 => FetchErrorKind::ServerError {
            host,
            reply,
            retry_after,
        },
        _ => FetchErrorKind::HttpStatus {
            host,
            reply,
            retry_after,
        },
    }
}

/// Whether an established connection was lost. Such errors are worth a retry, unlike violations of the protocol.
fn is_connection_lost(error: &reqwest::Error) -> bool {
    if find_cause::<std::io::Error>(error).is_some() {
        return true;
    }
    let message = root_cause_message(error);
    [
        "connection closed",
        "incomplete",
        "stream error",
        // GOAWAY of HTTP/2, for example from a server that restarts.
        "connection error received",
    ]
    .iter()
    .any(|pattern| message.contains(pattern))
}
