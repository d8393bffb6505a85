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

    /// All peers, the best to read from first: owners before others, each of them the living before the silent,
    /// the near before the far, the idle before the busy.
    pub fn by_nearness(&self, view: &View, health: &Health) -> Vec<Candidate> {
        let zone = view.get(view.me()).map(|me| me.zone.as_str());
        let rank = |one: &Candidate| {
            let standing = health.standing(&one.id);
            let far = view.get(&one.id).map(|node| node.zone.as_str()) != zone;
            (view.suspect(&one.id) || health.failed_lately(&one.id), far, standing)
        };
        let (mut owners, mut others) = self.peers(view.me());
        owners.sort_by_cached_key(rank);
        others.sort_by_cached_key(rank);
        owners.extend(others);
        // The silent and the failed go behind everyone, others included.
        owners.sort_by_cached_key(|one| rank(one).0);
        owners
    }
}

#[cfg(test)]
mod tests;
