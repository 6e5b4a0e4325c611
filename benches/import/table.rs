//! Collects the measurements, prints them as tables and charts, and compares them with the budgets.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Workload;
use super::support::cost::median;

// The contenders that appear in budgets.
pub const COPY: &str = "COPY";
pub const EXPERT: &str = "expert SQL";
pub const ROSTERD: &str = "rosterd";

/// The cost of one load.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub elapsed_ms: f64,
    /// CPU time of the program and its children.
    pub client_ms: f64,
    /// CPU time of all Postgres processes.
    pub server_ms: f64,
    pub wal_kib: f64,
    /// Of the largest process of the program.
    pub peak_mib: f64,
}

impl Figures {
    fn cpu_ms(&self) -> f64 {
        self.client_ms + self.server_ms
    }

    fn medians(rounds: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| median(rounds.iter().map(field));
        Self {
            elapsed_ms: of(|figures| figures.elapsed_ms),
            client_ms: of(|figures| figures.client_ms),
            server_ms: of(|figures| figures.server_ms),
            wal_kib: of(|figures| figures.wal_kib),
            peak_mib: of(|figures| figures.peak_mib),
        }
    }
}

/// Maximum elapsed time and CPU time relative to another contender.
struct Budget {
    workload: Workload,
    relative_to: &'static str,
    ratio: f64,
}

const BUDGETS: [Budget; 6] = [
    budget(Workload::FirstLoad, EXPERT, 1.0),
    budget(Workload::OtherBytes, COPY, 0.8),
    budget(Workload::OtherBytes, EXPERT, 0.3),
    budget(Workload::NotModified, COPY, 0.2),
    budget(Workload::SameBytes, COPY, 0.5),
    budget(Workload::OnePercent, EXPERT, 0.55),
];
/// Number of contacts to which the ratios apply.
const BUDGET_ROWS: usize = 100_000;
/// Limit of WAL if no contact changes, KiB, for any number of contacts.
const MAX_WAL_KIB: f64 = 256.0;
/// Limit of memory if no contact changes, MiB, for any number of contacts.
const MAX_MEMORY_MIB: f64 = 96.0;

const fn budget(workload: Workload, relative_to: &'static str, ratio: f64) -> Budget {
    Budget {
        workload,
        relative_to,
        ratio,
    }
}

/// All figures by number of contacts, workload (as an index into `workloads`) and contender.
#[derive(Default)]
pub struct Table {
    figures: BTreeMap<(usize, usize, String), Vec<Figures>>,
    workloads: Vec<Workload>,
}

impl Table {
    pub fn add(&mut self, rows: usize, workload: Workload, contender: &str, figures: Figures) {
        let index = self.workloads.iter().position(|seen| *seen == workload);
        let index = index.unwrap_or_else(|| {
            self.workloads.push(workload);
            self.workloads.len() - 1
        });
        let key = (rows, index, contender.to_owned());
        self.figures.entry(key).or_default().push(figures);
    }

    fn medians(&self, rows: usize, workload: Workload, contender: &str) -> Option<Figures> {
        let index = self.workloads.iter().position(|seen| *seen == workload)?;
        let all = self.figures.get(&(rows, index, contender.to_owned()))?;
        Some(Figures::medians(all))
    }

    /// A table of medians, a chart of the elapsed times, and the budgets, as Markdown.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "| contacts | workload | contender | elapsed, ms | CPU client + server, ms | WAL, KiB | peak memory of the client, MiB | elapsed / expert SQL |\n| --: | --- | --- | --: | --: | --: | --: | --: |"
        );
        for ((rows, index, contender), all) in &self.figures {
            let (workload, medians) = (self.workloads[*index], Figures::medians(all));
            let expert = self.medians(*rows, workload, EXPERT);
            let ratio = expert.map_or_else(String::new, |expert| {
                format!("{:.2}", medians.elapsed_ms / expert.elapsed_ms)
            });
            let _ = writeln!(
                out,
                "| {rows} | {} | {contender} | {:.0} | {:.0} + {:.0} | {:.0} | {:.0} | {ratio} |",
                workload.title(),
                medians.elapsed_ms,
                medians.client_ms,
                medians.server_ms,
                medians.wal_kib,
                medians.peak_mib
            );
        }
        out.push('\n');
        self.chart(&mut out);
        for (verdict, _) in self.verdicts() {
            let _ = writeln!(out, "{verdict}");
        }
        out
    }

    /// Appends a bar chart of the elapsed times for `BUDGET_ROWS` contacts.
    fn chart(&self, out: &mut String) {
        const WIDTH: f64 = 60.0;
        for (index, workload) in self.workloads.iter().enumerate() {
            let bars: Vec<(&String, f64)> = self
                .figures
                .iter()
                .filter(|((rows, other, _), _)| *rows == BUDGET_ROWS && *other == index)
                .map(|((.., contender), all)| (contender, Figures::medians(all).elapsed_ms))
                .collect();
            let longest = bars.iter().map(|(_, elapsed)| *elapsed).fold(0.0, f64::max);
            if longest > 0.0 {
                let _ = writeln!(out, "{BUDGET_ROWS} contacts, {}", workload.title());
            }
            for (contender, elapsed) in bars {
                let bar = "█".repeat((elapsed / longest * WIDTH).ceil() as usize);
                let _ = writeln!(out, "  {contender:20} {bar} {elapsed:.0} ms");
            }
        }
        out.push('\n');
    }

    pub fn is_within_budgets(&self) -> bool {
        self.verdicts()
            .iter()
            .all(|(_, within_budget)| *within_budget)
    }

    /// One line for each budget, and whether it is met.
    fn verdicts(&self) -> Vec<(String, bool)> {
        let mut verdicts = Vec::new();
        for Budget {
            workload,
            relative_to,
            ratio,
        } in BUDGETS
        {
            let (Some(own), Some(other)) = (
                self.medians(BUDGET_ROWS, workload, ROSTERD),
                self.medians(BUDGET_ROWS, workload, relative_to),
            ) else {
                continue;
            };
            let elapsed = own.elapsed_ms / other.elapsed_ms;
            let cpu = own.cpu_ms() / other.cpu_ms();
            let within_budget = elapsed <= ratio && cpu <= ratio;
            let result = result(within_budget);
            verdicts.push((
                format!(
                    "{result}: {}: {elapsed:.2} of the elapsed time and {cpu:.2} of the CPU time of {relative_to} (at most {ratio})",
                    workload.title()
                ),
                within_budget,
            ));
        }
        let sizes: std::collections::BTreeSet<usize> =
            self.figures.keys().map(|(rows, ..)| *rows).collect();
        for rows in &sizes {
            let Some(own) = self.medians(*rows, Workload::OtherBytes, ROSTERD) else {
                continue;
            };
            let within_budget = own.wal_kib < MAX_WAL_KIB && own.peak_mib < MAX_MEMORY_MIB;
            let result = result(within_budget);
            verdicts.push((
                format!(
                    "{result}: {rows} contacts, unchanged: {:.0} KiB of WAL (below {MAX_WAL_KIB}), {:.0} MiB of memory (below {MAX_MEMORY_MIB})",
                    own.wal_kib, own.peak_mib
                ),
                within_budget,
            ));
        }
        verdicts.extend(self.growth(&sizes));
        verdicts
    }

    /// The elapsed time must not grow faster than the number of rows.
    fn growth(&self, sizes: &std::collections::BTreeSet<usize>) -> Vec<(String, bool)> {
        let pairs = sizes.iter().zip(sizes.iter().skip(1));
        let verdicts = pairs.filter_map(|(few, many)| {
            let of = |rows| self.medians(rows, Workload::OtherBytes, ROSTERD);
            let times = of(*many)?.elapsed_ms / of(*few)?.elapsed_ms;
            let within_budget = times <= *many as f64 / *few as f64;
            let result = result(within_budget);
            Some((
                format!("{result}: unchanged, from {few} to {many} contacts: {times:.1} times the elapsed time"),
                within_budget,
            ))
        });
        verdicts.collect()
    }
}

const fn result(within_budget: bool) -> &'static str {
    if within_budget {
        "within budget"
    } else {
        "OVER BUDGET"
    }
}
