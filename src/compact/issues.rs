//! Issues of a file in compact form, because nearly every cell may have one.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::coding::{Decoder, Encoder};
use crate::model::catalog::CATALOG;
use crate::model::issue::{Code, Issue, MessageSource, Severity, issue_id, issue_name};

/// Maximum number of issues of a file that are kept. Beyond it, only issues of the whole file and the first error of each row
/// (without its value) are kept, so every row with an error is listed. All others are only counted.
pub const MAX_LISTED: usize = 1_000_000;
/// Maximum size of the kept issues in bytes, with the same effect as [`MAX_LISTED`].
const MAX_LISTED_BYTES: usize = 64 << 20;

/// Encodes [`MessageSource::Stored`]; other values are indexes in the catalog.
const STORED_MESSAGE: u8 = 0xFF;

/// Issues in compact form.
#[derive(Debug, Clone, Default)]
pub struct Issues {
    encoded: Vec<u8>,
    entries: Vec<Entry>,
    /// ID and name of the contacts with issues, by the number that the caller assigned.
    contacts: HashMap<u32, ContactLabel>,
    counts: [usize; Severity::ALL.len()],
    /// The last row whose first error was kept although [`MAX_LISTED`] was exceeded.
    last_overflow_row: Option<u32>,
}

/// Location of an issue in the sheet and in the encoded bytes. Row and column count from 1; 0 means none.
#[derive(Debug, Clone, Copy)]
struct Entry {
    row: u32,
    column: u32,
    offset: u64,
}

#[derive(Debug, Clone, Default)]
struct ContactLabel {
    external_id: Option<String>,
    name: Option<String>,
}

impl Issues {
    /// Number of kept issues.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no issues.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of issues of this severity, including omitted ones.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.counts[severity as usize]
    }

    /// Number of issues that were counted but not kept (see [`MAX_LISTED`]).
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.counts.iter().sum::<usize>() - self.len()
    }

    /// Adds an issue at the end. Its ID and name are cut as [`issue_id`] and [`issue_name`] say.
    pub fn push(&mut self, issue: &Issue) {
        self.add(issue, None);
    }

    /// Adds an issue of a contact whose ID and name are set later with [`Issues::set_contact_names`].
    pub fn push_for_contact(&mut self, contact: u32, issue: &Issue) {
        if self.add(issue, Some(contact)) {
            self.contacts.entry(contact).or_default();
        }
    }

    /// Sets ID and name of the contacts; `identify` returns them for a contact's number.
    pub fn set_contact_names(&mut self, identify: impl Fn(u32) -> (String, Option<String>)) {
        for (number, contact) in &mut self.contacts {
            let (external_id, name) = identify(*number);
            *contact = ContactLabel {
                external_id: Some(issue_id(&external_id).into_owned()),
                name: name.map(|name| issue_name(&name).into_owned()),
            };
        }
    }

    /// Sorts in sheet order: issues of the whole file first, then by row and column.
    pub fn sort(&mut self) {
        self.entries
            .sort_unstable_by_key(|entry| (entry.row, entry.column, entry.offset));
    }

    /// All kept issues in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Issue> {
        self.entries.iter().map(|entry| self.decode(*entry))
    }

    /// Issues of a row, or of the whole file for `None`. The issues must be sorted.
    pub fn issues_of_row(&self, row: Option<u32>) -> impl Iterator<Item = Issue> {
        let row = row.unwrap_or(0);
        let offset = self.entries.partition_point(|entry| entry.row < row);
        let entries = self.entries[offset..].iter();
        entries
            .take_while(move |entry| entry.row == row)
            .map(|entry| self.decode(*entry))
    }

    /// Adds an issue, or only counts it and returns `false`.
    fn add(&mut self, issue: &Issue, contact: Option<u32>) -> bool {
        self.counts[issue.severity as usize] += 1;
        let is_over_limit = self.len() >= MAX_LISTED || self.encoded.len() >= MAX_LISTED_BYTES;
        // Issues of the whole file are always kept, because they may explain the others.
        if is_over_limit && issue.row.is_some() {
            let is_first = issue.severity == Severity::Error && self.last_overflow_row != issue.row;
            if !is_first {
                return false;
            }
            self.last_overflow_row = issue.row;
        }
        self.entries.push(Entry {
            row: issue.row.unwrap_or(0),
            column: issue.column_index.map_or(0, |index| index + 1),
            offset: self.encoded.len() as u64,
        });
        let mut encoder = Encoder(&mut self.encoded);
        match &issue.message_source {
            MessageSource::Catalog {
                finding,
                other,
                row,
            } => {
                encoder.byte(*finding as usize);
                encoder.text(other);
                encoder.count(*row as usize);
            }
            MessageSource::Stored(text) => {
                encoder.byte(usize::from(STORED_MESSAGE));
                encoder.byte(issue.severity as usize);
                encoder.byte(issue.code as usize);
                encoder.text(text);
            }
        }
        encoder.optional(issue.column.as_deref());
        encoder.optional(issue.value.as_deref().filter(|_| !is_over_limit));
        encoder.optional_bytes(issue.row_digest.as_ref().map(<[u8; 32]>::as_slice));
        encoder.count(contact.map_or(0, |contact| contact as usize + 1));
        if contact.is_none() {
            encoder.optional(issue.external_id.as_deref().map(issue_id).as_deref());
            encoder.optional(issue.contact_name.as_deref().map(issue_name).as_deref());
        }
        true
    }

    fn decode(&self, entry: Entry) -> Issue {
        let offset = usize::try_from(entry.offset).unwrap_or(usize::MAX);
        let mut encoded = Decoder(&self.encoded[offset..]);
        let (severity, code, message_source) = match encoded.byte() {
            STORED_MESSAGE => (
                Severity::ALL[usize::from(encoded.byte())],
                Code::ALL[usize::from(encoded.byte())],
                MessageSource::Stored(encoded.text().to_owned()),
            ),
            index => {
                let rule = &CATALOG[usize::from(index)];
                let message_source = MessageSource::Catalog {
                    finding: rule.finding,
                    other: encoded.text().to_owned(),
                    row: encoded.row(),
                };
                (rule.severity, rule.code, message_source)
            }
        };
        let issue = Issue {
            severity,
            code,
            row: (entry.row > 0).then_some(entry.row),
            column: encoded.optional().map(|text| Cow::Owned(text.to_owned())),
            column_index: entry.column.checked_sub(1),
            value: encoded.optional().map(str::to_owned),
            external_id: None,
            contact_name: None,
            message_source,
            row_digest: encoded
                .optional_bytes()
                .and_then(|bytes| bytes.try_into().ok()),
        };
        let (external_id, contact_name) = match encoded.row().checked_sub(1) {
            Some(contact) => {
                let contact = self.contacts.get(&contact).cloned().unwrap_or_default();
                (contact.external_id, contact.name)
            }
            None => (
                encoded.optional().map(str::to_owned),
                encoded.optional().map(str::to_owned),
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
        let mut encoded = Self::default();
        for issue in issues {
            encoded.push(issue.borrow());
        }
        encoded
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
    use crate::model::catalog::Finding;

    fn issue(row: u32, column: u32) -> Issue {
        Issue {
            row: Some(row),
            column: Some("Name".into()),
            column_index: Some(column),
            value: Some("n/a".to_owned()),
            ..Issue::new(Finding::RequiredPlaceholder)
        }
    }

    #[test]
    fn issues_round_trip_in_sheet_order() {
        let originals = [
            Issue::new(Finding::NoFinalNewline),
            Issue {
                value: Some("Hans".to_owned()),
                ..Issue::with_reference(Finding::NumberShared, "ID \u{1F600}", 3)
            },
            Issue {
                row_digest: Some([7; 32]),
                contact_name: Some("Ann".to_owned()),
                ..issue(4, 0)
            },
            Issue {
                external_id: Some("A4".to_owned()),
                message_source: MessageSource::Stored("a message of an older version".to_owned()),
                ..issue(4, 2)
            },
            issue(70_000, 16_383),
        ];
        let mut encoded: Issues = originals.iter().rev().collect();
        encoded.sort();
        // Issues at the same location keep their order.
        let (file, rest) = originals.split_at(2);
        let expected: Vec<&Issue> = file.iter().rev().chain(rest).collect();
        assert!(
            encoded
                .iter()
                .eq(expected.iter().map(|issue| (*issue).clone()))
        );
        assert!(
            encoded
                .issues_of_row(Some(4))
                .eq(originals[2..4].iter().cloned())
        );
        assert_eq!(encoded.issues_of_row(Some(5)).count(), 0);
        assert_eq!(encoded.issues_of_row(None).count(), 2);
        assert_eq!((encoded.len(), encoded.omitted()), (5, 0));
    }

    #[test]
    fn contact_names_are_filled_in_later() {
        let mut issues = Issues::default();
        issues.push_for_contact(8, &issue(2, 0));
        issues.push(&issue(3, 0));
        issues.set_contact_names(|number| (format!("ID {number}"), Some("Ann".to_owned())));
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
    fn long_ids_and_names_are_cut() {
        let (id, name) = ("7".repeat(64 << 10), "n".repeat(1_000));
        let mut issues = Issues::default();
        issues.push(&Issue {
            external_id: Some(id.clone()),
            contact_name: Some(name.clone()),
            ..issue(2, 0)
        });
        issues.push_for_contact(0, &issue(3, 0));
        issues.set_contact_names(|_| (id.clone(), Some(name.clone())));
        for issue in issues.iter() {
            assert_eq!(issue.external_id.as_deref(), Some(&*issue_id(&id)));
            assert_eq!(issue.contact_name.as_deref(), Some(&*issue_name(&name)));
        }
        assert!(issues.encoded.len() < 1_000, "{}", issues.encoded.len());
    }

    #[test]
    fn beyond_limit_each_row_in_error_keeps_one_issue() {
        let warning = Issue {
            row: Some(1),
            ..Issue::new(Finding::OptionalPlaceholder)
        };
        let mut issues = Issues::default();
        for _ in 0..MAX_LISTED {
            issues.push(&warning);
        }
        for row in [2, 2, 3] {
            issues.push(&issue(row, 0));
            issues.push(&warning);
        }
        issues.push(&Issue::new(Finding::NoFinalNewline));
        assert_eq!(issues.len(), MAX_LISTED + 3);
        assert_eq!(issues.omitted(), 4);
        assert_eq!(issues.count(Severity::Error), 3);
        assert_eq!(issues.count(Severity::Warning), MAX_LISTED + 4);
        let rows: Vec<_> = issues
            .iter()
            .skip(MAX_LISTED)
            .map(|issue| issue.row)
            .collect();
        assert_eq!(rows, [Some(2), Some(3), None]);
    }
}
