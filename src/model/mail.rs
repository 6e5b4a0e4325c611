//! Email messages, as they are rendered, queued and sent.

/// Subject, bodies and attachment of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Subject line.
    pub subject: String,
    /// Plain text body.
    pub text: String,
    /// HTML body.
    pub html: String,
    /// File name and content of an attached CSV file.
    pub attachment: Option<(String, String)>,
}

/// A message to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Email address.
    pub recipient: String,
    /// `Message-ID` header with angle brackets; the same for every delivery attempt.
    pub message_id: String,
    /// Subject, bodies and attachment.
    pub content: Content,
}
