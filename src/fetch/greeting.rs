//! What a server says before it says that it speaks SSH (RFC 4253, 4.2: lines of its own choice), or instead.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::FetchError;
use super::network::lost;

/// How long a server may take to speak first, as SSH servers do. One that waits for us may speak another protocol.
const SPEAKS_FIRST: Duration = Duration::from_secs(1);
/// How the line begins that the other side's SSH is waiting for.
const SSH: &[u8] = b"SSH-";
/// Most bytes looked at at once.
const LOOK: usize = 1024;

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
    let mut heard = None;
    let mut begins_line = true;
    let mut seen = [0; LOOK];
    loop {
        let left = match heard {
            None => SPEAKS_FIRST.min(patience),
            Some(_) => end.saturating_duration_since(Instant::now()),
        };
        let Ok(looked) = tokio::time::timeout(left, stream.peek(&mut seen)).await else {
            let Some(last) = heard else {
                return Ok(Speaks::Second);
            };
            return Err(never_came(
                host,
                end.saturating_duration_since(last),
                patience,
            ));
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
        let line = seen.iter().position(|byte| *byte == b'\n');
        let taken = line.map_or(seen.len(), |newline| newline + 1);
        begins_line = line.is_some();
        heard = Some(Instant::now());
        // It is there already.
        let read = stream.read_exact(&mut seen[..taken]).await;
        read.map_err(|error| lost(host, &error))?;
    }
}

/// Whoever falls silent has said all that there is to say, in another protocol; whoever goes on may come to it.
fn never_came(host: &str, silent_for: Duration, patience: Duration) -> FetchError {
    let host = host.to_owned();
    if silent_for > patience / 2 {
        return FetchError::ProtocolError {
            host,
            why: "it greets in another way than SSH servers do".to_owned(),
        };
    }
    FetchError::TimedOut {
        host,
        what: "it does not finish its greeting",
    }
}

fn turned_away(host: &str) -> FetchError {
    FetchError::ConnectFailed {
        host: host.to_owned(),
        why: "the server closed the connection at once".to_owned(),
    }
}
