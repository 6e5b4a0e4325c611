//! What is said between a process and the one that reads a workbook for it: a header, rows, and an end or a refusal.
//!
//! Each frame is a tag (1 byte), the length of what follows (4 bytes, little-endian) and the content. Rows are binary,
//! all else is JSON.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use crate::model::failure::Failure;
use crate::model::issue::Issue;
use crate::model::table::{CellKind, Header, SheetRow};

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
    let size = |size: usize| u32::try_from(size).map_err(std::io::Error::other);
    let (text, cells) = row.layout();
    scratch.clear();
    scratch.extend_from_slice(&row.number.to_le_bytes());
    scratch.extend_from_slice(&size(cells.len())?.to_le_bytes());
    for (kind, end) in cells {
        scratch.push(*kind as u8);
        scratch.extend_from_slice(&size(*end)?.to_le_bytes());
    }
    scratch.extend_from_slice(text.as_bytes());
    put(out, ROW, scratch)
}

/// The next frame; a row goes into `row`. `None` where the other side ended before a frame.
pub(super) fn take(
    input: &mut impl Read,
    row: &mut SheetRow,
    scratch: &mut Vec<u8>,
) -> std::io::Result<Option<Frame>> {
    let mut head = [0; 5];
    if input.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[1..])?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if length > MAX_LENGTH {
        return Err(nonsense());
    }
    scratch.resize(length as usize, 0);
    input.read_exact(scratch)?;
    Ok(Some(match head[0] {
        HEADER => Frame::Header(serde_json::from_slice(scratch)?),
        ROW => {
            row_from(scratch, row).ok_or_else(nonsense)?;
            Frame::Row
        }
        END => Frame::End(serde_json::from_slice(scratch)?),
        REFUSED => Frame::Refused(serde_json::from_slice(scratch)?),
        _ => return Err(nonsense()),
    }))
}

/// Number of the row, count of its cells, kind and end of each, and all their text.
fn row_from(content: &[u8], row: &mut SheetRow) -> Option<()> {
    /// Bytes of a cell's kind and end.
    const CELL: usize = 5;
    let (number, rest) = content.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let length = (u32::from_le_bytes(*count) as usize).checked_mul(CELL)?;
    let (cells, text) = rest.split_at_checked(length)?;
    let (cells, _) = cells.as_chunks::<CELL>();
    let text = simdutf8::basic::from_utf8(text).ok()?;
    if !cells
        .iter()
        .all(|[kind, ..]| usize::from(*kind) < CellKind::ALL.len())
    {
        return None;
    }
    row.restart(u32::from_le_bytes(*number));
    let cells = cells.iter().map(|[kind, end @ ..]| {
        let kind = CellKind::ALL[usize::from(*kind)];
        (kind, u32::from_le_bytes(*end) as usize)
    });
    row.fill(text, cells).then_some(())
}

fn nonsense() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        "the reader of workbooks said something unintelligible",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::table::Cell;

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
        assert!(matches!(frame, Some(Frame::Row)));
        assert_eq!(taken, row);
    }

    #[test]
    fn what_is_cut_or_unintelligible_is_an_error_and_never_a_row() {
        let (mut bytes, mut scratch, mut row) = (Vec::new(), Vec::new(), SheetRow::new(1));
        row.push(Cell::Text("x"));
        put_row(&mut bytes, &row, &mut scratch).unwrap();
        for end in 1..bytes.len() {
            assert!(
                take(&mut &bytes[..end], &mut row, &mut scratch).is_err(),
                "{end}"
            );
        }
        assert!(matches!(
            take(&mut &[][..], &mut row, &mut scratch),
            Ok(None)
        ));
        for bytes in [&b"X\0\0\0\0"[..], b"R\xff\xff\xff\xff", b"R\x02\0\0\0ab"] {
            assert!(take(&mut &bytes[..], &mut row, &mut scratch).is_err());
        }
    }
}
