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
use super::complete_body::Whole;
use super::download::Intake;
use super::encoding::Encoding;
use super::error::FetchError;
use super::network::{NetworkPolicy, Unresolved};
use super::throughput::Meter;
use super::times::{asked_wait, has_settled};
use super::{Credentials, Fetched, Limits, Outcome, Progress, Refusal, Validators};
use crate::address::shown;

const MAX_REDIRECTS: usize = 5;

/// Speaks HTTP under the network policy.
#[derive(Debug, Clone)]
pub(super) struct Web {
    client: Client,
    policy: NetworkPolicy,
    limits: Limits,
    allow_plain: bool,
}

impl Web {
    pub(super) fn new(
        client: Client,
        policy: NetworkPolicy,
        limits: Limits,
        allow_plain: bool,
    ) -> Self {
        Self {
            client,
            policy,
            limits,
            allow_plain,
        }
    }

    /// Fetches a file, wherever the address leads; `now` serves where a server doesn't say what time it has.
    pub(super) async fn fetch(
        &self,
        from: &Url,
        credentials: Option<&Credentials>,
        known: Option<&Validators>,
        now: DateTime<Utc>,
        meter: &Meter,
    ) -> Result<Outcome, FetchError> {
        let known = known.filter(|known| known.etag.is_some() || known.last_modified.is_some());
        let mut url = from.clone();
        for hop in 0..=MAX_REDIRECTS {
            let sent = credentials.filter(|_| url.origin() == from.origin());
            // What was known of a file says nothing of the one that another address leads to now.
            let known = known.filter(|_| hop == 0);
            let get = self.get(&url, sent, known)?;
            // Whoever hangs up on a request was connected to.
            let proven = || meter.tell(Progress::ServerProven);
            let response = self.send(&url, get, &proven).await?;
            proven();
            let status = response.status();
            if status == StatusCode::NOT_MODIFIED {
                // Unasked, a 304 says nothing: there is no file that it could mean.
                return known.map_or_else(
                    || Err(refusal(&url, &response)),
                    |_| Ok(Outcome::NotModified),
                );
            }
            if status.is_redirection() {
                url = next_hop(&url, &response)?;
                // Whoever is sent on was let in.
                meter.tell(Progress::LoggedIn);
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && sent.is_none() {
                return Err(match credentials {
                    None => FetchError::LoginAsked(host_of(&url)),
                    Some(_) => FetchError::LoginAskedElsewhere {
                        host: host_of(from),
                        elsewhere: host_of(&url),
                    },
                });
            }
            if status != StatusCode::OK {
                return Err(refusal(&url, &response));
            }
            meter.tell(Progress::LoggedIn);
            let mut fetched = self.body(&url, response, now, meter).await?;
            if hop > 0 {
                fetched.validators = Validators::default();
            }
            return Ok(Outcome::File(fetched));
        }
        Err(FetchError::TooManyRedirects(host_of(from)))
    }

    /// How long silence is borne.
    pub(super) fn patience(&self) -> Duration {
        self.limits.idle_timeout
    }

    /// Scheme and literal address; names are checked when they are resolved.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), FetchError> {
        if url.scheme() != "https" && !(self.allow_plain && url.scheme() == "http") {
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
        hung_up: &(dyn Fn() + Sync),
    ) -> Result<Response, FetchError> {
        self.check_url(url)?;
        let patience = self.limits.connect_timeout + self.limits.idle_timeout;
        match tokio::time::timeout(patience, self.client.execute(request)).await {
            Ok(answered) => answered.map_err(|error| {
                if !error.is_connect() && !error.is_timeout() {
                    hung_up();
                }
                classify(url, &error)
            }),
            Err(_) => Err(FetchError::TimedOut {
                host: host_of(url),
                what: "no answer",
            }),
        }
    }

    fn get(
        &self,
        url: &Url,
        credentials: Option<&Credentials>,
        known: Option<&Validators>,
    ) -> Result<reqwest::Request, FetchError> {
        let mut get = self.client.get(url.clone());
        get = get.header(ACCEPT_ENCODING, "gzip");
        if let Some(credentials) = credentials {
            get = get.basic_auth(
                &credentials.username,
                Some(credentials.password.expose_secret()),
            );
        }
        if let Some(known) = known {
            if let Some(etag) = &known.etag {
                get = get.header(IF_NONE_MATCH, etag);
            } else if let Some(last_modified) = &known.last_modified {
                get = get.header(IF_MODIFIED_SINCE, last_modified);
            }
        }
        get.build().map_err(|error| classify(url, &error))
    }

    async fn body(
        &self,
        url: &Url,
        response: Response,
        now: DateTime<Utc>,
        meter: &Meter,
    ) -> Result<Fetched, FetchError> {
        let (declared, host) = (response.content_length(), host_of(url));
        let headers = response.headers();
        let encodings = headers.get_all(CONTENT_ENCODING).into_iter();
        let encodings = encodings.filter_map(|value| value.to_str().ok());
        let encoding = Encoding::named(encodings, &host)?;
        let mut file = Intake::new(&host, self.limits.max_bytes, declared, encoding, meter)?;
        let date = header(headers, DATE);
        let last_modified = header(headers, LAST_MODIFIED);
        let validators = Validators {
            etag: header(headers, ETAG),
            last_modified: last_modified.filter(|time| has_settled(time, date.as_deref(), now)),
            size_and_mtime: None,
        };
        let mut body = Whole::of(response);
        while let Some(piece) = body.next().await {
            file.push(&piece.map_err(|error| classify_body(url, &*error))?)?;
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

fn next_hop(from: &Url, response: &Response) -> Result<Url, FetchError> {
    let location = response.headers().get(LOCATION);
    // Not every server encodes what is no ASCII.
    let location = location.and_then(|location| std::str::from_utf8(location.as_bytes()).ok());
    let Some(location) = location else {
        return Err(refusal(from, response));
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

fn refusal(url: &Url, response: &Response) -> FetchError {
    let host = host_of(url);
    let date = header(response.headers(), DATE);
    let retry_after = header(response.headers(), RETRY_AFTER)
        .and_then(|asked| asked_wait(&asked, date.as_deref()));
    match response.status().as_u16() {
        401 | 407 => FetchError::Unauthorized(host),
        403 => FetchError::Forbidden(host),
        404 | 410 => FetchError::NotFound(shown(url)),
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
pub(super) fn find<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

fn classify(url: &Url, error: &reqwest::Error) -> FetchError {
    let host = host_of(url);
    if let Some(refusal) = find::<Refusal>(error) {
        return FetchError::AddressRefused(refusal.clone());
    }
    if let Some(unresolved) = find::<Unresolved>(error) {
        return unresolved.clone().into();
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return match tls {
            rustls::Error::InvalidCertificate(why) => FetchError::TlsInvalid {
                host,
                why: certificate::fault(why),
            },
            other => FetchError::ProtocolError {
                host,
                why: other.to_string(),
            },
        };
    }
    if error.is_timeout() {
        let what = if error.is_connect() {
            "connecting took too long"
        } else {
            "no answer"
        };
        return FetchError::TimedOut { host, what };
    }
    let why = causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string);
    // Where programmers read on.
    let why = why
        .split(": https://")
        .next()
        .unwrap_or_default()
        .to_owned();
    if error.is_connect() {
        return FetchError::ConnectFailed { host, why };
    }
    match find::<std::io::Error>(error).map(std::io::Error::kind) {
        Some(_) => FetchError::ConnectFailed { host, why },
        None if [
            "connection closed",
            "incomplete",
            "stream error",
            // HTTP/2's farewell, as of a server that starts anew.
            "connection error received",
        ]
        .iter()
        .any(|sign| why.contains(sign)) =>
        {
            FetchError::ConnectFailed { host, why }
        }
        None => FetchError::ProtocolError { host, why },
    }
}

fn classify_body(url: &Url, error: &(dyn StdError + 'static)) -> FetchError {
    let host = host_of(url);
    if find::<reqwest::Error>(error).is_some_and(reqwest::Error::is_timeout) {
        return FetchError::TimedOut {
            host,
            what: "it stopped sending",
        };
    }
    FetchError::Incomplete { host }
}
