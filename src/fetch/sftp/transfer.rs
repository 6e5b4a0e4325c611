//! Reading one file, looked at before and after.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ssh2::{FileStat, Session};

use super::connection::Line;
use crate::fetch::download::Intake;
use crate::fetch::encoding::Encoding;
use crate::fetch::throughput::Meter;
use crate::fetch::{FetchError, Outcome, Sighting, Validators};

/// libssh2 asks for as much at once as it is given room for: with 32 KiB it is six times slower.
const READ_SIZE: usize = 2 << 20;
/// With so much room it asks once and waits for the answer (it asks for four times the room, and for 30,000 bytes at most).
const ONE_REQUEST: usize = 7_500;
/// Most pieces on their way from one thread to the other: one is filled, one waits, one is taken in.
const PIECES: usize = 3;
/// A file younger than this may still be being written.
const SETTLED: TimeDelta = TimeDelta::seconds(10);

/// One reading of one file.
pub(super) struct Reading {
    pub(super) session: Session,
    pub(super) line: Arc<Line>,
    /// Where it may be, the likeliest first.
    pub(super) paths: Vec<String>,
    /// Size and time of modification of the file that is known.
    pub(super) known: Option<(u64, DateTime<Utc>)>,
    pub(super) sighting: Sighting,
    /// Tells how old the file is.
    pub(super) now: DateTime<Utc>,
    /// Most bytes.
    pub(super) limit: u64,
    pub(super) meter: Arc<Meter>,
}

impl Reading {
    pub(super) fn run(&self) -> Result<Outcome, FetchError> {
        let sftp = self.line.ask("", || self.session.sftp())?;
        let mut missing = None;
        for path in &self.paths {
            match self.ask(path, || sftp.stat(Path::new(path))) {
                Ok(found) => return self.read(&sftp, path, &found),
                // A folder of the server's may be closed that the user's own has a name in common with.
                Err(error @ (FetchError::NotFound(_) | FetchError::Forbidden(_))) => {
                    missing.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(missing.unwrap_or_else(|| FetchError::NotFound(self.line.host.clone())))
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
            return Err(FetchError::NotAFile(self.shown(path)));
        }
        let mtime = modified(before);
        let present = before.size.zip(mtime);
        if self.known.is_some() && self.known == present {
            return Ok(Outcome::NotModified);
        }
        if let Some(mtime) = mtime
            && let Some(wait) = still_fresh(mtime, self.now)
            && !(mtime > self.now && self.sighting.is_again((before.size, mtime)))
        {
            return Err(self.changed(Some(wait)));
        }
        let mut file = self.ask(path, || sftp.open(Path::new(path)))?;
        let content = Intake::new(
            &self.line.host,
            self.limit,
            before.size,
            Encoding::Identity,
            &self.meter,
        )?;
        let content = self.take_in(&mut file, content)?;
        // The open file, and what stands under its name by now.
        let after = [
            self.ask(path, || file.stat()),
            self.ask(path, || sftp.stat(Path::new(path))),
        ];
        for after in after {
            let after = after.map_err(|error| match error {
                FetchError::NotFound(_) => self.changed(None),
                other => other,
            })?;
            if (after.size, after.mtime) != (before.size, before.mtime) {
                return Err(self.changed(None));
            }
        }
        let validators = Validators {
            size_and_mtime: present,
            ..Validators::default()
        };
        content.finish(validators).map(Outcome::File)
    }

    /// Takes the file in on a thread of its own, so that a piece is hashed and written while the next is deciphered.
    fn take_in<'a>(
        &self,
        file: &mut ssh2::File,
        content: Intake<'a>,
    ) -> Result<Intake<'a>, FetchError> {
        let (full, pieces) = sync_channel(PIECES);
        let (empty, spare) = sync_channel(PIECES);
        thread::scope(|scope| {
            let taking = scope.spawn(move || take_pieces(content, &pieces, &empty));
            let read = self.read_pieces(file, &full, &spare);
            // Then no more will come.
            drop(full);
            let taken = match taking.join() {
                Ok(taken) => taken,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            // Whoever takes nothing more has the better reason.
            taken.and_then(|content| read.map(|()| content))
        })
    }

    /// Reads until the file ends, or nobody takes its pieces any more.
    fn read_pieces(
        &self,
        file: &mut ssh2::File,
        full: &SyncSender<Piece>,
        spare: &Receiver<Piece>,
    ) -> Result<(), FetchError> {
        let mut position = 0;
        let mut size = READ_SIZE;
        let mut made = 0;
        loop {
            let mut piece = if made < PIECES {
                made += 1;
                Piece::default()
            } else if let Ok(piece) = spare.recv() {
                piece
            } else {
                return Ok(());
            };
            piece.bytes.resize(size, 0);
            piece.length = loop {
                match file.read(&mut piece.bytes) {
                    Ok(length) => break length,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // A server may send less than it is asked for, and the library stumbles if it has asked for more by then.
                    Err(error) if error.kind() == ErrorKind::Other && size == READ_SIZE => {
                        size = ONE_REQUEST;
                        piece.bytes.truncate(size);
                        file.seek(SeekFrom::Start(position))
                            .map_err(|error| self.cut(&error))?;
                    }
                    Err(error) => return Err(self.cut(&error)),
                }
            };
            position += piece.length as u64;
            if piece.length == 0 || full.send(piece).is_err() {
                return Ok(());
            }
        }
    }

    fn ask<T>(
        &self,
        path: &str,
        question: impl FnOnce() -> Result<T, ssh2::Error>,
    ) -> Result<T, FetchError> {
        self.line.ask(&self.shown(path), question)
    }

    fn shown(&self, path: &str) -> String {
        format!("sftp://{}/{}", self.line.host, path.trim_start_matches('/'))
    }

    fn changed(&self, wait: Option<Duration>) -> FetchError {
        FetchError::ChangedWhileReading {
            host: self.line.host.clone(),
            wait,
        }
    }

    fn cut(&self, error: &std::io::Error) -> FetchError {
        if error.kind() == ErrorKind::TimedOut {
            return FetchError::TimedOut {
                host: self.line.host.clone(),
                what: "it stopped sending",
            };
        }
        FetchError::Incomplete {
            host: self.line.host.clone(),
        }
    }
}

/// Bytes on their way from one thread to the other.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    /// So many of them are the file's.
    length: usize,
}

fn take_pieces<'a>(
    mut content: Intake<'a>,
    pieces: &Receiver<Piece>,
    empty: &SyncSender<Piece>,
) -> Result<Intake<'a>, FetchError> {
    for piece in pieces {
        content.push(&piece.bytes[..piece.length])?;
        // After the last one there is nobody who would fill it again.
        let _ = empty.send(piece);
    }
    Ok(content)
}

fn modified(stat: &FileStat) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(stat.mtime?).ok()?, 0)
}

/// How long until a file that was just written may be trusted.
fn still_fresh(mtime: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    let age = now - mtime;
    if age >= SETTLED {
        return None;
    }
    // A second more: times of modification are whole seconds. Not longer than a file is to rest, whatever its clock says.
    (SETTLED - age.max(TimeDelta::zero()) + TimeDelta::seconds(1))
        .to_std()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_rests_ten_seconds_before_it_is_read() {
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let wait = |age| still_fresh(now - TimeDelta::seconds(age), now).map(|wait| wait.as_secs());
        assert_eq!(wait(10), None);
        assert_eq!(wait(9), Some(2));
        assert_eq!(wait(0), Some(11));
        // The server's clock is ahead of ours, be it by years.
        assert_eq!(wait(-30), Some(11));
        assert_eq!(wait(-100_000_000), Some(11));
    }
}
