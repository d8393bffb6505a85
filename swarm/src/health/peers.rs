use std::collections::HashMap;
use std::time::{Duration, Instant};

use herring_gossip::View;
use herring_ring::NodeId;
use metrics::{counter, gauge};

use super::breaker::Why;
use super::peer::Peer;
use super::recent::{Recent, micros};
use crate::metrics as m;

/// All peers that were asked, each with how it did.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: HashMap<NodeId, Peer>,
    zones: HashMap<NodeId, String>,
}

/// Who takes so many times as long as is usual …
const OUTLIER: u64 = 10;
/// … and longer by so much is passed by. Less is not worth asking those for more who are well.
const OUTLIER_BY: Duration = Duration::from_millis(50);

impl Peers {
    pub fn get(&self, peer: &NodeId) -> Option<&Peer> {
        self.known.get(peer)
    }

    pub fn with<T>(&mut self, peer: &NodeId, f: impl FnOnce(&mut Peer) -> T) -> T {
        // No copy of the id for each question.
        match self.known.get_mut(peer) {
            Some(known) => f(known),
            None => f(self.known.entry(peer.clone()).or_default()),
        }
    }

    pub fn view_changed(&mut self, view: &View) {
        self.zones = view.members().iter().map(|node| (node.id.clone(), node.zone.clone())).collect();
        let gone = self.known.extract_if(|id, peer| peer.waiting == 0 && view.get(id).is_none());
        let open = gone.filter(|(_, peer)| peer.breaker.is_tripped()).count();
        gauge!(m::BREAKERS_OPEN).decrement(u32::try_from(open).unwrap_or(u32::MAX));
    }

    /// The middle one of what the peers of that one's zone have, itself among them; the lower of two. A few that are slow do not change it.
    pub fn usual(&self, of: &NodeId, figure: impl Fn(&Peer) -> Option<u64>) -> Option<u64> {
        middle(self.zone_of(of).filter_map(|(_, peer)| figure(peer)))
    }

    /// What the peer took is far more than is usual for the others of its zone. Across zones nothing is compared: who is far away is not ill.
    pub fn is_slow(&self, peer: &NodeId, took: u64) -> bool {
        let others = self.zone_of(peer).filter(|(id, _)| *id != peer).filter_map(|(_, other)| other.recent.median());
        let by = micros(OUTLIER_BY);
        // The quick, which are nearly all, cost no look at the others.
        took > by && middle(others).is_some_and(|usual| took >= usual.saturating_mul(OUTLIER) && took - by > usual)
    }

    fn zone_of<'a>(&'a self, of: &'a NodeId) -> impl Iterator<Item = (&'a NodeId, &'a Peer)> {
        let zone = self.zones.get(of);
        self.known.iter().filter(move |(id, _)| *id == of || self.zones.get(*id) == zone)
    }

    /// An answer to what was asked then. `longest`: how long nothing came of it at its slowest, where that was measured.
    pub fn answered(&mut self, peer: &NodeId, asked: Instant, longest: Option<Duration>, now: Instant) {
        let why = self.with(peer, |peer| {
            peer.heard();
            peer.breaker.why().filter(|_| peer.breaker.believes(asked))
        });
        match (why, longest) {
            (Some(Why::Failed), _) => self.close(peer),
            (Some(Why::Slow), Some(longest)) if !self.is_slow(peer, micros(longest)) => {
                self.close(peer);
                // What it took before does not count any more.
                self.with(peer, |peer| peer.recent = Recent::default());
            }
            _ => {}
        }
        if let Some(longest) = longest {
            self.took(peer, longest, now);
        }
    }

    /// How long nothing came from the peer, at the least.
    pub fn took(&mut self, peer: &NodeId, longest: Duration, now: Instant) {
        let latest = self.with(peer, |peer| {
            peer.recent.push(longest);
            peer.recent.latest()
        });
        if latest.is_some_and(|latest| self.is_slow(peer, latest)) {
            self.trip(peer, Why::Slow, now);
        }
    }

    pub fn trip(&mut self, peer: &NodeId, why: Why, now: Instant) {
        let (before, once_more) = self.with(peer, |peer| (peer.breaker.is_tripped(), peer.breaker.trip(why, now)));
        if !before {
            gauge!(m::BREAKERS_OPEN).increment(1);
            tracing::info!(%peer, why = why.name(), "a peer is passed by for a while");
        }
        if once_more {
            counter!(m::BREAKERS_OPENED, "why" => why.name()).increment(1);
        }
    }

    fn close(&mut self, peer: &NodeId) {
        self.with(peer, |peer| peer.breaker.close());
        gauge!(m::BREAKERS_OPEN).decrement(1);
        tracing::info!(%peer, "a peer that was passed by is well again");
    }
}

/// The lower of the two in the middle, where there are two.
fn middle(figures: impl Iterator<Item = u64>) -> Option<u64> {
    let mut figures: Vec<u64> = figures.collect();
    let middle = figures.len().checked_sub(1)? / 2;
    Some(*figures.select_nth_unstable(middle).1)
}
