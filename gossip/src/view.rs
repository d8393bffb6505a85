use std::collections::{BTreeMap, BTreeSet};

use herring_ring::{Epoch, NodeId, Point, Ring};

use crate::NodeInfo;

/// One immutable picture of the swarm: its members, and the ring of those that are ready.
#[derive(Debug, Clone)]
pub struct View {
    me: NodeId,
    members: Vec<NodeInfo>,
    suspects: BTreeSet<NodeId>,
    ring: Ring,
}

impl View {
    /// A view that nobody gossiped about. Of several members with one id the last counts.
    pub fn fixed(me: NodeId, members: Vec<NodeInfo>) -> Self {
        Self::new(me, members, BTreeSet::new(), None)
    }

    /// Takes over the ring of the view `before` where it has the same members: building one costs milliseconds.
    pub(crate) fn new(me: NodeId, members: Vec<NodeInfo>, suspects: BTreeSet<NodeId>, before: Option<&View>) -> Self {
        let by_id: BTreeMap<_, _> = members.into_iter().map(|node| (node.id.clone(), node)).collect();
        let members: Vec<NodeInfo> = by_id.into_values().collect();
        let owning = || members.iter().filter_map(NodeInfo::member);
        let ring = match before {
            Some(view) if owning().eq(view.ring.members().iter().cloned()) => view.ring.clone(),
            _ => Ring::new(owning()),
        };
        Self { me, members, suspects, ring }
    }

    /// The node that sees this.
    pub fn me(&self) -> &NodeId {
        &self.me
    }

    /// Everybody, this node too, sorted by id.
    pub fn members(&self) -> &[NodeInfo] {
        &self.members
    }

    pub fn get(&self, id: &NodeId) -> Option<&NodeInfo> {
        let at = self.members.binary_search_by(|node| node.id.cmp(id)).ok()?;
        self.members.get(at)
    }

    /// The ring of the ready members.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    pub fn epoch(&self) -> Epoch {
        self.ring.epoch()
    }

    /// The members that own `point`, the first one first; see [`Ring::owners`].
    pub fn owners(&self, point: Point, replicas: usize) -> Vec<&NodeInfo> {
        self.ring.owners(point, replicas).into_iter().filter_map(|member| self.get(&member.id)).collect()
    }

    /// Whether this member is silent just now, but not for long enough to be gone. Still an owner, to be asked last.
    pub fn suspect(&self, id: &NodeId) -> bool {
        self.suspects.contains(id)
    }

    /// Whether both show the same. Two rings of one epoch are the same ring, so the members and suspects decide.
    pub(crate) fn same(&self, other: &View) -> bool {
        self.members == other.members && self.suspects == other.suspects
    }
}
