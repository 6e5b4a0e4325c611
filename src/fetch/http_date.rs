//! Times in HTTP headers: `Date`, `Last-Modified`, `Retry-After`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

fn parse_date_header(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text.trim()).ok().map(Into::into)
}

/// Whether `Last-Modified` can be used as a validator. It cannot while the file may still change within the same second (RFC 9110,
/// 8.8.2.2). The age is measured by the server's clock (`date`), or by the local one (`now`) if the server sends no date.
pub(super) fn is_reliable_last_modified(
    last_modified: &str,
    date: Option<&str>,
    now: DateTime<Utc>,
) -> bool {
    let response_date = date.and_then(parse_date_header).unwrap_or(now);
    // A value that is not a date is compared as text, so its age does not matter.
    parse_date_header(last_modified)
        .is_none_or(|modified| response_date - modified >= TimeDelta::seconds(2))
}

/// The wait that `Retry-After` asks for: a number of seconds, or a date by the server's clock (`date`).
pub(super) fn parse_retry_after(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let retry_after = retry_after.trim();
    if !retry_after.is_empty() && retry_after.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large for `u64`
        return Some(Duration::from_secs(
            retry_after.parse().unwrap_or(u64::from(u32::MAX)),
        ));
    }
    let wait = parse_date_header(retry_after)? - parse_date_header(date?)?;
    Some(wait.to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_last_modified_is_not_reliable() {
        let now = "2026-11-25T10:00:07Z".parse().unwrap();
        let date = Some("Wed, 25 Nov 2026 10:00:05 GMT");
        for (modified, date, reliable) in [
            ("Wed, 25 Nov 2026 10:00:05 GMT", date, false),
            ("Wed, 25 Nov 2026 10:00:04 GMT", date, false),
            ("Wed, 25 Nov 2026 10:00:09 GMT", date, false),
            ("Wed, 25 Nov 2026 10:00:03 GMT", date, true),
            ("Wed, 25 Nov 2026 10:00:05 GMT", None, true),
            ("Wed, 25 Nov 2026 10:00:06 GMT", None, false),
            ("Wed, 25 Nov 2026 10:00:06 GMT", Some("now"), false),
            ("version 7", date, true),
        ] {
            assert_eq!(
                is_reliable_last_modified(modified, date, now),
                reliable,
                "{modified}"
            );
        }
    }

    #[test]
    fn retry_after_accepts_seconds_and_dates() {
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
            ("99999999999999999999", date, Some(u64::from(u32::MAX))),
        ] {
            let wait = parse_retry_after(retry_after, date).map(|wait| wait.as_secs());
            assert_eq!(wait, seconds, "{retry_after} at {date:?}");
        }
    }
}
