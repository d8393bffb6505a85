use std::fmt::Write;

use serde::Serialize;

use super::TransportArguments;
use super::gauge::Pass;
use super::goals::{Goal, goals};
use crate::figures::{median, quantile};

/// What ways are compared within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Large bodies, dropped.
    Serve,
    /// Onto another disk.
    Fetch,
    /// Small reads, one at a time.
    Alone,
    /// Eight at a time.
    Abreast,
}

/// What was measured so far.
#[derive(Debug, Default)]
pub struct Figures {
    /// False while all warms up.
    pub count: bool,
    moved: Vec<(Kind, &'static str, Vec<Pass>)>,
    times: Vec<(Kind, &'static str, Vec<f64>)>,
}

/// A way to move bytes.
#[derive(Debug, Serialize)]
pub struct Moved {
    pub kind: Kind,
    pub way: &'static str,
    /// GB/s.
    pub median: f64,
    pub best: f64,
    /// Seconds of all cores per GB, client and server together.
    pub cpu_per_gb: f64,
    /// Cores that were busy with something else, on average.
    pub others: f64,
    pub passes: Vec<Pass>,
}

/// A way to read a little.
#[derive(Debug, Serialize)]
pub struct Timed {
    pub kind: Kind,
    pub way: &'static str,
    pub reads: usize,
    pub p50_us: f64,
    pub p99_us: f64,
}

#[derive(Debug, Serialize)]
pub struct TransportReport {
    pub size: u64,
    pub rounds: usize,
    /// As the kernel would have it where nobody says otherwise.
    pub congestion: String,
    pub cores: usize,
    pub moved: Vec<Moved>,
    pub times: Vec<Timed>,
    pub goals: Vec<Goal>,
}

impl Figures {
    pub fn note(&mut self, kind: Kind, way: &'static str, pass: Pass) {
        if self.count {
            entry(&mut self.moved, kind, way).push(pass);
        }
    }

    /// Microseconds.
    pub fn note_times(&mut self, kind: Kind, way: &'static str, times: Vec<f64>) {
        if self.count {
            entry(&mut self.times, kind, way).extend(times);
        }
    }
}

fn entry<'a, T>(all: &'a mut Vec<(Kind, &'static str, Vec<T>)>, kind: Kind, way: &'static str) -> &'a mut Vec<T> {
    let known = all.iter().position(|(of, name, _)| (*of, *name) == (kind, way));
    let at = known.unwrap_or_else(|| {
        all.push((kind, way, Vec::new()));
        all.len() - 1
    });
    &mut all[at].2
}

impl TransportReport {
    pub fn new(arguments: &TransportArguments, figures: &Figures) -> Self {
        let congestion = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
        let moved: Vec<Moved> = figures.moved.iter().map(|(kind, way, passes)| moved(*kind, way, passes)).collect();
        let times: Vec<Timed> = figures.times.iter().map(|(kind, way, times)| timed(*kind, way, times)).collect();
        let (goals, cores) = (goals(&moved, &times), std::thread::available_parallelism().map_or(1, usize::from));
        let congestion = congestion.trim().to_owned();
        Self { size: arguments.size(), rounds: arguments.rounds(), congestion, cores, moved, times, goals }
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    pub fn table(&self) -> String {
        let Self { size, rounds, congestion, cores, .. } = self;
        let mut text =
            format!("{} MiB in chunks of 4 MiB, {rounds} rounds, {cores} cores, congestion control {congestion}\n", size >> 20);
        let titles = [(Kind::Serve, "served and dropped"), (Kind::Fetch, "onto a disk")];
        titles.into_iter().for_each(|(kind, title)| text += &self.moved_of(kind, title));
        let titles = [(Kind::Alone, "64 KiB, one at a time"), (Kind::Abreast, "64 KiB, eight at a time")];
        titles.into_iter().for_each(|(kind, title)| text += &self.times_of(kind, title));
        self.goals.iter().for_each(|goal| text += &goal.line());
        text.truncate(text.trim_end().len());
        text
    }

    fn moved_of(&self, kind: Kind, title: &str) -> String {
        let mut text = format!("{title:<44}{:>8}{:>8}{:>12}{:>14}\n", "GB/s", "best", "CPU-s/GB", "cores, others");
        for Moved { way, median, best, cpu_per_gb, others, .. } in self.moved.iter().filter(|moved| moved.kind == kind) {
            writeln!(text, "  {way:<42}{median:>8.2}{best:>8.2}{cpu_per_gb:>12.2}{others:>14.2}")
                .expect("writing to a String cannot fail");
        }
        text
    }

    fn times_of(&self, kind: Kind, title: &str) -> String {
        let mut text = format!("{title:<44}{:>8}{:>8}\n", "p50 µs", "p99 µs");
        for Timed { way, p50_us, p99_us, .. } in self.times.iter().filter(|timed| timed.kind == kind) {
            writeln!(text, "  {way:<42}{p50_us:>8.0}{p99_us:>8.0}").expect("writing to a String cannot fail");
        }
        text
    }
}

fn moved(kind: Kind, way: &'static str, passes: &[Pass]) -> Moved {
    let speeds: Vec<f64> = passes.iter().map(Pass::speed).collect();
    let bytes = passes.iter().map(|pass| pass.bytes).sum::<u64>() as f64;
    let cpu = passes.iter().map(|pass| pass.cpu_seconds).sum::<f64>();
    let others = median(&passes.iter().map(|pass| pass.others).collect::<Vec<_>>());
    let best = speeds.iter().copied().fold(0.0, f64::max);
    Moved { kind, way, median: median(&speeds), best, cpu_per_gb: cpu / (bytes / 1e9), others, passes: passes.to_vec() }
}

fn timed(kind: Kind, way: &'static str, times: &[f64]) -> Timed {
    let p99_us = quantile(&mut times.to_vec(), 0.99);
    Timed { kind, way, reads: times.len(), p50_us: median(times), p99_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_warms_up_is_not_counted() {
        let pass = |seconds| Pass { bytes: 1_000_000_000, seconds, cpu_seconds: 0.5, others: 0.0 };
        let mut figures = Figures::default();
        figures.note(Kind::Fetch, "cp", pass(100.0));
        figures.count = true;
        [1.0, 0.5, 4.0].into_iter().for_each(|seconds| figures.note(Kind::Fetch, "cp", pass(seconds)));
        figures.note(Kind::Serve, "cp", pass(1.0));
        let (kind, way, passes) = &figures.moved[0];
        let line = moved(*kind, way, passes);
        assert_eq!((line.passes.len(), line.median, line.best, line.cpu_per_gb), (3, 1.0, 2.0, 0.5));
        assert_eq!(figures.moved.len(), 2);
    }
}
