use std::time::Duration;

use serde::Serialize;

use super::reads::Read;
use crate::figures::quantile;

/// What some reads took.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    pub reads: usize,
    pub failed: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Figures {
    pub fn of<'a>(reads: impl Iterator<Item = &'a Read>) -> Self {
        let (mut failed, mut millis) = (0, Vec::new());
        for read in reads {
            failed += usize::from(read.failed.is_some());
            millis.push(millis_of(read.took));
        }
        let [p50_ms, p99_ms, max_ms] = [0.5, 0.99, 1.0].map(|share| quantile(&mut millis, share));
        Self { reads: millis.len(), failed, p50_ms, p99_ms, max_ms }
    }
}

fn millis_of(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What nodes counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Hedging {
    /// Chunks that peers gave.
    pub fetched: f64,
    /// Questions to peers that failed.
    pub failures: f64,
    /// Questions asked because another was slow.
    pub hedges: f64,
    /// Such that the budget did not allow.
    pub denied: f64,
}

impl Hedging {
    /// Out of a node's figures.
    pub fn of(metrics: &str) -> Self {
        let total = |name, label| total(metrics, name, label);
        Self {
            fetched: total("herring_swarm_chunks_fetched_total", "from=\"peer\""),
            failures: total("herring_swarm_peer_failures_total", ""),
            hedges: total("herring_swarm_hedges_total", ""),
            denied: total("herring_swarm_hedges_denied_total", ""),
        }
    }

    pub fn add(&mut self, other: &Self) {
        *self = self.with(other, |mine, others| mine + others);
    }

    pub fn since(&self, before: &Self) -> Self {
        self.with(before, |now, before| now - before)
    }

    /// Hedges of all that was fetched.
    pub fn share(&self) -> f64 {
        self.hedges / self.fetched.max(1.0)
    }

    fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            fetched: f(self.fetched, other.fetched),
            failures: f(self.failures, other.failures),
            hedges: f(self.hedges, other.hedges),
            denied: f(self.denied, other.denied),
        }
    }
}

/// Chunks that a node gave to its peers.
pub fn served(metrics: &str) -> f64 {
    total(metrics, "herring_swarm_chunks_served_total", "")
}

/// The sum of a metric over its labels, of those lines that have `label`.
fn total(metrics: &str, name: &str, label: &str) -> f64 {
    let rest = |line: &str| {
        line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label)).map(str::to_owned)
    };
    let value = |rest: String| rest.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    metrics.lines().filter_map(rest).filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_labels() {
        let text = "# HELP herring_swarm_hedges_total x\nherring_swarm_hedges_total 3\nherring_swarm_hedges_total_more 9\n\
                    herring_swarm_chunks_fetched_total{from=\"peer\"} 60\nherring_swarm_chunks_fetched_total{from=\"origin\"} 5\n\
                    herring_swarm_peer_failures_total{why=\"a\"} 1\nherring_swarm_peer_failures_total{why=\"b\"} 2\n";
        let mut found = Hedging::of(text);
        assert_eq!(found, Hedging { fetched: 60.0, failures: 3.0, hedges: 3.0, denied: 0.0 });
        assert_eq!((found.share(), found.since(&found), Hedging::default().share()), (0.05, Hedging::default(), 0.0));
        found.add(&found.clone());
        assert_eq!(found.fetched, 120.0);
    }

    #[test]
    fn a_failed_read_is_counted_with_its_time() {
        let read = |millis, failed: bool| Read {
            at: Duration::ZERO,
            took: Duration::from_millis(millis),
            failed: failed.then(|| "why".to_owned()),
        };
        let reads = [read(1, false), read(3, true), read(2, false)];
        assert_eq!(Figures::of(reads.iter()), Figures { reads: 3, failed: 1, p50_ms: 2.0, p99_ms: 3.0, max_ms: 3.0 });
    }
}
