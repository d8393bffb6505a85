//! A put: the body is cut into chunks, each is hashed and sent to its owners while the rest still arrives, and when all
//! are there the manifest goes to everyone who holds a part, to the manifest's own owners last. That is the commit point.
//! `put/spread.rs` gives parts to nodes, `put/commit.rs` is the end, `put/word.rs` keeps deletions before it from undoing it,
//! `put/abandon.rs` is the end of a put that failed.

mod abandon;
mod commit;
mod spread;
mod word;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use herring_blob::{BlobHasher, BlobId, Chunk, Manifest};
use herring_gossip::View;
use herring_http_api::ByteStream;
use herring_http_api::repair::Fate;
use herring_http_api::types::Stored;
use herring_ring::{NodeId, Point};
use metrics::counter;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::abandon::Abandon;
use self::commit::Committed;
use self::spread::Copies;
use crate::cut::{Cut, Cutter};
use crate::proof::By;
use crate::{PutError, Swarm, Tried, metrics as m};

/// What a put asks for, where it asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// How many replicas there shall be, from now on: the swarm's number where it does not say. The highest that any put of the same bytes asked for
    /// counts.
    pub replicas: Option<u8>,
    /// How many of them must be on disk before it is acknowledged: two, or one where there shall be only one.
    pub ack: Option<u8>,
}

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
    options: PutOptions,
    /// What those who commit it must know first: that it lives.
    lives: Option<Fate>,
    upload: Uuid,
    /// Whoever was sent anything and has not committed it: those to tell in the end that nothing comes of it.
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

impl Swarm {
    /// Takes a body into the swarm. Returns when enough owners have everything on disk to acknowledge it.
    pub async fn put(&self, expected: Option<BlobId>, options: PutOptions, body: ByteStream) -> Result<Put, PutError> {
        let view = self.view();
        if view.ring().members().is_empty() || !view.settled() {
            return Err(PutError::NotReady);
        }
        let transfer = Transfer::new(self.clone(), view, options);
        transfer.check_members()?;
        let mut abandon = Abandon(Some(transfer.clone()));
        let put = transfer.run(expected, body).await?;
        // Who was sent a chunk but did not commit has nothing more to wait for.
        if transfer.touched.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            abandon.0 = None;
        }
        counter!(m::PUTS).increment(1);
        counter!(m::PUT_BYTES).increment(put.stored.size);
        Ok(put)
    }
}

impl Transfer {
    fn new(swarm: Swarm, view: Arc<View>, options: PutOptions) -> Self {
        Self { swarm, view, options, lives: None, upload: Uuid::new_v4(), touched: Arc::default(), sends: TaskTracker::new() }
    }

    /// Refuses before the body is read what cannot be acknowledged after it.
    fn check_members(&self) -> Result<(), PutError> {
        let (needed, got) = (self.needed(), self.view.ring().members().len());
        let members = if got == 1 { "1 member" } else { &format!("{got} members") };
        let tried = Tried::of("the ring", format_args!("has only {members} now"));
        if got < needed { Err(PutError::TooFewReplicas { needed, got, tried }) } else { Ok(()) }
    }

    async fn run(&self, expected: Option<BlobId>, body: ByteStream) -> Result<Put, PutError> {
        let (manifest, mut sending) = self.send_all(body).await?;
        let (id, size) = (manifest.id(), manifest.size());
        if let Some(expected) = expected.filter(|expected| *expected != id) {
            return Err(PutError::Mismatch { expected, found: id });
        }
        let manifest = Arc::new(manifest);
        self.swarm.note_proof(&manifest, By::Myself);
        let (placed, known) = tokio::join!(sending.all(), self.swarm.open_blob(id));
        let Committed { replicas, wanted, .. } = self.commit_to_stay(&manifest, &placed?).await?;
        Ok(Put { stored: Stored { id, size, replicas, wanted }, created: known.is_err() })
    }

    /// Reads and hashes the body; each chunk is on its way to its owners while the next is read.
    async fn send_all(&self, body: ByteStream) -> Result<(Manifest, Sending), PutError> {
        let config = &self.swarm.0.config;
        let mut cutter = Cutter::new(body, config.chunk_size, self.swarm.0.put_memory.clone());
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
        let (hasher, index, chunk) = hash(hasher, cut.bytes).await?;
        // A blob of one chunk lives with its manifest, and only a chunk that begins and ends the body is one.
        let point = match index == 0 && cut.last {
            true => Point::of_blob(&hasher.clone().finish()?.id()),
            false => Point::of_streamed_chunk(&chunk.digest(), index),
        };
        sending.under_way.spawn(self.sends.track_future(self.clone().send(point, index, chunk)));
        Ok(hasher)
    }

    async fn send(self, point: Point, index: u32, chunk: Chunk) -> Result<Part, PutError> {
        let given = self.spread(self.walk(point), Copies::all(&self), |node| self.send_to(node, index, chunk.clone())).await?;
        Ok(Part { chunk: index, holders: given.into_keys().collect() })
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

async fn hash(mut hasher: BlobHasher, bytes: Bytes) -> Result<(BlobHasher, u32, Chunk), PutError> {
    let work = tokio::task::spawn_blocking(move || {
        let (index, digests) = hasher.chunk(&bytes);
        (hasher, index, Chunk::known(digests, vec![bytes]))
    });
    work.await.map_err(|_| PutError::Interrupted)
}

/// What is on its way when a put fails goes on to its end: see [`Transfer::abandon`].
impl Drop for Sending {
    fn drop(&mut self) {
        self.under_way.detach_all();
    }
}
