//! Measures a command: time, CPU and peak memory. It runs in an extra process, because the kernel reports
//! resource usage only for all children of a process together.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

/// First argument that makes this program measure a command.
pub const MEASURE: &str = "measure";

/// Resources that a command used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub elapsed_ms: f64,
    /// Of all processes of the command.
    pub cpu_ms: f64,
    /// Of the largest process.
    pub peak_mib: f64,
}

/// Runs a command and measures it. Its standard input is the file `input`, or empty.
pub fn cost(command: &[&str], input: Option<&Path>) -> Cost {
    let input = input.map_or_else(Stdio::null, |path| File::open(path).unwrap().into());
    let output = Command::new(std::env::current_exe().unwrap())
        .arg(MEASURE)
        .args(command)
        .stdin(input)
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut figures = printed
        .split_whitespace()
        .map(|figure| figure.parse().unwrap());
    let mut next = || figures.next().unwrap();
    Cost {
        elapsed_ms: next(),
        cpu_ms: next(),
        peak_mib: next(),
    }
}

/// Runs in the extra process started by [`cost`] and prints the figures.
pub fn measure(program: &str, arguments: &[&str]) {
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
    assert!(status.success(), "{program} {arguments:?}: {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = usage.user_time() + usage.system_time();
    let cpu_ms = time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    let peak_mib = usage.max_rss() as f64 / 1024.0;
    println!("{elapsed_ms} {cpu_ms} {peak_mib}");
}

/// The median; of an even number of figures, the higher of the middle two.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
