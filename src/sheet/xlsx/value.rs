//! Converts the stored value of a cell to text. Does not depend on the position of the cell.

use calamine::{DataRef, ExcelDateTime, ExcelDateTimeType};

use crate::table::Cell;

/// Maximum length of the text of a cell, characters. Excel has the same limit.
pub(super) const MAX_CELL_CHARS: usize = 32_767;
/// From this number on, Excel stores fewer digits than were entered.
const MAX_EXACT_NUMBER: f64 = 1e15;

/// The text of a cell has more than [`MAX_CELL_CHARS`] characters.
#[derive(Debug)]
pub(super) struct CellTooLong;

/// The stored value of a cell as text, or `None` for a blank cell. Values that are not stored as text are formatted
/// into `buffer`.
#[inline]
pub(super) fn cell_value<'a>(
    value: &'a DataRef<'_>,
    has_formula: bool,
    buffer: &'a mut String,
) -> Result<Option<Cell<'a>>, CellTooLong> {
    match value {
        // The most frequent case.
        DataRef::SharedString(text) => text_cell(text),
        other => format_value(other, has_formula, buffer),
    }
}

#[inline]
fn text_cell(text: &str) -> Result<Option<Cell<'_>>, CellTooLong> {
    if text.len() > MAX_CELL_CHARS && text.chars().count() > MAX_CELL_CHARS {
        return Err(CellTooLong);
    }
    Ok((!text.is_empty()).then_some(Cell::Text(text)))
}

fn format_value<'a>(
    value: &'a DataRef<'_>,
    has_formula: bool,
    buffer: &'a mut String,
) -> Result<Option<Cell<'a>>, CellTooLong> {
    use std::fmt::Write as _;
    buffer.clear();
    let mut write = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = buffer.write_fmt(text);
    };
    let text: &str = match value {
        DataRef::Empty => return Ok(has_formula.then_some(Cell::FormulaWithoutValue)),
        DataRef::Error(error) => {
            write(format_args!("{error}"));
            return Ok(Some(Cell::Error(buffer)));
        }
        // Some libraries write values that are not numbers into number cells.
        DataRef::Float(number) if !number.is_finite() => {
            return Ok(Some(Cell::Error(match number {
                number if number.is_nan() => "NaN",
                number if number.is_sign_negative() => "-Infinity",
                _ => "Infinity",
            })));
        }
        DataRef::Float(number) if number.abs() >= MAX_EXACT_NUMBER => {
            write(format_args!("{number:.0}"));
            return Ok(Some(Cell::Rounded(buffer)));
        }
        DataRef::Int(number) => {
            write(format_args!("{number}"));
            buffer
        }
        DataRef::Float(number) => {
            // Adding zero turns negative zero into zero.
            write(format_args!("{}", number + 0.0));
            buffer
        }
        DataRef::Bool(true) => "TRUE",
        DataRef::Bool(false) => "FALSE",
        DataRef::DateTime(date) if date.is_datetime() && is_date(date) => {
            buffer.push_str(&format_iso(date));
            buffer
        }
        DataRef::DateTime(duration) => {
            write(format_args!("{}", duration.as_f64()));
            buffer
        }
        DataRef::DateTimeIso(text) => trim_iso(text),
        DataRef::DurationIso(text) | DataRef::String(text) => text,
        DataRef::SharedString(text) => text,
    };
    text_cell(text)
}

/// Whether the number of days is a date up to the end of the year 9999. Spreadsheet programs show other numbers as
/// numbers even in a cell with a date format; such a number may be an ID.
fn is_date(date: &ExcelDateTime) -> bool {
    /// The first day of the year 10000.
    const FIRST_INVALID_DAY: f64 = 2_958_466.0;
    /// The same day in the date system that counts from 1904.
    const FIRST_INVALID_DAY_1904: f64 = FIRST_INVALID_DAY - 1_462.0;
    let days = date.as_f64();
    let since_1900 = *date == ExcelDateTime::new(days, ExcelDateTimeType::DateTime, false);
    (0.0..if since_1900 {
        FIRST_INVALID_DAY
    } else {
        FIRST_INVALID_DAY_1904
    })
        .contains(&days)
}

/// Removes a final `Z`, fractions of a second, and midnight from an ISO date or time.
fn trim_iso(text: &str) -> &str {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let text = text.split_once('.').map_or(text, |(seconds, _)| seconds);
    text.strip_suffix("T00:00:00").unwrap_or(text)
}

fn format_iso(date: &ExcelDateTime) -> String {
    let (year, month, day, hour, minute, second, _) = date.to_ymd_hms_milli();
    if date.as_f64() < 1.0 {
        // A value below one day is a time.
        format!("{hour:02}:{minute:02}:{second:02}")
    } else if (hour, minute, second) == (0, 0, 0) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(days: f64, since_1904: bool, display: &str) {
        let date = ExcelDateTime::new(days, ExcelDateTimeType::DateTime, since_1904);
        let (value, mut text) = (DataRef::DateTime(date), String::new());
        let cell = cell_value(&value, false, &mut text).unwrap();
        assert_eq!(cell, Some(Cell::Text(display)), "{days}");
    }

    #[test]
    fn dates_are_iso_and_out_of_range_days_stay_numbers() {
        check(45_418.0, false, "2024-05-06");
        check(45_418.5, false, "2024-05-06T12:00:00");
        check(0.25, false, "06:00:00");
        check(43_956.0, true, "2024-05-06");
        check(2_958_465.0, false, "9999-12-31");
        // An ID in a cell with the format of a date.
        check(2_958_466.0, false, "2958466");
        check(33_000_013.0, false, "33000013");
        check(2_957_004.0, true, "2957004");
        check(-1.0, false, "-1");
    }

    #[test]
    fn text_dates_lose_subseconds_and_midnight() {
        for (stored, display) in [
            ("2024-05-06T00:00:00", "2024-05-06"),
            ("2024-05-06T00:00:00.000Z", "2024-05-06"),
            ("2024-05-06T07:08:09.5", "2024-05-06T07:08:09"),
            ("2024-05-06", "2024-05-06"),
            ("07:08:09", "07:08:09"),
        ] {
            assert_eq!(trim_iso(stored), display);
        }
    }
}
