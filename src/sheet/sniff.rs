//! Detects the type of a file from its first bytes and, for ZIP archives, from the names of their entries. Must not
//! parse the content.

use std::io::{Read, Seek};

use super::error::{SheetError, WorkbookDefect};
use super::file_type::FileType;

/// A file type that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// An Office Open XML workbook, or a similar archive that is rejected when it is opened.
    Workbook,
    /// Text, probably a CSV file.
    Text,
}

const OLE_MAGIC: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// Offset of the magic bytes in a tar archive.
const TAR_MAGIC_OFFSET: usize = 257;

/// Bytes read to distinguish text from markup and JSON.
const SNIFF_BYTES: u64 = 4 << 10;

/// Characters of a text that are searched for markup.
const MARKUP_SEARCH_CHARS: usize = 1024;

/// Bytes of an OLE file read at a time.
const OLE_CHUNK_BYTES: u64 = 1 << 20;

/// Detects the type of a file.
///
/// # Errors
/// [`SheetError`] if the file is not a spreadsheet, is protected or is empty.
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
    for (magic, file_type) in [
        (&b"%PDF"[..], FileType::Pdf),
        (b"\x1f\x8b", FileType::Gzip),
        (b"7z\xbc\xaf", FileType::SevenZip),
        (b"Rar!", FileType::Rar),
        (b"\x89PNG", FileType::Image),
        (b"\xff\xd8\xff", FileType::Image),
        (b"GIF8", FileType::Image),
        (b"{\\rtf", FileType::Rtf),
        (b"\xfd7zXZ", FileType::Xz),
        (b"\x28\xb5\x2f\xfd", FileType::Zstandard),
        (b"SQLite format 3", FileType::Sqlite),
        (b"MIME-Version:", FileType::WebArchive),
    ] {
        if bytes.starts_with(magic) {
            return Err(SheetError::NotASpreadsheet(file_type));
        }
    }
    if has_chunk_framing(bytes) {
        return Err(SheetError::ChunkFraming);
    }
    for (is_type, file_type) in [
        (is_tar(bytes), FileType::Tar),
        (is_bzip2(bytes), FileType::Bzip2),
        (is_sylk(bytes), FileType::Sylk),
    ] {
        if is_type {
            return Err(SheetError::NotASpreadsheet(file_type));
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

/// Whether the content is in chunks as uploads to S3 send it (`aws-chunked`): each chunk follows a line with its size in hexadecimal
/// digits, usually with a signature. Some servers store the object without removing these lines.
fn has_chunk_framing(bytes: &[u8]) -> bool {
    let is_hex = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    let Some(end) = memchr::memmem::find(bytes, b"\r\n") else {
        return false;
    };
    let (line, chunk) = (&bytes[..end], &bytes[end + 2..]);
    if let Some(at) = memchr::memmem::find(line, b";chunk-signature=") {
        let signature = &line[at + b";chunk-signature=".len()..];
        return is_hex(&line[..at]) && is_hex(signature);
    }
    // Without a signature, only what follows tells a size from the text of a file.
    let size = std::str::from_utf8(line).ok().filter(|_| is_hex(line));
    let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
        return false;
    };
    let after_chunk = chunk.get(size..).unwrap_or_default();
    chunk.starts_with(b"PK\x03\x04") || after_chunk.starts_with(b"\r\n0\r\n")
}

/// The first line alone proves nothing: a CSV file may start the same way (`ID;PhoneCells`). The second line must be
/// a SYLK record as well.
fn is_sylk(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| matches!(byte, b'\r' | b'\n'));
    let starts_with_id = lines.next().is_some_and(|line| line.starts_with(b"ID;P"));
    let second = lines.find(|line| !line.is_empty()).unwrap_or_default();
    starts_with_id && matches!(second, b"E" | [b'P' | b'B' | b'C' | b'F' | b'O', b';', ..])
}

/// The error for an OLE file. An encrypted .xlsx is an OLE file with a stream `EncryptedPackage`; the directory
/// contains this name in UTF-16.
fn classify_ole<R: Read + Seek>(file: &mut R) -> Result<SheetError, SheetError> {
    let stream_name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    file.rewind()?;
    let mut buffer = Vec::new();
    loop {
        let read = file
            .by_ref()
            .take(OLE_CHUNK_BYTES)
            .read_to_end(&mut buffer)?;
        if contains(&buffer, &stream_name) {
            return Ok(SheetError::PasswordProtected);
        }
        if read == 0 {
            return Ok(SheetError::NotASpreadsheet(FileType::LegacyOffice));
        }
        buffer.drain(..buffer.len().saturating_sub(stream_name.len()));
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
        // There may be content after the white space, so the CSV reader decides.
        let is_whole_file = (bytes.len() as u64) < SNIFF_BYTES;
        return if is_whole_file {
            Err(SheetError::Empty)
        } else {
            Ok(FileKind::Text)
        };
    }
    let head: String = head.chars().take(MARKUP_SEARCH_CHARS).collect();
    let head = head.to_ascii_lowercase();
    if head.starts_with("<!doctype html")
        || head.starts_with("<html")
        || (head.starts_with('<') && head.contains("<html"))
    {
        return Err(SheetError::NotASpreadsheet(FileType::WebPage));
    }
    if head.starts_with("<?xml") || head.starts_with('<') {
        return Err(SheetError::NotASpreadsheet(FileType::Markup));
    }
    if head.starts_with('{')
        || head.starts_with("[{")
        || head.starts_with("[\"")
        || head.starts_with("[]")
    {
        return Err(SheetError::NotASpreadsheet(FileType::Json));
    }
    Ok(FileKind::Text)
}

fn classify_zip<R: Read + Seek>(file: &mut R) -> Result<FileKind, SheetError> {
    let Ok(mut archive) = zip::ZipArchive::new(file) else {
        return Err(SheetError::WorkbookUnreadable(
            WorkbookDefect::InvalidArchive,
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
        return Err(SheetError::NotASpreadsheet(FileType::BinaryWorkbook));
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
        FileType::WordDocument
    } else if starts("ppt/") {
        FileType::PowerPoint
    } else if has("content.xml") && has("mimetype") {
        FileType::OpenDocument
    } else if has("Index/Document.iwa") {
        FileType::AppleIwork
    } else {
        FileType::Zip
    }))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;
    use crate::model::failure::FailureCode;

    fn error_text(bytes: &[u8]) -> String {
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
            (archive_of(&["Index/Document.iwa"]), "Apple Numbers"),
        ] {
            let error = error_text(&bytes);
            assert!(error.contains(what), "{error}, not {what}");
        }
        for blank in [b"".to_vec(), b" \r\n".to_vec(), utf16(""), utf16(" \n")] {
            assert!(matches!(
                sniff(&mut Cursor::new(blank)),
                Err(SheetError::Empty)
            ));
        }
        let almost_tar = format!("{}ustard Seed Kitchen", "x".repeat(257)).into_bytes();
        let plain = |text: &str| text.as_bytes().to_vec();
        for text in [
            utf16("ID,Name"),
            utf16(&" ".repeat(5_000)),
            almost_tar,
            plain("BZh1,Name"),
            plain("ID;Phone;Name\n1;604;Ann\n"),
        ] {
            assert!(matches!(sniff(&mut Cursor::new(text)), Ok(FileKind::Text)));
        }
    }

    #[test]
    fn chunk_framing_of_s3_uploads_is_named() {
        let csv = "ID,Name\r\n1,Ann\r\n";
        let signature = "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648";
        let signed = |content: &[u8]| {
            let head = format!("{:x};chunk-signature={signature}\r\n", content.len());
            let tail = format!("\r\n0;chunk-signature={signature}\r\n\r\n");
            [head.as_bytes(), content, tail.as_bytes()].concat()
        };
        let workbook = archive_of(&["[Content_Types].xml", "xl/workbook.xml"]);
        let unsigned = |content: &[u8]| {
            let head = format!("{:x}\r\n", content.len());
            let tail = b"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
            [head.as_bytes(), content, tail].concat()
        };
        for bytes in [
            signed(csv.as_bytes()),
            signed(&workbook),
            unsigned(csv.as_bytes()),
            unsigned(&workbook),
        ] {
            let error = sniff(&mut Cursor::new(bytes)).unwrap_err();
            assert_eq!(error.code(), FailureCode::NotASpreadsheet);
            assert!(error.to_string().contains("S3 chunk framing"), "{error}");
        }
        for text in [
            "12\r\n34\r\n",
            "ID;chunk-signature=1\r\n",
            "ffffffffffffffffff\r\nx\r\n",
            "ab;chunk-signature=Name\r\n",
        ] {
            assert!(sniff(&mut Cursor::new(text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn encrypted_zip_is_reported_as_password_protected() {
        let mut bytes = archive_of(&["[Content_Types].xml", "xl/workbook.xml"]);
        // Set the encryption bit of each entry, in its local header and in the central directory.
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
