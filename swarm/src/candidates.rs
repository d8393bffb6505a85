use std::net::SocketAddr;

use herring_gossip::{NodeInfo, NodeState, View};
use herring_ring::{NodeId, Point};

use crate::config::SUCCESSORS;
use crate::health::Health;

/// A node that may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub id: NodeId,
    pub http: SocketAddr,
}

impl From<&NodeInfo> for Candidate {
    fn from(node: &NodeInfo) -> Self {
        Self { id: node.id.clone(), http: node.http }
    }
}

impl Candidate {
    /// All members but this node.
    pub fn others(view: &View) -> Vec<Self> {
        view.members().iter().filter(|node| node.id != *view.me()).map(Self::from).collect()
    }
}

/// The owners of a point, and who may hold what they do not: the next nodes on the walk, which owned it before others
/// joined or took it in while an owner was away, and the members that own nothing any more.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    /// In the ring's order: the first is the same for every node that asks.
    pub owners: Vec<Candidate>,
    /// The next nodes of the walk.
    pub successors: Vec<Candidate>,
    /// Members outside the ring: they own nothing, but may hold something.
    pub outside: Vec<Candidate>,
}

impl Candidates {
    pub fn of(view: &View, point: Point, replicas: usize) -> Self {
        let owners: Vec<Candidate> = view.owners(point, replicas).into_iter().map(Candidate::from).collect();
        let walk = view.owners(point, replicas + SUCCESSORS).into_iter().map(Candidate::from);
        let successors = walk.filter(|one| !owners.contains(one)).collect();
        let outside = view.members().iter().filter(|node| node.state != NodeState::Ready).take(SUCCESSORS);
        Self { owners, successors, outside: outside.map(Candidate::from).collect() }
    }

    /// Owners then others, without this node.
    pub fn peers(&self, me: &NodeId) -> (Vec<Candidate>, Vec<Candidate>) {
        let without = |list: &[Candidate]| -> Vec<Candidate> { list.iter().filter(|one| one.id != *me).cloned().collect() };
        let mut others = without(&self.successors);
        others.extend(without(&self.outside));
        (without(&self.owners), others)
    }

    /// All peers, the best to read from first: owners before others, each of them the living before the silent, the near before the far.
    /// Of several owners that are alike, two are chosen by `turn`, and of them the one that has less to do is first: that spreads the
    /// load nearly as well as knowing all loads does, and nobody runs after the one that was idle a moment ago.
    ///
    /// Where no owner is near, they come in the ring's order: then all nodes of this zone ask the same one, which knows who of them has the chunk.
    pub fn by_nearness(&self, view: &View, health: &Health, turn: usize) -> Vec<Candidate> {
        let zone = view.get(view.me()).map(|me| me.zone.as_str());
        let far = |one: &Candidate| view.get(&one.id).map(|node| node.zone.as_str()) != zone;
        let passed_by = |one: &Candidate| view.suspect(&one.id) || health.is_open(&one.id);
        let (mut owners, mut others) = self.peers(view.me());
        let near = owners.iter().filter(|one| !far(one)).count();
        if near > 0 {
            let by = turn % owners.len();
            owners.rotate_left(by);
        }
        owners.sort_by_cached_key(|one| (passed_by(one), far(one)));
        if near > 0 && owners.len() > 1 && alike(&owners[0], &owners[1], |one| (passed_by(one), far(one))) {
            owners[..2].sort_by_cached_key(|one| (health.load(&one.id), health.standing(&one.id)));
        }
        others.sort_by_cached_key(|one| (passed_by(one), far(one), health.standing(&one.id)));
        owners.extend(others);
        // The silent and the failed go behind everyone, others included.
        owners.sort_by_cached_key(passed_by);
        owners
    }
}

fn alike<K: PartialEq>(one: &Candidate, other: &Candidate, key: impl Fn(&Candidate) -> K) -> bool {
    key(one) == key(other)
}

#[cfg(test)]
mod tests;
