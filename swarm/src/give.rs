//! Chunks for peers: from this node's disk, or as they arrive here, or the word who has them. A peer is pointed at those who asked before it where this node
//! has promised enough (`tracker.rs`), or where one of them is in the peer's own zone and this node is not: so a chunk comes into a zone once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt, stream};
use herring_blob::{Chunk, ContentId, Geometry, ObjectRef};
use herring_gossip::View;
use herring_http_api::arriving::{Arriving, GivenChunk};
use herring_http_api::peer::{Asker, ChunkOf, ChunkRequest, Urge};
use herring_ring::NodeId;
use metrics::counter;

use crate::fetch::{Role, Want};
use crate::landing::{Held, Landing, Passed};
use crate::tracker::{Fetching, Holders, Promise};
use crate::{Content, ReadError, ServeError, Source, Swarm, metrics as m};

/// How long who insists waits for its turn, before it is served beside the others.
const TURN: Duration = Duration::from_secs(2);
/// Bytes that are handed out as one, and count as promised until they are sent. The largest frame of our clients.
const PART: u32 = 1 << 20;

/// A question for a chunk, with what is known of who asks.
struct Question {
    content: Content,
    chunk: u32,
    first: u32,
    /// Chunks that the asker will want soon, this one among them.
    wanted: u32,
    urge: Urge,
    background: bool,
    /// Who asks, where that is a member.
    asker: Option<Fetching>,
}

impl Swarm {
    /// A chunk for a peer. From this node's disk, or as it arrives here; an object's, unless only what is held is asked for, from the origin.
    pub async fn give(&self, asked: ChunkRequest, asker: Asker) -> Result<GivenChunk, ServeError> {
        let question = self.question(asked, asker)?;
        self.note_asked(&question.content);
        if self.is_to_come(&question) {
            self.await_first(&question.content, question.chunk).await;
        }
        let landing = self.landing_of(&question);
        if let (Some(landing), Some(asker), Urge::Named) = (&landing, &question.asker, question.urge)
            && landing.is_asked_of(&asker.node)
        {
            // Two whom different owners pointed at each other.
            return Ok(GivenChunk::Busy { holders: Vec::new() });
        }
        let is_to_come = landing.is_none() && self.is_to_come(&question);
        let busy = !is_to_come && self.is_busy(landing.as_deref());
        // Who was pointed to a node that has all of it has found it: elsewhere it would only wait as long.
        let refused = busy && (question.urge == Urge::Any || landing.is_some());
        let holders = self.holders(&question, refused);
        if !holders.is_empty() || (question.urge == Urge::Named && refused) {
            counter!(m::REDIRECTS).increment(1);
            return Ok(GivenChunk::Busy { holders: holders.iter().map(ToString::to_string).collect() });
        }
        // Not before: for who is pointed elsewhere the origin is not asked.
        match landing.or_else(|| is_to_come.then(|| self.bring_for(&question))) {
            Some(landing) => Ok(self.pass_on(landing, &question)),
            None => self.give_kept(question).await,
        }
    }

    /// Bytes that this node has promised to send its peers and has not sent yet.
    pub fn promised(&self) -> u64 {
        self.0.tracker.promised()
    }

    fn question(&self, asked: ChunkRequest, asker: Asker) -> Result<Question, ServeError> {
        let ChunkRequest { of, index: chunk, first, urge } = asked;
        let (content, wanted) = match of {
            ChunkOf::Blob(id) => (self.open_blob_now(id).ok_or(ServeError::NotHere)?, 1),
            ChunkOf::Object { object, identity, chunk_size, wanted } => {
                self.expect_same_origin(&object.origin, &identity)?;
                (self.asked_object(object, chunk_size, chunk)?, wanted)
            }
        };
        if chunk >= content.geometry().chunk_count() {
            return Err(ServeError::NotHere);
        }
        let asker_info = asker.from.parse().ok().and_then(|id: NodeId| {
            let view = self.view();
            Some(Fetching { zone: view.get(&id)?.zone.clone(), node: id })
        });
        Ok(Question { content, chunk, first, wanted, urge, background: asker.background, asker: asker_info })
    }

    /// Whether the asker had better ask others. What arrives is passed on to one other, who passes it on in its turn: so each link carries each chunk
    /// once, whoever asks first. A tree would take two or more times a link's rate from those who ask first, for each chunk anew, since all
    /// read the same chunks at the same time. A chain costs a piece's time a hop: 21 ms at 100 Mbit/s, 0.7 s for 32 nodes.
    fn is_busy(&self, landing: Option<&Landing>) -> bool {
        self.0.config.redirects
            && match landing {
                Some(landing) => landing.peers() > 0,
                None => self.0.tracker.is_busy(),
            }
    }

    /// Whom the asker is to ask instead; none where it is to be served here.
    fn holders(&self, question: &Question, busy: bool) -> Vec<NodeId> {
        let (id, chunk, view) = (question.content.id(), question.chunk, self.view());
        let Some(asker) = question.asker.as_ref().filter(|_| self.0.config.redirects) else { return Vec::new() };
        let Holders { near, far, hot } = self.0.tracker.note(id, chunk, asker);
        let alive = |nodes: Vec<NodeId>| nodes.into_iter().filter(|id| self.may_give(&view, id)).collect();
        let holders = Holders { near: alive(near), far: alive(far), hot };
        let stranger = view.get(view.me()).is_some_and(|me| me.zone != asker.zone) && !holders.near.is_empty();
        let elsewhere = match question.urge {
            Urge::Any => stranger || busy || (hot && question.background),
            Urge::Named => busy,
            // Without another way to it, it is given here.
            Urge::Held | Urge::Insist => false,
        };
        let named = if elsewhere { holders.named() } else { Vec::new() };
        if let Some(first) = named.first() {
            self.0.tracker.pointed(id, chunk, first);
        }
        named
    }

    fn may_give(&self, view: &View, id: &NodeId) -> bool {
        view.get(id).is_some() && !view.suspect(id)
    }

    fn is_kept(&self, question: &Question) -> bool {
        let Question { content, chunk, .. } = question;
        self.is_here(content, *chunk) || self.0.unkept.get(&(content.version(), *chunk)).is_some()
    }

    /// Where the chunk is not here but on its way, and the asker is to wait for it.
    fn landing_of(&self, question: &Question) -> Option<Arc<Landing>> {
        let Question { content, chunk, urge, .. } = question;
        if self.is_kept(question) {
            return None;
        }
        match (content.source(), urge) {
            (Source::Object(_), Urge::Any | Urge::Insist) => self.0.chunks.running(&(content.version(), *chunk, Role::Owner)),
            // Who was pointed here waits for what comes; who only looks here is not to wait for one who may look there.
            (_, Urge::Named) => self.under_way(content, *chunk),
            (_, Urge::Held) => None,
            (Source::Blob(_), _) => {
                let begun = self.under_way(content, *chunk).filter(|landing| landing.has_begun());
                begun.filter(|_| self.0.config.redirects)
            }
        }
    }

    /// Whether the chunk is not here, and is brought from the origin for who asks.
    fn is_to_come(&self, question: &Question) -> bool {
        let is_object = matches!(question.content.source(), Source::Object(_));
        is_object && matches!(question.urge, Urge::Any | Urge::Insist) && !self.is_kept(question)
    }

    fn bring_for(&self, question: &Question) -> Arc<Landing> {
        let Question { content, chunk, first, wanted, .. } = question;
        let want = Want { first: *first, until: chunk.saturating_add(*wanted) };
        self.launch(content, *chunk, want, Role::Owner)
    }

    fn under_way(&self, content: &Content, chunk: u32) -> Option<Arc<Landing>> {
        let running = |role| self.0.chunks.running(&(content.version(), chunk, role));
        running(Role::Owner).or_else(|| running(Role::Reader))
    }

    /// Each piece as soon as it is here.
    fn pass_on(&self, landing: Arc<Landing>, question: &Question) -> GivenChunk {
        counter!(m::CHUNKS_PASSED_ON).increment(1);
        let (swarm, is_known) = (self.clone(), matches!(question.content.source(), Source::Blob(_)));
        let passed = landing.passed_on(question.first, is_known, !question.background);
        // Only what is here is promised: what does not come takes no part of this node's link.
        let frames = passed.map(move |passed| arriving(passed, &mut swarm.0.tracker.promise(u64::from(PART))));
        GivenChunk::Arriving(frames.boxed())
    }

    /// A chunk that is on this node's disk, or in memory for want of room there.
    async fn give_kept(&self, question: Question) -> Result<GivenChunk, ServeError> {
        let (id, chunk) = (question.content.id(), question.chunk);
        if let Some(held) = self.0.unkept.get(&(question.content.version(), chunk)) {
            return Ok(GivenChunk::Whole(self.served(&held)));
        }
        if !self.is_here(&question.content, chunk) {
            return Err(self.lacks(&id, chunk));
        }
        let in_turn = self.0.tracker.is_full() && matches!(question.urge, Urge::Insist | Urge::Named);
        let share =
            if in_turn { None } else { self.0.peer_memory.take_now(question.content.geometry().chunk_range(chunk).len()) };
        let Some(share) = share else {
            // The asker is to know at once that this node is alive, however long it takes.
            return Ok(GivenChunk::Arriving(self.clone().in_its_turn(question).boxed()));
        };
        let chunk = self.chunk_here(&question.content, chunk).await.ok_or_else(|| self.lacks(&id, chunk))?;
        Ok(GivenChunk::Whole(self.served(&Held::new(chunk, share))))
    }

    fn lacks(&self, id: &ContentId, chunk: u32) -> ServeError {
        if self.was_rotten(id, chunk) { ServeError::Rotten { chunk } } else { ServeError::NotHere }
    }

    /// The pieces of a chunk on this node's disk, once its turn has come and there is memory for it.
    fn in_its_turn(self, question: Question) -> impl Stream<Item = Arriving> {
        let Question { content, chunk, first, .. } = question;
        let is_known = matches!(content.source(), Source::Blob(_));
        let read = async move {
            self.0.tracker.turn(TURN).await;
            let length = content.geometry().chunk_range(chunk).len();
            let unavailable = |why: String| Arriving::Failed { status: 503, detail: why };
            let share = self.peer_share(length).await.map_err(|error| unavailable(error.to_string()))?;
            let gone = || unavailable(format!("chunk {chunk} of {content} cannot be read any more"));
            let held = Held::new(self.chunk_here(&content, chunk).await.ok_or_else(gone)?, share);
            Ok((held, self.0.tracker.promise(length)))
        };
        let frames = move |read: Result<(Held, Promise), Arriving>| match read {
            Ok((held, mut promise)) => {
                counter!(m::CHUNKS_SERVED).increment(1);
                let digests = is_known.then(|| Passed::Digests(held.digests().clone()));
                let mut pieces: Vec<_> = held.pieces().collect();
                let first = usize::try_from(first).unwrap_or(0).min(pieces.len());
                pieces.rotate_left(first);
                let passed = digests.into_iter().chain(pieces);
                stream::iter(passed.map(|passed| arriving(Ok(passed), &mut promise)).collect::<Vec<_>>())
            }
            Err(failed) => stream::iter(vec![failed]),
        };
        stream::once(read).flat_map(frames)
    }

    /// Where the two mean different origins by one name, even a version of the same name is something else: web servers name versions by time and size.
    fn expect_same_origin(&self, name: &str, identity: &str) -> Result<(), ServeError> {
        let is_other = self.0.origins.get(name).is_some_and(|origin| !identity.is_empty() && origin.identity() != identity);
        if is_other { Err(ServeError::NotHere) } else { Ok(()) }
    }

    fn asked_object(&self, object: ObjectRef, chunk_size: u32, chunk: u32) -> Result<Content, ServeError> {
        let ours = self.0.config.chunk_size;
        if chunk_size != ours {
            return Err(ServeError::Invalid(format!(
                "chunks of {chunk_size} bytes: this node cuts objects into chunks of {ours}"
            )));
        }
        let geometry = Geometry::new(object.size, chunk_size);
        let geometry = geometry.filter(|geometry| chunk < geometry.chunk_count());
        let geometry = geometry.ok_or_else(|| ServeError::Invalid(format!("chunk {chunk} of {} bytes", object.size)))?;
        Ok(Content::object(object, geometry, SystemTime::now()))
    }

    fn served(&self, held: &Held) -> Chunk {
        counter!(m::CHUNKS_SERVED).increment(1);
        counter!(m::BYTES_SERVED).increment(held.len());
        let (chunk, mut promise) = (held.chunk(), self.0.tracker.promise(held.len()));
        let mut parts = Vec::new();
        for segment in chunk.segments() {
            // Parts of a segment are no copies.
            let starts = (0..segment.len()).step_by(PART as usize);
            parts.extend(starts.map(|start| promise.hold(segment.slice(start..segment.len().min(start + PART as usize)))));
        }
        Chunk::known(chunk.digests().clone(), parts)
    }
}

/// A failure keeps its kind: what the asker does next depends on it.
fn arriving(passed: Result<Passed, ReadError>, promise: &mut Promise) -> Arriving {
    match passed {
        Ok(Passed::Digests(digests)) => Arriving::Digests(digests),
        Ok(Passed::Piece(index, digest, bytes)) => {
            counter!(m::BYTES_SERVED).increment(bytes.len() as u64);
            Arriving::Piece { index, digest, bytes: promise.hold(bytes) }
        }
        Err(error) => {
            let status = match error {
                ReadError::Changed { .. } => 409,
                // Not given to this node: the asker may be given it.
                ReadError::Unavailable { .. } | ReadError::False { .. } | ReadError::Denied { .. } => 502,
                ReadError::Overloaded { .. } => 503,
            };
            Arriving::Failed { status, detail: error.to_string() }
        }
    }
}
