//! What was measured, and whether it is good enough.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Work;
use super::support::cost::median;

// Those who are held against each other.
pub const COPY: &str = "COPY";
pub const EXPERT: &str = "expert's SQL";
pub const ROSTERD: &str = "rosterd";

/// What one load has cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub wall_ms: f64,
    /// CPU of the program and its children.
    pub client_ms: f64,
    /// CPU of all of Postgres.
    pub server_ms: f64,
    pub wal_kib: f64,
    /// Of the largest process of the program.
    pub peak_mib: f64,
}

impl Figures {
    fn cpu_ms(&self) -> f64 {
        self.client_ms + self.server_ms
    }

    fn medians(all: &[Self]) -> Self {
        let of = |pick: fn(&Self) -> f64| median(all.iter().map(pick));
        Self {
            wall_ms: of(|one| one.wall_ms),
            client_ms: of(|one| one.client_ms),
            server_ms: of(|one| one.server_ms),
            wal_kib: of(|one| one.wal_kib),
            peak_mib: of(|one| one.peak_mib),
        }
    }
}

/// At most so much of another's wall time, and of its CPU.
struct Budget {
    work: Work,
    of: &'static str,
    ratio: f64,
}

const BUDGETS: [Budget; 6] = [
    budget(Work::FirstLoad, EXPERT, 1.0),
    budget(Work::OtherBytes, COPY, 0.8),
    budget(Work::OtherBytes, EXPERT, 0.3),
    budget(Work::NotModified, COPY, 0.2),
    budget(Work::SameBytes, COPY, 0.5),
    budget(Work::OnePercent, EXPERT, 0.55),
];
/// The size for which the ratios are promised.
const PROMISED: usize = 100_000;
/// Most WAL of contacts that are unchanged, KiB, whatever their number.
const MOST_WAL: f64 = 256.0;
/// Most memory where nothing changes, MiB, whatever the number of contacts.
const MOST_MEMORY: f64 = 96.0;

const fn budget(work: Work, of: &'static str, ratio: f64) -> Budget {
    Budget { work, of, ratio }
}

/// All figures, by number of contacts, work, and who has done it.
#[derive(Default)]
pub struct Table {
    figures: BTreeMap<(usize, usize, String), Vec<Figures>>,
    works: Vec<Work>,
}

impl Table {
    pub fn add(&mut self, rows: usize, work: Work, who: &str, figures: Figures) {
        let place = self.works.iter().position(|known| *known == work);
        let place = place.unwrap_or_else(|| {
            self.works.push(work);
            self.works.len() - 1
        });
        let key = (rows, place, who.to_owned());
        self.figures.entry(key).or_default().push(figures);
    }

    fn medians(&self, rows: usize, work: Work, who: &str) -> Option<Figures> {
        let place = self.works.iter().position(|known| *known == work)?;
        let all = self.figures.get(&(rows, place, who.to_owned()))?;
        Some(Figures::medians(all))
    }

    /// A table of medians, a chart of the wall times, and the budgets.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "| contacts | work | by | wall, ms | CPU client + server, ms | WAL, KiB | peak memory of the client, MiB | wall of expert's |\n| --: | --- | --- | --: | --: | --: | --: | --: |"
        );
        for ((rows, place, who), all) in &self.figures {
            let (work, one) = (self.works[*place], Figures::medians(all));
            let expert = self.medians(*rows, work, EXPERT);
            let ratio = expert.map_or_else(String::new, |expert| {
                format!("{:.2}", one.wall_ms / expert.wall_ms)
            });
            let _ = writeln!(
                out,
                "| {rows} | {} | {who} | {:.0} | {:.0} + {:.0} | {:.0} | {:.0} | {ratio} |",
                work.title(),
                one.wall_ms,
                one.client_ms,
                one.server_ms,
                one.wal_kib,
                one.peak_mib
            );
        }
        out.push('\n');
        self.chart(&mut out);
        for line in self.verdicts() {
            let _ = writeln!(out, "{}", line.0);
        }
        out
    }

    /// Wall time for the promised size, as bars.
    fn chart(&self, out: &mut String) {
        const WIDTH: f64 = 60.0;
        for (place, work) in self.works.iter().enumerate() {
            let of_work: Vec<(&String, f64)> = self
                .figures
                .iter()
                .filter(|((rows, at, _), _)| *rows == PROMISED && *at == place)
                .map(|((.., who), all)| (who, Figures::medians(all).wall_ms))
                .collect();
            let longest = of_work.iter().map(|(_, wall)| *wall).fold(0.0, f64::max);
            if longest > 0.0 {
                let _ = writeln!(out, "{PROMISED} contacts, {}", work.title());
            }
            for (who, wall) in of_work {
                let bar = "█".repeat((wall / longest * WIDTH).ceil() as usize);
                let _ = writeln!(out, "  {who:20} {bar} {wall:.0} ms");
            }
        }
        out.push('\n');
    }

    pub fn is_within_budgets(&self) -> bool {
        self.verdicts().iter().all(|(_, kept)| *kept)
    }

    fn verdicts(&self) -> Vec<(String, bool)> {
        let mut verdicts = Vec::new();
        for Budget { work, of, ratio } in BUDGETS {
            // Nobody else has a work in which there is nothing to do; they are held against the floor of that round.
            let (Some(own), Some(other)) = (
                self.medians(PROMISED, work, ROSTERD),
                self.medians(PROMISED, work, of),
            ) else {
                continue;
            };
            let (wall, cpu) = (own.wall_ms / other.wall_ms, own.cpu_ms() / other.cpu_ms());
            let kept = wall <= ratio && cpu <= ratio;
            let word = if kept { "kept" } else { "EXCEEDED" };
            verdicts.push((
                format!(
                    "{word}: {}: {wall:.2} of the wall time and {cpu:.2} of the CPU of {of}; at most {ratio}",
                    work.title()
                ),
                kept,
            ));
        }
        let sizes: std::collections::BTreeSet<usize> =
            self.figures.keys().map(|(rows, ..)| *rows).collect();
        for rows in &sizes {
            let Some(own) = self.medians(*rows, Work::OtherBytes, ROSTERD) else {
                continue;
            };
            let kept = own.wal_kib < MOST_WAL && own.peak_mib < MOST_MEMORY;
            let word = if kept { "kept" } else { "EXCEEDED" };
            verdicts.push((
                format!(
                    "{word}: {rows} unchanged: {:.0} KiB of WAL (below {MOST_WAL}), {:.0} MiB of memory (below {MOST_MEMORY})",
                    own.wal_kib, own.peak_mib
                ),
                kept,
            ));
        }
        verdicts.extend(self.growth(&sizes));
        verdicts
    }

    /// Between two sizes, the time grows no faster than the rows.
    fn growth(&self, sizes: &std::collections::BTreeSet<usize>) -> Vec<(String, bool)> {
        let pairs = sizes.iter().zip(sizes.iter().skip(1));
        let judged = pairs.filter_map(|(few, many)| {
            let of = |rows| self.medians(rows, Work::OtherBytes, ROSTERD);
            let times = of(*many)?.wall_ms / of(*few)?.wall_ms;
            let kept = times <= *many as f64 / *few as f64;
            let word = if kept { "kept" } else { "EXCEEDED" };
            Some((
                format!("{word}: unchanged, from {few} to {many}: {times:.1} times the wall time"),
                kept,
            ))
        });
        judged.collect()
    }
}
