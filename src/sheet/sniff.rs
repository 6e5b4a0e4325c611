//! What a file is, told from its first bytes and, for archives, from what they hold.

use std::io::{Read, Seek};

use super::SheetError;

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An Office Open XML workbook, or something so close that opening it decides.
    Workbook,
    /// Text; a CSV file as far as can be told.
    Text,
}

const OLE: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// Bytes in which a text is told from markup and JSON.
const HEAD: u64 = 4 << 10;

pub(super) fn sniff<R: Read + Seek>(file: &mut R) -> Result<Kind, SheetError> {
    file.rewind()?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head)?;
    let bytes = &head[..];
    if bytes.starts_with(OLE) {
        return Err(ole(file)?);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return archive(file);
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
        (b"ID;P", "a SYLK file"),
    ] {
        if bytes.starts_with(magic) {
            return Err(SheetError::NotASpreadsheet(what));
        }
    }
    if (bytes.len() as u64) < HEAD || !bytes.iter().all(u8::is_ascii_whitespace) {
        return text(bytes);
    }
    // White space that long may hide anything; the reader of text decides.
    Ok(Kind::Text)
}

/// An encrypted .xlsx is an OLE file with a certain stream; its name is UTF-16 in the directory.
fn ole<R: Read + Seek>(file: &mut R) -> Result<SheetError, SheetError> {
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    file.rewind()?;
    let mut window = Vec::new();
    loop {
        let read = file.by_ref().take(1 << 20).read_to_end(&mut window)?;
        if contains(&window, &name) {
            return Ok(SheetError::PasswordProtected);
        }
        if read == 0 {
            return Ok(SheetError::NotASpreadsheet(
                "a legacy .xls workbook or another old Office file",
            ));
        }
        window.drain(..window.len().saturating_sub(name.len()));
    }
}

fn text(bytes: &[u8]) -> Result<Kind, SheetError> {
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return if bytes.len() > 2 {
            Ok(Kind::Text)
        } else {
            Err(SheetError::Empty)
        };
    }
    let start = body.iter().position(|b| !b.is_ascii_whitespace());
    let Some(start) = start else {
        return Err(SheetError::Empty);
    };
    let head =
        String::from_utf8_lossy(&body[start..body.len().min(start + 1024)]).to_ascii_lowercase();
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
    Ok(Kind::Text)
}

fn archive<R: Read + Seek>(file: &mut R) -> Result<Kind, SheetError> {
    let Ok(archive) = zip::ZipArchive::new(file) else {
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
    if has("[Content_Types].xml") && (starts("xl/") || !(starts("word/") || starts("ppt/"))) {
        return Ok(Kind::Workbook);
    }
    Err(SheetError::NotASpreadsheet(if starts("word/") {
        "a Word document"
    } else if starts("ppt/") {
        "a PowerPoint presentation"
    } else if has("content.xml") && has("mimetype") {
        "an OpenDocument file"
    } else {
        "a .zip archive"
    }))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
