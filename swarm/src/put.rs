//! A put: the body is cut into chunks, each is hashed and sent to its owners while the rest still arrives, and when all
//! are there the manifest goes to everyone who holds a part, to the manifest's own owners last. That is the commit point.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use herring_blob::{BlobHasher, BlobId, HashedChunk, Manifest};
use herring_gossip::View;
use herring_http_api::ByteStream;
use herring_http_api::client::PeerError;
use herring_http_api::types::{Presence, Stored};
use herring_ring::{NodeId, Point};
use herring_store::WriteError;
use metrics::counter;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::candidates::Candidate;
use crate::config::{ACKNOWLEDGE, CHUNK_DEADLINE, COMMIT_DEADLINE, SMALL_DEADLINE};
use crate::cut::{Cut, Cutter};
use crate::{PutError, Swarm, Tried, metrics as m};

/// A put that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub stored: Stored,
    /// Whether the swarm did not have the blob before.
    pub created: bool,
}

/// One put under way. The membership is pinned at its start, so that all of it agrees on the owners.
#[derive(Clone)]
struct Transfer {
    swarm: Swarm,
    view: Arc<View>,
    upload: Uuid,
    /// Whoever was sent anything: those to tell if it comes to nothing.
    touched: Arc<Mutex<BTreeSet<NodeId>>>,
    /// Chunks on their way, whether anybody still waits for them or not.
    sends: TaskTracker,
}

/// The nodes that took a chunk.
type Holders = BTreeSet<NodeId>;

/// A chunk that arrived, and where.
struct Part {
    chunk: u32,
    holders: Holders,
}

/// Chunks on their way to their owners, and those that arrived.
#[derive(Default)]
struct Sending {
    under_way: JoinSet<Result<Part, PutError>>,
    arrived: Vec<Part>,
}

/// Tells those who hold parts of an upload to forget it, unless it was committed. Runs also where the client goes away.
struct Abandon(Option<Transfer>);

/// Why a node did not take its part of a put.
#[derive(Debug, thiserror::Error)]
enum PartError {
    #[error(transparent)]
    Here(#[from] WriteError),
    #[error(transparent)]
    There(#[from] PeerError),
}

/// Who refused, and how many of them only for want of room.
#[derive(Default)]
struct Refusals {
    tried: Tried,
    full: usize,
}

impl Swarm {
    /// Takes a body into the swarm. Returns when enough owners have everything on disk to acknowledge it.
    pub async fn put(&self, expected: Option<BlobId>, body: ByteStream) -> Result<Put, PutError> {
        let view = self.view();
        if view.ring().members().is_empty() {
            return Err(PutError::NotReady);
        }
        let transfer =
            Transfer { swarm: self.clone(), view, upload: Uuid::new_v4(), touched: Arc::default(), sends: TaskTracker::new() };
        let mut abandon = Abandon(Some(transfer.clone()));
        let put = transfer.run(expected, body).await?;
        abandon.0 = None;
        counter!(m::PUTS).increment(1);
        counter!(m::PUT_BYTES).increment(put.stored.size);
        Ok(put)
    }
}

impl Transfer {
    async fn run(&self, expected: Option<BlobId>, body: ByteStream) -> Result<Put, PutError> {
        let (manifest, mut sending) = self.send_all(body).await?;
        let (id, size) = (manifest.id(), manifest.size());
        if let Some(expected) = expected.filter(|expected| *expected != id) {
            return Err(PutError::Mismatch { expected, found: id });
        }
        let (placed, known) = tokio::join!(sending.all(), self.swarm.open_blob(id));
        let replicas = self.commit_all(&Arc::new(manifest), &placed?).await?;
        Ok(Put { stored: Stored { id, size, replicas }, created: known.is_err() })
    }

    /// Reads and hashes the body; each chunk is on its way to its owners while the next is read.
    async fn send_all(&self, body: ByteStream) -> Result<(Manifest, Sending), PutError> {
        let config = &self.swarm.0.config;
        let mut cutter = Cutter::new(body, config.chunk_size, self.swarm.0.memory.clone());
        let (mut hasher, mut sending) = (BlobHasher::new(config.chunk_size), Sending::default());
        let mut current = cutter.next().await?;
        while let Some(cut) = current {
            // The send must not wait for the next chunk's memory, or many puts at once would wait for each other.
            let (hashed, next) = tokio::join!(self.hash_and_send(hasher, cut, &mut sending), cutter.next());
            hasher = hashed?;
            current = next?;
            sending.fail_early()?;
        }
        Ok((hasher.finish()?, sending))
    }

    async fn hash_and_send(&self, hasher: BlobHasher, cut: Cut, sending: &mut Sending) -> Result<BlobHasher, PutError> {
        let (hasher, chunk) = hash(hasher, cut.bytes.clone()).await?;
        // A blob of one chunk lives with its manifest, and only a chunk that begins and ends the body is one.
        let point = match chunk.index == 0 && cut.last {
            true => Point::of_blob(&hasher.clone().finish()?.id()),
            false => Point::of_streamed_chunk(&chunk.digest, chunk.index),
        };
        sending.under_way.spawn(self.sends.track_future(self.clone().send(point, chunk, cut.bytes)));
        Ok(hasher)
    }

    async fn send(self, point: Point, chunk: HashedChunk, bytes: Bytes) -> Result<Part, PutError> {
        let holders = self.spread(self.walk(point), |node| self.send_to(node, chunk, bytes.clone())).await?;
        Ok(Part { chunk: chunk.index, holders })
    }

    /// The nodes in the order in which they should keep something: owners first, but silent and failed ones behind all others.
    fn walk(&self, point: Point) -> Vec<Candidate> {
        let candidates = self.swarm.candidates(&self.view, point);
        let mut walk = candidates.owners;
        walk.extend(candidates.successors);
        walk.sort_by_key(|one| self.view.suspect(&one.id) || self.swarm.0.health.failed_lately(&one.id));
        walk
    }

    /// Gives a part to as many nodes as there should be replicas, all at once; who refuses is replaced by the next of the walk.
    async fn spread<F>(&self, walk: Vec<Candidate>, part: impl Fn(Candidate) -> F) -> Result<Holders, PutError>
    where
        F: Future<Output = Result<(), PartError>>,
    {
        let give = |node: Candidate| async { (node.id.clone(), part(node).await) };
        let mut walk = walk.into_iter();
        let mut giving: FuturesUnordered<_> = walk.by_ref().take(self.swarm.replicas()).map(give).collect();
        let (mut holders, mut refusals) = (Holders::new(), Refusals::default());
        while let Some((node, given)) = giving.next().await {
            match given {
                Ok(()) => {
                    holders.insert(node);
                }
                Err(error) => {
                    refusals.note(node, &error);
                    giving.extend(walk.next().map(give));
                }
            }
        }
        if holders.len() < self.needed() { Err(refusals.into_error(self.needed(), holders.len())) } else { Ok(holders) }
    }

    /// Replicas without which a put is not acknowledged.
    fn needed(&self) -> usize {
        ACKNOWLEDGE.min(self.swarm.replicas()).min(self.view.ring().members().len())
    }

    async fn send_to(&self, node: Candidate, chunk: HashedChunk, bytes: Bytes) -> Result<(), PartError> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(node.id.clone());
        let HashedChunk { index, digest } = chunk;
        let (swarm, chunk_size) = (&self.swarm.0, self.swarm.0.config.chunk_size);
        if self.swarm.is_me(&self.view, &node) {
            return Ok(swarm.store.upload(self.upload, chunk_size).await?.write_chunk(index, digest, bytes).await?);
        }
        let ask = self.swarm.ask(&self.view, CHUNK_DEADLINE);
        let mut question = swarm.health.ask(&node.id, Duration::MAX);
        let sent = swarm.peers.upload_chunk(node.http, self.upload, chunk_size, index, digest, bytes, &ask).await;
        sent.inspect_err(|error| note_failure(&mut question, error)).map_err(PartError::There)
    }

    async fn commit_to(&self, node: Candidate, manifest: Arc<Manifest>) -> Result<(), PartError> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(node.id.clone());
        let swarm = &self.swarm.0;
        if self.swarm.is_me(&self.view, &node) {
            let upload = swarm.store.upload(self.upload, swarm.config.chunk_size).await?;
            return Ok(upload.commit(manifest).await.map(drop)?);
        }
        let ask = self.swarm.ask(&self.view, COMMIT_DEADLINE);
        let mut question = swarm.health.ask(&node.id, Duration::MAX);
        let committed = swarm.peers.commit_upload(node.http, self.upload, &manifest, &ask).await;
        committed.inspect_err(|error| note_failure(&mut question, error)).map_err(PartError::There)
    }

    /// Has everyone who holds a part put it on disk under the manifest, the manifest's owners last.
    /// Returns how many replicas the least replicated part has.
    async fn commit_all(&self, manifest: &Arc<Manifest>, parts: &[Part]) -> Result<usize, PutError> {
        let walk = self.walk(Point::of_blob(&manifest.id()));
        let keepers: BTreeSet<&NodeId> = walk.iter().take(self.swarm.replicas()).map(|one| &one.id).collect();
        let holders: BTreeSet<&NodeId> = parts.iter().flat_map(|part| &part.holders).collect();
        let others = holders.difference(&keepers).filter_map(|id| self.view.get(id)).map(Candidate::from);
        let commits = others.map(|node| async { (node.id.clone(), self.commit_to(node, Arc::clone(manifest)).await) });
        let (mut committed, mut refusals) = (Holders::new(), Refusals::default());
        for (node, result) in join_all(commits).await {
            match result {
                Ok(()) => drop(committed.insert(node)),
                Err(error) => refusals.note(node, &error),
            }
        }
        let kept = self.spread(walk, |node| self.commit_to(node, Arc::clone(manifest))).await?;
        committed.extend(kept.iter().cloned());
        let held = self.held_by(&committed, manifest.id(), &mut refusals).await;
        let replicas = parts.iter().map(|part| part.replicas(&held, &mut refusals)).min();
        let replicas = replicas.unwrap_or(kept.len()).min(kept.len());
        if replicas < self.needed() { Err(refusals.into_error(self.needed(), replicas)) } else { Ok(replicas) }
    }

    /// What those who committed hold now. One that restarted under the put has forgotten its parts and commits gladly without.
    async fn held_by(&self, committed: &Holders, id: BlobId, refusals: &mut Refusals) -> BTreeMap<NodeId, Presence> {
        let ask = self.swarm.ask(&self.view, SMALL_DEADLINE);
        let nodes = committed.iter().filter_map(|id| self.view.get(id)).map(Candidate::from);
        let answers = join_all(nodes.map(|node| async {
            let presence = match self.swarm.is_me(&self.view, &node) {
                true => self.swarm.presence(id).map_err(|_| PeerError::NotFound),
                false => self.swarm.0.peers.presence(node.http, id, &ask).await,
            };
            (node.id, presence)
        }));
        let mut held = BTreeMap::new();
        for (node, presence) in answers.await {
            match presence {
                Ok(presence) => drop(held.insert(node, presence)),
                Err(error) => refusals.note(node, &error.into()),
            }
        }
        held
    }

    async fn abandon(self) {
        // A chunk that arrived behind the word to forget it would begin the upload anew.
        self.sends.close();
        self.sends.wait().await;
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        let nodes = touched.iter().filter_map(|id| self.view.get(id)).map(Candidate::from);
        join_all(nodes.map(|node| self.abandon_at(node))).await;
    }

    /// Best effort: what is missed here, each node's own sweep of idle uploads finds.
    async fn abandon_at(&self, node: Candidate) {
        if self.swarm.is_me(&self.view, &node) {
            return self.swarm.abort_upload(self.upload).await;
        }
        let ask = self.swarm.ask(&self.view, SMALL_DEADLINE);
        if let Err(error) = self.swarm.0.peers.abort_upload(node.http, self.upload, &ask).await {
            tracing::debug!(peer = %node.id, %error, "a peer was not told that a put came to nothing");
        }
    }
}

impl Part {
    /// On how many of its holders it still is.
    fn replicas(&self, held: &BTreeMap<NodeId, Presence>, refusals: &mut Refusals) -> usize {
        let has = |presence: &Presence| presence.chunks.iter().any(|(start, end)| (*start..*end).contains(&self.chunk));
        let known = self.holders.iter().filter_map(|node| Some((node, held.get(node)?)));
        let (still, lost): (Vec<_>, Vec<_>) = known.partition(|(_, presence)| has(presence));
        for (node, _) in lost {
            refusals.tried.note(node, format_args!("took chunk {} and does not have it any more", self.chunk));
        }
        still.len()
    }
}

impl Sending {
    /// Collects what arrived by now; the first failure ends the put before more of the body is read.
    fn fail_early(&mut self) -> Result<(), PutError> {
        while let Some(sent) = self.under_way.try_join_next() {
            self.arrived.push(finished(sent)?);
        }
        Ok(())
    }

    /// Waits for the rest.
    async fn all(&mut self) -> Result<Vec<Part>, PutError> {
        while let Some(sent) = self.under_way.join_next().await {
            self.arrived.push(finished(sent)?);
        }
        Ok(std::mem::take(&mut self.arrived))
    }
}

fn finished(sent: Result<Result<Part, PutError>, tokio::task::JoinError>) -> Result<Part, PutError> {
    sent.unwrap_or(Err(PutError::Interrupted))
}

async fn hash(mut hasher: BlobHasher, bytes: Bytes) -> Result<(BlobHasher, HashedChunk), PutError> {
    let work = tokio::task::spawn_blocking(move || {
        let chunk = hasher.chunk(&bytes);
        (hasher, chunk)
    });
    work.await.map_err(|_| PutError::Interrupted)
}

fn note_failure(question: &mut crate::health::Question<'_>, error: &PeerError) {
    match error {
        PeerError::Connect(_) | PeerError::TimedOut(_) | PeerError::Broken(_) | PeerError::Garbage(_) => question.failed(),
        PeerError::NotFound | PeerError::Full(_) | PeerError::Changed(_) | PeerError::Refused { .. } => {}
    }
}

impl Refusals {
    fn note(&mut self, node: NodeId, error: &PartError) {
        let full = matches!(error, PartError::Here(WriteError::Full { .. }) | PartError::There(PeerError::Full(_)));
        self.full += usize::from(full);
        tracing::warn!(%node, %error, "a node did not take its part of a put");
        self.tried.note(node, error);
    }

    fn into_error(self, needed: usize, got: usize) -> PutError {
        match self.full > 0 && self.full == self.tried.0.len() {
            true => PutError::Full { tried: self.tried },
            false => PutError::TooFewReplicas { needed, got, tried: self.tried },
        }
    }
}

/// What is on its way when a put fails goes on to its end: see [`Transfer::abandon`].
impl Drop for Sending {
    fn drop(&mut self) {
        self.under_way.detach_all();
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(transfer) = self.0.take() {
            let tasks = transfer.swarm.0.tasks.clone();
            tasks.spawn(transfer.abandon());
        }
    }
}
