use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::creep::Margin;
use super::gauge::Gauge;
use super::seen::{Count, Seen};
use crate::tally::Tally;

/// A node's buffers and caches fill for about three minutes, to some 420 MiB: what is watched for less says nothing below half a GiB.
const SETTLED: u64 = 600;
const FILLED: f64 = 512.0;
/// The allocator keeps some tens of MiB after a burst; connections and jobs come and go by the dozen.
const MEMORY: Margin = Margin { what: "memory", unit: "MiB", times: 1.2, least: 48.0, free: 0.0 };
const FILES: Margin = Margin { what: "open files", unit: "files", times: 1.2, least: 24.0, free: 0.0 };
const THREADS: Margin = Margin { what: "threads", unit: "threads", times: 1.2, least: 8.0, free: 0.0 };
/// Windows are short and the machine is others' too: what is below these is its noise.
const WARM: Margin = Margin { what: "p99 of warm reads", unit: "ms", times: 1.6, least: 30.0, free: 200.0 };
const COLD: Margin = Margin { what: "p50 of cold reads", unit: "ms", times: 1.6, least: 60.0, free: 200.0 };

/// A while.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    /// Its end, since the beginning.
    pub seconds: f64,
    pub reads: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cold_reads: u64,
    pub cold_p50_ms: f64,
    pub cold_p99_ms: f64,
    /// Of each node.
    pub nodes: Vec<Gauge>,
}

impl Window {
    pub fn new(end: Duration, warm: &Tally, cold: &Tally, nodes: Vec<Gauge>) -> Self {
        let ([reads, p50, p99], [cold_reads, cold_p50, cold_p99]) = (summary(warm), summary(cold));
        let millis = |micros: u64| micros as f64 / 1e3;
        Self {
            seconds: end.as_secs_f64(),
            reads,
            p50_ms: millis(p50),
            p99_ms: millis(p99),
            cold_reads,
            cold_p50_ms: millis(cold_p50),
            cold_p99_ms: millis(cold_p99),
            nodes,
        }
    }
}

fn summary(tally: &Tally) -> [u64; 3] {
    let row = tally.row(1, std::time::Instant::now());
    [row.reads, row.p50_us, row.p99_us]
}

/// What a soak found.
#[derive(Debug, Serialize)]
pub struct SoakReport {
    pub seconds: u64,
    pub nodes: usize,
    pub reconnects: u64,
    pub counts: BTreeMap<Count, u64>,
    pub windows: Vec<Window>,
    /// What crept, and what failed; nothing, if all is well.
    pub objections: Vec<String>,
}

impl SoakReport {
    pub fn new(seconds: u64, nodes: usize, reconnects: u64, windows: Vec<Window>, seen: &Seen) -> Self {
        let counts: BTreeMap<Count, u64> = Count::ALL.into_iter().map(|what| (what, seen.counted(what))).collect();
        let idle = counts.iter().filter(|(what, count)| **count == 0 && !matches!(what, Count::Retries | Count::Failures));
        let mut objections = seen.failures();
        objections.extend(idle.map(|(what, _)| format!("nothing was done of: {what:?}").to_lowercase()));
        objections.extend(creeping(seconds, nodes, &windows));
        Self { seconds, nodes, reconnects, counts, windows, objections }
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    pub fn table(&self) -> String {
        let mut table =
            String::from("      s     reads   p50 ms   p99 ms    cold   p50 ms   p99 ms   most MiB   files  threads\n");
        for window in &self.windows {
            let Window { seconds, reads, p50_ms, p99_ms, cold_reads, cold_p50_ms, cold_p99_ms, nodes } = window;
            let most = |of: fn(&Gauge) -> u64| nodes.iter().map(of).max().unwrap_or(0);
            let (rss, files, threads) = (most(|node| node.rss) >> 20, most(|node| node.files), most(|node| node.threads));
            writeln!(
                table,
                "{seconds:>7.0} {reads:>9} {p50_ms:>8.1} {p99_ms:>8.1} {cold_reads:>7} {cold_p50_ms:>8.1} {cold_p99_ms:>8.1} {rss:>10} {files:>7} {threads:>8}"
            )
            .expect("writing to a String cannot fail");
        }
        let counts = self.counts.iter().map(|(what, count)| format!("{count} {}", format!("{what:?}").to_lowercase()));
        table += &format!("{}, {} reconnects", counts.collect::<Vec<_>>().join(", "), self.reconnects);
        table
    }
}

fn creeping(seconds: u64, nodes: usize, windows: &[Window]) -> Vec<String> {
    let memory = Margin { free: if seconds < SETTLED { FILLED } else { 0.0 }, ..MEMORY };
    let all = |of: &dyn Fn(&Window) -> f64| windows.iter().map(of).collect::<Vec<f64>>();
    let mut found = if seconds < SETTLED { Vec::new() } else { slower(windows) };
    for node in 0..nodes {
        let mebibytes = all(&|window| window.nodes[node].rss as f64 / f64::from(1 << 20));
        let files = all(&|window| window.nodes[node].files as f64);
        let threads = all(&|window| window.nodes[node].threads as f64);
        // Blocking threads stay for 10 s after a moment of much work: in a short soak that is most of it.
        let lasting = [FILES.objection(&files), THREADS.objection(&threads)].into_iter().filter(|_| seconds >= SETTLED);
        let own = lasting.chain([memory.objection(&mebibytes)]);
        found.extend(own.flatten().map(|objection| format!("node {}: {objection}", node + 1)));
    }
    found
}

/// In seconds of a soak that would be whatever else the machine does.
fn slower(windows: &[Window]) -> Vec<String> {
    let warm: Vec<f64> = windows.iter().map(|window| window.p99_ms).collect();
    // A window without one says nothing.
    let cold = windows.iter().filter(|window| window.cold_reads > 0).map(|window| window.cold_p50_ms);
    [WARM.objection(&warm), COLD.objection(&cold.collect::<Vec<_>>())].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(at: u64, rss: u64, files: u64) -> Window {
        let (mut warm, mut cold) = (Tally::new(), Tally::new());
        warm.record(Duration::from_millis(3), 1);
        cold.record(Duration::from_millis(9), 1);
        let gauge = Gauge { rss: rss << 20, files, threads: 9 };
        Window::new(Duration::from_secs(at), &warm, &cold, vec![Gauge { rss: 50 << 20, files: 60, threads: 9 }, gauge])
    }

    fn report(windows: Vec<Window>) -> SoakReport {
        report_of(3600, windows)
    }

    fn report_of(seconds: u64, windows: Vec<Window>) -> SoakReport {
        let seen = Seen::default();
        Count::ALL.into_iter().filter(|what| *what != Count::Failures).for_each(|what| seen.count(what));
        SoakReport::new(seconds, 2, 3, windows, &seen)
    }

    #[test]
    fn the_node_that_grows_is_named() {
        assert_eq!(report((0..30).map(|at| window(at, 60, 70)).collect()).objections, [""; 0]);
        let leaking = report((0..30).map(|at| window(at, 60 + 10 * at, 70 + 5 * at)).collect());
        assert_eq!(leaking.objections.len(), 2, "{:?}", leaking.objections);
        assert!(leaking.objections.iter().all(|objection| objection.starts_with("node 2: ")));
    }

    #[test]
    fn only_what_lasts_long_enough_can_become_slower() {
        let mut windows: Vec<Window> = (0..30).map(|at| window(at, 60, 70)).collect();
        (0..).zip(&mut windows).for_each(|(at, window)| window.p99_ms = 300.0 + 50.0 * f64::from(at));
        assert_eq!(report_of(SETTLED, windows.clone()).objections.len(), 1);
        assert_eq!(report_of(60, windows).objections, [""; 0]);
    }

    #[test]
    fn failures_and_idleness_are_told_of() {
        let seen = Seen::default();
        seen.failed("it broke".into());
        let report = SoakReport::new(60, 2, 3, Vec::new(), &seen);
        assert!(report.objections[0] == "it broke" && report.objections[1..].contains(&"nothing was done of: puts".into()));
        assert!(report.table().contains("1 failures, 3 reconnects"));
    }
}
