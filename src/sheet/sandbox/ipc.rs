//! What is said between a process and the one that reads a workbook for it: a header, rows, and an end or a refusal.
//!
//! Each frame is a tag (1 byte), the length of what follows (4 bytes, little-endian) and the content. Rows are binary,
//! all else is JSON.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::model::failure::Failure;
use crate::model::issue::Issue;
use crate::table::{CellKind, Header, SheetRow};

const HEADER: u8 = b'H';
const ROW: u8 = b'R';
const END: u8 = b'E';
const REFUSED: u8 = b'F';

/// Longest content that is believed; a row of the widest and longest kind is shorter.
const MAX_LENGTH: u32 = 16 << 20;

/// What the reading process says.
#[derive(Debug)]
pub(super) enum Frame {
    /// The header, before any row.
    Header(Header),
    /// A row, which is now in the buffer that was given.
    Row,
    /// All rows were said.
    End(End),
    /// The workbook is refused.
    Refused(Failure),
}

/// What is known at the end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) sheet: Option<String>,
    pub(super) header: Header,
    pub(super) issues: Vec<Issue>,
}

fn put(out: &mut impl Write, tag: u8, content: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(content.len()).map_err(std::io::Error::other)?;
    out.write_all(&[tag])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(content)
}

fn put_json(out: &mut impl Write, tag: u8, value: &impl Serialize) -> std::io::Result<()> {
    put(out, tag, &serde_json::to_vec(value)?)
}

pub(super) fn put_header(out: &mut impl Write, header: &Header) -> std::io::Result<()> {
    put_json(out, HEADER, header)
}

pub(super) fn put_end(out: &mut impl Write, end: &End) -> std::io::Result<()> {
    put_json(out, END, end)
}

pub(super) fn put_refusal(out: &mut impl Write, failure: &Failure) -> std::io::Result<()> {
    put_json(out, REFUSED, failure)
}

/// `scratch` is used again for each row.
pub(super) fn put_row(
    out: &mut impl Write,
    row: &SheetRow,
    scratch: &mut Vec<u8>,
) -> std::io::Result<()> {
    let (text, cells) = row.layout();
    scratch.clear();
    scratch.extend_from_slice(&row.number.to_le_bytes());
    scratch.extend_from_slice(&[0; 4]);
    let (mut start, mut count) = (0, 0_u32);
    // There are fewer columns than that, and less text, in any row.
    for (place, (kind, end)) in (0_u16..).zip(cells) {
        if *kind != CellKind::Text || *end != start {
            scratch.extend_from_slice(&place.to_le_bytes());
            scratch.push(*kind as u8);
            let end = u32::try_from(*end).map_err(std::io::Error::other)?;
            scratch.extend_from_slice(&end.to_le_bytes());
            count += 1;
        }
        start = *end;
    }
    scratch[4..8].copy_from_slice(&count.to_le_bytes());
    scratch.extend_from_slice(text.as_bytes());
    put(out, ROW, scratch)
}

/// The next frame; a row goes into `row`.
pub(super) fn take(
    input: &mut impl BufRead,
    row: &mut SheetRow,
    scratch: &mut Vec<u8>,
) -> std::io::Result<Frame> {
    /// Bytes of the tag and the length.
    const HEAD: usize = 5;
    // Most frames lie in the buffer whole.
    if let Some((head, rest)) = input.fill_buf()?.split_first_chunk::<HEAD>()
        && let Some(content) = rest.get(..length(*head)?)
    {
        let frame = frame(head[0], content, row)?;
        let size = HEAD + content.len();
        input.consume(size);
        return Ok(frame);
    }
    let mut head = [0; HEAD];
    input.read_exact(&mut head)?;
    scratch.resize(length(head)?, 0);
    input.read_exact(scratch)?;
    frame(head[0], scratch, row)
}

fn length(head: [u8; 5]) -> std::io::Result<usize> {
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if length > MAX_LENGTH {
        return Err(nonsense());
    }
    Ok(length as usize)
}

fn frame(tag: u8, content: &[u8], row: &mut SheetRow) -> std::io::Result<Frame> {
    Ok(match tag {
        HEADER => Frame::Header(serde_json::from_slice(content)?),
        ROW => {
            row_from(content, row).ok_or_else(nonsense)?;
            Frame::Row
        }
        END => Frame::End(serde_json::from_slice(content)?),
        REFUSED => Frame::Refused(serde_json::from_slice(content)?),
        _ => return Err(nonsense()),
    })
}

/// Number of the row; count of its cells that aren't blank; place, kind and end of each; and all their text.
fn row_from(content: &[u8], row: &mut SheetRow) -> Option<()> {
    /// Bytes of a cell's place, kind and end.
    const CELL: usize = 7;
    let (number, rest) = content.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let length = (u32::from_le_bytes(*count) as usize).checked_mul(CELL)?;
    let (cells, text) = rest.split_at_checked(length)?;
    let (cells, _) = cells.as_chunks::<CELL>();
    let text = simdutf8::basic::from_utf8(text).ok()?;
    row.restart(u32::from_le_bytes(*number));
    let mut known = true;
    let cells = cells.iter().map(|[low, high, kind, end @ ..]| {
        let found = CellKind::ALL.get(usize::from(*kind));
        known &= found.is_some();
        let place = usize::from(u16::from_le_bytes([*low, *high]));
        let kind = found.copied().unwrap_or(CellKind::Text);
        (place, kind, u32::from_le_bytes(*end) as usize)
    });
    let sound = row.fill(text, cells);
    (sound && known).then_some(())
}

pub(super) fn nonsense() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        "the reader of workbooks said something unintelligible",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Cell;

    #[test]
    fn a_row_comes_out_as_it_went_in() {
        let mut row = SheetRow::new(7);
        for cell in [
            Cell::Text("Zoë"),
            Cell::BLANK,
            Cell::Rounded("1234567890123456"),
            Cell::Error("#N/A"),
            Cell::FormulaWithoutValue,
        ] {
            row.push(cell);
        }
        let (mut bytes, mut scratch, mut taken) = (Vec::new(), Vec::new(), SheetRow::default());
        put_row(&mut bytes, &row, &mut scratch).unwrap();
        let frame = take(&mut &bytes[..], &mut taken, &mut scratch).unwrap();
        assert!(matches!(frame, Frame::Row));
        assert_eq!(taken, row);
    }

    #[test]
    fn what_is_cut_or_unintelligible_is_an_error_and_never_a_row() {
        let (mut bytes, mut scratch, mut row) = (Vec::new(), Vec::new(), SheetRow::new(1));
        row.push(Cell::Text("x"));
        put_row(&mut bytes, &row, &mut scratch).unwrap();
        for end in 0..bytes.len() {
            assert!(
                take(&mut &bytes[..end], &mut row, &mut scratch).is_err(),
                "{end}"
            );
        }
        for bytes in [&b"X\0\0\0\0"[..], b"R\xff\xff\xff\xff", b"R\x02\0\0\0ab"] {
            assert!(take(&mut &bytes[..], &mut row, &mut scratch).is_err());
        }
    }
}
