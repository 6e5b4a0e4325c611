//! What must hold of every file, however broken: it is refused with a reason, or every row is accounted for.

use std::collections::HashSet;

use rosterd::import::{self, Reading};
use rosterd::model::issue::Code;
use rosterd::sheet::{Content, WorkbookReader};

const MAX_ROWS: u32 = 5_000;

/// Reads the file as an import would and holds the result against its promises.
pub fn check(file: &[u8]) {
    let content = Content::Bytes(file);
    match import::read(content, &WorkbookReader::InProcess, MAX_ROWS, Some(true)) {
        Err(error) => assert!(!error.failure().message.is_empty()),
        Ok(reading) => check_reading(&reading),
    }
}

fn check_reading(reading: &Reading) {
    let roster = &reading.roster;
    assert!(roster.row_count <= MAX_ROWS as usize);
    let mut ids = HashSet::new();
    let mut rows = HashSet::new();
    for contact in roster.contacts.iter() {
        let id = contact.external_id.as_str().to_owned();
        assert!(!id.is_empty() && !contact.name.is_empty(), "{contact:?}");
        assert!(
            !contact.numbers.is_empty() && !contact.groups.is_empty(),
            "{contact:?}"
        );
        assert!(
            !roster.in_error.contains(&id),
            "`{id}` is sound and in error"
        );
        for row in &contact.rows {
            assert!(
                *row > reading.facts.header.row,
                "row {row} is above the header"
            );
            assert!(rows.insert(*row), "row {row} is counted twice");
        }
        assert!(ids.insert(id), "a contact stands twice");
    }
    for row in &roster.nameless {
        assert!(rows.insert(row.row), "row {} is counted twice", row.row);
    }
    for issue in roster.issues.iter() {
        assert!(
            !issue.message().contains(['{', '}'])
                || issue.value.is_some()
                || issue.column.is_some()
        );
        assert!(issue.row.is_none_or(|row| row > 0));
    }
    // Each row is a sound contact's, in error, or nobody's.
    let nobodys = roster
        .issues
        .iter()
        .filter(|issue| matches!(issue.code, Code::ExampleRow | Code::RowWithoutIdIgnored));
    let nobodys: HashSet<Option<u32>> = nobodys.map(|issue| issue.row).collect();
    let sound = rows.len() - roster.nameless.len();
    assert_eq!(
        sound + roster.rows_in_error.len() + nobodys.len(),
        roster.row_count
    );
}
