//! `make bench`: what an import costs, beside the least that a database can do with the file (COPY into a temporary
//! table), the SQL of an expert, and other tools that are installed. Starts its own Postgres with fsync on; runs are
//! interleaved, figures are medians; a time counts only if what is stored then equals what the expert's SQL has stored.
//! Ends with 1 where a budget is exceeded.
//!
//! `ROWS=10000,100000` for other sizes, `ROUNDS=5` for another number of runs, `EXPERT=DIRECTORY` for other SQL to
//! compare with (its `expert.schema.sql` and `expert.resync.sql`), `PEERS=no` to leave the other tools out, which
//! `scripts/fetch-peers` brings.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    dead_code,
    reason = "a benchmark prints, stops where it can't go on, and uses a part of what is shared"
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

use contenders::{Contender, Source};
use server::Server;
use support::cost::{MEASURE, measure};
use support::people;
use table::{Figures, Table};

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// Into an empty account.
    FirstLoad,
    /// The same contacts, in another order and with other line ends.
    OtherBytes,
    /// The same bytes, known by their SHA-256.
    SameBytes,
    /// The same bytes, and the source says so.
    NotModified,
    /// 1 % edited, 0.5 % gone, 0.5 % new.
    OnePercent,
}

impl Work {
    const fn title(self) -> &'static str {
        match self {
            Self::FirstLoad => "first load",
            Self::OtherBytes => "unchanged, other bytes",
            Self::SameBytes => "same bytes, by SHA-256",
            Self::NotModified => "same bytes, the source says so",
            Self::OnePercent => "1 % changed",
        }
    }
}

/// The files of one size.
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
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [MEASURE, program, ref arguments @ ..] = words[..] {
        measure(program, arguments);
        return ExitCode::SUCCESS;
    }
    let setting = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.into());
    let sizes = setting("ROWS", "10000,100000,1000000");
    let rounds = setting("ROUNDS", "5").parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let source = Source::start();
    let mut table = Table::default();
    for rows in sizes.split(',').map(|rows| rows.trim().parse().unwrap()) {
        let files = Files::write(folder.path(), rows);
        let contenders = contenders::present(&server, &source, rows);
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
    let names: Vec<&str> = contenders.iter().map(|one| one.kind.name()).collect();
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
    let mut run = |work: Work, file: &Path, round: usize| {
        let mut figures: Vec<(&str, Figures)> = Vec::new();
        for contender in contenders.iter().filter(|one| one.kind.does(work, rows)) {
            if work == Work::FirstLoad {
                contender.begin_anew();
            }
            figures.push((contender.kind.name(), contender.load(work, file)));
        }
        check_states(contenders, work, rows);
        for (name, figures) in figures {
            println!(
                "  {} {round}: {name}: {:.0} ms, CPU {:.0} + {:.0} ms, WAL {:.0} KiB, {:.0} MiB",
                work.title(),
                figures.wall_ms,
                figures.client_ms,
                figures.server_ms,
                figures.wal_kib,
                figures.peak_mib
            );
            table.add(rows, work, name, figures);
        }
    };
    for round in 0..rounds {
        run(Work::FirstLoad, &files.base, round);
    }
    for round in 0..rounds {
        let (other, same) = (&files.reversed, &files.base);
        let file = if round % 2 == 0 { other } else { same };
        run(Work::OtherBytes, file, round);
        run(Work::SameBytes, file, round);
    }
    // What was imported last must lie at the source, too.
    for contender in contenders {
        contender.follow_source(&files.base);
    }
    for round in 0..rounds {
        run(Work::NotModified, &files.base, round);
    }
    for round in 0..2 * rounds.div_ceil(2) {
        let file = if round % 2 == 0 {
            &files.changed
        } else {
            &files.base
        };
        run(Work::OnePercent, file, round);
    }
    server.forget();
}

/// A time counts only if all is stored that the expert's SQL has stored.
fn check_states(contenders: &[Contender<'_>], work: Work, rows: usize) {
    let states: Vec<(&str, String)> = contenders
        .iter()
        .filter(|one| one.kind.does(work, rows))
        .filter_map(|one| Some((one.kind.name(), one.state()?)))
        .collect();
    for (name, state) in &states {
        assert_eq!(state, &states[0].1, "{name} after {}", work.title());
    }
}
