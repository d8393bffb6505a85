//! Who is still to be asked for one chunk, in which order.

use std::collections::VecDeque;

use herring_blob::ObjectRef;
use herring_gossip::View;
use herring_ring::NodeId;

use crate::candidates::Candidate;
use crate::run::Feed;

/// Whoever can be asked for a chunk.
#[derive(Debug)]
pub(crate) enum Giver {
    /// Another flight's question to the origin, which brings this chunk too.
    Run(Feed),
    /// An owner: it has the chunk, or asks the origin for it, or knows who has it.
    Peer(Candidate),
    /// The same once more: it was silent, but is alive as far as gossip knows, and another owner would ask the origin a second time.
    Again(Candidate),
    /// A node that may have it.
    Holder(Candidate),
    /// One who owned it until lately: the origin waits longer for its answer than another holder would.
    Former(Candidate),
    /// A node that has it or gets it now, as a busy one says.
    Named(Candidate),
    /// An owner that was busy, after those whom it named.
    Insist(Candidate),
    Origin(ObjectRef),
}

/// Those who are still to be asked.
#[derive(Debug)]
pub(crate) struct Givers {
    queue: VecDeque<Giver>,
    /// Who was named by busy nodes.
    named: Vec<NodeId>,
}

/// Named nodes that are asked for one chunk: more only cost time, and the owner gives it in the end.
const MOST_NAMED: usize = 8;

impl FromIterator<Giver> for Givers {
    fn from_iter<T: IntoIterator<Item = Giver>>(givers: T) -> Self {
        Self { queue: givers.into_iter().collect(), named: Vec::new() }
    }
}

impl Givers {
    pub fn next(&mut self) -> Option<Giver> {
        self.queue.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn again(&mut self, peer: Candidate) {
        self.queue.push_front(Giver::Again(peer));
    }

    /// The origin has another version by now: this one is only with those who hold it.
    pub fn only_holders(&mut self) {
        self.queue.retain(|giver| matches!(giver, Giver::Holder(_) | Giver::Former(_) | Giver::Named(_)));
    }

    /// A busy owner named others: they are asked next, and then, if they do not give it either, this one once more. Before that the other
    /// owners of a blob, who have it as well; other owners of an object would ask the origin a second time.
    pub fn redirect(&mut self, view: &View, owner: Candidate, named: &[String], is_object: bool) {
        let named_before = self.queue.iter().take_while(|giver| matches!(giver, Giver::Named(_))).count();
        let owners = self.queue.iter().skip(named_before).take_while(|giver| matches!(giver, Giver::Peer(_))).count();
        let at = named_before + if is_object { 0 } else { owners };
        self.queue.insert(at, Giver::Insist(owner));
        self.name(view, named);
    }

    /// Those nodes are asked next, as far as they are members and were not named before.
    pub fn name(&mut self, view: &View, named: &[String]) {
        let known = named.iter().filter_map(|id| view.get(&id.parse().ok()?)).filter(|node| node.id != *view.me());
        let new: Vec<Candidate> = known.map(Candidate::from).filter(|one| !self.named.contains(&one.id)).collect();
        let room = MOST_NAMED.saturating_sub(self.named.len());
        for one in new.into_iter().take(room).rev() {
            self.queue.retain(|giver| !matches!(giver, Giver::Holder(other) if *other == one));
            self.named.push(one.id.clone());
            self.queue.push_front(Giver::Named(one));
        }
    }
}

#[cfg(test)]
mod tests {
    use herring_gossip::{NodeInfo, NodeState};

    use super::*;

    fn view() -> View {
        let node = |id: &str| NodeInfo {
            id: id.parse().unwrap(),
            http: "127.0.0.1:1".parse().unwrap(),
            zone: String::new(),
            weight: 100,
            capacity: None,
            state: NodeState::Ready,
            version: String::new(),
        };
        View::fixed("me".parse().unwrap(), ["me", "a", "b", "c", "d"].map(node).to_vec())
    }

    fn one(id: &str) -> Candidate {
        view().get(&id.parse().unwrap()).unwrap().into()
    }

    fn order(givers: &mut Givers) -> Vec<String> {
        std::iter::from_fn(|| givers.next())
            .map(|giver| match giver {
                Giver::Peer(one) => one.id.to_string(),
                Giver::Holder(one) => format!("{}?", one.id),
                Giver::Named(one) => one.id.to_string() + "+",
                Giver::Insist(one) => format!("{}!", one.id),
                _ => "other".to_owned(),
            })
            .collect()
    }

    fn named(ids: &[&str]) -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_named_come_first_and_then_who_named_them() {
        let start = || Givers::from_iter([Giver::Peer(one("b")), Giver::Holder(one("c")), Giver::Holder(one("d"))]);
        let mut blob = start();
        blob.redirect(&view(), one("a"), &named(&["d", "nobody", "me"]), false);
        assert_eq!(order(&mut blob), ["d+", "b", "a!", "c?"]);
        let mut object = start();
        object.redirect(&view(), one("a"), &named(&["c", "d"]), true);
        assert_eq!(order(&mut object), ["c+", "d+", "a!", "b"]);
        let mut chain = start();
        chain.redirect(&view(), one("a"), &named(&["d"]), true);
        assert!(matches!(chain.next(), Some(Giver::Named(_))));
        chain.name(&view(), &named(&["d", "c"]));
        assert_eq!(order(&mut chain), ["c+", "a!", "b"], "nobody is asked twice");
    }
}
