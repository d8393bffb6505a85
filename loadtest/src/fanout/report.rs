use std::fmt::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{FanOutArguments, Mode, Reader, Source};
use crate::figures::median;
use crate::lab::Carried;

/// Between two lines of a timeline.
const SAMPLE: Duration = Duration::from_millis(500);
const MIB: f64 = 1_048_576.0;

/// How far one node was.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// From the common beginning.
    pub seconds: f64,
    pub bytes: u64,
    /// By its link, from the machine's beginning.
    pub carried: Carried,
}

/// One node's end of a fan-out.
#[derive(Debug, Clone)]
pub struct Finish {
    pub seconds: f64,
    samples: Vec<Sample>,
}

/// Looks at one node's progress twice a second; on that node's host.
pub struct Sampler {
    began: Instant,
    next: Instant,
    done: u64,
    samples: Vec<Sample>,
}

impl Sampler {
    pub fn new(began: Instant) -> Self {
        Self { began, next: began, done: 0, samples: Vec::new() }
    }

    pub fn look(&mut self, done: u64) {
        self.done = done;
        self.again();
    }

    pub fn again(&mut self) {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + SAMPLE;
            self.sample(now);
        }
    }

    fn sample(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.began).as_secs_f64();
        self.samples.push(Sample { seconds, bytes: self.done, carried: Carried::here().unwrap_or_default() });
    }

    pub fn done(&self) -> u64 {
        self.done
    }

    pub fn end(mut self, done: u64) -> Finish {
        let now = Instant::now();
        self.done = done;
        self.sample(now);
        Finish { seconds: now.saturating_duration_since(self.began).as_secs_f64(), samples: self.samples }
    }
}

/// One fan-out. Bytes of links are with all headers.
#[derive(Debug, Clone, Serialize)]
pub struct Fan {
    pub nodes: usize,
    pub mode: Mode,
    /// Until the last node had all.
    pub seconds: f64,
    pub over_ideal: f64,
    /// Until each of them had.
    pub finished: Vec<f64>,
    /// Of the web server's answers, without their heads; where one node had it, by its link.
    pub origin_bytes: u64,
    pub origin_over_size: f64,
    /// By each node's link.
    pub sent: Vec<u64>,
    pub received: Vec<u64>,
    pub sent_max_over_mean: f64,
    /// In each node's own count; empty for the central server.
    pub served: Vec<u64>,
    /// Bytes into each zone from outside.
    pub into_zones: Vec<u64>,
    /// The share of the machine's cores that was busy, and seconds of them that the nodes used: where it is near 1, it was not the network that
    /// was measured.
    pub busy: f64,
    pub cpu_seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Vec<Sample>>,
}

impl Fan {
    pub fn new(mode: Mode, ideal: f64, finishes: &[Finish], carried: &[Carried]) -> Self {
        let finished: Vec<f64> = finishes.iter().map(|finish| finish.seconds).collect();
        let seconds = finished.iter().copied().fold(0.0, f64::max);
        let sent: Vec<u64> = carried.iter().map(|carried| carried.sent).collect();
        Self {
            nodes: finishes.len(),
            mode,
            seconds,
            over_ideal: seconds / ideal,
            finished,
            origin_bytes: 0,
            origin_over_size: 0.0,
            sent_max_over_mean: max_over_mean(&sent),
            sent,
            received: carried.iter().map(|carried| carried.received).collect(),
            served: Vec::new(),
            into_zones: Vec::new(),
            busy: 0.0,
            cpu_seconds: 0.0,
            timeline: Vec::new(),
        }
    }

    pub fn with(self, busy: f64, into_zones: Vec<u64>) -> Self {
        Self { busy, into_zones, ..self }
    }

    pub fn with_timeline(self, wanted: bool, finishes: Vec<Finish>) -> Self {
        let timeline = if wanted { finishes.into_iter().map(|finish| finish.samples).collect() } else { Vec::new() };
        Self { timeline, ..self }
    }

    pub fn count_origin(&mut self, bytes: u64, size: u64) {
        (self.origin_bytes, self.origin_over_size) = (bytes, bytes as f64 / size as f64);
    }
}

fn max_over_mean(values: &[u64]) -> f64 {
    let sum: u64 = values.iter().sum();
    let max = values.iter().max().copied().unwrap_or(0);
    if sum == 0 { 1.0 } else { max as f64 * values.len() as f64 / sum as f64 }
}

#[derive(Debug, Serialize)]
pub struct FanOutReport {
    pub size: u64,
    pub rate: String,
    pub delay_ms: u64,
    pub zones: usize,
    pub from: Source,
    pub reader: Reader,
    /// Size over rate, in seconds.
    pub ideal: f64,
    /// Of the kernel: it changes how much a link carries.
    pub congestion: String,
    pub fans: Vec<Fan>,
}

impl FanOutReport {
    pub fn new(arguments: &FanOutArguments) -> Self {
        let size = arguments.size.as_u64();
        let congestion = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
        Self {
            size,
            rate: arguments.rate.to_string(),
            delay_ms: arguments.delay,
            zones: arguments.zones,
            from: arguments.from,
            reader: arguments.reader,
            ideal: arguments.rate.seconds(size),
            congestion: congestion.trim().to_owned(),
            fans: Vec::new(),
        }
    }

    /// For each number of nodes, the median time in that mode.
    pub fn times(&self, mode: Mode) -> Vec<(usize, f64)> {
        let mut nodes: Vec<usize> = self.fans.iter().filter(|fan| fan.mode == mode).map(|fan| fan.nodes).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let times = |nodes| self.fans.iter().filter(move |fan| fan.mode == mode && fan.nodes == nodes).map(|fan| fan.seconds);
        nodes.into_iter().map(|nodes| (nodes, median(&times(nodes).collect::<Vec<_>>()))).collect()
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    /// What was measured, in a line.
    pub fn title(&self) -> String {
        let (mib, rate, ideal, congestion) = (self.size as f64 / MIB, &self.rate, self.ideal, &self.congestion);
        let from = match self.from {
            Source::Origin => "an origin",
            Source::Blob => "one node",
        };
        let by = match self.reader {
            Reader::Prefetch => "prefetch",
            Reader::Get => "GET",
        };
        let delay = if self.delay_ms > 0 { format!(" and {} ms", self.delay_ms) } else { String::new() };
        format!("{mib:.0} MiB from {from} by {by}, links of {rate}{delay} with {congestion}; size ÷ rate is {ideal:.2} s")
    }

    pub fn table(&self) -> String {
        let mut table = self.title();
        table +=
            "\nnodes mode     seconds  × ideal    first   median  origin ÷ size  sent max ÷ mean  max MiB sent  busy   cpu s";
        if self.zones > 1 {
            table += "  into zones ÷ size";
        }
        for fan in &self.fans {
            let Fan { nodes, seconds, over_ideal, origin_over_size, sent_max_over_mean, cpu_seconds, .. } = fan;
            let (name, busy) = (fan.mode.name(), 100.0 * fan.busy);
            let first = fan.finished.iter().copied().fold(f64::INFINITY, f64::min);
            let (middle, most) = (median(&fan.finished), fan.sent.iter().max().copied().unwrap_or(0) as f64 / MIB);
            write!(
                table,
                "\n{nodes:>5} {name:<7}{seconds:>9.2}{over_ideal:>9.2}{first:>9.2}{middle:>9.2}{origin_over_size:>15.3}\
                 {sent_max_over_mean:>17.2}{most:>14.1}{busy:>5.0}%{cpu_seconds:>8.1}"
            )
            .expect("writing to a String cannot fail");
            if self.zones > 1 {
                let shares: Vec<String> =
                    fan.into_zones.iter().map(|bytes| format!("{:.2}", *bytes as f64 / self.size as f64)).collect();
                table += &format!("  {}", shares.join(" "));
            }
        }
        table
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn fan(mode: Mode, nodes: usize, seconds: f64) -> Fan {
        let finish = Finish { seconds, samples: Vec::new() };
        let sooner = Finish { seconds: seconds / 2.0, samples: Vec::new() };
        let carried = Carried { sent: 3 << 20, received: 10 << 20 };
        let least = Carried { sent: 1 << 20, ..carried };
        let finishes: Vec<Finish> = [finish].into_iter().chain(vec![sooner; nodes - 1]).collect();
        Fan::new(mode, 10.0, &finishes, &[vec![carried], vec![least; nodes - 1]].concat()).with(0.5, vec![10 << 20, 20 << 20])
    }

    pub fn report() -> FanOutReport {
        let fans = Mode::ALL.into_iter().flat_map(|mode| [fan(mode, 2, 12.0), fan(mode, 16, 15.0)]).collect();
        FanOutReport {
            size: 10 << 20,
            rate: "8mbit".into(),
            delay_ms: 5,
            zones: 2,
            from: Source::Origin,
            reader: Reader::Get,
            ideal: 10.0,
            congestion: "cubic".into(),
            fans,
        }
    }

    #[test]
    fn columns_line_up_and_json_parses() {
        let mut report = report();
        report.fans[0].count_origin(20 << 20, 10 << 20);
        let table = report.table();
        let widths: Vec<usize> = table.lines().skip(2).map(|line| line.chars().count()).collect();
        assert_eq!(widths, [widths[0]; 6], "{table}");
        assert!(table.contains("12.00     1.20     6.00     9.00          2.000             1.50"), "{table}");
        assert!(table.ends_with("1.00 2.00"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((json["fans"][5]["over_ideal"].as_f64(), &json["fans"][5]["mode"]), (Some(1.5), &"swarm".into()));
    }

    #[test]
    fn the_time_for_a_number_of_nodes_is_the_median_of_its_runs() {
        let mut report = report();
        report.fans.extend([fan(Mode::Swarm, 2, 14.0), fan(Mode::Swarm, 2, 90.0)]);
        assert_eq!(report.times(Mode::Swarm), [(2, 14.0), (16, 15.0)]);
    }

    #[test]
    fn the_timeline_ends_with_all_bytes() {
        let mut sampler = Sampler::new(Instant::now());
        sampler.look(5);
        sampler.look(7);
        let finish = sampler.end(10);
        assert_eq!((finish.samples.first().unwrap().bytes, finish.samples.last().unwrap().bytes), (5, 10));
    }
}
