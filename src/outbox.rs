//! Brings queued mail to the mail server: the glue between `store`, which keeps it, and `mail`, which sends it.

use chrono::TimeDelta;

use crate::clock::Clock;
use crate::mail::{MailError, Mailer, OutgoingMessage};
use crate::model::RunId;
use crate::store::{DueMail, NewMail, Store, StoreError};

/// Most messages taken up at once.
const BATCH_SIZE: i64 = 20;
/// Longest wait between two attempts.
const MAX_BACKOFF_MINUTES: i64 = 60;

/// Delivers what is due, of one run only if given; gives back how many messages were taken by the mail server.
///
/// # Errors
/// [`StoreError`] if the database fails; what was sent but not noted is sent again.
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
        for mail in due {
            sent += usize::from(deliver(store, mailer, clock, mail).await?);
        }
    }
}

async fn deliver(
    store: &Store,
    mailer: &Mailer,
    clock: &dyn Clock,
    due: DueMail,
) -> Result<bool, StoreError> {
    let DueMail {
        id,
        attempts,
        mail:
            NewMail {
                recipient,
                message_id,
                subject,
                text,
                html,
                attachment,
            },
    } = due;
    let outcome = mailer
        .send(&OutgoingMessage {
            recipient,
            message_id,
            subject,
            text,
            html,
            attachment,
        })
        .await;
    let now = clock.now();
    match outcome {
        Ok(()) => {
            store.record_mail_sent(id, now).await?;
            tracing::info!(mail.id = id, attempts, "mail sent");
            Ok(true)
        }
        Err(MailError::Permanent(error)) => {
            tracing::warn!(
                mail.id = id,
                attempts,
                "mail refused for good; see `rosterd doctor`"
            );
            store.record_mail_failed(id, &error, None, now).await?;
            Ok(false)
        }
        Err(MailError::Transient(error)) => {
            let minutes = (1_i64 << (attempts - 1).clamp(0, 10)).min(MAX_BACKOFF_MINUTES);
            tracing::warn!(
                mail.id = id,
                attempts,
                next_attempt_minutes = minutes,
                "mail not taken, will be tried again"
            );
            store
                .record_mail_failed(id, &error, Some(now + TimeDelta::minutes(minutes)), now)
                .await?;
            Ok(false)
        }
    }
}
