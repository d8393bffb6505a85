use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use herring_ring::NodeId;

/// How this node's own questions to its peers went lately: which of several owners is asked first.
/// Never used for placement, on which all nodes must agree.
#[derive(Debug, Default)]
pub(crate) struct Health {
    peers: Mutex<HashMap<NodeId, Peer>>,
    /// When an origin failed last, of those that gave nothing since.
    origins: Mutex<HashMap<String, Instant>>,
    pace: Pace,
}

/// How long peers took lately to begin an answer that they could give at once, the slowest of them counting longest: on a machine without an
/// idle processor that is hundreds of milliseconds, elsewhere one.
#[derive(Debug)]
struct Pace(AtomicU64);

impl Default for Pace {
    /// Nothing is known yet, and the first questions are the slowest.
    fn default() -> Self {
        Self(AtomicU64::new(micros(SHORTEST)))
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Peer {
    waiting: u32,
    /// Microseconds, smoothed.
    latency: u64,
    failed: Option<Instant>,
}

/// Smaller is better.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    failed_lately: bool,
    waiting: u32,
    latency: u64,
}

/// A question that is being asked; counts as load until dropped. Dropped after its patience without an answer, it lost
/// to another peer: that counts as a failure, or the one that hangs, idle as it is, would be asked first for every chunk.
pub(crate) struct Question<'a> {
    health: &'a Health,
    peer: NodeId,
    asked: Instant,
    patience: Duration,
    settled: bool,
}

/// The least that a silent peer is waited for: a hundred times what an answer takes in a data centre.
const SHORTEST: Duration = Duration::from_millis(300);
/// How many times as long as the slowest took lately.
const TIMES: u32 = 4;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A peer that failed is asked last for this long: one reader pays for finding out, not all.
const SHUNNED: Duration = Duration::from_secs(3);

impl Health {
    pub fn standing(&self, peer: &NodeId) -> Standing {
        let peer = self.with(peer, |peer| *peer);
        let failed_lately = peer.failed.is_some_and(|at| at.elapsed() < SHUNNED);
        Standing { failed_lately, waiting: peer.waiting, latency: peer.latency }
    }

    pub fn failed(&self, peer: &NodeId) {
        self.with(peer, |peer| peer.failed = Some(Instant::now()));
    }

    pub fn failed_lately(&self, peer: &NodeId) -> bool {
        self.standing(peer).failed_lately
    }

    /// A peer began an answer that it could give at once.
    pub fn began(&self, took: Duration) {
        let slower = |slowest: u64| Some(micros(took).max(slowest / 8 * 7));
        let _ = self.pace.0.fetch_update(Relaxed, Relaxed, slower);
    }

    /// How long a peer may be silent before it begins to answer, at most `most`: where peers are quick, less.
    pub fn patience(&self, most: Duration) -> Duration {
        let slowest = Duration::from_micros(self.pace.0.load(Relaxed));
        (slowest * TIMES).max(SHORTEST).min(most)
    }

    /// What was asked of an origin failed, and not because of what was asked.
    pub fn origin_failed(&self, origin: &str) {
        self.origins().insert(origin.to_owned(), Instant::now());
    }

    pub fn origin_answered(&self, origin: &str) {
        self.origins().remove(origin);
    }

    pub fn origin_failed_lately(&self, origin: &str) -> bool {
        self.origins().get(origin).is_some_and(|at| at.elapsed() < SHUNNED)
    }

    fn origins(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn ask(&self, peer: &NodeId, patience: Duration) -> Question<'_> {
        self.with(peer, |peer| peer.waiting += 1);
        Question { health: self, peer: peer.clone(), asked: Instant::now(), patience, settled: false }
    }

    /// Forgets peers that are gone.
    pub fn retain(&self, alive: impl Fn(&NodeId) -> bool) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).retain(|peer, state| state.waiting > 0 || alive(peer));
    }

    fn with<T>(&self, peer: &NodeId, f: impl FnOnce(&mut Peer) -> T) -> T {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        f(peers.entry(peer.clone()).or_default())
    }
}

impl Question<'_> {
    pub fn answered(&mut self) {
        self.settled = true;
        let took = micros(self.asked.elapsed());
        self.health.with(&self.peer, |peer| {
            peer.failed = None;
            peer.latency = if peer.latency == 0 { took } else { (peer.latency / 8).saturating_mul(7).saturating_add(took / 8) };
        });
    }

    /// Says nothing about the peer yet.
    pub fn given_up(&mut self) {
        self.settled = true;
    }

    pub fn failed(&mut self) {
        self.settled = true;
        self.health.failed(&self.peer);
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if !self.settled && self.asked.elapsed() >= self.patience {
            self.failed();
        }
        self.health.with(&self.peer, |peer| peer.waiting = peer.waiting.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failed_come_last_and_an_answer_redeems() {
        let health = Health::default();
        let (good, bad): (NodeId, NodeId) = ("good".parse().unwrap(), "bad".parse().unwrap());
        let asking = health.ask(&good, Duration::MAX);
        health.ask(&bad, Duration::MAX).failed();
        assert!(health.standing(&good) < health.standing(&bad));
        health.ask(&bad, Duration::MAX).answered();
        assert!(health.standing(&bad) < health.standing(&good), "the good one is busy");
        drop(asking);
        assert_eq!(health.standing(&good).waiting, 0);
        assert!(!health.failed_lately(&good), "nobody lost patience");
    }

    #[test]
    fn where_peers_are_quick_silence_is_noticed_soon() {
        let (health, most) = (Health::default(), Duration::from_secs(1));
        assert_eq!(health.patience(most), most, "nothing is known yet");
        for _ in 0..20 {
            health.began(Duration::from_millis(1));
        }
        assert_eq!(health.patience(most), SHORTEST);
        health.began(Duration::from_millis(200));
        assert_eq!(health.patience(most), Duration::from_millis(800));
        assert_eq!(health.patience(Duration::from_millis(30)), Duration::from_millis(30));
    }

    #[test]
    fn who_is_not_waited_for_any_longer_failed() {
        let (health, slow) = (Health::default(), "slow".parse().unwrap());
        health.ask(&slow, Duration::ZERO).answered();
        assert!(!health.failed_lately(&slow));
        drop(health.ask(&slow, Duration::ZERO));
        assert!(health.failed_lately(&slow));
    }
}
