//! Who was in the swarm lately. When a swarm falls apart, each part takes the others for gone after a while, and its ring shrinks to
//! its own members: most of those would be easily found. So the smaller part must remember that there were more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use herring_gossip::{NodeInfo, NodeState, View};
use herring_ring::{Member, NodeId, ORDINARY_WEIGHT, Point, Ring};
use herring_store::Table;
use serde::{Deserialize, Serialize};

use super::now_ms;
use super::serve::NO_NAME;
use crate::Swarm;
use crate::config::ACKNOWLEDGE;

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
pub(super) struct Seen {
    state: Mutex<State>,
    /// As the ring would be with all who are missing.
    whole: Mutex<Option<Ring>>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<String, Sight>,
    read: bool,
    noted_ms: u64,
}

/// A node as it was seen last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Noted")]
struct Sight {
    /// Milliseconds since 1970.
    at_ms: u64,
    /// 0 where it owned nothing.
    weight: u32,
    zone: String,
}

/// A sight on disk: until version 0.1 only when it was.
#[derive(Deserialize)]
#[serde(untagged)]
enum Noted {
    At(u64),
    Sight { at_ms: u64, weight: u32, zone: String },
}

impl From<Noted> for Sight {
    fn from(noted: Noted) -> Self {
        match noted {
            Noted::At(at_ms) => Self { at_ms, weight: ORDINARY_WEIGHT, zone: String::new() },
            Noted::Sight { at_ms, weight, zone } => Self { at_ms, weight, zone },
        }
    }
}

impl Sight {
    fn of(node: &NodeInfo, at_ms: u64) -> Self {
        let weight = if node.state == NodeState::Ready { node.weight } else { 0 };
        Self { at_ms, weight, zone: node.zone.clone() }
    }

    fn is_recent(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.at_ms) < REMEMBERED_MS
    }
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
        let here = |id: &String| id.parse::<NodeId>().is_ok_and(|id| view.get(&id).is_some() && !view.suspect(&id));
        state.nodes.iter().filter(|(_, sight)| sight.is_recent(now_ms)).map(|(id, _)| id.clone()).partition(here)
    }

    /// Those who were owners within so many milliseconds, and are none now: missing, or back and not ready yet.
    fn absent(&self, view: &View, now_ms: u64, within_ms: u64) -> Vec<Member> {
        let state = self.lock();
        let member = |(id, sight): (&String, &Sight)| {
            let (id, zone) = (id.parse::<NodeId>().ok()?, sight.zone.clone());
            let ready = view.get(&id).is_some_and(|node| node.state == NodeState::Ready);
            let lately = now_ms.saturating_sub(sight.at_ms) < within_ms;
            (sight.weight > 0 && lately && !ready).then_some(Member { id, weight: sight.weight, zone })
        };
        state.nodes.iter().filter_map(member).collect()
    }

    /// Those who were owners lately, and are no members any more.
    fn gone(&self, view: &View, now_ms: u64) -> Vec<Member> {
        self.absent(view, now_ms, REMEMBERED_MS).into_iter().filter(|member| view.get(&member.id).is_none()).collect()
    }

    /// The ring as it would be with these; made anew only where it is another, which takes milliseconds.
    fn ring_with(&self, view: &View, gone: Vec<Member>) -> Ring {
        let mut members: Vec<Member> = view.ring().members().iter().cloned().chain(gone).collect();
        members.sort_by(|one, other| one.id.cmp(&other.id));
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        match &*whole {
            Some(ring) if ring.members() == members => ring.clone(),
            _ => whole.insert(Ring::new(members)).clone(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// While this node was down it could see nobody, so that time does not count: whom it saw last it has seen just now.
    fn resume(&mut self, now_ms: u64) {
        let newest = self.nodes.values().map(|sight| sight.at_ms).max().unwrap_or(0);
        self.nodes.values_mut().for_each(|sight| sight.at_ms = now_ms.saturating_sub(newest - sight.at_ms));
    }

    /// True where the disk should hear of it.
    fn note(&mut self, view: &View, now_ms: u64) -> bool {
        let before = self.nodes.len();
        self.nodes.retain(|_, sight| sight.is_recent(now_ms));
        let mut changed = self.nodes.len() != before;
        for node in view.members().iter().filter(|node| !view.suspect(&node.id)) {
            changed |= match node.state {
                // It leaves because it was told to, and is not missed.
                NodeState::Draining => self.nodes.remove(node.id.as_str()).is_some(),
                // What it owned before it went away it will own again.
                NodeState::Joining if self.nodes.contains_key(node.id.as_str()) => {
                    self.nodes.entry(node.id.to_string()).and_modify(|sight| sight.at_ms = now_ms);
                    false
                }
                _ => self.nodes.insert(node.id.to_string(), Sight::of(node, now_ms)).is_none(),
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

    /// The missing nodes that would own this, or a replica of it, if they were here, where nobody else may have what they kept: the first owner, who has the
    /// only replica where there is one, or as many as acknowledge a put.
    pub(crate) fn missing_owners(&self, view: &View, point: Point) -> Vec<NodeId> {
        self.note_members(view);
        let gone = self.0.names.seen.gone(view, now_ms());
        if gone.is_empty() {
            return Vec::new();
        }
        let ring = self.0.names.seen.ring_with(view, gone);
        let owners = ring.owners(point, self.replicas());
        let missing: Vec<NodeId> = owners.iter().map(|member| member.id.clone()).filter(|id| view.get(id).is_none()).collect();
        let first = owners.first().is_some_and(|first| missing.contains(&first.id));
        if first || missing.len() >= ACKNOWLEDGE { missing } else { Vec::new() }
    }

    /// The ring that names lie on: with all who were on it until a moment ago and did not say that they leave. Whom this node does not see may be the
    /// rest of the swarm, and of fewer owners a few would be most, before anybody knows who is cut off.
    pub(super) fn names_ring(&self, view: &View) -> Ring {
        self.note_members(view);
        let stay_ms = u64::try_from(self.0.config.name_owners_stay.as_millis()).unwrap_or(u64::MAX);
        let absent = self.0.names.seen.absent(view, now_ms(), stay_ms);
        if absent.is_empty() { view.ring().clone() } else { self.0.names.seen.ring_with(view, absent) }
    }

    /// Notes who is here. A restart forgets nobody.
    pub(crate) fn note_members(&self, view: &View) {
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

    #[test]
    fn who_owned_it_is_known_for_an_hour_and_over_a_restart() {
        let known = Seen::default();
        known.lock().note(&view("abCdE"), 0);
        known.lock().note(&view("ab"), 1);
        let gone = |now| known.gone(&view("ab"), now).into_iter().map(|member| member.id.to_string()).collect::<Vec<_>>();
        assert_eq!(gone(1), ["d"], "who said goodbye owned nothing any more");
        let ring = known.ring_with(&view("ab"), known.gone(&view("ab"), 1));
        assert_eq!(ring.epoch(), view("abd").epoch());
        assert!(gone(HOUR + 1).is_empty());
        let noted: BTreeMap<String, Sight> = serde_json::from_slice(&serde_json::to_vec(&known.lock().nodes).unwrap()).unwrap();
        assert_eq!(noted, known.lock().nodes);
        let older: BTreeMap<String, Sight> = serde_json::from_str(r#"{"a": 7}"#).unwrap();
        assert_eq!(older["a"].at_ms, 7);
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
