//! Issues of a sheet, packed: it may be wrong in nearly every cell.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::coding::{Packer, Unpacker};
use crate::model::catalogue::CATALOGUE;
use crate::model::issue::{Code, Issue, Severity, Wording};

/// So many issues of a sheet are kept, whatever they are; beyond them what is about the file, and the first error of each row
/// without its value, so that a row in error is always named. The others are counted.
pub const LISTED: usize = 1_000_000;
/// The same for their size, bytes.
const LISTED_BYTES: usize = 64 << 20;

/// Stands for a wording that was stored instead of a place in the catalogue.
const STORED: u8 = 0xFF;

/// Many issues, about as large as what they tell.
#[derive(Debug, Clone, Default)]
pub struct Issues {
    packed: Vec<u8>,
    entries: Vec<Entry>,
    /// By the number that those who collect issues give a contact.
    contacts: HashMap<u32, Contact>,
    counts: [usize; Severity::ALL.len()],
    /// The last row of which an error was kept beyond [`LISTED`].
    beyond: Option<u32>,
}

/// Where an issue begins; its row and column from 1, 0 for none.
#[derive(Debug, Clone, Copy)]
struct Entry {
    row: u32,
    column: u32,
    begin: u64,
}

#[derive(Debug, Clone, Default)]
struct Contact {
    external_id: Option<String>,
    name: Option<String>,
}

impl Issues {
    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of this severity were found, whether they are kept or not.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.counts[severity as usize]
    }

    /// How many were counted only, because there are more than [`LISTED`].
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.counts.iter().sum::<usize>() - self.len()
    }

    /// Adds an issue at the end.
    pub fn push(&mut self, issue: &Issue) {
        self.add(issue, None);
    }

    /// Adds an issue of a contact, which is named later ([`Issues::name_contacts`]).
    pub fn push_of(&mut self, contact: u32, issue: &Issue) {
        if self.add(issue, Some(contact)) {
            self.contacts.entry(contact).or_default();
        }
    }

    /// Says who the contacts are: ID and name of each.
    pub fn name_contacts(&mut self, who: impl Fn(u32) -> (String, Option<String>)) {
        for (number, contact) in &mut self.contacts {
            let (external_id, name) = who(*number);
            *contact = Contact {
                external_id: Some(external_id),
                name,
            };
        }
    }

    /// Brings them into the order of the sheet: what is about the file first, then by row and column.
    pub fn sort(&mut self) {
        self.entries
            .sort_unstable_by_key(|entry| (entry.row, entry.column, entry.begin));
    }

    /// All that are kept, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Issue> {
        self.entries.iter().map(|entry| self.unpack(*entry))
    }

    /// Those of a row, or of the file as a whole, once they are sorted.
    pub fn of_row(&self, row: Option<u32>) -> impl Iterator<Item = Issue> {
        let row = row.unwrap_or(0);
        let begin = self.entries.partition_point(|entry| entry.row < row);
        let entries = self.entries[begin..].iter();
        entries
            .take_while(move |entry| entry.row == row)
            .map(|entry| self.unpack(*entry))
    }

    /// Adds an issue, unless it is only counted.
    fn add(&mut self, issue: &Issue, contact: Option<u32>) -> bool {
        self.counts[issue.severity as usize] += 1;
        let beyond = self.len() >= LISTED || self.packed.len() >= LISTED_BYTES;
        // What is about the file may explain all the rest.
        if beyond && issue.row.is_some() {
            let is_first = issue.severity == Severity::Error && self.beyond != issue.row;
            if !is_first {
                return false;
            }
            self.beyond = issue.row;
        }
        self.entries.push(Entry {
            row: issue.row.unwrap_or(0),
            column: issue.column_place.map_or(0, |place| place + 1),
            begin: self.packed.len() as u64,
        });
        let mut packer = Packer(&mut self.packed);
        match &issue.wording {
            Wording::Catalogue {
                finding,
                other,
                row,
            } => {
                packer.byte(*finding as usize);
                packer.text(other);
                packer.count(*row as usize);
            }
            Wording::Stored(text) => {
                packer.byte(usize::from(STORED));
                packer.byte(issue.severity as usize);
                packer.byte(issue.code as usize);
                packer.text(text);
            }
        }
        packer.optional(issue.column.as_deref());
        packer.optional(issue.value.as_deref().filter(|_| !beyond));
        packer.optional_bytes(issue.row_digest.as_ref().map(<[u8; 32]>::as_slice));
        packer.count(contact.map_or(0, |contact| contact as usize + 1));
        if contact.is_none() {
            packer.optional(issue.external_id.as_deref());
            packer.optional(issue.contact_name.as_deref());
        }
        true
    }

    fn unpack(&self, entry: Entry) -> Issue {
        let begin = usize::try_from(entry.begin).unwrap_or(usize::MAX);
        let mut packed = Unpacker(&self.packed[begin..]);
        let (severity, code, wording) = match packed.byte() {
            STORED => (
                Severity::ALL[usize::from(packed.byte())],
                Code::ALL[usize::from(packed.byte())],
                Wording::Stored(packed.text().to_owned()),
            ),
            place => {
                let rule = &CATALOGUE[usize::from(place)];
                let wording = Wording::Catalogue {
                    finding: rule.finding,
                    other: packed.text().to_owned(),
                    row: packed.row(),
                };
                (rule.severity, rule.code, wording)
            }
        };
        let issue = Issue {
            severity,
            code,
            row: (entry.row > 0).then_some(entry.row),
            column: packed.optional().map(|text| Cow::Owned(text.to_owned())),
            column_place: entry.column.checked_sub(1),
            value: packed.optional().map(str::to_owned),
            external_id: None,
            contact_name: None,
            wording,
            row_digest: packed
                .optional_bytes()
                .and_then(|bytes| bytes.try_into().ok()),
        };
        let (external_id, contact_name) = match packed.row().checked_sub(1) {
            Some(contact) => {
                let contact = self.contacts.get(&contact).cloned().unwrap_or_default();
                (contact.external_id, contact.name)
            }
            None => (
                packed.optional().map(str::to_owned),
                packed.optional().map(str::to_owned),
            ),
        };
        Issue {
            external_id,
            contact_name,
            ..issue
        }
    }
}

impl<I: std::borrow::Borrow<Issue>> FromIterator<I> for Issues {
    fn from_iter<T: IntoIterator<Item = I>>(issues: T) -> Self {
        let mut packed = Self::default();
        for issue in issues {
            packed.push(issue.borrow());
        }
        packed
    }
}

impl PartialEq for Issues {
    fn eq(&self, other: &Self) -> bool {
        self.counts == other.counts && self.iter().eq(other.iter())
    }
}

impl Eq for Issues {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalogue::Finding;

    fn issue(row: u32, column: u32) -> Issue {
        Issue {
            row: Some(row),
            column: Some("Name".into()),
            column_place: Some(column),
            value: Some("n/a".to_owned()),
            ..Issue::new(Finding::RequiredPlaceholder)
        }
    }

    #[test]
    fn what_is_packed_comes_out_again_in_the_order_of_the_sheet() {
        let whole = [
            Issue::new(Finding::NoFinalNewline),
            Issue {
                value: Some("Hans".to_owned()),
                ..Issue::clashing(Finding::NumberShared, "ID \u{1F600}", 3)
            },
            Issue {
                row_digest: Some([7; 32]),
                contact_name: Some("Ann".to_owned()),
                ..issue(4, 0)
            },
            Issue {
                external_id: Some("A4".to_owned()),
                wording: Wording::Stored("as an older version said it".to_owned()),
                ..issue(4, 2)
            },
            issue(70_000, 16_383),
        ];
        let mut packed: Issues = whole.iter().rev().collect();
        packed.sort();
        // What stands at the same place keeps its order.
        let (file, rest) = whole.split_at(2);
        let expected: Vec<&Issue> = file.iter().rev().chain(rest).collect();
        assert!(
            packed
                .iter()
                .eq(expected.iter().map(|issue| (*issue).clone()))
        );
        assert!(packed.of_row(Some(4)).eq(whole[2..4].iter().cloned()));
        assert_eq!(packed.of_row(Some(5)).count(), 0);
        assert_eq!(packed.of_row(None).count(), 2);
        assert_eq!((packed.len(), packed.omitted()), (5, 0));
    }

    #[test]
    fn contacts_are_named_in_the_end() {
        let mut issues = Issues::default();
        issues.push_of(8, &issue(2, 0));
        issues.push(&issue(3, 0));
        issues.name_contacts(|number| (format!("ID {number}"), Some("Ann".to_owned())));
        let named: Vec<_> = issues
            .iter()
            .map(|i| (i.external_id, i.contact_name))
            .collect();
        assert_eq!(
            named,
            [
                (Some("ID 8".to_owned()), Some("Ann".to_owned())),
                (None, None)
            ]
        );
    }

    #[test]
    fn beyond_the_limit_a_row_in_error_is_still_named_and_all_are_counted() {
        let warning = Issue {
            row: Some(1),
            ..Issue::new(Finding::OptionalPlaceholder)
        };
        let mut issues = Issues::default();
        for _ in 0..LISTED {
            issues.push(&warning);
        }
        for row in [2, 2, 3] {
            issues.push(&issue(row, 0));
            issues.push(&warning);
        }
        issues.push(&Issue::new(Finding::NoFinalNewline));
        assert_eq!(issues.len(), LISTED + 3);
        assert_eq!(issues.omitted(), 4);
        assert_eq!(issues.count(Severity::Error), 3);
        assert_eq!(issues.count(Severity::Warning), LISTED + 4);
        let rows: Vec<_> = issues.iter().skip(LISTED).map(|issue| issue.row).collect();
        assert_eq!(rows, [Some(2), Some(3), None]);
    }
}
