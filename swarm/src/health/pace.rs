use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::recent::micros;

/// How long peers took lately to begin an answer that they could give at once, the slowest of them counting longest: on a machine without an
/// idle processor that is hundreds of milliseconds, elsewhere one.
#[derive(Debug)]
pub(super) struct Pace(AtomicU64);

/// What is taken for the slowest at first, and what no question that ends sooner says anything about: a hundred times what an answer takes in a data centre.
pub(super) const SHORTEST: Duration = Duration::from_millis(500);
/// How many times as long as the slowest took lately.
const TIMES: u32 = 4;

impl Default for Pace {
    /// Nothing is known yet, and the first questions are the slowest.
    fn default() -> Self {
        Self(AtomicU64::new(micros(SHORTEST)))
    }
}

impl Pace {
    pub fn note(&self, took: Duration) {
        let slower = |slowest: u64| Some(micros(took).max(slowest / 8 * 7));
        let _ = self.0.fetch_update(Relaxed, Relaxed, slower);
    }

    pub fn patience(&self, least: Duration, most: Duration) -> Duration {
        let slowest = Duration::from_micros(self.0.load(Relaxed));
        (slowest * TIMES).max(least).min(most)
    }
}
