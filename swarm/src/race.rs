//! Who is asked for a chunk, in which order, and when the next is asked as well.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use herring_blob::{Chunk, ObjectRef};
use herring_gossip::View;
use herring_ring::Point;
use metrics::counter;
use tokio::time::sleep;

use crate::candidates::Candidate;
use crate::fetch::{Flight, Role};
use crate::memory::Share;
use crate::{ReadError, Source, Tried, metrics as m};

/// Whoever can be asked for a chunk.
#[derive(Debug, Clone)]
pub(crate) enum Giver {
    Peer(Candidate),
    Origin(ObjectRef),
}

/// What came of asking one giver.
pub(crate) enum Answer {
    Chunk(Chunk),
    /// The object is not what it was: nobody else has it either.
    Changed,
    /// Not from this one; whether it may help to ask again soon.
    No {
        whom: String,
        why: String,
        transient: bool,
    },
}

/// Givers that are asked for one chunk at the same time.
const TOGETHER: usize = 4;

impl Flight {
    pub(crate) fn givers(&self, view: &View) -> VecDeque<Giver> {
        match self.content.source() {
            Source::Blob(manifest) => {
                let candidates = self.swarm.candidates(view, Point::of_chunk(manifest, self.chunk));
                candidates.by_nearness(view, &self.swarm.0.health).into_iter().map(Giver::Peer).collect()
            }
            Source::Object(object) if self.role == Role::Owner => [Giver::Origin(object.clone())].into(),
            Source::Object(object) => self.object_givers(view, object),
        }
    }

    /// An object's chunk is asked of its owners in the ring's order, which is the same on every node: so one owner asks the
    /// origin, once for the whole swarm. An owner that failed just now goes behind the others. The origin itself is last,
    /// or where this node's own turn as an owner comes.
    fn object_givers(&self, view: &View, object: &ObjectRef) -> VecDeque<Giver> {
        let (swarm, health) = (&self.swarm, &self.swarm.0.health);
        let mut owners = swarm.candidates(view, Point::of_object_chunk(&object.id(), self.chunk)).owners;
        owners.sort_by_key(|one| !swarm.is_me(view, one) && (view.suspect(&one.id) || health.failed_lately(&one.id)));
        let before_me = owners.into_iter().take_while(|one| !swarm.is_me(view, one));
        before_me.map(Giver::Peer).chain([Giver::Origin(object.clone())]).collect()
    }

    /// Asks the givers in order until one gives the chunk: the next one when one fails, and a second one at the same time
    /// when for a while nothing came from the first and somebody waits. Also says whether a failure was of the passing kind.
    pub(crate) async fn race(
        &self,
        view: &View,
        mut givers: VecDeque<Giver>,
        share: &Arc<Share>,
        tried: &mut Tried,
    ) -> Result<(Option<Chunk>, bool), ReadError> {
        let patience = self.patience();
        let mut asking: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        let (mut transient, mut landed) = (false, self.pilot.landed());
        loop {
            if asking.is_empty() {
                let Some(giver) = givers.pop_front() else { return Ok((None, transient)) };
                asking.push(Box::pin(self.ask(view, giver, patience, share)));
            }
            tokio::select! {
                Some(answer) = asking.next() => match answer {
                    Answer::Chunk(chunk) => return Ok((Some(chunk), transient)),
                    Answer::Changed => {
                        self.swarm.forget_content(&self.content);
                        return Err(ReadError::Changed { what: self.content.to_string() });
                    }
                    Answer::No { whom, why, transient: passing } => {
                        transient |= passing;
                        tried.note(whom, why);
                    }
                },
                () = sleep(patience), if asking.len() < TOGETHER && !givers.is_empty() => {
                    // Slow is not stuck, and what was only sent for ahead may take its time.
                    let stuck = std::mem::replace(&mut landed, self.pilot.landed()) == landed;
                    if stuck && self.pilot.is_awaited() && let Some(giver) = givers.pop_front() {
                        counter!(m::HEDGES).increment(1);
                        asking.push(Box::pin(self.ask(view, giver, patience, share)));
                    }
                }
            }
        }
    }

    fn patience(&self) -> Duration {
        match self.content.source() {
            Source::Blob(_) => self.swarm.0.config.hedge,
            Source::Object(_) => self.swarm.0.config.origin_hedge,
        }
    }
}
