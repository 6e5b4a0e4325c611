//! Shutdown on signals, and notifications to systemd.
//!
//! The first signal cancels the soft token: nothing new starts. 30 s later the hard token is canceled: running imports
//! roll back and are queued again. A second signal ends the process at once; transactions then roll back and leases expire.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time that running imports have to finish after the first signal.
const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// The two tokens, and the tasks that must end before the process exits.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Canceled when nothing new may start.
    pub soft: CancellationToken,
    /// Canceled when running imports must roll back.
    pub hard: CancellationToken,
    /// Running tasks.
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Handles SIGTERM and SIGINT.
    ///
    /// # Errors
    /// If the signal handlers can't be set up.
    pub fn listen() -> std::io::Result<Self> {
        let lifecycle = Self::default();
        let (mut term, mut int) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let this = lifecycle.clone();
        spawn_detached(async move {
            let mut next_signal = async || {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
            };
            next_signal().await;
            tracing::info!(
                "stopping: no new runs start; running imports have {} s to finish",
                GRACE_PERIOD.as_secs()
            );
            notify_systemd(NotifyState::Stopping);
            this.soft.cancel();
            tokio::select! {
                () = next_signal() => {
                    tracing::warn!("aborting after a second signal");
                    std::process::exit(130);
                }
                () = tokio::time::sleep(GRACE_PERIOD) => this.hard.cancel(),
                () = this.hard.cancelled() => {}
            }
        });
        Ok(lifecycle)
    }

    /// Waits until all tasks have ended.
    pub async fn wait_for_tasks(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts a task that is dropped when the process exits.
#[expect(
    clippy::disallowed_methods,
    reason = "the only place that starts tasks without waiting for them"
)]
pub fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
    use tracing::Instrument;
    tokio::spawn(task.in_current_span());
}

/// Tells systemd that the daemon is ready.
pub fn notify_ready() {
    notify_systemd(NotifyState::Ready);
}

/// Tells systemd that the daemon is alive. Does nothing without systemd.
pub fn notify_watchdog() {
    notify_systemd(NotifyState::Watchdog);
}

fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}
