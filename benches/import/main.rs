//! `make bench`: cost of an import, compared with COPY into a temporary table (the least work a database can do with the
//! file), expert SQL, and other installed tools. Starts its own Postgres with fsync on. Runs are interleaved and figures are
//! medians. After each load, the stored contacts must equal those of the expert SQL. Exits with 1 if a budget is exceeded.
//!
//! Environment: `ROWS=10000,100000` sets the sizes, `ROUNDS=5` the number of runs, `EXPERT=DIRECTORY` other SQL to compare
//! with (`expert.schema.sql` and `expert.resync.sql`), and `PEERS=no` leaves out the tools that `scripts/fetch-peers`
//! installs.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    dead_code,
    reason = "a benchmark prints, fails by panicking, and uses only a part of the shared modules"
)]

mod contenders;
#[path = "../../tests/it/support/https_server.rs"]
mod https_server;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use contenders::{Contender, WebSource};
use server::Server;
use support::cost::{MEASURE, measure};
use support::people;
use table::{Figures, Table};

/// What is loaded, compared with the contacts stored before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Workload {
    /// Into an empty account.
    FirstLoad,
    /// The same contacts in another order and with other line endings.
    OtherBytes,
    /// The same bytes, recognized by their SHA-256.
    SameBytes,
    /// Not downloaded again, because the server answers a conditional request with 304.
    NotModified,
    /// 1 % of the contacts edited, 0.5 % removed, 0.5 % added.
    OnePercent,
}

impl Workload {
    const fn title(self) -> &'static str {
        match self {
            Self::FirstLoad => "first load",
            Self::OtherBytes => "unchanged, different bytes",
            Self::SameBytes => "unchanged, same SHA-256",
            Self::NotModified => "not modified (conditional request)",
            Self::OnePercent => "1 % changed",
        }
    }
}

/// The generated files with one number of contacts.
struct Files {
    base: PathBuf,
    reversed: PathBuf,
    changed: PathBuf,
}

impl Files {
    fn write(folder: &Path, rows: usize) -> Self {
        let files = Self {
            base: folder.join("base.csv"),
            reversed: folder.join("reversed.csv"),
            changed: folder.join("changed.csv"),
        };
        let (crlf, lf) = (csv::Terminator::CRLF, csv::Terminator::Any(b'\n'));
        people::write_csv(people::base(rows), &files.base, crlf);
        people::write_csv(people::base(rows).rev(), &files.reversed, lf);
        people::write_csv(people::changed(rows), &files.changed, crlf);
        files
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [MEASURE, program, ref arguments @ ..] = arguments[..] {
        measure(program, arguments);
        return ExitCode::SUCCESS;
    }
    let setting =
        |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    let sizes = setting("ROWS", "10000,100000,1000000");
    let rounds = setting("ROUNDS", "5").parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let source = WebSource::start();
    let mut table = Table::default();
    for rows in sizes.split(',').map(|rows| rows.trim().parse().unwrap()) {
        let files = Files::write(folder.path(), rows);
        let contenders = contenders::installed(&server, &source, rows);
        println!("{rows} contacts: {}", names(&contenders));
        compare(&server, &contenders, &files, rows, rounds, &mut table);
    }
    println!("\n{}", table.render());
    if table.is_within_budgets() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn names(contenders: &[Contender<'_>]) -> String {
    let names: Vec<&str> = contenders
        .iter()
        .map(|contender| contender.kind.name())
        .collect();
    names.join(", ")
}

fn compare(
    server: &Server,
    contenders: &[Contender<'_>],
    files: &Files,
    rows: usize,
    rounds: usize,
    table: &mut Table,
) {
    let mut run = |workload: Workload, file: &Path, round: usize| {
        let mut figures: Vec<(&str, Figures)> = Vec::new();
        for contender in contenders
            .iter()
            .filter(|contender| contender.kind.supports(workload, rows))
        {
            if workload == Workload::FirstLoad {
                contender.reset();
            }
            figures.push((contender.kind.name(), contender.load(workload, file)));
        }
        assert_same_state(contenders, workload, rows);
        for (name, figures) in figures {
            println!(
                "  {} {round}: {name}: {:.0} ms, CPU {:.0} + {:.0} ms, WAL {:.0} KiB, {:.0} MiB",
                workload.title(),
                figures.elapsed_ms,
                figures.client_ms,
                figures.server_ms,
                figures.wal_kib,
                figures.peak_mib
            );
            table.add(rows, workload, name, figures);
        }
    };
    for round in 0..rounds {
        run(Workload::FirstLoad, &files.base, round);
    }
    for round in 0..rounds {
        let file = if round % 2 == 0 {
            &files.reversed
        } else {
            &files.base
        };
        run(Workload::OtherBytes, file, round);
        run(Workload::SameBytes, file, round);
    }
    // A conditional request needs a previous import of the same file from the web server.
    for contender in contenders {
        contender.import_from_source(&files.base);
    }
    for round in 0..rounds {
        run(Workload::NotModified, &files.base, round);
    }
    for round in 0..2 * rounds.div_ceil(2) {
        let file = if round % 2 == 0 {
            &files.changed
        } else {
            &files.base
        };
        run(Workload::OnePercent, file, round);
    }
    server.drop_databases();
}

/// Panics unless all contenders have stored the same contacts; otherwise their times would not be comparable.
fn assert_same_state(contenders: &[Contender<'_>], workload: Workload, rows: usize) {
    let states: Vec<(&str, String)> = contenders
        .iter()
        .filter(|contender| contender.kind.supports(workload, rows))
        .filter_map(|contender| Some((contender.kind.name(), contender.state()?)))
        .collect();
    for (name, state) in &states {
        assert_eq!(state, &states[0].1, "{name} after {}", workload.title());
    }
}
