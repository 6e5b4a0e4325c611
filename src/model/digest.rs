//! SHA-256 digests, which identify files, rows and contacts across runs.

use std::fmt::Write;

use aws_lc_rs::digest::{Context, SHA256, digest};

/// SHA-256 of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    to_array(digest(&SHA256, bytes).as_ref())
}

/// SHA-256 of a file, computed while the file is written to it.
pub struct FileDigest(Context);

impl Default for FileDigest {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl FileDigest {
    /// The digest of all written bytes.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        to_array(self.0.finish().as_ref())
    }
}

impl std::io::Write for FileDigest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// SHA-256 of a list of texts. Each text is hashed with its length, so different lists never give the same bytes.
///
/// The texts are collected first, because one call of the digest function is faster than one per text.
#[derive(Debug, Default)]
pub struct TextDigest(Vec<u8>);

impl TextDigest {
    /// Appends a text, or `None` for a missing one.
    pub fn push(&mut self, text: Option<&str>) {
        self.push_bytes(text.map(str::as_bytes));
    }

    /// Same as [`TextDigest::push`], for UTF-8 bytes.
    pub fn push_bytes(&mut self, text: Option<&[u8]>) {
        match text {
            None => self.0.push(0),
            Some(text) => {
                self.0.push(1);
                self.0.extend_from_slice(&(text.len() as u64).to_le_bytes());
                self.0.extend_from_slice(text);
            }
        }
    }

    /// The digest of the list. Clears the list.
    pub fn finish(&mut self) -> [u8; 32] {
        let digest = sha256(&self.0);
        self.0.clear();
        digest
    }
}

fn to_array(digest: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_digest_distinguishes_list_boundaries() {
        assert_eq!(hex(&sha256(b"abc"))[..16], *"ba7816bf8f01cfea");
        let digest_of = |texts: &[Option<&str>]| {
            let mut digest = TextDigest::default();
            for text in texts {
                digest.push(*text);
            }
            digest.finish()
        };
        assert_ne!(
            digest_of(&[Some("ab"), Some("c")]),
            digest_of(&[Some("a"), Some("bc")])
        );
        assert_ne!(digest_of(&[Some("")]), digest_of(&[None]));
    }
}
