//! What a command costs: it runs under a process of its own, whose children are only those of the command.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

/// First word of this program's command line where it is to measure.
pub const MEASURE: &str = "measure";

/// What a command has cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub wall_ms: f64,
    /// Of all processes together.
    pub cpu_ms: f64,
    /// Of the largest process.
    pub peak_mib: f64,
}

/// Runs a command to its end; its standard input is `input`, or nothing.
pub fn cost(command: &[&str], input: Option<&Path>) -> Cost {
    let input = input.map_or_else(Stdio::null, |path| File::open(path).unwrap().into());
    let done = Command::new(std::env::current_exe().unwrap())
        .arg(MEASURE)
        .args(command)
        .stdin(input)
        .output()
        .unwrap();
    assert!(done.status.success(), "{command:?}: {done:?}");
    let shown = String::from_utf8(done.stdout).unwrap();
    let mut figures = shown.split_whitespace().map(|word| word.parse().unwrap());
    let mut next = || figures.next().unwrap();
    Cost {
        wall_ms: next(),
        cpu_ms: next(),
        peak_mib: next(),
    }
}

/// The other side of [`cost`].
pub fn measure(program: &str, arguments: &[&str]) {
    let begun = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let wall_ms = begun.elapsed().as_secs_f64() * 1e3;
    assert!(status.success(), "{program} {arguments:?}: {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = usage.user_time() + usage.system_time();
    let cpu_ms = time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    let peak_mib = usage.max_rss() as f64 / 1024.0;
    println!("{wall_ms} {cpu_ms} {peak_mib}");
}

/// The middle one.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
