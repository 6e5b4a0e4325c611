//! Contacts that are known to be stored as the last applied file says, each by the row that says it: whoever meets the
//! row again need neither judge it nor look at what is stored.

use xxhash_rust::xxh3::xxh3_128;

use crate::model::ContactId;
use crate::table::{Header, SheetRow};

/// By what a row is known again: 128 bits of XXH3 over its cells and the header above them. Not proof against somebody
/// who looks for two rows with the same mark; that would deceive but himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowFingerprint([u8; 16]);

/// Marks the rows under a header.
#[derive(Debug)]
pub struct RowHasher {
    /// Digest of the header, then what is hashed of a row.
    bytes: Vec<u8>,
}

/// Bytes of the header's digest.
const HEADER_DIGEST_BYTES: usize = 16;

impl RowHasher {
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
    pub fn row_fingerprint(&mut self, row: &SheetRow) -> RowFingerprint {
        let (text, cells) = row.layout();
        self.bytes.truncate(HEADER_DIGEST_BYTES);
        self.bytes.extend_from_slice(text.as_bytes());
        for (kind, end) in cells {
            self.bytes.push(*kind as u8);
            // Longer rows than this are refused.
            let end = u32::try_from(*end).unwrap_or(u32::MAX);
            self.bytes.extend_from_slice(&end.to_le_bytes());
        }
        RowFingerprint(xxh3_128(&self.bytes).to_le_bytes())
    }
}

/// An active contact after the last applied run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CachedContact {
    /// Which.
    pub id: ContactId,
    /// The row that says all of it, if one does and nothing had to be said of it.
    pub row_fingerprint: Option<RowFingerprint>,
}

/// Bytes of a packed contact: its mark, all 0 where it has none, and its id.
const ENTRY_BYTES: usize = 24;

/// All active contacts of an account after its last applied run, packed: 24 bytes each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowCache(Vec<[u8; ENTRY_BYTES]>);

impl RowCache {
    /// Empty, with room for so many.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Adds one.
    pub fn push(&mut self, contact: CachedContact) {
        let mut entry = [0; ENTRY_BYTES];
        if let Some(RowFingerprint(row_fingerprint)) = contact.row_fingerprint {
            entry[..16].copy_from_slice(&row_fingerprint);
        }
        entry[16..].copy_from_slice(&contact.id.0.to_le_bytes());
        self.0.push(entry);
    }

    /// Adds those that [`RowCache::byte_chunks`] gave; `false` where these bytes can't be such.
    #[must_use]
    pub fn extend_from_bytes(&mut self, bytes: &[u8]) -> bool {
        let (entry, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        self.0.extend_from_slice(entry);
        rest.is_empty()
    }

    /// All of them as bytes, so many in a piece.
    pub fn byte_chunks(&self, size: usize) -> impl Iterator<Item = &[u8]> {
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
    pub fn get(&self, place: usize) -> Option<CachedContact> {
        self.0.get(place).map(decode)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = CachedContact> {
        self.0.iter().map(decode)
    }
}

fn decode(entry: &[u8; ENTRY_BYTES]) -> CachedContact {
    let (mut row_fingerprint, mut id) = ([0; 16], [0; 8]);
    row_fingerprint.copy_from_slice(&entry[..16]);
    id.copy_from_slice(&entry[16..]);
    CachedContact {
        id: ContactId(i64::from_le_bytes(id)),
        row_fingerprint: (row_fingerprint != [0; 16]).then_some(RowFingerprint(row_fingerprint)),
    }
}

impl RowFingerprint {
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
    fn fingerprint_covers_cells_and_header_but_not_row_number() {
        let row_fingerprints: Vec<RowFingerprint> = [
            (["ID", "Name"], vec![Cell::Text("ab"), Cell::Text("c")]),
            (["ID", "Name"], vec![Cell::Text("a"), Cell::Text("bc")]),
            (["ID", "Name"], vec![Cell::Error("ab"), Cell::Text("c")]),
            (["ID", "Name"], vec![Cell::Text("abc")]),
            (["ID", "Title"], vec![Cell::Text("ab"), Cell::Text("c")]),
            (["IDN", "ame"], vec![Cell::Text("ab"), Cell::Text("c")]),
        ]
        .into_iter()
        .map(|(titles, cells)| {
            let mut row_hasher = RowHasher::new(&header(titles));
            let (mut one, mut other) = (SheetRow::new(2), SheetRow::new(7));
            for cell in cells {
                one.push(cell);
                other.push(cell);
            }
            assert_eq!(
                row_hasher.row_fingerprint(&one),
                row_hasher.row_fingerprint(&other)
            );
            row_hasher.row_fingerprint(&one)
        })
        .collect();
        for (place, row_fingerprint) in row_fingerprints.iter().enumerate() {
            assert!(
                !row_fingerprints[..place].contains(row_fingerprint),
                "{place}"
            );
        }
    }

    #[test]
    fn row_cache_round_trips() {
        let mut row_hasher = RowHasher::new(&header(["ID", "Name"]));
        let contacts = [
            CachedContact {
                id: ContactId(7),
                row_fingerprint: Some(row_hasher.row_fingerprint(&SheetRow::new(1))),
            },
            CachedContact {
                id: ContactId(-1),
                row_fingerprint: None,
            },
            CachedContact {
                id: ContactId(i64::MAX),
                row_fingerprint: None,
            },
        ];
        let mut all = RowCache::default();
        for one in contacts {
            all.push(one);
        }
        let mut read = RowCache::default();
        assert!(
            all.byte_chunks(2)
                .all(|chunk| read.extend_from_bytes(chunk))
        );
        assert_eq!(read, all);
        assert_eq!(read.iter().collect::<Vec<_>>(), contacts);
        assert!(!read.extend_from_bytes(b"short"));
    }
}
