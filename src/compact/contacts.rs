//! Contacts of a file in one buffer.

use hashbrown::HashMap;

use super::coding::{BLANK_PRIORITY, Decoder, Encoder, KEEP_STORED, NUMBER_FOLLOWS, NUMBERS_END};

use crate::model::contact::{
    ContactState, ExternalId, FieldUpdate, FileContact, FileNumber, Number, NumberType,
    PhoneNumber, Priority,
};
use crate::model::digest::TextDigest;
use crate::model::group::name_key;
use crate::model::plan::{Addition, Plan};

/// Contacts encoded in one buffer, about as large as their text. A million contacts need far less memory than as structures
/// with strings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contacts {
    encoded: Vec<u8>,
    /// Offset of each contact in `encoded`.
    offsets: Vec<usize>,
    /// Spellings of groups. Contacts refer to them by their index here.
    groups: Vec<String>,
    group_index: HashMap<String, u32>,
}

/// An encoded contact whose fields can be decoded one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedContact<'a> {
    /// ID in the spreadsheet.
    pub external_id: &'a str,
    decoder: Decoder<'a>,
}

impl Contacts {
    /// Number of contacts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are no contacts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Adds a contact at the end.
    pub fn push(&mut self, contact: &FileContact) {
        let mut encoder = self.begin_contact(contact.external_id.as_str());
        for number in &contact.numbers {
            encoder.number(
                number.number,
                number.number_type,
                number.description.as_deref(),
            );
        }
        encoder.keep_stored_numbers = contact.keep_stored_numbers;
        encoder.fields(
            &contact.name,
            [
                contact.organization_name.as_deref(),
                contact.title.as_deref(),
                contact.email.as_deref(),
            ],
            contact.priority,
        );
        encoder.finish(contact.groups.iter().map(String::as_str), &contact.rows);
    }

    /// The contact at an index, from 0.
    ///
    /// # Panics
    /// If the index is out of bounds.
    #[must_use]
    pub fn get(&self, index: usize) -> FileContact {
        self.encoded(index).decode(&self.groups)
    }

    /// The encoded contact at an index, from 0.
    ///
    /// # Panics
    /// If the index is out of bounds.
    #[must_use]
    pub fn encoded(&self, index: usize) -> EncodedContact<'_> {
        let mut decoder = Decoder(&self.encoded[self.offsets[index]..]);
        EncodedContact {
            external_id: decoder.text(),
            decoder,
        }
    }

    /// The state of the contact at an index, from 0, as a new contact: fields that the file does not set are empty.
    /// `group_index` contains the index of each spelling in the plan's group table.
    ///
    /// # Panics
    /// If the index is out of bounds.
    #[must_use]
    pub fn state(&self, index: usize, group_index: &[Option<u32>]) -> ContactState<&str> {
        self.encoded(index).state(group_index)
    }

    /// All contacts in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = FileContact> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// SHA-256 of each contact's data, equal to [`Plan::digest`] of the same data. `None` if the file does not set all fields,
    /// because the result then depends on the stored contact.
    #[must_use]
    pub fn digests(&self) -> Vec<Option<[u8; 32]>> {
        let keys: Vec<String> = self.groups.iter().map(|name| name_key(name)).collect();
        let mut digest = TextDigest::default();
        (0..self.len())
            .map(|index| {
                let is_complete = self.encoded(index).digest(&keys, &mut digest).is_some();
                let digest = digest.finish();
                is_complete.then_some(digest)
            })
            .collect()
    }

    /// The groups of a contact, as indexes in [`Contacts::group_names`].
    pub fn groups_of(&self, index: usize) -> impl Iterator<Item = usize> {
        let mut decoder = self.encoded(index).groups_and_rows();
        (0..decoder.count()).map(move |_| decoder.count())
    }

    /// All spellings of groups, including those of dropped contacts.
    #[must_use]
    pub fn group_names(&self) -> &[String] {
        &self.groups
    }

    /// The contacts that `plan` adds, in the plan's order. The plan must have been made for these contacts.
    #[must_use]
    pub fn additions<'a>(&'a self, plan: &'a Plan) -> impl ExactSizeIterator<Item = Addition<'a>> {
        plan.added.iter().map(|index| Addition {
            after: self.state(*index, &plan.group_index),
            row: self.encoded(*index).first_row(),
        })
    }

    /// Keeps only the contacts at these indexes, in this order.
    pub fn reorder(&mut self, order: &[usize]) {
        self.offsets = order.iter().map(|index| self.offsets[*index]).collect();
    }

    /// Starts a contact at the end. It is discarded unless [`ContactEncoder::finish`] is called.
    pub fn begin_contact(&mut self, external_id: &str) -> ContactEncoder<'_> {
        let start = self.encoded.len();
        let mut encoder = ContactEncoder {
            contacts: self,
            start,
            keep_stored_numbers: false,
            finished: false,
        };
        encoder.out().text(external_id);
        encoder
    }
}

/// Encodes one contact. Call [`number`](Self::number) for each number, then [`fields`](Self::fields), then
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct ContactEncoder<'a> {
    contacts: &'a mut Contacts,
    start: usize,
    /// See [`FileContact::keep_stored_numbers`].
    keep_stored_numbers: bool,
    finished: bool,
}

impl ContactEncoder<'_> {
    fn out(&mut self) -> Encoder<'_> {
        Encoder(&mut self.contacts.encoded)
    }

    /// Adds a number.
    pub fn number(
        &mut self,
        number: PhoneNumber,
        number_type: NumberType,
        description: FieldUpdate<Option<&str>>,
    ) {
        let mut out = self.out();
        out.0.push(NUMBER_FOLLOWS);
        out.0.extend_from_slice(number.as_bytes());
        out.0.push(number_type as u8);
        out.text_update(description);
    }

    /// Adds the other fields; `texts` are organization name, title and email address.
    pub fn fields(
        &mut self,
        name: &str,
        texts: [FieldUpdate<Option<&str>>; 3],
        priority: FieldUpdate<Option<Priority>>,
    ) {
        let keep_stored_numbers = u8::from(self.keep_stored_numbers);
        let mut out = self.out();
        out.0.extend([NUMBERS_END, keep_stored_numbers]);
        out.text(name);
        for text in texts {
            out.text_update(text);
        }
        out.0.push(match priority {
            FieldUpdate::Keep => KEEP_STORED,
            FieldUpdate::Set(None) => BLANK_PRIORITY,
            FieldUpdate::Set(Some(priority)) => priority as u8,
        });
    }

    /// Adds groups and row numbers, and completes the contact.
    pub fn finish<'g>(mut self, groups: impl ExactSizeIterator<Item = &'g str>, rows: &[u32]) {
        let count = groups.len();
        self.out().count(count);
        for name in groups {
            let group = self.contacts.intern_group(name);
            self.out().count(group as usize);
        }
        let mut out = self.out();
        out.count(rows.len());
        for row in rows {
            out.count(*row as usize);
        }
        self.contacts.offsets.push(self.start);
        self.finished = true;
    }
}

impl Drop for ContactEncoder<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.contacts.encoded.truncate(self.start);
        }
    }
}

impl Contacts {
    /// Returns the index of a spelling, and adds it if it is new.
    fn intern_group(&mut self, name: &str) -> u32 {
        if let Some(group) = self.group_index.get(name) {
            return *group;
        }
        let group = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        self.groups.push(name.to_owned());
        self.group_index.insert(name.to_owned(), group);
        group
    }
}

impl Extend<FileContact> for Contacts {
    fn extend<T: IntoIterator<Item = FileContact>>(&mut self, contacts: T) {
        for contact in contacts {
            self.push(&contact);
        }
    }
}

impl FromIterator<FileContact> for Contacts {
    fn from_iter<T: IntoIterator<Item = FileContact>>(contacts: T) -> Self {
        let mut encoded = Self::default();
        encoded.extend(contacts);
        encoded
    }
}

impl<'a> EncodedContact<'a> {
    /// Its numbers, in order.
    pub fn numbers(self) -> impl Iterator<Item = PhoneNumber> {
        let mut decoder = self.decoder;
        std::iter::from_fn(move || {
            let (number, ..) = decoder.number()?;
            Some(number)
        })
    }

    /// A decoder positioned at the groups, which are followed by the rows.
    fn groups_and_rows(self) -> Decoder<'a> {
        let mut decoder = self.decoder;
        while decoder.skip_number() {}
        decoder.byte();
        decoder.bytes();
        for _ in 0..3 {
            decoder.bytes_update();
        }
        decoder.byte();
        decoder
    }

    /// Adds the contact's data to a digest; `None` if the file does not set all fields.
    fn digest(self, group_keys: &[String], digest: &mut TextDigest) -> Option<()> {
        let mut numbers = self.decoder;
        let mut decoder = self.decoder;
        while decoder.skip_number() {}
        if decoder.byte() != 0 {
            return None;
        }
        digest.push(Some(self.external_id));
        digest.push_bytes(Some(decoder.bytes()));
        for _ in 0..3 {
            digest.push_bytes(set_value(decoder.bytes_update())?);
        }
        let priority = set_value(decoder.priority())?.unwrap_or_default();
        digest.push(Some(priority.as_str()));
        while let Some((number, number_type, description)) = numbers.number() {
            digest.push(Some(number.as_str()));
            digest.push(Some(number_type.as_str()));
            digest.push(set_value(description)?);
        }
        digest.push(None);
        let count = decoder.count();
        let mut keys: Vec<&str> = (0..count)
            .map(|_| group_keys[decoder.count()].as_str())
            .collect();
        keys.sort_unstable();
        for key in keys {
            digest.push(Some(key));
        }
        Some(())
    }

    /// Number of its first row in the file.
    #[must_use]
    pub fn first_row(self) -> u32 {
        let mut decoder = self.groups_and_rows();
        for _ in 0..decoder.count() {
            decoder.count();
        }
        decoder.count();
        decoder.row()
    }

    fn state(self, group_index: &[Option<u32>]) -> ContactState<&'a str> {
        let mut decoder = self.decoder;
        let mut numbers = Vec::new();
        while let Some((number, number_type, description)) = decoder.number() {
            numbers.push(Number {
                number,
                number_type,
                description: set_value(description).flatten(),
            });
        }
        decoder.byte();
        let name = decoder.text();
        let [organization_name, title, email] =
            [(); 3].map(|()| set_value(decoder.text_update()).flatten());
        let priority = set_value(decoder.priority()).flatten();
        let mut groups: Vec<u32> = (0..decoder.count())
            .filter_map(|_| group_index[decoder.count()])
            .collect();
        groups.sort_unstable();
        groups.dedup();
        ContactState {
            external_id: Some(self.external_id),
            name,
            organization_name,
            title,
            email,
            priority: priority.unwrap_or_default(),
            numbers,
            groups,
        }
    }

    fn decode(self, groups: &[String]) -> FileContact {
        let mut decoder = self.decoder;
        let owned = |update: FieldUpdate<Option<&str>>| match update {
            FieldUpdate::Keep => FieldUpdate::Keep,
            FieldUpdate::Set(text) => FieldUpdate::Set(text.map(str::to_owned)),
        };
        let mut numbers = Vec::new();
        while let Some((number, number_type, description)) = decoder.number() {
            numbers.push(FileNumber {
                number,
                number_type,
                description: owned(description),
            });
        }
        let keep_stored_numbers = decoder.byte() != 0;
        FileContact {
            external_id: ExternalId::from_stored(self.external_id.to_owned()),
            numbers,
            keep_stored_numbers,
            name: decoder.text().to_owned(),
            organization_name: owned(decoder.text_update()),
            title: owned(decoder.text_update()),
            email: owned(decoder.text_update()),
            priority: decoder.priority(),
            groups: (0..decoder.count())
                .map(|_| groups[decoder.count()].clone())
                .collect(),
            rows: (0..decoder.count()).map(|_| decoder.row()).collect(),
        }
    }
}

fn set_value<T>(update: FieldUpdate<T>) -> Option<T> {
    match update {
        FieldUpdate::Keep => None,
        FieldUpdate::Set(value) => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(id: &str, groups: &[&str]) -> FileContact {
        FileContact {
            external_id: ExternalId::from_stored(id.to_owned()),
            name: "Zoë".to_owned(),
            organization_name: FieldUpdate::Keep,
            title: FieldUpdate::Set(None),
            email: FieldUpdate::Set(Some("a".repeat(300))),
            priority: FieldUpdate::Set(Some(Priority::Low)),
            numbers: [NumberType::Pager, NumberType::Mobile]
                .map(|number_type| FileNumber {
                    number: PhoneNumber::from_stored("6045550100"),
                    number_type,
                    description: FieldUpdate::Set(Some("x".to_owned())),
                })
                .to_vec(),
            keep_stored_numbers: id == "2",
            groups: groups.iter().map(|&name| name.to_owned()).collect(),
            rows: vec![2, 1_000_000],
        }
    }

    #[test]
    fn contacts_round_trip() {
        let (mut one, two) = (contact("1", &["A", "B"]), contact("2", &["B", "C"]));
        one.priority = FieldUpdate::Keep;
        let mut contacts: Contacts = [one.clone(), two.clone()].into_iter().collect();
        assert_eq!(
            contacts.iter().collect::<Vec<_>>(),
            [one.clone(), two.clone()]
        );
        let encoded = contacts.encoded(0);
        assert_eq!((encoded.external_id, encoded.first_row()), ("1", 2));
        assert_eq!(
            encoded.numbers().collect::<Vec<_>>(),
            [PhoneNumber::from_stored("6045550100"); 2]
        );
        assert_eq!(
            contacts.state(0, &[Some(7), Some(3), None]),
            ContactState {
                external_id: Some("1"),
                name: "Zoë",
                organization_name: None,
                title: None,
                email: Some("a".repeat(300).as_str()),
                priority: Priority::Normal,
                numbers: [NumberType::Pager, NumberType::Mobile]
                    .map(|number_type| Number {
                        number: PhoneNumber::from_stored("6045550100"),
                        number_type,
                        description: Some("x"),
                    })
                    .to_vec(),
                groups: vec![3, 7],
            }
        );
        // Two spellings of a group count once.
        assert_eq!(contacts.state(1, &[None, Some(3), Some(3)]).groups, [3]);
        contacts.push(&one);
        contacts.reorder(&[2, 1]);
        assert_eq!(contacts.iter().collect::<Vec<_>>(), [one, two]);
    }
}
