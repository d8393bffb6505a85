use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::Kind;
use super::figures::{Figures, Hedging};
use super::reads::Read;
use crate::faulty::Fault;
use crate::figures::quantile;

/// For so long after its beginning, the nodes are still finding out about a fault.
const DETECTION: Duration = Duration::from_secs(1);
/// Failed reads that are told of, for each fault.
const TOLD: usize = 5;

/// What the readers and the nodes told of some reads.
pub struct Measured {
    pub reads: Vec<Read>,
    pub seconds: f64,
    pub hedging: Hedging,
}

impl Measured {
    pub fn median(&self) -> Duration {
        let mut seconds: Vec<f64> = self.reads.iter().map(|read| read.took.as_secs_f64()).collect();
        Duration::from_secs_f64(quantile(&mut seconds, 0.5))
    }
}

/// One fault.
#[derive(Debug, Serialize)]
pub struct Drill {
    pub fault: Kind,
    /// What exactly was done to the answers: `Slow(120ms)`.
    pub how: String,
    /// Before the fault.
    pub healthy: Figures,
    /// Chunks that the node gave to the others then, before it became bad.
    pub served: f64,
    pub seconds: f64,
    /// While it lasted.
    pub all: Figures,
    /// Of those, the reads that began within its first second.
    pub detection: Figures,
    pub rest: Figures,
    pub healthy_hedging: Hedging,
    pub hedging: Hedging,
    /// Of the reads that failed, some.
    pub failures: Vec<String>,
    #[serde(skip)]
    before: Vec<Read>,
}

impl Drill {
    pub fn new(kind: Kind, fault: Fault, served: f64, healthy: Measured, faulty: Measured) -> Self {
        let (early, late): (Vec<&Read>, Vec<&Read>) = faulty.reads.iter().partition(|read| read.at < DETECTION);
        let failures = healthy.reads.iter().chain(&faulty.reads).filter_map(|read| read.failed.clone()).take(TOLD);
        Self {
            fault: kind,
            how: format!("{fault:?}"),
            healthy: Figures::of(healthy.reads.iter()),
            served,
            seconds: faulty.seconds,
            all: Figures::of(faulty.reads.iter()),
            detection: Figures::of(early.into_iter()),
            rest: Figures::of(late.into_iter()),
            healthy_hedging: healthy.hedging,
            hedging: faulty.hedging,
            failures: failures.collect(),
            before: healthy.reads,
        }
    }

    /// For whoever waits.
    pub fn line(&self) -> String {
        let Figures { reads, p99_ms, .. } = self.healthy;
        format!("{}: p99 {:.1} ms, before {p99_ms:.1} ms, of {reads} reads it served {}", self.how, self.all.p99_ms, self.served)
    }
}

/// What a drill of several faults found.
#[derive(Debug, Serialize)]
pub struct TailReport {
    pub readers: usize,
    pub seed: u64,
    /// All reads before faults together.
    pub healthy: Figures,
    pub drills: Vec<Drill>,
    /// The p99 of each fault over that of all healthy reads.
    pub ratios: Vec<f64>,
}

impl TailReport {
    pub fn new(readers: usize, seed: u64, drills: Vec<Drill>) -> Self {
        let healthy = Figures::of(drills.iter().flat_map(|drill| &drill.before));
        let ratios = drills.iter().map(|drill| drill.all.p99_ms / healthy.p99_ms).collect();
        Self { readers, seed, healthy, drills, ratios }
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    /// What must not be: a failed read, and a tail beyond the goal.
    pub fn objections(&self, goal: Option<f64>) -> Vec<String> {
        let failed = self.drills.iter().filter(|drill| drill.all.failed + drill.healthy.failed > 0).map(|drill| {
            let (failed, why) = (drill.all.failed + drill.healthy.failed, drill.failures.join("; "));
            format!("{}: {failed} reads failed: {why}", drill.how)
        });
        let slow = self.drills.iter().zip(&self.ratios).filter(|(_, ratio)| goal.is_some_and(|goal| **ratio > goal));
        let slow = slow.map(|(drill, ratio)| format!("{}: p99 is {ratio:.2} times that of the healthy swarm", drill.how));
        failed.chain(slow).collect()
    }

    pub fn table(&self) -> String {
        let mut table = format!("cold reads of 64 KiB to 4 MiB, {} readers; times in ms\n", self.readers);
        table += "fault        part          reads  failed      p50      p99      max   ratio  hedges\n";
        row(&mut table, ["all", "before"], &self.healthy, "");
        for (drill, ratio) in self.drills.iter().zip(&self.ratios) {
            let name = format!("{:?}", drill.fault).to_lowercase();
            row(&mut table, [&name, "before"], &drill.healthy, &format!("{:>8}{}", "", hedges(&drill.healthy_hedging)));
            row(&mut table, [&name, "all"], &drill.all, &format!("{ratio:>8.2}{}", hedges(&drill.hedging)));
            row(&mut table, [&name, "first second"], &drill.detection, "");
            row(&mut table, [&name, "rest"], &drill.rest, "");
        }
        table.truncate(table.trim_end().len());
        table
    }
}

fn row(table: &mut String, [fault, part]: [&str; 2], figures: &Figures, more: &str) {
    let Figures { reads, failed, p50_ms, p99_ms, max_ms } = figures;
    writeln!(table, "{fault:<12} {part:<12} {reads:>6} {failed:>7} {p50_ms:>8.1} {p99_ms:>8.1} {max_ms:>8.1}{more}")
        .expect("writing to a String cannot fail");
}

fn hedges(hedging: &Hedging) -> String {
    let Hedging { fetched, failures, hedges, denied } = hedging;
    format!("{:>7.1}% ({hedges} of {fetched}, {denied} denied; {failures} failures)", hedging.share() * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(millis: &[u64], failed: Option<&str>) -> Measured {
        let read = |(at, took): (usize, &u64)| Read {
            at: Duration::from_millis(400 * at as u64),
            took: Duration::from_millis(*took),
            failed: failed.map(str::to_owned),
        };
        let hedging = Hedging { fetched: 4.0, failures: 0.0, hedges: 1.0, denied: 0.0 };
        Measured { reads: millis.iter().enumerate().map(read).collect(), seconds: 1.0, hedging }
    }

    fn drill(kind: Kind, faulty: Measured) -> Drill {
        Drill::new(kind, Fault::Reset, 1.0, measured(&[1, 2, 4], None), faulty)
    }

    #[test]
    fn a_fault_is_measured_against_health_and_its_beginning_apart() {
        let drills = vec![drill(Kind::Reset, measured(&[9, 7, 3, 6], None)), drill(Kind::None, measured(&[4, 2, 2], None))];
        let report = TailReport::new(4, 1, drills);
        assert_eq!((report.healthy.reads, report.ratios.clone()), (6, vec![2.25, 1.0]));
        assert_eq!((report.drills[0].detection.reads, report.drills[0].rest.max_ms), (3, 6.0));
        assert_eq!((report.objections(None).len(), report.objections(Some(3.0)).len()), (0, 0));
        assert!(report.objections(Some(2.0))[0].contains("2.25"));
        assert!(report.table().contains("25.0% (1 of 4,"), "{}", report.table());
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["drills"][0]["fault"], "reset");
    }

    #[test]
    fn a_failed_read_is_told_of() {
        let report = TailReport::new(4, 1, vec![drill(Kind::Stall, measured(&[1], Some("it broke")))]);
        assert!(report.objections(None)[0].contains("1 reads failed: it broke"));
    }
}
