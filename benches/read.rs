//! `make bench-read`: CPU time and peak memory of `rosterd check`, compared with a baseline loop that only reads the same
//! file. Prints medians of interleaved runs; exits with 1 if a budget is exceeded. The ratio is computed per round, because
//! on a shared machine only runs close in time are comparable.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    dead_code,
    reason = "a benchmark prints, fails by panicking, and uses only a part of the shared modules"
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

/// Limits for one file format.
struct Budget {
    format: &'static str,
    /// Maximum CPU time as a multiple of the baseline.
    ratio: f64,
    /// Maximum memory of the largest process, MiB.
    peak_mib: f64,
}

const BUDGETS: [Budget; 2] = [
    Budget {
        format: "csv",
        ratio: 6.0,
        peak_mib: 32.0,
    },
    Budget {
        format: "xlsx",
        ratio: 1.6,
        peak_mib: 64.0,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["baseline-csv", file] => baseline_csv(file),
        ["baseline-xlsx", file] => baseline_xlsx(file),
        [MEASURE, program, ref arguments @ ..] => measure(program, arguments),
        // `cargo bench` adds arguments such as `--bench`.
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
        "{ROWS} rows, medians of {RUNS} interleaved runs; CPU time of all processes, peak memory of the largest process"
    );
    println!(
        "| file | baseline, ms | check, ms | ratio | budget | check --format json, ms | peak memory, MiB | budget |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut within_budgets = true;
    for (budget, file) in BUDGETS.iter().zip([&csv, &xlsx]) {
        let file = file.to_str().unwrap();
        let baseline = format!("baseline-{}", budget.format);
        let commands: [&[&str]; 3] = [
            &[own, &baseline, file],
            &[rosterd, "check", file],
            &[rosterd, "check", file, "--format", "json"],
        ];
        let mut costs = [const { Vec::new() }; 3];
        for _ in 0..RUNS {
            for (command, costs) in commands.iter().zip(&mut costs) {
                costs.push(cost(command, None));
            }
        }
        let peaks = costs[1..].iter().flatten().map(|cost| cost.peak_mib);
        let peak_mib = peaks.fold(0.0, f64::max);
        let rounds = costs[0].iter().zip(&costs[1]);
        let ratio = median(rounds.map(|(baseline, check)| check.cpu_ms / baseline.cpu_ms));
        let [baseline, check, json] =
            costs.map(|costs| median(costs.iter().map(|cost| cost.cpu_ms)));
        println!(
            "| {} | {baseline:.0} | {check:.0} | {ratio:.2} | {:.1} | {json:.0} | {peak_mib:.1} | {:.0} |",
            budget.format, budget.ratio, budget.peak_mib
        );
        within_budgets &= ratio <= budget.ratio && peak_mib <= budget.peak_mib;
    }
    if within_budgets {
        return ExitCode::SUCCESS;
    }
    println!("a budget is exceeded");
    ExitCode::FAILURE
}

fn baseline_csv(file: &str) {
    let mut reader = csv::Reader::from_path(file).unwrap();
    let mut record = csv::StringRecord::new();
    let mut bytes = 0;
    while reader.read_record(&mut record).unwrap() {
        bytes += record.iter().map(str::len).sum::<usize>();
    }
    assert!(bytes > ROWS);
}

fn baseline_xlsx(file: &str) {
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
