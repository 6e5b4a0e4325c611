//! Import schedules, and queuing runs for the times that are due. Does not compute those times.

use chrono::{DateTime, Duration, NaiveTime, Timelike, Utc};

use super::{Store, StoreError, parse_column, query_error};
use crate::model::AccountId;
use crate::model::schedule::Schedule;

/// A due time older than this is skipped instead of caught up.
const CATCH_UP_HOURS: i64 = 24;

/// A schedule with the time zone that is needed to compute its next run.
#[derive(Debug, Clone)]
pub struct ScheduleRow {
    /// `import_schedules.id`
    pub id: i64,
    /// IANA time zone of its account.
    pub time_zone: String,
    /// Days and time.
    pub schedule: Schedule,
}

/// A scheduled time that is due.
#[derive(Debug, Clone)]
pub struct DueSlot {
    /// Its schedule.
    pub row: ScheduleRow,
    /// Its account.
    pub account_id: AccountId,
    /// The scheduled time.
    pub due_at: DateTime<Utc>,
    /// Whether a run is queued for it: imports are enabled, the account is not quarantined, and the time is less
    /// than 24 hours past.
    pub should_run: bool,
}

struct ScheduleLookup {
    id: i64,
    days: Vec<String>,
    at: NaiveTime,
    enabled: bool,
    time_zone: String,
}

impl TryFrom<ScheduleLookup> for ScheduleRow {
    type Error = StoreError;

    fn try_from(row: ScheduleLookup) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            time_zone: row.time_zone,
            schedule: schedule(&row.days, row.at, row.enabled)?,
        })
    }
}

fn schedule(days: &[String], at: NaiveTime, enabled: bool) -> Result<Schedule, StoreError> {
    let to_i8 = |value: u32| i8::try_from(value).unwrap_or(0);
    let at = jiff::civil::time(to_i8(at.hour()), to_i8(at.minute()), to_i8(at.second()), 0);
    Ok(Schedule {
        days: days
            .iter()
            .map(|day| parse_column("days", day))
            .collect::<Result<_, _>>()?,
        at,
        enabled,
    })
}

impl Store {
    /// The schedules of an account.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn schedules(&self, account: AccountId) -> Result<Vec<Schedule>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT days::text[] AS "days!", at, enabled FROM import_schedules WHERE account_id = $1 ORDER BY id"#,
            account.0
        );
        let rows = rows
            .fetch_all(&self.pool)
            .await
            .map_err(query_error("read the schedule"))?;
        rows.iter()
            .map(|row| schedule(&row.days, row.at, row.enabled))
            .collect()
    }

    /// Replaces all schedules of an account.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn replace_schedules(
        &self,
        account: AccountId,
        schedules: &[Schedule],
    ) -> Result<(), StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(query_error("start a transaction"))?;
        sqlx::query!(
            "DELETE FROM import_schedules WHERE account_id = $1",
            account.0
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("replace the schedule"))?;
        for schedule in schedules {
            let days: Vec<String> = schedule.days.iter().map(ToString::to_string).collect();
            let at = schedule.at.to_string();
            sqlx::query!(
                "INSERT INTO import_schedules (account_id, days, at, enabled) VALUES ($1, $2::text[]::weekday[], $3::text::time, $4)",
                account.0,
                &days,
                at,
                schedule.enabled
            )
            .execute(&mut *tx)
            .await
            .map_err(query_error("replace the schedule"))?;
        }
        tx.commit()
            .await
            .map_err(query_error("replace the schedule"))
    }

    /// Queues runs for up to `limit` schedules that are due at `now` and sets their next run to the result of `next_run`.
    ///
    /// One transaction with row locks: with several daemons, each due time is still handled exactly once.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; then nothing was queued.
    pub async fn queue_due_slots(
        &self,
        now: DateTime<Utc>,
        limit: i64,
        next_run: impl Fn(&ScheduleRow) -> Option<DateTime<Utc>>,
    ) -> Result<Vec<DueSlot>, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(query_error("start a transaction"))?;
        let rows = sqlx::query!(
            r#"SELECT s.id, s.account_id, s.days::text[] AS "days!", s.at, s.enabled, s.next_run_at AS "due_at!",
                      a.time_zone, (a.import_enabled AND a.set_aside_at IS NULL) AS "runs!"
               FROM import_schedules s JOIN accounts a ON a.id = s.account_id
               WHERE s.enabled AND s.next_run_at <= $1
               ORDER BY s.next_run_at
               LIMIT $2
               FOR UPDATE OF s SKIP LOCKED"#,
            now,
            limit
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(query_error("look up due schedules"))?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let slots = rows
            .into_iter()
            .map(|row| {
                Ok(DueSlot {
                    account_id: AccountId(row.account_id),
                    due_at: row.due_at,
                    should_run: row.runs && row.due_at > now - Duration::hours(CATCH_UP_HOURS),
                    row: ScheduleLookup {
                        id: row.id,
                        days: row.days,
                        at: row.at,
                        enabled: row.enabled,
                        time_zone: row.time_zone,
                    }
                    .try_into()?,
                })
            })
            .collect::<Result<Vec<DueSlot>, StoreError>>()?;
        let (accounts, due): (Vec<i64>, Vec<DateTime<Utc>>) = slots
            .iter()
            .filter(|slot| slot.should_run)
            .map(|slot| (slot.account_id.0, slot.due_at))
            .unzip();
        // Schedules of one account that are due together share one run, and a run that is already queued serves them too.
        sqlx::query!(
            "INSERT INTO import_runs (account_id, trigger, due_at)
             SELECT u.account_id, 'schedule', min(u.due_at)
             FROM unnest($1::bigint[], $2::timestamptz[]) AS u (account_id, due_at)
             WHERE NOT EXISTS (
                 SELECT FROM import_runs r
                 WHERE r.account_id = u.account_id AND r.status = 'queued' AND r.trigger IN ('schedule', 'manual'))
             GROUP BY u.account_id",
            &accounts,
            &due
        )
        .execute(&mut *tx)
        .await
        .map_err(query_error("queue scheduled imports"))?;
        let next_runs: Vec<(i64, Option<DateTime<Utc>>)> = slots
            .iter()
            .map(|slot| (slot.row.id, next_run(&slot.row)))
            .collect();
        set_next_runs(&mut tx, &next_runs).await?;
        tx.commit()
            .await
            .map_err(query_error("queue scheduled imports"))?;
        Ok(slots)
    }

    /// Sets the next run of up to `limit` schedules that are new or were edited, and returns how many there were.
    /// A schedule that is already due stays due.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn refresh_edited_schedules(
        &self,
        now: DateTime<Utc>,
        limit: i64,
        next_run: impl Fn(&ScheduleRow) -> Option<DateTime<Utc>>,
    ) -> Result<usize, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(query_error("start a transaction"))?;
        let rows = sqlx::query_as!(
            ScheduleLookup,
            r#"SELECT s.id, s.days::text[] AS "days!", s.at, s.enabled, a.time_zone
               FROM import_schedules s JOIN accounts a ON a.id = s.account_id
               WHERE (s.edited OR (s.next_run_at IS NULL AND s.enabled))
                 AND NOT (s.enabled AND coalesce(s.next_run_at <= $1, false))
               ORDER BY s.id
               LIMIT $2
               FOR UPDATE OF s SKIP LOCKED"#,
            now,
            limit
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(query_error("look up edited schedules"))?;
        let rows = rows
            .into_iter()
            .map(ScheduleRow::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let next_for = |row: &ScheduleRow| {
            if row.schedule.enabled {
                next_run(row)
            } else {
                None
            }
        };
        let next_runs: Vec<(i64, Option<DateTime<Utc>>)> =
            rows.iter().map(|row| (row.id, next_for(row))).collect();
        if !next_runs.is_empty() {
            set_next_runs(&mut tx, &next_runs).await?;
        }
        tx.commit()
            .await
            .map_err(query_error("update edited schedules"))?;
        Ok(next_runs.len())
    }
}

async fn set_next_runs(
    tx: &mut sqlx::PgTransaction<'_>,
    next_runs: &[(i64, Option<DateTime<Utc>>)],
) -> Result<(), StoreError> {
    let (ids, times): (Vec<i64>, Vec<Option<DateTime<Utc>>>) = next_runs.iter().copied().unzip();
    sqlx::query!(
        "UPDATE import_schedules s
         SET next_run_at = u.next_run_at, edited = false
         FROM unnest($1::bigint[], $2::timestamptz[]) AS u (id, next_run_at)
         WHERE s.id = u.id",
        &ids,
        &times as &[Option<DateTime<Utc>>]
    )
    .execute(&mut **tx)
    .await
    .map_err(query_error("set the next runs"))?;
    Ok(())
}
