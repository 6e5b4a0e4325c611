//! When an import is due: days and a time in a zone, exact across changes of daylight saving time.
//!
//! The one place that computes `next_run_at`. jiff reads the machine's time zone database, so that a change of law
//! arrives with the system's updates; the one it carries serves where the machine has none.

use chrono::{DateTime, Utc};
use jiff::civil::{Date, DateTime as LocalDateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

use super::string_enum;

string_enum!(
    /// A day of the week as the database and the commands spell it.
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
    fn of(date: Date) -> Self {
        Self::ALL[usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0)]
    }
}

/// One row of `import_schedules`, without what the database adds to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Days, at least one.
    pub days: Vec<Weekday>,
    /// Wall-clock time, whole seconds.
    pub at: Time,
    /// False pauses it.
    pub enabled: bool,
}

/// The zone of an account is not in the time zone database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "time zone `{0}` is unknown on this machine; install or update the Debian package `tzdata`"
)]
pub struct UnknownTimeZone(pub String);

/// The zone of a name.
///
/// # Errors
/// [`UnknownTimeZone`] if neither the machine nor the program knows it.
pub fn zone(name: &str) -> Result<TimeZone, UnknownTimeZone> {
    TimeZone::get(name).map_err(|_| UnknownTimeZone(name.to_owned()))
}

impl Schedule {
    /// The first instant strictly after `after` at which this schedule is due in `zone`; `None` where it names no day.
    ///
    /// A wall-clock time that a change of the clocks leaves out runs at the first instant after the gap; of one that
    /// occurs twice the first runs.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>, zone: &TimeZone) -> Option<DateTime<Utc>> {
        let start = Timestamp::from_second(after.timestamp()).ok()?;
        // From the day before: an instant after the gap may belong to a wall-clock time of yesterday. Nine days on,
        // every weekday has come by even where a zone skipped a whole day.
        let today = zone.to_datetime(start).date();
        (-1..=9)
            .filter_map(|offset| today.checked_add(Span::new().days(offset)).ok())
            .filter(|date| self.days.contains(&Weekday::of(*date)))
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
            // Read with the offset after the gap, the time lies before the transition that made the gap.
            let before_gap = after.to_timestamp(local).ok()?;
            zone.following(before_gap)
                .next()
                .map(|transition| transition.timestamp())
        }
    }
}

/// An instant as the account's people read it: local time with the offset from UTC (RFC 3339).
#[must_use]
pub fn local_rfc3339(at: DateTime<Utc>, zone: &TimeZone) -> String {
    let Ok(at) = Timestamp::from_second(at.timestamp()) else {
        return at.to_rfc3339();
    };
    let zoned = at.to_zoned(zone.clone());
    zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// The next `count` instants at which any of the schedules is due; coinciding ones count once.
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
    fn weekly_time_keeps_wall_clock_across_dst() {
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
        // Lord Howe moves by half an hour.
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
        let rows = [
            schedule(&[Weekday::Mon, Weekday::Thu], "02:30"),
            schedule(&[Weekday::Mon], "02:30"),
            disabled,
        ];
        let zone = zone("America/Los_Angeles").unwrap();
        let due = upcoming(&rows, "2026-11-22T00:00:00Z".parse().unwrap(), &zone, 3);
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
