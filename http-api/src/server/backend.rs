//! What the router asks of the node behind it. The traits stand here, and not in the engine, because the engine
//! uses this crate's client: they break that circle, and give the router's tests a fake.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use herring_blob::{BlobId, ByteRange, ChunkDigest, Manifest};
use uuid::Uuid;

use super::ApiError;
use crate::ByteStream;
use crate::arriving::GivenChunk;
use crate::peer::{Asker, ChunkRequest, MetaCall, MetaReply, NamesCall, NamesReply};
use crate::repair::{RepairCall, RepairReply};
use crate::types::{
    BlobInfo, Cluster, Condition, Drain, Explain, Job, NameInfo, NameList, NodeUsage, ObjectMeta, OriginPage, Owners, PinInfo,
    Prefetch, Presence, PutWish, Stored,
};

/// A put that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOutcome {
    pub stored: Stored,
    /// Whether the blob was new to the swarm: 201 rather than 200.
    pub created: bool,
}

/// A name that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePut {
    pub info: NameInfo,
    /// Whether the name pointed at nothing before: 201 rather than 200.
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
    /// `wish` is possible, as far as it can be told without knowing the swarm.
    async fn put_blob(&self, expected: Option<BlobId>, wish: PutWish, body: ByteStream) -> Result<PutOutcome, ApiError>;
    async fn delete_blob(&self, id: BlobId) -> Result<(), ApiError>;
    async fn manifest(&self, id: BlobId) -> Result<Arc<Manifest>, ApiError>;
    /// `chunk`: only that one.
    async fn explain(&self, id: BlobId, chunk: Option<u32>) -> Result<Explain, ApiError>;
    /// `reading`: so many of its first bytes are likely to be asked for next; 0 where none are.
    async fn object(&self, origin: &str, key: &str, reading: u64) -> Result<ObjectMeta, ApiError>;
    /// The bytes of `range` of that very version; as [`read_blob`](Self::read_blob).
    async fn read_object(&self, origin: &str, key: &str, version: &str, range: ByteRange) -> Result<ByteStream, ApiError>;
    /// A page of what lies directly below `prefix`, which neither begins nor ends with a slash; empty: the origin's root.
    /// `token`: the page's that came before, as it was given. [`ErrorKind::Unlisted`](super::ErrorKind) where the origin cannot tell.
    async fn list(&self, origin: &str, prefix: &str, token: Option<&str>) -> Result<OriginPage, ApiError>;
    async fn cluster(&self) -> Result<Cluster, ApiError>;
    async fn owners(&self, id: BlobId, chunk: Option<u32>) -> Result<Owners, ApiError>;
    /// Lets this node give what it keeps to others, or take part again. Returns once that has begun; safe to repeat.
    /// [`ErrorKind::Unavailable`](super::ErrorKind) where there is nobody to take it.
    async fn drain(&self, away: bool) -> Result<(), ApiError>;
    fn drained(&self) -> Drain;
    /// `Ok` when this node serves, with what is nevertheless not as it should be, empty where all is; else in one sentence what it waits for.
    fn ready(&self) -> Result<String, String>;
    /// Prometheus text.
    fn metrics(&self) -> String;
}

/// Names. Those that come here obey [`check_name`](crate::name::check_name).
#[async_trait]
pub trait NamesBackend: Send + Sync + 'static {
    async fn name(&self, name: &str) -> Result<NameInfo, ApiError>;
    /// [`ErrorKind::PreconditionFailed`](super::ErrorKind) where the condition does not hold.
    async fn put_name(&self, name: &str, target: BlobId, condition: Condition) -> Result<NamePut, ApiError>;
    async fn delete_name(&self, name: &str, condition: Condition) -> Result<(), ApiError>;
    /// Those that begin with `prefix` and come after `after`; `limit` is from 1 to 1000.
    async fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<NameList, ApiError>;
}

/// Prefetches and pins.
#[async_trait]
pub trait JobsBackend: Send + Sync + 'static {
    /// Begins to bring what is wanted, at least one thing, to this node.
    async fn prefetch(&self, wanted: Prefetch) -> Result<Uuid, ApiError>;
    fn job(&self, job: Uuid) -> Option<Job>;
    /// The job's states as they come, the present one first; those that nobody took in time may be left out, the last one never.
    fn follow(&self, job: Uuid) -> Option<BoxStream<'static, Job>>;
    fn jobs(&self) -> Vec<Job>;
    /// Returns once it is over, which it may have been before; `false` where there is none.
    async fn cancel(&self, job: Uuid) -> bool;
    /// `target`: an id, or a name. A pin that is there already ends then instead.
    async fn pin(&self, target: &str, ttl: Duration) -> Result<PinInfo, ApiError>;
    async fn unpin(&self, target: &str) -> Result<(), ApiError>;
    async fn pins(&self) -> Result<Vec<PinInfo>, ApiError>;
}

/// The peers' side.
#[async_trait]
pub trait PeerBackend: Send + Sync + 'static {
    /// With whether this node has hashed the whole blob itself.
    async fn local_manifest(&self, id: BlobId) -> Result<(Arc<Manifest>, bool), ApiError>;
    async fn presence(&self, id: BlobId) -> Result<Presence, ApiError>;
    async fn chunk(&self, asked: ChunkRequest, asker: Asker) -> Result<GivenChunk, ApiError>;
    /// Bytes that this node has promised to send its peers and has not sent yet.
    fn load(&self) -> u64;
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
    /// `replicas`: what the put asked for, where it did. [`ErrorKind::Changed`](super::ErrorKind) where the blob was deleted, as this node knows.
    async fn commit_upload(&self, upload: Uuid, manifest: Manifest, replicas: Option<u8>) -> Result<Presence, ApiError>;
    async fn abort_upload(&self, upload: Uuid) -> Result<(), ApiError>;
    async fn names(&self, call: NamesCall) -> Result<NamesReply, ApiError>;
    async fn meta(&self, call: MetaCall) -> Result<MetaReply, ApiError>;
    /// `from`: the id of the node that asks; empty where it did not say.
    async fn repair(&self, from: String, call: RepairCall) -> Result<RepairReply, ApiError>;
    fn usage(&self) -> NodeUsage;
}
