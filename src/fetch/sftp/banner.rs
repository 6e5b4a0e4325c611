//! What a server says before it says that it speaks SSH (RFC 4253, 4.2: lines of its own choice), or instead.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::fetch::FetchError;
use crate::fetch::network::lost;

/// How long a server may take to speak first, as SSH servers do (and FTP servers that first look up who we are). One that waits
/// for us may speak another protocol.
const SPEAKS_FIRST: Duration = Duration::from_secs(5);
/// How the line begins that the other side's SSH is waiting for.
const SSH: &[u8] = b"SSH-";
/// Most bytes looked at at once.
const LOOK: usize = 1024;
/// Most bytes that are taken in before the greeting.
const LONGEST: usize = 64 << 10;

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// The server has said that it speaks SSH; it still has to be read.
    First,
    /// The server waits for us.
    Second,
}

/// Listens until the server says that it speaks SSH, and takes in what it says before.
pub(super) async fn wait(
    stream: &mut TcpStream,
    host: &str,
    patience: Duration,
) -> Result<Speaks, FetchError> {
    let end = Instant::now() + patience;
    let mut heard = 0;
    let mut begins_line = true;
    let mut seen = [0; LOOK];
    loop {
        let left = match heard {
            0 => SPEAKS_FIRST.min(patience),
            _ => end.saturating_duration_since(Instant::now()),
        };
        // Looked at first: where there is always something to read, no timer would go off.
        if left.is_zero() || heard > LONGEST {
            return Err(never_ends(host));
        }
        let Ok(looked) = tokio::time::timeout(left, stream.peek(&mut seen)).await else {
            return match heard {
                0 => Ok(Speaks::Second),
                _ => Err(never_ends(host)),
            };
        };
        let seen = match looked {
            // Turned away at the door, as a server with too many guests does.
            Ok(0) | Err(_) => return Err(turned_away(host)),
            Ok(length) => &mut seen[..length],
        };
        let compared = seen.len().min(SSH.len());
        if begins_line && seen[..compared] == SSH[..compared] {
            return Ok(Speaks::First);
        }
        if heard == 0 && is_other_protocol(seen) {
            return Err(FetchError::ProtocolError {
                host: host.to_owned(),
                why: "it greets in another way than SSH servers do".to_owned(),
            });
        }
        let line = seen.iter().position(|byte| *byte == b'\n');
        let taken = line.map_or(seen.len(), |newline| newline + 1);
        begins_line = line.is_some();
        heard += taken;
        // It is there already.
        let read = stream.read_exact(&mut seen[..taken]).await;
        read.map_err(|error| lost(host, &error))?;
    }
}

/// Whether these are the first words of FTP, SMTP, POP3, IMAP, VNC, a web server, or of what speaks no text at all.
fn is_other_protocol(first: &[u8]) -> bool {
    let known = ["HTTP/", "+OK", "* OK", "* BYE", "RFB "];
    let is_status = matches!(first, [a, b, c, b' ' | b'-', ..] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()));
    let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    is_status
        || known.iter().any(|word| first.starts_with(word.as_bytes()))
        || !first.iter().all(is_text)
}

fn never_ends(host: &str) -> FetchError {
    FetchError::TimedOut {
        host: host.to_owned(),
        what: "it does not finish its greeting",
    }
}

fn turned_away(host: &str) -> FetchError {
    FetchError::ConnectFailed {
        host: host.to_owned(),
        why: "the server closed the connection instead of greeting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_known_by_their_first_words() {
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
