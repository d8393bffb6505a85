use std::time::Duration;

use serde::Serialize;

use super::tally::{Faults, Figures, Phase, Tally};
use crate::output::{Table, count, size};

/// What a drill found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// No read failed, nothing was lost, no byte was wrong, and all was done that was to be done.
    pub ok: bool,
    pub scenario: String,
    pub seed: u64,
    /// At the beginning.
    pub nodes: usize,
    pub failed_reads: u64,
    pub lost_blobs: u64,
    pub wrong_bytes: u64,
    /// Puts that a node refused which the drill had left alone. They were not acknowledged, so nothing of them is lost.
    pub refused_writes: u64,
    /// Reads that met a node which the drill had taken away, and went on at another.
    pub retried_reads: u64,
    /// Puts that met one.
    pub interrupted_writes: u64,
    /// Acknowledged.
    pub blobs: usize,
    pub bytes: u64,
    /// That the nodes pulled from each other to have what they own; absent where they do not say.
    pub moved_bytes: Option<u64>,
    /// That had to move: chunks, to each owner at the end that did not hold them before.
    pub ideal_bytes: u64,
    /// Whether every owner has what it owns.
    pub replicated: bool,
    /// From the last step until every owner had what was acknowledged by then; absent where that was not within the time.
    pub replicated_after_ms: Option<u64>,
    pub reads_before: Figures,
    pub reads_during: Figures,
    pub reads_after: Figures,
    pub steps: Vec<Done>,
    /// What is not as it must be or as it was wanted, in words.
    pub look_at: Vec<String>,
}

/// A step that was done.
#[derive(Debug, Serialize)]
pub struct Done {
    /// After the beginning.
    pub at_ms: u64,
    pub what: String,
}

impl Done {
    pub fn at(at: Duration, what: String) -> Self {
        Self { at_ms: ms(at), what }
    }
}

impl Report {
    pub fn take(&mut self, tally: &Tally) {
        let words = |kind: &str, faults: &Faults| -> Vec<String> {
            faults.told.iter().map(|sentence| format!("{kind}: {sentence}")).collect()
        };
        let Tally { failed, wrong, lost, refused, .. } = tally;
        (self.failed_reads, self.lost_blobs, self.wrong_bytes) = (failed.count, lost.count, wrong.count);
        (self.refused_writes, self.retried_reads, self.interrupted_writes) = (refused.count, tally.retried, tally.interrupted);
        [self.reads_before, self.reads_during, self.reads_after] =
            [Phase::Before, Phase::During, Phase::After].map(|phase| tally.figures(phase));
        let kinds = [("wrong", wrong), ("lost", lost), ("failed", failed), ("refused", refused)];
        self.look_at.extend(kinds.iter().flat_map(|(kind, faults)| words(kind, faults)));
    }

    /// Whether what must never be is not there.
    pub fn is_sound(&self) -> bool {
        self.failed_reads == 0 && self.lost_blobs == 0 && self.wrong_bytes == 0
    }

    pub fn render(&self) -> String {
        let steps: String = self.steps.iter().map(|done| format!("{:>7.1} s  {}\n", seconds(done.at_ms), done.what)).collect();
        format!("{steps}\n{}\n{}\n{}", self.reads(), self.figures(), self.verdict())
    }

    fn reads(&self) -> String {
        let mut table = Table::new(&["READS", "COUNT", "P50", "P99", "MAX"], &[1, 2, 3, 4]);
        for (phase, reads) in [("before", self.reads_before), ("during", self.reads_during), ("after", self.reads_after)] {
            let times = [reads.p50_ms, reads.p99_ms, reads.max_ms].map(|ms| format!("{ms:.1} ms"));
            table.row([phase.to_owned(), reads.reads.to_string()].into_iter().chain(times));
        }
        table.render()
    }

    fn figures(&self) -> String {
        let moved = self.moved_bytes.map_or_else(|| "unknown".to_owned(), size);
        let settled = match (self.replicated_after_ms, self.replicated) {
            (Some(ms), true) => format!("{:.1} s after the last step", seconds(ms)),
            (None, true) => "only after the load had ended".to_owned(),
            _ => "not within the time".to_owned(),
        };
        let mut table = Table::new(&["FIGURE", "VALUE"], &[]);
        let rows = [
            ("acknowledged", format!("{}, {}", count(self.blobs, "blob"), size(self.bytes))),
            ("failed reads", self.failed_reads.to_string()),
            ("lost acknowledged blobs", self.lost_blobs.to_string()),
            ("wrong bytes", self.wrong_bytes.to_string()),
            ("refused writes", self.refused_writes.to_string()),
            ("retried at another node", format!("{} reads, {} writes", self.retried_reads, self.interrupted_writes)),
            ("moved", format!("{moved}; the change of owners asks for {}", size(self.ideal_bytes))),
            ("fully replicated", settled),
        ];
        rows.into_iter().for_each(|(name, value)| table.row([name.to_owned(), value]));
        table.render()
    }

    fn verdict(&self) -> String {
        let notes: String = self.look_at.iter().map(|sentence| format!("  {sentence}\n")).collect();
        let verdict = if self.ok { "ok" } else { "FAILED" };
        let look = if notes.is_empty() { String::new() } else { format!("look at:\n{notes}") };
        format!("{look}drill {} with seed {}: {verdict}\n", self.scenario, self.seed)
    }
}

pub fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_three_is_enough_to_fail() {
        for fault in 0..3 {
            let mut tally = Tally::default();
            [&mut tally.failed, &mut tally.wrong, &mut tally.lost][fault].note(|| "it was n2".to_owned());
            let mut report = Report::default();
            report.take(&tally);
            assert!(!report.is_sound());
            assert!(report.render().contains("it was n2") && report.render().contains("FAILED"), "{}", report.render());
        }
    }

    #[test]
    fn a_refused_write_is_told_and_fails_nothing() {
        let mut tally = Tally::default();
        tally.refused.note(|| "no room".to_owned());
        let mut report = Report { ok: true, scenario: "kill".to_owned(), seed: 7, ..Report::default() };
        report.take(&tally);
        assert!(report.is_sound());
        let rendered = report.render();
        assert!(rendered.contains("refused: no room") && rendered.ends_with("drill kill with seed 7: ok\n"), "{rendered}");
    }
}
