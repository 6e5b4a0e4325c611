//! Waits for the SSH banner and skips the lines that a server may send before it (RFC 4253, 4.2). Detects servers of other protocols.
//! Does not use libssh2.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::fetch::error::FetchErrorKind;
use crate::fetch::error_detail::{ConnectFault, ProtocolFault, TimeoutReason};
use crate::fetch::network::connection_lost;

/// Maximum time until the first byte of the server. SSH servers send first, and so do FTP servers, which may look up the client's
/// name before. A server that waits for the client may use another protocol.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// Start of the SSH banner.
const SSH_PREFIX: &[u8] = b"SSH-";
const PEEK_BYTES: usize = 1024;
/// Maximum number of bytes before the SSH banner.
const MAX_BANNER_BYTES: usize = 64 << 10;

/// Whether the server sent its banner first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BannerState {
    /// The SSH banner has arrived and is still unread in the socket.
    Received,
    /// The server waits for the client.
    NotReceived,
}

/// Waits for the SSH banner, and discards everything before it.
pub(super) async fn wait_for_banner(
    stream: &mut TcpStream,
    host: &str,
    timeout: Duration,
) -> Result<BannerState, FetchErrorKind> {
    let deadline = Instant::now() + timeout;
    let mut bytes_read = 0;
    let mut at_line_start = true;
    let mut buffer = [0; PEEK_BYTES];
    loop {
        let remaining = match bytes_read {
            0 => FIRST_BYTE_TIMEOUT.min(timeout),
            _ => deadline.saturating_duration_since(Instant::now()),
        };
        // Check the limits first: with data always available, the timeout below would never elapse.
        if remaining.is_zero() {
            return Err(timed_out(host, TimeoutReason::SshHandshake(timeout)));
        }
        if bytes_read > MAX_BANNER_BYTES {
            return Err(timed_out(
                host,
                TimeoutReason::LongSshBanner(MAX_BANNER_BYTES),
            ));
        }
        let Ok(peeked) = tokio::time::timeout(remaining, stream.peek(&mut buffer)).await else {
            return match bytes_read {
                0 => Ok(BannerState::NotReceived),
                _ => Err(timed_out(host, TimeoutReason::SshHandshake(timeout))),
            };
        };
        let buffer = match peeked {
            // A server with too many connections closes new ones immediately.
            Ok(0) | Err(_) => return Err(closed_before_banner(host)),
            Ok(length) => &mut buffer[..length],
        };
        let compared = buffer.len().min(SSH_PREFIX.len());
        if at_line_start && buffer[..compared] == SSH_PREFIX[..compared] {
            return Ok(BannerState::Received);
        }
        if bytes_read == 0 && is_other_protocol(buffer) {
            return Err(FetchErrorKind::ProtocolError {
                host: host.to_owned(),
                reason: ProtocolFault::NotSsh,
            });
        }
        let line = buffer.iter().position(|byte| *byte == b'\n');
        let consumed = line.map_or(buffer.len(), |newline| newline + 1);
        at_line_start = line.is_some();
        bytes_read += consumed;
        // Does not block: these bytes were peeked.
        let read = stream.read_exact(&mut buffer[..consumed]).await;
        read.map_err(|error| connection_lost(host, &error))?;
    }
}

/// Whether these are the first bytes of an FTP, SMTP, POP3, IMAP, VNC or HTTP server, or of a binary protocol.
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

fn timed_out(host: &str, reason: TimeoutReason) -> FetchErrorKind {
    FetchErrorKind::TimedOut {
        host: host.to_owned(),
        reason,
    }
}

fn closed_before_banner(host: &str) -> FetchErrorKind {
    FetchErrorKind::ConnectFailed {
        host: host.to_owned(),
        reason: ConnectFault::ClosedBeforeSshBanner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_detected_by_first_bytes() {
        for first_bytes in [
            "220 ftp.example.org ready\r\n",
            "220-several lines\r\n",
            "+OK POP3\r\n",
            "* OK IMAP4rev1\r\n",
            "RFB 003.008\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "J\0\0\0\n8.0.36",
        ] {
            assert!(is_other_protocol(first_bytes.as_bytes()), "{first_bytes:?}");
        }
        for first_bytes in [
            "Welcome\r\n",
            "Exceeded MaxStartups\r\n",
            "2026 is here\r\n",
            "22",
        ] {
            assert!(
                !is_other_protocol(first_bytes.as_bytes()),
                "{first_bytes:?}"
            );
        }
    }
}
