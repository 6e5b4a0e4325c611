//! HTTP under the network policy, and files over HTTPS, public or with Basic authorization.

use std::error::Error as StdError;
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{
    CONTENT_ENCODING, DATE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode};
use secrecy::ExposeSecret;
use url::{Host, Url};

use super::certificate;
use super::error::FetchError;
use super::intake::Intake;
use super::meter::Meter;
use super::network::{NetworkPolicy, Unresolved};
use super::{Credentials, Fetched, Limits, Outcome, Progress, Refusal, Validators};
use crate::model::source::shown;

const MAX_REDIRECTS: usize = 5;
/// What a body may be compressed with. Where other words stand in their place, it is not compressed.
const COMPRESSIONS: [&str; 7] = [
    "gzip",
    "x-gzip",
    "br",
    "deflate",
    "zstd",
    "compress",
    "x-compress",
];

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

    pub(super) async fn fetch(
        &self,
        from: &Url,
        credentials: Option<&Credentials>,
        known: Option<&Validators>,
        meter: &Meter,
    ) -> Result<Outcome, FetchError> {
        let known = known.filter(|known| known.etag.is_some() || known.last_modified.is_some());
        let mut url = from.clone();
        for _ in 0..=MAX_REDIRECTS {
            let credentials = credentials.filter(|_| url.origin() == from.origin());
            let response = self.get(&url, credentials, known).await?;
            meter.tell(Progress::ServerProven);
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
            if status == StatusCode::UNAUTHORIZED && credentials.is_none() {
                return Err(FetchError::LoginAsked(host_of(&url)));
            }
            if status != StatusCode::OK {
                return Err(refusal(&url, &response));
            }
            meter.tell(Progress::LoggedIn);
            check_encoding(&url, response.headers())?;
            return self.body(&url, response, meter).await.map(Outcome::File);
        }
        Err(FetchError::TooManyRedirects(host_of(from)))
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
    /// must be there as soon as silence would no longer be borne.
    pub(super) async fn send(
        &self,
        url: &Url,
        request: reqwest::Request,
    ) -> Result<Response, FetchError> {
        self.check_url(url)?;
        let patience = self.limits.connect_timeout + self.limits.idle_timeout;
        match tokio::time::timeout(patience, self.client.execute(request)).await {
            Ok(answered) => answered.map_err(|error| classify(url, &error)),
            Err(_) => Err(FetchError::TimedOut {
                host: host_of(url),
                what: "no answer",
            }),
        }
    }

    async fn get(
        &self,
        url: &Url,
        credentials: Option<&Credentials>,
        known: Option<&Validators>,
    ) -> Result<Response, FetchError> {
        let mut get = self.client.get(url.clone());
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
        let request = get.build().map_err(|error| classify(url, &error))?;
        self.send(url, request).await
    }

    async fn body(
        &self,
        url: &Url,
        mut response: Response,
        meter: &Meter,
    ) -> Result<Fetched, FetchError> {
        let declared = response.content_length();
        let mut file = Intake::new(self.limits.max_bytes, declared, meter)?;
        let validators = Validators {
            etag: header(response.headers(), ETAG),
            last_modified: header(response.headers(), LAST_MODIFIED),
            size_and_mtime: None,
        };
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| classify_body(url, &error))?
        {
            file.push(&chunk)?;
        }
        file.finish(&host_of(url), validators)
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

/// A file may be compressed in the one way that was offered, which is undone and no longer named by now.
fn check_encoding(url: &Url, headers: &HeaderMap) -> Result<(), FetchError> {
    let named = headers.get_all(CONTENT_ENCODING).into_iter();
    let left = named
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|word| {
            COMPRESSIONS
                .iter()
                .find(|name| word.trim().eq_ignore_ascii_case(name))
        });
    left.map_or(Ok(()), |left| {
        Err(FetchError::ProtocolError {
            host: host_of(url),
            why: format!("it sends the file compressed as `{left}`, which is not understood"),
        })
    })
}

fn next_hop(from: &Url, response: &Response) -> Result<Url, FetchError> {
    let location = response.headers().get(LOCATION);
    let Some(location) = location.and_then(|location| location.to_str().ok()) else {
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

/// How long a server asks us to stay away: in seconds, or until a time by its own clock, which `date` tells.
pub(super) fn asked_wait(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let retry_after = retry_after.trim();
    let time = |text: &str| DateTime::parse_from_rfc2822(text.trim()).ok();
    match retry_after.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(
            (time(retry_after)? - time(date?)?)
                .to_std()
                .unwrap_or_default(),
        ),
    }
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

fn classify_body(url: &Url, error: &reqwest::Error) -> FetchError {
    let host = host_of(url);
    if error.is_timeout() {
        return FetchError::TimedOut {
            host,
            what: "it stopped sending",
        };
    }
    FetchError::Incomplete { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_time() {
        let date = Some("Wed, 25 Nov 2026 10:00:00 GMT");
        for (retry_after, date, seconds) in [
            ("7", None, Some(7)),
            (" 0 ", date, Some(0)),
            ("86400", date, Some(86400)),
            ("Wed, 25 Nov 2026 10:00:30 GMT", date, Some(30)),
            ("Wed, 25 Nov 2026 09:59:30 GMT", date, Some(0)),
            ("Thu, 26 Nov 2026 10:00:00 GMT", date, Some(86400)),
            ("Wed, 25 Nov 2026 10:00:30 GMT", None, None),
            ("soon", date, None),
            ("-1", date, None),
        ] {
            let wait = asked_wait(retry_after, date).map(|wait| wait.as_secs());
            assert_eq!(wait, seconds, "{retry_after} at {date:?}");
        }
    }
}
