//! What a file is, told from its first bytes and, for archives, from what they hold.

use std::io::{Read, Seek};

use super::SheetError;

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// An Office Open XML workbook, or something so close that opening it decides.
    Workbook,
    /// Text; a CSV file as far as can be told.
    Text,
}

const OLE_MAGIC: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// Where a tar archive says that it is one.
const TAR_MAGIC_OFFSET: usize = 257;

/// Bytes in which a text is told from markup and JSON.
const SNIFF_BYTES: u64 = 4 << 10;

pub(super) fn sniff<R: Read + Seek>(file: &mut R) -> Result<FileKind, SheetError> {
    file.rewind()?;
    let mut head = Vec::new();
    file.by_ref().take(SNIFF_BYTES).read_to_end(&mut head)?;
    let bytes = &head[..];
    if bytes.starts_with(OLE_MAGIC) {
        return Err(classify_ole(file)?);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return classify_zip(file);
    }
    for (magic, what) in [
        (&b"%PDF"[..], "a PDF document"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"7z\xbc\xaf", "a 7-Zip archive"),
        (b"Rar!", "a RAR archive"),
        (b"\x89PNG", "a picture"),
        (b"\xff\xd8\xff", "a picture"),
        (b"GIF8", "a picture"),
        (b"{\\rtf", "an RTF document"),
        (b"\xfd7zXZ", "an xz archive"),
        (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
        (b"SQLite format 3", "a database"),
        (b"MIME-Version:", "a web archive (.mht)"),
    ] {
        if bytes.starts_with(magic) {
            return Err(SheetError::NotASpreadsheet(what));
        }
    }
    for (matches_kind, what) in [
        (is_tar(bytes), "a tar archive"),
        (is_bzip2(bytes), "a bzip2 archive"),
        (is_sylk(bytes), "a SYLK file"),
    ] {
        if matches_kind {
            return Err(SheetError::NotASpreadsheet(what));
        }
    }
    classify_text(bytes)
}

fn is_tar(bytes: &[u8]) -> bool {
    let magic = bytes.get(TAR_MAGIC_OFFSET..).unwrap_or_default();
    magic.starts_with(b"ustar\0") || magic.starts_with(b"ustar  ")
}

fn is_bzip2(bytes: &[u8]) -> bool {
    let [b'B', b'Z', b'h', b'1'..=b'9', block @ ..] = bytes else {
        return false;
    };
    block.starts_with(b"1AY&SY") || block.starts_with(b"\x17\x72\x45\x38")
}

/// A CSV file may begin so as well (`ID;PhoneCells`), but its second line is none of SYLK's.
fn is_sylk(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| matches!(byte, b'\r' | b'\n'));
    let begins = lines.next().is_some_and(|line| line.starts_with(b"ID;P"));
    let second = lines.find(|line| !line.is_empty()).unwrap_or_default();
    begins && matches!(second, b"E" | [b'P' | b'B' | b'C' | b'F' | b'O', b';', ..])
}

/// An encrypted .xlsx is an OLE file with a certain stream; its name is UTF-16 in the directory.
fn classify_ole<R: Read + Seek>(file: &mut R) -> Result<SheetError, SheetError> {
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    file.rewind()?;
    let mut buffer = Vec::new();
    loop {
        let read = file.by_ref().take(1 << 20).read_to_end(&mut buffer)?;
        if contains(&buffer, &name) {
            return Ok(SheetError::PasswordProtected);
        }
        if read == 0 {
            return Ok(SheetError::NotASpreadsheet(
                "a legacy .xls workbook or another old Office file",
            ));
        }
        buffer.drain(..buffer.len().saturating_sub(name.len()));
    }
}

fn classify_text(bytes: &[u8]) -> Result<FileKind, SheetError> {
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let utf16 = match bytes {
        [0xFF, 0xFE, rest @ ..] => Some((rest, u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0xFE, 0xFF, rest @ ..] => Some((rest, u16::from_be_bytes as _)),
        _ => None,
    };
    let head = match utf16 {
        Some((rest, unit)) => {
            let (units, _) = rest.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|bytes| unit(*bytes)).collect();
            String::from_utf16_lossy(&units)
        }
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let head = head.trim_ascii_start();
    if head.is_empty() {
        // White space that long may hide anything; the reader of text decides.
        let is_whole_file = (bytes.len() as u64) < SNIFF_BYTES;
        return if is_whole_file {
            Err(SheetError::Empty)
        } else {
            Ok(FileKind::Text)
        };
    }
    let head: String = head.chars().take(1024).collect();
    let head = head.to_ascii_lowercase();
    if head.starts_with("<!doctype html")
        || head.starts_with("<html")
        || (head.starts_with('<') && head.contains("<html"))
    {
        return Err(SheetError::NotASpreadsheet(
            "a web page (perhaps a log-in or sharing page)",
        ));
    }
    if head.starts_with("<?xml") || head.starts_with('<') {
        return Err(SheetError::NotASpreadsheet("an XML or HTML document"));
    }
    if head.starts_with('{')
        || head.starts_with("[{")
        || head.starts_with("[\"")
        || head.starts_with("[]")
    {
        return Err(SheetError::NotASpreadsheet("JSON data"));
    }
    Ok(FileKind::Text)
}

fn classify_zip<R: Read + Seek>(file: &mut R) -> Result<FileKind, SheetError> {
    let Ok(mut archive) = zip::ZipArchive::new(file) else {
        return Err(SheetError::WorkbookUnreadable(
            "it is cut off or damaged".to_owned(),
        ));
    };
    let names: Vec<String> = archive
        .file_names()
        .filter_map(Result::ok)
        .map(|name| name.trim_start_matches('/').to_owned())
        .collect();
    let has = |part: &str| names.iter().any(|name| name.eq_ignore_ascii_case(part));
    let starts = |part: &str| names.iter().any(|name| name.starts_with(part));
    if has("xl/workbook.bin") {
        return Err(SheetError::NotASpreadsheet("a binary workbook (.xlsb)"));
    }
    let mut indexes = 0..archive.len();
    if indexes.any(|index| {
        archive
            .by_index_raw(index)
            .is_ok_and(|part| part.encrypted())
    }) {
        return Err(SheetError::PasswordProtected);
    }
    if has("[Content_Types].xml") && (starts("xl/") || !(starts("word/") || starts("ppt/"))) {
        return Ok(FileKind::Workbook);
    }
    Err(SheetError::NotASpreadsheet(if starts("word/") {
        "a Word document"
    } else if starts("ppt/") {
        "a PowerPoint presentation"
    } else if has("content.xml") && has("mimetype") {
        "an OpenDocument file"
    } else if has("Index/Document.iwa") {
        "a document of Apple's Numbers or Pages"
    } else {
        "a .zip archive"
    }))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        sniff(&mut Cursor::new(bytes)).unwrap_err().to_string()
    }

    fn archive_of(names: &[&str]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for name in names {
            archive
                .start_file(*name, zip::write::SimpleFileOptions::default())
                .unwrap();
            archive.write_all(b"x").unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    #[test]
    fn non_spreadsheets_are_named_in_the_error() {
        let utf16 = |text: &str| -> Vec<u8> {
            let units = text.encode_utf16().flat_map(u16::to_le_bytes);
            [0xFF, 0xFE].into_iter().chain(units).collect()
        };
        let mut tar = vec![0; 512];
        tar[257..263].copy_from_slice(b"ustar\0");
        for (bytes, what) in [
            (b"%PDF-1.7".to_vec(), "a PDF document"),
            (b"\xfd7zXZ\0\0".to_vec(), "an xz archive"),
            (tar, "a tar archive"),
            (b"BZh91AY&SY".to_vec(), "a bzip2 archive"),
            (b"ID;PWXL;N;E\r\nP;PGeneral\r\n".to_vec(), "a SYLK file"),
            (b"MIME-Version: 1.0\r\n".to_vec(), "a web archive (.mht)"),
            (b"<!DOCTYPE html><html>".to_vec(), "a web page"),
            (utf16("\r\n<html><body>"), "a web page"),
            (utf16("{\"a\": 1}"), "JSON data"),
            (archive_of(&["a.csv"]), "a .zip archive"),
            (
                archive_of(&["[Content_Types].xml", "xl/workbook.bin"]),
                "a binary workbook (.xlsb)",
            ),
            (archive_of(&["Index/Document.iwa"]), "Apple's Numbers"),
        ] {
            let refusal = refusal(&bytes);
            assert!(refusal.contains(what), "{refusal}, not {what}");
        }
        for blank in [b"".to_vec(), b" \r\n".to_vec(), utf16(""), utf16(" \n")] {
            assert!(matches!(
                sniff(&mut Cursor::new(blank)),
                Err(SheetError::Empty)
            ));
        }
        let mustard = format!("{}ustard Seed Kitchen", "x".repeat(257)).into_bytes();
        let plain = |text: &str| text.as_bytes().to_vec();
        for text in [
            utf16("ID,Name"),
            utf16(&" ".repeat(5_000)),
            mustard,
            plain("BZh1,Name"),
            plain("ID;Phone;Name\n1;604;Ann\n"),
        ] {
            assert!(matches!(sniff(&mut Cursor::new(text)), Ok(FileKind::Text)));
        }
    }

    #[test]
    fn encrypted_zip_is_reported_as_password_protected() {
        let mut bytes = archive_of(&["[Content_Types].xml", "xl/workbook.xml"]);
        // The lowest bit of a part's flags, in its header and in the directory.
        for (magic, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
            let indexes: Vec<usize> = memchr::memmem::find_iter(&bytes, magic).collect();
            for at in indexes {
                bytes[at + flags] |= 1;
            }
        }
        assert!(matches!(
            sniff(&mut Cursor::new(bytes)),
            Err(SheetError::PasswordProtected)
        ));
    }
}
