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

use super::{ImportError, Observer, unobserved};

/// Most runs that wait, besides those under way. Each keeps its lease alive, and has a connection perhaps with as much of a
/// file as has come.
const MAX_WAITING: usize = 256;
/// A fetch that takes longer goes on without a place.
const SWIFT: Duration = Duration::from_secs(2);

/// Places for runs that are under way at once, and for some more that wait.
#[derive(Debug, Clone)]
pub struct Slots {
    under_way: Arc<Semaphore>,
    entered: Arc<Semaphore>,
    given_back: Arc<Notify>,
}

impl Slots {
    /// Places for `max_concurrent` runs under way.
    #[must_use]
    pub fn new(max_concurrent: usize) -> Self {
        Self {
            under_way: Arc::new(Semaphore::new(max_concurrent)),
            entered: Arc::new(Semaphore::new(max_concurrent.saturating_add(MAX_WAITING))),
            given_back: Arc::default(),
        }
    }

    /// How many further runs can begin.
    #[must_use]
    pub fn free(&self) -> usize {
        let free = self.under_way.available_permits();
        free.min(self.entered.available_permits())
    }

    /// Waits until a place is given back; one given back since the last call counts.
    pub async fn given_back(&self) {
        self.given_back.notified().await;
    }

    /// A place for one run; `None` if as many wait as may. `leave` ends its waiting.
    #[must_use]
    pub fn enter(&self, leave: CancellationToken) -> Option<Slot> {
        Some(Slot {
            _entered: Arc::clone(&self.entered).try_acquire_owned().ok()?,
            held: Arc::clone(&self.under_way).try_acquire_owned().ok(),
            slots: self.clone(),
            leave,
        })
    }
}

/// A run's place.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    /// `None` while the run waits.
    held: Option<OwnedSemaphorePermit>,
    leave: CancellationToken,
    _entered: OwnedSemaphorePermit,
}

impl Slot {
    /// Takes a place, if the run has none yet.
    async fn take(&mut self) {
        if self.held.is_none() {
            // Never closed.
            let under_way = Arc::clone(&self.slots.under_way);
            self.held = under_way.acquire_owned().await.ok();
        }
    }

    /// Waits with the place given back, and takes one again.
    async fn without_place<T>(&mut self, others: impl Future<Output = T>) -> T {
        self.give_back();
        let done = others.await;
        self.take().await;
        done
    }

    fn give_back(&mut self) {
        if self.held.take().is_some() {
            self.slots.given_back.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How a run is watched and steered from outside.
pub struct Control {
    /// Is told how it proceeds.
    pub observer: Observer,
    /// Rolls it back.
    pub stop: CancellationToken,
    /// Its place among others, if there are any.
    pub slot: Option<Slot>,
}

impl Control {
    /// Of a run that nobody watches.
    #[must_use]
    pub fn unobserved(stop: CancellationToken, slot: Slot) -> Self {
        Self {
            observer: unobserved(),
            stop,
            slot: Some(slot),
        }
    }

    /// Of a run that is the only one of its process.
    #[must_use]
    pub fn alone(observer: Observer, stop: CancellationToken) -> Self {
        Self {
            observer,
            stop,
            slot: None,
        }
    }

    /// Whether it has to share.
    pub(super) fn is_among_others(&self) -> bool {
        self.slot.is_some()
    }

    /// Takes its place among the others.
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if the run is to end before it has one.
    pub(super) async fn begin(&mut self) -> Result<(), ImportError> {
        let Some(slot) = self.slot.as_mut().filter(|slot| slot.held.is_none()) else {
            return unless_cancelled(&self.stop, std::future::ready(())).await;
        };
        let leave = slot.leave.clone();
        unless_cancelled(&self.stop, unless_cancelled(&leave, slot.take())).await?
    }

    /// Waits for others; another run gets on meanwhile.
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if this one is to end.
    pub(super) async fn wait<T>(
        &mut self,
        others: impl Future<Output = T>,
    ) -> Result<T, ImportError> {
        let waiting = async {
            match &mut self.slot {
                Some(slot) => {
                    let leave = slot.leave.clone();
                    unless_cancelled(&leave, slot.without_place(others)).await
                }
                None => Ok(others.await),
            }
        };
        unless_cancelled(&self.stop, waiting).await?
    }

    /// Waits for a file; `None` if that takes long and another run could get on meanwhile ([`Self::fetch_slowly`]).
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if this one is to end.
    pub(super) async fn fetch_swiftly<T>(
        &mut self,
        fetching: Pin<&mut impl Future<Output = T>>,
    ) -> Result<Option<T>, ImportError> {
        let waiting = async {
            match &self.slot {
                Some(_) => tokio::time::timeout(SWIFT, fetching).await.ok(),
                None => Some(fetching.await),
            }
        };
        unless_cancelled(&self.stop, waiting).await
    }

    /// Waits for a file that takes long; another run gets on meanwhile.
    ///
    /// # Errors
    /// [`ImportError::Stopped`] if this one is to end.
    pub(super) async fn fetch_slowly<T>(
        &mut self,
        fetching: impl Future<Output = T>,
    ) -> Result<T, ImportError> {
        let waiting = async {
            match &mut self.slot {
                Some(slot) => slot.without_place(fetching).await,
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
    fn fetch(slots: &Slots) -> (oneshot::Sender<()>, oneshot::Receiver<Slot>) {
        let slot = slots.enter(CancellationToken::new()).unwrap();
        let mut control = Control::unobserved(CancellationToken::new(), slot);
        let (file, comes) = oneshot::channel();
        let (through, run) = oneshot::channel();
        crate::lifecycle::spawn(async move {
            let mut comes = std::pin::pin!(comes);
            if control
                .fetch_swiftly(comes.as_mut())
                .await
                .unwrap()
                .is_none()
            {
                control.fetch_slowly(comes).await.unwrap().unwrap();
            }
            through.send(control.slot.unwrap()).unwrap();
        });
        (file, run)
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_comes_at_once_keeps_its_place_and_a_slow_one_gets_one_again() {
        let slots = Slots::new(1);
        let (file, swift) = fetch(&slots);
        tokio::time::sleep(SWIFT / 2).await;
        assert_eq!(slots.free(), 0);
        file.send(()).unwrap();
        drop(swift.await.unwrap());

        let (file, mut slow) = fetch(&slots);
        tokio::time::sleep(SWIFT * 2).await;
        assert_eq!(slots.free(), 1);
        slots.given_back().await;
        let (other_file, other) = fetch(&slots);
        file.send(()).unwrap();
        tokio::time::sleep(SWIFT / 2).await;
        assert!(slow.try_recv().is_err(), "the other has the place");
        other_file.send(()).unwrap();
        drop(other.await.unwrap());
        let slow = slow.await.unwrap();
        assert_eq!(slots.free(), 0, "it has it again");
        drop(slow);
        assert_eq!(slots.free(), 1);
    }
}
