//! All issues of a run as a CSV file, safe against formula injection.

use askama::Template;

use super::Report;
use crate::model::RunId;
use crate::model::issue::{Issue, Severity};

/// Mail servers refuse messages that are much larger.
const MAX_CSV_BYTES: usize = 5 << 20;

#[derive(Template)]
#[template(path = "en/report/csv_header.txt")]
struct HeaderRow;

#[derive(Template)]
#[template(path = "en/report/csv_more.txt")]
struct More {
    more: usize,
    run: RunId,
}

pub(super) struct IssueCsv {
    pub(super) csv: String,
    /// Whether it has all issues.
    pub(super) is_complete: bool,
}

/// One row per issue, in the order of the sheet; if there are too many, errors first.
///
/// # Errors
/// If a template fails, which only a defect can cause.
pub(super) fn issue_csv(report: &Report) -> Result<IssueCsv, askama::Error> {
    let all = || report.issues.iter().zip(&report.is_new);
    let (csv, written) = write_rows(all())?;
    let total = report.issues.len() + report.issues.omitted();
    if written == total {
        let is_complete = true;
        return Ok(IssueCsv { csv, is_complete });
    }
    let is_error = |issue: &Issue| issue.severity == Severity::Error;
    let errors = all().filter(|(issue, _)| is_error(issue));
    let (mut csv, written) = write_rows(errors.chain(all().filter(|(issue, _)| !is_error(issue))))?;
    let more = More {
        more: total - written,
        run: report.run,
    };
    let message = more.render()?;
    csv.extend([",,,,,,,", &quote_csv_field(message.trim()), ",\r\n"]);
    let is_complete = false;
    Ok(IssueCsv { csv, is_complete })
}

/// The rows that fit, and their number. Starts with a byte order mark, which Excel needs to read UTF-8.
fn write_rows<'a>(
    issues: impl Iterator<Item = (Issue, &'a bool)>,
) -> Result<(String, usize), askama::Error> {
    let mut csv = format!("\u{FEFF}{}\r\n", HeaderRow.render()?.trim());
    let mut written = 0;
    for (issue, is_new) in issues {
        if csv.len() > MAX_CSV_BYTES {
            break;
        }
        written += 1;
        let (row, cell) = (issue.row.map(|row| row.to_string()), issue.cell());
        let fields = [
            Some(issue.severity.as_str()),
            row.as_deref(),
            cell.as_deref(),
            issue.column.as_deref(),
            issue.external_id.as_deref(),
            issue.contact_name.as_deref(),
            issue.value.as_deref(),
            Some(&issue.message()),
            Some(if *is_new { "new" } else { "still open" }),
        ];
        csv.push_str(
            &fields
                .map(|field| quote_csv_field(field.unwrap_or_default()))
                .join(","),
        );
        csv.push_str("\r\n");
    }
    Ok((csv, written))
}

/// Quoted; what a spreadsheet program would take for a formula is marked as text. A program that splits the file at semicolons or
/// tabs ignores the quotation marks, so the text after these characters is marked as well.
fn quote_csv_field(field: &str) -> String {
    let mut quoted = String::with_capacity(field.len() + 2);
    quoted.push('"');
    let mut rest = field;
    for part in field.split_inclusive([';', '\t', '\r', '\n']) {
        if begins_with_formula(rest) {
            quoted.push('\'');
        }
        quoted.push_str(&part.replace('"', "\"\""));
        rest = &rest[part.len()..];
    }
    quoted.push('"');
    quoted
}

fn begins_with_formula(text: &str) -> bool {
    text.trim_start_matches(|c: char| c.is_whitespace() || c == '"')
        .starts_with(['=', '+', '-', '@', '|', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_escaped_and_quotes_doubled() {
        assert_eq!(
            quote_csv_field("=cmd|' /C calc'!A0"),
            "\"'=cmd|' /C calc'!A0\""
        );
        assert_eq!(quote_csv_field("@SUM(1)"), "\"'@SUM(1)\"");
        assert_eq!(quote_csv_field("\t=1"), "\"'\t'=1\"");
        assert_eq!(
            quote_csv_field("say \"hi\", Bob"),
            "\"say \"\"hi\"\", Bob\""
        );
    }

    #[test]
    fn formula_after_semicolon_or_tab_is_escaped() {
        for (field, expected) in [
            ("Ann;=1+1", "\"Ann;'=1+1\""),
            ("Ann; @SUM(1);x", "\"Ann;' @SUM(1);x\""),
            ("Ann\t-1", "\"Ann\t'-1\""),
            ("a;\"=1\"", "\"a;'\"\"=1\"\"\""),
            ("Ann; Bob", "\"Ann; Bob\""),
            ("", "\"\""),
        ] {
            assert_eq!(quote_csv_field(field), expected);
        }
    }
}
