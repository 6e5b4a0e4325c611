//! What is handed to admins to work on: the templates, and the sheet written back with what is wrong in it.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use calamine::{Reader, Xlsx};
use serde_json::Value;

use crate::support::daemon;
use crate::support::sheet::{csv, row, xlsx};

/// A part of a workbook, as text.
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

/// Each element of this name with what is in it.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let open = format!("<{name}");
    xml.split(&open[..])
        .skip(1)
        .filter(|piece| piece.starts_with([' ', '>', '/']))
        .collect()
}

/// The background colour of each cell of the first sheet that has one.
fn colours(workbook: &Path) -> HashMap<String, String> {
    let (styles, sheet) = (
        part(workbook, "xl/styles.xml"),
        part(workbook, "xl/worksheets/sheet1.xml"),
    );
    let fills = elements(&styles, "fill");
    let formats = styles.split_once("<cellXfs").unwrap().1;
    let formats = elements(formats.split_once("</cellXfs>").unwrap().0, "xf");
    let colour = |style: &str| {
        let format = formats[style.parse::<usize>().unwrap()];
        let fill = fills[attribute(format, "fillId")?.parse::<usize>().unwrap()];
        attribute(fill.split_once("<fgColor")?.1, "rgb").map(str::to_owned)
    };
    elements(&sheet, "c")
        .into_iter()
        .filter_map(|cell| {
            let place = attribute(cell, "r")?.to_owned();
            Some((place, colour(attribute(cell, "s")?)?))
        })
        .collect()
}

/// The cells of a sheet, by their names.
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
async fn the_annotated_sheet_colours_the_faulty_cells_and_says_why_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let sheet = csv([
        row(1),
        row(2).replace("6045550002", "60455"),
        row(3).replace(",,,,Team", ",,not an address,,Team"),
        row(4).replacen('4', "", 1),
        row(5),
    ]);
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("in.csv"), &sheet).unwrap();
    std::fs::write(at("in.xlsx"), xlsx(&sheet)).unwrap();
    for input in ["in.csv", "in.xlsx"] {
        let out = format!("{input}.annotated.xlsx");
        let done = daemon::rosterd(folder.path())
            .args(["check", input, "--annotated", &out])
            .output()
            .await
            .unwrap();
        assert_eq!(done.status.code(), Some(3), "{done:?}");
        let (found, colours) = (cells(&at(&out), "Contacts"), colours(&at(&out)));
        // What was there stands where it stood.
        for (place, text) in [
            ("A1", "ID"),
            ("B2", "Name 1"),
            ("E3", "60455"),
            ("H4", "not an address"),
            ("J6", "Team"),
            ("K1", "What to mend"),
        ] {
            assert_eq!(found[place], text, "{input} {place}");
        }
        for (place, said) in [
            ("K3", "number_not_10_digits"),
            ("K4", "email_invalid"),
            ("K5", "id_missing"),
        ] {
            let rule = rosterd::model::catalogue::CATALOGUE
                .iter()
                .find(|rule| rule.code.as_str() == said)
                .unwrap();
            assert!(
                found[place].contains(rule.remedy.split(['{', ';']).next().unwrap()),
                "{input} {place}: {}",
                found[place]
            );
        }
        let (error, warning) = ("FFF8B4B4", "FFFFE08A");
        let mut coloured: Vec<(&str, &str)> = colours
            .iter()
            .map(|(place, colour)| (place.as_str(), colour.as_str()))
            .collect();
        coloured.sort_unstable();
        assert_eq!(
            coloured,
            [("A5", error), ("E3", error), ("H4", warning)],
            "{input}"
        );
        assert!(!found.contains_key("K2") && !found.contains_key("K6"));
    }
}

#[tokio::test]
async fn the_workbook_template_keeps_ids_as_text_and_offers_the_closed_words() {
    let folder = tempfile::tempdir().unwrap();
    let made = daemon::rosterd(folder.path())
        .arg("template")
        .status()
        .await
        .unwrap();
    assert!(made.success());
    let workbook = folder.path().join("contacts.xlsx");
    let (sheet, styles) = (
        part(&workbook, "xl/worksheets/sheet1.xml"),
        part(&workbook, "xl/styles.xml"),
    );
    let formats = styles.split_once("<cellXfs").unwrap().1;
    let formats = elements(formats.split_once("</cellXfs>").unwrap().0, "xf");
    // 49 is the built-in number format "@", text.
    let is_text =
        |style: &str| attribute(formats[style.parse::<usize>().unwrap()], "numFmtId") == Some("49");
    let columns = elements(&sheet, "col");
    for column in 1..=10 {
        let of = columns
            .iter()
            .find(|col| {
                let bound = |name| attribute(col, name).unwrap().parse::<usize>().unwrap();
                (bound("min")..=bound("max")).contains(&column)
            })
            .unwrap();
        assert!(is_text(attribute(of, "style").unwrap()), "column {column}");
    }
    let lists = elements(&sheet, "dataValidation");
    for (range, words) in [
        ("F2:F10001", "mobile,landline,pager"),
        ("I2:I10001", "High,Normal,Low"),
    ] {
        assert!(
            lists
                .iter()
                .any(|list| attribute(list, "sqref") == Some(range)
                    && attribute(list, "type") == Some("list")
                    && list.contains(words)),
            "{range}: {sheet}"
        );
    }
    let explained = cells(&workbook, "What the columns mean");
    for (place, title) in (2..).zip(rosterd::sheet::template_columns()) {
        assert_eq!(explained[&format!("A{place}")], title);
        assert!(explained[&format!("C{place}")].len() > 10);
    }
}

#[tokio::test]
async fn templates_are_what_an_import_reads() {
    let folder = tempfile::tempdir().unwrap();
    for (format, name) in [("xlsx", "t.xlsx"), ("csv", "t.csv")] {
        let made = daemon::rosterd(folder.path())
            .args(["template", "--format", format, "--output", name])
            .status()
            .await
            .unwrap();
        assert!(made.success());
        let done = daemon::rosterd(folder.path())
            .args(["check", name, "--format", "json"])
            .output()
            .await
            .unwrap();
        let shown: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(
            (
                &shown["issues"][0]["code"],
                shown["issues"].as_array().unwrap().len()
            ),
            (&"example_row".into(), 1),
            "{shown}"
        );
        assert_eq!(shown["file"]["format"], format);
    }
    assert!(
        std::fs::read_to_string(folder.path().join("t.csv"))
            .unwrap()
            .starts_with("\"ID\",Name,")
    );
}

#[tokio::test]
async fn surplus_cells_are_written_back_and_the_checked_file_is_not_overwritten() {
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
    let shown = cells(&folder.path().join("out.xlsx"), "Contacts");
    for cell in ["surplus", "more"] {
        assert!(shown.values().any(|text| text == cell), "{shown:?}");
    }
    let refused = annotate("./people.csv").await;
    assert_eq!(refused.status.code(), Some(1));
    let kept = std::fs::read_to_string(folder.path().join("people.csv")).unwrap();
    assert_eq!(kept, sheet);
}
