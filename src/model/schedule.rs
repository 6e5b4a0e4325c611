//! Computes when imports are due (`next_run_at`) from days and a local time, across daylight saving time changes.
//!
//! jiff reads the machine's time zone database, so system updates bring new time zone rules. If the machine has none, jiff
//! uses its built-in copy.

use chrono::{DateTime, Utc};
use jiff::civil::{Date, DateTime as LocalDateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

use super::string_enum;

string_enum!(
    /// A day of the week, as spelled in the database and in commands.
    Weekday {
        /// Monday.
        Mon = "mon",
        /// Tuesday.
        Tue = "tue",
        /// Wednesday.
        Wed = "wed",
        /// Thursday.
        Thu = "thu",
        /// Friday.
        Fri = "fri",
        /// Saturday.
        Sat = "sat",
        /// Sunday.
        Sun = "sun",
    }
);

impl Weekday {
    fn from_date(date: Date) -> Self {
        Self::ALL[usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0)]
    }
}

/// A row of `import_schedules`, without ids and `next_run_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Days of the week; at least one.
    pub days: Vec<Weekday>,
    /// Local time in the account's time zone, in whole seconds.
    pub at: Time,
    /// A disabled schedule is never due.
    pub enabled: bool,
}

/// The time zone database does not contain this time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "time zone `{0}` is not in this machine's time zone database; check its name, or install or update the package `tzdata`"
)]
pub struct UnknownTimeZone(pub String);

/// The time zone with this IANA name.
///
/// # Errors
/// [`UnknownTimeZone`] if the time zone database does not contain it.
pub fn zone(name: &str) -> Result<TimeZone, UnknownTimeZone> {
    TimeZone::get(name).map_err(|_| UnknownTimeZone(name.to_owned()))
}

impl Schedule {
    /// The first instant strictly after `after` at which this schedule is due in `zone`; `None` if it has no days.
    ///
    /// A local time that does not exist because of a daylight saving time change is due at the first instant after the gap.
    /// A local time that occurs twice is due the first time only.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>, zone: &TimeZone) -> Option<DateTime<Utc>> {
        let start = Timestamp::from_second(after.timestamp()).ok()?;
        // Starts with the day before, because an instant after a gap may belong to a local time of that day. Nine days
        // include every weekday even if the zone skipped a whole day.
        let today = zone.to_datetime(start).date();
        (-1..=9)
            .filter_map(|offset| today.checked_add(Span::new().days(offset)).ok())
            .filter(|date| self.days.contains(&Weekday::from_date(*date)))
            .filter_map(|date| resolve_local_time(date.to_datetime(self.at), zone))
            .filter_map(|at| DateTime::from_timestamp(at.as_second(), 0))
            .filter(|at| *at > after)
            .min()
    }
}

fn resolve_local_time(local: LocalDateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            ambiguous.earlier().ok()
        }
        AmbiguousOffset::Gap { after, .. } => {
            // With the offset after the gap, the time is before the transition that caused the gap.
            let before_gap = after.to_timestamp(local).ok()?;
            zone.following(before_gap)
                .next()
                .map(|transition| transition.timestamp())
        }
    }
}

/// An instant as local time with the offset from UTC (RFC 3339).
#[must_use]
pub fn local_rfc3339(at: DateTime<Utc>, zone: &TimeZone) -> String {
    let Ok(at) = Timestamp::from_second(at.timestamp()) else {
        return at.to_rfc3339();
    };
    let zoned = at.to_zoned(zone.clone());
    zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// An instant for people: `Mon 30 Nov 2026, 02:30 (America/Vancouver, UTC-08:00)`; in UTC if the time zone is unknown.
#[must_use]
pub fn display_time(at: DateTime<Utc>, time_zone: &str) -> String {
    let Ok(at) = Timestamp::from_second(at.timestamp()) else {
        return at.to_rfc3339();
    };
    match zone(time_zone) {
        Ok(zone) => {
            let local = at
                .to_zoned(zone)
                .strftime("%a %-d %b %Y, %H:%M|UTC%:z")
                .to_string();
            let (time, offset) = local.split_once('|').unwrap_or((&local, "UTC"));
            format!("{time} ({time_zone}, {offset})")
        }
        Err(_) => at.strftime("%a %-d %b %Y, %H:%M (UTC)").to_string(),
    }
}

/// The next `count` instants at which any of the schedules is due. Schedules due at the same instant count once.
#[must_use]
pub fn upcoming(
    schedules: &[Schedule],
    after: DateTime<Utc>,
    zone: &TimeZone,
    count: usize,
) -> Vec<DateTime<Utc>> {
    let mut due = Vec::with_capacity(count);
    let mut from = after;
    while due.len() < count {
        let next = schedules
            .iter()
            .filter(|s| s.enabled)
            .filter_map(|s| s.next_after(from, zone))
            .min();
        let Some(next) = next else { break };
        due.push(next);
        from = next;
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(days: &[Weekday], at: &str) -> Schedule {
        Schedule {
            days: days.to_vec(),
            at: at.parse().unwrap(),
            enabled: true,
        }
    }

    #[track_caller]
    fn check(zone_name: &str, days: &[Weekday], at: &str, after: &str, expected: &str) {
        let next = schedule(days, at).next_after(after.parse().unwrap(), &zone(zone_name).unwrap());
        assert_eq!(
            next,
            Some(expected.parse().unwrap()),
            "{zone_name} {at} after {after}"
        );
    }

    #[test]
    fn weekly_time_keeps_local_time_across_dst() {
        use Weekday::Mon;
        check(
            "America/New_York",
            &[Mon],
            "02:30",
            "2026-10-26T12:00:00Z",
            "2026-11-02T07:30:00Z",
        );
        check(
            "America/New_York",
            &[Mon],
            "02:30",
            "2026-10-20T12:00:00Z",
            "2026-10-26T06:30:00Z",
        );
        check(
            "UTC",
            &[Mon],
            "00:00",
            "2026-11-22T23:59:59Z",
            "2026-11-23T00:00:00Z",
        );
    }

    #[test]
    fn time_due_exactly_now_runs_next_week() {
        check(
            "UTC",
            &[Weekday::Mon],
            "02:30",
            "2026-11-23T02:30:00Z",
            "2026-11-30T02:30:00Z",
        );
    }

    #[test]
    fn time_in_dst_gap_runs_at_end_of_gap() {
        check(
            "America/Los_Angeles",
            &[Weekday::Sun],
            "02:30",
            "2026-03-07T12:00:00Z",
            "2026-03-08T10:00:00Z",
        );
        check(
            "Europe/Oslo",
            &[Weekday::Sun],
            "02:00",
            "2026-03-28T12:00:00Z",
            "2026-03-29T01:00:00Z",
        );
        // Daylight saving time on Lord Howe Island shifts by 30 minutes.
        check(
            "Australia/Lord_Howe",
            &[Weekday::Sun],
            "02:15",
            "2026-10-03T00:00:00Z",
            "2026-10-03T15:30:00Z",
        );
    }

    #[test]
    fn repeated_time_runs_only_at_first_occurrence() {
        check(
            "Europe/Oslo",
            &[Weekday::Sun],
            "02:30",
            "2026-10-24T12:00:00Z",
            "2026-10-25T00:30:00Z",
        );
        check(
            "Europe/Oslo",
            &[Weekday::Sun],
            "02:30",
            "2026-10-25T00:30:00Z",
            "2026-11-01T01:30:00Z",
        );
    }

    #[test]
    fn upcoming_merges_duplicates_and_skips_disabled() {
        let mut disabled = schedule(&[Weekday::Wed], "01:00");
        disabled.enabled = false;
        let schedules = [
            schedule(&[Weekday::Mon, Weekday::Thu], "02:30"),
            schedule(&[Weekday::Mon], "02:30"),
            disabled,
        ];
        let zone = zone("America/Los_Angeles").unwrap();
        let due = upcoming(
            &schedules,
            "2026-11-22T00:00:00Z".parse().unwrap(),
            &zone,
            3,
        );
        let shown: Vec<String> = due.into_iter().map(|at| local_rfc3339(at, &zone)).collect();
        assert_eq!(
            shown,
            [
                "2026-11-23T02:30:00-08:00",
                "2026-11-26T02:30:00-08:00",
                "2026-11-30T02:30:00-08:00"
            ]
        );
    }

    #[test]
    fn weekly_slot_runs_exactly_once_in_every_zone() {
        let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let end: DateTime<Utc> = "2028-01-01T00:00:00Z".parse().unwrap();
        for name in jiff::tz::db().available() {
            let Ok(zone) = zone(name.as_str()) else {
                continue;
            };
            for at in ["00:00", "02:30"] {
                let row = schedule(&[Weekday::Sun], at);
                let mut from = start;
                let mut last: Option<DateTime<Utc>> = None;
                while let Some(next) = row.next_after(from, &zone) {
                    if let Some(last) = last {
                        let hours = (next - last).num_hours();
                        assert!(
                            (165..=171).contains(&hours),
                            "{name} {at}: {last} then {next}"
                        );
                    }
                    if next > end {
                        break;
                    }
                    (last, from) = (Some(next), next);
                }
                assert!(last.is_some(), "{name}: never due");
            }
        }
    }
}
