//! Giving something to as many nodes as there should be replicas.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use herring_blob::Chunk;
use herring_http_api::client::PeerError;
use herring_ring::{NodeId, Point};
use herring_store::WriteError;

use super::Transfer;
use crate::candidates::{Candidate, Candidates};
use crate::config::{ACKNOWLEDGE, CHUNK_DEADLINE, UPLOADS};
use crate::health::Question;
use crate::{PutError, Tried};

/// Why a node did not take its part of a put.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartError {
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

/// How many nodes should take something, and how many must.
#[derive(Clone, Copy)]
pub(super) struct Copies {
    pub wanted: usize,
    pub needed: usize,
}

impl Transfer {
    /// The nodes in the order in which they should keep something: owners first, but silent and failed ones behind all others.
    pub(super) fn walk(&self, point: Point) -> Vec<Candidate> {
        let candidates = Candidates::of(&self.view, point, self.replicas());
        let mut walk = candidates.owners;
        walk.extend(candidates.successors);
        walk.sort_by_key(|one| self.view.suspect(&one.id) || self.swarm.0.health.failed_lately(&one.id));
        walk
    }

    /// Gives something to as many nodes as wanted, all at once; who refuses is replaced by the next of the walk. Returns who
    /// took it and what each said.
    pub(super) async fn spread<F, T>(
        &self,
        walk: Vec<Candidate>,
        copies: Copies,
        part: impl Fn(Candidate) -> F,
    ) -> Result<BTreeMap<NodeId, T>, PutError>
    where
        F: Future<Output = Result<T, PartError>>,
    {
        let give = |node: Candidate| async { (node.id.clone(), part(node).await) };
        let mut walk = walk.into_iter();
        let mut giving: FuturesUnordered<_> = walk.by_ref().take(copies.wanted).map(give).collect();
        let (mut holders, mut refusals) = (BTreeMap::new(), Refusals::default());
        while let Some((node, given)) = giving.next().await {
            match given {
                Ok(answer) => drop(holders.insert(node, answer)),
                Err(error) => {
                    refusals.note(node, &error);
                    giving.extend(walk.next().map(give));
                }
            }
        }
        if holders.len() < copies.needed { Err(refusals.into_error(copies.needed, holders.len())) } else { Ok(holders) }
    }

    pub(super) fn replicas(&self) -> usize {
        self.options.replicas.map_or(self.swarm.replicas(), usize::from)
    }

    /// Replicas without which a put is not acknowledged. Not fewer because others are away, unless it was asked so: only a node that never
    /// belonged to others is content with itself.
    pub(super) fn needed(&self) -> usize {
        match self.options.ack {
            Some(ack) => ack.into(),
            None if self.view.alone() => 1,
            None => ACKNOWLEDGE.min(self.replicas()),
        }
    }

    pub(super) async fn send_to(&self, node: Candidate, index: u32, chunk: Chunk) -> Result<(), PartError> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(node.id.clone());
        let (swarm, chunk_size) = (&self.swarm.0, self.swarm.0.config.chunk_size);
        if self.swarm.is_me(&self.view, &node) {
            return Ok(swarm.store.upload(self.upload, chunk_size).await?.write_chunk(index, chunk).await?);
        }
        let bytes = chunk.len().min(u32::try_from(UPLOADS).unwrap_or(u32::MAX));
        // Whoever is in front has a deadline of its own.
        let _share = swarm.uploads.acquire_many(bytes).await.expect("the semaphore is never closed");
        let ask = self.swarm.ask(&self.view, CHUNK_DEADLINE);
        let mut question = swarm.health.ask(&node.id, Duration::MAX);
        let sent = swarm.peers.upload_chunk(node.http, self.upload, chunk_size, index, &chunk, &ask).await;
        settle(&mut question, sent)
    }
}

impl Copies {
    /// As many as there should be, and no fewer than an acknowledgement needs.
    pub(super) fn all(transfer: &Transfer) -> Self {
        Self { wanted: transfer.replicas(), needed: transfer.needed() }
    }
}

/// What came of a question to an owner says whether that is well.
pub(super) fn settle<T>(question: &mut Question<'_>, end: Result<T, PeerError>) -> Result<T, PartError> {
    match &end {
        Ok(_) => question.answered(),
        Err(PeerError::Connect(_) | PeerError::TimedOut(_) | PeerError::Broken(_) | PeerError::Garbage(_)) => question.failed(),
        Err(
            PeerError::NotFound | PeerError::Full(_) | PeerError::Changed(_) | PeerError::Busy { .. } | PeerError::Refused { .. },
        ) => {}
    }
    end.map_err(PartError::There)
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
