use std::time::{Duration, Instant};

use herring_ring::NodeId;

use super::Health;
use super::breaker::Why;
use super::pace::SHORTEST;
use super::peer::Told;

/// A question that is being asked; counts as load until dropped. Dropped without an answer, it lost to another peer: after its patience that
/// counts as slow, and after what a silent peer is waited for at least as a failure, or the one that hangs, idle as it is, would be asked
/// first for every chunk.
pub(crate) struct Question<'a> {
    health: &'a Health,
    peer: NodeId,
    asked: Instant,
    /// When the last of it came, or it was asked.
    heard: Instant,
    /// The longest that nothing came, as far as that was measured.
    longest: Option<Duration>,
    patience: Duration,
    /// It tries a peer that was passed by.
    probe: bool,
    /// The peer said that it waits, for its turn or for others.
    waits: bool,
    settled: bool,
}

impl<'a> Question<'a> {
    pub(super) fn new(health: &'a Health, peer: &NodeId, patience: Duration) -> Self {
        let now = Instant::now();
        let probe = health.peers().with(peer, |peer| {
            peer.asked(now);
            peer.breaker.begin(now)
        });
        Self { health, peer: peer.clone(), asked: now, heard: now, longest: None, patience, probe, waits: false, settled: false }
    }

    /// The answer's head is here, `took` after it was asked for. Only where the peer could give it at once: not where it was to wait for an
    /// origin, or for its turn.
    pub fn began(&mut self, took: Duration) {
        self.waited(took);
    }

    /// The next piece is here, `gap` after the head or the one before. Only of what the peer has: what comes to it as well says nothing of it.
    pub fn piece(&mut self, gap: Duration) {
        self.waited(gap);
    }

    /// It is alive, and waits for others.
    pub fn alive(&mut self) {
        self.heard = Instant::now();
        self.health.peers().with(&self.peer, |peer| peer.heard());
    }

    /// The peer is alive and waits, for its turn or for others: however long that takes, it is not the peer's silence.
    pub fn waits(&mut self) {
        self.waits = true;
        self.alive();
    }

    /// Not in time, or not for now: the failure of who should have sent it, and nobody's where it waited.
    pub fn ran_out(&mut self) {
        if self.waits { self.given_up() } else { self.failed() }
    }

    fn waited(&mut self, time: Duration) {
        self.heard = Instant::now();
        self.longest = Some(self.longest.unwrap_or_default().max(time));
        self.health.peers().with(&self.peer, |peer| peer.heard());
    }

    /// The peer said that it is about to send so many bytes, to all who asked it.
    pub fn told(&mut self, bytes: u64) {
        self.health.peers().with(&self.peer, |peer| peer.told = Told::new(bytes, Instant::now()));
    }

    pub fn answered(&mut self) {
        self.settled = true;
        self.health.peers().answered(&self.peer, self.asked, self.longest, Instant::now());
    }

    /// Says nothing about the peer yet.
    pub fn given_up(&mut self) {
        self.settled = true;
    }

    pub fn failed(&mut self) {
        self.settled = true;
        self.health.failed(&self.peer);
    }

    /// As if it had been asked so much earlier.
    #[cfg(test)]
    pub fn as_if_asked(&mut self, earlier: Duration) {
        self.asked -= earlier;
        self.heard -= earlier;
    }

    /// Another was quicker.
    fn lost(&mut self, waited: Duration) {
        if waited >= self.patience.max(SHORTEST) {
            return self.failed();
        }
        let (mut peers, now) = (self.health.peers(), Instant::now());
        let silence = peers.with(&self.peer, |peer| peer.silence(waited, now));
        peers.took(&self.peer, silence, now);
        if self.probe {
            peers.trip(&self.peer, Why::Slow, now);
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let waited = self.heard.elapsed();
        if !self.settled && !self.waits && waited >= self.patience {
            self.lost(waited);
        }
        self.health.peers().with(&self.peer, |peer| {
            peer.left(Instant::now());
            if self.settled && peer.waiting == 0 {
                peer.heard();
            }
            if self.probe {
                peer.breaker.end_probe();
            }
        });
    }
}
