//! Monitors a transfer: its stage, the bytes received, and whether they arrive fast enough. Does not abort anything itself.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{FetchStage, Limits, Progress, ProgressCallback};

/// The state of one transfer.
pub(super) struct TransferMonitor {
    bytes: AtomicU64,
    stage: Mutex<FetchStage>,
    login_pending: AtomicBool,
    observer: ProgressCallback,
}

impl fmt::Debug for TransferMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransferMonitor({:?})", self.bytes)
    }
}

impl TransferMonitor {
    pub(super) fn new(observer: ProgressCallback) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            stage: Mutex::new(FetchStage::Resolve),
            login_pending: AtomicBool::new(false),
            observer,
        }
    }

    /// Records the stage of the transfer. An error that follows belongs to it.
    pub(super) fn enter(&self, stage: FetchStage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// The current stage.
    pub(super) fn stage(&self) -> FetchStage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, a password may have been sent without a reply.
    pub(super) fn mark_login_started(&self) {
        self.login_pending.store(true, Ordering::Relaxed);
    }

    /// The server has accepted the password.
    pub(super) fn mark_login_finished(&self) {
        self.login_pending.store(false, Ordering::Relaxed);
    }

    /// Whether a password may have been sent to which the server has not replied yet.
    pub(super) fn is_login_pending(&self) -> bool {
        self.login_pending.load(Ordering::Relaxed)
    }

    /// Records the number of bytes received so far, and the total if it is known.
    pub(super) fn record(&self, bytes: u64, total: Option<u64>) {
        self.bytes.store(bytes, Ordering::Relaxed);
        (self.observer)(Progress { bytes, total });
    }

    /// Returns once the transfer was slower than `min_rate` over a period of `idle_timeout`.
    pub(super) async fn wait_until_too_slow(&self, limits: Limits) {
        let min_bytes = limits.min_rate.saturating_mul(
            limits
                .idle_timeout
                .as_millis()
                .try_into()
                .unwrap_or(u64::MAX),
        ) / 1000;
        let mut previous = 0;
        loop {
            tokio::time::sleep(limits.idle_timeout).await;
            let now = self.bytes.load(Ordering::Relaxed);
            // Before the first byte, the idle timeout applies.
            if previous > 0 && now - previous < min_bytes {
                return;
            }
            previous = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    /// Seconds until a transfer of `bytes` per second is too slow.
    async fn seconds_until_too_slow(bytes: u64) -> Option<u64> {
        let limits = Limits {
            max_bytes: u64::MAX,
            connect_timeout: Duration::MAX,
            idle_timeout: Duration::from_secs(10),
            total_timeout: Duration::MAX,
            min_rate: 100,
            per_host: 1,
        };
        let monitor = TransferMonitor::new(Arc::new(|_| {}));
        let started = tokio::time::Instant::now();
        let transfer = async {
            for second in 1..=60 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                monitor.record(bytes * second, None);
            }
        };
        tokio::select! {
            () = transfer => None,
            () = monitor.wait_until_too_slow(limits) => Some(started.elapsed().as_secs()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_transfer_is_aborted() {
        assert_eq!(seconds_until_too_slow(80).await, Some(20));
        assert_eq!(seconds_until_too_slow(120).await, None);
        assert_eq!(seconds_until_too_slow(0).await, None);
    }
}
