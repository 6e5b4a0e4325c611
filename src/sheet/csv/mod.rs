//! Reads CSV files as a stream, and marks damaged rows that an ordinary CSV reader would accept. Interprets cells
//! only where that helps to recognize damage.
//!
//! `dialect` detects the delimiter, `records` splits records and checks their quotes, `structural_scan` finds the
//! bytes where they may end, and `damage_check` compares each row with the header and the next row.

mod damage_check;
mod dialect;
mod records;
mod structural_scan;

use std::io::{Read, Seek};

use super::encoding::{self, Encoding, TextReader};
use super::error::{RowLimit, SheetError};
use super::file_type::FileType;
use super::row_sink::RowSink;
use super::{Format, Limits, SheetInfo, header};
use crate::model::catalog::Finding;
use crate::model::issue::Issue;
use crate::table::{Damage, Header, SheetRow};
use damage_check::RowChecker;
use records::{ExpectedColumns, Record, Records};

/// Bytes of text used to detect the delimiter.
const DELIMITER_SAMPLE_BYTES: usize = 256 << 10;

pub(super) fn read<R: Read + Seek, F: FnMut(&Header, &SheetRow)>(
    file: R,
    limits: Limits,
    on_row: &mut F,
) -> Result<SheetInfo, SheetError> {
    let (mut records, encoding, delimiter) = open_records(file)?;
    let mut record = Record::default();
    if !records.next_non_blank(&mut record)? {
        return Err(SheetError::Empty);
    }
    let (header, mut issues) = match header::parse(record.row.number, &titles(&record.row)) {
        _ if record.row.damage == Some(Damage::SurplusCells) => {
            return Err(SheetError::NotASpreadsheet(FileType::TooManyColumns {
                limit: records::MAX_CELLS,
            }));
        }
        Ok(_) if record.row.damage.is_some() => {
            return Err(SheetError::StrayQuoteInHeader {
                row: record.row.number,
            });
        }
        Ok(parsed) => parsed,
        Err(error @ SheetError::HeaderMissing { .. }) => {
            return Err(find_header_below(&mut records)?.unwrap_or(error));
        }
        Err(error) => return Err(error),
    };
    records.expect_columns(ExpectedColumns {
        width: header.titles.len(),
        numbers: damage_check::number_column_indexes(&header),
    });
    let mut checker = RowChecker::new(&header, delimiter, record.line_ending);
    let sink = RowSink::new(header, RowLimit::Configured(limits.max_rows), on_row);
    let (header, untitled) = read_rows(&mut records, &mut checker, sink)?;
    issues.extend(untitled);
    if encoding == Encoding::Windows1252 {
        issues.push(Issue::new(Finding::EncodingGuessed));
    }
    let final_newline = records.ends_with_newline(checker.dominant_line_ending());
    if !final_newline {
        issues.push(Issue::new(Finding::NoFinalNewline));
    }
    let format = Format {
        format: "csv",
        encoding: Some(encoding.name()),
        delimiter: Some(char::from(delimiter)),
        sheet: None,
    };
    Ok(SheetInfo {
        format,
        header,
        issues,
        final_newline: Some(final_newline),
    })
}

/// The records of a file, with its encoding and delimiter.
fn open_records<R: Read + Seek>(mut file: R) -> Result<(Records<R>, Encoding, u8), SheetError> {
    let encoding = encoding::detect(&mut file)?;
    let mut text = TextReader::new(file, encoding);
    let mut head = Vec::new();
    while head.len() < DELIMITER_SAMPLE_BYTES
        && text.read_more(&mut head, DELIMITER_SAMPLE_BYTES)?
    {}
    let (delimiter, declaration_len) = dialect::detect(&head);
    head.drain(..declaration_len);
    Ok((Records::new(text, delimiter, head), encoding, delimiter))
}

/// Passes the rows below the header to `sink`, each after the next row was read, because some damage is visible only in
/// a pair of rows.
fn read_rows<R: Read, F: FnMut(&Header, &SheetRow)>(
    records: &mut Records<R>,
    checker: &mut RowChecker,
    mut sink: RowSink<'_, F>,
) -> Result<(Header, Vec<Issue>), SheetError> {
    let (mut before, mut after) = (Record::default(), Record::default());
    let mut has_more = records.next_non_blank(&mut before)?;
    checker.check_row(&mut before.row);
    checker.check_first_line_ending(&mut before);
    while has_more {
        has_more = records.next_non_blank(&mut after)?;
        if has_more {
            checker.check_row(&mut after.row);
            checker.check_split_pair(&mut before, &mut after);
        }
        checker.check_line_ending(&mut before, has_more.then_some(&mut after));
        sink.push(&before.row)?;
        std::mem::swap(&mut before, &mut after);
    }
    Ok(sink.finish())
}

/// All records of any CSV file as cells. Looks for no header.
///
/// # Errors
/// [`SheetError`] if the file is rejected, or if the cells of a record are ambiguous. A quote inside an unquoted cell is
/// accepted here, because public collections contain such files; contact lists are checked more strictly.
pub(super) fn all_records<R: Read + Seek>(file: R) -> Result<Vec<Vec<String>>, SheetError> {
    let (mut records, ..) = open_records(file)?;
    let mut record = Record::default();
    let mut all = Vec::new();
    while records.next_non_blank(&mut record)? {
        if !matches!(record.row.damage, None | Some(Damage::StrayQuote)) {
            return Err(SheetError::AmbiguousRecord {
                row: record.row.number,
            });
        }
        all.push(titles(&record.row));
    }
    Ok(all)
}

fn titles(row: &SheetRow) -> Vec<String> {
    row.cells()
        .map(|cell| cell.display_text().to_owned())
        .collect()
}

/// The error for a header below other rows, if there is one.
fn find_header_below<R: Read>(records: &mut Records<R>) -> Result<Option<SheetError>, SheetError> {
    let mut record = Record::default();
    for _ in 0..header::SEARCH_ROWS {
        if !records.next_non_blank(&mut record)? {
            break;
        }
        if header::parse(record.row.number, &titles(&record.row)).is_ok() {
            return Ok(Some(SheetError::HeaderNotFirst {
                row: record.row.number,
            }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
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
        let header = "ID,Name,Number,Number Type,Number Description,Email Address,Notification Priority,Groups";
        let rows = "1,A,6045550100,mobile,,,,x\n1,,6045550101,pager\n1,,6045550102,pager,work\n";
        let (_, rows) = parse_rows(format!("{header}\n{rows}").as_bytes()).unwrap();
        let damage: Vec<_> = rows.iter().map(|row| row.damage).collect();
        assert_eq!(damage, [None, None, None]);
        let text = format!("{HEADER}\n1,A,6045550100,mob\nile,x\n");
        let (_, rows) = parse_rows(text.as_bytes()).unwrap();
        assert_eq!(rows[0].damage, Some(Damage::SplitRecord));
    }

    #[test]
    fn blank_surplus_cells_are_ignored() {
        let text = format!("{HEADER}\n1,A,2,m,x,,\n2,B,3,m,y,z\n");
        let (_, rows) = parse_rows(text.as_bytes()).unwrap();
        assert_eq!(
            (rows[0].damage, rows[1].damage),
            (None, Some(Damage::SurplusCells))
        );
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
    fn twenty_thousand_columns_are_read() {
        let titles = (0..20_000).fold(String::new(), |titles, n| titles + &format!(",y{n}"));
        let text = format!("{HEADER}{titles}\n1,A,2,m,x{}\n", ",z".repeat(20_000));
        let (_, rows) = parse_rows(text.as_bytes()).unwrap();
        assert_eq!((rows[0].damage, rows[0].len()), (None, 20_005));
        assert_eq!(rows[0].cell(4).display_text(), "x");
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
}
