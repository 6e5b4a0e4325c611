//! HTTP under the network policy, and files over HTTPS, public or with Basic authorization.

use std::error::Error as StdError;
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
use super::error::FetchError;
use super::http_date::{is_reliable_last_modified, parse_retry_after};
use super::network::{LookupFailed, NetworkPolicy};
use super::throughput::TransferMonitor;
use super::{BlockedAddress, Credentials, FetchedFile, Limits, Outcome, Progress, Validators};
use crate::address::display_url;

const MAX_REDIRECTS: usize = 5;

/// Speaks HTTP under the network policy.
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

    /// Fetches a file, wherever the address leads; `now` serves where a server doesn't say what time it has.
    pub(super) async fn fetch(
        &self,
        from: &Url,
        credentials: Option<&Credentials>,
        previous: Option<&Validators>,
        now: DateTime<Utc>,
        monitor: &TransferMonitor,
    ) -> Result<Outcome, FetchError> {
        let previous =
            previous.filter(|previous| previous.etag.is_some() || previous.last_modified.is_some());
        let mut url = from.clone();
        for hop in 0..=MAX_REDIRECTS {
            let sent_credentials = credentials.filter(|_| url.origin() == from.origin());
            // What was known of a file says nothing of the one that another address leads to now.
            let previous = previous.filter(|_| hop == 0);
            let get = self.get(&url, sent_credentials, previous)?;
            // Whoever hangs up on a request was connected to.
            let report_authenticated = || monitor.report(Progress::ServerAuthenticated);
            let response = self.send(&url, get, &report_authenticated).await?;
            report_authenticated();
            let status = response.status();
            if status == StatusCode::NOT_MODIFIED {
                // Unasked, a 304 says nothing: there is no file that it could mean.
                return previous.map_or_else(
                    || Err(status_error(&url, &response)),
                    |_| Ok(Outcome::NotModified),
                );
            }
            if status.is_redirection() {
                url = redirect_target(&url, &response)?;
                // Whoever is sent on was let in.
                monitor.report(Progress::LoggedIn);
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && sent_credentials.is_none() {
                return Err(match credentials {
                    None => FetchError::LoginRequired(host_of(&url)),
                    Some(_) => FetchError::LoginRequiredAfterRedirect {
                        host: host_of(from),
                        redirect_host: host_of(&url),
                    },
                });
            }
            if status != StatusCode::OK {
                return Err(status_error(&url, &response));
            }
            monitor.report(Progress::LoggedIn);
            let mut fetched = self.body(&url, response, now, monitor).await?;
            if hop > 0 {
                fetched.validators = Validators::default();
            }
            return Ok(Outcome::File(fetched));
        }
        Err(FetchError::TooManyRedirects(host_of(from)))
    }

    /// How long silence is borne.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.limits.idle_timeout
    }

    /// Scheme and literal address; names are checked when they are resolved.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), FetchError> {
        if url.scheme() != "https" && !(self.allow_plain_http && url.scheme() == "http") {
            return Err(FetchError::SchemeRefused(url.scheme().to_owned()));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            _ => return Ok(()),
        };
        self.policy
            .check(&host_of(url), literal)
            .map_err(FetchError::AddressRefused)
    }

    /// Sends a request to an address that is checked when it is connected to, and waits for the head of the answer, which
    /// must be there as soon as silence would no longer be borne. `hung_up` is called where there was a connection, and no
    /// answer came of it.
    pub(super) async fn send(
        &self,
        url: &Url,
        request: reqwest::Request,
        on_connection_closed: &(dyn Fn() + Sync),
    ) -> Result<Response, FetchError> {
        self.check_url(url)?;
        let timeout = self.limits.connect_timeout + self.limits.idle_timeout;
        match tokio::time::timeout(timeout, self.client.execute(request)).await {
            Ok(answered) => answered.map_err(|error| {
                if !error.is_connect() && !error.is_timeout() {
                    on_connection_closed();
                }
                classify_error(url, &error)
            }),
            Err(_) => Err(FetchError::TimedOut {
                host: host_of(url),
                reason: "no answer",
            }),
        }
    }

    fn get(
        &self,
        url: &Url,
        credentials: Option<&Credentials>,
        previous: Option<&Validators>,
    ) -> Result<reqwest::Request, FetchError> {
        let mut get = self.client.get(url.clone());
        get = get.header(ACCEPT_ENCODING, "gzip");
        if let Some(credentials) = credentials {
            get = get.basic_auth(
                &credentials.username,
                Some(credentials.password.expose_secret()),
            );
        }
        if let Some(previous) = previous {
            if let Some(etag) = &previous.etag {
                get = get.header(IF_NONE_MATCH, etag);
            } else if let Some(last_modified) = &previous.last_modified {
                get = get.header(IF_MODIFIED_SINCE, last_modified);
            }
        }
        get.build().map_err(|error| classify_error(url, &error))
    }

    async fn body(
        &self,
        url: &Url,
        response: Response,
        now: DateTime<Utc>,
        monitor: &TransferMonitor,
    ) -> Result<FetchedFile, FetchError> {
        let (declared_len, host) = (response.content_length(), host_of(url));
        let headers = response.headers();
        let encodings = headers.get_all(CONTENT_ENCODING).into_iter();
        let encodings = encodings.filter_map(|value| value.to_str().ok());
        let encoding = ContentEncoding::parse(encodings, &host)?;
        let mut file = Download::new(
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
            file.push(&chunk.map_err(|error| classify_body_error(url, &*error))?)?;
        }
        file.finish(validators)
    }
}

pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (!value.is_empty() && value.len() <= 1024).then(|| value.to_owned())
}

fn redirect_target(from: &Url, response: &Response) -> Result<Url, FetchError> {
    let location = response.headers().get(LOCATION);
    // Not every server encodes what is no ASCII.
    let location = location.and_then(|location| std::str::from_utf8(location.as_bytes()).ok());
    let Some(location) = location else {
        return Err(status_error(from, response));
    };
    let refused = |to: String| FetchError::RedirectRefused {
        host: host_of(from),
        to,
    };
    let Ok(to) = from.join(location) else {
        return Err(refused("something that is no address".to_owned()));
    };
    if to.scheme() != from.scheme() {
        return Err(refused(format!(
            "an address that begins with {}:",
            to.scheme()
        )));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused("an address with a user name".to_owned()));
    }
    Ok(to)
}

fn status_error(url: &Url, response: &Response) -> FetchError {
    let host = host_of(url);
    let date = header(response.headers(), DATE);
    let retry_after = header(response.headers(), RETRY_AFTER)
        .and_then(|asked| parse_retry_after(&asked, date.as_deref()));
    match response.status().as_u16() {
        401 | 407 => FetchError::Unauthorized(host),
        403 => FetchError::Forbidden(host),
        404 | 410 => FetchError::NotFound(display_url(url)),
        429 => FetchError::RateLimited { host, retry_after },
        status @ 500..=599 => FetchError::ServerError {
            host,
            status,
            retry_after,
        },
        status => FetchError::HttpStatus {
            host,
            status,
            retry_after,
        },
    }
}

/// The causes of an error, down to the first, also those that `io::Error` hides.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        inner
            .map(|inner| inner as &(dyn StdError + 'static))
            .or_else(|| error.source())
    })
}

/// The first cause of this type.
pub(super) fn find_cause<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

fn classify_error(url: &Url, error: &reqwest::Error) -> FetchError {
    let host = host_of(url);
    if let Some(blocked) = find_cause::<BlockedAddress>(error) {
        return FetchError::AddressRefused(blocked.clone());
    }
    if let Some(lookup_failed) = find_cause::<LookupFailed>(error) {
        return lookup_failed.clone().into();
    }
    if let Some(tls) = find_cause::<rustls::Error>(error) {
        return match tls {
            rustls::Error::InvalidCertificate(reason) => FetchError::TlsInvalid {
                host,
                reason: certificate::describe_error(reason),
            },
            other => FetchError::ProtocolError {
                host,
                reason: other.to_string(),
            },
        };
    }
    if error.is_timeout() {
        let reason = if error.is_connect() {
            "connecting took too long"
        } else {
            "no answer"
        };
        return FetchError::TimedOut { host, reason };
    }
    let reason = causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string);
    // Where programmers read on.
    let reason = reason
        .split(": https://")
        .next()
        .unwrap_or_default()
        .to_owned();
    if error.is_connect() {
        return FetchError::ConnectFailed { host, reason };
    }
    match find_cause::<std::io::Error>(error).map(std::io::Error::kind) {
        Some(_) => FetchError::ConnectFailed { host, reason },
        None if [
            "connection closed",
            "incomplete",
            "stream error",
            // HTTP/2's farewell, as of a server that starts anew.
            "connection error received",
        ]
        .iter()
        .any(|pattern| reason.contains(pattern)) =>
        {
            FetchError::ConnectFailed { host, reason }
        }
        None => FetchError::ProtocolError { host, reason },
    }
}

fn classify_body_error(url: &Url, error: &(dyn StdError + 'static)) -> FetchError {
    let host = host_of(url);
    if find_cause::<reqwest::Error>(error).is_some_and(reqwest::Error::is_timeout) {
        return FetchError::TimedOut {
            host,
            reason: "it stopped sending",
        };
    }
    FetchError::Incomplete { host }
}
