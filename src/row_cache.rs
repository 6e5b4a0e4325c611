//! Contacts that are known to be stored as the last applied file says, each by the row that says it: whoever meets the
//! row again need neither judge it nor look at what is stored.

use xxhash_rust::xxh3::xxh3_128;

use crate::model::ContactId;
use crate::table::{Header, SheetRow};

/// By what a row is known again: 128 bits of XXH3 over its cells and the header above them. Not proof against somebody
/// who looks for two rows with the same mark; that would deceive but himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowMark([u8; 16]);

/// Marks the rows under a header.
#[derive(Debug)]
pub struct RowMarker {
    /// Digest of the header, then what is hashed of a row.
    bytes: Vec<u8>,
}

/// Bytes of the header's digest.
const HEADER: usize = 16;

impl RowMarker {
    /// For rows under this header.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        let mut bytes = Vec::new();
        for title in &header.titles {
            bytes.extend_from_slice(&(title.len() as u64).to_le_bytes());
            bytes.extend_from_slice(title.as_bytes());
        }
        Self {
            bytes: xxh3_128(&bytes).to_le_bytes().to_vec(),
        }
    }

    /// The mark of a row: the same only for the same cells, byte by byte, in the same columns.
    #[must_use]
    pub fn mark(&mut self, row: &SheetRow) -> RowMark {
        let (text, cells) = row.layout();
        self.bytes.truncate(HEADER);
        self.bytes.extend_from_slice(text.as_bytes());
        for (kind, end) in cells {
            self.bytes.push(*kind as u8);
            // Longer rows than this are refused.
            let end = u32::try_from(*end).unwrap_or(u32::MAX);
            self.bytes.extend_from_slice(&end.to_le_bytes());
        }
        RowMark(xxh3_128(&self.bytes).to_le_bytes())
    }
}

/// An active contact after the last applied run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownContact {
    /// Which.
    pub id: ContactId,
    /// The row that says all of it, if one does and nothing had to be said of it.
    pub mark: Option<RowMark>,
}

/// Bytes of a packed contact: its mark, all 0 where it has none, and its id.
const PACKED: usize = 24;

/// All active contacts of an account after its last applied run, packed: 24 bytes each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownContacts(Vec<[u8; PACKED]>);

impl KnownContacts {
    /// Empty, with room for so many.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Adds one.
    pub fn push(&mut self, contact: KnownContact) {
        let mut packed = [0; PACKED];
        if let Some(RowMark(mark)) = contact.mark {
            packed[..16].copy_from_slice(&mark);
        }
        packed[16..].copy_from_slice(&contact.id.0.to_le_bytes());
        self.0.push(packed);
    }

    /// Adds those that [`KnownContacts::pieces`] gave; `false` where these bytes can't be such.
    #[must_use]
    pub fn extend_from_bytes(&mut self, bytes: &[u8]) -> bool {
        let (packed, rest) = bytes.as_chunks::<PACKED>();
        self.0.extend_from_slice(packed);
        rest.is_empty()
    }

    /// All of them as bytes, so many in a piece.
    pub fn pieces(&self, size: usize) -> impl Iterator<Item = &[u8]> {
        self.0.chunks(size).map(<[_]>::as_flattened)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one at a place, if there is one.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<KnownContact> {
        self.0.get(place).map(unpack)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = KnownContact> {
        self.0.iter().map(unpack)
    }
}

fn unpack(packed: &[u8; PACKED]) -> KnownContact {
    let (mut mark, mut id) = ([0; 16], [0; 8]);
    mark.copy_from_slice(&packed[..16]);
    id.copy_from_slice(&packed[16..]);
    KnownContact {
        id: ContactId(i64::from_le_bytes(id)),
        mark: (mark != [0; 16]).then_some(RowMark(mark)),
    }
}

impl RowMark {
    /// Half of its bits, to find it by.
    #[must_use]
    pub fn hash(self) -> u64 {
        let (half, _) = self.0.split_at(8);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(half);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Cell, Field};

    fn header(titles: [&str; 2]) -> Header {
        let titles = titles.map(str::to_owned).to_vec();
        Header::new(1, titles, &[(Field::Id, 0)], Vec::new())
    }

    #[test]
    fn a_mark_tells_cells_columns_and_headers_apart_but_not_row_numbers() {
        let marks: Vec<RowMark> = [
            (["ID", "Name"], vec![Cell::Text("ab"), Cell::Text("c")]),
            (["ID", "Name"], vec![Cell::Text("a"), Cell::Text("bc")]),
            (["ID", "Name"], vec![Cell::Error("ab"), Cell::Text("c")]),
            (["ID", "Name"], vec![Cell::Text("abc")]),
            (["ID", "Title"], vec![Cell::Text("ab"), Cell::Text("c")]),
            (["IDN", "ame"], vec![Cell::Text("ab"), Cell::Text("c")]),
        ]
        .into_iter()
        .map(|(titles, cells)| {
            let mut marker = RowMarker::new(&header(titles));
            let (mut one, mut other) = (SheetRow::new(2), SheetRow::new(7));
            for cell in cells {
                one.push(cell);
                other.push(cell);
            }
            assert_eq!(marker.mark(&one), marker.mark(&other));
            marker.mark(&one)
        })
        .collect();
        for (place, mark) in marks.iter().enumerate() {
            assert!(!marks[..place].contains(mark), "{place}");
        }
    }

    #[test]
    fn contacts_come_out_as_they_went_in() {
        let mut marker = RowMarker::new(&header(["ID", "Name"]));
        let known = [
            KnownContact {
                id: ContactId(7),
                mark: Some(marker.mark(&SheetRow::new(1))),
            },
            KnownContact {
                id: ContactId(-1),
                mark: None,
            },
            KnownContact {
                id: ContactId(i64::MAX),
                mark: None,
            },
        ];
        let mut all = KnownContacts::default();
        for one in known {
            all.push(one);
        }
        let mut read = KnownContacts::default();
        assert!(all.pieces(2).all(|piece| read.extend_from_bytes(piece)));
        assert_eq!(read, all);
        assert_eq!(read.iter().collect::<Vec<_>>(), known);
        assert!(!read.extend_from_bytes(b"short"));
    }
}
