//! Incremental read: skips rows that are unchanged since the last applied file, and validates only the others.
//!
//! The result is the same as that of a full read. If a skipped row may affect one that was not skipped, there is no result,
//! and the caller must read the whole file. Does not depend on how the row cache is stored.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use super::Validator;
use super::index::similarity_key;
use crate::model::contact::PhoneNumber;
use crate::model::issue::Issue;
use crate::parsed_sheet::ParsedSheet;
use crate::row_cache::{RowCache, RowFingerprint, RowHasher, max_uncached};
use crate::table::{Field, Header, SheetRow};
use crate::unicode::clean;

/// Checks the rows of a sheet one by one, like a [`Validator`], but skips those in the row cache.
#[derive(Debug)]
pub struct IncrementalReader {
    cache: RowCache,
    /// Whether the file has the row of each cached contact.
    seen: Vec<bool>,
    /// Position in the cache at which the next row is expected, because files usually keep their order.
    expected: usize,
    /// Positions in the cache by fingerprint; built when a row is not at the expected position.
    positions: Option<HashTable<u32>>,
    row_hasher: Option<RowHasher>,
    skipped: SkippedRows,
    validator: Validator,
    /// Set if skipping rows would change the result or save no work.
    needs_full_read: bool,
}

/// IDs (hashed) and phone numbers of skipped rows, to find conflicts with the other rows.
#[derive(Debug, Default)]
struct SkippedRows {
    count: usize,
    ids: Vec<u64>,
    numbers: Vec<u64>,
    hash_builder: DefaultHashBuilder,
    buffer: String,
}

/// Result of an incremental read.
#[derive(Debug)]
pub struct IncrementalResult {
    /// Only the contacts whose rows were not skipped; all counts are of the whole file.
    pub parsed: ParsedSheet,
    /// The row cache that the reader was created with.
    pub cache: RowCache,
    /// Whether the file has the row of each cached contact.
    pub seen: Vec<bool>,
}

impl IncrementalReader {
    /// Returns a reader that skips the rows of these contacts.
    #[must_use]
    pub fn new(cache: RowCache) -> Self {
        Self {
            seen: vec![false; cache.len()],
            cache,
            expected: 0,
            positions: None,
            row_hasher: None,
            skipped: SkippedRows::default(),
            validator: Validator::with_fingerprints(),
            needs_full_read: false,
        }
    }

    /// Skips or checks the next row.
    pub fn push(&mut self, header: &Header, row: &SheetRow) {
        if self.needs_full_read {
            return;
        }
        let row_hasher = self
            .row_hasher
            .get_or_insert_with(|| RowHasher::new(header));
        let row_fingerprint = row_hasher.row_fingerprint(row);
        // A damaged row must be validated even if it equals a cached one.
        let position = row
            .damage
            .is_none()
            .then(|| self.find(row_fingerprint))
            .flatten();
        if let Some(position) = position {
            // A duplicate row needs a warning, which only a full read gives.
            self.needs_full_read = std::mem::replace(&mut self.seen[position], true)
                || self.skipped.add(header, row).is_none();
            self.expected = position + 1;
        } else {
            self.validator
                .push_with_fingerprint(header, row, Some(row_fingerprint));
            let new = self.validator.row_count;
            let total = (new + self.skipped.count).max(self.cache.len());
            self.needs_full_read = new > max_uncached(total);
        }
    }

    /// Returns the position in the cache of the contact with this fingerprint.
    fn find(&mut self, row_fingerprint: RowFingerprint) -> Option<usize> {
        let Self {
            cache, expected, ..
        } = self;
        let is_match = |position: usize| {
            cache
                .get(position)
                .is_some_and(|cached| cached.row_fingerprint == Some(row_fingerprint))
        };
        if is_match(*expected) {
            return Some(*expected);
        }
        let positions = self.positions.get_or_insert_with(|| build_index(cache));
        let position = positions.find(row_fingerprint.hash(), |position| {
            is_match(*position as usize)
        });
        position.map(|position| *position as usize)
    }

    /// Returns the result, or `None` if the whole file must be read. The parameters are those of [`Validator::finish`].
    #[must_use]
    pub fn finish(self, file_issues: &[Issue], maybe_truncated: bool) -> Option<IncrementalResult> {
        if self.needs_full_read || maybe_truncated || self.skipped.conflicts_with(&self.validator) {
            return None;
        }
        let mut parsed = self.validator.finish(file_issues, maybe_truncated);
        parsed.cached_contacts = self.skipped.count;
        parsed.row_count += self.skipped.count;
        Some(IncrementalResult {
            parsed,
            cache: self.cache,
            seen: self.seen,
        })
    }
}

fn build_index(cache: &RowCache) -> HashTable<u32> {
    let mut positions = HashTable::with_capacity(cache.len());
    for (position, contact) in (0..).zip(cache.iter()) {
        if let Some(row_fingerprint) = contact.row_fingerprint {
            let hash = |position: &u32| {
                let cached = cache.get(*position as usize);
                cached
                    .and_then(|cached| cached.row_fingerprint)
                    .map_or(0, RowFingerprint::hash)
            };
            positions.insert_unique(row_fingerprint.hash(), position, hash);
        }
    }
    positions
}

impl SkippedRows {
    /// Returns `None` if the row cannot be one without issues, and must be validated.
    fn add(&mut self, header: &Header, row: &SheetRow) -> Option<()> {
        self.count += 1;
        let id = clean(row.cell(header.column_index(Field::Id)?).display_text()).text;
        let id = self.hash_id(&id);
        self.ids.push(id);
        for columns in &header.numbers {
            let cell = row.cell(columns.number);
            if !cell.is_blank() {
                self.numbers.push(phone_digits(cell.display_text())?);
            }
        }
        Some(())
    }

    fn hash_id(&mut self, id: &str) -> u64 {
        hash(&self.hash_builder, &similarity_key(id, &mut self.buffer))
    }

    /// Whether a validated contact may share a number, or an equal or similar ID, with a skipped row.
    fn conflicts_with(&self, validated: &Validator) -> bool {
        let mut buffer = String::new();
        let mut numbers = Vec::new();
        let mut ids: HashSet<u64> = HashSet::new();
        for position in 0..validated.slots.len() {
            validated.numbers(position, &mut numbers);
            let id = validated.id(position);
            ids.insert(hash(&self.hash_builder, &similarity_key(id, &mut buffer)));
        }
        for (id, _) in &validated.damaged_ids {
            ids.insert(hash(&self.hash_builder, &similarity_key(id, &mut buffer)));
        }
        if ids.is_empty() {
            return false;
        }
        let numbers: HashSet<u64> = numbers.iter().map(PhoneNumber::to_u64).collect();
        self.ids.iter().any(|id| ids.contains(id))
            || self.numbers.iter().any(|number| numbers.contains(number))
    }
}

/// Returns the ten digits of a number in the form of [`PhoneNumber::to_u64`], or `None` if the cell has no such number.
fn phone_digits(cell: &str) -> Option<u64> {
    /// Country code 1 in front of ten digits.
    const COUNTRY_CODE_UNIT: u64 = 10_000_000_000;
    let digits = cell.bytes().filter(u8::is_ascii_digit);
    let (mut number, mut count) = (0_u64, 0);
    for digit in digits {
        number = number.wrapping_mul(10) + u64::from(digit - b'0');
        count += 1;
    }
    match count {
        10 => Some(number),
        11 => number
            .checked_sub(COUNTRY_CODE_UNIT)
            .filter(|rest| *rest < COUNTRY_CODE_UNIT),
        _ => None,
    }
}

fn hash(hash_builder: &DefaultHashBuilder, text: &(impl Hash + ?Sized)) -> u64 {
    hash_builder.hash_one(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phone_digits_match_parsed_number() {
        for cell in [
            "6045550100",
            " (604) 555-0100",
            "+1 604 555 0100",
            "1-604-555-0100",
            "604\u{2011}555\u{a0}0100",
        ] {
            let number = PhoneNumber::parse(cell.trim()).unwrap();
            assert_eq!(phone_digits(cell), Some(number.to_u64()), "{cell}");
        }
        for cell in ["", "604555010", "26045550100", "116045550100"] {
            assert_eq!(phone_digits(cell), None, "{cell}");
        }
    }
}
