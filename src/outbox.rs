//! Delivers queued mail: connects `store`, which keeps it, with `mail`, which sends it.

use chrono::TimeDelta;

use crate::clock::Clock;
use crate::mail::{MailError, Mailer};
use crate::model::RunId;
use crate::store::{DueMail, Store, StoreError};

/// Messages claimed at a time.
const BATCH_SIZE: i64 = 20;
/// Longest delay between two attempts.
const MAX_BACKOFF_MINUTES: i64 = 60;

/// Delivers the messages that are due, of one run only if given; returns how many the mail server accepted.
///
/// # Errors
/// [`StoreError`] if the database fails; a message that was sent but could not be marked is sent again.
pub async fn deliver_due(
    store: &Store,
    mailer: &Mailer,
    clock: &dyn Clock,
    run: Option<RunId>,
) -> Result<usize, StoreError> {
    let mut sent = 0;
    loop {
        let due = store.claim_due_mail(clock.now(), run, BATCH_SIZE).await?;
        if due.is_empty() {
            return Ok(sent);
        }
        for mail in &due {
            sent += usize::from(deliver(store, mailer, clock, mail).await?);
        }
    }
}

async fn deliver(
    store: &Store,
    mailer: &Mailer,
    clock: &dyn Clock,
    DueMail {
        id,
        attempts,
        message,
    }: &DueMail,
) -> Result<bool, StoreError> {
    let outcome = mailer.send(message).await;
    let now = clock.now();
    match outcome {
        Ok(()) => {
            store.record_mail_sent(*id, now).await?;
            tracing::info!(mail.id = id, attempts, "mail sent");
            Ok(true)
        }
        Err(MailError::Permanent(error)) => {
            tracing::warn!(
                mail.id = id,
                attempts,
                "mail refused permanently; see `rosterd doctor`"
            );
            store.record_mail_failed(*id, &error, None, now).await?;
            Ok(false)
        }
        Err(MailError::Transient(error)) => {
            let minutes = (1_i64 << (attempts - 1).clamp(0, 10)).min(MAX_BACKOFF_MINUTES);
            tracing::warn!(
                mail.id = id,
                attempts,
                next_attempt_minutes = minutes,
                "mail not accepted, will be sent again"
            );
            store
                .record_mail_failed(*id, &error, Some(now + TimeDelta::minutes(minutes)), now)
                .await?;
            Ok(false)
        }
    }
}
