//! Sends email over SMTP. Does not depend on accounts or imports.

use std::net::IpAddr;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::model::mail::Message;

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The server refuses this message or recipient, or the message cannot be sent at all.
    #[error("{0}")]
    Permanent(String),
    /// Another attempt can succeed.
    #[error("{0}")]
    Transient(String),
}

/// Why no mail can be sent with these settings.
#[derive(Debug, thiserror::Error)]
pub enum MailConfigError {
    /// Not one of the supported forms.
    #[error(
        "`smtp.url` must be smtp://host:port, smtps://host:port or smtp+starttls://user:password@host:port"
    )]
    InvalidUrl,
    /// Not an email address.
    #[error("`mail.from` is not an email address: {0}")]
    InvalidFrom(String),
    /// TLS could not be set up.
    #[error("`smtp.extra_ca_file` or the system's certificates cannot be used: {0}")]
    Tls(String),
}

/// A connection pool to the mail server.
#[derive(Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    timeout: Duration,
    exposes_password: bool,
}

impl Mailer {
    /// Sets up the transport without connecting. `extra_ca` is a PEM bundle.
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
        let has_login = !url.username().is_empty();
        let exposes_password = matches!(tls, Tls::None) && has_login && !is_loopback(host);
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(url.port().unwrap_or(port))
            .timeout(Some(timeout))
            .tls(tls);
        if has_login {
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
            exposes_password,
        })
    }

    /// Whether the password of the mail server is sent over the network without encryption.
    #[must_use]
    pub fn exposes_password(&self) -> bool {
        self.exposes_password
    }

    /// Sends one message; one attempt.
    ///
    /// # Errors
    /// [`MailError`] says whether another attempt makes sense.
    pub async fn send(&self, message: &Message) -> Result<(), MailError> {
        let message = self.encode(message)?;
        // lettre's own timeout covers only the connect.
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Err(_) => Err(MailError::Transient(format!(
                "no reply within {} s (`smtp.timeout`)",
                self.timeout.as_secs()
            ))),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(classify(&error)),
        }
    }

    /// Connects to the mail server and logs in.
    ///
    /// # Errors
    /// [`MailError`] if that fails.
    pub async fn check_connection(&self) -> Result<(), MailError> {
        match tokio::time::timeout(self.timeout, self.transport.test_connection()).await {
            Err(_) => Err(MailError::Transient(format!(
                "no reply within {} s (`smtp.timeout`)",
                self.timeout.as_secs()
            ))),
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(MailError::Transient(
                "the server closed the connection".to_owned(),
            )),
            Ok(Err(error)) => Err(classify(&error)),
        }
    }

    fn encode(&self, message: &Message) -> Result<lettre::Message, MailError> {
        let permanent = |error: &dyn std::fmt::Display| MailError::Permanent(error.to_string());
        let content = &message.content;
        let to: Address = message
            .recipient
            .parse()
            .map_err(|error| permanent(&error))?;
        let body = MultiPart::alternative_plain_html(content.text.clone(), content.html.clone());
        let parts = match &content.attachment {
            None => body,
            Some((name, text)) => {
                let kind = ContentType::parse("text/csv; charset=utf-8")
                    .map_err(|error| permanent(&error))?;
                let file: SinglePart = Attachment::new(name.clone()).body(text.clone(), kind);
                MultiPart::mixed().multipart(body).singlepart(file)
            }
        };
        lettre::Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&content.subject)
            .message_id(Some(message.message_id.clone()))
            .multipart(parts)
            .map_err(|error| permanent(&error))
    }
}

/// Only a refusal of this message is permanent. A refused login or missing TLS concerns all messages and ends once the settings are
/// corrected.
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

fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>().map_or_else(
        |_| host.eq_ignore_ascii_case("localhost"),
        |address| address.is_loopback(),
    )
}

fn percent_decode(part: &str) -> String {
    percent_encoding::percent_decode_str(part)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The transport's pool needs a runtime when it is created.
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
        for (url, exposes_password) in [
            ("smtp://u:p@mail.example.org", true),
            ("smtp://u:p@192.0.2.7:2525", true),
            ("smtp://mail.example.org", false),
            ("smtp://u:p@localhost", false),
            ("smtp://u:p@127.0.0.1:2525", false),
            ("smtp://u:p@[::1]:2525", false),
            ("smtps://u:p@mail.example.org", false),
            ("smtp+starttls://u:p@mail.example.org", false),
        ] {
            let mailer = new(url).unwrap();
            assert_eq!(mailer.exposes_password(), exposes_password, "{url}");
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
