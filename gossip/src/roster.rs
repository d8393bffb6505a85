use std::collections::BTreeMap;
use std::time::Duration;

use herring_ring::NodeId;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::company::Company;
use crate::{NodeInfo, View};

/// A node that is alive, in one of its generations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub node: NodeId,
    /// A restarted node has a higher one.
    pub generation: u64,
    /// `None` as long as it has said nothing that can be used.
    pub info: Option<NodeInfo>,
}

/// Who is a member: those alive, and those silent for less than the grace period. Reads no clock itself.
///
/// A node is one member however often it restarts: its highest generation counts. One that is seen alive again before
/// its grace is over never was away, so a blip moves no data.
#[derive(Debug)]
pub(crate) struct Roster {
    me: NodeInfo,
    generation: u64,
    grace: Duration,
    /// Who is alive, by the last word of the failure detector.
    alive: BTreeMap<NodeId, Sighting>,
    peers: BTreeMap<NodeId, Peer>,
    company: Company,
}

#[derive(Debug)]
struct Peer {
    generation: u64,
    info: NodeInfo,
    silent_since: Option<Instant>,
}

impl Roster {
    /// Begins with [`Company::Alone`] or [`Company::Awaited`].
    pub fn new(me: NodeInfo, generation: u64, grace: Duration, company: Company) -> Self {
        Self { me, generation, grace, alive: BTreeMap::new(), peers: BTreeMap::new(), company }
    }

    pub fn me_mut(&mut self) -> &mut NodeInfo {
        &mut self.me
    }

    /// This node goes on under a later generation.
    pub fn reborn(&mut self, generation: u64) -> &NodeInfo {
        self.generation = generation;
        &self.me
    }

    /// Takes the whole set of nodes that are alive now.
    pub fn update(&mut self, alive: impl IntoIterator<Item = Sighting>, now: Instant) {
        self.alive.clear();
        for sighting in alive {
            if sighting.node == self.me.id {
                self.warn_of_a_double(&sighting);
            } else if self.alive.get(&sighting.node).is_none_or(|other| other.generation < sighting.generation) {
                self.alive.insert(sighting.node.clone(), sighting);
            }
        }
        self.advance(now);
    }

    /// Lets those go whose grace is over, and waits no longer for others than was said.
    pub fn advance(&mut self, now: Instant) {
        self.admit();
        self.company = self.company.at(now, self.peers.len());
        for (id, peer) in &mut self.peers {
            let alive = self.alive.get(id).is_some_and(|sighting| sighting.generation == peer.generation);
            peer.silent_since = if alive { None } else { peer.silent_since.or(Some(now)) };
        }
        let gone: Vec<NodeId> = self.departures().filter(|(_, at)| *at <= now).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.peers.remove(&id);
            info!(node = %id, "a node is gone");
        }
        // A node whose clock went back lives on under a lower generation, and gets in when the higher one has gone.
        self.admit();
    }

    /// When to [`advance`](Self::advance) next, if nothing else happens before.
    pub fn next_change(&self) -> Option<Instant> {
        self.departures().map(|(_, at)| at).chain(self.company.due()).min()
    }

    /// What this looks like now; `before` is the last view.
    pub fn view(&self, before: Option<&View>) -> View {
        let members = self.peers.values().map(|peer| &peer.info).chain([&self.me]).cloned().collect();
        let silent = self.peers.iter().filter(|(_, peer)| peer.silent_since.is_some());
        View::new(self.me.id.clone(), members, silent.map(|(id, _)| id.clone()).collect(), self.company, before)
    }

    /// A later generation replaces an earlier one. One that says nothing usable keeps what it said last.
    fn admit(&mut self) {
        for (id, sighting) in &self.alive {
            let (generation, known) = (sighting.generation, self.peers.get(id));
            let Some(info) = sighting.info.clone().filter(|_| known.is_none_or(|peer| peer.generation <= generation)) else {
                continue;
            };
            if known.is_none() {
                info!(node = %id, http = %info.http, state = %info.state, "a node is here");
            }
            self.peers.insert(id.clone(), Peer { generation, info, silent_since: None });
        }
    }

    fn departures(&self) -> impl Iterator<Item = (&NodeId, Instant)> {
        self.peers.iter().filter_map(|(id, peer)| Some((id, peer.silent_since? + self.grace)))
    }

    /// This node's own past generations are no news; a later one is another node under its name.
    fn warn_of_a_double(&self, sighting: &Sighting) {
        if sighting.generation > self.generation {
            warn!(node = %sighting.node, "another node uses this node's id: give each node an id of its own");
        }
    }
}

#[cfg(test)]
mod tests;
