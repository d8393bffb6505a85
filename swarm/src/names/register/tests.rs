//! A swarm in a nutshell: owners, writers and the messages between them, in any order, lost, doubled and late.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NAME: &str = "a writer";

/// Some day of 2026.
const NOW: u64 = 1_790_000_000_000;

fn ballot(counter: u64, node: &str) -> Ballot {
    Ballot { counter, node: node.into() }
}

/// Nobody can use the numbers up, or have an owner keep more than a register is.
#[test]
fn what_no_swarm_comes_to_is_not_promised_or_accepted() {
    let record = |ballot, version, changes| {
        let changes = vec![Uuid::nil(); changes];
        NameRecord { ballot, state: NameState { version, target: None, modified_ms: u64::MAX, changes } }
    };
    let right = ballot(most(NOW), "n");
    for wrong in [ballot(most(NOW) + 1, "n"), ballot(u64::MAX, "n"), ballot(1, &"n".repeat(MAX_NODE + 1))] {
        let mut register = Register::default();
        assert!(!register.prepare(&wrong, NOW) && !register.accept(&record(wrong, 1, 1), NOW));
        assert_eq!(register, Register::default());
    }
    for (version, changes) in [(most(NOW) + 1, 1), (u64::MAX, 1), (1, REMEMBERED + 1)] {
        assert!(!Register::default().accept(&record(right.clone(), version, changes), NOW));
    }
    assert!(Register::default().prepare(&right, NOW) && Register::default().accept(&record(right, most(NOW), REMEMBERED), NOW));
}

/// Whoever has owners promise and accept all that there is has not the last word: a moment later others go on, and owners that were away, or know
/// nothing, take it from them.
#[test]
fn the_highest_there_is_can_be_outbid_a_moment_later() {
    let mut owners = [Register::default(), Register::default(), Register::default()];
    assert!(owners[0].accept(&record(1, 1, Some("honest")), NOW - 1));
    for rogue in &mut owners[..2] {
        assert!(rogue.accept(&record(most(NOW), most(NOW), Some("rogue")), NOW));
    }
    let (latest, next) = (owners[1].accepted.clone().unwrap(), ballot(owners[1].promised.counter + 1, "honest"));
    assert!(!owners[0].prepare(&next, NOW), "not yet");
    let state = Proposer::change(always(1)).propose(Some(&latest.state), true).state.unwrap();
    let record = NameRecord { ballot: next, state };
    for owner in &mut owners {
        assert!(owner.prepare(&record.ballot, NOW + 1) && owner.accept(&record, NOW + 1));
    }
    // Clocks that were never set, or are off.
    assert!(Register::default().prepare(&ballot(1 << 40, "n"), 0));
    assert!(!Register::default().prepare(&ballot(MOST + 1, "n"), u64::MAX));
}

#[derive(Debug, Clone)]
enum Wire {
    Prepare { try_: usize, ballot: Ballot },
    Promise { try_: usize, owner: usize, done: bool, accepted: Option<NameRecord> },
    Accept { try_: usize, record: NameRecord },
    Accepted { try_: usize, owner: usize, done: bool },
    Learn { record: NameRecord },
}

/// One try of one writer, between its first question and its last answer.
#[derive(Debug)]
struct Try {
    writer: usize,
    ballot: Ballot,
    promises: BTreeMap<usize, Option<NameRecord>>,
    proposal: Option<Proposal>,
    accepted: BTreeMap<usize, ()>,
    refused: BTreeMap<usize, ()>,
    /// Some owner may answer it twice, and refuse the second what it accepted the first time.
    doubled: bool,
}

#[derive(Debug)]
struct Writer {
    proposer: Proposer,
    change: Change,
    ended: Option<Outcome>,
    restarted: bool,
}

#[derive(Debug)]
struct World {
    owners: Vec<Register>,
    writers: Vec<Writer>,
    tries: Vec<Try>,
    wires: Vec<(usize, Wire)>,
    counter: u64,
    /// Who accepted what under which ballot, ever.
    votes: BTreeMap<Ballot, (NameState, BTreeMap<usize, ()>)>,
    chosen: BTreeMap<u64, NameState>,
}

#[derive(Debug, Clone)]
enum Event {
    /// A writer begins, or tries again where nothing of its last try is under way.
    Try(prop::sample::Index),
    /// It tries again without waiting for that.
    Hurry(prop::sample::Index),
    Deliver(prop::sample::Index),
    /// All that is under way, the oldest first, and what is answered.
    Flow(usize),
    Lose(prop::sample::Index),
    Double(prop::sample::Index),
    /// A writer's process ends in the middle; its messages still come.
    Restart(prop::sample::Index),
    /// An owner hands on what it has.
    Push(prop::sample::Index, prop::sample::Index),
    /// A try from its beginning to its end that reaches these owners only, a bit each: first those asked, then those told.
    Round(prop::sample::Index, Reach),
}

type Reach = (u8, u8);

fn event() -> impl Strategy<Value = Event> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => index().prop_map(Event::Try),
        1 => index().prop_map(Event::Hurry),
        20 => index().prop_map(Event::Deliver),
        6 => (1usize..8).prop_map(Event::Flow),
        1 => index().prop_map(Event::Lose),
        1 => index().prop_map(Event::Double),
        1 => index().prop_map(Event::Restart),
        1 => (index(), index()).prop_map(|(from, to)| Event::Push(from, to)),
        2 => round(),
    ]
}

fn round() -> impl Strategy<Value = Event> {
    (any::<prop::sample::Index>(), any::<Reach>()).prop_map(|(writer, reach)| Event::Round(writer, reach))
}

/// Many tries that end before the next begins, and now and then an owner that hands on what it has: what is chosen, and what only some
/// have, follow each other closely.
fn rounds() -> impl Strategy<Value = Vec<Event>> {
    let index = any::<prop::sample::Index>;
    let push = (index(), index()).prop_map(|(from, to)| Event::Push(from, to));
    let late = index().prop_map(Event::Deliver);
    prop::collection::vec(prop_oneof![8 => round(), 1 => push, 1 => late], 1..40)
}

fn always(id: u128) -> Change {
    Change { id: Uuid::from_u128(id), target: Some(BlobId::of(&id.to_le_bytes())), condition: Condition::Always, now_ms: 0 }
}

fn change() -> impl Strategy<Value = Change> {
    let condition = prop_oneof![
        3 => Just(Condition::Always),
        2 => Just(Condition::Absent),
        1 => Just(Condition::Exists),
        3 => (1u64..4).prop_map(Condition::Version),
    ];
    (condition, any::<u128>(), prop::bool::weighted(0.8)).prop_map(|(condition, id, puts)| Change {
        id: Uuid::from_u128(id),
        target: puts.then(|| BlobId::of(&id.to_le_bytes())),
        condition,
        now_ms: 0,
    })
}

impl World {
    fn new(owners: usize, changes: Vec<Change>) -> Self {
        let writer =
            |change: Change| Writer { proposer: Proposer::change(change.clone()), change, ended: None, restarted: false };
        Self {
            owners: vec![Register::default(); owners],
            writers: changes.into_iter().map(writer).collect(),
            tries: Vec::new(),
            wires: Vec::new(),
            counter: 0,
            votes: BTreeMap::new(),
            chosen: BTreeMap::new(),
        }
    }

    fn majority(&self) -> usize {
        self.owners.len() / 2 + 1
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Try(at) if self.is_waiting(at.index(self.writers.len())) => {}
            Event::Try(at) | Event::Hurry(at) => self.begin(at.index(self.writers.len())),
            Event::Restart(at) => {
                let at = at.index(self.writers.len());
                self.writers[at].restarted = true;
            }
            Event::Push(from, to) => {
                let (from, to) = (from.index(self.owners.len()), to.index(self.owners.len()));
                if let Some(record) = self.owners[from].accepted.clone() {
                    self.wires.push((to, Wire::Learn { record }));
                }
            }
            Event::Round(at, reach) => self.round(at.index(self.writers.len()), *reach),
            _ if self.wires.is_empty() => {}
            Event::Deliver(at) => {
                let (owner, wire) = self.wires.swap_remove(at.index(self.wires.len()));
                self.deliver(owner, wire);
            }
            Event::Flow(count) => {
                for _ in 0..(*count).min(self.wires.len()) {
                    let (owner, wire) = self.wires.remove(0);
                    self.deliver(owner, wire);
                }
            }
            Event::Lose(at) => drop(self.wires.swap_remove(at.index(self.wires.len()))),
            Event::Double(at) => {
                let copy = self.wires[at.index(self.wires.len())].clone();
                if let (_, Wire::Accept { try_, .. }) = copy {
                    self.tries[try_].doubled = true;
                }
                self.wires.push(copy);
            }
        }
    }

    fn is_waiting(&self, writer: usize) -> bool {
        let of_writer = |try_: usize| self.tries[try_].writer == writer;
        self.wires.iter().any(|(_, wire)| match wire {
            Wire::Prepare { try_, .. } | Wire::Promise { try_, .. } | Wire::Accept { try_, .. } | Wire::Accepted { try_, .. } => {
                of_writer(*try_)
            }
            Wire::Learn { .. } => false,
        })
    }

    fn begin(&mut self, writer: usize) {
        let state = &self.writers[writer];
        if state.ended.is_some() || state.restarted {
            return;
        }
        // Not always the highest there is: writers do not know each other.
        self.counter += u64::from(writer.is_multiple_of(2));
        let own = self.tries.iter().filter(|other| other.writer == writer).map(|other| other.ballot.counter).max();
        let counter = self.counter.max(own.map_or(0, |own| own + 1));
        let ballot = Ballot { counter, node: format!("{NAME} {writer}") };
        let try_ = self.tries.len();
        for owner in 0..self.owners.len() {
            self.wires.push((owner, Wire::Prepare { try_, ballot: ballot.clone() }));
        }
        let (promises, accepted, refused) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        self.tries.push(Try { writer, ballot, promises, proposal: None, accepted, refused, doubled: false });
    }

    fn round(&mut self, writer: usize, (asked, told): Reach) {
        let now = self.tries.len();
        self.begin(writer);
        self.pass(asked, |wire| matches!(wire, Wire::Prepare { try_, .. } if *try_ == now));
        self.pass(asked, |wire| matches!(wire, Wire::Promise { try_, .. } if *try_ == now));
        self.pass(told, |wire| matches!(wire, Wire::Accept { try_, .. } if *try_ == now));
        self.pass(told, |wire| matches!(wire, Wire::Accepted { try_, .. } if *try_ == now));
    }

    /// Delivers what is under way of this kind to or from these owners. The rest may come late, or never.
    fn pass(&mut self, owners: u8, kind: impl Fn(&Wire) -> bool) {
        let passes = |(owner, wire): &mut (usize, Wire)| owners & (1 << *owner) != 0 && kind(wire);
        let wires: Vec<_> = self.wires.extract_if(.., passes).collect();
        for (owner, wire) in wires {
            self.deliver(owner, wire);
        }
    }

    fn deliver(&mut self, to: usize, wire: Wire) {
        match wire {
            Wire::Prepare { try_, ballot } => {
                let done = self.owners[to].prepare(&ballot, NOW);
                let accepted = self.owners[to].accepted.clone();
                self.wires.push((to, Wire::Promise { try_, owner: to, done, accepted }));
            }
            Wire::Accept { try_, record } => {
                let done = self.accept(to, &record);
                self.wires.push((to, Wire::Accepted { try_, owner: to, done }));
            }
            Wire::Learn { record } => drop(self.accept(to, &record)),
            Wire::Promise { try_, owner, done, accepted } => self.promised(try_, owner, done, accepted),
            Wire::Accepted { try_, owner, done } => self.accepted(try_, owner, done),
        }
    }

    fn accept(&mut self, owner: usize, record: &NameRecord) -> bool {
        let before = self.owners[owner].accepted.as_ref().map_or(0, |record| record.state.version);
        let done = self.owners[owner].accept(record, NOW);
        assert!(self.owners[owner].accepted.as_ref().map_or(0, |record| record.state.version) >= before, "no owner goes back");
        if done {
            let (state, voters) =
                self.votes.entry(record.ballot.clone()).or_insert_with(|| (record.state.clone(), BTreeMap::new()));
            assert_eq!(*state, record.state, "a ballot is of one state");
            if let Some(before) = record.state.version.checked_sub(1).filter(|before| *before > 0) {
                let chosen = self.chosen.get(&before).expect("nothing is made on what is not chosen");
                assert_eq!(chosen.changes[0], record.state.changes[1]);
            }
            voters.insert(owner, ());
            if voters.len() > self.owners.len() / 2 {
                let chosen = self.chosen.entry(record.state.version).or_insert_with(|| record.state.clone());
                assert_eq!(*chosen, record.state, "a version is one value");
            }
        }
        done
    }

    fn promised(&mut self, try_: usize, owner: usize, done: bool, accepted: Option<NameRecord>) {
        let majority = self.majority();
        let this = &mut self.tries[try_];
        let writer = &mut self.writers[this.writer];
        let latest_try = writer.ended.is_none() && !writer.restarted;
        if !done || this.proposal.is_some() || !latest_try {
            return;
        }
        this.promises.insert(owner, accepted);
        if this.promises.len() < majority {
            return;
        }
        let latest = this.promises.values().flatten().max_by(|one, other| rank(one, other));
        let held = this.promises.values().filter(|accepted| accepted.as_ref() == latest).count();
        let proposal = writer.proposer.propose(latest.map(|record| &record.state), held >= majority);
        match proposal.state.clone() {
            None => writer.ended = proposal.outcome.clone(),
            Some(state) => {
                let record = NameRecord { ballot: this.ballot.clone(), state };
                let wires = (0..self.owners.len()).map(|owner| (owner, Wire::Accept { try_, record: record.clone() }));
                self.wires.extend(wires);
            }
        }
        this.proposal = Some(proposal);
    }

    fn accepted(&mut self, try_: usize, owner: usize, done: bool) {
        let majority = self.majority();
        let last = self.tries.iter().rposition(|other| other.writer == self.tries[try_].writer) == Some(try_);
        let this = &mut self.tries[try_];
        let writer = &mut self.writers[this.writer];
        if done {
            this.accepted.insert(owner, ())
        } else {
            this.refused.insert(owner, ())
        };
        if this.refused.len() == self.owners.len() && last && !this.doubled {
            writer.proposer.refused_by_all();
        }
        let ended = this.accepted.len() >= majority && writer.ended.is_none() && !writer.restarted;
        if let (true, Some(proposal)) = (ended, &this.proposal) {
            writer.ended = proposal.outcome.clone();
        }
    }

    fn majorities(&self) -> impl Iterator<Item = Vec<usize>> {
        let (owners, majority) = (self.owners.len(), self.majority());
        let members = move |set: u32| (0..owners).filter(move |owner| set & (1 << owner) != 0).collect::<Vec<_>>();
        (0..1u32 << owners).map(members).filter(move |voters| voters.len() == majority)
    }

    /// What a look by these, everything being still, finds.
    fn look(&self, voters: &[usize]) -> Option<NameRecord> {
        let records = voters.iter().filter_map(|owner| self.owners[*owner].accepted.clone());
        records.max_by(rank)
    }

    fn check(&self) {
        let made: BTreeSet<Uuid> = self.chosen.values().map(|state| state.changes[0]).collect();
        assert_eq!(made.len(), self.chosen.len(), "no change is made twice: {:?}", self.chosen);
        let acked = self.writers.iter().filter_map(|writer| match &writer.ended {
            Some(Outcome::Changed { version, .. }) => Some((*version, &writer.change)),
            _ => None,
        });
        let mut by_version = BTreeMap::new();
        for (version, change) in acked {
            assert!(by_version.insert(version, change.id).is_none(), "version {version} was acknowledged to two");
            if let Condition::Version(before) = change.condition {
                assert_eq!(version, before + 1, "what was conditional followed its condition");
            }
            // Of any majority, everyone sees it or something later; as this version, this value.
            for voters in self.majorities() {
                let found = self.look(&voters).expect("an acknowledged version is not lost");
                assert!(found.state.version >= version, "{found:?} before {version}");
                if found.state.version == version {
                    assert_eq!(found.state.target, change.target);
                }
                let known = version_of(&found.state, change.id);
                assert!(known == Some(version) || forgotten(&found.state) >= version, "what came later came from it");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_acknowledged_stays(
        owners in prop_oneof![1 => 1usize..=5, 2 => Just(3)],
        changes in prop::collection::vec(change(), 1..5),
        events in prop::collection::vec(event(), 1..300),
    ) {
        let mut world = World::new(owners, changes);
        for event in &events {
            world.happen(event);
            world.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn what_is_acknowledged_stays_where_every_round_reaches_others(writers in 3u128..8, events in rounds()) {
        let mut world = World::new(3, (0..writers).map(always).collect());
        for event in &events {
            world.happen(event);
            world.check();
        }
    }
}

/// Owners a, b and c. Two changes reach a only, the second after the first; the third is chosen by b and c, who know of neither.
#[test]
fn what_only_one_owner_has_does_not_pile_up_and_win() {
    let (a, b, c) = (1, 2, 4);
    let mut world = World::new(3, (0..3).map(always).collect());
    for (writer, reach) in [(0, (a | b, a)), (1, (a | b, a)), (2, (b | c, b | c))] {
        world.round(writer, reach);
        world.check();
    }
    // The second goes on with the first owner back. A ballot too low, what most agree on then, and its own change.
    for _ in 0..3 {
        world.round(1, (a | b, a | b));
        world.check();
    }
    let changed = |version, created| Some(Outcome::Changed { version, created });
    assert_eq!(world.writers[2].ended, changed(1, true));
    assert_eq!(world.writers[1].ended, changed(2, false));
}

fn record(version: u64, counter: u64, target: Option<&str>) -> NameRecord {
    let state = NameState { version, target: target.map(|text| BlobId::of(text.as_bytes())), modified_ms: 0, changes: vec![] };
    NameRecord { ballot: Ballot { counter, node: String::new() }, state }
}

#[test]
fn who_comes_back_with_an_old_version_does_not_win_by_its_ballot() {
    let (old, new) = (record(3, 99, Some("old")), record(4, 5, Some("new")));
    assert!(rank(&new, &old).is_gt());
    let mut register = Register::default();
    assert!(register.accept(&new, NOW));
    assert!(!register.accept(&old, NOW) && register.has(&old));
    assert_eq!(register.accepted, Some(new));
}

#[test]
fn a_promise_keeps_lower_ballots_out() {
    let mut register = Register::default();
    assert!(register.prepare(&ballot(7, "b"), NOW));
    assert!(!register.prepare(&ballot(7, "a"), NOW));
    assert!(!register.accept(&record(1, 6, None), NOW));
    assert!(register.accept(&record(1, 8, None), NOW));
    assert_eq!(register.promised.counter, 8);
}

#[test]
fn conditions_are_about_what_is_there() {
    let (absent, deleted, there) = (None, Some(record(4, 0, None).state), Some(record(4, 0, Some("x")).state));
    let holds = |condition, target: Option<BlobId>, latest: &Option<NameState>| {
        let change = Change { id: Uuid::new_v4(), target, condition, now_ms: 9 };
        matches!(Proposer::change(change).propose(latest.as_ref(), true).outcome, Some(Outcome::Changed { .. }))
    };
    let put = Some(BlobId::of(b"put"));
    for (condition, expected) in [
        (Condition::Always, [true, true, true]),
        (Condition::Absent, [true, true, false]),
        (Condition::Exists, [false, false, true]),
        (Condition::Version(4), [false, false, true]),
        (Condition::Version(3), [false, false, false]),
    ] {
        let found = [&absent, &deleted, &there].map(|latest| holds(condition, put, latest));
        assert_eq!(found, expected, "{condition:?}");
    }
    for condition in [Condition::Always, Condition::Absent] {
        let delete = Change { id: Uuid::new_v4(), target: None, condition, now_ms: 9 };
        for nothing in [&absent, &deleted] {
            let found = Proposer::change(delete.clone()).propose(nothing.as_ref(), true);
            assert_eq!(found, Proposal { state: None, outcome: Some(Outcome::Nothing) }, "nothing to delete, {condition:?}");
        }
    }
    assert!(!holds(Condition::Absent, None, &there));
    assert!(holds(Condition::Always, None, &there));
}

#[test]
fn a_change_that_another_finished_is_not_made_twice() {
    let change = Change { id: Uuid::new_v4(), target: Some(BlobId::of(b"x")), condition: Condition::Version(1), now_ms: 0 };
    let mut proposer = Proposer::change(change.clone());
    let first = proposer.propose(Some(&record(1, 0, Some("w")).state), true).state.unwrap();
    let next = Change { id: Uuid::new_v4(), ..change.clone() }.after(Some(&first));
    let changed = Some(Outcome::Changed { version: 2, created: false });
    for (chosen, state) in [(false, Some(next.clone())), (true, None)] {
        assert_eq!(proposer.propose(Some(&next), chosen), Proposal { state, outcome: changed.clone() });
    }
    let later = (0..REMEMBERED + 1).fold(next, |state, _| Change { id: Uuid::new_v4(), ..change.clone() }.after(Some(&state)));
    assert_eq!(proposer.propose(Some(&later), true).outcome, Some(Outcome::Unclear));
}
