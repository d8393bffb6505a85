use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::CentralArguments;
use crate::tally::Tally;

/// What is gathered of one of the two.
pub struct Figures {
    pub tally: Tally,
    seconds: f64,
    /// Weighed by time.
    busy: f64,
}

impl Default for Figures {
    fn default() -> Self {
        Self { tally: Tally::new(), seconds: 0.0, busy: 0.0 }
    }
}

impl Figures {
    pub fn took(&mut self, time: Duration, busy: f64) {
        self.seconds += time.as_secs_f64();
        self.busy += busy * time.as_secs_f64();
    }
}

/// One of the two, with so many readers. A read lasts from the question to the last byte.
#[derive(Debug, Clone, Serialize)]
pub struct Latencies {
    pub reads: u64,
    pub bytes: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    pub bytes_per_second: f64,
    /// The share of the machine's cores that was busy: where it is near 1, it was not the network that was measured.
    pub busy: f64,
}

impl Latencies {
    fn of(readers: usize, figures: &Figures) -> Self {
        let row = figures.tally.row(readers, std::time::Instant::now());
        Self {
            reads: row.reads,
            bytes: row.bytes,
            p50_us: row.p50_us,
            p99_us: row.p99_us,
            max_us: row.max_us,
            bytes_per_second: row.bytes as f64 / figures.seconds,
            busy: figures.busy / figures.seconds,
        }
    }

    pub fn p50_ms(&self) -> f64 {
        self.p50_us as f64 / 1e3
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub readers: usize,
    pub p2p: Latencies,
    pub central: Latencies,
    /// What nodes fetched, over what was read of them: 1 where all of it was cold, and nothing was fetched in vain.
    pub fetched_over_read: f64,
    pub p50_over_central: f64,
    pub p99_over_central: f64,
}

impl Line {
    pub fn new(readers: usize, p2p: &Figures, central: &Figures, fetched: u64) -> Self {
        let (p2p, central) = (Latencies::of(readers, p2p), Latencies::of(readers, central));
        Self {
            readers,
            fetched_over_read: fetched as f64 / p2p.bytes as f64,
            p50_over_central: p2p.p50_us as f64 / central.p50_us as f64,
            p99_over_central: p2p.p99_us as f64 / central.p99_us as f64,
            p2p,
            central,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct CentralReport {
    pub nodes: usize,
    pub rate: String,
    pub delay_ms: u64,
    pub lines: Vec<Line>,
}

impl CentralReport {
    pub fn new(arguments: &CentralArguments) -> Self {
        Self { nodes: arguments.nodes, rate: arguments.rate.to_string(), delay_ms: arguments.delay, lines: Vec::new() }
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    pub fn table(&self) -> String {
        let delay = if self.delay_ms > 0 { format!(" and {} ms", self.delay_ms) } else { String::new() };
        let mut table = format!("cold reads of 4 MiB at {} nodes, links of {}{delay}\n", self.nodes, self.rate);
        table += "readers from       reads    p50 ms    p99 ms    max ms      MB/s  busy  fetched ÷ read  p50 ÷ central  p99 ÷ central";
        for line in &self.lines {
            row(&mut table, line.readers, "peers", &line.p2p);
            let (fetched, p50, p99) = (line.fetched_over_read, line.p50_over_central, line.p99_over_central);
            write!(table, "{fetched:>16.3}{p50:>15.2}{p99:>15.2}").expect("writing to a String cannot fail");
            row(&mut table, line.readers, "central", &line.central);
        }
        table
    }
}

fn row(table: &mut String, readers: usize, from: &str, figures: &Latencies) {
    let [p50, p99, max] = [figures.p50_us, figures.p99_us, figures.max_us].map(|micros| micros as f64 / 1e3);
    let (reads, rate, busy) = (figures.reads, figures.bytes_per_second / 1e6, 100.0 * figures.busy);
    write!(table, "\n{readers:>7} {from:<8}{reads:>8}{p50:>10.1}{p99:>10.1}{max:>10.1}{rate:>10.1}{busy:>5.0}%")
        .expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(millis: u64) -> Figures {
        let mut figures = Figures::default();
        (0..100).for_each(|_| figures.tally.record(Duration::from_millis(millis), 1 << 20));
        figures.took(Duration::from_secs(2), 0.5);
        figures.took(Duration::from_secs(2), 0.25);
        figures
    }

    #[test]
    fn columns_line_up_and_the_two_are_compared() {
        let line = Line::new(4, &figures(10), &figures(40), 105 << 20);
        let report = CentralReport { nodes: 8, rate: "1gbit".into(), delay_ms: 0, lines: vec![line.clone(), line] };
        let table = report.table();
        let widths: Vec<usize> = table.lines().skip(1).map(|line| line.chars().count()).collect();
        assert_eq!((widths[0], widths[2]), (widths[1], widths[4]), "{table}");
        assert!(table.contains("26.2   38%           1.050           0.25           0.25"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["lines"][1]["p2p"]["reads"], 100);
    }
}
