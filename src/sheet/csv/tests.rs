//! CSV files as tables of rows, damage and issues.

use std::io::Cursor;

use super::*;
use crate::model::issue::Code;

const HEADER: &str = "ID,Name,Number,Number Type,Groups";

fn parse_rows(bytes: &[u8]) -> Result<(SheetInfo, Vec<SheetRow>), SheetError> {
    let mut rows = Vec::new();
    let limits = Limits { max_rows: 100 };
    let info = read(
        Cursor::new(bytes),
        limits,
        &mut |_: &Header, row: &SheetRow| {
            rows.push(row.clone());
        },
    )?;
    Ok((info, rows))
}

#[test]
fn row_numbers_match_spreadsheet_programs() {
    for eol in ["\n", "\r\n", "\r"] {
        let text = [
            HEADER,
            "",
            "1,A,2,m,\"x",
            "y\"",
            "",
            ",,,,",
            "2,B,3,m,z",
            "",
        ]
        .join(eol);
        let (_, rows) = parse_rows(text.as_bytes()).unwrap();
        assert_eq!(
            rows.iter().map(|row| row.number).collect::<Vec<_>>(),
            [3, 6],
            "{eol:?}"
        );
    }
}

#[test]
fn delimiter_is_detected_or_declared() {
    for (delimiter, declared) in [(',', false), (';', false), ('\t', false), (';', true)] {
        let line = HEADER.replace(',', &delimiter.to_string());
        let text = format!(
            "{}{line}\n1{delimiter}A\n",
            if declared { "sep=;\n" } else { "" }
        );
        let (info, rows) = parse_rows(text.as_bytes()).unwrap();
        assert_eq!(
            (info.format.delimiter, rows[0].number),
            (Some(delimiter), 2)
        );
    }
}

#[test]
fn sep_line_may_be_padded_with_delimiters() {
    for line in ["sep=;;;;;", "sep=;", "\"sep=;\""] {
        let text = format!("{line}\n{}\n1;A\n", HEADER.replace(',', ";"));
        let (info, rows) = parse_rows(text.as_bytes()).unwrap();
        assert_eq!(
            (info.format.delimiter, rows[0].number),
            (Some(';'), 2),
            "{line}"
        );
    }
    let text = format!("sep=\\t\n{}\n1\tA\n", HEADER.replace(',', "\t"));
    assert_eq!(
        parse_rows(text.as_bytes()).unwrap().0.format.delimiter,
        Some('\t')
    );
}

#[test]
fn unclosed_quote_is_rejected_with_row() {
    let text = format!("{HEADER}\n1,A,2,m,x\n2,B,3,m,\"y\n3,C,4,m,z\n");
    let error = parse_rows(text.as_bytes()).unwrap_err();
    assert!(
        matches!(error, SheetError::UnclosedQuote { row: 3 }),
        "{error}"
    );
}

#[test]
fn cell_containing_record_marks_rows_damaged() {
    let text = format!("{HEADER}\n1,A,2,m,\"x\n2,B,3,m,\"y\"\n3,C,4,m,z\n");
    let (_, rows) = parse_rows(text.as_bytes()).unwrap();
    let damage: Vec<_> = rows.iter().map(|row| (row.number, row.damage)).collect();
    let embedded = Some(Damage::EmbeddedRecord);
    assert_eq!(damage, [(2, embedded), (3, embedded), (4, None)]);
}

/// Rows with fewer cells may be parts of a split record, but not if each has an ID and a number in the right
/// columns.
#[test]
fn short_row_with_id_and_number_is_accepted() {
    let header =
        "ID,Name,Number,Number Type,Number Description,Email Address,Notification Priority,Groups";
    let rows = "1,A,6045550100,mobile,,,,x\n1,,6045550101,pager\n1,,6045550102,pager,work\n";
    let (_, rows) = parse_rows(format!("{header}\n{rows}").as_bytes()).unwrap();
    let damage: Vec<_> = rows.iter().map(|row| row.damage).collect();
    assert_eq!(damage, [None, None, None]);
    let text = format!("{HEADER}\n1,A,6045550100,mob\nile,x\n");
    let (_, rows) = parse_rows(text.as_bytes()).unwrap();
    assert_eq!(rows[0].damage, Some(Damage::SplitRecord));
}

#[test]
fn blank_surplus_in_some_rows_marks_them_damaged() {
    let surplus = Some(Damage::SurplusCells);
    for (rows, expected) in [
        ("1,A,2,m,x\n2,B,3,m,y,\n3,C,4,m,z\n", [None, surplus, None]),
        ("1,A,2,m,x,\n2,B,3,m,y\n3,C,4,m,z\n", [surplus, None, None]),
        (
            "1,A,2,m,x,\n2,B,3,m,y,\n3,C,4,m,z\n",
            [surplus, surplus, None],
        ),
    ] {
        let (_, rows) = parse_rows(format!("{HEADER}\n{rows}").as_bytes()).unwrap();
        let damage: Vec<_> = rows.iter().map(|row| row.damage).collect();
        assert_eq!(damage, expected);
    }
}

#[test]
fn blank_surplus_in_every_row_is_ignored() {
    let surplus = Some(Damage::SurplusCells);
    for (rows, expected) in [
        ("1,A,2,m,x,\n2,B,3,m,y,\n", [None, None]),
        ("1,A,2,m,x,,\n2,B,3,m,y,,\n", [None, None]),
        // One row has more than the others.
        ("1,A,2,m,x,,\n2,B,3,m,y,\n", [surplus, None]),
        ("1,A,2,m,x,\n2,B,3,m,y,,\n", [None, surplus]),
        ("1,A,2,m,x,,\n2,B,3,m,y,z\n", [surplus, surplus]),
    ] {
        let (_, rows) = parse_rows(format!("{HEADER}\n{rows}").as_bytes()).unwrap();
        assert_eq!([rows[0].damage, rows[1].damage], expected);
    }
}

#[test]
fn endless_row_is_capped_and_marked_damaged() {
    let text = format!("{HEADER}\n1,A,2,m,x{}z\n2,B,3,m,y\n", ",".repeat(1 << 20));
    let (_, rows) = parse_rows(text.as_bytes()).unwrap();
    assert_eq!(
        (rows[0].damage, rows[1].damage),
        (Some(Damage::SurplusCells), None)
    );
    assert_eq!(rows[0].len(), records::MAX_CELLS);
    // The same if all cells up to the limit are blank, in an intact record and in a line of a damaged one.
    for line in ["{}1,A,2,m,x", "{}1,A\"B,2,m,x"] {
        let line = line.replace("{}", &",".repeat(1 << 17));
        let text = format!("{HEADER}\n{line}\n2,B,3,m,y\n");
        let (_, rows) = parse_rows(text.as_bytes()).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].damage, Some(Damage::SurplusCells));
    }
    // Blank cells beyond the limit are ignored.
    let text = format!("{HEADER}\n1,A,2,m,x{}\n", ",".repeat(1 << 20));
    assert_eq!(parse_rows(text.as_bytes()).unwrap().1[0].damage, None);
    let text = format!("{HEADER}{}z\n1,A,2,m,x\n", ",".repeat(1 << 20));
    assert!(matches!(
        parse_rows(text.as_bytes()),
        Err(SheetError::NotASpreadsheet(_))
    ));
}

#[test]
fn header_over_column_limit_is_refused() {
    let header = |columns: usize| {
        let titles = (5..columns).fold(HEADER.to_owned(), |titles, n| titles + &format!(",y{n}"));
        format!("{titles}\n1,A,2,m,x\n")
    };
    assert!(parse_rows(header(1_024).as_bytes()).is_ok());
    let error = parse_rows(header(1_025).as_bytes()).unwrap_err();
    assert!(
        matches!(error, SheetError::TooManyColumns { found: 1_025, .. }),
        "{error}"
    );
    let numbers = |last: usize| {
        let titles = (2..=last).fold(HEADER.to_owned(), |titles, n| {
            titles + &format!(",Number {n},Number Type {n}")
        });
        format!("{titles}\n1,A,2,m,x\n")
    };
    assert!(parse_rows(numbers(100).as_bytes()).is_ok());
    let error = parse_rows(numbers(101).as_bytes()).unwrap_err();
    assert!(
        matches!(error, SheetError::TooManyNumberColumns { found: 101, .. }),
        "{error}"
    );
}

#[test]
fn cell_over_one_mebibyte_is_refused() {
    let row = |length: usize| format!("{HEADER}\n1,{},2,m,x\n", "a".repeat(length));
    assert!(parse_rows(row(1 << 20).as_bytes()).is_ok());
    let error = parse_rows(row((1 << 20) + 1).as_bytes()).unwrap_err();
    assert!(
        matches!(error, SheetError::CellTooLong { row: 2, .. }),
        "{error}"
    );
    // In a line of a damaged record, too.
    let damaged = format!("{HEADER}\n1,A\"B{},2,m,x\n", "a".repeat(2 << 20));
    let error = parse_rows(damaged.as_bytes()).unwrap_err();
    assert!(
        matches!(error, SheetError::CellTooLong { row: 2, .. }),
        "{error}"
    );
}

#[test]
fn final_ctrl_z_and_repeated_byte_order_marks_are_ignored() {
    let quoted = HEADER.split(',').map(|title| format!("\"{title}\""));
    let quoted = quoted.collect::<Vec<_>>().join(",");
    for text in [
        format!("{HEADER}\r\n1,A,2,m,x\r\n\u{1A}"),
        format!("{HEADER}\r\n1,A,2,m,x\r\n\u{1A}\r\n"),
        format!("\u{FEFF}\u{FEFF}{quoted}\r\n\"1\",A,2,m,x\r\n"),
        format!("\u{FEFF}{HEADER}\r\n\u{FEFF}\"1\",A,2,m,x\r\n"),
    ] {
        let (info, rows) = parse_rows(text.as_bytes()).unwrap();
        let id = rows[0]
            .cell(0)
            .display_text()
            .trim_start_matches('\u{FEFF}')
            .to_owned();
        assert_eq!(
            (rows.len(), rows[0].damage, id.trim_matches('"')),
            (1, None, "1"),
            "{text:?}"
        );
        assert!(
            info.issues
                .iter()
                .all(|issue| issue.code != Code::NoFinalNewline),
            "{text:?}"
        );
    }
    // A Ctrl-Z elsewhere is part of the data.
    let text = format!("{HEADER}\n\u{1A}\n2,B,3,m,y\n");
    assert_eq!(parse_rows(text.as_bytes()).unwrap().1.len(), 2);
}

#[test]
fn quotes_of_marked_text_are_not_damage() {
    let text = format!("{HEADER}\n=\"0001\",=\"A, B\",2,m,=\"x\"\n=\"2,B,3,m,y\n");
    let (_, rows) = parse_rows(text.as_bytes()).unwrap();
    assert_eq!(
        (rows[0].damage, rows[1].damage),
        (None, Some(Damage::StrayQuote))
    );
    let cells: Vec<_> = rows[0]
        .cells()
        .map(|cell| cell.display_text().to_owned())
        .collect();
    assert_eq!(cells, ["=\"0001\"", "=\"A, B\"", "2", "m", "=\"x\""]);
    let text = format!("SEP=;\n{}\n1;A\n", HEADER.replace(',', ";"));
    assert_eq!(
        parse_rows(text.as_bytes()).unwrap().0.format.delimiter,
        Some(';')
    );
}

#[test]
fn header_below_title_line_is_reported_with_row() {
    let text = format!("Contacts of 2026\n\n{HEADER}\n1,A,2,m,x\n");
    assert!(matches!(
        parse_rows(text.as_bytes()),
        Err(SheetError::HeaderNotFirst { row: 3 })
    ));
}

#[test]
fn nul_bytes_and_empty_files_are_rejected() {
    assert!(matches!(
        parse_rows(format!("{HEADER}\n1,A\0,2\n").as_bytes()),
        Err(SheetError::NulByte { row: 2 })
    ));
    assert!(matches!(parse_rows(b"\n \n"), Err(SheetError::Empty)));
}

#[test]
fn missing_final_newline_is_a_warning() {
    let (info, _) = parse_rows(format!("{HEADER}\n1,A,2,m,x").as_bytes()).unwrap();
    assert_eq!(info.final_newline, Some(false));
    assert_eq!(
        info.issues.last().map(|issue| issue.code),
        Some(Code::NoFinalNewline)
    );
}
