//! Reading a file of which most is known: rows that the last applied file had, too, are passed over; the others are
//! judged as usual. Exact or not at all: where a row that was passed over may matter to one that was not, the file has to
//! be read whole.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use super::Validator;
use super::index::{fold_into_buffer, strip_leading_zeros};
use crate::model::contact::PhoneNumber;
use crate::model::issue::Issue;
use crate::parsed_sheet::ParsedSheet;
use crate::row_cache::{RowCache, RowFingerprint, RowHasher};
use crate::table::{Field, Header, SheetRow};
use crate::unicode::clean;

/// So many rows may be new in any file, and one in [`NEW_ROWS_DIVISOR`] besides; then it is less work to read all of it.
const NEW_ROWS_BASE: usize = 16;
/// See [`NEW_ROWS_BASE`].
const NEW_ROWS_DIVISOR: usize = 8;

/// Takes the rows of a sheet one by one, like a [`Validator`], and passes over those that are known.
#[derive(Debug)]
pub struct IncrementalReader {
    cache: RowCache,
    /// Whether the row of each known contact was met.
    seen: Vec<bool>,
    /// Where the next row is expected: files keep their order.
    expected: usize,
    /// Places by mark; made when a row is not the expected one.
    positions: Option<HashTable<u32>>,
    row_hasher: Option<RowHasher>,
    skipped: SkippedRows,
    validator: Validator,
    /// Passing over rows would not be exact, or not worth while.
    needs_full_read: bool,
}

/// What the others are held against of the rows that were passed over, as hashes.
#[derive(Debug, Default)]
struct SkippedRows {
    count: usize,
    ids: Vec<u64>,
    numbers: Vec<u64>,
    hash_builder: DefaultHashBuilder,
    buffer: String,
}

/// What a file says beside what is known.
#[derive(Debug)]
pub struct IncrementalResult {
    /// The contacts whose rows were judged; all counts are of the whole file.
    pub parsed: ParsedSheet,
    /// What was known before.
    pub cache: RowCache,
    /// Whether the row of each known contact was met.
    pub seen: Vec<bool>,
}

impl IncrementalReader {
    /// Passes over the rows of these contacts.
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

    /// Takes the next row.
    pub fn push(&mut self, header: &Header, row: &SheetRow) {
        if self.needs_full_read {
            return;
        }
        let row_hasher = self
            .row_hasher
            .get_or_insert_with(|| RowHasher::new(header));
        let row_fingerprint = row_hasher.row_fingerprint(row);
        // A row out of shape has the cells of a sound one only by accident; it is judged.
        let position = row
            .damage
            .is_none()
            .then(|| self.find(row_fingerprint))
            .flatten();
        if let Some(position) = position {
            // The same row twice is something that has to be said.
            self.needs_full_read = std::mem::replace(&mut self.seen[position], true)
                || self.skipped.add(header, row).is_none();
            self.expected = position + 1;
        } else {
            self.validator
                .push_with_fingerprint(header, row, Some(row_fingerprint));
            let new = self.validator.row_count;
            self.needs_full_read = new
                > NEW_ROWS_BASE
                    + (new + self.skipped.count).max(self.cache.len()) / NEW_ROWS_DIVISOR;
        }
    }

    /// The place of the known contact with this mark.
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
        let found = positions.find(row_fingerprint.hash(), |position| {
            is_match(*position as usize)
        });
        found.map(|position| *position as usize)
    }

    /// What the file says; `None` where it has to be read whole. As [`Validator::finish`].
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
    /// Takes a row that is passed over; `None` where it can't be one of which nothing had to be said.
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
        hash(
            &self.hash_builder,
            &fold_into_buffer(strip_leading_zeros(id), &mut self.buffer),
        )
    }

    /// Whether a judged contact may share its ID, or what looks like it, or a number with one that was passed over.
    fn conflicts_with(&self, validated: &Validator) -> bool {
        let mut buffer = String::new();
        let mut numbers = Vec::new();
        let mut ids: HashSet<u64> = HashSet::new();
        for position in 0..validated.slots.len() {
            validated.numbers(position, &mut numbers);
            let id = strip_leading_zeros(validated.id(position));
            ids.insert(hash(&self.hash_builder, &fold_into_buffer(id, &mut buffer)));
        }
        for (id, _) in &validated.damaged_ids {
            ids.insert(hash(
                &self.hash_builder,
                &fold_into_buffer(strip_leading_zeros(id), &mut buffer),
            ));
        }
        if ids.is_empty() {
            return false;
        }
        let numbers: HashSet<u64> = numbers.iter().map(PhoneNumber::to_u64).collect();
        self.ids.iter().any(|id| ids.contains(id))
            || self.numbers.iter().any(|number| numbers.contains(number))
    }
}

/// The ten digits of a cell that holds a number, as [`PhoneNumber::to_u64`] has them; `None` where it can't hold one.
fn phone_digits(cell: &str) -> Option<u64> {
    /// The digit in front of eleven that stands for the country.
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
