//! A file on its way through an import: on disk, without a name, gone when nobody holds it any more. However large it is,
//! it takes no memory.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use crate::model::digest::FileDigest;

/// A file, whole.
#[derive(Debug, Clone)]
pub struct TempFile {
    file: Arc<File>,
    size: u64,
    sha256: [u8; 32],
}

/// Why a file can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum TempFileError {
    /// Beyond the limit.
    #[error("the file is larger than {0} bytes (`fetch.max_bytes`)")]
    TooLarge(u64),
    /// The disk.
    #[error("the file can't be kept on this machine meanwhile (TMPDIR): {0}")]
    Io(#[from] io::Error),
}

/// Takes a file up piece by piece.
pub struct TempFileWriter {
    file: File,
    digest: FileDigest,
    size: u64,
    limit: u64,
}

impl TempFileWriter {
    /// For a file of `limit` bytes at most.
    ///
    /// # Errors
    /// If there is no place for temporary files.
    pub fn new(limit: u64) -> Result<Self, TempFileError> {
        Ok(Self {
            file: tempfile::tempfile()?,
            digest: FileDigest::default(),
            size: 0,
            limit,
        })
    }

    /// The next piece.
    ///
    /// # Errors
    /// [`SpoolError`] beyond the limit, or where the disk is full.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TempFileError> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(TempFileError::TooLarge(self.limit));
        }
        self.digest.write_all(bytes)?;
        self.file.write_all(bytes)?;
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file, whole.
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
    /// A copy of all that `source` gives.
    ///
    /// # Errors
    /// [`SpoolError`] beyond `limit` bytes, or if it can't be read or kept.
    pub fn copy(source: &mut impl Read, limit: u64) -> Result<Self, TempFileError> {
        let mut writer = TempFileWriter::new(limit)?;
        // Small enough that a piece is hashed and written while it is near.
        let mut chunk = vec![0; 64 << 10];
        loop {
            match source.read(&mut chunk) {
                Ok(0) => return Ok(writer.finish()),
                Ok(length) => writer.push(&chunk[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The file, to be read from its start; by one at a time.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn open(&self) -> io::Result<&File> {
        (&*self.file).rewind()?;
        Ok(&self.file)
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
}
