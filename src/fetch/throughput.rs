//! How much of a file has come, and whether it comes fast enough.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Limits, Observer, Progress};

/// Counts the bytes of one transfer, and knows how far it has come.
pub(super) struct Meter {
    bytes: AtomicU64,
    logging_in: AtomicBool,
    observer: Observer,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({:?})", self.bytes)
    }
}

impl Meter {
    pub(super) fn new(observer: Observer) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            logging_in: AtomicBool::new(false),
            observer,
        }
    }

    /// A password may be on its way, and no answer to it has come.
    pub(super) fn log_in_begins(&self) {
        self.logging_in.store(true, Ordering::Relaxed);
    }

    /// Whether it is not known what became of a password.
    pub(super) fn is_logging_in(&self) -> bool {
        self.logging_in.load(Ordering::Relaxed)
    }

    /// So many bytes have come, of so many.
    pub(super) fn set(&self, bytes: u64, total: Option<u64>) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.tell(Progress::Bytes { bytes, total });
    }

    pub(super) fn tell(&self, progress: Progress) {
        if progress == Progress::LoggedIn {
            self.logging_in.store(false, Ordering::Relaxed);
        }
        (self.observer)(progress);
    }

    /// Ends when the transfer, once begun, has been slower than allowed for as long as silence would be borne.
    pub(super) async fn too_slow(&self, limits: Limits) {
        let least = limits.min_rate.saturating_mul(
            limits
                .idle_timeout
                .as_millis()
                .try_into()
                .unwrap_or(u64::MAX),
        ) / 1000;
        let mut before = 0;
        loop {
            tokio::time::sleep(limits.idle_timeout).await;
            let now = self.bytes.load(Ordering::Relaxed);
            // Until the first byte, silence is what counts.
            if before > 0 && now - before < least {
                return;
            }
            before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    /// A transfer that brings `bytes` each second; when it is too slow, seconds.
    async fn patience(bytes: u64) -> Option<u64> {
        let limits = Limits {
            max_bytes: u64::MAX,
            connect_timeout: Duration::MAX,
            idle_timeout: Duration::from_secs(10),
            total_timeout: Duration::MAX,
            min_rate: 100,
            per_host: 1,
        };
        let meter = Meter::new(Arc::new(|_| {}));
        let began = tokio::time::Instant::now();
        let drip = async {
            for second in 1..=60 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                meter.set(bytes * second, None);
            }
        };
        tokio::select! {
            () = drip => None,
            () = meter.too_slow(limits) => Some(began.elapsed().as_secs()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_that_drips_is_given_up() {
        assert_eq!(patience(80).await, Some(20));
        assert_eq!(patience(120).await, None);
        assert_eq!(patience(0).await, None);
    }
}
