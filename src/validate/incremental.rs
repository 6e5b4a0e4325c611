//! Reading a file of which most is known: rows that the last applied file had, too, are passed over; the others are
//! judged as usual. Exact or not at all: where a row that was passed over may matter to one that was not, the file has to
//! be read whole.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use super::Collector;
use super::index::{folded, without_zeros};
use crate::model::contact::PhoneNumber;
use crate::model::issue::Issue;
use crate::parsed_sheet::Roster;
use crate::row_cache::{KnownContacts, RowMark, RowMarker};
use crate::table::{Field, Header, SheetRow};
use crate::unicode::clean;

/// So many rows may be new in any file, and one in [`NEW_OF`] besides; then it is less work to read all of it.
const NEW_AT_LEAST: usize = 16;
/// See [`NEW_AT_LEAST`].
const NEW_OF: usize = 8;

/// Takes the rows of a sheet one by one, like a [`Collector`], and passes over those that are known.
#[derive(Debug)]
pub struct Skimmer {
    known: KnownContacts,
    /// Whether the row of each known contact was met.
    met: Vec<bool>,
    /// Where the next row is expected: files keep their order.
    next: usize,
    /// Places by mark; made when a row is not the expected one.
    places: Option<HashTable<u32>>,
    marker: Option<RowMarker>,
    passed: Passed,
    collector: Collector,
    /// Passing over rows would not be exact, or not worth while.
    given_up: bool,
}

/// What the others are held against of the rows that were passed over, as hashes.
#[derive(Debug, Default)]
struct Passed {
    count: usize,
    ids: Vec<u64>,
    numbers: Vec<u64>,
    state: DefaultHashBuilder,
    scratch: String,
}

/// What a file says beside what is known.
#[derive(Debug)]
pub struct Skimmed {
    /// The contacts whose rows were judged; all counts are of the whole file.
    pub roster: Roster,
    /// What was known before.
    pub known: KnownContacts,
    /// Whether the row of each known contact was met.
    pub met: Vec<bool>,
}

impl Skimmer {
    /// Passes over the rows of these contacts.
    #[must_use]
    pub fn new(known: KnownContacts) -> Self {
        Self {
            met: vec![false; known.len()],
            known,
            next: 0,
            places: None,
            marker: None,
            passed: Passed::default(),
            collector: Collector::marking(),
            given_up: false,
        }
    }

    /// Takes the next row.
    pub fn push(&mut self, header: &Header, row: &SheetRow) {
        if self.given_up {
            return;
        }
        let marker = self.marker.get_or_insert_with(|| RowMarker::new(header));
        let mark = marker.mark(row);
        // A row out of shape has the cells of a sound one only by accident; it is judged.
        let place = row.damage.is_none().then(|| self.find(mark)).flatten();
        if let Some(place) = place {
            // The same row twice is something that has to be said.
            self.given_up = std::mem::replace(&mut self.met[place], true)
                || self.passed.take(header, row).is_none();
            self.next = place + 1;
        } else {
            self.collector.push_marked(header, row, Some(mark));
            let new = self.collector.row_count;
            self.given_up =
                new > NEW_AT_LEAST + (new + self.passed.count).max(self.known.len()) / NEW_OF;
        }
    }

    /// The place of the known contact with this mark.
    fn find(&mut self, mark: RowMark) -> Option<usize> {
        let Self { known, next, .. } = self;
        let is = |place: usize| {
            known
                .get(place)
                .is_some_and(|known| known.mark == Some(mark))
        };
        if is(*next) {
            return Some(*next);
        }
        let places = self.places.get_or_insert_with(|| index(known));
        let found = places.find(mark.hash(), |place| is(*place as usize));
        found.map(|place| *place as usize)
    }

    /// What the file says; `None` where it has to be read whole. As [`Collector::finish`].
    #[must_use]
    pub fn finish(self, file_issues: &[Issue], maybe_cut: bool) -> Option<Skimmed> {
        if self.given_up || maybe_cut || self.passed.matters_to(&self.collector) {
            return None;
        }
        let mut roster = self.collector.finish(file_issues, maybe_cut);
        roster.known = self.passed.count;
        roster.row_count += self.passed.count;
        Some(Skimmed {
            roster,
            known: self.known,
            met: self.met,
        })
    }
}

fn index(known: &KnownContacts) -> HashTable<u32> {
    let mut places = HashTable::with_capacity(known.len());
    for (place, contact) in (0..).zip(known.iter()) {
        if let Some(mark) = contact.mark {
            let hash = |place: &u32| {
                let known = known.get(*place as usize);
                known.and_then(|known| known.mark).map_or(0, RowMark::hash)
            };
            places.insert_unique(mark.hash(), place, hash);
        }
    }
    places
}

impl Passed {
    /// Takes a row that is passed over; `None` where it can't be one of which nothing had to be said.
    fn take(&mut self, header: &Header, row: &SheetRow) -> Option<()> {
        self.count += 1;
        let id = clean(row.cell(header.place(Field::Id)?).shown()).text;
        let id = self.hash_of_id(&id);
        self.ids.push(id);
        for columns in &header.numbers {
            let cell = row.cell(columns.number);
            if !cell.is_blank() {
                self.numbers.push(digits_of(cell.shown())?);
            }
        }
        Some(())
    }

    fn hash_of_id(&mut self, id: &str) -> u64 {
        hash(&self.state, &folded(without_zeros(id), &mut self.scratch))
    }

    /// Whether a judged contact may share its ID, or what looks like it, or a number with one that was passed over.
    fn matters_to(&self, judged: &Collector) -> bool {
        let mut scratch = String::new();
        let mut numbers = Vec::new();
        let mut ids: HashSet<u64> = HashSet::new();
        for place in 0..judged.known.len() {
            judged.numbers(place, &mut numbers);
            let id = without_zeros(judged.id(place));
            ids.insert(hash(&self.state, &folded(id, &mut scratch)));
        }
        for (id, _) in &judged.damaged {
            ids.insert(hash(&self.state, &folded(without_zeros(id), &mut scratch)));
        }
        if ids.is_empty() {
            return false;
        }
        let numbers: HashSet<u64> = numbers.iter().map(PhoneNumber::as_digits).collect();
        self.ids.iter().any(|id| ids.contains(id))
            || self.numbers.iter().any(|number| numbers.contains(number))
    }
}

/// The ten digits of a cell that holds a number, as [`PhoneNumber::as_digits`] has them; `None` where it can't hold one.
fn digits_of(cell: &str) -> Option<u64> {
    /// The digit in front of eleven that stands for the country.
    const COUNTRY: u64 = 10_000_000_000;
    let digits = cell.bytes().filter(u8::is_ascii_digit);
    let (mut number, mut count) = (0_u64, 0);
    for digit in digits {
        number = number.wrapping_mul(10) + u64::from(digit - b'0');
        count += 1;
    }
    match count {
        10 => Some(number),
        11 => number.checked_sub(COUNTRY).filter(|rest| *rest < COUNTRY),
        _ => None,
    }
}

fn hash(state: &DefaultHashBuilder, text: &(impl Hash + ?Sized)) -> u64 {
    state.hash_one(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_of_a_cell_are_those_of_its_number() {
        for cell in [
            "6045550100",
            " (604) 555-0100",
            "+1 604 555 0100",
            "1-604-555-0100",
            "604\u{2011}555\u{a0}0100",
        ] {
            let number = PhoneNumber::parse(cell.trim()).unwrap();
            assert_eq!(digits_of(cell), Some(number.as_digits()), "{cell}");
        }
        for cell in ["", "604555010", "26045550100", "116045550100"] {
            assert_eq!(digits_of(cell), None, "{cell}");
        }
    }
}
