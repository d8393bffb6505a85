use std::time::{Duration, Instant};

use super::breaker::Breaker;
use super::recent::Recent;

/// What is known of one peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Questions under way.
    pub waiting: u32,
    pub recent: Recent,
    pub breaker: Breaker,
    pub told: Told,
    /// When the first was asked of those questions to which nothing came since.
    pub silent_since: Option<Instant>,
    /// For how long it was silent before that: while nobody asks it, it is not.
    silent_before: Duration,
}

/// Bytes that the peer said that it is about to send, and when.
#[derive(Debug, Default)]
pub(super) struct Told(Option<(u64, Instant)>);

/// For how long what a peer said of its load counts: in a second 10 Gbit/s send a GB.
const LOAD_LASTS: Duration = Duration::from_secs(1);

impl Told {
    pub fn new(bytes: u64, now: Instant) -> Self {
        Self(Some((bytes, now)))
    }

    pub fn left(&self, now: Instant) -> u64 {
        let Some((bytes, at)) = self.0 else { return 0 };
        let left = LOAD_LASTS.saturating_sub(now.saturating_duration_since(at));
        let part = u128::from(bytes) * left.as_micros() / LOAD_LASTS.as_micros();
        u64::try_from(part).unwrap_or(bytes)
    }
}

impl Peer {
    pub fn asked(&mut self, now: Instant) {
        self.waiting += 1;
        self.silent_since.get_or_insert(now);
    }

    /// Nothing is outstanding that the peer should have answered before it answers anything else.
    pub fn heard(&mut self) {
        (self.silent_since, self.silent_before) = (None, Duration::ZERO);
    }

    /// A question is over, answered or not.
    pub fn left(&mut self, now: Instant) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            let since = self.silent_since.take();
            self.silent_before += since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        }
    }

    /// For how long nothing came, at least as long as the question that ends now has waited.
    pub fn silence(&self, waited: Duration, now: Instant) -> Duration {
        let since = self.silent_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        waited.max(self.silent_before + since)
    }
}
