//! Who is asked for a chunk, in which order, and when the next is asked as well.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use herring_blob::{Chunk, ObjectRef};
use herring_gossip::View;
use herring_http_api::client::PeerError;
use herring_origin::Origin;
use herring_ring::{NodeId, Point};
use metrics::counter;
use tokio::time::sleep;

use crate::candidates::Candidate;
use crate::config::{LATELY_OWNERS, NAMED_PATIENCE};
use crate::fetch::{Flight, Role};
use crate::givers::{Giver, Givers};
use crate::memory::Share;
use crate::{Content, ReadError, Source, Swarm, Tried, metrics as m};

/// What came of asking one giver.
pub(crate) enum Answer {
    Chunk(Chunk),
    /// The owner of an object's chunk was silent for the first time.
    Silent {
        peer: Candidate,
        why: String,
    },
    /// It has more to send than it can, and names others. `named`: it was named itself.
    Busy {
        peer: Candidate,
        holders: Vec<String>,
        named: bool,
    },
    /// The object is not what it was: of this version there is only what the swarm holds.
    Changed,
    /// The origin does not give it to this node.
    Denied {
        whom: String,
        why: String,
    },
    /// Not from this one; whether it may help to ask again soon.
    No {
        whom: String,
        why: String,
        transient: bool,
    },
}

/// Givers that are asked for one chunk at the same time.
const TOGETHER: usize = 4;

impl Swarm {
    /// Whether, as far as this node knows, it is the one who asks the origin for this chunk on behalf of all.
    pub(crate) fn acts_as_owner(&self, content: &Content, chunk: u32) -> bool {
        let Source::Object(object) = content.source() else { return false };
        let view = self.view();
        let owners = self.candidates(&view, Point::of_object_chunk(object, chunk)).owners;
        let first = owners.into_iter().find(|one| self.is_me(&view, one) || self.is_well(&view, &one.id));
        first.is_some_and(|one| self.is_me(&view, &one))
    }

    pub(crate) fn is_well(&self, view: &View, id: &NodeId) -> bool {
        view.get(id).is_some() && !view.suspect(id) && !self.0.health.failed_lately(id)
    }
}

impl Flight {
    pub(crate) fn givers(&self, view: &View) -> Givers {
        match self.content.source() {
            Source::Blob(manifest) => {
                let candidates = self.swarm.candidates(view, Point::of_chunk(manifest, self.chunk));
                let giver = |one| if candidates.owners.contains(&one) { Giver::Peer(one) } else { Giver::Holder(one) };
                let told = self.swarm.told_holders(view, &self.content, self.chunk);
                let others = candidates.by_nearness(view, &self.swarm.0.health, self.turn(view)).into_iter();
                let others: Vec<_> = others.filter(|one| !told.contains(one)).map(giver).collect();
                told.into_iter().map(Giver::Holder).chain(others).collect()
            }
            Source::Object(object) => self.object_givers(view, object),
        }
    }

    /// Another one for each node and chunk.
    fn turn(&self, view: &View) -> usize {
        let mut hasher = DefaultHasher::new();
        (view.me().as_str(), self.chunk).hash(&mut hasher);
        usize::try_from(hasher.finish() >> 32).unwrap_or(0)
    }

    /// An object's chunk is asked of its owners in the ring's order, which is the same on every node: so one owner asks the
    /// origin, once for the whole swarm. An owner that failed just now is passed by. Where this node's own turn comes it asks the origin
    /// itself, after those who owned the chunk until lately. Last come all who may hold it; before the origin where that failed just now.
    fn object_givers(&self, view: &View, object: &ObjectRef) -> Givers {
        let (swarm, point) = (&self.swarm, Point::of_object_chunk(object, self.chunk));
        let owners = self.owners_to_ask(view, point);
        let lately = if owners.is_empty() { self.lately_owners(view, point) } else { Vec::new() };
        let holders = swarm.candidates(view, point).by_nearness(view, &swarm.0.health, self.turn(view)).into_iter();
        let holders: Vec<_> = holders.filter(|one| !owners.contains(one) && !lately.contains(one)).map(Giver::Holder).collect();
        let origin = [Giver::Origin(object.clone())];
        let fed = self.fed.lock().unwrap_or_else(PoisonError::into_inner).take().map(|(feed, _)| Giver::Run(feed));
        if owners.is_empty() && fed.is_none() {
            // Before anyone asks for the others one by one.
            let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
            run.get_or_insert_with(|| self.claim_run());
        }
        let asked = fed.into_iter().chain(owners.into_iter().map(Giver::Peer));
        let asked = asked.chain(lately.into_iter().map(Giver::Former));
        match swarm.0.health.origin_failed_lately(&object.origin) {
            true => asked.chain(holders).chain(origin).collect(),
            false => asked.chain(origin).chain(holders).collect(),
        }
    }

    /// The owners whose turn comes before this node's. None where this node brings the chunk as its owner.
    fn owners_to_ask(&self, view: &View, point: Point) -> Vec<Candidate> {
        if self.role == Role::Owner {
            return Vec::new();
        }
        let owners = self.swarm.candidates(view, point).owners.into_iter();
        let well: Vec<_> = owners.filter(|one| self.swarm.is_me(view, one) || self.swarm.is_well(view, &one.id)).collect();
        let mut parts = well.split(|one| self.swarm.is_me(view, one));
        let (before, behind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // Where this node's turn came first, and it did not get the chunk: those whose turn comes after it.
        if before.is_empty() { behind.to_vec() } else { before.to_vec() }
    }

    /// For a while after a change of members: those who owned the chunk before it, which are the other owners and the next on the walk. They may
    /// have it, and the origin need not give it a second time.
    fn lately_owners(&self, view: &View, point: Point) -> Vec<Candidate> {
        if !self.swarm.ring_changed_lately() {
            return Vec::new();
        }
        let (owners, others) = self.swarm.candidates(view, point).peers(view.me());
        owners.into_iter().chain(others).filter(|one| self.swarm.is_well(view, &one.id)).take(LATELY_OWNERS).collect()
    }

    /// Asks the givers in order until one gives the chunk: the next one when one fails, and a second one at the same time
    /// when for a while nothing came from the first and somebody waits. Also says whether a failure was of the passing kind.
    pub(crate) async fn race(
        &self,
        view: &View,
        mut givers: Givers,
        share: &Arc<Share>,
        tried: &mut Tried,
    ) -> Result<(Option<Chunk>, bool), ReadError> {
        let (mut patience, mut most, mut denied) = (Duration::MAX, Duration::MAX, Duration::ZERO);
        let mut asking: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        let (mut transient, mut changed, mut refused, mut silent, mut landed) = (false, false, false, false, self.pilot.landed());
        loop {
            while asking.is_empty() {
                match givers.next() {
                    // What was well when the flight began may be known to hang by now.
                    Some(Giver::Peer(peer)) if self.is_object() && !self.swarm.is_well(&self.swarm.view(), &peer.id) => {
                        tried.note(&peer.id, "is silent");
                    }
                    Some(giver) => {
                        (patience, most) = self.patience(&giver);
                        denied = Duration::ZERO;
                        asking.push(Box::pin(self.ask(view, giver, patience, share)));
                    }
                    None if changed => return Err(ReadError::Changed { what: self.content.to_string() }),
                    None if refused => {
                        let (what, chunk, tried) = (self.content.to_string(), self.chunk, std::mem::take(tried));
                        return Err(ReadError::Denied { what, chunk, tried });
                    }
                    None => return Ok((None, transient)),
                }
            }
            tokio::select! {
                Some(answer) = asking.next() => match answer {
                    Answer::Chunk(chunk) => return Ok((Some(chunk), transient)),
                    Answer::Busy { peer, holders, named } => {
                        transient = true;
                        tried.note(&peer.id, PeerError::Busy { holders: holders.clone() });
                        match named {
                            true => givers.name(view, &holders),
                            false => givers.redirect(view, peer, &holders, self.is_object()),
                        }
                    }
                    Answer::Changed => {
                        changed = true;
                        self.swarm.forget_content(&self.content);
                        givers.only_holders();
                    }
                    Answer::Silent { peer, why } => {
                        tried.note(&peer.id, why);
                        let first = !std::mem::replace(&mut silent, true);
                        match first && !self.swarm.view().suspect(&peer.id) {
                            true => givers.again(peer),
                            false => self.swarm.0.health.failed(&peer.id),
                        }
                    }
                    Answer::Denied { whom, why } => {
                        refused = true;
                        tried.note(whom, why);
                    }
                    Answer::No { whom, why, transient: passing } => {
                        transient |= passing;
                        tried.note(whom, why);
                    }
                },
                () = sleep(patience), if asking.len() < TOGETHER && !givers.is_empty() => {
                    // Slow is not stuck, and what was only sent for ahead may take its time.
                    let stuck = std::mem::replace(&mut landed, self.pilot.landed()) == landed && !self.is_held();
                    // Who was silent for so long is in trouble, and not only slower than usual; who said that it waits is in none so soon.
                    let longest = if self.pilot.is_in_turn() { most.max(NAMED_PATIENCE) } else { most };
                    let given_up = denied + patience >= longest;
                    if !stuck || !self.pilot.is_awaited() {
                        denied = Duration::ZERO;
                    } else if !given_up && !self.swarm.0.health.may_hedge() {
                        denied += patience;
                        patience = longest.saturating_sub(denied);
                    } else if let Some(giver) = givers.next() {
                        counter!(m::HEDGES).increment(1);
                        ((patience, most), denied) = (self.patience(&giver), Duration::ZERO);
                        asking.push(Box::pin(self.ask(view, giver, patience, share)));
                    }
                }
            }
        }
    }

    fn is_object(&self) -> bool {
        matches!(self.content.source(), Source::Object(_))
    }

    /// Whether the origin wants to be left alone for now: then all who ask it wait, and asking others as well would only ask it more.
    fn is_held(&self) -> bool {
        match self.content.source() {
            Source::Object(object) => self.swarm.origin(&object.origin).is_ok_and(Origin::is_held),
            Source::Blob(_) => false,
        }
    }

    /// How long nothing may land from one giver before the next is asked as well, if the budget for that allows it; and how long at most,
    /// after which it is in trouble, and not only slower than usual.
    fn patience(&self, giver: &Giver) -> (Duration, Duration) {
        let swarm = &self.swarm.0;
        let usual = |one: &Candidate, most| (swarm.health.hedge_after(&one.id, most), most);
        match (self.content.source(), giver) {
            (_, Giver::Holder(one)) => usual(one, swarm.config.holder_patience),
            (_, Giver::Named(one)) => usual(one, NAMED_PATIENCE),
            (_, Giver::Former(_)) => (swarm.config.holder_patience, swarm.config.holder_patience),
            // Behind the origin come only those who may hold the chunk, and asking them costs the origin nothing.
            (_, Giver::Origin(_)) => (swarm.config.origin_patience, swarm.config.origin_patience),
            (Source::Object(_), _) => (swarm.config.origin_hedge, swarm.config.origin_hedge),
            (Source::Blob(_), Giver::Peer(one) | Giver::Again(one) | Giver::Insist(one)) => usual(one, swarm.config.hedge),
            (Source::Blob(_), Giver::Run(_)) => (swarm.config.hedge, swarm.config.hedge),
        }
    }
}
