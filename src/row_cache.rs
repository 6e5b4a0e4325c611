//! Row fingerprints and the row cache: hashes of the rows of the last applied file, with the contacts stored from them.
//! A row with a cached hash needs no validation and no comparison with the database.

use xxhash_rust::xxh3::xxh3_128;

use crate::model::ContactId;
use crate::table::{Header, SheetRow};

/// Fingerprint of a row: 128-bit XXH3 hash of its cells and the header. Collisions can be constructed deliberately, but only
/// by the author of the spreadsheet, who gains nothing from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowFingerprint([u8; 16]);

/// Computes the fingerprints of rows under a header.
#[derive(Debug)]
pub struct RowHasher {
    /// Digest of the header, then the hashed bytes of a row.
    bytes: Vec<u8>,
}

/// Size of the header's digest in bytes.
const HEADER_DIGEST_BYTES: usize = 16;

impl RowHasher {
    /// A hasher for rows under this header.
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

    /// The fingerprint of a row. It is the same only for the same bytes in the same columns; the row number does not matter.
    #[must_use]
    pub fn row_fingerprint(&mut self, row: &SheetRow) -> RowFingerprint {
        let (text, cells) = row.layout();
        self.bytes.truncate(HEADER_DIGEST_BYTES);
        self.bytes.extend_from_slice(text.as_bytes());
        for (kind, end) in cells {
            self.bytes.push(*kind as u8);
            // Longer rows were rejected before.
            let end = u32::try_from(*end).unwrap_or(u32::MAX);
            self.bytes.extend_from_slice(&end.to_le_bytes());
        }
        RowFingerprint(xxh3_128(&self.bytes).to_le_bytes())
    }
}

/// An active contact after the last applied run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CachedContact {
    /// The contact.
    pub id: ContactId,
    /// Fingerprint of its row, if it has a single row without issues.
    pub row_fingerprint: Option<RowFingerprint>,
}

/// Size of an entry in bytes: 16 for the fingerprint (all 0 if there is none) and 8 for the id.
const ENTRY_BYTES: usize = 24;

/// All active contacts of an account after its last applied run. Each entry takes 24 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowCache(Vec<[u8; ENTRY_BYTES]>);

impl RowCache {
    /// An empty cache with capacity for `count` contacts.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Adds a contact.
    pub fn push(&mut self, contact: CachedContact) {
        let mut entry = [0; ENTRY_BYTES];
        if let Some(RowFingerprint(row_fingerprint)) = contact.row_fingerprint {
            entry[..16].copy_from_slice(&row_fingerprint);
        }
        entry[16..].copy_from_slice(&contact.id.0.to_le_bytes());
        self.0.push(entry);
    }

    /// Adds the contacts of a chunk from [`RowCache::byte_chunks`]. Returns `false` if the bytes are not valid.
    #[must_use]
    pub fn extend_from_bytes(&mut self, bytes: &[u8]) -> bool {
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        self.0.extend_from_slice(entries);
        rest.is_empty()
    }

    /// The cache as bytes, in chunks of `size` contacts.
    pub fn byte_chunks(&self, size: usize) -> impl Iterator<Item = &[u8]> {
        self.0.chunks(size).map(<[_]>::as_flattened)
    }

    /// Number of contacts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the cache has no contacts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The contact at an index, from 0; `None` beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<CachedContact> {
        self.0.get(index).map(decode)
    }

    /// All contacts in order.
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
    /// The first 64 bits, for use in a hash table.
    #[must_use]
    pub fn hash(self) -> u64 {
        let (half, _) = self.0.split_at(8);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(half);
        u64::from_le_bytes(bytes)
    }
}

/// The cache saves no work if more than this number of rows, plus one in [`UNCACHED_DIVISOR`] of all rows, are not in it.
const UNCACHED_BASE: usize = 16;
const UNCACHED_DIVISOR: usize = 8;

/// Returns how many of `total` rows may lack a usable fingerprint. With more, reading the whole file is less work than
/// reading it incrementally.
#[must_use]
pub fn max_uncached(total: usize) -> usize {
    UNCACHED_BASE + total / UNCACHED_DIVISOR
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
        for (index, row_fingerprint) in row_fingerprints.iter().enumerate() {
            assert!(
                !row_fingerprints[..index].contains(row_fingerprint),
                "{index}"
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
