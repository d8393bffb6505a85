//! How this node's own questions to its peers went lately: which of several owners is asked first, when the next is asked as well, and who is
//! passed by. Never used for placement, on which all nodes must agree.

mod breaker;
mod budget;
mod outages;
mod pace;
mod peer;
mod peers;
mod question;
mod recent;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use herring_gossip::View;
use herring_ring::NodeId;

use breaker::{SHUNNED, Why};
use budget::Budget;
pub(crate) use outages::Outages;
use pace::Pace;
use peers::Peers;
pub(crate) use question::Question;

#[derive(Debug, Default)]
pub(crate) struct Health {
    peers: Mutex<Peers>,
    /// Of origins that are asked for bytes.
    pub origins: Outages,
    pace: Pace,
    hedges: Budget,
}

/// Smaller is better.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    turn: Turn,
    waiting: u32,
    /// Microseconds.
    latency: u64,
}

/// Whose turn it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// It was passed by for long enough. One question will tell, and that is asked before any other, or nobody would ever find out.
    Probe,
    #[default]
    Well,
    PassedBy,
}

/// The least after which a second peer is asked. Where all answer within a millisecond, one that takes three was only not scheduled.
const SOONEST: Duration = Duration::from_millis(5);
/// How many times what the swarm takes usually it takes at least.
const TIMES_USUAL: u32 = 2;
/// What one question of ours may bring a peer to send: a chunk, in bytes.
const QUESTION: u64 = 4 << 20;

impl Health {
    pub fn standing(&self, peer: &NodeId) -> Standing {
        let now = Instant::now();
        self.peers().with(peer, |peer| {
            let turn = match (peer.breaker.is_open(now), peer.breaker.is_tripped()) {
                (true, _) => Turn::PassedBy,
                (false, true) => Turn::Probe,
                (false, false) => Turn::Well,
            };
            Standing { turn, waiting: peer.waiting, latency: peer.recent.median().unwrap_or_default() }
        })
    }

    /// Whether to pass this peer by: it failed, or was far slower than the others, and the time for which that counts is not over; or it is,
    /// and the one question that will tell is under way.
    pub fn is_open(&self, peer: &NodeId) -> bool {
        self.peers().get(peer).is_some_and(|peer| peer.breaker.is_open(Instant::now()))
    }

    /// As [`Health::is_open`], but only of those that failed: one that is slow still keeps and answers.
    pub fn failed_lately(&self, peer: &NodeId) -> bool {
        self.peers().get(peer).is_some_and(|peer| peer.breaker.has_failed(Instant::now()))
    }

    pub fn failed(&self, peer: &NodeId) {
        self.peers().trip(peer, Why::Failed, Instant::now());
    }

    /// Bytes that the peer is about to send, as far as is known here: what this node has asked it for, and what it told of itself, which counts
    /// less with every millisecond and after a second nothing.
    pub fn load(&self, peer: &NodeId) -> u64 {
        let now = Instant::now();
        self.peers().get(peer).map_or(0, |peer| (u64::from(peer.waiting) * QUESTION).saturating_add(peer.told.left(now)))
    }

    /// How long nothing may come from the peer before another is asked as well, at most `most`: what it took in all but one of twenty of its
    /// last answers, and not much less than is usual here. `most` where too little is known.
    ///
    /// A peer that was slow or failed has no say in it: it is waited for as long as the others.
    pub fn hedge_after(&self, peer: &NodeId, most: Duration) -> Duration {
        let peers = self.peers();
        let own = peers.get(peer).filter(|peer| !peer.breaker.is_tripped()).and_then(|peer| peer.recent.p95());
        let Some(late) = own.or_else(|| peers.usual(peer, |one| one.recent.p95())) else { return most };
        let usual = peers.usual(peer, |one| one.recent.median()).unwrap_or_default();
        let (late, usual) = (Duration::from_micros(late), Duration::from_micros(usual));
        late.max(usual * TIMES_USUAL).max(SOONEST).min(most)
    }

    /// Whether one more question may be asked only because another takes long; if so it is taken off the budget.
    pub fn may_hedge(&self) -> bool {
        self.hedges.spend()
    }

    /// A peer began an answer that it could give at once.
    pub fn began(&self, took: Duration) {
        self.pace.note(took);
    }

    /// How long a peer may be silent before it begins to answer: `most`, or less where peers are quick.
    pub fn patience(&self, least: Duration, most: Duration) -> Duration {
        self.pace.patience(least, most)
    }

    pub fn origin_failed_lately(&self, origin: &str) -> bool {
        self.origins.failed_within(origin, SHUNNED)
    }

    /// A question to a peer begins. `patience`: how long it may be silent before another is asked as well ([`Health::hedge_after`]); who has
    /// not answered by then and loses to the other was slow.
    pub fn ask(&self, peer: &NodeId, patience: Duration) -> Question<'_> {
        self.hedges.earn();
        Question::new(self, peer, patience)
    }

    /// Forgets peers that are gone, and notes in which zone the others are: a peer is compared with those of its zone.
    pub fn view_changed(&self, view: &View) {
        self.peers().view_changed(view);
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        // Figures only: any of them may be off by one.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
