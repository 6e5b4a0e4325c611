//! The outbox: mail that is queued in the database until a mail server accepts it. Sends nothing itself.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::{Store, StoreError, query_error};
use crate::model::mail::{Content, Message};
use crate::model::{AccountId, RunId};

/// Minutes after which a claimed message that was not recorded as sent or failed can be claimed again.
const CLAIM_MINUTES: i64 = 5;

/// A message that this process has claimed for delivery.
#[derive(Debug, Clone)]
pub struct DueMail {
    /// `mail_outbox.id`
    pub id: i64,
    /// Number of attempts, including this one.
    pub attempts: i32,
    /// The message.
    pub message: Message,
}

/// A message that could not be delivered.
#[derive(Debug, Clone)]
pub struct UndeliveredMail {
    /// Email address.
    pub recipient: String,
    /// Subject line.
    pub subject: String,
    /// When it was queued, or when it was refused permanently.
    pub since: DateTime<Utc>,
    /// Whether the mail server refused it permanently.
    pub permanent: bool,
    /// Error of the last attempt.
    pub last_error: Option<String>,
}

pub(super) async fn queue(
    db: &mut PgConnection,
    run: Option<RunId>,
    account: AccountId,
    messages: &[Message],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for message in messages {
        let content = &message.content;
        let (attachment_name, attachment) = content.attachment.clone().unzip();
        sqlx::query!(
            "INSERT INTO mail_outbox (run_id, account_id, recipient, message_id, subject, body_text, body_html, attachment_name, attachment, created_at, next_attempt_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
            run.map(|run| run.0),
            account.0,
            message.recipient,
            message.message_id,
            content.subject,
            content.text,
            content.html,
            attachment_name,
            attachment,
            now
        )
        .execute(&mut *db)
        .await
        .map_err(query_error("queue mail"))?;
    }
    Ok(())
}

impl Store {
    /// Claims up to `limit` due messages, of one run only if given. Other processes do not send them for some minutes.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn claim_due_mail(
        &self,
        now: DateTime<Utc>,
        run: Option<RunId>,
        limit: i64,
    ) -> Result<Vec<DueMail>, StoreError> {
        let rows = sqlx::query!(
            "UPDATE mail_outbox m SET attempts = m.attempts + 1, next_attempt_at = $2
             WHERE m.id IN (
                 SELECT id FROM mail_outbox
                 WHERE sent_at IS NULL AND failed_at IS NULL AND next_attempt_at <= $1 AND ($3::bigint IS NULL OR run_id = $3)
                 ORDER BY next_attempt_at, id
                 LIMIT $4
                 FOR UPDATE SKIP LOCKED)
             RETURNING id, attempts, recipient, message_id, subject, body_text, body_html, attachment_name, attachment",
            now,
            now + TimeDelta::minutes(CLAIM_MINUTES),
            run.map(|run| run.0),
            limit
        )
        .fetch_all(&self.pool)
        .await
        .map_err(query_error("claim mail from the outbox"))?;
        Ok(rows
            .into_iter()
            .map(|row| DueMail {
                id: row.id,
                attempts: row.attempts,
                message: Message {
                    recipient: row.recipient,
                    message_id: row.message_id,
                    content: Content {
                        subject: row.subject,
                        text: row.body_text,
                        html: row.body_html,
                        attachment: row.attachment_name.zip(row.attachment),
                    },
                },
            })
            .collect())
    }

    /// Records that the mail server accepted a message.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the message is then sent again later.
    pub async fn record_mail_sent(&self, id: i64, now: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE mail_outbox SET sent_at = $2, last_error = NULL WHERE id = $1",
            id,
            now
        )
        .execute(&self.pool)
        .await
        .map_err(query_error("record that mail was sent"))?;
        Ok(())
    }

    /// Records a failed attempt. `next` is the time of the next one, or `None` if the message was refused permanently.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn record_mail_failed(
        &self,
        id: i64,
        error: &str,
        next: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let failed_at = next.is_none().then_some(now);
        sqlx::query!(
            "UPDATE mail_outbox SET last_error = $2, failed_at = $3, next_attempt_at = coalesce($4, next_attempt_at) WHERE id = $1",
            id,
            error,
            failed_at,
            next
        )
        .execute(&self.pool)
        .await
        .map_err(query_error("record that mail was not sent"))?;
        Ok(())
    }

    /// The last 20 messages that were refused permanently within 30 days, or that are waiting after a failed attempt.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn undelivered_mail(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Vec<UndeliveredMail>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT recipient, subject, coalesce(failed_at, created_at) AS "since!", failed_at IS NOT NULL AS "permanent!", last_error
               FROM mail_outbox
               WHERE sent_at IS NULL AND (failed_at > $1 OR (failed_at IS NULL AND last_error IS NOT NULL))
               ORDER BY id DESC LIMIT 20"#,
            now - TimeDelta::days(30)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(query_error("read the outbox"))?;
        Ok(rows
            .into_iter()
            .map(|row| UndeliveredMail {
                recipient: row.recipient,
                subject: row.subject,
                since: row.since,
                permanent: row.permanent,
                last_error: row.last_error,
            })
            .collect())
    }
}
