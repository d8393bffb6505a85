//! What the router asks of the node behind it. The traits stand here, and not in the engine, because the engine
//! uses this crate's client: they break that circle, and give the router's tests a fake.

use std::sync::Arc;

use async_trait::async_trait;
use herring_blob::{BlobId, ByteRange, Chunk, ChunkDigest, Manifest, ObjectRef};
use uuid::Uuid;

use super::ApiError;
use crate::ByteStream;
use crate::peer::{MetaCall, MetaReply, NamesCall, NamesReply};
use crate::types::{BlobInfo, Cluster, Explain, NodeUsage, ObjectMeta, Owners, Presence, Stored};

/// A put that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOutcome {
    pub stored: Stored,
    /// Whether the blob was new to the swarm: 201 rather than 200.
    pub created: bool,
}

/// The public API's other side.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    async fn blob(&self, id: BlobId) -> Result<BlobInfo, ApiError>;
    /// The bytes of `range`, which lies within the blob and is not empty. A stream that fails before its first bytes is
    /// answered with an error: [`ErrorKind::BadGateway`](super::ErrorKind), or the [`ApiError`] that its error wraps
    /// (`io::Error::other(api_error)`). One that fails later, or is shorter than the range, breaks the connection.
    async fn read_blob(&self, id: BlobId, range: ByteRange) -> Result<ByteStream, ApiError>;
    /// Takes a body in; `expected` is the id that the client claimed, if it did. A body that is not wanted need not be
    /// read. Where its stream fails (stalled, broken off), so must this; the client is told why whatever the error says.
    async fn put_blob(&self, expected: Option<BlobId>, body: ByteStream) -> Result<PutOutcome, ApiError>;
    async fn delete_blob(&self, id: BlobId) -> Result<(), ApiError>;
    async fn manifest(&self, id: BlobId) -> Result<Arc<Manifest>, ApiError>;
    /// `chunk`: only that one.
    async fn explain(&self, id: BlobId, chunk: Option<u32>) -> Result<Explain, ApiError>;
    async fn object(&self, origin: &str, key: &str) -> Result<ObjectMeta, ApiError>;
    /// The bytes of `range` of that very version; as [`read_blob`](Self::read_blob).
    async fn read_object(&self, origin: &str, key: &str, version: &str, range: ByteRange) -> Result<ByteStream, ApiError>;
    async fn cluster(&self) -> Result<Cluster, ApiError>;
    async fn owners(&self, id: BlobId, chunk: Option<u32>) -> Result<Owners, ApiError>;
    /// `Ok` when this node serves; else in one sentence what it waits for.
    fn ready(&self) -> Result<(), String>;
    /// Prometheus text.
    fn metrics(&self) -> String;
}

/// The peers' side.
#[async_trait]
pub trait PeerBackend: Send + Sync + 'static {
    async fn local_manifest(&self, id: BlobId) -> Result<Arc<Manifest>, ApiError>;
    async fn local_chunk(&self, id: BlobId, index: u32) -> Result<Chunk, ApiError>;
    async fn presence(&self, id: BlobId) -> Result<Presence, ApiError>;
    async fn object_chunk(&self, object: ObjectRef, chunk_size: u32, index: u32) -> Result<Chunk, ApiError>;
    async fn delete_local(&self, id: BlobId) -> Result<(), ApiError>;
    async fn upload_chunk(
        &self,
        upload: Uuid,
        chunk_size: u32,
        index: u32,
        digest: ChunkDigest,
        body: ByteStream,
    ) -> Result<(), ApiError>;
    /// Makes an upload a durable part of the blob; answers all that is here of the blob then. A node that restarted in
    /// between has forgotten chunks that it took.
    async fn commit_upload(&self, upload: Uuid, manifest: Manifest) -> Result<Presence, ApiError>;
    async fn abort_upload(&self, upload: Uuid) -> Result<(), ApiError>;
    async fn names(&self, call: NamesCall) -> Result<NamesReply, ApiError>;
    async fn meta(&self, call: MetaCall) -> Result<MetaReply, ApiError>;
    fn usage(&self) -> NodeUsage;
}
