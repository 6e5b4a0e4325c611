//! Unpacks every part of a workbook once to measure it, before a reader loads it into memory. Does not trust declared
//! sizes. Must not parse XML; it only searches for byte sequences.

use std::io::{Read, Seek};

use crate::sheet::error::{ByteLimit, SheetError, WorkbookDefect, WorkbookLimit};

/// Maximum number of parts (files in the archive).
const MAX_PARTS: usize = 4_096;
/// Maximum unpacked size of all parts, bytes.
const MAX_TOTAL_BYTES: u64 = 640 << 20;
/// Maximum unpacked size of the shared strings, bytes.
const MAX_SHARED_STRINGS_BYTES: u64 = 64 << 20;
/// Maximum unpacked size of any other part except sheets and media, bytes. The reader loads these parts into memory
/// completely.
const MAX_OTHER_PART_BYTES: u64 = 32 << 20;
/// Size of the buffer for unpacked data. Larger than the window of a decompressor, which is copied each time the
/// buffer is full.
const BUFFER_BYTES: usize = 256 << 10;

/// Features of a workbook that take extra time to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::sheet) struct WorkbookFeatures {
    /// Whether a sheet has merged cells.
    pub(in crate::sheet) has_merged_cells: bool,
    /// Whether a sheet may have formulas.
    pub(in crate::sheet) has_formulas: bool,
    /// Indexes in the archive of the sheets with cells whose spelling must be normalized.
    pub(in crate::sheet) unusual_sheets: Vec<usize>,
}

/// Checks the limits and returns the features that determine how the workbook is read.
pub(in crate::sheet) fn check_limits<R: Read + Seek>(
    file: &mut R,
) -> Result<WorkbookFeatures, SheetError> {
    let unreadable = |error: &dyn std::fmt::Display| {
        SheetError::WorkbookUnreadable(WorkbookDefect::Library(error.to_string()))
    };
    file.rewind()?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| unreadable(&error))?;
    if archive.len() > MAX_PARTS {
        return Err(SheetError::WorkbookTooLarge(WorkbookLimit::PartCount {
            limit: MAX_PARTS,
        }));
    }
    let mut features = WorkbookFeatures::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    for index in 0..archive.len() {
        let mut part = archive
            .by_index(index)
            .map_err(|error| unreadable(&error))?;
        let name = part
            .name()
            .map_err(|error| unreadable(&error))?
            .to_ascii_lowercase();
        let part_limit = if name.ends_with("sharedstrings.xml") {
            MAX_SHARED_STRINGS_BYTES
        } else if name.contains("worksheets/") || name.contains("media/") {
            MAX_TOTAL_BYTES
        } else {
            MAX_OTHER_PART_BYTES
        };
        let mut cells = MarkerSearch::new(b"sheetData");
        let mut merged = MarkerSearch::new(b"mergeCells");
        let mut formulas = FormulaSearch::default();
        let mut spelling = SpellingSearch::default();
        let (mut is_sheet, mut is_unusual) = (false, false);
        let mut part_features = WorkbookFeatures::default();
        // A sheet may have any path and name. Its cells and merged ranges come after this marker.
        let mut inspect = |chunk: &[u8]| {
            is_sheet = is_sheet || cells.search(chunk);
            if is_sheet {
                part_features.has_merged_cells =
                    part_features.has_merged_cells || merged.search(chunk);
                part_features.has_formulas = part_features.has_formulas || formulas.search(chunk);
                is_unusual = is_unusual || spelling.search(chunk);
            }
        };
        let remaining = MAX_TOTAL_BYTES - total;
        let size = inflate(
            &mut part,
            part_limit.min(remaining),
            &mut buffer,
            &mut inspect,
        )
        .map_err(|error| unreadable(&error))?;
        let Some(size) = size else {
            return Err(SheetError::WorkbookTooLarge(if part_limit < remaining {
                WorkbookLimit::PartSize {
                    name,
                    limit: ByteLimit(part_limit),
                }
            } else {
                WorkbookLimit::TotalSize {
                    limit: ByteLimit(MAX_TOTAL_BYTES),
                }
            }));
        };
        total += size;
        if is_sheet {
            features.has_merged_cells |= part_features.has_merged_cells;
            features.has_formulas |= part_features.has_formulas;
            features.unusual_sheets.extend(is_unusual.then_some(index));
        }
    }
    Ok(features)
}

/// The unpacked size of a part in bytes, or `None` if it exceeds `limit`. Calls `inspect` for each chunk.
fn inflate(
    part: &mut impl Read,
    limit: u64,
    buffer: &mut [u8],
    inspect: &mut impl FnMut(&[u8]),
) -> std::io::Result<Option<u64>> {
    let mut size = 0;
    loop {
        let read = part.read(buffer)?;
        if read == 0 {
            return Ok(Some(size));
        }
        inspect(&buffer[..read]);
        size += read as u64;
        if size > limit {
            return Ok(None);
        }
    }
}

/// Searches for a byte sequence, including across chunk boundaries.
#[derive(Debug)]
struct MarkerSearch {
    marker: &'static [u8],
    tail: Vec<u8>,
}

impl MarkerSearch {
    fn new(marker: &'static [u8]) -> Self {
        Self {
            marker,
            tail: Vec::new(),
        }
    }

    fn search(&mut self, chunk: &[u8]) -> bool {
        let length = self.marker.len();
        let first = &chunk[..chunk.len().min(length)];
        self.tail.extend_from_slice(first);
        let found = memchr::memmem::find(&self.tail, self.marker).is_some()
            || memchr::memmem::find(chunk, self.marker).is_some();
        if chunk.len() >= length {
            self.tail.clear();
            self.tail.extend_from_slice(&chunk[chunk.len() - length..]);
        }
        found
    }
}

/// Searches for elements with a name that starts with `f`, like those of formulas, with any namespace prefix. Sheets
/// without formulas rarely contain an `f`, so one fast search is enough.
#[derive(Debug, Default)]
struct FormulaSearch {
    /// Last byte of the previous chunk.
    last: u8,
}

impl FormulaSearch {
    fn search(&mut self, chunk: &[u8]) -> bool {
        let before = |at: usize| at.checked_sub(1).map_or(self.last, |at| chunk[at]);
        let found = memchr::memchr_iter(b'f', chunk).any(|at| matches!(before(at), b'<' | b':'));
        self.last = chunk.last().copied().unwrap_or(self.last);
        found
    }
}

/// Searches for spellings of a cell's value that the reader of sheets does not understand: a CDATA section or a comment, and a reference or
/// white space at either end of a value.
#[derive(Debug, Default)]
struct SpellingSearch {
    /// The last bytes of the previous chunk.
    tail: Vec<u8>,
}

impl SpellingSearch {
    /// Bytes that are compared at a time.
    const WINDOW: usize = 4;

    fn search(&mut self, chunk: &[u8]) -> bool {
        self.tail
            .extend_from_slice(&chunk[..chunk.len().min(Self::WINDOW)]);
        let found = Self::is_in(&self.tail) || Self::is_in(chunk);
        if chunk.len() >= Self::WINDOW {
            self.tail.clear();
            self.tail
                .extend_from_slice(&chunk[chunk.len() - Self::WINDOW..]);
        }
        found
    }

    fn is_in(bytes: &[u8]) -> bool {
        if bytes.len() < Self::WINDOW {
            return false;
        }
        // Without a branch and with slices, the loop is vectorized.
        let windows = bytes
            .iter()
            .zip(&bytes[1..])
            .zip(&bytes[2..])
            .zip(&bytes[3..]);
        let is = |byte: u8, expected: u8| u8::from(byte == expected);
        let is_space = |byte: u8| u8::from(byte <= b' ');
        let found = windows.fold(0, |found, (((&a, &b), &c), &d)| {
            let markup = is(a, b'<') & is(b, b'!');
            let is_start_tag = (is(a, b'<') | is(a, b':')) & is(b, b'v') & is(c, b'>');
            let start = is_start_tag & (is_space(d) | is(d, b'&'));
            // The usual namespace prefix is `x`; the name after it is not compared.
            let end = is_space(a) & is(b, b'<') & is(c, b'/') & (is(d, b'v') | is(d, b'x'));
            found | markup | start | end
        });
        found != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_spellings_are_found_across_chunk_boundaries() {
        for (sheet, expected) in [
            ("<c r=\"A1\"><v>12</v></c></row>\n <row>", false),
            ("<c t=\"str\">\n  <v>a &amp; b</v>\n </c>\n</row>", false),
            ("<c r=\"A1\"><v><![CDATA[1]]></v></c></row>", true),
            ("<c r=\"A1\"><v>1<!-- --></v></c></row>", true),
            ("<c r=\"A1\"><v> 1</v></c></row>", true),
            ("<c r=\"A1\"><v>&#49;</v></c></row>", true),
            ("<c r=\"A1\"><v>1\n</v></c></row>", true),
            ("<x:c r=\"A1\"><x:v>1\t</x:v></x:c></x:row>", true),
        ] {
            for size in 1..sheet.len() {
                let mut spelling = SpellingSearch::default();
                let mut chunks = sheet.as_bytes().chunks(size);
                let found = chunks.any(|chunk| spelling.search(chunk));
                assert_eq!(found, expected, "{sheet} in chunks of {size}");
            }
        }
    }

    #[test]
    fn formulas_are_found_across_chunk_boundaries() {
        for (sheet, expected) in [
            ("<c r=\"A1\"><f>1+1</f><v>2</v></c>", true),
            ("<x:c><x:f>1</x:f></x:c>", true),
            (
                "<c r=\"A1\" t=\"inlineStr\"><is><t>of fish</t></is></c>",
                false,
            ),
        ] {
            for size in 1..sheet.len() {
                let mut formulas = FormulaSearch::default();
                let mut chunks = sheet.as_bytes().chunks(size);
                let found = chunks.any(|chunk| formulas.search(chunk));
                assert_eq!(found, expected, "{sheet} in chunks of {size}");
            }
        }
    }

    #[test]
    fn marker_is_found_across_chunk_boundaries() {
        let text = b"<worksheet><mergeCells count=\"1\"/></worksheet>";
        for size in 1..text.len() {
            let mut marker = MarkerSearch::new(b"mergeCells");
            let mut found = false;
            for chunk in text.chunks(size) {
                found |= marker.search(chunk);
            }
            assert!(found, "chunks of {size}");
        }
        let mut marker = MarkerSearch::new(b"mergeCells");
        assert!(!text[..15].chunks(3).any(|chunk| marker.search(chunk)));
    }
}
