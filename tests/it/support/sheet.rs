//! Spreadsheets for the tests.

use rust_xlsxwriter::Workbook;

pub const HEADER: &str = "\"ID\",Name,Organization Name,Title,Number,Number Type,Number Description,Email Address,Notification Priority,Groups";

/// A valid row with ID `n`.
pub fn row(n: usize) -> String {
    format!("{n},Name {n},,,604555{:04},mobile,,,,Team", n % 10_000)
}

/// A CSV file with these rows below the header.
pub fn csv(rows: impl IntoIterator<Item = String>) -> String {
    let mut sheet = format!("{HEADER}\r\n");
    for row in rows {
        sheet.push_str(&row);
        sheet.push_str("\r\n");
    }
    sheet
}

/// A CSV file with one valid contact per number.
pub fn contacts_csv(numbers: impl IntoIterator<Item = usize>) -> String {
    csv(numbers.into_iter().map(row))
}

/// The same rows as a workbook.
pub fn xlsx(csv: &str) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for (row, line) in (0..).zip(csv.lines()) {
        for (column, cell) in (0..).zip(line.split(',')) {
            sheet
                .write_string(row, column, cell.trim_matches('"'))
                .unwrap();
        }
    }
    workbook.save_to_buffer().unwrap()
}
