//! Detects the encoding of a text file and decodes it to UTF-8: byte order marks, UTF-8, UTF-16, and Windows-1252 if
//! the file cannot be UTF-8.
//!
//! Decodes in chunks, so memory use does not depend on the file size. Bytes that cannot be decoded become
//! [`INVALID_BYTE`], which valid UTF-8 never contains; the record splitter finds it and reports the row. Does not
//! depend on records.

use std::io::{Read, Seek, SeekFrom};

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Replaces each sequence that could not be decoded.
pub(super) const INVALID_BYTE: u8 = 0xFF;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The encoding of a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The file has a byte order mark, is valid throughout, or contains valid multi-byte sequences.
    Utf8,
    Utf16Le,
    Utf16Be,
    /// A guess: no byte order mark, not valid UTF-8, and no valid multi-byte sequence.
    Windows1252,
}

impl Encoding {
    /// Name as shown to users.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le => "UTF-16LE",
            Self::Utf16Be => "UTF-16BE",
            Self::Windows1252 => "windows-1252",
        }
    }
}

/// Detects the encoding from the whole file, and positions the file after its first byte order mark.
pub(super) fn detect<R: Read + Seek>(file: &mut R) -> std::io::Result<Encoding> {
    file.rewind()?;
    let mut bom = [0; 3];
    let bom_len = read_full(file, &mut bom)?;
    let (encoding, skip) = match &bom[..bom_len] {
        [0xFF, 0xFE, ..] => (Encoding::Utf16Le, 2),
        [0xFE, 0xFF, ..] => (Encoding::Utf16Be, 2),
        [0xEF, 0xBB, 0xBF] => (Encoding::Utf8, 3),
        _ => {
            file.rewind()?;
            (detect_without_bom(file)?, 0)
        }
    };
    file.seek(SeekFrom::Start(skip))?;
    Ok(encoding)
}

fn read_full<R: Read>(file: &mut R, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn detect_without_bom<R: Read>(file: &mut R) -> std::io::Result<Encoding> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut carried, mut has_invalid) = (0, false);
    loop {
        let read = read_full(file, &mut buffer[carried..])?;
        let filled = carried + read;
        let at_eof = filled < buffer.len();
        let mut chunk = &buffer[..filled];
        carried = 0;
        loop {
            let valid = match std::str::from_utf8(chunk) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            if !chunk[..valid].is_ascii() {
                // A valid multi-byte sequence proves UTF-8, so invalid bytes elsewhere are errors.
                return Ok(Encoding::Utf8);
            }
            chunk = &chunk[valid..];
            match std::str::from_utf8(chunk).map_err(|error| error.error_len()) {
                Ok(_) => break,
                Err(None) if !at_eof => {
                    carried = chunk.len();
                    break;
                }
                Err(length) => {
                    has_invalid = true;
                    chunk = &chunk[length.unwrap_or(chunk.len())..];
                }
            }
        }
        if at_eof {
            return Ok(if has_invalid {
                Encoding::Windows1252
            } else {
                Encoding::Utf8
            });
        }
        buffer.copy_within(filled - carried..filled, 0);
    }
}

/// Reads the text of a file as UTF-8, in chunks.
pub(super) struct TextReader<R> {
    file: R,
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    at_eof: bool,
}

impl<R: Read> TextReader<R> {
    /// Reads from the current position of the file.
    pub(super) fn new(file: R, encoding: Encoding) -> Self {
        let decoder = match encoding {
            Encoding::Utf8 => None,
            Encoding::Utf16Le => Some(UTF_16LE.new_decoder_without_bom_handling()),
            Encoding::Utf16Be => Some(UTF_16BE.new_decoder_without_bom_handling()),
            Encoding::Windows1252 => Some(WINDOWS_1252.new_decoder_without_bom_handling()),
        };
        let raw = if decoder.is_some() {
            vec![0; CHUNK_BYTES]
        } else {
            Vec::new()
        };
        Self {
            file,
            decoder,
            raw,
            at_eof: false,
        }
    }

    /// Appends about `target_len` bytes of text to `out`. Returns `false` at the end of the file.
    pub(super) fn read_more(
        &mut self,
        out: &mut Vec<u8>,
        target_len: usize,
    ) -> std::io::Result<bool> {
        if self.at_eof {
            return Ok(false);
        }
        let Some(decoder) = &mut self.decoder else {
            let (start, target_len) = (out.len(), target_len.max(CHUNK_BYTES));
            out.resize(start + target_len, 0);
            let read = read_full(&mut self.file, &mut out[start..])?;
            out.truncate(start + read);
            self.at_eof = read < target_len;
            return Ok(read > 0);
        };
        let start = out.len();
        let mut chunk = Vec::new();
        while !self.at_eof && out.len() - start < target_len.max(1) {
            let filled = read_full(&mut self.file, &mut self.raw)?;
            self.at_eof = filled < self.raw.len();
            let mut raw = &self.raw[..filled];
            // UTF-8 needs up to three times the bytes. If the buffer is full, the loop decodes the rest.
            chunk.resize(raw.len() * 3 + 16, 0);
            loop {
                let (result, consumed, written) =
                    decoder.decode_to_utf8_without_replacement(raw, &mut chunk, self.at_eof);
                out.extend_from_slice(&chunk[..written]);
                raw = &raw[consumed..];
                match result {
                    DecoderResult::InputEmpty => break,
                    DecoderResult::OutputFull => {}
                    DecoderResult::Malformed(..) => out.push(INVALID_BYTE),
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn decode(bytes: &[u8]) -> (Encoding, Vec<u8>) {
        let mut file = Cursor::new(bytes);
        let encoding = detect(&mut file).unwrap();
        let mut text = TextReader::new(file, encoding);
        let mut out = Vec::new();
        while text.read_more(&mut out, 1).unwrap() {}
        (encoding, out)
    }

    #[track_caller]
    fn check(bytes: &[u8], text: &str, encoding: Encoding) {
        assert_eq!(decode(bytes), (encoding, text.as_bytes().to_vec()));
    }

    #[test]
    fn supported_encodings_are_detected() {
        check("Zoë".as_bytes(), "Zoë", Encoding::Utf8);
        check(b"\xef\xbb\xbfID", "ID", Encoding::Utf8);
        check(b"\xff\xfeI\0D\0", "ID", Encoding::Utf16Le);
        check(b"\xfe\xff\0I\0D", "ID", Encoding::Utf16Be);
        check(b"Zo\xeb", "Zoë", Encoding::Windows1252);
        check(b"", "", Encoding::Utf8);
    }

    #[test]
    fn invalid_bytes_in_utf8_file_stay_invalid() {
        for bytes in [
            &b"Zo\xc3\xab\nM\xfcller"[..],
            b"M\xfcller\nZo\xc3\xab",
            b"\xef\xbb\xbfM\xfcller",
        ] {
            let (encoding, text) = decode(bytes);
            assert_eq!(encoding, Encoding::Utf8);
            assert!(std::str::from_utf8(&text).is_err(), "{bytes:?}");
        }
        for bytes in [&b"\xff\xfeI\0D"[..], b"\xff\xfe\x00\xd8I\0"] {
            let (encoding, text) = decode(bytes);
            assert_eq!(encoding, Encoding::Utf16Le);
            assert!(text.contains(&INVALID_BYTE), "{bytes:?}");
        }
    }

    #[test]
    fn encoding_is_detected_across_chunk_boundaries() {
        for pad in CHUNK_BYTES - 3..CHUNK_BYTES + 3 {
            let mut valid = vec![b'a'; pad];
            valid.extend("é".as_bytes());
            assert_eq!(decode(&valid), (Encoding::Utf8, valid.clone()));
            let mut guessed = vec![b'a'; pad];
            guessed.extend(b"\xe9b");
            assert_eq!(decode(&guessed).0, Encoding::Windows1252);
            let mut invalid = b"\xfc\n".to_vec();
            invalid.extend(&valid);
            assert_eq!(decode(&invalid).0, Encoding::Utf8);
            let mut truncated = vec![b'a'; pad];
            truncated.extend(b"\xc3");
            assert_eq!(decode(&truncated).0, Encoding::Windows1252);
        }
    }
}
