//! Contacts of a file and what is wrong with them, packed: about as large as their text.

mod coding;
mod issues;

use hashbrown::HashMap;

use coding::{BLANK, END, MORE, NOTHING, Packer, Unpacker};
pub use issues::{Issues, LISTED};

use crate::model::contact::{
    ContactState, ExternalId, FileContact, FileNumber, Number, NumberType, PhoneNumber, Priority,
    Said,
};
use crate::model::digest::TextDigest;
use crate::model::group::name_key;
use crate::model::plan::{Addition, Plan};

/// Contacts packed one after the other into one piece of memory, about as large as their text: a million of them fit
/// where a million structures with strings would not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contacts {
    packed: Vec<u8>,
    /// Where each begins.
    places: Vec<usize>,
    /// Spellings of groups; contacts hold their places here.
    groups: Vec<String>,
    group_of: HashMap<String, u32>,
}

/// A packed contact, by what is needed of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedContact<'a> {
    /// Its ID.
    pub external_id: &'a str,
    unread: Unpacker<'a>,
}

impl Contacts {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a contact at the end.
    pub fn push(&mut self, contact: &FileContact) {
        let mut packing = self.begin(contact.external_id.as_str());
        for number in &contact.numbers {
            packing.number(
                number.number,
                number.number_type,
                number.description.as_deref(),
            );
        }
        packing.keeps_numbers = contact.keeps_numbers;
        packing.fields(
            &contact.name,
            [
                contact.organization_name.as_deref(),
                contact.title.as_deref(),
                contact.email.as_deref(),
            ],
            contact.priority,
        );
        packing.finish(contact.groups.iter().map(String::as_str), &contact.rows);
    }

    /// The contact at a place, counted from 0.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn get(&self, place: usize) -> FileContact {
        self.packed(place).unpack(&self.groups)
    }

    /// The packed contact at a place, counted from 0.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn packed(&self, place: usize) -> PackedContact<'_> {
        let mut unread = Unpacker(&self.packed[self.places[place]..]);
        PackedContact {
            external_id: unread.text(),
            unread,
        }
    }

    /// The contact at a place, counted from 0, as one that is new: what the file says nothing of is empty. `group_of` holds the
    /// place of each spelling in the group table.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn state(&self, place: usize, group_of: &[Option<u32>]) -> ContactState<&str> {
        self.packed(place).state(group_of)
    }

    /// All contacts in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = FileContact> + '_ {
        (0..self.len()).map(|place| self.get(place))
    }

    /// Digest of all that is kept of each contact, equal to that of [`ContactState`] where that
    /// is what the file says; `None` where the file says nothing of a field, so that it depends on what is stored.
    #[must_use]
    pub fn digests(&self) -> Vec<Option<[u8; 32]>> {
        let keys: Vec<String> = self.groups.iter().map(|name| name_key(name)).collect();
        let mut digest = TextDigest::default();
        (0..self.len())
            .map(|place| {
                let all_said = self.packed(place).digest(&keys, &mut digest).is_some();
                let digest = digest.finish();
                all_said.then_some(digest)
            })
            .collect()
    }

    /// The groups of a contact, as places in [`Contacts::group_names`].
    pub fn groups_of(&self, place: usize) -> impl Iterator<Item = usize> {
        let mut unread = self.packed(place).behind_fields();
        (0..unread.count()).map(move |_| unread.count())
    }

    /// Every spelling of a group that was ever added.
    #[must_use]
    pub fn group_names(&self) -> &[String] {
        &self.groups
    }

    /// The contacts that `plan`, made for these contacts, adds; in the plan's order.
    pub fn additions<'a>(&'a self, plan: &'a Plan) -> impl ExactSizeIterator<Item = Addition<'a>> {
        plan.added.iter().map(|place| Addition {
            after: self.state(*place, &plan.group_of),
            row: self.packed(*place).first_row(),
        })
    }

    /// Puts the contacts at these places in this order, and drops the others.
    pub fn arrange(&mut self, order: &[usize]) {
        self.places = order.iter().map(|place| self.places[*place]).collect();
    }

    /// Begins a contact at the end; it is forgotten again unless it is finished.
    pub fn begin(&mut self, external_id: &str) -> Packing<'_> {
        let start = self.packed.len();
        let mut packing = Packing {
            contacts: self,
            start,
            keeps_numbers: false,
            finished: false,
        };
        packing.out().text(external_id);
        packing
    }
}

/// A contact that is being packed: its numbers, then its other fields, then its groups, then its rows.
#[derive(Debug)]
pub struct Packing<'a> {
    contacts: &'a mut Contacts,
    start: usize,
    /// See [`FileContact::keeps_numbers`].
    keeps_numbers: bool,
    finished: bool,
}

impl Packing<'_> {
    fn out(&mut self) -> Packer<'_> {
        Packer(&mut self.contacts.packed)
    }

    /// Takes the next number.
    pub fn number(
        &mut self,
        number: PhoneNumber,
        number_type: NumberType,
        description: Said<Option<&str>>,
    ) {
        let mut out = self.out();
        out.0.push(MORE);
        out.0.extend_from_slice(number.as_bytes());
        out.0.push(number_type as u8);
        out.said_text(description);
    }

    /// Takes the fields of which there is one.
    pub fn fields(
        &mut self,
        name: &str,
        texts: [Said<Option<&str>>; 3],
        priority: Said<Option<Priority>>,
    ) {
        let keeps_numbers = u8::from(self.keeps_numbers);
        let mut out = self.out();
        out.0.extend([END, keeps_numbers]);
        out.text(name);
        for text in texts {
            out.said_text(text);
        }
        out.0.push(match priority {
            Said::Nothing => NOTHING,
            Said::This(None) => BLANK,
            Said::This(Some(priority)) => priority as u8,
        });
    }

    /// Takes all groups, and is a contact from now on.
    pub fn finish<'g>(mut self, groups: impl ExactSizeIterator<Item = &'g str>, rows: &[u32]) {
        let count = groups.len();
        self.out().count(count);
        for name in groups {
            let group = self.contacts.group(name);
            self.out().count(group as usize);
        }
        let mut out = self.out();
        out.count(rows.len());
        for row in rows {
            out.count(*row as usize);
        }
        self.contacts.places.push(self.start);
        self.finished = true;
    }
}

impl Drop for Packing<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.contacts.packed.truncate(self.start);
        }
    }
}

impl Contacts {
    /// The place of a spelling.
    fn group(&mut self, name: &str) -> u32 {
        if let Some(group) = self.group_of.get(name) {
            return *group;
        }
        let group = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        self.groups.push(name.to_owned());
        self.group_of.insert(name.to_owned(), group);
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
        let mut packed = Self::default();
        packed.extend(contacts);
        packed
    }
}

impl<'a> PackedContact<'a> {
    /// Its numbers, in order.
    pub fn numbers(self) -> impl Iterator<Item = PhoneNumber> {
        let mut unread = self.unread;
        std::iter::from_fn(move || {
            let (number, ..) = unread.number()?;
            Some(number)
        })
    }

    /// What is packed behind the fields of which there is one: groups and rows.
    fn behind_fields(self) -> Unpacker<'a> {
        let mut unread = self.unread;
        while unread.pass_number() {}
        unread.byte();
        unread.bytes();
        for _ in 0..3 {
            unread.said_bytes();
        }
        unread.byte();
        unread
    }

    /// Adds what is kept of it to a digest; `None` where the file says nothing of a field.
    fn digest(self, group_keys: &[String], digest: &mut TextDigest) -> Option<()> {
        let mut numbers = self.unread;
        let mut unread = self.unread;
        while unread.pass_number() {}
        if unread.byte() != 0 {
            return None;
        }
        digest.push(Some(self.external_id));
        digest.push_bytes(Some(unread.bytes()));
        for _ in 0..3 {
            digest.push_bytes(said(unread.said_bytes())?);
        }
        let priority = said(unread.priority())?.unwrap_or_default();
        digest.push(Some(priority.as_str()));
        while let Some((number, number_type, description)) = numbers.number() {
            digest.push(Some(number.as_str()));
            digest.push(Some(number_type.as_str()));
            digest.push(said(description)?);
        }
        digest.push(None);
        let count = unread.count();
        let mut keys: Vec<&str> = (0..count)
            .map(|_| group_keys[unread.count()].as_str())
            .collect();
        keys.sort_unstable();
        for key in keys {
            digest.push(Some(key));
        }
        Some(())
    }

    /// The first row it came from.
    #[must_use]
    pub fn first_row(self) -> u32 {
        let mut unread = self.behind_fields();
        for _ in 0..unread.count() {
            unread.count();
        }
        unread.count();
        unread.row()
    }

    fn state(self, group_of: &[Option<u32>]) -> ContactState<&'a str> {
        let mut unread = self.unread;
        let mut numbers = Vec::new();
        while let Some((number, number_type, description)) = unread.number() {
            numbers.push(Number {
                number,
                number_type,
                description: said(description).flatten(),
            });
        }
        unread.byte();
        let name = unread.text();
        let [organization_name, title, email] =
            [(); 3].map(|()| said(unread.said_text()).flatten());
        let priority = said(unread.priority()).flatten();
        let mut groups: Vec<u32> = (0..unread.count())
            .filter_map(|_| group_of[unread.count()])
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

    fn unpack(self, groups: &[String]) -> FileContact {
        let mut unread = self.unread;
        let owned = |said: Said<Option<&str>>| match said {
            Said::Nothing => Said::Nothing,
            Said::This(text) => Said::This(text.map(str::to_owned)),
        };
        let mut numbers = Vec::new();
        while let Some((number, number_type, description)) = unread.number() {
            numbers.push(FileNumber {
                number,
                number_type,
                description: owned(description),
            });
        }
        let keeps_numbers = unread.byte() != 0;
        FileContact {
            external_id: ExternalId::stored(self.external_id.to_owned()),
            numbers,
            keeps_numbers,
            name: unread.text().to_owned(),
            organization_name: owned(unread.said_text()),
            title: owned(unread.said_text()),
            email: owned(unread.said_text()),
            priority: unread.priority(),
            groups: (0..unread.count())
                .map(|_| groups[unread.count()].clone())
                .collect(),
            rows: (0..unread.count()).map(|_| unread.row()).collect(),
        }
    }
}

fn said<T>(said: Said<T>) -> Option<T> {
    match said {
        Said::Nothing => None,
        Said::This(value) => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(id: &str, groups: &[&str]) -> FileContact {
        FileContact {
            external_id: ExternalId::stored(id.to_owned()),
            name: "Zoë".to_owned(),
            organization_name: Said::Nothing,
            title: Said::This(None),
            email: Said::This(Some("a".repeat(300))),
            priority: Said::This(Some(Priority::Low)),
            numbers: [NumberType::Pager, NumberType::Mobile]
                .map(|number_type| FileNumber {
                    number: PhoneNumber::stored("6045550100"),
                    number_type,
                    description: Said::This(Some("x".to_owned())),
                })
                .to_vec(),
            keeps_numbers: id == "2",
            groups: groups.iter().map(|&name| name.to_owned()).collect(),
            rows: vec![2, 1_000_000],
        }
    }

    #[test]
    fn contacts_come_out_as_they_went_in() {
        let (mut one, two) = (contact("1", &["A", "B"]), contact("2", &["B", "C"]));
        one.priority = Said::Nothing;
        let mut contacts: Contacts = [one.clone(), two.clone()].into_iter().collect();
        assert_eq!(
            contacts.iter().collect::<Vec<_>>(),
            [one.clone(), two.clone()]
        );
        let packed = contacts.packed(0);
        assert_eq!((packed.external_id, packed.first_row()), ("1", 2));
        assert_eq!(
            packed.numbers().collect::<Vec<_>>(),
            [PhoneNumber::stored("6045550100"); 2]
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
                        number: PhoneNumber::stored("6045550100"),
                        number_type,
                        description: Some("x"),
                    })
                    .to_vec(),
                groups: vec![3, 7],
            }
        );
        // Two spellings of one group are one group.
        assert_eq!(contacts.state(1, &[None, Some(3), Some(3)]).groups, [3]);
        contacts.push(&one);
        contacts.arrange(&[2, 1]);
        assert_eq!(contacts.iter().collect::<Vec<_>>(), [one, two]);
    }
}
