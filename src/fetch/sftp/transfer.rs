//! Reads a file over SFTP, and checks its size and modification time before and after to detect a concurrent upload.

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
use crate::fetch::error::FetchErrorKind;
use crate::fetch::throughput::TransferMonitor;
use crate::fetch::{LastStat, Outcome, Validators};

/// libssh2 sends requests for the entire buffer at once. With a buffer of 32 KiB it is six times slower.
const READ_BUFFER_BYTES: usize = 2 << 20;
/// With a buffer of this size, libssh2 sends a single request and waits for the response. It requests four times the buffer size, in
/// packets of at most 30,000 bytes.
const SINGLE_REQUEST_BYTES: usize = 7_500;
/// Number of buffers: one is being filled, one is queued, one is being written.
const MAX_CHUNKS: usize = 3;
/// A younger file may still be uploading.
const MIN_FILE_AGE: TimeDelta = TimeDelta::seconds(10);

/// The transfer of one file.
pub(super) struct Transfer {
    pub(super) session: Session,
    pub(super) connection: Arc<Connection>,
    /// Possible paths of the file, the most likely one first.
    pub(super) paths: Vec<String>,
    /// Size and modification time of the last applied file.
    pub(super) previous: Option<(u64, DateTime<Utc>)>,
    pub(super) last_stat: LastStat,
    /// Current time, to determine the age of the file.
    pub(super) now: DateTime<Utc>,
    /// Maximum size in bytes.
    pub(super) limit: u64,
    pub(super) monitor: Arc<TransferMonitor>,
}

impl Transfer {
    pub(super) fn run(&self) -> Result<Outcome, FetchErrorKind> {
        let sftp = self.connection.call("", || self.session.sftp())?;
        let mut first_error = None;
        for path in &self.paths {
            match self.call(path, || sftp.stat(Path::new(path))) {
                Ok(stat) => return self.read(&sftp, path, &stat),
                // A directory below the root may be inaccessible and have the same name as one in the home directory.
                Err(error @ (FetchErrorKind::NotFound(_) | FetchErrorKind::Forbidden { .. })) => {
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first_error.unwrap_or_else(|| FetchErrorKind::NotFound(self.connection.host.clone())))
    }

    fn read(
        &self,
        sftp: &ssh2::Sftp,
        path: &str,
        before: &FileStat,
    ) -> Result<Outcome, FetchErrorKind> {
        // Some servers do not report the file type. Then it is a directory if it can be opened as one.
        let is_file = match before.perm {
            Some(_) => before.is_file(),
            None => sftp.opendir(Path::new(path)).is_err(),
        };
        if !is_file {
            return Err(FetchErrorKind::NotAFile(self.display_url(path)));
        }
        let mtime = modification_time(before);
        let current = before.size.zip(mtime);
        if self.previous.is_some() && self.previous == current {
            return Ok(Outcome::NotModified);
        }
        if let Some(mtime) = mtime
            && let Some(wait) = time_until_old_enough(mtime, self.now)
            && !(mtime > self.now && self.last_stat.replace_and_compare((before.size, mtime)))
        {
            return Err(FetchErrorKind::RecentlyModified {
                host: self.connection.host.clone(),
                retry_after: wait,
            });
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
        // The open file, and the file that the path refers to now.
        let after = [
            self.call(path, || file.stat()),
            self.call(path, || sftp.stat(Path::new(path))),
        ];
        for after in after {
            let after = after.map_err(|error| match error {
                FetchErrorKind::NotFound(_) => self.changed_error(),
                other => other,
            })?;
            if (after.size, after.mtime) != (before.size, before.mtime) {
                return Err(self.changed_error());
            }
        }
        let validators = Validators {
            size_and_mtime: current,
            ..Validators::default()
        };
        content.finish(validators).map(Outcome::File)
    }

    /// Reads the file. Hashing and writing run on another thread, in parallel with decryption.
    fn download_file<'a>(
        &self,
        file: &mut ssh2::File,
        content: Download<'a>,
    ) -> Result<Download<'a>, FetchErrorKind> {
        let (filled_tx, filled_rx) = sync_channel(MAX_CHUNKS);
        let (spare_tx, spare_rx) = sync_channel(MAX_CHUNKS);
        thread::scope(|scope| {
            let writer = scope.spawn(move || write_chunks(content, &filled_rx, &spare_tx));
            let read = self.read_chunks(file, &filled_tx, &spare_rx);
            // Ends the loop of the writer.
            drop(filled_tx);
            let written = match writer.join() {
                Ok(written) => written,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            // If the writer failed, the reader only stopped because of it, so report the writer's error.
            written.and_then(|content| read.map(|()| content))
        })
    }

    /// Reads until the end of the file, or until the writer stops.
    fn read_chunks(
        &self,
        file: &mut ssh2::File,
        filled_tx: &SyncSender<Chunk>,
        spare_rx: &Receiver<Chunk>,
    ) -> Result<(), FetchErrorKind> {
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
                    // libssh2 fails if a server sends less than requested while it has more requests pending. Continue with single
                    // requests.
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
    ) -> Result<T, FetchErrorKind> {
        self.connection.call(&self.display_url(path), operation)
    }

    fn display_url(&self, path: &str) -> String {
        format!(
            "sftp://{}/{}",
            self.connection.host,
            path.trim_start_matches('/')
        )
    }

    fn changed_error(&self) -> FetchErrorKind {
        FetchErrorKind::ChangedWhileReading(self.connection.host.clone())
    }

    fn read_error(&self, error: &std::io::Error) -> FetchErrorKind {
        if error.kind() == ErrorKind::TimedOut {
            return self.connection.timeout_error();
        }
        FetchErrorKind::Incomplete {
            host: self.connection.host.clone(),
        }
    }
}

/// A buffer that the reader fills and the writer empties.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Number of bytes that were read into the buffer.
    length: usize,
}

fn write_chunks<'a>(
    mut content: Download<'a>,
    filled_rx: &Receiver<Chunk>,
    spare_tx: &SyncSender<Chunk>,
) -> Result<Download<'a>, FetchErrorKind> {
    for chunk in filled_rx {
        content.push(&chunk.bytes[..chunk.length])?;
        // Fails after the last chunk, when the reader has ended.
        let _ = spare_tx.send(chunk);
    }
    Ok(content)
}

fn modification_time(stat: &FileStat) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(stat.mtime?).ok()?, 0)
}

/// The time until a recently modified file is old enough to be read.
fn time_until_old_enough(mtime: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    let age = now - mtime;
    if age >= MIN_FILE_AGE {
        return None;
    }
    // One second more, because modification times are whole seconds. At most the minimum age, even if the time is in the future.
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
        // The server's clock is ahead, even by years.
        assert_eq!(wait(-30), Some(11));
        assert_eq!(wait(-100_000_000), Some(11));
    }
}
