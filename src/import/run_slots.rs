//! The concurrency limit of runs, and how a run is observed and stopped.
//!
//! A run releases its slot while it waits: for a permit of its host, between two attempts, and during a slow download. Slow or dead
//! hosts therefore do not delay other accounts.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{ImportError, Observer, no_observer};

/// Maximum number of runs that wait without a slot. Each renews its lease, and may have a connection and a part of its file on disk.
const MAX_WAITING: usize = 256;
/// A download that takes longer continues without a slot.
const FETCH_GRACE: Duration = Duration::from_secs(2);

/// Slots for concurrent runs, and admission for runs that wait.
#[derive(Debug, Clone)]
pub struct RunSlots {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    released: Arc<Notify>,
}

impl RunSlots {
    /// Creates slots for `max_concurrent` runs.
    #[must_use]
    pub fn new(max_concurrent: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(max_concurrent)),
            admitted: Arc::new(Semaphore::new(max_concurrent.saturating_add(MAX_WAITING))),
            released: Arc::default(),
        }
    }

    /// How many more runs can start.
    #[must_use]
    pub fn available(&self) -> usize {
        let available = self.running.available_permits();
        available.min(self.admitted.available_permits())
    }

    /// Waits until a slot is released; returns at once if one was released since the last call.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    /// Admits a run, with a slot if one is free; `None` if too many runs wait already. `stop_waiting` interrupts its waiting.
    #[must_use]
    pub fn admit(&self, stop_waiting: CancellationToken) -> Option<RunSlot> {
        Some(RunSlot {
            _admission: Arc::clone(&self.admitted).try_acquire_owned().ok()?,
            permit: Arc::clone(&self.running).try_acquire_owned().ok(),
            slots: self.clone(),
            stop_waiting,
        })
    }
}

/// The slot of an admitted run.
#[derive(Debug)]
pub struct RunSlot {
    slots: RunSlots,
    /// `None` while the run waits without a slot.
    permit: Option<OwnedSemaphorePermit>,
    stop_waiting: CancellationToken,
    _admission: OwnedSemaphorePermit,
}

impl RunSlot {
    async fn acquire(&mut self) {
        if self.permit.is_none() {
            // Fails only if the semaphore is closed, which never happens.
            let running = Arc::clone(&self.slots.running);
            self.permit = running.acquire_owned().await.ok();
        }
    }

    /// Releases the slot while `work` runs, then acquires one again.
    async fn release_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.release();
        let result = work.await;
        self.acquire().await;
        result
    }

    fn release(&mut self) {
        if self.permit.take().is_some() {
            self.slots.released.notify_one();
        }
    }
}

impl Drop for RunSlot {
    fn drop(&mut self) {
        self.release();
    }
}

/// How a run is observed, stopped and limited.
pub struct RunControl {
    /// Receives the progress of the run.
    pub observer: Observer,
    /// Cancels the run, which rolls it back.
    pub stop: CancellationToken,
    /// Slot of the run; `None` if it is the only run of its process.
    pub slot: Option<RunSlot>,
}

impl RunControl {
    /// For a run of a daemon.
    #[must_use]
    pub fn for_daemon(stop: CancellationToken, slot: RunSlot) -> Self {
        Self {
            observer: no_observer(),
            stop,
            slot: Some(slot),
        }
    }

    /// For a run that is the only one of its process.
    #[must_use]
    pub fn standalone(observer: Observer, stop: CancellationToken) -> Self {
        Self {
            observer,
            stop,
            slot: None,
        }
    }

    /// Whether other runs share the process.
    pub(super) fn shares_slots(&self) -> bool {
        self.slot.is_some()
    }

    /// Waits for a slot.
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if the run is canceled first.
    pub(super) async fn acquire_slot(&mut self) -> Result<(), ImportError> {
        let Some(slot) = self.slot.as_mut().filter(|slot| slot.permit.is_none()) else {
            return run_until_canceled(&self.stop, std::future::ready(())).await;
        };
        let stop_waiting = slot.stop_waiting.clone();
        run_until_canceled(
            &self.stop,
            run_until_canceled(&stop_waiting, slot.acquire()),
        )
        .await?
    }

    /// Waits for `work` without a slot.
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if the run is canceled.
    pub(super) async fn wait_without_slot<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, ImportError> {
        let waiting = async {
            match &mut self.slot {
                Some(slot) => {
                    let stop_waiting = slot.stop_waiting.clone();
                    run_until_canceled(&stop_waiting, slot.release_while(work)).await
                }
                None => Ok(work.await),
            }
        };
        run_until_canceled(&self.stop, waiting).await?
    }

    /// Waits for a file. Returns `None` if it takes longer than [`FETCH_GRACE`]; then continue with [`Self::fetch_without_slot`].
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if the run is canceled.
    pub(super) async fn fetch_within_grace<T>(
        &mut self,
        fetching: Pin<&mut impl Future<Output = T>>,
    ) -> Result<Option<T>, ImportError> {
        let waiting = async {
            match &self.slot {
                Some(_) => tokio::time::timeout(FETCH_GRACE, fetching).await.ok(),
                None => Some(fetching.await),
            }
        };
        run_until_canceled(&self.stop, waiting).await
    }

    /// Waits for a slow file without a slot.
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if the run is canceled.
    pub(super) async fn fetch_without_slot<T>(
        &mut self,
        fetching: impl Future<Output = T>,
    ) -> Result<T, ImportError> {
        let waiting = async {
            match &mut self.slot {
                Some(slot) => slot.release_while(fetching).await,
                None => fetching.await,
            }
        };
        run_until_canceled(&self.stop, waiting).await
    }
}

async fn run_until_canceled<T>(
    token: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, ImportError> {
    tokio::select! {
        biased;
        () = token.cancelled() => Err(ImportError::Stopped),
        result = work => Ok(result),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Starts a run that waits for its file. Returns a sender for the file, and a receiver for the slot that the run has then.
    fn fetch(slots: &RunSlots) -> (oneshot::Sender<()>, oneshot::Receiver<RunSlot>) {
        let slot = slots.admit(CancellationToken::new()).unwrap();
        let mut control = RunControl::for_daemon(CancellationToken::new(), slot);
        let (file, arrival) = oneshot::channel();
        let (done_sender, run) = oneshot::channel();
        crate::lifecycle::spawn_detached(async move {
            let mut arrival = std::pin::pin!(arrival);
            if control
                .fetch_within_grace(arrival.as_mut())
                .await
                .unwrap()
                .is_none()
            {
                control.fetch_without_slot(arrival).await.unwrap().unwrap();
            }
            done_sender.send(control.slot.unwrap()).unwrap();
        });
        (file, run)
    }

    #[tokio::test(start_paused = true)]
    async fn slow_fetch_releases_its_slot_and_reacquires_it() {
        let slots = RunSlots::new(1);
        let (file, fast) = fetch(&slots);
        tokio::time::sleep(FETCH_GRACE / 2).await;
        assert_eq!(slots.available(), 0);
        file.send(()).unwrap();
        drop(fast.await.unwrap());

        let (file, mut slow) = fetch(&slots);
        tokio::time::sleep(FETCH_GRACE * 2).await;
        assert_eq!(slots.available(), 1);
        slots.released().await;
        let (other_file, other) = fetch(&slots);
        file.send(()).unwrap();
        tokio::time::sleep(FETCH_GRACE / 2).await;
        assert!(slow.try_recv().is_err(), "the other run has the slot");
        other_file.send(()).unwrap();
        drop(other.await.unwrap());
        let slow = slow.await.unwrap();
        assert_eq!(slots.available(), 0, "the slow run has the slot again");
        drop(slow);
        assert_eq!(slots.available(), 1);
    }
}
