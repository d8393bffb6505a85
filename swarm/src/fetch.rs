//! One chunk from elsewhere: who is asked, in which order, and when the next is asked as well.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use herring_blob::{ChunkDigest, ObjectRef};
use herring_gossip::View;
use herring_http_api::client::PeerError;
use herring_http_api::peer::{ChunkReply, ChunkRequest};
use herring_origin::OriginError;
use herring_ring::Point;
use herring_store::{Description, Entry, WriteError};
use metrics::counter;
use tokio::time::sleep;

use crate::candidates::Candidate;
use crate::config::{CHUNK_DEADLINE, MEMORY_DEADLINE, OBJECT_DEADLINE};
use crate::{Content, ReadError, Source, Swarm, Tried, metrics as m};

/// Whoever can be asked for a chunk.
#[derive(Debug, Clone)]
enum Giver {
    Peer(Candidate),
    Origin(ObjectRef),
}

/// What came of asking one giver.
enum Answer {
    Chunk(Bytes),
    /// The object is not what it was: nobody else has it either.
    Changed,
    /// Not from this one; whether it may help to ask again soon.
    No {
        whom: String,
        why: String,
        transient: bool,
    },
}

/// Pauses before all givers are asked once more, where some only failed for the moment (a restart, a full queue).
const AGAIN: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// Givers that are asked for one chunk at the same time.
const TOGETHER: usize = 4;

impl Swarm {
    /// The chunk from elsewhere, verified and, where the disk has room, kept. Many callers make one flight.
    pub(crate) async fn fetch(&self, content: &Content, chunk: u32) -> Result<Bytes, ReadError> {
        let landed = self.0.chunks.join((content.id(), chunk), || self.clone().flight(content.clone(), chunk, false)).await;
        landed.unwrap_or_else(|| Err(interrupted(content, chunk)))
    }

    /// The same for a peer that asked this node as an owner, which therefore asks no other owner.
    pub(crate) async fn fetch_from_origin(&self, content: &Content, chunk: u32) -> Result<Bytes, ReadError> {
        let landed = self.0.chunks.join((content.id(), chunk), || self.clone().flight(content.clone(), chunk, true)).await;
        landed.unwrap_or_else(|| Err(interrupted(content, chunk)))
    }

    /// Begins to fetch a chunk that a reader will want soon.
    pub(crate) fn fetch_ahead(&self, content: &Content, chunk: u32) {
        drop(self.0.chunks.launch((content.id(), chunk), || self.clone().flight(content.clone(), chunk, false)));
    }

    async fn flight(self, content: Content, chunk: u32, as_owner: bool) -> Result<Bytes, ReadError> {
        // It may have landed between the asker's look at the disk and this flight's start.
        if let Some(bytes) = self.read_local(&content, content.geometry().chunk_range(chunk)).await {
            return Ok(bytes);
        }
        let memory = if as_owner { &self.0.peer_memory } else { &self.0.memory };
        let overloaded = |_| ReadError::Overloaded { what: content.to_string(), waited_ms: MEMORY_DEADLINE.as_millis() };
        let share = memory.take(content.geometry().chunk_range(chunk).len(), MEMORY_DEADLINE).await.map_err(overloaded)?;
        let bytes = self.ask_around(&content, chunk, as_owner).await?;
        Ok(share.hold(bytes))
    }

    async fn ask_around(&self, content: &Content, chunk: u32, as_owner: bool) -> Result<Bytes, ReadError> {
        let mut tried = Tried::default();
        for pause in AGAIN.into_iter().map(Some).chain([None]) {
            let view = self.view();
            let givers = self.givers(&view, content, chunk, as_owner);
            let (bytes, transient) = self.race(&view, content, chunk, givers, &mut tried).await?;
            match (bytes, pause) {
                (Some(bytes), _) => return Ok(bytes),
                (None, Some(pause)) if transient => sleep(pause).await,
                (None, _) => break,
            }
        }
        Err(ReadError::Unavailable { what: content.to_string(), chunk, tried })
    }

    fn givers(&self, view: &View, content: &Content, chunk: u32, as_owner: bool) -> VecDeque<Giver> {
        match content.source() {
            Source::Blob(manifest) => {
                let candidates = self.candidates(view, Point::of_chunk(manifest, chunk));
                candidates.by_nearness(view, &self.0.health).into_iter().map(Giver::Peer).collect()
            }
            Source::Object(object) if as_owner => [Giver::Origin(object.clone())].into(),
            Source::Object(object) => self.object_givers(view, object, chunk),
        }
    }

    /// An object's chunk is asked of its owners in the ring's order, which is the same on every node: so one owner asks the
    /// origin, once for the whole swarm. An owner that failed just now goes behind the others. The origin itself is last,
    /// or where this node's own turn as an owner comes.
    fn object_givers(&self, view: &View, object: &ObjectRef, chunk: u32) -> VecDeque<Giver> {
        let mut owners = self.candidates(view, Point::of_object_chunk(&object.id(), chunk)).owners;
        owners.sort_by_key(|one| !self.is_me(view, one) && (view.suspect(&one.id) || self.0.health.failed_lately(&one.id)));
        let before_me = owners.into_iter().take_while(|one| !self.is_me(view, one));
        before_me.map(Giver::Peer).chain([Giver::Origin(object.clone())]).collect()
    }

    /// Asks the givers in order until one gives the chunk: the next one when one fails, and a second one at the same time
    /// when the first is slow. Also says whether a failure was of the passing kind.
    async fn race(
        &self,
        view: &View,
        content: &Content,
        chunk: u32,
        mut givers: VecDeque<Giver>,
        tried: &mut Tried,
    ) -> Result<(Option<Bytes>, bool), ReadError> {
        let patience = match content.source() {
            Source::Blob(_) => self.0.config.hedge,
            Source::Object(_) => self.0.config.origin_hedge,
        };
        let mut asking: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        let mut transient = false;
        loop {
            if asking.is_empty() {
                let Some(giver) = givers.pop_front() else { return Ok((None, transient)) };
                asking.push(Box::pin(self.ask_one(view, content, chunk, giver, patience)));
            }
            tokio::select! {
                Some(answer) = asking.next() => match answer {
                    Answer::Chunk(bytes) => return Ok((Some(bytes), transient)),
                    Answer::Changed => {
                        self.forget_object(content);
                        return Err(ReadError::Changed { what: content.to_string() });
                    }
                    Answer::No { whom, why, transient: passing } => {
                        transient |= passing;
                        tried.note(whom, why);
                    }
                },
                () = sleep(patience), if asking.len() < TOGETHER && !givers.is_empty() => {
                    counter!(m::HEDGES).increment(1);
                    // Checked not to be empty just above; nobody else takes from it.
                    if let Some(giver) = givers.pop_front() {
                        asking.push(Box::pin(self.ask_one(view, content, chunk, giver, patience)));
                    }
                }
            }
        }
    }

    async fn ask_one(&self, view: &View, content: &Content, chunk: u32, giver: Giver, patience: Duration) -> Answer {
        match giver {
            Giver::Peer(peer) => self.ask_peer(view, content, chunk, peer, patience).await,
            Giver::Origin(object) => self.ask_origin(content, chunk, object).await,
        }
    }

    async fn ask_peer(&self, view: &View, content: &Content, chunk: u32, peer: Candidate, patience: Duration) -> Answer {
        let mut question = self.0.health.ask(&peer.id, patience);
        let (request, deadline) = match content.source() {
            Source::Blob(manifest) => (ChunkRequest::Blob { id: manifest.id(), index: chunk }, CHUNK_DEADLINE),
            Source::Object(object) => {
                let chunk_size = content.geometry().chunk_size();
                (ChunkRequest::Object { object: object.clone(), chunk_size, index: chunk }, OBJECT_DEADLINE)
            }
        };
        match self.0.peers.chunk(peer.http, &request, chunk_len(content, chunk), &self.ask(view, deadline)).await {
            Ok(reply) => match self.keep(content, chunk, reply).await {
                Some(bytes) => {
                    question.answered();
                    fetched("peer", &bytes);
                    Answer::Chunk(bytes)
                }
                None => {
                    question.failed();
                    counter!(m::PEER_FAILURES, "why" => "lied").increment(1);
                    tracing::warn!(peer = %peer.id, %content, chunk, "a peer sent wrong bytes");
                    Answer::No { whom: peer.id.to_string(), why: "sent bytes with the wrong digest".into(), transient: false }
                }
            },
            Err(PeerError::NotFound) => {
                question.answered();
                counter!(m::PEER_FAILURES, "why" => "missing").increment(1);
                Answer::No { whom: peer.id.to_string(), why: PeerError::NotFound.to_string(), transient: false }
            }
            Err(PeerError::Changed(_)) => Answer::Changed,
            Err(error) => {
                question.failed();
                counter!(m::PEER_FAILURES, "why" => "unreachable").increment(1);
                tracing::debug!(peer = %peer.id, %content, chunk, %error, "a peer did not give a chunk");
                Answer::No { whom: peer.id.to_string(), why: error.to_string(), transient: true }
            }
        }
    }

    async fn ask_origin(&self, content: &Content, chunk: u32, object: ObjectRef) -> Answer {
        let no = |why: String| Answer::No { whom: format!("origin {}", object.origin), why, transient: false };
        let origin = match self.origin(&object.origin) {
            Ok(origin) => origin,
            Err(error) => return no(error.to_string()),
        };
        match origin.read(&object, content.geometry().chunk_range(chunk)).await {
            Ok(bytes) => {
                fetched("origin", &bytes);
                match self.keep_from_origin(content, chunk, bytes).await {
                    Some(bytes) => Answer::Chunk(bytes),
                    None => no("gave other bytes for the same version than before".into()),
                }
            }
            Err(OriginError::Changed { .. }) => Answer::Changed,
            Err(error) => no(error.to_string()),
        }
    }

    /// The digest of an origin's chunk is computed here, and goes with it from now on.
    async fn keep_from_origin(&self, content: &Content, chunk: u32, bytes: Bytes) -> Option<Bytes> {
        let (digest, bytes) = tokio::task::spawn_blocking(move || (ChunkDigest::of(&bytes), bytes)).await.ok()?;
        self.keep(content, chunk, ChunkReply { digest, bytes }).await
    }

    /// A blob's is made when it is opened. Where it is gone since then the blob was removed, and a reader under way must
    /// not bring it back.
    async fn entry_to_fill(&self, content: &Content) -> Result<Entry, WriteError> {
        match content.source() {
            Source::Blob(_) => self.0.store.get(&content.id()).ok_or(WriteError::Gone),
            Source::Object(object) => {
                let chunk_size = content.geometry().chunk_size();
                self.0.store.create(Description::Object { object: object.clone(), chunk_size }).await
            }
        }
    }

    /// Verifies what came and keeps it on the disk, where there is room; `None` where it is not what it should be.
    async fn keep(&self, content: &Content, chunk: u32, reply: ChunkReply) -> Option<Bytes> {
        let digest = content.digest(chunk).unwrap_or(reply.digest);
        let length = u64::try_from(reply.bytes.len()).ok()?;
        if digest != reply.digest || length != content.geometry().chunk_range(chunk).len() {
            return None;
        }
        let written = match self.entry_to_fill(content).await {
            Ok(entry) => entry.write_chunk(chunk, digest, reply.bytes.clone()).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => Some(reply.bytes),
            Err(WriteError::Mismatch { .. }) => None,
            Err(error) => {
                tracing::debug!(%content, chunk, %error, "a chunk was passed on but not kept");
                verified(digest, reply.bytes).await
            }
        }
    }
}

async fn verified(digest: ChunkDigest, bytes: Bytes) -> Option<Bytes> {
    tokio::task::spawn_blocking(move || digest.matches(&bytes).then_some(bytes)).await.ok()?
}

fn fetched(from: &'static str, bytes: &Bytes) {
    counter!(m::CHUNKS_FETCHED, "from" => from).increment(1);
    counter!(m::BYTES_FETCHED, "from" => from).increment(bytes.len() as u64);
}

fn interrupted(content: &Content, chunk: u32) -> ReadError {
    let mut tried = Tried::default();
    tried.note("this node", "is shutting down");
    ReadError::Unavailable { what: content.to_string(), chunk, tried }
}

fn chunk_len(content: &Content, chunk: u32) -> u32 {
    // A chunk is at most 64 MiB.
    u32::try_from(content.geometry().chunk_range(chunk).len()).unwrap_or(u32::MAX)
}
