//! Fuzz target: arbitrary bytes as a workbook. Input that is not a ZIP file is used as the XML parts of a workbook, because a
//! fuzzer rarely finds valid ZIP checksums.

#![no_main]

mod invariants;

use std::io::{Cursor, Write};
use std::sync::Once;

use libfuzzer_sys::{Corpus, fuzz_target};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Separates the XML parts in an input.
const SEPARATOR: &str = "%%";

const CONTENT_TYPES: &str = r#"<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/></Types>"#;
const ROOT: &str = r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;
const RELATIONS: &str = r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings" Target="sharedStrings.xml"/><Relationship Id="rId3" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#;
const WORKBOOK: &str = r#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="Contacts" sheetId="1" r:id="rId1"/></sheets></workbook>"#;

/// Builds a workbook from sheet, shared strings, styles and workbook part, in this order. Missing parts are left out; a missing
/// workbook part is replaced by `WORKBOOK`.
fn workbook(parts: &str) -> Option<Vec<u8>> {
    let mut parts = parts.split(SEPARATOR);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, content: &str| {
        zip.start_file(name, stored).ok()?;
        zip.write_all(content.as_bytes()).ok()
    };
    add("[Content_Types].xml", CONTENT_TYPES)?;
    add("_rels/.rels", ROOT)?;
    add("xl/_rels/workbook.xml.rels", RELATIONS)?;
    for name in [
        "xl/worksheets/sheet1.xml",
        "xl/sharedStrings.xml",
        "xl/styles.xml",
    ] {
        if let Some(part) = parts.next() {
            add(name, part)?;
        }
    }
    add("xl/workbook.xml", parts.next().unwrap_or(WORKBOOK))?;
    Some(zip.finish().ok()?.into_inner())
}

/// Ignores panics in calamine: rosterd reads workbooks in a worker process and refuses a file that makes it panic. All other
/// panics are findings.
fn ignore_calamine_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let abort = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let file = panic.location().map_or("", |location| location.file());
            // The location may be inside the standard library; the backtrace shows whether calamine called it.
            let trace = std::backtrace::Backtrace::force_capture().to_string();
            let in_calamine = file.contains("/calamine-") || trace.contains("calamine::");
            if !in_calamine {
                abort(panic);
            }
        }));
    });
}

fuzz_target!(|file: &[u8]| -> Corpus {
    ignore_calamine_panics();
    let built;
    let file = if file.starts_with(b"PK") {
        file
    } else {
        let Ok(parts) = std::str::from_utf8(file) else {
            return Corpus::Reject;
        };
        let Some(workbook) = workbook(parts) else {
            return Corpus::Reject;
        };
        built = workbook;
        &built
    };
    let _ = std::panic::catch_unwind(|| invariants::check(file));
    Corpus::Keep
});
