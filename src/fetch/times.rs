//! What the headers of an answer say of times.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

fn http_time(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text.trim()).ok().map(Into::into)
}

/// Whether a time of modification tells a file from the next one: not while another may yet be written in the same second
/// (RFC 9110, 8.8.2.2), by the server's own clock, or by ours (`now`) if it tells nothing of its own.
pub(super) fn has_settled(last_modified: &str, date: Option<&str>, now: DateTime<Utc>) -> bool {
    let answered = date.and_then(http_time).unwrap_or(now);
    // What is no time is a name like any other.
    http_time(last_modified).is_none_or(|modified| answered - modified >= TimeDelta::seconds(2))
}

/// How long a server asks us to stay away: in seconds, or until a time by its own clock, which `date` tells.
pub(super) fn asked_wait(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let retry_after = retry_after.trim();
    if !retry_after.is_empty() && retry_after.bytes().all(|byte| byte.is_ascii_digit()) {
        // Longer than any number is long.
        return Some(Duration::from_secs(
            retry_after.parse().unwrap_or(u64::from(u32::MAX)),
        ));
    }
    let wait = http_time(retry_after)? - http_time(date?)?;
    Some(wait.to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_modification_of_this_second_is_not_remembered() {
        let now = "2026-11-25T10:00:07Z".parse().unwrap();
        let date = Some("Wed, 25 Nov 2026 10:00:05 GMT");
        for (modified, date, settled) in [
            ("Wed, 25 Nov 2026 10:00:05 GMT", date, false),
            ("Wed, 25 Nov 2026 10:00:04 GMT", date, false),
            ("Wed, 25 Nov 2026 10:00:09 GMT", date, false),
            ("Wed, 25 Nov 2026 10:00:03 GMT", date, true),
            ("Wed, 25 Nov 2026 10:00:05 GMT", None, true),
            ("Wed, 25 Nov 2026 10:00:06 GMT", None, false),
            ("Wed, 25 Nov 2026 10:00:06 GMT", Some("now"), false),
            ("version 7", date, true),
        ] {
            assert_eq!(has_settled(modified, date, now), settled, "{modified}");
        }
    }

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
            ("99999999999999999999", date, Some(u64::from(u32::MAX))),
        ] {
            let wait = asked_wait(retry_after, date).map(|wait| wait.as_secs());
            assert_eq!(wait, seconds, "{retry_after} at {date:?}");
        }
    }
}
