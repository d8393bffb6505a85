//! Who was in the swarm lately. When a swarm falls apart, each part takes the others for gone after a while, and its ring shrinks to
//! its own members: most of those would be easily found. So the smaller part must remember that there were more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use herring_gossip::{NodeState, View};
use herring_ring::NodeId;
use herring_store::Table;

use super::now_ms;
use super::serve::NO_NAME;
use crate::Swarm;

/// A member that nobody has seen for so long has left for good.
const REMEMBERED_MS: u64 = 3_600_000;
/// How old what is on the disk may be, when the members are the same.
const NOTED_MS: u64 = 60_000;

/// Too few of the swarm are here for a change of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node sees only {alive} of the {known} nodes that it saw within the last hour, and the others may be a swarm of their own; \
     bring back {missing}, or wait until they are forgotten"
)]
pub struct Minority {
    pub alive: usize,
    pub known: usize,
    /// Node ids.
    pub missing: String,
}

/// When each node was seen last.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Milliseconds since 1970.
    nodes: BTreeMap<String, u64>,
    read: bool,
    noted_ms: u64,
}

impl Seen {
    /// Whether those who are here may change names: more than half of all, or the half with the first id.
    pub fn check(&self, view: &View, now_ms: u64) -> Result<(), Minority> {
        let (alive, missing) = self.parted(view, now_ms);
        let half = alive.len() == missing.len() && alive.first() <= missing.first();
        if half || alive.len() > missing.len() {
            return Ok(());
        }
        let names = missing.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
        Err(Minority { alive: alive.len(), known: alive.len() + missing.len(), missing: names })
    }

    /// The ids of those seen lately, in their order: who is here, and who is not.
    fn parted(&self, view: &View, now_ms: u64) -> (Vec<String>, Vec<String>) {
        let state = self.lock();
        let lately = |at: u64| now_ms.saturating_sub(at) < REMEMBERED_MS;
        let here = |id: &String| id.parse::<NodeId>().is_ok_and(|id| view.get(&id).is_some() && !view.suspect(&id));
        state.nodes.iter().filter(|(_, at)| lately(**at)).map(|(id, _)| id.clone()).partition(here)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// While this node was down it could see nobody, so that time does not count: whom it saw last it has seen just now.
    fn resume(&mut self, now_ms: u64) {
        let newest = self.nodes.values().copied().max().unwrap_or(0);
        self.nodes.values_mut().for_each(|at| *at = now_ms.saturating_sub(newest - *at));
    }

    /// True where the disk should hear of it.
    fn note(&mut self, view: &View, now_ms: u64) -> bool {
        let before = self.nodes.len();
        self.nodes.retain(|_, at| now_ms.saturating_sub(*at) < REMEMBERED_MS);
        let mut changed = self.nodes.len() != before;
        for node in view.members().iter().filter(|node| !view.suspect(&node.id)) {
            changed |= match node.state {
                // It leaves because it was told to, and is not missed.
                NodeState::Draining => self.nodes.remove(node.id.as_str()).is_some(),
                _ => self.nodes.insert(node.id.to_string(), now_ms).is_none(),
            };
        }
        let due = changed || now_ms.saturating_sub(self.noted_ms) > NOTED_MS;
        if due {
            self.noted_ms = now_ms;
        }
        due
    }
}

impl Swarm {
    /// Ids of the nodes that this one saw within the last hour, and does not see now. Who said that it leaves is not among them.
    pub fn missing(&self) -> Vec<String> {
        let view = self.view();
        self.note_members(&view);
        self.0.names.seen.parted(&view, now_ms()).1
    }

    /// Notes who is here. A restart forgets nobody.
    pub(super) fn note_members(&self, view: &View) {
        let (records, key) = (self.0.store.records(), format!("{NO_NAME}members"));
        let mut state = self.0.names.seen.lock();
        if !std::mem::replace(&mut state.read, true) {
            let kept = records.get(Table::Names, &key).ok().flatten();
            state.nodes = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
            state.resume(now_ms());
        }
        if state.note(view, now_ms())
            && let Ok(bytes) = serde_json::to_vec(&state.nodes)
        {
            records.note(Table::Names, key, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use herring_gossip::NodeInfo;

    use super::*;

    fn view(ids: &str) -> View {
        let member = |id: char| NodeInfo {
            id: id.to_ascii_lowercase().to_string().parse().unwrap(),
            http: ([127, 0, 0, 1], 7070).into(),
            zone: String::new(),
            weight: 100,
            capacity: None,
            state: if id.is_uppercase() { NodeState::Draining } else { NodeState::Ready },
            version: String::new(),
        };
        View::fixed("a".parse().unwrap(), ids.chars().map(member).collect())
    }

    fn allowed(seen: &[(&str, u64)], here: &str, now: u64) -> bool {
        let known = Seen::default();
        for (ids, at) in seen {
            known.lock().note(&view(ids), *at);
        }
        known.lock().note(&view(here), now);
        known.check(&view(here), now).is_ok()
    }

    #[test]
    fn who_is_missing_is_told() {
        let known = Seen::default();
        known.lock().note(&view("abCDe"), 0);
        known.lock().note(&view("ab"), 1);
        assert_eq!(known.parted(&view("ab"), 1), (vec!["a".to_owned(), "b".to_owned()], vec!["e".to_owned()]));
        assert_eq!(known.parted(&view("ab"), HOUR + 1).1, Vec::<String>::new());
    }

    const HOUR: u64 = 3_600_000;

    #[test]
    fn the_smaller_part_waits_and_of_two_halves_one() {
        assert!(allowed(&[("abcde", 0)], "abc", 1));
        assert!(!allowed(&[("abcde", 0)], "de", 1));
        assert!(allowed(&[("abcd", 0)], "ad", 1) && !allowed(&[("abcd", 0)], "bc", 1));
        assert!(allowed(&[], "a", 1) && allowed(&[("a", 0)], "ab", 1));
    }

    #[test]
    fn who_left_long_ago_or_as_he_should_is_not_missed() {
        assert!(!allowed(&[("abcde", 0)], "e", HOUR - 1));
        assert!(allowed(&[("abcde", 0)], "e", HOUR));
        assert!(allowed(&[("abcde", 0), ("abCDe", 1)], "e", 2) == allowed(&[("abe", 0)], "e", 2));
        assert!(allowed(&[("abcde", 0), ("aBCDe", 1)], "a", 2));
    }
}
