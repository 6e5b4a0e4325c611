//! The JSON output of `check` and `import --dry-run` (SPEC §9). It is serialized as a stream, because a file may have a million
//! contacts.

use serde::ser::{Serialize, Serializer};

use super::plan_summary::PlanSummary;
use crate::compact::{Contacts, Issues};
use crate::import::{ParsedFile, Preview};
use crate::model::contact::{ExternalId, FieldUpdate, FileContact, FileNumber, Number, Priority};
use crate::model::digest::hex;
use crate::model::failure::Failure;

/// The JSON document.
#[derive(serde::Serialize)]
pub(super) struct Document<'a> {
    file: File<'a>,
    failure: Option<Failure>,
    contacts: ContactSeq<'a>,
    issues: IssueSeq<'a>,
    /// Number of issues that are not listed because there are too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    issues_omitted: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanSummary>,
}

#[derive(Default, serde::Serialize)]
struct File<'a> {
    format: Option<&'static str>,
    encoding: Option<&'static str>,
    delimiter: Option<char>,
    sheet: Option<&'a str>,
    rows: Option<usize>,
    sha256: Option<String>,
}

struct ContactSeq<'a>(Option<&'a Contacts>);

impl Serialize for ContactSeq<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .iter()
                .flat_map(|contacts| contacts.iter())
                .map(Contact::from),
        )
    }
}

struct IssueSeq<'a>(Option<&'a Issues>);

impl Serialize for IssueSeq<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().flat_map(|issues| issues.iter()))
    }
}

impl<'a> Document<'a> {
    pub(super) fn new(preview: &'a Preview) -> Self {
        let sha256 = preview.file.sha256.map(|digest| hex(&digest));
        let (file, contacts, issues) = match preview.parsed_file.as_deref() {
            Err(_) => (File::default(), None, None),
            Ok(ParsedFile { info, sheet, .. }) => (
                File {
                    format: Some(info.format.format),
                    encoding: info.format.encoding,
                    delimiter: info.format.delimiter,
                    sheet: info.format.sheet.as_deref(),
                    rows: Some(sheet.row_count),
                    sha256: None,
                },
                Some(&sheet.contacts),
                Some(&sheet.issues),
            ),
        };
        Self {
            file: File { sha256, ..file },
            failure: preview.failure(),
            contacts: ContactSeq(contacts),
            issues: IssueSeq(issues),
            issues_omitted: issues.map(Issues::omitted).filter(|count| *count > 0),
            plan: preview
                .plan
                .as_ref()
                .zip(contacts)
                .map(|(plan, contacts)| PlanSummary::new(plan, contacts)),
        }
    }
}

/// A contact in the form of SPEC §9.
#[derive(serde::Serialize)]
struct Contact {
    external_id: ExternalId,
    name: String,
    organization_name: Option<String>,
    title: Option<String>,
    email: Option<String>,
    notification_priority: Priority,
    numbers: Vec<Number>,
    groups: Vec<String>,
    rows: Vec<u32>,
}

impl From<FileContact> for Contact {
    fn from(contact: FileContact) -> Self {
        let number = |number: FileNumber| Number {
            number: number.number,
            number_type: number.number_type,
            description: set_value(number.description),
        };
        Self {
            external_id: contact.external_id,
            name: contact.name,
            organization_name: set_value(contact.organization_name),
            title: set_value(contact.title),
            email: set_value(contact.email),
            notification_priority: contact
                .priority
                .or_stored(|| None)
                .unwrap_or(Priority::Normal),
            numbers: contact.numbers.into_iter().map(number).collect(),
            groups: contact.groups,
            rows: contact.rows,
        }
    }
}

/// The value of a field in the file, or `None` (`null`) if the file does not set it.
fn set_value(update: FieldUpdate<Option<String>>) -> Option<String> {
    update.or_stored(|| None)
}
