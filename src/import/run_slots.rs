//! How a run is watched and steered from outside, and its place among the others.
//!
//! A run that waits for others, for its turn at a host or because a server wants to be left alone for a while, gives its
//! place to one that can get on; so does one whose file takes long to come: hosts that are slow or dead keep nobody else
//! waiting.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{ImportError, Observer, no_observer};

/// Most runs that wait, besides those under way. Each keeps its lease alive, and has a connection perhaps with as much of a
/// file as has come.
const MAX_WAITING: usize = 256;
/// A fetch that takes longer goes on without a place.
const FETCH_GRACE: Duration = Duration::from_secs(2);

/// Places for runs that are under way at once, and for some more that wait.
#[derive(Debug, Clone)]
pub struct RunSlots {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    released: Arc<Notify>,
}

impl RunSlots {
    /// Places for `max_concurrent` runs under way.
    #[must_use]
    pub fn new(max_concurrent: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(max_concurrent)),
            admitted: Arc::new(Semaphore::new(max_concurrent.saturating_add(MAX_WAITING))),
            released: Arc::default(),
        }
    }

    /// How many further runs can begin.
    #[must_use]
    pub fn available(&self) -> usize {
        let available = self.running.available_permits();
        available.min(self.admitted.available_permits())
    }

    /// Waits until a place is given back; one given back since the last call counts.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    /// A place for one run; `None` if as many wait as may. `stop_waiting` ends its waiting.
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

/// A run's place.
#[derive(Debug)]
pub struct RunSlot {
    slots: RunSlots,
    /// `None` while the run waits.
    permit: Option<OwnedSemaphorePermit>,
    stop_waiting: CancellationToken,
    _admission: OwnedSemaphorePermit,
}

impl RunSlot {
    /// Takes a place, if the run has none yet.
    async fn take(&mut self) {
        if self.permit.is_none() {
            // Never closed.
            let running = Arc::clone(&self.slots.running);
            self.permit = running.acquire_owned().await.ok();
        }
    }

    /// Waits with the place given back, and takes one again.
    async fn while_released<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.release();
        let done = work.await;
        self.take().await;
        done
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

/// How a run is watched and steered from outside.
pub struct RunControl {
    /// Is told how it proceeds.
    pub observer: Observer,
    /// Rolls it back.
    pub stop: CancellationToken,
    /// Its place among others, if there are any.
    pub slot: Option<RunSlot>,
}

impl RunControl {
    /// Of a run that nobody watches.
    #[must_use]
    pub fn for_daemon(stop: CancellationToken, slot: RunSlot) -> Self {
        Self {
            observer: no_observer(),
            stop,
            slot: Some(slot),
        }
    }

    /// Of a run that is the only one of its process.
    #[must_use]
    pub fn standalone(observer: Observer, stop: CancellationToken) -> Self {
        Self {
            observer,
            stop,
            slot: None,
        }
    }

    /// Whether it has to share.
    pub(super) fn shares_slots(&self) -> bool {
        self.slot.is_some()
    }

    /// Takes its place among the others.
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if the run is to end before it has one.
    pub(super) async fn acquire_slot(&mut self) -> Result<(), ImportError> {
        let Some(slot) = self.slot.as_mut().filter(|slot| slot.permit.is_none()) else {
            return unless_cancelled(&self.stop, std::future::ready(())).await;
        };
        let stop_waiting = slot.stop_waiting.clone();
        unless_cancelled(&self.stop, unless_cancelled(&stop_waiting, slot.take())).await?
    }

    /// Waits for others; another run gets on meanwhile.
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if this one is to end.
    pub(super) async fn wait<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, ImportError> {
        let waiting = async {
            match &mut self.slot {
                Some(slot) => {
                    let stop_waiting = slot.stop_waiting.clone();
                    unless_cancelled(&stop_waiting, slot.while_released(work)).await
                }
                None => Ok(work.await),
            }
        };
        unless_cancelled(&self.stop, waiting).await?
    }

    /// Waits for a file; `None` if that takes long and another run could get on meanwhile ([`Self::fetch_without_slot`]).
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if this one is to end.
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
        unless_cancelled(&self.stop, waiting).await
    }

    /// Waits for a file that takes long; another run gets on meanwhile.
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if this one is to end.
    pub(super) async fn fetch_without_slot<T>(
        &mut self,
        fetching: impl Future<Output = T>,
    ) -> Result<T, ImportError> {
        let waiting = async {
            match &mut self.slot {
                Some(slot) => slot.while_released(fetching).await,
                None => fetching.await,
            }
        };
        unless_cancelled(&self.stop, waiting).await
    }
}

async fn unless_cancelled<T>(
    token: &CancellationToken,
    done: impl Future<Output = T>,
) -> Result<T, ImportError> {
    tokio::select! {
        biased;
        () = token.cancelled() => Err(ImportError::Stopped),
        done = done => Ok(done),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// A run that waits for its file until that is sent; then it is there with its place.
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
        assert!(slow.try_recv().is_err(), "the other has the place");
        other_file.send(()).unwrap();
        drop(other.await.unwrap());
        let slow = slow.await.unwrap();
        assert_eq!(slots.available(), 0, "it has it again");
        drop(slow);
        assert_eq!(slots.available(), 1);
    }
}
