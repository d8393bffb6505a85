use std::time::Duration;

use serde::Serialize;

/// Of what went wrong, how much is told in words.
const TOLD: usize = 8;
/// Buckets of a doubling of time: each is 4.4 % wide.
const FINE: f64 = 16.0;
/// Up to 2^30 µs, 18 minutes.
const BUCKETS: usize = 30 * 16;

/// What a drill is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Before,
    During,
    After,
}

/// What happened so far.
#[derive(Debug, Default)]
pub struct Tally {
    latencies: [Latencies; 3],
    pub failed: Faults,
    pub wrong: Faults,
    pub lost: Faults,
    pub refused: Faults,
    /// Reads that met a node which the drill had taken away, and went on at another.
    pub retried: u64,
    /// Writes that met one.
    pub interrupted: u64,
}

impl Tally {
    pub fn took(&mut self, phase: Phase, time: Duration) {
        self.latencies[phase as usize].note(time);
    }

    pub fn figures(&self, phase: Phase) -> Figures {
        self.latencies[phase as usize].figures()
    }
}

/// Things of one kind that went wrong: how many, and the first ones in words.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub count: u64,
    pub told: Vec<String>,
}

impl Faults {
    pub fn note(&mut self, sentence: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < TOLD {
            self.told.push(sentence());
        }
    }
}

/// How many took how long: bounded, however many they are.
#[derive(Debug)]
struct Latencies(Vec<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

/// What reads took, in milliseconds, to 4 %.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    pub reads: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    fn note(&mut self, time: Duration) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0, and cut to the last bucket")]
        let bucket = ((time.as_secs_f64() * 1e6).max(1.0).log2() * FINE) as usize;
        self.0[bucket.min(BUCKETS - 1)] += 1;
    }

    fn figures(&self) -> Figures {
        let [p50_ms, p99_ms, max_ms] = [50, 99, 100].map(|percent| self.quantile(percent));
        Figures { reads: self.0.iter().sum(), p50_ms, p99_ms, max_ms }
    }

    /// The upper end of the bucket in which so many of a hundred have ended.
    fn quantile(&self, percent: u64) -> f64 {
        let wanted = (self.0.iter().sum::<u64>() * percent).div_ceil(100);
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted && wanted > 0
        });
        #[expect(clippy::cast_precision_loss, reason = "fewer than 500 buckets")]
        bucket.map_or(0.0, |bucket| ((bucket + 1) as f64 / FINE).exp2() / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_bucket() {
        let mut tally = Tally::default();
        assert_eq!(tally.figures(Phase::Before), Figures::default());
        (1..=1000).for_each(|ms| tally.took(Phase::During, Duration::from_millis(ms)));
        let found = tally.figures(Phase::During);
        assert_eq!((found.reads, tally.figures(Phase::After).reads), (1000, 0));
        for (found, right) in [(found.p50_ms, 500.0), (found.p99_ms, 990.0), (found.max_ms, 1000.0)] {
            assert!((right..right * 1.05).contains(&found), "{found} for {right}");
        }
    }

    #[test]
    fn only_the_first_faults_are_told() {
        let mut faults = Faults::default();
        (0..100).for_each(|n| faults.note(|| n.to_string()));
        assert_eq!((faults.count, faults.told.len()), (100, TOLD));
    }
}
