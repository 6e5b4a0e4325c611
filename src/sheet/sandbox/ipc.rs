//! The messages from the worker process that reads a workbook to its parent: a header, rows, and an end or a
//! rejection.
//!
//! Each frame has a tag (1 byte), the length of the content (4 bytes, little-endian) and the content. Rows are
//! binary, everything else is JSON. Does not depend on processes; it only reads and writes streams.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::model::failure::Failure;
use crate::model::issue::Issue;
use crate::table::{CellKind, Header, SheetRow};

const HEADER: u8 = b'H';
const ROW: u8 = b'R';
const END: u8 = b'E';
const REJECTED: u8 = b'F';

/// Maximum length of the content. Even the largest possible row is shorter.
const MAX_CONTENT_BYTES: u32 = 16 << 20;

/// A message from the worker process.
#[derive(Debug)]
pub(super) enum Frame {
    /// The header; sent before the first row.
    Header(Header),
    /// A row, which was written to the buffer of the caller.
    Row,
    /// All rows were sent.
    End(End),
    /// The workbook was rejected.
    Rejected(Failure),
}

/// The information that is complete only after the last row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) sheet: Option<String>,
    pub(super) header: Header,
    pub(super) issues: Vec<Issue>,
}

fn write_frame(out: &mut impl Write, tag: u8, content: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(content.len()).map_err(std::io::Error::other)?;
    out.write_all(&[tag])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(content)
}

fn write_json(out: &mut impl Write, tag: u8, value: &impl Serialize) -> std::io::Result<()> {
    write_frame(out, tag, &serde_json::to_vec(value)?)
}

pub(super) fn write_header(out: &mut impl Write, header: &Header) -> std::io::Result<()> {
    write_json(out, HEADER, header)
}

pub(super) fn write_end(out: &mut impl Write, end: &End) -> std::io::Result<()> {
    write_json(out, END, end)
}

pub(super) fn write_rejection(out: &mut impl Write, failure: &Failure) -> std::io::Result<()> {
    write_json(out, REJECTED, failure)
}

/// `scratch` is a buffer that is reused for each row.
pub(super) fn write_row(
    out: &mut impl Write,
    row: &SheetRow,
    scratch: &mut Vec<u8>,
) -> std::io::Result<()> {
    let (text, cells) = row.layout();
    scratch.clear();
    scratch.extend_from_slice(&row.number.to_le_bytes());
    scratch.extend_from_slice(&[0; 4]);
    let (mut start, mut count) = (0, 0_u32);
    // Column indexes fit into 16 bits and text offsets into 32 bits because of the limits of `xlsx`.
    for (index, (kind, end)) in (0_u16..).zip(cells) {
        if *kind != CellKind::Text || *end != start {
            scratch.extend_from_slice(&index.to_le_bytes());
            scratch.push(*kind as u8);
            let end = u32::try_from(*end).map_err(std::io::Error::other)?;
            scratch.extend_from_slice(&end.to_le_bytes());
            count += 1;
        }
        start = *end;
    }
    scratch[4..8].copy_from_slice(&count.to_le_bytes());
    scratch.extend_from_slice(text.as_bytes());
    write_frame(out, ROW, scratch)
}

/// Reads the next frame; a row is written to `row`.
pub(super) fn read_frame(
    input: &mut impl BufRead,
    row: &mut SheetRow,
    scratch: &mut Vec<u8>,
) -> std::io::Result<Frame> {
    /// Bytes of the tag and the length.
    const FRAME_HEADER_BYTES: usize = 5;
    // Most frames are completely in the buffer and need no copy.
    if let Some((head, rest)) = input.fill_buf()?.split_first_chunk::<FRAME_HEADER_BYTES>()
        && let Some(content) = rest.get(..content_len(*head)?)
    {
        let frame = parse_frame(head[0], content, row)?;
        let size = FRAME_HEADER_BYTES + content.len();
        input.consume(size);
        return Ok(frame);
    }
    let mut head = [0; FRAME_HEADER_BYTES];
    input.read_exact(&mut head)?;
    scratch.resize(content_len(head)?, 0);
    input.read_exact(scratch)?;
    parse_frame(head[0], scratch, row)
}

fn content_len(head: [u8; 5]) -> std::io::Result<usize> {
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if length > MAX_CONTENT_BYTES {
        return Err(malformed_frame());
    }
    Ok(length as usize)
}

fn parse_frame(tag: u8, content: &[u8], row: &mut SheetRow) -> std::io::Result<Frame> {
    Ok(match tag {
        HEADER => Frame::Header(serde_json::from_slice(content)?),
        ROW => {
            decode_row(content, row).ok_or_else(malformed_frame)?;
            Frame::Row
        }
        END => Frame::End(serde_json::from_slice(content)?),
        REJECTED => Frame::Rejected(serde_json::from_slice(content)?),
        _ => return Err(malformed_frame()),
    })
}

/// Decodes a row: its number, the number of cells that are not blank, index, kind and end of each, and the text of
/// all cells.
fn decode_row(content: &[u8], row: &mut SheetRow) -> Option<()> {
    /// Bytes of the index, kind and end of a cell.
    const CELL_BYTES: usize = 7;
    let (number, rest) = content.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let length = (u32::from_le_bytes(*count) as usize).checked_mul(CELL_BYTES)?;
    let (cells, text) = rest.split_at_checked(length)?;
    let (cells, _) = cells.as_chunks::<CELL_BYTES>();
    let text = simdutf8::basic::from_utf8(text).ok()?;
    row.reset_to(u32::from_le_bytes(*number));
    let mut all_kinds_known = true;
    let cells = cells.iter().map(|[low, high, kind, end @ ..]| {
        let known_kind = CellKind::ALL.get(usize::from(*kind));
        all_kinds_known &= known_kind.is_some();
        let index = usize::from(u16::from_le_bytes([*low, *high]));
        let kind = known_kind.copied().unwrap_or(CellKind::Text);
        (index, kind, u32::from_le_bytes(*end) as usize)
    });
    let is_filled = row.set_cells(text, cells);
    (is_filled && all_kinds_known).then_some(())
}

pub(super) fn malformed_frame() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        "the worker process for workbooks sent an invalid message",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Cell;

    #[test]
    fn row_round_trips() {
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
        let (mut bytes, mut scratch, mut decoded) = (Vec::new(), Vec::new(), SheetRow::default());
        write_row(&mut bytes, &row, &mut scratch).unwrap();
        let frame = read_frame(&mut &bytes[..], &mut decoded, &mut scratch).unwrap();
        assert!(matches!(frame, Frame::Row));
        assert_eq!(decoded, row);
    }

    #[test]
    fn truncated_or_malformed_frame_is_an_error() {
        let (mut bytes, mut scratch, mut row) = (Vec::new(), Vec::new(), SheetRow::new(1));
        row.push(Cell::Text("x"));
        write_row(&mut bytes, &row, &mut scratch).unwrap();
        for end in 0..bytes.len() {
            assert!(
                read_frame(&mut &bytes[..end], &mut row, &mut scratch).is_err(),
                "{end}"
            );
        }
        for bytes in [&b"X\0\0\0\0"[..], b"R\xff\xff\xff\xff", b"R\x02\0\0\0ab"] {
            assert!(read_frame(&mut &bytes[..], &mut row, &mut scratch).is_err());
        }
    }
}
