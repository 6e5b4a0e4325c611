//! Takes a file up as it comes from any source: within the limit, counted, and whole only if it is as long as announced and
//! each part of what it was compressed as is whole.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use super::encoding::Encoding;
use super::throughput::Meter;
use super::{FetchError, Fetched, Validators};
use crate::temp_file::{Spool, SpoolError, SpoolWriter};

pub(super) struct Intake<'a> {
    content: Content,
    /// Host and port.
    host: String,
    limit: u64,
    declared: Option<u64>,
    received: u64,
    meter: &'a Meter,
}

impl<'a> Intake<'a> {
    /// For a file from `host` that is announced to be so long on its way, if it is, and may be `limit` bytes at most.
    pub(super) fn new(
        host: &str,
        limit: u64,
        declared: Option<u64>,
        encoding: Encoding,
        meter: &'a Meter,
    ) -> Result<Self, FetchError> {
        if declared.is_some_and(|declared| declared > limit) {
            return Err(FetchError::TooLarge { limit });
        }
        let writer = SpoolWriter::new(limit)?;
        Ok(Self {
            content: match encoding {
                Encoding::Identity => Content::AsItComes(writer),
                Encoding::Gzip => Content::Gzip(Box::new(MultiGzDecoder::new(Unpacked(writer)))),
            },
            host: host.to_owned(),
            limit,
            declared,
            received: 0,
            meter,
        })
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), FetchError> {
        match &mut self.content {
            Content::AsItComes(writer) => writer.push(piece)?,
            Content::Gzip(unpack) => {
                let unpacked = unpack.write_all(piece);
                unpacked.map_err(|error| broken(&self.host, error))?;
            }
        }
        self.received += piece.len() as u64;
        self.meter.set(self.received, self.declared);
        Ok(())
    }

    /// The file, whole.
    pub(super) fn finish(self, validators: Validators) -> Result<Fetched, FetchError> {
        let is_short = self
            .declared
            .is_some_and(|declared| declared != self.received);
        if is_short {
            return Err(FetchError::Incomplete { host: self.host });
        }
        let content: Spool = match self.content {
            Content::AsItComes(writer) => writer.finish(),
            // Nothing is nothing, whatever it is called.
            Content::Gzip(_) if self.received == 0 => SpoolWriter::new(self.limit)?.finish(),
            Content::Gzip(unpack) => {
                let unpacked = unpack.finish();
                unpacked
                    .map_err(|error| broken(&self.host, error))?
                    .0
                    .finish()
            }
        };
        Ok(Fetched {
            content,
            validators,
        })
    }
}

/// Where the bytes go.
enum Content {
    AsItComes(SpoolWriter),
    /// Also out of several parts, one after the other, of which each has its own check sum.
    Gzip(Box<MultiGzDecoder<Unpacked>>),
}

struct Unpacked(SpoolWriter);

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was unpacked can't be kept, or what came can't be unpacked.
fn broken(host: &str, error: io::Error) -> FetchError {
    match error.downcast::<SpoolError>() {
        Ok(unkept) => unkept.into(),
        Err(_) => FetchError::Incomplete {
            host: host.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// The text that comes in pieces of this size; the code where it is refused.
    fn take(bytes: &[u8], size: usize, limit: u64) -> Result<String, &'static str> {
        let meter = Meter::new(Arc::new(|_| {}));
        let mut intake = Intake::new("host", limit, None, Encoding::Gzip, &meter).unwrap();
        let pushed = bytes
            .chunks(size)
            .try_for_each(|piece| intake.push(piece))
            .and_then(|()| intake.finish(Validators::default()));
        let fetched = pushed.map_err(|error| error.code().as_str())?;
        let mut text = String::new();
        let mut file = fetched.content.open().unwrap();
        file.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn all_parts_of_a_gzip_file_are_taken_and_none_by_halves() {
        let rows = "1,Jane\n".repeat(300);
        let two = [gzip(&rows), gzip("2,John\n")].concat();
        let whole = format!("{rows}2,John\n");
        for size in [1, 2, 7, 64, two.len()] {
            assert_eq!(take(&two, size, 1 << 20), Ok(whole.clone()), "{size}");
            assert_eq!(take(&[], size, 1 << 20), Ok(String::new()));
            // Wherever it ends but between two parts, and whatever follows.
            let first = gzip(&rows).len();
            for end in (1..two.len()).filter(|end| *end != first) {
                assert_eq!(take(&two[..end], size, 1 << 20), Err("incomplete"), "{end}");
            }
            let and_more = [&two[..], b"more"].concat();
            assert_eq!(take(&and_more, size, 1 << 20), Err("incomplete"));
            assert_eq!(take(&two, size, 1000), Err("too_large"));
        }
        for place in 0..two.len() {
            let mut damaged = two.clone();
            damaged[place] ^= 0x55;
            // Of a header, the time and the name of the system say nothing of the content.
            let taken = take(&damaged, 64, 1 << 20);
            assert!(
                taken == Err("incomplete") || taken.as_deref() == Ok(&*whole),
                "{place}: {taken:?}"
            );
        }
    }
}
