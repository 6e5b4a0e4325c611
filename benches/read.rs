//! `make bench-read`: what `rosterd check` costs beside a bare loop over the same file. Prints CPU of all processes
//! together, medians of interleaved runs, and peak memory; ends with 1 where a budget is exceeded. The ratio is the median
//! of the rounds': on a shared machine two runs of one moment have more in common than those of two minutes.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    dead_code,
    reason = "a benchmark prints, stops where it can't go on, and uses a part of what they share"
)]

mod support;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use calamine::{DataRef, Reader, Xlsx};
use rust_xlsxwriter::Workbook;
use support::cost::{MEASURE, cost, measure, median};
use support::people::{self, COLUMNS, Person};

const ROWS: usize = 100_000;
const RUNS: usize = 11;

/// What may be spent on a kind of file.
struct Budget {
    kind: &'static str,
    /// CPU at most, as a multiple of the bare loop's.
    ratio: f64,
    /// Of the largest process, MiB.
    peak: f64,
}

const BUDGETS: [Budget; 2] = [
    Budget {
        kind: "csv",
        ratio: 6.0,
        peak: 32.0,
    },
    Budget {
        kind: "xlsx",
        ratio: 1.6,
        peak: 64.0,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["bare-csv", file] => bare_csv(file),
        ["bare-xlsx", file] => bare_xlsx(file),
        [MEASURE, program, ref arguments @ ..] => measure(program, arguments),
        // `cargo bench` adds words of its own.
        _ => return compare(),
    }
    ExitCode::SUCCESS
}

fn compare() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let (csv, xlsx) = (folder.path().join("b.csv"), folder.path().join("b.xlsx"));
    people::write_csv(people::base(ROWS), &csv, csv::Terminator::CRLF);
    write_xlsx(people::base(ROWS), &xlsx);
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap();
    let rosterd = env!("CARGO_BIN_EXE_rosterd");
    println!(
        "{ROWS} rows, {RUNS} interleaved rounds, medians; CPU of all processes together, memory of the largest"
    );
    println!(
        "| file | bare loop, ms | check, ms | ratio | budget | check --format json, ms | peak, MiB | budget |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut kept = true;
    for (budget, file) in BUDGETS.iter().zip([&csv, &xlsx]) {
        let file = file.to_str().unwrap();
        let bare = format!("bare-{}", budget.kind);
        let commands: [&[&str]; 3] = [
            &[own, &bare, file],
            &[rosterd, "check", file],
            &[rosterd, "check", file, "--format", "json"],
        ];
        let mut costs = [const { Vec::new() }; 3];
        for _ in 0..RUNS {
            for (command, costs) in commands.iter().zip(&mut costs) {
                costs.push(cost(command, None));
            }
        }
        let peak = costs[1..].iter().flatten().map(|cost| cost.peak_mib);
        let peak = peak.fold(0.0, f64::max);
        let rounds = costs[0].iter().zip(&costs[1]);
        let ratio = median(rounds.map(|(bare, check)| check.cpu_ms / bare.cpu_ms));
        let [bare, check, json] = costs.map(|costs| median(costs.iter().map(|cost| cost.cpu_ms)));
        println!(
            "| {} | {bare:.0} | {check:.0} | {ratio:.2} | {:.1} | {json:.0} | {peak:.1} | {:.0} |",
            budget.kind, budget.ratio, budget.peak
        );
        kept &= ratio <= budget.ratio && peak <= budget.peak;
    }
    if kept {
        return ExitCode::SUCCESS;
    }
    println!("a budget is exceeded");
    ExitCode::FAILURE
}

fn bare_csv(file: &str) {
    let mut reader = csv::Reader::from_path(file).unwrap();
    let mut record = csv::StringRecord::new();
    let mut bytes = 0;
    while reader.read_record(&mut record).unwrap() {
        bytes += record.iter().map(str::len).sum::<usize>();
    }
    assert!(bytes > ROWS);
}

fn bare_xlsx(file: &str) {
    let mut workbook: Xlsx<_> = Xlsx::new(BufReader::new(File::open(file).unwrap())).unwrap();
    let sheet = workbook.sheet_names()[0].clone();
    let mut cells = workbook.worksheet_cells_reader(&sheet).unwrap();
    let mut bytes = 0;
    while let Some(cell) = cells.next_cell().unwrap() {
        bytes += match cell.get_value() {
            DataRef::SharedString(text) => text.len(),
            DataRef::String(text) => text.len(),
            _ => 1,
        };
    }
    assert!(bytes > ROWS);
}

fn write_xlsx(rows: impl Iterator<Item = Person>, path: &Path) {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.write_row(0, 0, COLUMNS).unwrap();
    for (number, row) in (1..).zip(rows) {
        for (column, cell) in (0..).zip(&row).filter(|(_, cell)| !cell.is_empty()) {
            sheet.write_string(number, column, cell).unwrap();
        }
    }
    workbook.save(path).unwrap();
}
