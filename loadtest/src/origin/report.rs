use std::fmt::Write;

use serde::Serialize;

use super::OriginArguments;
use super::crowd::{Listing, Together};
use super::reads::Times;
use crate::figures::{median, quantile};

/// One way to the bytes, beside asking the origin oneself in the same swarm.
#[derive(Debug, Serialize)]
pub struct Line {
    pub what: String,
    pub way: &'static str,
    pub reads: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// Over the origin itself: the difference of the medians and of the p99, and the ratio of the medians.
    pub more_p50_ms: f64,
    pub more_p99_ms: f64,
    pub ratio: f64,
    /// All of them, in the order of the reads.
    pub ms: Vec<f64>,
}

#[derive(Debug, Serialize)]
pub struct OriginReport {
    pub nodes: usize,
    pub latency_ms: u64,
    /// Bytes a second of each connection to the origin; 0: as many as go.
    pub rate: u64,
    pub size: u64,
    pub large: u64,
    pub listers: usize,
    pub seed: u64,
    pub calm: Vec<Line>,
    /// With half of the nodes stopped.
    pub half: Vec<Line>,
    pub together: Vec<Together>,
    pub listings: Vec<Listing>,
}

impl OriginReport {
    pub fn new(
        arguments: &OriginArguments,
        calm: Vec<Times>,
        half: Vec<Times>,
        together: Vec<Together>,
        listings: Vec<Listing>,
    ) -> Self {
        let OriginArguments { nodes, latency: latency_ms, listers, seed, .. } = *arguments;
        let [rate, size, large] = [arguments.rate, arguments.size, arguments.large].map(|size| size.as_u64());
        let [calm, half] = [calm, half].map(|times| lines(&times, size));
        Self { nodes, latency_ms, rate, size, large, listers, seed, calm, half, together, listings }
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    pub fn table(&self) -> String {
        let Self { nodes, latency_ms, rate, .. } = self;
        let rate = if *rate == 0 { "without a limit".to_owned() } else { format!("{:.0} MB/s a connection", *rate as f64 / 1e6) };
        let mut table = format!("{nodes} nodes, an origin of {latency_ms} ms and {rate}\n");
        if !self.calm.is_empty() {
            table += &rows("all nodes are up", &self.calm);
        }
        if !self.half.is_empty() {
            table += &rows(&format!("{} of {nodes} nodes hang", nodes.div_ceil(2)), &self.half);
        }
        table += &self.crowd();
        table.truncate(table.trim_end().len());
        table
    }

    fn crowd(&self) -> String {
        let mut text = String::new();
        for Together { alone_seconds, seconds, cpu_seconds, sent_per_unique, gets, heads } in &self.together {
            let (ratio, size) = (seconds / alone_seconds, mib(self.large));
            writeln!(
                text,
                "{size} by all {} nodes at once: {seconds:.2} s ({cpu_seconds:.2} s of CPU), oneself alone {alone_seconds:.2} s, ratio {ratio:.2}; bytes from the \
                 origin / unique bytes {sent_per_unique:.3}, {gets} GETs, {heads} HEADs",
                self.nodes
            )
            .expect("writing to a String cannot fail");
        }
        for Listing { alone_ms, each_ms, lists, others } in &self.listings {
            let (p50, p99) = (median(each_ms), quantile(&mut each_ms.clone(), 0.99));
            writeln!(
                text,
                "{} listings at once: {lists} at the origin, {others} other requests; {p50:.1} ms, p99 {p99:.1} ms, oneself {alone_ms:.1} ms",
                each_ms.len()
            )
            .expect("writing to a String cannot fail");
        }
        text
    }
}

/// The first way is what the others are compared with.
fn lines(times: &[Times], size: u64) -> Vec<Line> {
    let of = |what: String, part: fn(&Times) -> &Vec<f64>| {
        let base = times.first().map(|times| part(times).clone()).unwrap_or_default();
        let line = move |times: &Times| line(&what, times.way, part(times), &base);
        times.iter().filter(|times| !part(times).is_empty()).map(line).collect::<Vec<_>>()
    };
    let (first, whole) = (of("first 64 KiB".to_owned(), |times| &times.first), of(mib(size), |times| &times.whole));
    first.into_iter().chain(whole).collect()
}

fn line(what: &str, way: &'static str, times: &[f64], base: &[f64]) -> Line {
    let p99 = |times: &[f64]| quantile(&mut times.to_vec(), 0.99);
    let (p50_ms, p99_ms, base_p50) = (median(times), p99(times), median(base));
    Line {
        what: what.to_owned(),
        way,
        reads: times.len(),
        p50_ms,
        p99_ms,
        max_ms: quantile(&mut times.to_vec(), 1.0),
        more_p50_ms: p50_ms - base_p50,
        more_p99_ms: p99_ms - p99(base),
        ratio: p50_ms / base_p50,
        ms: times.to_vec(),
    }
}

fn rows(title: &str, lines: &[Line]) -> String {
    let [reads, p50, p99, max, more, more_p99, ratio] = ["reads", "p50 ms", "p99 ms", "max ms", "+p50 ms", "+p99 ms", "ratio"];
    let mut text = format!("{title:<36}{reads:>6}{p50:>9}{p99:>9}{max:>9}{more:>9}{more_p99:>9}{ratio:>7}\n");
    for Line { what, way, reads, p50_ms, p99_ms, max_ms, more_p50_ms, more_p99_ms, ratio, .. } in lines {
        writeln!(
            text,
            "{what:<14}{way:<22}{reads:>6}{p50_ms:>9.1}{p99_ms:>9.1}{max_ms:>9.1}{more_p50_ms:>9.1}{more_p99_ms:>9.1}{ratio:>7.2}"
        )
        .expect("writing to a String cannot fail");
    }
    text
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(way: &'static str, first: &[f64], whole: &[f64]) -> Times {
        Times { way, first: first.to_vec(), whole: whole.to_vec() }
    }

    #[test]
    fn ways_are_compared_with_the_first_of_their_kind() {
        let seen = [
            times("oneself", &[10.0, 20.0, 30.0], &[100.0]),
            times("cold", &[30.0, 40.0, 90.0], &[150.0]),
            times("none", &[], &[]),
        ];
        let lines = lines(&seen, 16 << 20);
        let told: Vec<_> = lines.iter().map(|line| (line.what.as_str(), line.way, line.more_p50_ms, line.ratio)).collect();
        let first = ("first 64 KiB", "oneself", 0.0, 1.0);
        assert_eq!(
            told,
            [first, ("first 64 KiB", "cold", 20.0, 2.0), ("16 MiB", "oneself", 0.0, 1.0), ("16 MiB", "cold", 50.0, 1.5)]
        );
        assert_eq!((lines[1].more_p99_ms, lines[1].max_ms, lines[1].reads), (60.0, 90.0, 3));
        let text = rows("all nodes are up", &lines);
        let widths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(widths, [widths[0]; 5], "{text}");
    }
}
