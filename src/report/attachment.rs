//! All issues of a run as a CSV file that spreadsheet programs open without running anything in it.

use super::Report;

/// Mail servers refuse what is much larger, and then nobody reads any of it.
const MAX_BYTES: usize = 5 << 20;

/// The issues, one a row, with a byte order mark so that Excel reads UTF-8.
pub(super) fn issues_csv(report: &Report) -> String {
    let mut csv =
        String::from("\u{FEFF}Severity,Row,Cell,Column,ID,Name,Value,What is wrong,New\r\n");
    let mut written = 0;
    for (issue, is_new) in report.issues.iter().zip(&report.is_new) {
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
    let more = report.issues.len() - written + report.issues.omitted();
    if more > 0 {
        let message = format!(
            "and {more} more, which would make this mail too large; see: rosterd runs issues {}",
            report.run
        );
        csv.extend([",,,,,,,", &quote(&message), ",\r\n"]);
    }
    csv
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
