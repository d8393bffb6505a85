//! What this node answers its peers, but for chunks (`give.rs`). It never asks another owner on a peer's behalf.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use herring_blob::{BlobId, Chunk, ChunkDigest, Manifest};
use herring_http_api::ByteStream;
use herring_http_api::types::Presence;
use herring_ring::Point;
use herring_store::{Entry, RecordError, Upload, WriteError};
use uuid::Uuid;

use crate::config::PEER_MEMORY_DEADLINE;
use crate::memory::Share;
use crate::proof::{By, VOUCHERS};
use crate::{ReadError, Source, Swarm};

/// Why a peer does not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("not on this node")]
    NotHere,
    #[error("its copy of chunk {chunk} was rotten, and was dropped")]
    Rotten { chunk: u32 },
    #[error("cannot be: {0}")]
    Invalid(String),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the body ended early: {0}")]
    Body(std::io::Error),
    #[error(transparent)]
    Record(#[from] RecordError),
    /// As this node knows. Who puts it again says first that it lives.
    #[error("blob {0} was deleted")]
    Deleted(BlobId),
    #[error("no memory for a chunk became free within {waited_ms} ms")]
    Overloaded { waited_ms: u128 },
}

impl Swarm {
    /// With whether this node has hashed the whole blob itself. What is false is not here.
    pub fn local_manifest(&self, id: BlobId) -> Result<(Arc<Manifest>, bool), ServeError> {
        let content = self.open_blob_now(id).ok_or(ServeError::NotHere)?;
        let Source::Blob(manifest) = content.source() else { return Err(ServeError::NotHere) };
        if self.0.proofs.is_false(manifest) {
            return Err(ServeError::NotHere);
        }
        let proven = self.0.proofs.of(manifest) == Some(By::Myself);
        if !proven && manifest.size() <= self.0.config.prove_first {
            // Whoever asks next may hear more.
            self.prove_soon_if_here(manifest);
        }
        Ok((Arc::clone(manifest), proven))
    }

    /// Which chunks of a blob are on this node's disk.
    pub fn presence(&self, id: BlobId) -> Result<Presence, ServeError> {
        let entry = self.true_entry(&id).ok_or(ServeError::NotHere)?;
        Ok(presence_of(&entry, |chunk| entry.has(chunk)))
    }

    /// Takes a chunk of a put that some node coordinates.
    pub async fn upload_chunk(
        &self,
        upload: Uuid,
        chunk_size: u32,
        chunk: u32,
        digest: ChunkDigest,
        body: ByteStream,
    ) -> Result<(), ServeError> {
        let share = self.peer_share(u64::from(chunk_size)).await?;
        let bytes = Share::hold(&share, collect(body, chunk_size).await?);
        let part = verified(bytes, chunk_size, digest).await.ok_or(WriteError::Mismatch { chunk })?;
        Ok(self.0.store.upload(upload, chunk_size).await?.write_chunk(chunk, part).await?)
    }

    /// Makes the chunks of a put that came here a durable part of the blob; answers which of its chunks are
    /// durable here now: one that is only cached may not outlive a power loss, and is no replica.
    /// `replicas`: what the put asked for, where it did.
    pub async fn commit_upload(
        &self,
        upload: Uuid,
        manifest: Arc<Manifest>,
        replicas: Option<u8>,
    ) -> Result<Presence, ServeError> {
        let (chunk_size, id) = (manifest.geometry().chunk_size(), manifest.id());
        if self.0.fates.is_deleted(&id) {
            return Err(ServeError::Deleted(id));
        }
        let replicas = self.replicas_of(id, replicas);
        let upload = self.0.store.upload(upload, chunk_size).await?;
        let hashed = self.hash_upload(&upload, &manifest).await?;
        if hashed {
            self.note_proof(&manifest, By::Myself);
        }
        let mut committed = upload.commit(Arc::clone(&manifest), replicas).await;
        if matches!(committed, Err(WriteError::Conflict { .. })) && self.make_way_for_put(&manifest).await {
            committed = upload.commit(Arc::clone(&manifest), replicas).await;
        }
        let entry = committed?;
        match hashed || self.0.proofs.of(&manifest) == Some(By::Myself) {
            true => self.note_proof(&manifest, By::Myself),
            false => self.prove_as_owner(&manifest),
        }
        if self.0.fates.is_deleted(&id) {
            self.remove_deleted(id).await?;
            return Err(ServeError::Deleted(id));
        }
        Ok(presence_of(&entry, |chunk| entry.is_durable(chunk)))
    }

    /// Whether a put that comes here whole is that blob: it must be. False where not all of it comes here.
    async fn hash_upload(&self, upload: &Upload, manifest: &Arc<Manifest>) -> Result<bool, ServeError> {
        let (id, proofs) = (manifest.id(), &self.0.proofs);
        if proofs.is_false(manifest) {
            return Err(ServeError::Invalid(format!("this manifest is not that of {id}")));
        }
        if proofs.of(manifest) == Some(By::Myself) {
            return Ok(true);
        }
        if manifest.size() > self.0.config.prove_first {
            return Ok(false);
        }
        match upload.whole_id(Arc::clone(manifest)).await? {
            Some(found) if found != id => Err(ServeError::Invalid(format!("the bytes hash to {found}, not to {id}"))),
            found => Ok(found.is_some()),
        }
    }

    /// The first owners of a blob read it once, so that others need not: they vouch for it.
    fn prove_as_owner(&self, manifest: &Arc<Manifest>) {
        let view = self.view();
        let first = view.owners(Point::of_blob(&manifest.id()), VOUCHERS);
        if manifest.size() <= self.0.config.prove_first && first.iter().any(|node| node.id == *view.me()) {
            self.prove_soon(manifest);
        } else {
            self.prove_soon_if_here(manifest);
        }
    }

    /// The highest number that was asked for counts: a put of the same bytes for less takes nothing from who put them before. Who says nothing asks for
    /// as many as the swarm has of everything.
    fn replicas_of(&self, id: BlobId, asked: Option<u8>) -> Option<u8> {
        let Some(entry) = self.0.store.get(&id.into()).filter(Entry::is_kept) else { return asked };
        let count = |said: Option<u8>| said.map_or(self.replicas(), usize::from);
        match count(asked) > count(entry.replicas()) {
            true => u8::try_from(count(asked)).ok(),
            false => entry.replicas(),
        }
    }

    pub(crate) async fn peer_share(&self, bytes: u64) -> Result<Arc<Share>, ServeError> {
        let overloaded = |_| ServeError::Overloaded { waited_ms: PEER_MEMORY_DEADLINE.as_millis() };
        self.0.peer_memory.take(bytes, PEER_MEMORY_DEADLINE).await.map_err(overloaded)
    }

    pub async fn abort_upload(&self, upload: Uuid) {
        if let Ok(upload) = self.0.store.upload(upload, self.0.config.chunk_size).await {
            upload.abort().await;
        }
    }
}

async fn verified(bytes: Bytes, chunk_size: u32, digest: ChunkDigest) -> Option<Chunk> {
    tokio::task::spawn_blocking(move || Chunk::verify(bytes, chunk_size, digest)).await.ok()?
}

/// The body, which may not be longer than a chunk.
async fn collect(mut body: ByteStream, chunk_size: u32) -> Result<Bytes, ServeError> {
    let most = usize::try_from(chunk_size).unwrap_or(usize::MAX);
    let mut whole = BytesMut::with_capacity(most.min(64 << 20));
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(ServeError::Body)?;
        if whole.len() + piece.len() > most {
            return Err(ServeError::Invalid(format!("a body longer than the chunk size of {chunk_size} bytes")));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Which chunks are held so, and how many replicas there shall be.
fn presence_of(entry: &Entry, held: impl Fn(u32) -> bool) -> Presence {
    let chunks = (0..entry.geometry().chunk_count()).filter(|chunk| held(*chunk));
    Presence { replicas: entry.replicas(), ..Presence::of(chunks) }
}
