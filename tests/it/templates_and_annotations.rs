//! Files written for admins: the templates, and the annotated copy of a checked sheet.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use calamine::{Reader, Xlsx};
use serde_json::Value;

use crate::support::daemon;
use crate::support::sheet::{csv, row, xlsx};

/// The text of a part of a workbook's ZIP archive.
fn part(workbook: &Path, name: &str) -> String {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(workbook).unwrap()).unwrap();
    let mut text = String::new();
    archive
        .by_name(name)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// The value of an attribute in a piece of XML.
fn attribute<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    xml.split_once(&format!(" {name}=\""))?
        .1
        .split_once('"')
        .map(|(value, _)| value)
}

/// The XML after each opening tag of this name.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let open = format!("<{name}");
    xml.split(&open[..])
        .skip(1)
        .filter(|piece| piece.starts_with([' ', '>', '/']))
        .collect()
}

/// The background color of each cell of the first sheet that has one, by cell reference.
fn cell_colors(workbook: &Path) -> HashMap<String, String> {
    let (styles, sheet) = (
        part(workbook, "xl/styles.xml"),
        part(workbook, "xl/worksheets/sheet1.xml"),
    );
    let fills = elements(&styles, "fill");
    let formats = styles.split_once("<cellXfs").unwrap().1;
    let formats = elements(formats.split_once("</cellXfs>").unwrap().0, "xf");
    let color = |style: &str| {
        let format = formats[style.parse::<usize>().unwrap()];
        let fill = fills[attribute(format, "fillId")?.parse::<usize>().unwrap()];
        attribute(fill.split_once("<fgColor")?.1, "rgb").map(str::to_owned)
    };
    elements(&sheet, "c")
        .into_iter()
        .filter_map(|cell| {
            let reference = attribute(cell, "r")?.to_owned();
            Some((reference, color(attribute(cell, "s")?)?))
        })
        .collect()
}

/// The values of a sheet's cells, by cell reference.
fn cells(workbook: &Path, sheet: &str) -> HashMap<String, String> {
    let mut book: Xlsx<_> = calamine::open_workbook(workbook).unwrap();
    let range = book.worksheet_range(sheet).unwrap();
    let start = range.start().unwrap();
    range
        .used_cells()
        .map(|(row, column, value)| {
            let letter = rosterd::model::issue::column_letters(column + start.1 as usize);
            (
                format!("{letter}{}", row + start.0 as usize + 1),
                value.to_string(),
            )
        })
        .collect()
}

#[tokio::test]
async fn annotated_sheet_highlights_and_explains_invalid_cells() {
    let folder = tempfile::tempdir().unwrap();
    let sheet = csv([
        row(1),
        row(2).replace("6045550002", "60455"),
        row(3).replace(",,,,Team", ",,not an address,,Team"),
        row(4).replacen('4', "", 1),
        row(5),
    ]);
    let path_of = |name: &str| folder.path().join(name);
    std::fs::write(path_of("in.csv"), &sheet).unwrap();
    std::fs::write(path_of("in.xlsx"), xlsx(&sheet)).unwrap();
    for input in ["in.csv", "in.xlsx"] {
        let out = format!("{input}.annotated.xlsx");
        let output = daemon::rosterd(folder.path())
            .args(["check", input, "--annotated", &out])
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let (found, colors) = (
            cells(&path_of(&out), "Contacts"),
            cell_colors(&path_of(&out)),
        );
        // The original cells keep their positions.
        for (cell, text) in [
            ("A1", "ID"),
            ("B2", "Name 1"),
            ("E3", "60455"),
            ("H4", "not an address"),
            ("J6", "Team"),
            ("K1", "What to fix"),
        ] {
            assert_eq!(found[cell], text, "{input} {cell}");
        }
        for (cell, code) in [
            ("K3", "number_not_10_digits"),
            ("K4", "email_invalid"),
            ("K5", "id_missing"),
        ] {
            let rule = rosterd::model::catalog::CATALOG
                .iter()
                .find(|rule| rule.code.as_str() == code)
                .unwrap();
            assert!(
                found[cell].contains(rule.fix.split(['{', ';']).next().unwrap()),
                "{input} {cell}: {}",
                found[cell]
            );
        }
        let (error, warning) = ("FFF8B4B4", "FFFFE08A");
        let mut highlighted: Vec<(&str, &str)> = colors
            .iter()
            .map(|(cell, color)| (cell.as_str(), color.as_str()))
            .collect();
        highlighted.sort_unstable();
        assert_eq!(
            highlighted,
            [("A5", error), ("E3", error), ("H4", warning)],
            "{input}"
        );
        assert!(!found.contains_key("K2") && !found.contains_key("K6"));
    }
}

#[tokio::test]
async fn workbook_template_formats_cells_as_text_and_has_lists() {
    let folder = tempfile::tempdir().unwrap();
    let status = daemon::rosterd(folder.path())
        .arg("template")
        .status()
        .await
        .unwrap();
    assert!(status.success());
    let workbook = folder.path().join("contacts.xlsx");
    let (sheet, styles) = (
        part(&workbook, "xl/worksheets/sheet1.xml"),
        part(&workbook, "xl/styles.xml"),
    );
    let formats = styles.split_once("<cellXfs").unwrap().1;
    let formats = elements(formats.split_once("</cellXfs>").unwrap().0, "xf");
    // 49 is the built-in number format `@` (text).
    let is_text =
        |style: &str| attribute(formats[style.parse::<usize>().unwrap()], "numFmtId") == Some("49");
    let columns = elements(&sheet, "col");
    for column in 1..=10 {
        let style = columns
            .iter()
            .find(|col| {
                let bound = |name| attribute(col, name).unwrap().parse::<usize>().unwrap();
                (bound("min")..=bound("max")).contains(&column)
            })
            .unwrap();
        assert!(
            is_text(attribute(style, "style").unwrap()),
            "column {column}"
        );
    }
    let lists = elements(&sheet, "dataValidation");
    for (range, options) in [
        ("F2:F10001", "mobile,landline,pager"),
        ("I2:I10001", "High,Normal,Low"),
    ] {
        assert!(
            lists
                .iter()
                .any(|list| attribute(list, "sqref") == Some(range)
                    && attribute(list, "type") == Some("list")
                    && list.contains(options)),
            "{range}: {sheet}"
        );
    }
    let descriptions = cells(&workbook, "Column descriptions");
    for (row, title) in (2..).zip(rosterd::sheet::template_columns()) {
        assert_eq!(descriptions[&format!("A{row}")], title);
        assert!(descriptions[&format!("C{row}")].len() > 10);
    }
}

#[tokio::test]
async fn template_passes_check_with_example_row_issue() {
    let folder = tempfile::tempdir().unwrap();
    for (format, name) in [("xlsx", "t.xlsx"), ("csv", "t.csv")] {
        let status = daemon::rosterd(folder.path())
            .args(["template", "--format", format, "--output", name])
            .status()
            .await
            .unwrap();
        assert!(status.success());
        let output = daemon::rosterd(folder.path())
            .args(["check", name, "--format", "json"])
            .output()
            .await
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (
                &report["issues"][0]["code"],
                report["issues"].as_array().unwrap().len()
            ),
            (&"example_row".into(), 1),
            "{report}"
        );
        assert_eq!(report["file"]["format"], format);
    }
    assert!(
        std::fs::read_to_string(folder.path().join("t.csv"))
            .unwrap()
            .starts_with("\"ID\",Name,")
    );
}

#[tokio::test]
async fn annotation_keeps_surplus_cells_and_the_checked_file() {
    let folder = tempfile::tempdir().unwrap();
    let surplus = format!("{},surplus,more", row(2));
    let sheet = csv([row(1), surplus, row(3)]);
    std::fs::write(folder.path().join("people.csv"), &sheet).unwrap();
    let annotate = async |to: &str| {
        let mut command = daemon::rosterd(folder.path());
        command.args(["check", "people.csv", "--annotated", to]);
        command.output().await.unwrap()
    };
    annotate("out.xlsx").await;
    let report = cells(&folder.path().join("out.xlsx"), "Contacts");
    for cell in ["surplus", "more"] {
        assert!(report.values().any(|text| text == cell), "{report:?}");
    }
    let refused = annotate("./people.csv").await;
    assert_eq!(refused.status.code(), Some(1));
    let kept = std::fs::read_to_string(folder.path().join("people.csv")).unwrap();
    assert_eq!(kept, sheet);
}
