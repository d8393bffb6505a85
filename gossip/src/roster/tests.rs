use super::*;
use crate::NodeState;
use proptest::prelude::*;

const GRACE: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_secs(3);

fn node(name: &str, port: u16) -> NodeInfo {
    NodeInfo {
        id: name.parse().unwrap(),
        http: ([127, 0, 0, 1], port).into(),
        zone: String::new(),
        weight: 100,
        capacity: None,
        state: NodeState::Ready,
        version: "1".into(),
    }
}

fn seen(name: &str, generation: u64) -> Sighting {
    // The port tells the generations apart, as new addresses do.
    let info = node(name, u16::try_from(generation).unwrap());
    Sighting { node: info.id.clone(), generation, info: Some(info) }
}

fn wordless(name: &str, generation: u64) -> Sighting {
    Sighting { info: None, ..seen(name, generation) }
}

/// A roster with a clock of its own, which a test winds on.
struct Scene {
    roster: Roster,
    now: Instant,
    view: View,
}

impl Scene {
    fn new() -> Self {
        Self::at(Instant::now(), Company::Alone)
    }

    /// This node has seeds.
    fn seeking() -> Self {
        let now = Instant::now();
        Self::at(now, Company::awaited(now + SETTLE))
    }

    fn at(now: Instant, company: Company) -> Self {
        let roster = Roster::new(node("me", 1), 50, GRACE, company);
        let view = roster.view(None);
        Self { roster, now, view }
    }

    fn alive<const N: usize>(&mut self, alive: [Sighting; N]) -> &View {
        self.roster.update(alive, self.now);
        self.look()
    }

    fn after(&mut self, millis: u64) -> &View {
        self.now += Duration::from_millis(millis);
        self.roster.advance(self.now);
        self.look()
    }

    fn look(&mut self) -> &View {
        self.view = self.roster.view(Some(&self.view));
        &self.view
    }

    fn ports(&self) -> Vec<(&str, u16)> {
        self.view.members().iter().map(|m| (m.id.as_str(), m.http.port())).collect()
    }

    fn alone_and_settled(&self) -> (bool, bool) {
        (self.view.alone(), self.view.settled())
    }

    fn suspect(&self, name: &str) -> bool {
        self.view.suspect(&name.parse().unwrap())
    }
}

#[test]
fn this_node_is_there_from_the_first() {
    let mut scene = Scene::new();
    assert_eq!(scene.ports(), [("me", 1)]);
    scene.alive([]);
    assert_eq!(scene.ports(), [("me", 1)]);
    assert_eq!(scene.view.ring().members().len(), 1);
}

#[test]
fn a_silent_node_is_a_suspect_until_its_grace_is_over() {
    let mut scene = Scene::new();
    let full = scene.alive([seen("a", 1), seen("b", 1)]).epoch();
    assert_eq!(scene.alive([seen("b", 1)]).epoch(), full);
    assert!(scene.suspect("a") && !scene.suspect("b") && !scene.suspect("me"));
    assert_eq!(scene.roster.next_change(), Some(scene.now + GRACE));
    assert_eq!(scene.after(999).epoch(), full);
    assert_ne!(scene.after(1).epoch(), full);
    assert_eq!(scene.ports(), [("b", 1), ("me", 1)]);
    assert_eq!(scene.roster.next_change(), None);
}

#[test]
fn a_blip_moves_nothing_and_the_next_has_the_whole_grace_again() {
    let mut scene = Scene::new();
    let full = scene.alive([seen("a", 1)]).epoch();
    for _ in 0..3 {
        scene.alive([]);
        assert_eq!(scene.after(900).epoch(), full);
        assert_eq!(scene.alive([seen("a", 1)]).epoch(), full);
        assert!(!scene.suspect("a"));
        assert_eq!(scene.roster.next_change(), None);
    }
    assert_eq!(scene.after(10_000).epoch(), full);
}

#[test]
fn silence_counts_from_its_beginning() {
    let mut scene = Scene::new();
    scene.alive([seen("a", 1), seen("b", 1)]);
    scene.alive([seen("b", 1)]);
    scene.after(600);
    scene.alive([]);
    scene.after(400);
    assert_eq!(scene.ports(), [("b", 1), ("me", 1)]);
    scene.after(600);
    assert_eq!(scene.ports(), [("me", 1)]);
}

#[test]
fn one_that_comes_back_at_the_very_end_stays() {
    let mut scene = Scene::new();
    let full = scene.alive([seen("a", 1)]).epoch();
    scene.alive([]);
    scene.now += 2 * GRACE;
    assert_eq!(scene.alive([seen("a", 1)]).epoch(), full);
}

#[test]
fn a_restarted_node_is_one_node_at_its_new_address() {
    let mut scene = Scene::new();
    let full = scene.alive([seen("a", 1)]).epoch();
    for alive in [[seen("a", 1), seen("a", 2)], [seen("a", 2), seen("a", 1)]] {
        assert_eq!(scene.alive(alive).epoch(), full);
        assert_eq!(scene.ports(), [("a", 2), ("me", 1)]);
        assert!(!scene.suspect("a"));
    }
    scene.alive([seen("a", 2)]);
    assert_eq!(scene.ports(), [("a", 2), ("me", 1)]);
}

#[test]
fn a_restart_within_the_grace_moves_nothing() {
    let mut scene = Scene::new();
    let full = scene.alive([seen("a", 1)]).epoch();
    scene.alive([]);
    assert_eq!(scene.after(900).epoch(), full);
    assert_eq!(scene.alive([wordless("a", 2)]).epoch(), full);
    assert!(scene.suspect("a"), "its old addresses are dead and its new ones not known yet");
    assert_eq!(scene.alive([seen("a", 2)]).epoch(), full);
    assert!(!scene.suspect("a"));
    assert_eq!(scene.after(10_000).epoch(), full);
}

#[test]
fn an_old_generation_does_not_come_back() {
    let mut scene = Scene::new();
    scene.alive([seen("a", 2)]);
    scene.alive([seen("a", 1)]);
    assert_eq!(scene.ports(), [("a", 2), ("me", 1)]);
    assert!(scene.suspect("a"));
}

#[test]
fn a_node_whose_clock_went_back_is_let_in_after_the_grace() {
    let mut scene = Scene::new();
    scene.alive([seen("a", 2)]);
    scene.alive([seen("a", 1)]);
    scene.after(1000);
    assert_eq!(scene.ports(), [("a", 1), ("me", 1)]);
    assert!(!scene.suspect("a"));
}

#[test]
fn who_says_nothing_usable_is_not_let_in_and_keeps_what_it_said_before() {
    let mut scene = Scene::new();
    scene.alive([wordless("a", 1)]);
    assert_eq!(scene.ports(), [("me", 1)]);
    scene.alive([seen("a", 1)]);
    scene.alive([wordless("a", 1)]);
    assert_eq!(scene.ports(), [("a", 1), ("me", 1)]);
    assert!(!scene.suspect("a"));
    assert_eq!(scene.roster.next_change(), None);
}

#[test]
fn nobody_else_speaks_for_this_node() {
    let mut scene = Scene::new();
    scene.alive([seen("me", 7), seen("me", 99)]);
    assert_eq!(scene.ports(), [("me", 1)]);
    scene.alive([]);
    scene.after(10_000);
    assert_eq!(scene.ports(), [("me", 1)]);
}

#[test]
fn without_seeds_a_node_is_alone_and_settled_until_one_comes() {
    let mut scene = Scene::new();
    assert_eq!(scene.alone_and_settled(), (true, true));
    assert_eq!(scene.roster.next_change(), None);
    scene.alive([wordless("a", 1), seen("me", 7)]);
    assert_eq!(scene.alone_and_settled(), (true, true), "neither is another member");
    scene.alive([seen("a", 1)]);
    assert_eq!(scene.alone_and_settled(), (false, true));
}

#[test]
fn with_seeds_a_node_settles_when_it_has_met_members_and_no_more_come() {
    let mut scene = Scene::seeking();
    assert_eq!(scene.alone_and_settled(), (false, false));
    scene.after(100);
    scene.alive([wordless("a", 1), seen("me", 7)]);
    assert_eq!(scene.alone_and_settled(), (false, false), "neither is another member");
    scene.alive([seen("a", 1)]);
    scene.after(399);
    assert_eq!(scene.alone_and_settled(), (false, false), "others may follow");
    scene.alive([seen("a", 1), seen("b", 1)]);
    scene.after(399);
    assert_eq!(scene.alone_and_settled(), (false, false), "and one did");
    scene.after(1);
    assert_eq!(scene.alone_and_settled(), (false, true));
    assert_eq!(scene.roster.next_change(), None);
}

#[test]
fn with_seeds_and_nobody_there_a_node_settles_in_time_and_is_not_alone() {
    let mut scene = Scene::seeking();
    assert_eq!(scene.roster.next_change(), Some(scene.now + SETTLE));
    scene.after(2999);
    assert_eq!(scene.alone_and_settled(), (false, false));
    scene.after(1);
    assert_eq!(scene.alone_and_settled(), (false, true));
    assert_eq!(scene.roster.next_change(), None);
}

#[test]
fn who_met_a_member_stays_settled_and_not_alone_when_it_goes() {
    for mut scene in [Scene::new(), Scene::seeking()] {
        scene.alive([seen("a", 1)]);
        scene.alive([]);
        scene.after(1000);
        assert_eq!(scene.ports(), [("me", 1)]);
        assert_eq!(scene.alone_and_settled(), (false, true));
    }
}

#[test]
fn only_the_ready_own_anything() {
    let mut scene = Scene::new();
    let mut joining = seen("a", 1);
    joining.info.as_mut().unwrap().state = NodeState::Joining;
    let alone = scene.view.epoch();
    assert_eq!(scene.alive([joining]).epoch(), alone);
    assert_eq!(scene.ports(), [("a", 1), ("me", 1)]);
    assert_ne!(scene.alive([seen("a", 1)]).epoch(), alone);
    scene.roster.me_mut().state = NodeState::Draining;
    let owners = scene.look().ring().members().to_vec();
    assert_eq!(owners.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["a"]);
}

proptest! {
    // Each step builds a ring, which is what costs.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in whatever order: this node is a member, each id is one member, members are exactly those alive or
    /// silent for less than the grace, and a departure to come is never in the past.
    #[test]
    fn members_are_those_alive_or_lately_alive(
        steps in prop::collection::vec((0u64..1500, prop::collection::btree_set(0u8..3, 0..3)), 1..40),
        lingers: bool,
    ) {
        let mut scene = Scene::new();
        let mut last_alive: BTreeMap<String, Instant> = BTreeMap::new();
        for (step, (millis, alive)) in (0u64..).zip(steps) {
            // Nothing was reported in between, so whoever was alive at the last report was alive until now.
            let names: Vec<String> = scene.roster.alive.keys().map(ToString::to_string).collect();
            scene.after(millis);
            last_alive.extend(names.into_iter().map(|name| (name, scene.now)));
            // All restart now and then, and their past may still look alive.
            let generation = 2 + step / 5;
            let names = alive.iter().map(|name| format!("n{name}"));
            let past = names.clone().filter(|_| lingers).map(|name| seen(&name, generation - 1));
            scene.roster.update(names.clone().map(|name| seen(&name, generation)).chain(past), scene.now);
            scene.look();
            last_alive.extend(names.map(|name| (name, scene.now)));
            let members = last_alive.iter().filter(|(_, at)| scene.now < **at + GRACE).map(|(name, _)| name.as_str());
            let expected: Vec<&str> = std::iter::once("me").chain(members).collect();
            prop_assert_eq!(scene.ports().iter().map(|(name, _)| *name).collect::<Vec<_>>(), expected);
            prop_assert!(scene.roster.next_change().is_none_or(|at| at > scene.now));
        }
    }
}
