use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use herring_ring::NodeId;

/// How this node's own questions to its peers went lately: which of several owners is asked first.
/// Never used for placement, on which all nodes must agree.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<HashMap<NodeId, Peer>>);

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

/// A question that is being asked; counts as load until dropped.
pub(crate) struct Question<'a> {
    health: &'a Health,
    peer: NodeId,
    asked: Instant,
}

/// A peer that failed is asked last for this long: one reader pays for finding out, not all.
const SHUNNED: Duration = Duration::from_secs(3);

impl Health {
    pub fn standing(&self, peer: &NodeId) -> Standing {
        let peer = self.with(peer, |peer| *peer);
        let failed_lately = peer.failed.is_some_and(|at| at.elapsed() < SHUNNED);
        Standing { failed_lately, waiting: peer.waiting, latency: peer.latency }
    }

    pub fn failed_lately(&self, peer: &NodeId) -> bool {
        self.standing(peer).failed_lately
    }

    pub fn ask(&self, peer: &NodeId) -> Question<'_> {
        self.with(peer, |peer| peer.waiting += 1);
        Question { health: self, peer: peer.clone(), asked: Instant::now() }
    }

    /// Forgets peers that are gone.
    pub fn retain(&self, alive: impl Fn(&NodeId) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|peer, state| state.waiting > 0 || alive(peer));
    }

    fn with<T>(&self, peer: &NodeId, f: impl FnOnce(&mut Peer) -> T) -> T {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(peers.entry(peer.clone()).or_default())
    }
}

impl Question<'_> {
    pub fn answered(&self) {
        let took = u64::try_from(self.asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.health.with(&self.peer, |peer| {
            peer.failed = None;
            peer.latency = if peer.latency == 0 { took } else { (peer.latency / 8).saturating_mul(7).saturating_add(took / 8) };
        });
    }

    pub fn failed(&self) {
        self.health.with(&self.peer, |peer| peer.failed = Some(Instant::now()));
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
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
        let asking = health.ask(&good);
        health.ask(&bad).failed();
        assert!(health.standing(&good) < health.standing(&bad));
        health.ask(&bad).answered();
        assert!(health.standing(&bad) < health.standing(&good), "the good one is busy");
        drop(asking);
        assert_eq!(health.standing(&good).waiting, 0);
    }
}
