//! Asking the owners of a name, and all who may have been its owners.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use herring_gossip::View;
use herring_http_api::peer::{Ballot, NameRecord, NamedRecord, NamesCall, NamesReply};
use herring_ring::{NodeId, Point};
use metrics::counter;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::register::{Outcome, Proposer, can_be, is_record, rank};
use super::{NameError, now_ms};
use crate::candidates::{Candidate, Candidates};
use crate::config::SMALL_DEADLINE;
use crate::{Swarm, Tried, metrics as m};

/// How long a change waits for those who have not promised yet once most owners have: one of them may have been an owner before and
/// know more. A node that hangs is suspected soon, and not waited for then.
const PROMISE_STRAGGLERS: Duration = Duration::from_millis(500);
/// The same for a read, of which nobody builds anything.
const READ_STRAGGLERS: Duration = Duration::from_millis(50);
/// Between two tries of a change: at random up to this, doubling to 8 times as much, or two nodes would outbid each other for ever. A
/// change takes 12 ms.
const PAUSE_MS: u64 = 10;

/// Of five, any two may be away.
const FEWEST_OWNERS: usize = 5;

/// Who has a say about a name, as one view has it.
pub(super) struct Panel {
    /// All owners, whether they are here or not, the first id first.
    owners: Vec<NodeId>,
    here: Vec<Candidate>,
    /// Who may have been an owner before, and knows what the owners do not. They do not count.
    others: Vec<Candidate>,
    view: std::sync::Arc<View>,
}

/// What one of them said.
struct Vote {
    node: Candidate,
    owner: bool,
    done: bool,
    promised: Ballot,
    accepted: Option<NameRecord>,
}

/// What those said who answered.
#[derive(Default)]
pub(super) struct Votes {
    votes: Vec<Vote>,
    tried: Tried,
}

impl Panel {
    /// Whether these are most of the owners, or the half with the first id where the other half is not here: any two that are have an owner in common.
    pub fn are_most<'a>(&self, nodes: impl Iterator<Item = &'a NodeId>) -> bool {
        let (count, first) =
            nodes.fold((0, false), |(count, first), node| (count + 1, first || Some(node) == self.owners.first()));
        let of_halves = first && 2 * self.here.len() == self.owners.len();
        2 * count + usize::from(of_halves) > self.owners.len()
    }

    pub fn too_few(&self, what: fmt::Arguments<'_>, votes: Votes) -> NameError {
        let (got, needed) = (votes.agreed().count(), self.owners.len() / 2 + 1);
        let what = format!("{what}: {got} of the {needed} owners that it takes agreed");
        NameError::Unavailable { what, tried: votes.tried }
    }
}

impl Votes {
    /// Owners who did what was asked.
    pub fn agreed(&self) -> impl Iterator<Item = &NodeId> {
        self.votes.iter().filter(|vote| vote.owner && vote.done).map(|vote| &vote.node.id)
    }

    /// Owners who did not do it, and said so.
    fn refused(&self) -> usize {
        self.votes.iter().filter(|vote| vote.owner && !vote.done).count()
    }

    /// The latest that anybody has accepted.
    pub fn latest(&self) -> Option<&NameRecord> {
        self.votes.iter().filter_map(|vote| vote.accepted.as_ref()).max_by(|one, other| rank(one, other))
    }

    /// Owners who have accepted just this.
    pub fn held(&self, record: &NameRecord) -> impl Iterator<Item = &NodeId> {
        self.votes.iter().filter(move |vote| vote.owner && vote.accepted.as_ref() == Some(record)).map(|vote| &vote.node.id)
    }

    /// Whether anybody, owner or not, has promised more. With owners that changed, going on without him could pass over what he saw.
    fn outbid(&self, ballot: &Ballot) -> bool {
        self.votes.iter().any(|vote| vote.promised > *ballot)
    }

    fn highest(&self) -> u64 {
        self.votes.iter().map(|vote| vote.promised.counter).max().unwrap_or(0)
    }

    fn note(&mut self, node: Candidate, owner: bool, reply: Result<NamesReply, String>) {
        let (done, promised, accepted) = match reply {
            Ok(NamesReply::Vote { done, promised, accepted }) => (done, promised, accepted),
            Ok(NamesReply::Record(accepted)) => (true, Ballot::default(), accepted),
            Ok(NamesReply::Records(_) | NamesReply::Learnt { .. }) => {
                return self.tried.note(node.id, "answered another question");
            }
            Err(why) => return self.tried.note(node.id, why),
        };
        let now = now_ms();
        if !can_be(&promised, now) || accepted.as_ref().is_some_and(|record| !is_record(record, now)) {
            return self.tried.note(node.id, "answered what cannot be");
        }
        if owner && !done {
            self.tried.note(&node.id, "prefers another change");
        }
        self.votes.push(Vote { node, owner, done, promised, accepted });
    }
}

impl Swarm {
    /// Those who have a say about a name now.
    pub(super) fn panel(&self, name: &str) -> Result<Panel, NameError> {
        let view = self.view();
        if view.ring().members().is_empty() || !view.settled() {
            return Err(NameError::NotReady);
        }
        let mut owners = self.owners_of_name(&view, name);
        let here: Vec<Candidate> = owners.iter().filter_map(|id| view.get(id)).map(Candidate::from).collect();
        owners.sort();
        let candidates = Candidates::of(&view, Point::of_name(name), self.name_owners());
        let known = [candidates.owners, candidates.successors, candidates.outside].into_iter().flatten();
        let others = known.filter(|one| !here.contains(one)).collect();
        Ok(Panel { owners, here, others, view })
    }

    /// Asks everyone who has a say, or for an accept the owners. Each question is a task of its own, and goes on when its answer is not waited for.
    pub(super) async fn poll(&self, panel: &Panel, call: &NamesCall) -> Votes {
        let (others, stragglers) = match call {
            NamesCall::Accept { .. } => (&[][..], Duration::ZERO),
            NamesCall::Prepare { .. } => (&panel.others[..], PROMISE_STRAGGLERS),
            _ => (&panel.others[..], READ_STRAGGLERS),
        };
        let everyone = panel.here.iter().map(|node| (node, true)).chain(others.iter().map(|node| (node, false)));
        let mut asking: FuturesUnordered<_> = everyone
            .map(|(node, owner)| self.0.tasks.spawn(self.clone().vote(panel.view.clone(), node.clone(), owner, call.clone())))
            .collect();
        let trusted = |node: &Candidate| !panel.view.suspect(&node.id);
        let mut waiting = panel.here.iter().chain(others).filter(|node| trusted(node)).count();
        let (mut votes, mut until) = (Votes::default(), Instant::now() + SMALL_DEADLINE);
        for missing in panel.owners.iter().filter(|id| panel.view.get(id).is_none()) {
            votes.tried.note(missing, "is missing");
        }
        while let Ok(Some(answer)) = timeout_at(until, asking.next()).await {
            // A task that panicked or was cut short said nothing.
            let Ok((node, owner, reply)) = answer else { continue };
            waiting -= usize::from(trusted(&node));
            votes.note(node, owner, reply);
            if panel.are_most(votes.agreed()) {
                until = if waiting == 0 { Instant::now() } else { until.min(Instant::now() + stragglers) };
            }
        }
        votes
    }

    async fn vote(
        self,
        view: std::sync::Arc<View>,
        node: Candidate,
        owner: bool,
        call: NamesCall,
    ) -> (Candidate, bool, Result<NamesReply, String>) {
        let reply = self.ask_name(&view, &node, &call).await;
        (node, owner, reply)
    }

    /// One question to one node, which may be this one.
    pub(super) async fn ask_name(&self, view: &View, node: &Candidate, call: &NamesCall) -> Result<NamesReply, String> {
        if self.is_me(view, node) {
            return self.answer_names(call.clone()).await.map_err(|error| error.to_string());
        }
        let mut question = self.0.health.ask(&node.id, SMALL_DEADLINE);
        let reply = self.0.peers.names(node.http, call, &self.ask(view, SMALL_DEADLINE)).await;
        match &reply {
            Ok(_) => question.answered(),
            Err(_) => question.failed(),
        }
        reply.map_err(|error| error.to_string())
    }

    /// Brings a change or a look to its end, try after try.
    pub(super) async fn settle(&self, name: &str, mut proposer: Proposer) -> Result<Outcome, NameError> {
        let until = Instant::now() + self.0.config.name_deadline;
        let mut ballot = Ballot {
            counter: self.register(name).map_or(0, |register| register.promised.counter),
            // No two tries have the same, whatever node restarted or forgot what.
            node: format!("{}/{}", self.view().me(), Uuid::new_v4().simple()),
        };
        for doubled in (0..=3).chain(std::iter::repeat(3)) {
            let panel = self.panel(name)?;
            ballot.counter += 1;
            let votes = match self.attempt(&panel, name, &ballot, &mut proposer).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) if Instant::now() < until => continue,
                Ok(None) => return Err(busy(name)),
                Err(votes) => votes,
            };
            ballot.counter = ballot.counter.max(votes.highest());
            let pause = Duration::from_millis(random_below(PAUSE_MS << doubled));
            if Instant::now() + pause > until {
                return Err(panel.too_few(format_args!("the name {name:?} cannot be changed or made sure"), votes));
            }
            counter!(m::NAME_RETRIES).increment(1);
            sleep(pause).await;
        }
        unreachable!("the tries have no end but the deadline")
    }

    /// One try: a promise of most owners, and then their acceptance. `Ok(None)`: they agree on what others began, and the next try comes at once.
    async fn attempt(
        &self,
        panel: &Panel,
        name: &str,
        ballot: &Ballot,
        proposer: &mut Proposer,
    ) -> Result<Option<Outcome>, Votes> {
        let prepare = NamesCall::Prepare { name: name.to_owned(), ballot: ballot.clone() };
        let promises = self.poll(panel, &prepare).await;
        if !panel.are_most(promises.agreed()) || promises.outbid(ballot) {
            return Err(promises);
        }
        let latest = promises.latest();
        let chosen = latest.is_some_and(|latest| panel.are_most(promises.held(latest)));
        let proposal = proposer.propose(latest.map(|record| &record.state), chosen);
        let Some(state) = proposal.state else { return Ok(proposal.outcome) };
        let record = NameRecord { ballot: ballot.clone(), state };
        let accepted = self.poll(panel, &NamesCall::Accept { name: name.to_owned(), record }).await;
        if accepted.refused() == panel.here.len() {
            proposer.refused_by_all();
        }
        if panel.are_most(accepted.agreed()) { Ok(proposal.outcome) } else { Err(accepted) }
    }

    /// Gives owners what they lack, in the background.
    pub(super) fn teach(&self, panel: &Panel, name: &str, latest: &NameRecord, votes: &Votes) {
        let lack = |vote: &&Vote| vote.owner && vote.accepted.as_ref() != Some(latest);
        for vote in votes.votes.iter().filter(lack) {
            let records = vec![NamedRecord { name: name.to_owned(), record: latest.clone() }];
            let (swarm, view, node) = (self.clone(), panel.view.clone(), vote.node.clone());
            let teach = async move { swarm.ask_name(&view, &node, &NamesCall::Learn { records }).await };
            self.0.tasks.spawn(teach);
        }
    }

    /// How many own a name: as many as a chunk, and at least five.
    pub(super) fn name_owners(&self) -> usize {
        self.replicas().max(FEWEST_OWNERS)
    }

    pub(super) fn owns_name(&self, view: &View, node: &NodeId, name: &str) -> bool {
        self.owners_of_name(view, name).contains(node)
    }

    /// In the ring's order, the missing too.
    pub(super) fn owners_of_name(&self, view: &View, name: &str) -> Vec<NodeId> {
        let ring = self.names_ring(view);
        ring.owners(Point::of_name(name), self.name_owners()).into_iter().map(|member| member.id.clone()).collect()
    }
}

/// Each try found what others had just begun, and was spent on that.
fn busy(name: &str) -> NameError {
    NameError::Unavailable { what: format!("others change {name:?} all the time"), tried: Tried::default() }
}

fn random_below(bound: u64) -> u64 {
    // Of the 128 bits of a random UUID, 122 are random, the lowest ones too.
    Uuid::new_v4().as_u64_pair().1 % bound
}
