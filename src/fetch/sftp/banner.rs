//! What a server says before it says that it speaks SSH (RFC 4253, 4.2: lines of its own choice), or instead.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::fetch::FetchError;
use crate::fetch::network::connection_lost;

/// How long a server may take to speak first, as SSH servers do (and FTP servers that first look up who we are). One that waits
/// for us may speak another protocol.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// How the line begins that the other side's SSH is waiting for.
const SSH_PREFIX: &[u8] = b"SSH-";
/// Most bytes looked at at once.
const PEEK_BYTES: usize = 1024;
/// Most bytes that are taken in before the greeting.
const MAX_BANNER_BYTES: usize = 64 << 10;

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BannerState {
    /// The server has said that it speaks SSH; it still has to be read.
    Received,
    /// The server waits for us.
    NotReceived,
}

/// Listens until the server says that it speaks SSH, and takes in what it says before.
pub(super) async fn wait_for_banner(
    stream: &mut TcpStream,
    host: &str,
    timeout: Duration,
) -> Result<BannerState, FetchError> {
    let deadline = Instant::now() + timeout;
    let mut bytes_read = 0;
    let mut at_line_start = true;
    let mut buffer = [0; PEEK_BYTES];
    loop {
        let remaining = match bytes_read {
            0 => FIRST_BYTE_TIMEOUT.min(timeout),
            _ => deadline.saturating_duration_since(Instant::now()),
        };
        // Looked at first: where there is always something to read, no timer would go off.
        if remaining.is_zero() || bytes_read > MAX_BANNER_BYTES {
            return Err(unfinished_banner(host));
        }
        let Ok(peeked) = tokio::time::timeout(remaining, stream.peek(&mut buffer)).await else {
            return match bytes_read {
                0 => Ok(BannerState::NotReceived),
                _ => Err(unfinished_banner(host)),
            };
        };
        let buffer = match peeked {
            // Turned away at the door, as a server with too many guests does.
            Ok(0) | Err(_) => return Err(closed_before_banner(host)),
            Ok(length) => &mut buffer[..length],
        };
        let compared = buffer.len().min(SSH_PREFIX.len());
        if at_line_start && buffer[..compared] == SSH_PREFIX[..compared] {
            return Ok(BannerState::Received);
        }
        if bytes_read == 0 && is_other_protocol(buffer) {
            return Err(FetchError::ProtocolError {
                host: host.to_owned(),
                reason: "it greets in another way than SSH servers do".to_owned(),
            });
        }
        let line = buffer.iter().position(|byte| *byte == b'\n');
        let consumed = line.map_or(buffer.len(), |newline| newline + 1);
        at_line_start = line.is_some();
        bytes_read += consumed;
        // It is there already.
        let read = stream.read_exact(&mut buffer[..consumed]).await;
        read.map_err(|error| connection_lost(host, &error))?;
    }
}

/// Whether these are the first words of FTP, SMTP, POP3, IMAP, VNC, a web server, or of what speaks no text at all.
fn is_other_protocol(first: &[u8]) -> bool {
    let known_prefixes = ["HTTP/", "+OK", "* OK", "* BYE", "RFB "];
    let is_status = matches!(first, [a, b, c, b' ' | b'-', ..] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()));
    let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    is_status
        || known_prefixes
            .iter()
            .any(|prefix| first.starts_with(prefix.as_bytes()))
        || !first.iter().all(is_text)
}

fn unfinished_banner(host: &str) -> FetchError {
    FetchError::TimedOut {
        host: host.to_owned(),
        reason: "it does not finish its greeting",
    }
}

fn closed_before_banner(host: &str) -> FetchError {
    FetchError::ConnectFailed {
        host: host.to_owned(),
        reason: "the server closed the connection instead of greeting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_detected_by_first_bytes() {
        for greeting in [
            "220 ftp.example.org ready\r\n",
            "220-several lines\r\n",
            "+OK POP3\r\n",
            "* OK IMAP4rev1\r\n",
            "RFB 003.008\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "J\0\0\0\n8.0.36",
        ] {
            assert!(is_other_protocol(greeting.as_bytes()), "{greeting:?}");
        }
        for greeting in [
            "Welcome\r\n",
            "Exceeded MaxStartups\r\n",
            "2026 is here\r\n",
            "22",
        ] {
            assert!(!is_other_protocol(greeting.as_bytes()), "{greeting:?}");
        }
    }
}
