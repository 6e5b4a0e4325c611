//! Fetches the file of a run and retries transient failures. Releases the run slot while it waits.

use std::sync::Arc;
use std::time::Duration;

use super::{ImportError, Importer, Progress, RunControl};
use crate::fetch::{self, FetchError, FetchTarget, Outcome, Request};
use crate::model::AccountId;
use crate::model::run::ClaimedRun;
use crate::store::{Settings, StoreError};

/// Maximum `Retry-After` that a run waits for. After a longer one the run fails, and the next run tries again.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

impl Importer {
    /// Pins the host key of a server if this run was the first to send a password to it.
    pub(super) async fn pin_host_key(
        &self,
        account: AccountId,
        settings: &Settings,
        request: &Request,
    ) -> Result<(), ImportError> {
        if let FetchTarget::Sftp {
            address, host_key, ..
        } = &request.target
            && let Some(key) = host_key.first_seen()
        {
            self.store
                .pin_host_key(account, &address.origin(), key, settings.updated_at)
                .await?;
        }
        Ok(())
    }

    /// Runs `work` without counting the attempt if other runs share the process: if the process dies then, another run is the cause.
    async fn without_counting_attempt<T>(
        &self,
        run: &ClaimedRun,
        shares_slots: bool,
        work: impl Future<Output = Result<T, ImportError>>,
    ) -> Result<T, ImportError> {
        if !shares_slots {
            return work.await;
        }
        self.store.adjust_attempts(run, -1).await?;
        let result = work.await;
        self.store.adjust_attempts(run, 1).await?;
        result
    }

    /// Fails if imports were disabled or the settings edited while the run waited.
    async fn ensure_settings_current(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
    ) -> Result<(), ImportError> {
        if !self.store.run_context(run).await?.import_enabled {
            return Err(ImportError::Disabled);
        }
        let current = self.store.settings(run.account_id).await?;
        if current.is_none_or(|current| current.updated_at != settings.updated_at) {
            return Err(StoreError::SettingsChanged.into());
        }
        Ok(())
    }

    /// The first attempt. It starts when a permit of the host is available, which can be immediately.
    async fn first_fetch(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut RunControl,
        progress: &fetch::ProgressCallback,
    ) -> Result<Result<Outcome, FetchError>, ImportError> {
        let shares_slots = control.shares_slots();
        let mut permit = Box::pin(self.fetcher.acquire_permit(&request.target));
        let immediate = tokio::select! {
            biased;
            permit = &mut permit => Some(permit),
            () = std::future::ready(()) => None,
        };
        let permit = if let Some(permit) = immediate {
            permit
        } else {
            let permit = self
                .without_counting_attempt(run, shares_slots, control.wait_without_slot(permit))
                .await?;
            self.ensure_settings_current(run, settings).await?;
            permit
        };
        let mut fetching = Box::pin(self.fetcher.fetch_with_permit(request, permit, progress));
        match control.fetch_within_grace(fetching.as_mut()).await? {
            Some(fetched) => Ok(fetched),
            None => {
                self.without_counting_attempt(
                    run,
                    shares_slots,
                    control.fetch_without_slot(fetching),
                )
                .await
            }
        }
    }

    /// Another attempt after `delay`, without a run slot until the file has arrived: a host that failed once may take long to
    /// fail again.
    async fn retry_fetch(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut RunControl,
        progress: &fetch::ProgressCallback,
        delay: Duration,
    ) -> Result<Result<Outcome, FetchError>, ImportError> {
        let retry = Box::pin(async {
            tokio::time::sleep(delay).await;
            let permit = self.fetcher.acquire_permit(&request.target).await;
            self.ensure_settings_current(run, settings).await?;
            Ok(self
                .fetcher
                .fetch_with_permit(request, permit, progress)
                .await)
        });
        let shares_slots = control.shares_slots();
        self.without_counting_attempt(run, shares_slots, control.wait_without_slot(retry))
            .await?
    }

    /// Fetches the file, and tries again after transient failures.
    pub(super) async fn fetch(
        &self,
        run: &ClaimedRun,
        settings: &Settings,
        request: &Request,
        control: &mut RunControl,
    ) -> Result<Outcome, ImportError> {
        let observer = Arc::clone(&control.observer);
        let progress: fetch::ProgressCallback = Arc::new(move |progress| {
            let fetch::Progress { bytes, total } = progress;
            observer(Progress::Fetched { bytes, total });
        });
        let mut fetched = self
            .first_fetch(run, settings, request, control, &progress)
            .await?;
        for attempt in 1..self.options.attempts {
            let error = match fetched {
                Err(error) if error.is_transient() => error,
                other => return other.map_err(ImportError::Fetch),
            };
            let requested_delay = error.retry_after().unwrap_or_default();
            if requested_delay > MAX_RETRY_AFTER {
                // The server would refuse an earlier request, and a run must not wait for hours.
                return Err(ImportError::Fetch(error));
            }
            let delay = requested_delay.max(retry_delay(self.options.backoff, attempt));
            tracing::info!(attempt, pause_ms = delay.as_millis(), code = %error.code(), "fetch failed, retrying");
            fetched = self
                .retry_fetch(run, settings, request, control, &progress, delay)
                .await?;
        }
        fetched.map_err(ImportError::Fetch)
    }
}

/// The delay after this attempt: doubles with each one, plus up to half at random to spread the requests of many accounts.
fn retry_delay(backoff: Duration, attempt: u32) -> Duration {
    let delay = backoff.saturating_mul(1 << attempt.saturating_sub(1).min(8));
    let mut random = [0; 1];
    // If this fails, the delay is the same for all.
    let _ = aws_lc_rs::rand::fill(&mut random);
    delay + delay / 2 * u32::from(random[0]) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_doubles_with_up_to_half_jitter() {
        for (attempt, base) in [(1, 100), (2, 200), (3, 400)] {
            let delay = retry_delay(Duration::from_millis(100), attempt).as_millis();
            assert!((base..=base * 3 / 2).contains(&delay), "{attempt}: {delay}");
        }
    }
}
