//! Guards `READER_VERSION`: rows of the last applied file are not validated again while the version is the same, so any change to reading or
//! validation must raise it. The corpus in `tests/corpus/reader` has the digest of every outcome.
//!
//! After raising the version: `UPDATE_READER_CORPUS=1 cargo test --test it reader_version`. Outcomes that changed without a new version are
//! never recorded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rosterd::import;
use rosterd::model::contact::{FieldUpdate, Priority};
use rosterd::model::digest::{hex, sha256};
use rosterd::sheet::{FileContent, READER_VERSION, WorkbookReader};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/reader")
}

/// `None` if the stored value stays.
fn update(field: &FieldUpdate<Option<String>>) -> Option<&str> {
    match field {
        FieldUpdate::Keep => None,
        FieldUpdate::Set(text) => Some(text.as_deref().unwrap_or_default()),
    }
}

/// Everything that reading and validating a file finds, except the wording of issues.
fn outcome(bytes: &[u8]) -> String {
    let parsed_file = import::read(
        FileContent::Bytes(bytes),
        &WorkbookReader::InProcess,
        1_000,
        Some(true),
    );
    let parsed_file = match parsed_file {
        Ok(parsed_file) => parsed_file,
        Err(error) => return format!("refused: {}", error.code()),
    };
    let parsed = &parsed_file.sheet;
    let mut text = String::new();
    for contact in parsed.contacts.iter() {
        let fields = [
            Some(contact.external_id.as_str()),
            Some(&contact.name),
            update(&contact.organization_name),
            update(&contact.title),
            update(&contact.email),
        ];
        let priority = match contact.priority {
            FieldUpdate::Keep => None,
            FieldUpdate::Set(priority) => Some(priority.map(Priority::as_str)),
        };
        let numbers = contact.numbers.iter().map(|number| {
            let description = update(&number.description);
            (
                number.number.as_str(),
                number.number_type.as_str(),
                description,
            )
        });
        let numbers: Vec<_> = numbers.collect();
        let (groups, rows, keep) = (&contact.groups, &contact.rows, contact.keep_stored_numbers);
        writeln!(
            text,
            "{fields:?} {priority:?} {numbers:?} {groups:?} {rows:?} {keep}"
        )
        .unwrap();
    }
    for issue in parsed.issues.iter() {
        let place = (issue.row, issue.column.as_deref(), issue.cell());
        let subject = (&issue.value, &issue.external_id, &issue.contact_name);
        writeln!(
            text,
            "{} {} {place:?} {subject:?}",
            issue.severity, issue.code
        )
        .unwrap();
    }
    let mut in_error: Vec<_> = parsed.in_error.iter().collect();
    in_error.sort_unstable();
    let unidentified: Vec<_> = parsed.unidentified.iter().map(|row| row.row).collect();
    writeln!(
        text,
        "{in_error:?} {unidentified:?} {} {} {}",
        parsed.maybe_truncated,
        parsed.row_count,
        parsed.rows_in_error.len()
    )
    .unwrap();
    text
}

/// The digest of the outcome of each file, by file name.
fn outcomes() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|end| end != "txt"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let digest = sha256(outcome(&std::fs::read(&path).unwrap()).as_bytes());
            (name, hex(&digest))
        })
        .collect()
}

/// The recorded version and digests.
fn recorded() -> (i32, BTreeMap<String, String>) {
    let text = std::fs::read_to_string(corpus().join("outcomes.txt")).unwrap();
    let (version, lines) = text.split_once('\n').unwrap();
    let version = version.strip_prefix("READER_VERSION ").unwrap().parse();
    let outcomes = lines.lines().map(|line| {
        let (name, digest) = line.split_once(' ').unwrap();
        (name.to_owned(), digest.to_owned())
    });
    (version.unwrap(), outcomes.collect())
}

/// The files whose outcome must not change while the version is the same, and did.
fn changed_without_new_version(
    (version, recorded): &(i32, BTreeMap<String, String>),
    outcomes: &BTreeMap<String, String>,
) -> Vec<String> {
    if *version != READER_VERSION {
        return Vec::new();
    }
    let changed = recorded
        .iter()
        .filter(|(name, digest)| outcomes.get(*name) != Some(*digest));
    changed.map(|(name, _)| name.clone()).collect()
}

#[test]
fn changed_outcome_requires_new_reader_version() {
    let outcomes = outcomes();
    assert!(outcomes.len() >= 35, "{} files", outcomes.len());
    let before = recorded();
    let changed = changed_without_new_version(&before, &outcomes);
    assert!(
        changed.is_empty(),
        "reading or validation changed for {changed:?}: raise READER_VERSION in src/sheet/mod.rs, then run \
         UPDATE_READER_CORPUS=1 cargo test --test it reader_version"
    );
    let now = (READER_VERSION, outcomes);
    if std::env::var_os("UPDATE_READER_CORPUS").is_some() {
        let mut text = format!("READER_VERSION {READER_VERSION}\n");
        for (name, digest) in &now.1 {
            writeln!(text, "{name} {digest}").unwrap();
        }
        std::fs::write(corpus().join("outcomes.txt"), text).unwrap();
        return;
    }
    assert_eq!(
        before, now,
        "the corpus is out of date: run UPDATE_READER_CORPUS=1 cargo test --test it reader_version"
    );
}

#[test]
fn guard_detects_changed_and_missing_outcomes() {
    let outcomes = |digest: &str| BTreeMap::from([("a.csv".to_owned(), digest.to_owned())]);
    let check = |version, now: &BTreeMap<_, _>| {
        changed_without_new_version(&(version, outcomes("1")), now).len()
    };
    assert_eq!(check(READER_VERSION, &outcomes("1")), 0);
    assert_eq!(check(READER_VERSION, &outcomes("2")), 1);
    assert_eq!(check(READER_VERSION, &BTreeMap::new()), 1);
    assert_eq!(check(READER_VERSION - 1, &outcomes("2")), 0);
    // The digest covers contacts and issues.
    let valid = outcome(&std::fs::read(corpus().join("valid.csv")).unwrap());
    let wrong_type = outcome(&std::fs::read(corpus().join("types_and_priorities.csv")).unwrap());
    assert!(valid.contains("6045550101") && wrong_type.contains("number_type_unknown"));
}
