//! From bytes to text: byte order marks, UTF-8, UTF-16, and Windows-1252 where nothing speaks for UTF-8.

use std::borrow::Cow;

use encoding_rs::{UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::SheetError;

/// Text, and how it was encoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded<'a> {
    /// Without a byte order mark.
    pub(super) text: Cow<'a, str>,
    /// Name for people.
    pub(super) encoding: &'static str,
    /// No mark and no valid UTF-8: a guess.
    pub(super) guessed: bool,
}

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded<'_>, SheetError> {
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return utf16(rest, UTF_16LE, "UTF-16LE");
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return utf16(rest, UTF_16BE, "UTF-16BE");
    }
    let body = bytes.strip_prefix(b"\xef\xbb\xbf");
    let marked = body.is_some();
    let body = body.unwrap_or(bytes);
    let error = match std::str::from_utf8(body) {
        Ok(text) => {
            return Ok(Decoded {
                text: Cow::Borrowed(text),
                encoding: "UTF-8",
                guessed: false,
            });
        }
        Err(error) => error,
    };
    if marked || has_multi_byte_sequence(body) {
        let row = body[..error.valid_up_to()].split(|b| *b == b'\n').count();
        return Err(SheetError::Undecodable(format!(
            "broken UTF-8 about row {row}"
        )));
    }
    let (text, _) = WINDOWS_1252.decode_without_bom_handling(body);
    Ok(Decoded {
        text,
        encoding: "windows-1252",
        guessed: true,
    })
}

fn utf16<'a>(
    bytes: &'a [u8],
    encoding: &'static encoding_rs::Encoding,
    name: &'static str,
) -> Result<Decoded<'a>, SheetError> {
    match encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) if bytes.len().is_multiple_of(2) => Ok(Decoded {
            text,
            encoding: name,
            guessed: false,
        }),
        _ => Err(SheetError::Undecodable(format!("broken {name}"))),
    }
}

/// Whether any valid UTF-8 sequence of two or more bytes occurs: then the file is UTF-8 with broken bytes in it.
fn has_multi_byte_sequence(bytes: &[u8]) -> bool {
    bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], text: &str, encoding: &str, guessed: bool) {
        let decoded = decode(bytes).unwrap();
        assert_eq!(
            (decoded.text.as_ref(), decoded.encoding, decoded.guessed),
            (text, encoding, guessed)
        );
    }

    #[test]
    fn every_supported_encoding_is_told() {
        check("Zoë".as_bytes(), "Zoë", "UTF-8", false);
        check(b"\xef\xbb\xbfID", "ID", "UTF-8", false);
        check(b"\xff\xfeI\0D\0", "ID", "UTF-16LE", false);
        check(b"\xfe\xff\0I\0D", "ID", "UTF-16BE", false);
        check(b"Zo\xeb", "Zoë", "windows-1252", true);
    }

    #[test]
    fn broken_bytes_in_a_file_that_is_utf8_elsewhere_are_refused() {
        for bytes in [
            &b"Zo\xc3\xab\nM\xfcller"[..],
            b"\xef\xbb\xbfM\xfcller",
            b"\xff\xfeI\0D",
            b"\xff\xfe\x00\xd8I\0",
        ] {
            assert!(
                matches!(decode(bytes), Err(SheetError::Undecodable(_))),
                "{bytes:?}"
            );
        }
    }
}
