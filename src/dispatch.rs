//! The heartbeat: once a second it looks at what is due and starts it. All that must outlive the process is in Postgres;
//! the scheduler crate gives the beat and nothing else.
//!
//! Knows `import`, `store` and `outbox`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::clock::SharedClock;
use crate::import::{Control, Importer, Slots};
use crate::lifecycle::{self, Lifecycle};
use crate::mail::Mailer;
use crate::model::run::ClaimedRun;
use crate::model::schedule::zone;
use crate::outbox;
use crate::store::{Retention, ScheduleRow, Store, StoreError};

/// Every second. In UTC, so that no change of the clocks concerns it.
const HEARTBEAT: &str = "* * * * * *";
/// Most schedule rows taken up in one statement.
const BATCH: i64 = 500;
/// How often the daemon looks for what is to be forgotten.
const FORGET_EVERY: TimeDelta = TimeDelta::hours(1);

/// Starts what is due.
#[derive(Debug)]
pub struct Dispatcher {
    importer: Arc<Importer>,
    mailer: Option<Arc<Mailer>>,
    clock: SharedClock,
    lifecycle: Lifecycle,
    slots: Slots,
    delivering: Arc<AtomicBool>,
    retention: Retention,
    forgot_at: Mutex<Option<DateTime<Utc>>>,
}

impl Dispatcher {
    /// A dispatcher that runs at most `max_concurrent` imports at once; those that wait for others do not count.
    #[must_use]
    pub fn new(
        importer: Arc<Importer>,
        mailer: Option<Arc<Mailer>>,
        clock: SharedClock,
        lifecycle: Lifecycle,
        max_concurrent: usize,
        retention: Retention,
    ) -> Self {
        let slots = Slots::new(max_concurrent);
        Self {
            importer,
            mailer,
            clock,
            lifecycle,
            slots,
            delivering: Arc::default(),
            retention,
            forgot_at: Mutex::default(),
        }
    }

    /// Beats until the soft token asks for the end, then waits for what is under way.
    ///
    /// # Errors
    /// If the heartbeat can't be started.
    pub async fn serve(&self) -> Result<(), JobSchedulerError> {
        let beat = Arc::new(Notify::new());
        let mut scheduler = JobScheduler::new().await?;
        let ring = Arc::clone(&beat);
        let job = Job::new_async(HEARTBEAT, move |_, _| {
            let ring = Arc::clone(&ring);
            Box::pin(async move { ring.notify_one() })
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        let mut failing = false;
        loop {
            let outcome = tokio::select! {
                () = self.lifecycle.soft.cancelled() => break,
                () = beat.notified() => self.tick().await,
                () = self.slots.given_back() => self.start_runs().await,
            };
            match &outcome {
                Ok(()) if failing => tracing::info!("the database answers again"),
                Err(error) if !failing => {
                    tracing::error!(%error, "the schedule can't be looked at; trying again every second");
                }
                _ => {}
            }
            failing = outcome.is_err();
            lifecycle::alive();
        }
        scheduler.shutdown().await?;
        self.lifecycle.drained().await;
        Ok(())
    }

    /// Looks once at what is due, and starts it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; what was started goes on.
    pub async fn tick(&self) -> Result<(), StoreError> {
        self.end_abandoned().await?;
        self.queue_due().await?;
        self.start_runs().await?;
        self.deliver_mail();
        self.forget();
        Ok(())
    }

    /// Waits until all that the ticks so far have started is done.
    pub async fn idle(&self) {
        self.lifecycle.tasks.close();
        self.lifecycle.tasks.wait().await;
        self.lifecycle.tasks.reopen();
    }

    fn store(&self) -> &Store {
        self.importer.store()
    }

    async fn end_abandoned(&self) -> Result<(), StoreError> {
        let options = self.importer.options();
        for abandoned in self
            .store()
            .take_over_dead(self.clock.now(), &options.owner, options.lease)
            .await?
        {
            let importer = Arc::clone(&self.importer);
            self.lifecycle.tasks.spawn(async move {
                if let Err(error) = importer.end_abandoned(&abandoned).await {
                    tracing::warn!(run.id = abandoned.run.id.0, %error, "a dead run could not be ended; trying again");
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
                .take_due_slots(now, BATCH, |row| next_run(row, now))
                .await?;
            for slot in slots.iter().filter(|slot| !slot.runs) {
                tracing::info!(account.id = slot.account_id.0, due_at = %slot.due_at, "slot skipped: imports are off, or it is more than a day old");
            }
            if slots.len() < usize::try_from(BATCH).unwrap_or(0) {
                break;
            }
        }
        loop {
            let rows = self
                .store()
                .follow_edits(now, BATCH, |row| next_run(row, now))
                .await?;
            if rows > 0 {
                tracing::info!(rows, "schedule edits followed");
            }
            if rows < usize::try_from(BATCH).unwrap_or(0) {
                return Ok(());
            }
        }
    }

    async fn start_runs(&self) -> Result<(), StoreError> {
        let free = self.slots.free();
        if free == 0 || self.lifecycle.soft.is_cancelled() {
            return Ok(());
        }
        let options = self.importer.options();
        let limit = i64::try_from(free).unwrap_or(i64::MAX);
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
        // Only this task lets runs enter, and it has counted the places.
        let Some(slot) = self.slots.enter(self.lifecycle.soft.clone()) else {
            return;
        };
        let control = Control::unobserved(self.lifecycle.hard.clone(), slot);
        let importer = Arc::clone(&self.importer);
        self.lifecycle.tasks.spawn(async move {
            // The importer has logged what could not be recorded; the lease brings the run back.
            let _ = importer.run(&run, None, control).await;
        });
    }

    /// Forgets what is older than it may get, once an hour.
    fn forget(&self) {
        let now = self.clock.now();
        {
            let mut forgot_at = self
                .forgot_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // A clock that was set back must not stop it for long.
            if forgot_at.is_some_and(|at| (now - at).abs() < FORGET_EVERY) {
                return;
            }
            *forgot_at = Some(now);
        }
        let (store, retention) = (self.store().clone(), self.retention);
        self.lifecycle.tasks.spawn(async move {
            match store.forget(retention, now).await {
                Ok(forgotten) if forgotten.is_nothing() => {}
                Ok(forgotten) => tracing::info!(
                    contacts = forgotten.contacts,
                    histories = forgotten.histories,
                    runs = forgotten.runs,
                    mails = forgotten.mails,
                    "old data was forgotten"
                ),
                Err(error) => {
                    tracing::warn!(%error, "old data could not be forgotten; trying again in an hour");
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
                tracing::warn!(%error, "mail could not be delivered");
            }
            delivering.store(false, Ordering::Release);
        });
    }
}

/// When a schedule is due next; `None` where its zone is unknown here, which `rosterd doctor` shows.
fn next_run(row: &ScheduleRow, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match zone(&row.time_zone) {
        Ok(zone) => row.schedule.next_after(now, &zone),
        Err(error) => {
            tracing::error!(schedule.id = row.id, %error, "schedule is not run");
            None
        }
    }
}
