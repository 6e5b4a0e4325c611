//! Reading one file, looked at before and after.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ssh2::{FileStat, Session};

use super::connection::Connection;
use crate::fetch::content_encoding::ContentEncoding;
use crate::fetch::download::Download;
use crate::fetch::throughput::TransferMonitor;
use crate::fetch::{FetchError, LastStat, Outcome, Validators};

/// libssh2 asks for as much at once as it is given room for: with 32 KiB it is six times slower.
const READ_BUFFER_BYTES: usize = 2 << 20;
/// With so much room it asks once and waits for the answer (it asks for four times the room, and for 30,000 bytes at most).
const SINGLE_REQUEST_BYTES: usize = 7_500;
/// Most pieces on their way from one thread to the other: one is filled, one waits, one is taken in.
const MAX_CHUNKS: usize = 3;
/// A file younger than this may still be being written.
const MIN_FILE_AGE: TimeDelta = TimeDelta::seconds(10);

/// One reading of one file.
pub(super) struct Transfer {
    pub(super) session: Session,
    pub(super) connection: Arc<Connection>,
    /// Where it may be, the likeliest first.
    pub(super) paths: Vec<String>,
    /// Size and time of modification of the file that is known.
    pub(super) previous: Option<(u64, DateTime<Utc>)>,
    pub(super) last_stat: LastStat,
    /// Tells how old the file is.
    pub(super) now: DateTime<Utc>,
    /// Most bytes.
    pub(super) limit: u64,
    pub(super) monitor: Arc<TransferMonitor>,
}

impl Transfer {
    pub(super) fn run(&self) -> Result<Outcome, FetchError> {
        let sftp = self.connection.call("", || self.session.sftp())?;
        let mut first_error = None;
        for path in &self.paths {
            match self.call(path, || sftp.stat(Path::new(path))) {
                Ok(found) => return self.read(&sftp, path, &found),
                // A folder of the server's may be closed that the user's own has a name in common with.
                Err(error @ (FetchError::NotFound(_) | FetchError::Forbidden(_))) => {
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first_error.unwrap_or_else(|| FetchError::NotFound(self.connection.host.clone())))
    }

    fn read(
        &self,
        sftp: &ssh2::Sftp,
        path: &str,
        before: &FileStat,
    ) -> Result<Outcome, FetchError> {
        // Not every server says what sort of thing it is; then it is a folder if it can be opened as one.
        let is_file = match before.perm {
            Some(_) => before.is_file(),
            None => sftp.opendir(Path::new(path)).is_err(),
        };
        if !is_file {
            return Err(FetchError::NotAFile(self.display_url(path)));
        }
        let mtime = modified(before);
        let current = before.size.zip(mtime);
        if self.previous.is_some() && self.previous == current {
            return Ok(Outcome::NotModified);
        }
        if let Some(mtime) = mtime
            && let Some(wait) = time_until_old_enough(mtime, self.now)
            && !(mtime > self.now && self.last_stat.replace_and_compare((before.size, mtime)))
        {
            return Err(self.changed_error(Some(wait)));
        }
        let mut file = self.call(path, || sftp.open(Path::new(path)))?;
        let content = Download::new(
            &self.connection.host,
            self.limit,
            before.size,
            ContentEncoding::Identity,
            &self.monitor,
        )?;
        let content = self.download_file(&mut file, content)?;
        // The open file, and what stands under its name by now.
        let after = [
            self.call(path, || file.stat()),
            self.call(path, || sftp.stat(Path::new(path))),
        ];
        for after in after {
            let after = after.map_err(|error| match error {
                FetchError::NotFound(_) => self.changed_error(None),
                other => other,
            })?;
            if (after.size, after.mtime) != (before.size, before.mtime) {
                return Err(self.changed_error(None));
            }
        }
        let validators = Validators {
            size_and_mtime: current,
            ..Validators::default()
        };
        content.finish(validators).map(Outcome::File)
    }

    /// Takes the file in on a thread of its own, so that a piece is hashed and written while the next is deciphered.
    fn download_file<'a>(
        &self,
        file: &mut ssh2::File,
        content: Download<'a>,
    ) -> Result<Download<'a>, FetchError> {
        let (filled_tx, filled_rx) = sync_channel(MAX_CHUNKS);
        let (spare_tx, spare_rx) = sync_channel(MAX_CHUNKS);
        thread::scope(|scope| {
            let writer = scope.spawn(move || write_chunks(content, &filled_rx, &spare_tx));
            let read = self.read_chunks(file, &filled_tx, &spare_rx);
            // Then no more will come.
            drop(filled_tx);
            let written = match writer.join() {
                Ok(written) => written,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            // Whoever takes nothing more has the better reason.
            written.and_then(|content| read.map(|()| content))
        })
    }

    /// Reads until the file ends, or nobody takes its pieces any more.
    fn read_chunks(
        &self,
        file: &mut ssh2::File,
        filled_tx: &SyncSender<Chunk>,
        spare_rx: &Receiver<Chunk>,
    ) -> Result<(), FetchError> {
        let mut position = 0;
        let mut size = READ_BUFFER_BYTES;
        let mut allocated = 0;
        loop {
            let mut chunk = if allocated < MAX_CHUNKS {
                allocated += 1;
                Chunk::default()
            } else if let Ok(chunk) = spare_rx.recv() {
                chunk
            } else {
                return Ok(());
            };
            chunk.bytes.resize(size, 0);
            chunk.length = loop {
                match file.read(&mut chunk.bytes) {
                    Ok(length) => break length,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // A server may send less than it is asked for, and the library stumbles if it has asked for more by then.
                    Err(error) if error.kind() == ErrorKind::Other && size == READ_BUFFER_BYTES => {
                        size = SINGLE_REQUEST_BYTES;
                        chunk.bytes.truncate(size);
                        file.seek(SeekFrom::Start(position))
                            .map_err(|error| self.read_error(&error))?;
                    }
                    Err(error) => return Err(self.read_error(&error)),
                }
            };
            position += chunk.length as u64;
            if chunk.length == 0 || filled_tx.send(chunk).is_err() {
                return Ok(());
            }
        }
    }

    fn call<T>(
        &self,
        path: &str,
        operation: impl FnOnce() -> Result<T, ssh2::Error>,
    ) -> Result<T, FetchError> {
        self.connection.call(&self.display_url(path), operation)
    }

    fn display_url(&self, path: &str) -> String {
        format!(
            "sftp://{}/{}",
            self.connection.host,
            path.trim_start_matches('/')
        )
    }

    fn changed_error(&self, retry_after: Option<Duration>) -> FetchError {
        FetchError::ChangedWhileReading {
            host: self.connection.host.clone(),
            retry_after,
        }
    }

    fn read_error(&self, error: &std::io::Error) -> FetchError {
        if error.kind() == ErrorKind::TimedOut {
            return FetchError::TimedOut {
                host: self.connection.host.clone(),
                reason: "it stopped sending",
            };
        }
        FetchError::Incomplete {
            host: self.connection.host.clone(),
        }
    }
}

/// Bytes on their way from one thread to the other.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// So many of them are the file's.
    length: usize,
}

fn write_chunks<'a>(
    mut content: Download<'a>,
    filled_rx: &Receiver<Chunk>,
    spare_tx: &SyncSender<Chunk>,
) -> Result<Download<'a>, FetchError> {
    for chunk in filled_rx {
        content.push(&chunk.bytes[..chunk.length])?;
        // After the last one there is nobody who would fill it again.
        let _ = spare_tx.send(chunk);
    }
    Ok(content)
}

fn modified(stat: &FileStat) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(stat.mtime?).ok()?, 0)
}

/// How long until a file that was just written may be trusted.
fn time_until_old_enough(mtime: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    let age = now - mtime;
    if age >= MIN_FILE_AGE {
        return None;
    }
    // A second more: times of modification are whole seconds. Not longer than a file is to rest, whatever its clock says.
    (MIN_FILE_AGE - age.max(TimeDelta::zero()) + TimeDelta::seconds(1))
        .to_std()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_younger_than_ten_seconds_is_delayed() {
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let wait = |age| {
            time_until_old_enough(now - TimeDelta::seconds(age), now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait(10), None);
        assert_eq!(wait(9), Some(2));
        assert_eq!(wait(0), Some(11));
        // The server's clock is ahead of ours, be it by years.
        assert_eq!(wait(-30), Some(11));
        assert_eq!(wait(-100_000_000), Some(11));
    }
}
