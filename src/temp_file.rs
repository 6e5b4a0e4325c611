//! An unnamed temporary file on disk, deleted when its last handle is dropped. Files of any size pass through an import without being
//! kept in memory. Does not depend on the content.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use crate::model::digest::FileDigest;

/// Small enough to stay in the CPU cache while a chunk is hashed and written.
const COPY_BUFFER_BYTES: usize = 64 << 10;

/// A complete temporary file. Clones share the file and its read position.
#[derive(Debug, Clone)]
pub struct TempFile {
    file: Arc<File>,
    size: u64,
    sha256: [u8; 32],
}

/// Why a file could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum TempFileError {
    /// The file exceeds the limit, in bytes.
    #[error("the file is larger than {} (`fetch.max_bytes`)", SizeLimit(*.0))]
    TooLarge(u64),
    /// The disk is full, or the directory for temporary files cannot be written to.
    #[error("the file could not be stored temporarily in TMPDIR: {0}")]
    Io(#[from] io::Error),
}

/// A size limit in bytes. Displayed in MiB if it is a multiple of that, otherwise in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimit(pub u64);

impl fmt::Display for SizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        if self.0 >= MIB && self.0.is_multiple_of(MIB) {
            write!(f, "{} MiB", self.0 / MIB)
        } else {
            write!(f, "{} bytes", self.0)
        }
    }
}

/// Writes a temporary file in chunks, and hashes it.
pub struct TempFileWriter {
    file: File,
    digest: FileDigest,
    size: u64,
    limit: u64,
}

impl TempFileWriter {
    /// Creates a file of at most `limit` bytes.
    ///
    /// # Errors
    /// If no temporary file can be created.
    pub fn new(limit: u64) -> Result<Self, TempFileError> {
        Ok(Self {
            file: tempfile::tempfile()?,
            digest: FileDigest::default(),
            size: 0,
            limit,
        })
    }

    /// Appends a chunk.
    ///
    /// # Errors
    /// [`TempFileError`] if the file exceeds the limit or cannot be written.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TempFileError> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(TempFileError::TooLarge(self.limit));
        }
        self.digest.write_all(bytes)?;
        self.file.write_all(bytes)?;
        Ok(())
    }

    /// Number of bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the complete file.
    #[must_use]
    pub fn finish(self) -> TempFile {
        TempFile {
            file: Arc::new(self.file),
            size: self.size,
            sha256: self.digest.finish(),
        }
    }
}

impl TempFile {
    /// Copies everything from `source`.
    ///
    /// # Errors
    /// [`TempFileError`] if it is larger than `limit` bytes, or cannot be read or stored.
    pub fn copy(source: &mut impl Read, limit: u64) -> Result<Self, TempFileError> {
        let mut writer = TempFileWriter::new(limit)?;
        let mut chunk = vec![0; COPY_BUFFER_BYTES];
        loop {
            match source.read(&mut chunk) {
                Ok(0) => return Ok(writer.finish()),
                Ok(length) => writer.push(&chunk[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the file, positioned at its start. Only one caller at a time may read it.
    ///
    /// # Errors
    /// If the file cannot be positioned.
    pub fn open(&self) -> io::Result<&File> {
        (&*self.file).rewind()?;
        Ok(&self.file)
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// SHA-256 digest of the content.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
}
