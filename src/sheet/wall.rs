//! The wall before a workbook is opened: every part is inflated once through a counter, and what exceeds the caps is
//! refused before any reader holds it in memory. Declared sizes are not believed.

use std::io::{Cursor, Read};

use super::SheetError;

/// Most parts of a workbook.
const MAX_PARTS: usize = 4_096;
/// Most bytes of all parts inflated.
const MAX_TOTAL: u64 = 640 << 20;
/// Most bytes of the shared strings inflated.
const MAX_SHARED_STRINGS: u64 = 64 << 20;
/// Most bytes inflated of any part that is neither a sheet nor the shared strings: they are held in memory whole.
const MAX_SMALL_PART: u64 = 32 << 20;

pub(super) fn check(bytes: &[u8]) -> Result<(), SheetError> {
    let unreadable =
        |error: &dyn std::fmt::Display| SheetError::WorkbookUnreadable(error.to_string());
    let mut archive =
        zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| unreadable(&error))?;
    if archive.len() > MAX_PARTS {
        return Err(SheetError::WorkbookTooLarge(format!(
            "it has more than {MAX_PARTS} parts"
        )));
    }
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
        let size =
            inflate(&mut part, cap.min(MAX_TOTAL - total)).map_err(|error| unreadable(&error))?;
        let Some(size) = size else {
            return Err(SheetError::WorkbookTooLarge(format!(
                "its part `{name}` unpacks to more than allowed"
            )));
        };
        total += size;
    }
    Ok(())
}

/// Size of a part inflated, or `None` if it exceeds the cap.
fn inflate(part: &mut impl Read, cap: u64) -> std::io::Result<Option<u64>> {
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let read = part.read(&mut buffer)?;
        if read == 0 {
            return Ok(Some(size));
        }
        size += read as u64;
        if size > cap {
            return Ok(None);
        }
    }
}
