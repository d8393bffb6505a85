use std::fmt::Write;

use serde::Serialize;

use super::measure::Quantiles;
use super::plan::{Mode, Place, Places};
use crate::figures::median;

/// The median of all runs, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    pub p50_us: Places<f64>,
    pub p99_us: Places<f64>,
}

impl Figures {
    fn of(&self, quantile: Quantile) -> &Places<f64> {
        match quantile {
            Quantile::P50 => &self.p50_us,
            Quantile::P99 => &self.p99_us,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Quantile {
    P50,
    P99,
}

/// One mode with so many readers.
#[derive(Debug, Serialize)]
pub struct Line {
    pub mode: Mode,
    pub readers: usize,
    /// Opens and reads of each place in each run.
    pub operations: usize,
    pub open: Figures,
    pub read: Figures,
    /// The p99 of the mount's opens in each run, for a look at how much they differ.
    pub mount_open_p99_us: Vec<f64>,
    pub mount_read_p99_us: Vec<f64>,
}

impl Line {
    pub fn new(mode: Mode, readers: usize, operations: usize, runs: &Places<Vec<Quantiles>>) -> Self {
        let middle = |of: fn(&Quantiles) -> f64| runs.map(|runs| median(&runs.iter().map(of).collect::<Vec<_>>()));
        let open = Figures { p50_us: middle(|run| run.open[0]), p99_us: middle(|run| run.open[1]) };
        let read = Figures { p50_us: middle(|run| run.read[0]), p99_us: middle(|run| run.read[1]) };
        let mount_open_p99_us = runs.mount.iter().map(|run| run.open[1]).collect();
        let mount_read_p99_us = runs.mount.iter().map(|run| run.read[1]).collect();
        Self { mode, readers, operations, open, read, mount_open_p99_us, mount_read_p99_us }
    }
}

#[derive(Debug, Serialize)]
pub struct SweepReport {
    pub files: usize,
    pub size: usize,
    pub runs: usize,
    pub seed: u64,
    pub notes: Vec<String>,
    pub lines: Vec<Line>,
}

impl SweepReport {
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    pub fn table(&self) -> String {
        let mut table: String = self.notes.iter().map(|note| format!("{note}\n")).collect();
        for (quantile, name) in [(Quantile::P99, "p99"), (Quantile::P50, "p50")] {
            table += &head(name);
            self.lines.iter().for_each(|line| table += &row(line, quantile));
            table.push('\n');
        }
        table.truncate(table.trim_end().len());
        table
    }

    /// Where hot files in the mount are slower than `limit` times tmpfs, a sentence each.
    pub fn above(&self, limit: f64) -> Vec<String> {
        let hot = self.lines.iter().filter(|line| line.mode == Mode::Hot);
        let calls = hot.flat_map(|line| [("open", line.readers, &line.open), ("read", line.readers, &line.read)]);
        let ratios = calls.map(|(call, readers, figures)| (call, readers, ratio(&figures.p99_us, Place::Tmpfs)));
        let above = ratios.filter(|(_, _, ratio)| *ratio > limit);
        above
            .map(|(call, readers, ratio)| {
                format!("hot {call} with {readers} readers: p99 is {ratio:.2} times that of tmpfs, above {limit}")
            })
            .collect()
    }
}

fn ratio(times: &Places<f64>, to: Place) -> f64 {
    times.mount / times.of(to)
}

/// Hundredths where they matter.
fn times_as_long(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

fn head(quantile: &str) -> String {
    let places = format!("{:>9} {:>9} {:>9} {:>7} {:>8}", "tmpfs", "backing", "mount", "/tmpfs", "/backing");
    let calls = ["open", "read"].map(|call| format!("{:<46}", format!("   {call} {quantile}, µs")));
    format!("{:13}  {}  {}\n{:<5}{:>8}  {places}  {places}\n", "", calls[0], calls[1], "mode", "readers")
}

fn row(line: &Line, quantile: Quantile) -> String {
    let mut row = format!("{:<5}{:>8}", line.mode, line.readers);
    for times in [line.open.of(quantile), line.read.of(quantile)] {
        let Places { tmpfs, backing, mount } = times;
        let [first, second] = [Place::Tmpfs, Place::Backing].map(|place| times_as_long(ratio(times, place)));
        write!(row, "  {tmpfs:>9.1} {backing:>9.1} {mount:>9.1} {first:>7} {second:>8}")
            .expect("writing to a String cannot fail");
    }
    row + "\n"
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn report(mount_open: f64) -> SweepReport {
        let run = |open: f64| Quantiles { open: [open / 2.0, open], read: [10.0, 20.0] };
        let runs = |open: f64| vec![run(open - 1.0), run(open), run(1e6)];
        let runs = Places { tmpfs: runs(4.0), backing: runs(5.0), mount: runs(mount_open) };
        let lines = [(Mode::Hot, 1), (Mode::Hot, 256), (Mode::Warm, 1), (Mode::Warm, 256)];
        let lines = lines.map(|(mode, readers)| Line::new(mode, readers, 2048, &runs)).into();
        SweepReport { files: 256, size: 65_536, runs: 3, seed: 1, notes: vec![], lines }
    }

    #[test]
    fn columns_line_up() {
        let table = report(47_414.0).table();
        let widths: Vec<usize> = table.lines().filter(|line| !line.is_empty()).map(|line| line.chars().count()).collect();
        assert_eq!(widths, vec![widths[0]; 12], "{table}");
    }

    #[test]
    fn medians_of_runs_are_told_and_judged() {
        let report = report(6.0);
        assert_eq!(report.lines[0].open.p99_us, Places { tmpfs: 4.0, backing: 5.0, mount: 6.0 });
        assert_eq!(report.lines[0].mount_open_p99_us, [5.0, 6.0, 1e6]);
        let above = report.above(1.3);
        assert_eq!(above.len(), 2, "{above:?}");
        assert!(above[1].starts_with("hot open with 256 readers: p99 is 1.50 times"), "{above:?}");
        assert!(report.above(1.5).is_empty());
    }
}
