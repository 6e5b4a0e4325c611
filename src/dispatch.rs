//! Polls once a second for due schedules and queued runs and starts them, delivers mail, and deletes old data.
//!
//! The schedules are in Postgres; the scheduler crate only provides the tick. Uses `import`, `store` and `outbox`,
//! but not the stages of an import.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::clock::SharedClock;
use crate::import::{Importer, RunControl, RunSlots};
use crate::lifecycle::{self, Lifecycle};
use crate::mail::Mailer;
use crate::model::run::ClaimedRun;
use crate::model::schedule::zone;
use crate::outbox;
use crate::store::{Retention, ScheduleRow, Store, StoreError};

/// Every second, in UTC, which has no daylight saving time.
const TICK_CRON: &str = "* * * * * *";
/// Maximum number of schedules handled in one transaction.
const BATCH_SIZE: i64 = 500;
/// How often old data is deleted.
const RETENTION_INTERVAL: TimeDelta = TimeDelta::hours(1);

/// Starts due and queued runs, and the daemon's other periodic work.
#[derive(Debug)]
pub struct Dispatcher {
    importer: Arc<Importer>,
    mailer: Option<Arc<Mailer>>,
    clock: SharedClock,
    lifecycle: Lifecycle,
    slots: RunSlots,
    delivering: Arc<AtomicBool>,
    retention: Retention,
    last_cleanup_at: Mutex<Option<DateTime<Utc>>>,
}

impl Dispatcher {
    /// A dispatcher that runs at most `max_concurrent` imports at once. Imports that are waiting do not count.
    #[must_use]
    pub fn new(
        importer: Arc<Importer>,
        mailer: Option<Arc<Mailer>>,
        clock: SharedClock,
        lifecycle: Lifecycle,
        max_concurrent: usize,
        retention: Retention,
    ) -> Self {
        let slots = RunSlots::new(max_concurrent);
        Self {
            importer,
            mailer,
            clock,
            lifecycle,
            slots,
            delivering: Arc::default(),
            retention,
            last_cleanup_at: Mutex::default(),
        }
    }

    /// Runs until the soft token is canceled, then waits for running tasks.
    ///
    /// # Errors
    /// [`JobSchedulerError`] if the timer can't be started.
    pub async fn serve(&self) -> Result<(), JobSchedulerError> {
        let tick_signal = Arc::new(Notify::new());
        let mut scheduler = JobScheduler::new().await?;
        let tick_sender = Arc::clone(&tick_signal);
        let job = Job::new_async(TICK_CRON, move |_, _| {
            let tick_sender = Arc::clone(&tick_sender);
            Box::pin(async move { tick_sender.notify_one() })
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        let mut database_failing = false;
        loop {
            let outcome = tokio::select! {
                () = self.lifecycle.soft.cancelled() => break,
                () = tick_signal.notified() => self.tick().await,
                () = self.slots.released() => self.start_runs().await,
            };
            match &outcome {
                Ok(()) if database_failing => tracing::info!("the database is available again"),
                Err(error) if !database_failing => {
                    tracing::error!(%error, "schedules and queued runs could not be read; retrying every second");
                }
                _ => {}
            }
            database_failing = outcome.is_err();
            lifecycle::notify_watchdog();
        }
        scheduler.shutdown().await?;
        self.lifecycle.wait_for_tasks().await;
        Ok(())
    }

    /// Starts everything that is due now.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; runs that were already started continue.
    pub async fn tick(&self) -> Result<(), StoreError> {
        self.end_dead_runs().await?;
        self.queue_due().await?;
        self.start_runs().await?;
        self.deliver_mail();
        self.delete_old_data();
        Ok(())
    }

    /// Waits for all tasks that earlier ticks started.
    pub async fn wait_idle(&self) {
        self.lifecycle.tasks.close();
        self.lifecycle.tasks.wait().await;
        self.lifecycle.tasks.reopen();
    }

    fn store(&self) -> &Store {
        self.importer.store()
    }

    async fn end_dead_runs(&self) -> Result<(), StoreError> {
        let options = self.importer.options();
        for dead_run in self
            .store()
            .recover_expired_runs(self.clock.now(), &options.owner, options.lease)
            .await?
        {
            let importer = Arc::clone(&self.importer);
            self.lifecycle.tasks.spawn(async move {
                if let Err(error) = importer.end_dead_run(&dead_run).await {
                    tracing::warn!(run.id = dead_run.run.id.0, %error, "the run of a dead process could not be ended; trying again when its lease expires");
                }
            });
        }
        Ok(())
    }

    async fn queue_due(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        loop {
            let slots = self
                .store()
                .queue_due_slots(now, BATCH_SIZE, |row| next_run(row, now))
                .await?;
            for slot in slots.iter().filter(|slot| !slot.should_run) {
                tracing::info!(account.id = slot.account_id.0, due_at = %slot.due_at, "scheduled import skipped: imports are disabled, the account is quarantined, or the time is more than 24 h past");
            }
            if slots.len() < usize::try_from(BATCH_SIZE).unwrap_or(0) {
                break;
            }
        }
        loop {
            let rows = self
                .store()
                .refresh_edited_schedules(now, BATCH_SIZE, |row| next_run(row, now))
                .await?;
            if rows > 0 {
                tracing::info!(rows, "next run times updated after schedule edits");
            }
            if rows < usize::try_from(BATCH_SIZE).unwrap_or(0) {
                return Ok(());
            }
        }
    }

    async fn start_runs(&self) -> Result<(), StoreError> {
        let available = self.slots.available();
        if available == 0 || self.lifecycle.soft.is_cancelled() {
            return Ok(());
        }
        let options = self.importer.options();
        let limit = i64::try_from(available).unwrap_or(i64::MAX);
        for run in self
            .store()
            .claim_runs(self.clock.now(), &options.owner, options.lease, limit)
            .await?
        {
            self.start(run);
        }
        Ok(())
    }

    fn start(&self, run: ClaimedRun) {
        // Always succeeds: only this task admits runs, and it claims no more than there are permits.
        let Some(slot) = self.slots.admit(self.lifecycle.soft.clone()) else {
            return;
        };
        let control = RunControl::for_daemon(self.lifecycle.hard.clone(), slot);
        let importer = Arc::clone(&self.importer);
        self.lifecycle.tasks.spawn(async move {
            // The importer has logged the error. If the outcome was not recorded, the run is recovered after its lease
            // expires.
            let _ = importer.run(&run, None, control).await;
        });
    }

    /// Deletes old data once an hour.
    fn delete_old_data(&self) {
        let now = self.clock.now();
        {
            let mut last_cleanup_at = self
                .last_cleanup_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // `abs`, because a clock that was set back must not delay the next deletion for longer than the interval.
            if last_cleanup_at.is_some_and(|at| (now - at).abs() < RETENTION_INTERVAL) {
                return;
            }
            *last_cleanup_at = Some(now);
        }
        let (store, retention) = (self.store().clone(), self.retention);
        self.lifecycle.tasks.spawn(async move {
            match store.delete_old_data(retention, now).await {
                Ok(deleted) if deleted.is_empty() => {}
                Ok(deleted) => tracing::info!(
                    contacts = deleted.contacts,
                    histories = deleted.histories,
                    runs = deleted.runs,
                    mails = deleted.mails,
                    "old data deleted"
                ),
                Err(error) => {
                    tracing::warn!(%error, "old data could not be deleted; trying again in an hour");
                }
            }
        });
    }

    fn deliver_mail(&self) {
        let Some(mailer) = self.mailer.clone() else {
            return;
        };
        if self.delivering.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, clock, delivering) = (
            self.store().clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.delivering),
        );
        self.lifecycle.tasks.spawn(async move {
            if let Err(error) = outbox::deliver_due(&store, &mailer, clock.as_ref(), None).await {
                tracing::warn!(%error, "the outbox could not be processed; trying again in a second");
            }
            delivering.store(false, Ordering::Release);
        });
    }
}

/// When a schedule is due next; `None` if its time zone is unknown on this machine, which `rosterd doctor` reports.
fn next_run(row: &ScheduleRow, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match zone(&row.time_zone) {
        Ok(zone) => row.schedule.next_after(now, &zone),
        Err(error) => {
            tracing::error!(schedule.id = row.id, %error, "scheduled imports will not run");
            None
        }
    }
}
