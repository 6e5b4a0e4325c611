//! How much of a file has come, and whether it comes fast enough.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Limits, Progress, ProgressCallback};

/// Counts the bytes of one transfer, and knows how far it has come.
pub(super) struct TransferMonitor {
    bytes: AtomicU64,
    login_pending: AtomicBool,
    observer: ProgressCallback,
}

impl fmt::Debug for TransferMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({:?})", self.bytes)
    }
}

impl TransferMonitor {
    pub(super) fn new(observer: ProgressCallback) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            login_pending: AtomicBool::new(false),
            observer,
        }
    }

    /// A password may be on its way, and no answer to it has come.
    pub(super) fn mark_login_started(&self) {
        self.login_pending.store(true, Ordering::Relaxed);
    }

    /// Whether it is not known what became of a password.
    pub(super) fn is_login_pending(&self) -> bool {
        self.login_pending.load(Ordering::Relaxed)
    }

    /// So many bytes have come, of so many.
    pub(super) fn record(&self, bytes: u64, total: Option<u64>) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.report(Progress::Bytes { bytes, total });
    }

    pub(super) fn report(&self, progress: Progress) {
        if progress == Progress::LoggedIn {
            self.login_pending.store(false, Ordering::Relaxed);
        }
        (self.observer)(progress);
    }

    /// Ends when the transfer, once begun, has been slower than allowed for as long as silence would be borne.
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
            // Until the first byte, silence is what counts.
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

    /// A transfer that brings `bytes` each second; when it is too slow, seconds.
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
