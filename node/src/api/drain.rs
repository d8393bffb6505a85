//! Leaving in good order: what this node keeps goes to others first.

use herring_gossip::{NodeState, View};
use herring_http_api::server::{ApiError, ErrorKind};
use herring_http_api::types::{Custody, Drain, DrainState};

use super::Api;

/// Whether the ring has an owner beside this node.
fn has_others(view: &View) -> bool {
    view.ring().members().iter().any(|member| member.id != *view.me())
}

/// Drained is only who is known to leave, so that others own all it had, and has found that they have all of it.
fn state(asked: bool, view: &View, custody: &Custody) -> DrainState {
    let leaves = view.get(view.me()).is_some_and(|me| me.state == NodeState::Draining);
    let empty = custody.settled && custody.foreign_chunks == 0;
    match (asked, leaves && empty) {
        (false, _) => DrainState::No,
        (true, false) => DrainState::Draining,
        (true, true) => DrainState::Drained,
    }
}

impl Api {
    pub(super) fn begin_drain(&self, away: bool) -> Result<(), ApiError> {
        let asked = *self.draining.borrow();
        if away && !asked && !has_others(&self.swarm.view()) {
            let nobody = "no other node is here that could take what this one keeps: start or mend another one first";
            return Err(ApiError::new(ErrorKind::Unavailable, nobody));
        }
        if asked != away {
            tracing::info!(away, "this node was told to give away what it keeps, or to take part again");
            self.draining.send_replace(away);
        }
        Ok(())
    }

    pub(super) fn drain_state(&self) -> Drain {
        let (asked, custody) = (*self.draining.borrow(), self.swarm.custody());
        Drain {
            state: state(asked, &self.swarm.view(), &custody),
            left_chunks: custody.foreign_chunks,
            left_bytes: custody.foreign_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use herring_gossip::NodeInfo;

    use super::*;

    fn view(mine: NodeState, others: usize) -> View {
        let node = |n: usize, state| NodeInfo {
            id: format!("n{n}").parse().unwrap(),
            http: ([127, 0, 0, 1], 7070).into(),
            zone: String::new(),
            weight: 100,
            state,
            version: String::new(),
            capacity: None,
        };
        let others = (1..=others).map(|n| node(n, NodeState::Ready));
        View::fixed("n0".parse().unwrap(), others.chain([node(0, mine)]).collect())
    }

    #[test]
    fn drained_is_who_is_known_to_leave_and_keeps_nothing() {
        let (ready, leaving) = (view(NodeState::Ready, 2), view(NodeState::Draining, 2));
        let nothing = Custody { settled: true, ..Custody::default() };
        let unknown = Custody::default();
        let chunks = Custody { foreign_chunks: 1, ..nothing };
        assert_eq!(state(true, &leaving, &nothing), DrainState::Drained);
        for (view, custody) in [(&ready, &nothing), (&leaving, &unknown), (&leaving, &chunks)] {
            assert_eq!(state(true, view, custody), DrainState::Draining, "{custody:?}");
        }
        assert_eq!(state(false, &leaving, &nothing), DrainState::No, "a node that is being stopped is not drained");
    }

    #[test]
    fn who_is_alone_has_nobody_to_give_to() {
        assert!(has_others(&view(NodeState::Ready, 1)) && has_others(&view(NodeState::Draining, 1)));
        assert!(!has_others(&view(NodeState::Ready, 0)));
    }
}
