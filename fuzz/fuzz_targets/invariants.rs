//! Invariants of reading any file, valid or not: the file is refused with a reason, or every row is accounted for.

use std::collections::HashSet;

use rosterd::import::{self, ParsedFile};
use rosterd::model::issue::Code;
use rosterd::sheet::{FileContent, WorkbookReader};

const MAX_ROWS: u32 = 5_000;

/// Reads the file as an import does, and panics if the result violates an invariant.
pub fn check(file: &[u8]) {
    let content = FileContent::Bytes(file);
    match import::read(content, &WorkbookReader::InProcess, MAX_ROWS, Some(true)) {
        Err(error) => assert!(!error.failure().message.is_empty()),
        Ok(parsed_file) => check_parsed_file(&parsed_file),
    }
}

fn check_parsed_file(parsed_file: &ParsedFile) {
    let parsed = &parsed_file.sheet;
    assert!(parsed.row_count <= MAX_ROWS as usize);
    let mut ids = HashSet::new();
    let mut rows = HashSet::new();
    for contact in parsed.contacts.iter() {
        let id = contact.external_id.as_str().to_owned();
        assert!(!id.is_empty() && !contact.name.is_empty(), "{contact:?}");
        assert!(
            !contact.numbers.is_empty() && !contact.groups.is_empty(),
            "{contact:?}"
        );
        assert!(
            !parsed.in_error.contains(&id),
            "`{id}` is both valid and in error"
        );
        for row in &contact.rows {
            assert!(
                *row > parsed_file.info.header.row,
                "row {row} is above the header"
            );
            assert!(rows.insert(*row), "row {row} is counted twice");
        }
        assert!(ids.insert(id), "a contact occurs twice");
    }
    for row in &parsed.unidentified {
        assert!(rows.insert(row.row), "row {} is counted twice", row.row);
    }
    for issue in parsed.issues.iter() {
        assert!(
            !issue.message().contains(['{', '}'])
                || issue.value.is_some()
                || issue.column.is_some()
        );
        assert!(issue.row.is_none_or(|row| row > 0));
    }
    // Each row belongs to a valid contact, is in error, or is ignored.
    let ignored = parsed
        .issues
        .iter()
        .filter(|issue| matches!(issue.code, Code::ExampleRow | Code::RowWithoutIdIgnored));
    let ignored: HashSet<Option<u32>> = ignored.map(|issue| issue.row).collect();
    let valid = rows.len() - parsed.unidentified.len();
    assert_eq!(
        valid + parsed.rows_in_error.len() + ignored.len(),
        parsed.row_count
    );
}
