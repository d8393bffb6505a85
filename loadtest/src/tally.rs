use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Microseconds above which latencies are not told apart, 10 minutes: more than a read may take.
const LONGEST: u64 = 600_000_000;

/// What one reader, or all of them together, saw.
pub struct Tally {
    micros: Histogram<u64>,
    bytes: u64,
}

/// One line of the report. Latencies are in microseconds, from asking to the last byte; verification comes after that,
/// but its time is part of `seconds`.
#[derive(Debug, Serialize, PartialEq)]
pub struct Row {
    pub readers: usize,
    pub reads: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub bytes_per_second: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

impl Tally {
    pub fn new() -> Self {
        // Three digits are finer than runs repeat.
        let micros = Histogram::new_with_bounds(1, LONGEST, 3).expect("these bounds and this precision are possible");
        Self { micros, bytes: 0 }
    }

    pub fn record(&mut self, took: Duration, bytes: usize) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.saturating_record(micros);
        self.bytes += bytes as u64;
    }

    pub fn add(&mut self, other: &Self) {
        self.micros.add(&other.micros).expect("all tallies have the same bounds");
        self.bytes += other.bytes;
    }

    pub fn row(&self, readers: usize, began: Instant) -> Row {
        let seconds = began.elapsed().as_secs_f64();
        Row {
            readers,
            reads: self.micros.len(),
            bytes: self.bytes,
            seconds,
            bytes_per_second: self.bytes as f64 / seconds,
            p50_us: self.micros.value_at_quantile(0.5),
            p99_us: self.micros.value_at_quantile(0.99),
            max_us: self.micros.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let (mut all, mut one, mut other) = (Tally::new(), Tally::new(), Tally::new());
        (1..=99).for_each(|millis| one.record(Duration::from_millis(millis), 10));
        other.record(Duration::from_secs(90), 10);
        all.add(&one);
        all.add(&other);
        let row = all.row(2, Instant::now());
        assert_eq!((row.readers, row.reads, row.bytes), (2, 100, 1000));
        assert!((50_000..50_100).contains(&row.p50_us), "{row:?}");
        assert!((99_000..99_200).contains(&row.p99_us), "{row:?}");
        assert!((90_000_000..90_100_000).contains(&row.max_us), "{row:?}");
    }
}
