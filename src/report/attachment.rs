//! All issues of a run as a CSV file that spreadsheet programs open without running anything in it.

use super::Report;
use crate::model::issue::{Issue, Severity};

/// Mail servers refuse what is much larger, and then nobody reads any of it.
const MAX_BYTES: usize = 5 << 20;

/// The issues of a report, as far as mail takes them.
pub(super) struct List {
    pub(super) csv: String,
    /// Nothing is left out.
    pub(super) is_whole: bool,
}

/// The issues, one a row, in the order of the sheet; where not all of them find room, those who are not imported come first.
pub(super) fn list(report: &Report) -> List {
    let all = || report.issues.iter().zip(&report.is_new);
    let (csv, written) = write(all());
    let total = report.issues.len() + report.issues.omitted();
    if written == total {
        let is_whole = true;
        return List { csv, is_whole };
    }
    let is_error = |issue: &Issue| issue.severity == Severity::Error;
    let errors = all().filter(|(issue, _)| is_error(issue));
    let (mut csv, written) = write(errors.chain(all().filter(|(issue, _)| !is_error(issue))));
    let message = format!(
        "and {} more; rosterd runs issues {} has all that are kept",
        total - written,
        report.run
    );
    csv.extend([",,,,,,,", &quote(&message), ",\r\n"]);
    let is_whole = false;
    List { csv, is_whole }
}

/// Rows with a byte order mark before them, so that Excel reads UTF-8, and how many there was room for.
fn write<'a>(issues: impl Iterator<Item = (Issue, &'a bool)>) -> (String, usize) {
    let mut csv =
        String::from("\u{FEFF}Severity,Row,Cell,Column,ID,Name,Value,What is wrong,New\r\n");
    let mut written = 0;
    for (issue, is_new) in issues {
        if csv.len() > MAX_BYTES {
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
                .map(|field| quote(field.unwrap_or_default()))
                .join(","),
        );
        csv.push_str("\r\n");
    }
    (csv, written)
}

/// Quoted; what a spreadsheet program would take for a formula is marked as text.
fn quote(field: &str) -> String {
    let formula = field
        .trim_start()
        .starts_with(['=', '+', '-', '@', '\t', '\r', '|', '%']);
    format!(
        "\"{}{}\"",
        if formula { "'" } else { "" },
        field.replace('"', "\"\"")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_made_harmless_and_quotes_doubled() {
        assert_eq!(quote("=cmd|' /C calc'!A0"), "\"'=cmd|' /C calc'!A0\"");
        assert_eq!(quote("@SUM(1)"), "\"'@SUM(1)\"");
        assert_eq!(quote("say \"hi\", Bob"), "\"say \"\"hi\"\", Bob\"");
    }
}
