//! Before a workbook is opened every part of it is inflated once through a counter, and what exceeds the caps is refused
//! before any reader holds it in memory. Declared sizes are not believed.

use std::io::{Read, Seek};

use crate::sheet::SheetError;

/// Most parts of a workbook.
const MAX_PARTS: usize = 4_096;
/// Most bytes of all parts inflated.
const MAX_TOTAL: u64 = 640 << 20;
/// Most bytes of the shared strings inflated.
const MAX_SHARED_STRINGS: u64 = 64 << 20;
/// Most bytes inflated of any part that is neither a sheet nor the shared strings: they are held in memory whole.
const MAX_SMALL_PART: u64 = 32 << 20;

/// What was met on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sheet) struct Parts {
    /// Some sheet has merged cells.
    pub(in crate::sheet) has_merged_cells: bool,
    /// Some sheet may have formulas.
    pub(in crate::sheet) has_formulas: bool,
}

pub(in crate::sheet) fn check<R: Read + Seek>(file: &mut R) -> Result<Parts, SheetError> {
    let unreadable =
        |error: &dyn std::fmt::Display| SheetError::WorkbookUnreadable(error.to_string());
    file.rewind()?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| unreadable(&error))?;
    if archive.len() > MAX_PARTS {
        return Err(SheetError::WorkbookTooLarge(format!(
            "it has more than {MAX_PARTS} parts"
        )));
    }
    let mut parts = Parts::default();
    // Larger than the window of a decompressor, which is copied each time the buffer is full.
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    for index in 0..archive.len() {
        let mut part = archive
            .by_index(index)
            .map_err(|error| unreadable(&error))?;
        let name = part
            .name()
            .map_err(|error| unreadable(&error))?
            .to_ascii_lowercase();
        let cap = if name.ends_with("sharedstrings.xml") {
            MAX_SHARED_STRINGS
        } else if name.contains("worksheets/") || name.contains("media/") {
            MAX_TOTAL
        } else {
            MAX_SMALL_PART
        };
        let mut data = Mark::new(b"sheetData");
        let mut merged = Mark::new(b"mergeCells");
        let mut formulas = Formulas::default();
        let (mut is_sheet, mut found) = (false, Parts::default());
        // A sheet may lie anywhere and have any name; its cells and what is merged come after this mark.
        let mut look = |piece: &[u8]| {
            is_sheet = is_sheet || data.is_in(piece);
            if is_sheet {
                found.has_merged_cells = found.has_merged_cells || merged.is_in(piece);
                found.has_formulas = found.has_formulas || formulas.are_in(piece);
            }
        };
        let size = inflate(
            &mut part,
            cap.min(MAX_TOTAL - total),
            &mut buffer,
            &mut look,
        )
        .map_err(|error| unreadable(&error))?;
        let Some(size) = size else {
            return Err(SheetError::WorkbookTooLarge(format!(
                "its part `{name}` unpacks to more than allowed"
            )));
        };
        total += size;
        if is_sheet {
            parts.has_merged_cells |= found.has_merged_cells;
            parts.has_formulas |= found.has_formulas;
        }
    }
    Ok(parts)
}

/// Size of a part inflated, or `None` if it exceeds the cap. `look` sees all of it, piece by piece.
fn inflate(
    part: &mut impl Read,
    cap: u64,
    buffer: &mut [u8],
    look: &mut impl FnMut(&[u8]),
) -> std::io::Result<Option<u64>> {
    let mut size = 0;
    loop {
        let read = part.read(buffer)?;
        if read == 0 {
            return Ok(Some(size));
        }
        look(&buffer[..read]);
        size += read as u64;
        if size > cap {
            return Ok(None);
        }
    }
}

/// Looks for a mark, also where it lies across two pieces.
#[derive(Debug)]
struct Mark {
    mark: &'static [u8],
    end: Vec<u8>,
}

impl Mark {
    fn new(mark: &'static [u8]) -> Self {
        Self {
            mark,
            end: Vec::new(),
        }
    }

    fn is_in(&mut self, piece: &[u8]) -> bool {
        let length = self.mark.len();
        let first = &piece[..piece.len().min(length)];
        self.end.extend_from_slice(first);
        let found = memchr::memmem::find(&self.end, self.mark).is_some()
            || memchr::memmem::find(piece, self.mark).is_some();
        if piece.len() >= length {
            self.end.clear();
            self.end.extend_from_slice(&piece[piece.len() - length..]);
        }
        found
    }
}

/// Looks for elements whose names begin with `f`, as those of formulas do, whatever their prefix. There is hardly an `f` in
/// a sheet without formulas, so that one quick search does.
#[derive(Debug, Default)]
struct Formulas {
    /// The last byte of the piece before.
    last: u8,
}

impl Formulas {
    fn are_in(&mut self, piece: &[u8]) -> bool {
        let before = |at: usize| at.checked_sub(1).map_or(self.last, |at| piece[at]);
        let found = memchr::memchr_iter(b'f', piece).any(|at| matches!(before(at), b'<' | b':'));
        self.last = piece.last().copied().unwrap_or(self.last);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_found_wherever_pieces_end() {
        for (sheet, has) in [
            ("<c r=\"A1\"><f>1+1</f><v>2</v></c>", true),
            ("<x:c><x:f>1</x:f></x:c>", true),
            (
                "<c r=\"A1\" t=\"inlineStr\"><is><t>of fish</t></is></c>",
                false,
            ),
        ] {
            for size in 1..sheet.len() {
                let mut formulas = Formulas::default();
                let mut pieces = sheet.as_bytes().chunks(size);
                let found = pieces.any(|piece| formulas.are_in(piece));
                assert_eq!(found, has, "{sheet} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_mark_is_found_wherever_pieces_end() {
        let text = b"<worksheet><mergeCells count=\"1\"/></worksheet>";
        for size in 1..text.len() {
            let mut mark = Mark::new(b"mergeCells");
            let mut found = false;
            for piece in text.chunks(size) {
                found |= mark.is_in(piece);
            }
            assert!(found, "pieces of {size}");
        }
        let mut mark = Mark::new(b"mergeCells");
        assert!(!text[..15].chunks(3).any(|piece| mark.is_in(piece)));
    }
}
