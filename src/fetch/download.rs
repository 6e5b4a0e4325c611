//! Writes a file from any source to a temporary file: enforces the size limit, decompresses, and checks that the file is complete.
//! Does not depend on the protocol.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use super::content_encoding::ContentEncoding;
use super::error::FetchErrorKind;
use super::throughput::TransferMonitor;
use super::{FetchedFile, Validators};
use crate::temp_file::{SizeLimit, TempFile, TempFileError, TempFileWriter};

/// A file that is being received.
pub(super) struct Download<'a> {
    content: Sink,
    host: String,
    limit: u64,
    declared_len: Option<u64>,
    received: u64,
    monitor: &'a TransferMonitor,
}

impl<'a> Download<'a> {
    /// Prepares for a file of at most `limit` bytes from `host`. `declared_len` is its announced length in bytes as transferred, that is,
    /// compressed.
    ///
    /// # Errors
    /// If the declared length exceeds the limit, or no temporary file can be created.
    pub(super) fn new(
        host: &str,
        limit: u64,
        declared_len: Option<u64>,
        encoding: ContentEncoding,
        monitor: &'a TransferMonitor,
    ) -> Result<Self, FetchErrorKind> {
        if declared_len.is_some_and(|declared_len| declared_len > limit) {
            return Err(FetchErrorKind::TooLarge(SizeLimit(limit)));
        }
        let writer = TempFileWriter::new(limit)?;
        Ok(Self {
            content: match encoding {
                ContentEncoding::Identity => Sink::Plain(writer),
                ContentEncoding::Gzip => {
                    Sink::Gzip(Box::new(MultiGzDecoder::new(DecompressedWriter(writer))))
                }
            },
            host: host.to_owned(),
            limit,
            declared_len,
            received: 0,
            monitor,
        })
    }

    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), FetchErrorKind> {
        match &mut self.content {
            Sink::Plain(writer) => writer.push(chunk)?,
            Sink::Gzip(decoder) => {
                let result = decoder.write_all(chunk);
                result.map_err(|error| decode_error(&self.host, error))?;
            }
        }
        self.received += chunk.len() as u64;
        self.monitor.record(self.received, self.declared_len);
        Ok(())
    }

    /// Returns the complete file.
    ///
    /// # Errors
    /// [`FetchErrorKind::Incomplete`] if its length is not the declared one, or the compressed data is truncated or damaged.
    pub(super) fn finish(self, validators: Validators) -> Result<FetchedFile, FetchErrorKind> {
        let length_differs = self
            .declared_len
            .is_some_and(|declared_len| declared_len != self.received);
        if length_differs {
            return Err(FetchErrorKind::Incomplete { host: self.host });
        }
        let content: TempFile = match self.content {
            Sink::Plain(writer) => writer.finish(),
            // An empty body is an empty file, although it is not valid gzip.
            Sink::Gzip(_) if self.received == 0 => TempFileWriter::new(self.limit)?.finish(),
            Sink::Gzip(decoder) => {
                let result = decoder.finish();
                result
                    .map_err(|error| decode_error(&self.host, error))?
                    .0
                    .finish()
            }
        };
        Ok(FetchedFile {
            content,
            validators,
        })
    }
}

enum Sink {
    Plain(TempFileWriter),
    /// Also several gzip members in a row. Each has its own checksum.
    Gzip(Box<MultiGzDecoder<DecompressedWriter>>),
}

struct DecompressedWriter(TempFileWriter);

impl Write for DecompressedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The decoder passes on errors of the temporary file. All others mean that the data is truncated or damaged.
fn decode_error(host: &str, error: io::Error) -> FetchErrorKind {
    match error.downcast::<TempFileError>() {
        Ok(write_error) => write_error.into(),
        Err(_) => FetchErrorKind::Incomplete {
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

    /// Receives `bytes` in chunks of `size`. Returns the decompressed text, or the failure code.
    fn download_gzip(bytes: &[u8], size: usize, limit: u64) -> Result<String, &'static str> {
        let monitor = TransferMonitor::new(Arc::new(|_| {}));
        let mut download =
            Download::new("host", limit, None, ContentEncoding::Gzip, &monitor).unwrap();
        let pushed = bytes
            .chunks(size)
            .try_for_each(|chunk| download.push(chunk))
            .and_then(|()| download.finish(Validators::default()));
        let fetched = pushed.map_err(|error| error.code().as_str())?;
        let mut text = String::new();
        let mut file = fetched.content.open().unwrap();
        file.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn multi_member_gzip_is_complete_or_rejected() {
        let rows = "1,Jane\n".repeat(300);
        let two = [gzip(&rows), gzip("2,John\n")].concat();
        let complete = format!("{rows}2,John\n");
        for size in [1, 2, 7, 64, two.len()] {
            assert_eq!(
                download_gzip(&two, size, 1 << 20),
                Ok(complete.clone()),
                "{size}"
            );
            assert_eq!(download_gzip(&[], size, 1 << 20), Ok(String::new()));
            // Truncated anywhere except between the two members, or followed by other bytes.
            let first = gzip(&rows).len();
            for end in (1..two.len()).filter(|end| *end != first) {
                assert_eq!(
                    download_gzip(&two[..end], size, 1 << 20),
                    Err("incomplete"),
                    "{end}"
                );
            }
            let with_trailing_bytes = [&two[..], b"more"].concat();
            assert_eq!(
                download_gzip(&with_trailing_bytes, size, 1 << 20),
                Err("incomplete")
            );
            assert_eq!(download_gzip(&two, size, 1000), Err("too_large"));
        }
        for offset in 0..two.len() {
            let mut damaged = two.clone();
            damaged[offset] ^= 0x55;
            // Damage to the time stamp and operating system in the gzip header does not affect the content.
            let outcome = download_gzip(&damaged, 64, 1 << 20);
            assert!(
                outcome == Err("incomplete") || outcome.as_deref() == Ok(&*complete),
                "{offset}: {outcome:?}"
            );
        }
    }
}
