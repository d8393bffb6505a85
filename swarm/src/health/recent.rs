use std::time::Duration;

/// How long a peer's last answers kept their asker waiting at their slowest, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Recent {
    samples: [u64; KEPT],
    /// All that there ever were.
    count: usize,
    median: u64,
    p95: u64,
}

/// Enough for a p95, few enough that a peer's bad minute is over with its next two chunks' worth of questions.
const KEPT: usize = 32;
/// A median of fewer says nothing.
pub(super) const FEW: usize = 3;
/// Below that a p95 is only the largest.
const ENOUGH: usize = 20;

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Recent {
    pub fn push(&mut self, took: Duration) {
        self.samples[self.count % KEPT] = micros(took);
        self.count += 1;
        let mut sorted = self.samples;
        let known = &mut sorted[..self.count.min(KEPT)];
        known.sort_unstable();
        self.median = known[(known.len() - 1) / 2];
        self.p95 = known[(known.len() * 95).div_ceil(100) - 1];
    }

    pub fn median(&self) -> Option<u64> {
        (self.count >= FEW).then_some(self.median)
    }

    pub fn p95(&self) -> Option<u64> {
        (self.count >= ENOUGH).then_some(self.p95)
    }

    /// What the last few took: the middle one of three.
    pub fn latest(&self) -> Option<u64> {
        let from = self.count.checked_sub(FEW)?;
        let mut last: [u64; FEW] = std::array::from_fn(|index| self.samples[(from + index) % KEPT]);
        last.sort_unstable();
        Some(last[FEW / 2])
    }
}
