//! `make bench-read`: what `rosterd check` costs beside a bare loop over the same file. Prints CPU of all processes
//! together, medians of interleaved runs, and peak memory; ends with 1 where a budget is exceeded.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops where it can't go on"
)]

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use calamine::{DataRef, Reader, Xlsx};
use nix::sys::resource::{UsageWho, getrusage};
use rust_xlsxwriter::Workbook;

const ROWS: usize = 100_000;
const RUNS: usize = 7;
const COLUMNS: [&str; 10] = [
    "ID",
    "Name",
    "Organization Name",
    "Title",
    "Number",
    "Number Type",
    "Number Description",
    "Email Address",
    "Notification Priority",
    "Groups",
];

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

#[derive(Clone, Copy)]
struct Cost {
    cpu_ms: f64,
    peak_mib: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["bare-csv", file] => bare_csv(file),
        ["bare-xlsx", file] => bare_xlsx(file),
        ["measure", program, ref arguments @ ..] => measure(program, arguments),
        // `cargo bench` adds words of its own.
        _ => return compare(),
    }
    ExitCode::SUCCESS
}

fn compare() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<[String; 10]> = (0..ROWS).map(row).collect();
    let (csv, xlsx) = (folder.path().join("b.csv"), folder.path().join("b.xlsx"));
    write_csv(&rows, &csv);
    write_xlsx(&rows, &xlsx);
    drop(rows);
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap();
    let rosterd = env!("CARGO_BIN_EXE_rosterd");
    println!(
        "{ROWS} rows, {RUNS} interleaved runs, medians; CPU of all processes together, memory of the largest"
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
                costs.push(cost(own, command));
            }
        }
        let [bare, check, json] = costs.map(|costs| median(&costs));
        let ratio = check.cpu_ms / bare.cpu_ms;
        let peak = check.peak_mib.max(json.peak_mib);
        println!(
            "| {} | {:.0} | {:.0} | {ratio:.2} | {:.1} | {:.0} | {peak:.1} | {:.0} |",
            budget.kind, bare.cpu_ms, check.cpu_ms, budget.ratio, json.cpu_ms, budget.peak
        );
        kept &= ratio <= budget.ratio && peak <= budget.peak;
    }
    if kept {
        return ExitCode::SUCCESS;
    }
    println!("a budget is exceeded");
    ExitCode::FAILURE
}

/// Runs a command under a process of its own, whose children are only those of the command.
fn cost(own: &str, command: &[&str]) -> Cost {
    let done = Command::new(own)
        .arg("measure")
        .args(command)
        .output()
        .unwrap();
    assert!(done.status.success(), "{command:?}: {done:?}");
    let shown = String::from_utf8(done.stdout).unwrap();
    let (cpu, peak) = shown.trim().split_once(' ').unwrap();
    Cost {
        cpu_ms: cpu.parse().unwrap(),
        peak_mib: peak.parse().unwrap(),
    }
}

fn measure(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = usage.user_time() + usage.system_time();
    let cpu_ms =
        f64::from(u32::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap()) / 1e3;
    let peak_mib = f64::from(u32::try_from(usage.max_rss()).unwrap()) / 1024.0;
    println!("{cpu_ms} {peak_mib}");
}

/// Median of the time, highest of the memory.
fn median(costs: &[Cost]) -> Cost {
    let mut times: Vec<f64> = costs.iter().map(|cost| cost.cpu_ms).collect();
    times.sort_by(f64::total_cmp);
    Cost {
        cpu_ms: times[times.len() / 2],
        peak_mib: costs.iter().map(|cost| cost.peak_mib).fold(0.0, f64::max),
    }
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

/// A contact as lists have them: some cells blank, some quoted, some with accents.
fn row(n: usize) -> [String; 10] {
    const FIRST: [&str; 8] = [
        "Zoë", "Ann", "Mikael", "Rosa", "Jürgen", "Li", "Fatima", "Noah",
    ];
    const LAST: [&str; 7] = [
        "Müller", "Nguyen", "O'Brien", "Lee", "García", "Smith", "Virtanen",
    ];
    const TEAMS: [&str; 9] = [
        "Search Team",
        "Medics",
        "Région Île Volunteers",
        "Drivers",
        "Rope Rescue",
        "Night Crew",
        "Dispatch",
        "South First Aid",
        "Command",
    ];
    let some = |every: usize, text: String| {
        if n.is_multiple_of(every) {
            String::new()
        } else {
            text
        }
    };
    let groups: Vec<&str> = (0..=n % 3)
        .map(|k| TEAMS[(n / 7 + k * 4) % TEAMS.len()])
        .collect();
    [
        format!("C{n:08}"),
        format!("{} {}", FIRST[n % FIRST.len()], LAST[n / 3 % LAST.len()]),
        some(4, format!("Harbour Search and Rescue {}", n % 50)),
        some(
            3,
            ["Team Lead, EMT", "Nurse", "Duty Officer"][n % 3].to_owned(),
        ),
        match n % 3 {
            0 => format!("604{:03}{:04}", 200 + n / 10_000, n % 10_000),
            1 => format!("(778) {:03}-{:04}", 200 + n / 10_000, n % 10_000),
            _ => format!("+1 236 {:03} {:04}", 200 + n / 10_000, n % 10_000),
        },
        ["mobile", "Landline", "pager"][n / 5 % 3].to_owned(),
        some(
            2,
            ["work", "home", "Night shift, only if urgent"][n % 3].to_owned(),
        ),
        some(5, format!("user{n}@example{}.org", n % 100)),
        some(2, ["High", "Normal", "low"][n % 3].to_owned()),
        groups.join(", "),
    ]
}

fn write_csv(rows: &[[String; 10]], path: &Path) {
    let mut out = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_path(path)
        .unwrap();
    out.write_record(COLUMNS).unwrap();
    for row in rows {
        out.write_record(row).unwrap();
    }
    out.flush().unwrap();
}

fn write_xlsx(rows: &[[String; 10]], path: &Path) {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.write_row(0, 0, COLUMNS).unwrap();
    for (number, row) in (1..).zip(rows) {
        for (column, cell) in (0..).zip(row).filter(|(_, cell)| !cell.is_empty()) {
            sheet.write_string(number, column, cell).unwrap();
        }
    }
    workbook.save(path).unwrap();
}
