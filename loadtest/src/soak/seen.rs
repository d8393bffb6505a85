use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::tally::Tally;

/// Failures that are told of.
const TOLD: usize = 20;

/// What all workers saw.
pub struct Seen {
    tallies: Mutex<(Tally, Tally)>,
    failures: Mutex<Vec<String>>,
    counts: [AtomicU64; Count::ALL.len()],
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    Reads,
    Puts,
    Prefetches,
    Names,
    Deletes,
    /// What had to be done again, as where a connection was closed under it.
    Retries,
    Failures,
}

impl Count {
    pub const ALL: [Self; 7] =
        [Self::Reads, Self::Puts, Self::Prefetches, Self::Names, Self::Deletes, Self::Retries, Self::Failures];
}

impl Default for Seen {
    fn default() -> Self {
        Self { tallies: Mutex::new((Tally::new(), Tally::new())), failures: Mutex::default(), counts: Default::default() }
    }
}

impl Seen {
    pub fn count(&self, what: Count) {
        self.counts[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn counted(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    /// A read of what its node has, as a rule.
    pub fn warm(&self, took: Duration, bytes: usize) {
        self.count(Count::Reads);
        self.tallies().0.record(took, bytes);
    }

    /// A read of what is new to its node.
    pub fn cold(&self, took: Duration, bytes: usize) {
        self.count(Count::Reads);
        self.tallies().1.record(took, bytes);
    }

    pub fn failed(&self, why: String) {
        self.count(Count::Failures);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < TOLD {
            failures.push(why);
        }
    }

    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The warm and the cold reads since it was asked last.
    pub fn window(&self) -> (Tally, Tally) {
        std::mem::replace(&mut *self.tallies(), (Tally::new(), Tally::new()))
    }

    fn tallies(&self) -> MutexGuard<'_, (Tally, Tally)> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
