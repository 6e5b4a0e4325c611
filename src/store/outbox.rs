//! Mail on its way.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::{Store, StoreError, query_error};
use crate::model::{AccountId, RunId};

/// How long a process has for one message before another may take it.
const CLAIM_MINUTES: i64 = 5;

/// A message to be queued for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMail {
    /// One address.
    pub recipient: String,
    /// With angle brackets.
    pub message_id: String,
    /// Subject line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// HTML.
    pub html: String,
    /// File name and content.
    pub attachment: Option<(String, String)>,
}

/// A message that this process has taken up.
#[derive(Debug, Clone)]
pub struct DueMail {
    /// `mail_outbox.id`
    pub id: i64,
    /// Attempts, this one included.
    pub attempts: i32,
    /// The message.
    pub mail: NewMail,
}

/// A message that could not be delivered.
#[derive(Debug, Clone)]
pub struct UndeliveredMail {
    /// To whom.
    pub recipient: String,
    /// Subject line.
    pub subject: String,
    /// Since when it waits, or when it was refused.
    pub since: DateTime<Utc>,
    /// Refused for good.
    pub permanent: bool,
    /// What the server said last.
    pub last_error: Option<String>,
}

pub(super) async fn queue(
    db: &mut PgConnection,
    run: Option<RunId>,
    account: AccountId,
    mail: &[NewMail],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for message in mail {
        let (name, content) = message.attachment.clone().unzip();
        sqlx::query!(
            "INSERT INTO mail_outbox (run_id, account_id, recipient, message_id, subject, body_text, body_html, attachment_name, attachment, created_at, next_attempt_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
            run.map(|run| run.0),
            account.0,
            message.recipient,
            message.message_id,
            message.subject,
            message.text,
            message.html,
            name,
            content,
            now
        )
        .execute(&mut *db)
        .await
        .map_err(query_error("queue mail"))?;
    }
    Ok(())
}

impl Store {
    /// Takes up to `limit` messages that are due (of one run only, if given), so that no other process sends them too.
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
        .map_err(query_error("take mail from the outbox"))?;
        Ok(rows
            .into_iter()
            .map(|row| DueMail {
                id: row.id,
                attempts: row.attempts,
                mail: NewMail {
                    recipient: row.recipient,
                    message_id: row.message_id,
                    subject: row.subject,
                    text: row.body_text,
                    html: row.body_html,
                    attachment: row.attachment_name.zip(row.attachment),
                },
            })
            .collect())
    }

    /// Notes that a message was taken by the mail server.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; then it will be sent again.
    pub async fn record_mail_sent(&self, id: i64, now: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE mail_outbox SET sent_at = $2, last_error = NULL WHERE id = $1",
            id,
            now
        )
        .execute(&self.pool)
        .await
        .map_err(query_error("note that mail was sent"))?;
        Ok(())
    }

    /// Notes why a message was not taken; `next` is the next attempt, or `None` if it was refused for good.
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
        .map_err(query_error("note that mail failed"))?;
        Ok(())
    }

    /// Messages that were refused within the last 30 days, or wait after an attempt.
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
        .map_err(query_error("look at the outbox"))?;
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
