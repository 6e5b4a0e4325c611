//! Starting and stopping: signals, the two tokens that ask for an end, and what systemd is told.
//!
//! The soft token says "begin nothing new"; the hard one, 30 s later, "roll back and hand over". A second signal ends the
//! process at once; the leases and the transactions see to the rest.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long running imports get to end by themselves.
const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// The two tokens, and the tasks that must end before the program may.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Begin nothing new.
    pub soft: CancellationToken,
    /// Roll back and hand over.
    pub hard: CancellationToken,
    /// What is under way.
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Listens for SIGTERM and SIGINT.
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
                "stopping: no new runs, running ones get {} s",
                GRACE_PERIOD.as_secs()
            );
            notify_systemd(NotifyState::Stopping);
            this.soft.cancel();
            tokio::select! {
                () = next_signal() => {
                    tracing::warn!("second signal: aborting");
                    std::process::exit(130);
                }
                () = tokio::time::sleep(GRACE_PERIOD) => this.hard.cancel(),
                () = this.hard.cancelled() => {}
            }
        });
        Ok(lifecycle)
    }

    /// Waits until all that is under way has ended.
    pub async fn wait_for_tasks(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts a task that may end with the process.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place for tasks that nobody waits for"
)]
pub fn spawn_detached(task: impl Future<Output = ()> + Send + 'static) {
    use tracing::Instrument;
    tokio::spawn(task.in_current_span());
}

/// Tells systemd that the daemon is ready.
pub fn notify_ready() {
    notify_systemd(NotifyState::Ready);
}

/// Tells systemd that the daemon is alive; harmless where nobody watches.
pub fn notify_watchdog() {
    notify_systemd(NotifyState::Watchdog);
}

fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}
