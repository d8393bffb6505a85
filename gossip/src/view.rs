use std::collections::{BTreeMap, BTreeSet};

use herring_ring::{Epoch, NodeId, Point, Ring};

use crate::NodeInfo;
use crate::company::Company;

/// One immutable picture of the swarm: its members, and the ring of those that are ready.
#[derive(Debug, Clone)]
pub struct View {
    me: NodeId,
    members: Vec<NodeInfo>,
    suspects: BTreeSet<NodeId>,
    ring: Ring,
    company: Company,
}

impl View {
    /// A view that nobody gossiped about. Of several members with one id the last counts.
    pub fn fixed(me: NodeId, members: Vec<NodeInfo>) -> Self {
        let mut view = Self::new(me, members, BTreeSet::new(), Company::Known, None);
        if view.members.len() <= 1 {
            view.company = Company::Alone;
        }
        view
    }

    /// The same as one sees it who has just begun to look for the others: not [`settled`](Self::settled).
    pub fn unsettled(me: NodeId, members: Vec<NodeInfo>) -> Self {
        Self::new(me, members, BTreeSet::new(), Company::awaited(tokio::time::Instant::now()), None)
    }

    /// Takes over the ring of the view `before` where it has the same members: building one costs milliseconds.
    pub(crate) fn new(
        me: NodeId,
        members: Vec<NodeInfo>,
        suspects: BTreeSet<NodeId>,
        company: Company,
        before: Option<&View>,
    ) -> Self {
        let by_id: BTreeMap<_, _> = members.into_iter().map(|node| (node.id.clone(), node)).collect();
        let members: Vec<NodeInfo> = by_id.into_values().collect();
        let owning = || members.iter().filter_map(NodeInfo::member);
        let ring = match before {
            Some(view) if owning().eq(view.ring.members().iter().cloned()) => view.ring.clone(),
            _ => Ring::new(owning()),
        };
        Self { me, members, suspects, ring, company }
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

    /// Whether this node belongs to nobody: it was given no seeds (but perhaps itself) and has met no other member since it
    /// started; a fixed view, whether it has one member at most.
    pub fn alone(&self) -> bool {
        self.company == Company::Alone
    }

    /// Whether what this says of the swarm may be relied on, which then stays so: true when [`alone`](Self::alone), when
    /// others have been met since the start and nobody new came for two rounds of gossip, when
    /// [`GossipConfig::settle`](crate::GossipConfig::settle) has passed (a lone survivor), and in a fixed view.
    pub fn settled(&self) -> bool {
        self.company.due().is_none()
    }

    /// Whether both show the same. Two rings of one epoch are the same ring, so it need not be compared.
    pub(crate) fn same(&self, other: &View) -> bool {
        self.members == other.members && self.suspects == other.suspects && self.company == other.company
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeState;

    fn node(name: &str, state: NodeState) -> NodeInfo {
        let http = ([127, 0, 0, 1], 7070).into();
        NodeInfo { id: name.parse().unwrap(), http, zone: String::new(), weight: 100, capacity: None, state, version: "1".into() }
    }

    #[test]
    fn all_are_members_and_the_ready_own() {
        let me: NodeId = "b".parse().unwrap();
        let members = vec![
            node("c", NodeState::Draining),
            node("b", NodeState::Ready),
            node("a", NodeState::Joining),
            node("d", NodeState::Ready),
        ];
        let view = View::fixed(me.clone(), members);
        assert_eq!(view.members().iter().map(|m| m.id.as_str()).collect::<String>(), "abcd");
        assert_eq!(view.get(&me).unwrap().id, me);
        let mut owners: Vec<_> = view.owners(Point::from_u64(1), 3).iter().map(|m| m.id.to_string()).collect();
        owners.sort();
        assert_eq!(owners, ["b", "d"]);
    }

    #[test]
    fn a_fixed_view_is_settled_and_alone_without_a_second_member() {
        let [a, b] = ["a", "b"].map(|name| node(name, NodeState::Ready));
        for (members, alone) in [(vec![], true), (vec![a.clone()], true), (vec![a.clone(), a.clone()], true), (vec![a, b], false)]
        {
            let view = View::fixed("a".parse().unwrap(), members);
            assert_eq!((view.alone(), view.settled()), (alone, true), "{view:?}");
        }
    }

    #[test]
    fn views_that_differ_in_company_differ() {
        let view = |company| View::new("a".parse().unwrap(), vec![], BTreeSet::new(), company, None);
        let awaited = Company::awaited(tokio::time::Instant::now());
        for (one, other) in [(Company::Alone, Company::Known), (Company::Known, awaited)] {
            assert!(!view(one).same(&view(other)) && view(one).same(&view(one)));
        }
    }

    #[test]
    fn states_are_written_in_lower_case() {
        for state in [NodeState::Joining, NodeState::Ready, NodeState::Draining] {
            assert_eq!(state.to_string().parse(), Ok(state));
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
        assert!("Ready".parse::<NodeState>().is_err());
    }
}
