//! Hands messages to the mail server. Knows lettre and nothing of imports.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// A message that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// One address.
    pub recipient: String,
    /// With angle brackets; the same at every attempt.
    pub message_id: String,
    /// Subject line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// HTML.
    pub html: String,
    /// File name and content of an attached CSV file.
    pub attachment: Option<(String, String)>,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The server, or reason, says never.
    #[error("{0}")]
    Permanent(String),
    /// It may work later.
    #[error("{0}")]
    Transient(String),
}

/// Why mail can't be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum MailConfigError {
    /// Not one of the three forms.
    #[error(
        "`smtp.url` must be smtp://host:port, smtps://host:port or smtp+starttls://user:password@host:port"
    )]
    InvalidUrl,
    /// Not an address.
    #[error("`mail.from` is not an e-mail address: {0}")]
    InvalidFrom(String),
    /// TLS could not be set up.
    #[error("`smtp.extra_ca_file` or the system's certificates can't be used: {0}")]
    Tls(String),
}

/// The way to the mail server.
#[derive(Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    timeout: Duration,
}

impl Mailer {
    /// Prepares the way; connects to nothing yet. `extra_ca` is PEM.
    ///
    /// # Errors
    /// [`MailConfigError`] names the setting that is wrong.
    pub fn new(
        url: &SecretString,
        from: &str,
        timeout: Duration,
        extra_ca: Option<&[u8]>,
    ) -> Result<Self, MailConfigError> {
        let url = Url::parse(url.expose_secret()).map_err(|_| MailConfigError::InvalidUrl)?;
        let host = url
            .host_str()
            .ok_or(MailConfigError::InvalidUrl)?
            .trim_matches(['[', ']']);
        let tls_parameters = || {
            let mut builder = TlsParameters::builder(host.to_owned());
            if let Some(pem) = extra_ca {
                builder = builder.add_root_certificate(
                    Certificate::from_pem(pem).map_err(|e| MailConfigError::Tls(e.to_string()))?,
                );
            }
            builder
                .build()
                .map_err(|error| MailConfigError::Tls(error.to_string()))
        };
        let (tls, port) = match url.scheme() {
            "smtp" => (Tls::None, 25),
            "smtps" => (Tls::Wrapper(tls_parameters()?), 465),
            "smtp+starttls" => (Tls::Required(tls_parameters()?), 587),
            _ => return Err(MailConfigError::InvalidUrl),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(url.port().unwrap_or(port))
            .timeout(Some(timeout))
            .tls(tls);
        if !url.username().is_empty() {
            builder = builder.credentials(Credentials::new(
                percent_decode(url.username()),
                percent_decode(url.password().unwrap_or_default()),
            ));
        }
        let from = from
            .parse()
            .map_err(|error: lettre::address::AddressError| {
                MailConfigError::InvalidFrom(error.to_string())
            })?;
        Ok(Self {
            transport: builder.build(),
            from,
            timeout,
        })
    }

    /// Sends one message; one attempt.
    ///
    /// # Errors
    /// [`MailError`] says whether another attempt makes sense.
    pub async fn send(&self, outgoing: &OutgoingMessage) -> Result<(), MailError> {
        let message = self.message(outgoing)?;
        // lettre's own time-out ends with the connection being made.
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Err(_) => Err(MailError::Transient(format!(
                "no answer within {} s",
                self.timeout.as_secs()
            ))),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(classify(&error)),
        }
    }

    /// Whether the mail server can be reached and takes our greeting and password.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn test(&self) -> Result<(), MailError> {
        match tokio::time::timeout(self.timeout, self.transport.test_connection()).await {
            Err(_) => Err(MailError::Transient(format!(
                "no answer within {} s",
                self.timeout.as_secs()
            ))),
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(MailError::Transient(
                "the connection was closed at once".to_owned(),
            )),
            Ok(Err(error)) => Err(classify(&error)),
        }
    }

    fn message(&self, outgoing: &OutgoingMessage) -> Result<Message, MailError> {
        let permanent = |error: &dyn std::fmt::Display| MailError::Permanent(error.to_string());
        let to: Address = outgoing
            .recipient
            .parse()
            .map_err(|error| permanent(&error))?;
        let body = MultiPart::alternative_plain_html(outgoing.text.clone(), outgoing.html.clone());
        let content = match &outgoing.attachment {
            None => body,
            Some((name, text)) => {
                let kind = ContentType::parse("text/csv; charset=utf-8")
                    .map_err(|error| permanent(&error))?;
                let file: SinglePart = Attachment::new(name.clone()).body(text.clone(), kind);
                MultiPart::mixed().multipart(body).singlepart(file)
            }
        };
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&outgoing.subject)
            .message_id(Some(outgoing.message_id.clone()))
            .multipart(content)
            .map_err(|error| permanent(&error))
    }
}

/// Only a final word about this message is permanent: a refused log-in or a missing TLS concerns them all, and is mended.
fn classify(error: &lettre::transport::smtp::Error) -> MailError {
    let code = error.status().map(u16::from);
    let text = std::error::Error::source(error)
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    match code {
        Some(500..=599) if !matches!(code, Some(500..=504 | 530 | 534 | 535 | 538)) => {
            MailError::Permanent(text)
        }
        _ => MailError::Transient(text),
    }
}

fn percent_decode(part: &str) -> String {
    percent_encoding::percent_decode_str(part)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The transport's pool wants a runtime from the start.
    #[tokio::test]
    async fn only_supported_smtp_url_schemes_are_accepted() {
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let new = |url: &str| {
            Mailer::new(
                &url.into(),
                "rosterd <r@example.org>",
                Duration::from_secs(1),
                None,
            )
        };
        for url in [
            "smtp://127.0.0.1:2525",
            "smtps://mail.example.org",
            "smtp+starttls://u%40x:p%3A%20w@mail.example.org:587",
        ] {
            assert!(new(url).is_ok(), "{url}");
        }
        for url in ["mail.example.org", "http://mail.example.org", "smtp://"] {
            assert!(
                matches!(new(url), Err(MailConfigError::InvalidUrl)),
                "{url}"
            );
        }
        assert_eq!(percent_decode("p%3A%20w%zz%"), "p: w%zz%");
    }
}
