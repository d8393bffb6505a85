//! What this node answers its peers. It never asks another owner on a peer's behalf.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use herring_blob::{BlobId, Chunk, ChunkDigest, Geometry, Manifest, ObjectRef};
use herring_http_api::ByteStream;
use herring_http_api::arriving::{Arriving, GivenChunk};
use herring_http_api::peer::ObjectChunk;
use herring_http_api::types::Presence;
use herring_store::{Entry, WriteError};
use metrics::counter;
use uuid::Uuid;

use crate::config::PEER_MEMORY_DEADLINE;
use crate::fetch::{Role, Want};
use crate::landing::{Held, Passed};
use crate::memory::Share;
use crate::{Content, ReadError, Source, Swarm, metrics as m};

/// Why a peer does not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("not on this node")]
    NotHere,
    #[error("cannot be: {0}")]
    Invalid(String),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the body ended early: {0}")]
    Body(std::io::Error),
    #[error("no memory for a chunk became free within {waited_ms} ms")]
    Overloaded { waited_ms: u128 },
}

impl Swarm {
    pub fn local_manifest(&self, id: BlobId) -> Result<Arc<Manifest>, ServeError> {
        match self.open_blob_now(id).as_ref().map(Content::source) {
            Some(Source::Blob(manifest)) => Ok(Arc::clone(manifest)),
            _ => Err(ServeError::NotHere),
        }
    }

    /// A chunk of a blob, if it is on this node's disk.
    pub async fn local_chunk(&self, id: BlobId, chunk: u32) -> Result<Chunk, ServeError> {
        let id = id.into();
        let entry = self.0.store.get(&id).filter(|entry| entry.has(chunk)).ok_or(ServeError::NotHere)?;
        let share = self.peer_share(entry.geometry().chunk_range(chunk).len()).await?;
        let chunk = self.chunk_here(&id, chunk).await.ok_or(ServeError::NotHere)?;
        Ok(served(&Held::new(chunk, share)))
    }

    /// A chunk of an origin's object: from this node's disk, else, if more than what is held is asked for, as it comes from the origin.
    pub async fn object_chunk(&self, asked: ObjectChunk, first: u32) -> Result<GivenChunk, ServeError> {
        let ObjectChunk { object, chunk_size, index, wanted, held } = asked;
        let content = self.asked_object(object, chunk_size, index)?;
        if self.is_here(&content, index) {
            let Some(share) = self.0.peer_memory.take_now(content.geometry().chunk_range(index).len()) else {
                // The asker is to know at once that this node is alive, however long it takes.
                return Ok(GivenChunk::Arriving(self.clone().when_there_is_memory(content, index).boxed()));
            };
            if let Some(chunk) = self.chunk_here(&content.id(), index).await {
                return Ok(GivenChunk::Whole(served(&Held::new(chunk, share))));
            }
        }
        match self.0.unkept.get(&(content.id(), index)) {
            Some(held) => Ok(GivenChunk::Whole(served(&held))),
            None if held => Err(ServeError::NotHere),
            None => {
                let want = Want { first, until: index.saturating_add(wanted) };
                let landing = self.launch(&content, index, want, Role::Owner);
                Ok(GivenChunk::Arriving(landing.passed_on().map(arriving).boxed()))
            }
        }
    }

    /// The pieces of a chunk on this node's disk, once there is memory for it.
    fn when_there_is_memory(self, content: Content, index: u32) -> impl Stream<Item = Arriving> {
        let read = async move {
            let length = content.geometry().chunk_range(index).len();
            let unavailable = |why: String| Arriving::Failed { status: 503, detail: why };
            let share = self.peer_share(length).await.map_err(|error| unavailable(error.to_string()))?;
            let gone = || unavailable(format!("chunk {index} of {content} cannot be read any more"));
            Ok(Held::new(self.chunk_here(&content.id(), index).await.ok_or_else(gone)?, share))
        };
        let frames = |read: Result<Held, Arriving>| match read {
            Ok(held) => stream::iter(held.pieces().map(|piece| arriving(Ok(piece))).collect::<Vec<_>>()),
            Err(failed) => stream::iter(vec![failed]),
        };
        stream::once(read).flat_map(frames)
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
        Ok(Content::object(object, geometry, std::time::SystemTime::now()))
    }

    /// Which chunks of a blob are on this node's disk.
    pub fn presence(&self, id: BlobId) -> Result<Presence, ServeError> {
        let entry = self.0.store.get(&id.into()).ok_or(ServeError::NotHere)?;
        Ok(Presence { chunks: runs(&entry, |chunk| entry.has(chunk)) })
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
    pub async fn commit_upload(&self, upload: Uuid, manifest: Arc<Manifest>) -> Result<Presence, ServeError> {
        let chunk_size = manifest.geometry().chunk_size();
        let entry = self.0.store.upload(upload, chunk_size).await?.commit(manifest).await?;
        Ok(Presence { chunks: runs(&entry, |chunk| entry.is_durable(chunk)) })
    }

    async fn peer_share(&self, bytes: u64) -> Result<Arc<Share>, ServeError> {
        let overloaded = |_| ServeError::Overloaded { waited_ms: PEER_MEMORY_DEADLINE.as_millis() };
        self.0.peer_memory.take(bytes, PEER_MEMORY_DEADLINE).await.map_err(overloaded)
    }

    pub async fn abort_upload(&self, upload: Uuid) {
        if let Ok(upload) = self.0.store.upload(upload, self.0.config.chunk_size).await {
            upload.abort().await;
        }
    }
}

/// A failure keeps its kind: what the asker does next depends on it.
fn arriving(passed: Result<Passed, ReadError>) -> Arriving {
    match passed {
        Ok((index, digest, bytes)) => {
            counter!(m::BYTES_SERVED).increment(bytes.len() as u64);
            Arriving::Piece { index, digest, bytes }
        }
        Err(error) => {
            let status = match error {
                ReadError::Changed { .. } => 409,
                ReadError::Unavailable { .. } => 502,
                ReadError::Overloaded { .. } => 503,
            };
            Arriving::Failed { status, detail: error.to_string() }
        }
    }
}

fn served(held: &Held) -> Chunk {
    counter!(m::CHUNKS_SERVED).increment(1);
    counter!(m::BYTES_SERVED).increment(held.len());
    held.chunk()
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

/// The chunks that are held, as half-open runs.
fn runs(entry: &Entry, held: impl Fn(u32) -> bool) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for chunk in (0..entry.geometry().chunk_count()).filter(|chunk| held(*chunk)) {
        match runs.last_mut() {
            Some((_, end)) if *end == chunk => *end += 1,
            _ => runs.push((chunk, chunk + 1)),
        }
    }
    runs
}
