//! Email messages, as they are rendered, queued and sent.

/// What a message says, without its recipient.
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
    /// One address.
    pub recipient: String,
    /// With angle brackets; the same at every delivery attempt.
    pub message_id: String,
    /// What it says.
    pub content: Content,
}
