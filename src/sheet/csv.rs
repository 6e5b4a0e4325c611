//! CSV files: dialect, records, and the damage that a plain CSV reader passes over in silence.
//!
//! The csv crate splits the records. Beside it runs a [`Scanner`] over the same text that knows what the crate does not
//! tell: which row of the spreadsheet a record is, whether a quote is left open at the end, and whether a quoted cell
//! has swallowed what looks like a record.

use super::{Body, Facts, Format, Limits, SheetError, encoding, header};
use crate::model::issue::{Code, Issue};
use crate::model::table::{CellValue, Damage, Header, SheetRow};

const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

pub(super) fn read<F: FnMut(&Header, SheetRow)>(
    bytes: &[u8],
    limits: Limits,
    each: &mut F,
) -> Result<Facts, SheetError> {
    let decoded = encoding::decode(bytes)?;
    let text = decoded.text.as_ref();
    if let Some(at) = text.find('\0') {
        let row = 1 + text[..at].matches('\n').count();
        return Err(SheetError::NulByte {
            row: u32::try_from(row).unwrap_or(u32::MAX),
        });
    }
    let (declared, text) = declared_delimiter(text);
    let delimiter = declared.unwrap_or_else(|| guess_delimiter(text));

    let mut records = Records::new(text, delimiter);
    let Some(first) = records.next_filled()? else {
        return Err(SheetError::Empty);
    };
    let (header, mut issues) = match header::parse(first.number, &texts(&first)) {
        Ok(found) => found,
        Err(error @ SheetError::HeaderMissing { .. }) => {
            return Err(header_further_down(&mut records)?.unwrap_or(error));
        }
        Err(error) => return Err(error),
    };
    let width = header.titles.len();
    records.scanner.columns = width;
    let mut body = Body::new(header, limits, each);
    while let Some(mut row) = records.next_filled()? {
        if row.cells.iter().skip(width).any(|cell| !cell.is_blank()) {
            row.damage = row.damage.or(Some(Damage::SurplusCells));
        }
        body.push(row)?;
    }
    let header = body.header;
    if decoded.guessed {
        issues.push(Issue::of_file(
            Code::EncodingGuessed,
            "the file's encoding is not marked and was taken for Windows-1252; look at the accents, and save as \"CSV UTF-8\" to be sure",
        ));
    }
    let final_newline = text.ends_with(['\n', '\r']);
    if !final_newline {
        issues.push(Issue::of_file(
            Code::NoFinalNewline,
            "the file does not end with a line break, as a file that was cut off does; check that its last row is whole",
        ));
    }
    let format = Format {
        format: "csv",
        encoding: Some(decoded.encoding),
        delimiter: Some(char::from(delimiter)),
        sheet: None,
    };
    Ok(Facts {
        format,
        header,
        issues,
        final_newline: Some(final_newline),
    })
}

fn texts(row: &SheetRow) -> Vec<String> {
    row.cells
        .iter()
        .map(|cell| cell.shown().to_owned())
        .collect()
}

fn header_further_down(records: &mut Records<'_>) -> Result<Option<SheetError>, SheetError> {
    for _ in 0..header::SEARCH_ROWS {
        let Some(row) = records.next_filled()? else {
            break;
        };
        if header::parse(row.number, &texts(&row)).is_ok() {
            return Ok(Some(SheetError::HeaderNotFirst { row: row.number }));
        }
    }
    Ok(None)
}

/// Takes off a first line `sep=;`, by which a file tells Excel its delimiter; Excel does not count it as a row.
fn declared_delimiter(text: &str) -> (Option<u8>, &str) {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let declared = line
        .trim_matches('"')
        .strip_prefix("sep=")
        .map(str::as_bytes);
    match declared {
        Some(&[delimiter]) if DELIMITERS.contains(&delimiter) => {
            let rest = &text[line.len()..];
            let rest = rest
                .strip_prefix("\r\n")
                .or_else(|| rest.strip_prefix(['\n', '\r']))
                .unwrap_or(rest);
            (Some(delimiter), rest)
        }
        _ => (None, text),
    }
}

/// The delimiter under which the first rows show most known headers; the comma where none does.
fn guess_delimiter(text: &str) -> u8 {
    let score = |delimiter: u8| {
        let mut records = Records::new(text, delimiter);
        let mut best = 0;
        for _ in 0..5 {
            let Ok(Some(row)) = records.next_filled() else {
                break;
            };
            best = best.max(header::count_known(&texts(&row)));
        }
        best
    };
    let mut best = (b',', score(b','));
    for delimiter in [b';', b'\t'] {
        let found = score(delimiter);
        if found > best.1 {
            best = (delimiter, found);
        }
    }
    best.0
}

/// The records of a text, each with its row number.
struct Records<'a> {
    reader: csv::Reader<&'a [u8]>,
    record: csv::StringRecord,
    scanner: Scanner<'a>,
}

impl<'a> Records<'a> {
    fn new(text: &'a str, delimiter: u8) -> Self {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .from_reader(text.as_bytes());
        Self {
            reader,
            record: csv::StringRecord::new(),
            scanner: Scanner::new(text.as_bytes(), delimiter),
        }
    }

    /// The next record that isn't blank.
    fn next_filled(&mut self) -> Result<Option<SheetRow>, SheetError> {
        loop {
            let found = self.reader.read_record(&mut self.record);
            // The text is valid UTF-8 and records may have any length, so reading a slice can't fail.
            if !found.map_err(|error| SheetError::Undecodable(error.to_string()))? {
                return Ok(None);
            }
            let Some(seen) = self.scanner.next_record()? else {
                return Err(SheetError::Undecodable(
                    "its records can't be told apart".to_owned(),
                ));
            };
            let row = SheetRow {
                number: seen.row,
                cells: self
                    .record
                    .iter()
                    .map(|cell| CellValue::Text(cell.to_owned()))
                    .collect(),
                damage: seen.damage,
            };
            if !row.is_blank() {
                return Ok(Some(row));
            }
        }
    }
}

/// What the scanner knows of a record.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    row: u32,
    damage: Option<Damage>,
}

/// Walks the text by the same rules as the csv crate, keeping count of rows and an eye on quotes.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    row: u32,
    delimiter: u8,
    /// Columns of the header; 0 until it is known, and then no cell is suspected.
    columns: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8], delimiter: u8) -> Self {
        Self {
            text,
            at: 0,
            row: 0,
            delimiter,
            columns: 0,
        }
    }

    /// The next record that has at least one byte; `None` at the end.
    fn next_record(&mut self) -> Result<Option<Seen>, SheetError> {
        loop {
            if self.at >= self.text.len() {
                return Ok(None);
            }
            self.row = self.row.saturating_add(1);
            let start = self.at;
            let damage = self.skip_record()?;
            let blank = self.at == start;
            self.skip_line_end();
            if !blank {
                return Ok(Some(Seen {
                    row: self.row,
                    damage,
                }));
            }
        }
    }

    /// Moves to the end of the record.
    fn skip_record(&mut self) -> Result<Option<Damage>, SheetError> {
        let mut damage = None;
        loop {
            if self.text.get(self.at) == Some(&b'"') {
                damage = damage.or(self.skip_quoted()?);
                if !self.at_cell_end() {
                    damage = damage.or(Some(Damage::TextAfterQuote));
                }
            }
            while !self.at_cell_end() {
                self.at += 1;
            }
            match self.text.get(self.at) {
                Some(byte) if *byte == self.delimiter => self.at += 1,
                _ => return Ok(damage),
            }
        }
    }

    /// Moves behind the closing quote of the quoted cell that begins here.
    fn skip_quoted(&mut self) -> Result<Option<Damage>, SheetError> {
        self.at += 1;
        let (mut breaks, mut delimiters) = (0_usize, 0_usize);
        loop {
            match self.text.get(self.at) {
                None => return Err(SheetError::UnclosedQuote { row: self.row }),
                Some(b'"') if self.text.get(self.at + 1) == Some(&b'"') => self.at += 2,
                Some(b'"') => {
                    self.at += 1;
                    break;
                }
                Some(byte) => {
                    breaks += usize::from(matches!(byte, b'\n' | b'\r'));
                    delimiters += usize::from(*byte == self.delimiter);
                    self.at += 1;
                }
            }
        }
        // A cell with a line break and about as many delimiters as a record has was two records once.
        let swallowed = self.columns > 2 && breaks > 0 && delimiters + 1 >= self.columns;
        Ok(swallowed.then_some(Damage::SwallowedRecord))
    }

    fn at_cell_end(&self) -> bool {
        self.text
            .get(self.at)
            .is_none_or(|byte| *byte == self.delimiter || matches!(byte, b'\n' | b'\r'))
    }

    fn skip_line_end(&mut self) {
        match (self.text.get(self.at), self.text.get(self.at + 1)) {
            (Some(b'\r'), Some(b'\n')) => self.at += 2,
            (Some(_), _) => self.at += 1,
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "ID,Name,Number,Number Type,Groups";

    fn rows_of(bytes: &[u8]) -> Result<(Facts, Vec<SheetRow>), SheetError> {
        let mut rows = Vec::new();
        let facts = read(bytes, Limits { max_rows: 100 }, &mut |_: &Header, row| {
            rows.push(row);
        })?;
        Ok((facts, rows))
    }

    #[test]
    fn rows_are_numbered_as_spreadsheet_programs_show_them() {
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
            let (_, rows) = rows_of(text.as_bytes()).unwrap();
            assert_eq!(
                rows.iter().map(|row| row.number).collect::<Vec<_>>(),
                [3, 6],
                "{eol:?}"
            );
        }
    }

    #[test]
    fn the_delimiter_is_found_or_believed() {
        for (delimiter, declared) in [(',', false), (';', false), ('\t', false), (';', true)] {
            let line = HEADER.replace(',', &delimiter.to_string());
            let text = format!(
                "{}{line}\n1{delimiter}A\n",
                if declared { "sep=;\n" } else { "" }
            );
            let (facts, rows) = rows_of(text.as_bytes()).unwrap();
            assert_eq!(
                (facts.format.delimiter, rows[0].number),
                (Some(delimiter), 2)
            );
        }
    }

    #[test]
    fn an_unclosed_quote_is_refused_with_its_row() {
        let text = format!("{HEADER}\n1,A,2,m,x\n2,B,3,m,\"y\n3,C,4,m,z\n");
        let error = rows_of(text.as_bytes()).unwrap_err();
        assert!(
            matches!(error, SheetError::UnclosedQuote { row: 3 }),
            "{error}"
        );
    }

    #[test]
    fn a_cell_that_swallowed_a_record_makes_the_row_damaged() {
        let text = format!("{HEADER}\n1,A,2,m,\"x\n2,B,3,m,\"y\"\n3,C,4,m,z\n");
        let (_, rows) = rows_of(text.as_bytes()).unwrap();
        assert_eq!(rows[0].damage, Some(Damage::SwallowedRecord));
        assert_eq!(rows[1].damage, None);
    }

    #[test]
    fn surplus_cells_matter_only_when_filled() {
        let text = format!("{HEADER}\n1,A,2,m,x,,\n2,B,3,m,y,z\n");
        let (_, rows) = rows_of(text.as_bytes()).unwrap();
        assert_eq!(
            (rows[0].damage, rows[1].damage),
            (None, Some(Damage::SurplusCells))
        );
    }

    #[test]
    fn a_header_below_a_title_is_named_with_its_row() {
        let text = format!("Contacts of 2026\n\n{HEADER}\n1,A,2,m,x\n");
        assert!(matches!(
            rows_of(text.as_bytes()),
            Err(SheetError::HeaderNotFirst { row: 3 })
        ));
    }

    #[test]
    fn nul_bytes_and_empty_files_are_refused() {
        assert!(matches!(
            rows_of(format!("{HEADER}\n1,A\0,2\n").as_bytes()),
            Err(SheetError::NulByte { row: 2 })
        ));
        assert!(matches!(rows_of(b"\n \n"), Err(SheetError::Empty)));
    }

    #[test]
    fn a_missing_final_newline_is_a_warning() {
        let (facts, _) = rows_of(format!("{HEADER}\n1,A,2,m,x").as_bytes()).unwrap();
        assert_eq!(facts.final_newline, Some(false));
        assert_eq!(
            facts.issues.last().map(|issue| issue.code),
            Some(Code::NoFinalNewline)
        );
    }
}
