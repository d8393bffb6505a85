//! A node that keeps everything in memory, and fails where it is told to.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::{BlobHasher, BlobId, ByteRange, Chunk, ChunkDigest, Geometry, Manifest};
use herring_http_api::ByteStream;
use herring_http_api::arriving::{Arriving, GivenChunk};
use herring_http_api::peer::{Asker, ChunkOf, ChunkRequest, MetaCall, MetaReply, NamesCall, NamesReply};
use herring_http_api::repair::{RepairCall, RepairReply};
use herring_http_api::server::{ApiError, Backend, Backends, ErrorKind, Limits, PeerBackend, PutOutcome, router};
use herring_http_api::types::{
    BlobInfo, Cluster, Drain, DrainState, Explain, Job, NodeUsage, ObjectMeta, OriginEntry, OriginPage, Owners, PinInfo,
    Presence, PutWish, Stored,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const CHUNK: usize = 1 << 20;

/// What one origin has.
pub struct Object {
    pub bytes: Bytes,
    pub version: &'static str,
    pub modified_ms: u64,
}

/// The chunk's pieces, the last first, with a silence of 3 s before each; where the key is "changed", all but the last, and then that.
fn arriving(size: u64, chunk_size: u32, index: u32, key: &str) -> BoxStream<'static, Arriving> {
    let geometry = Geometry::new(size, chunk_size).unwrap();
    let whole = noise(geometry.chunk_range(index).len());
    let chunk = Chunk::of(whole.clone(), chunk_size);
    let pieces = chunk.digests().pieces();
    let piece = |index| {
        let digest = chunk.digests().piece(index).unwrap();
        Arriving::Piece { index, digest, bytes: chunk.slice(pieces.range(index)) }
    };
    let mut frames: Vec<_> = (0..pieces.count()).rev().map(piece).collect();
    if key == "changed" {
        *frames.last_mut().unwrap() = Arriving::Failed { status: 409, detail: "it is another".into() };
    }
    let slowly = |frame| async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        frame
    };
    stream::iter(frames).then(slowly).boxed()
}

/// Bytes without a period.
pub fn noise(len: u64) -> Bytes {
    (0..len).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0]).collect::<Vec<u8>>().into()
}

/// What a peer was told to keep: of which chunk size, and the bytes.
type Chunks = HashMap<(Uuid, u32), (u32, Bytes)>;

#[derive(Clone, Default)]
pub struct Fake(Arc<Inner>);

#[derive(Default)]
pub struct Inner {
    pub blobs: Mutex<HashMap<BlobId, Bytes>>,
    pub objects: Mutex<HashMap<String, Object>>,
    /// The version of all objects that it believes in until one is read.
    pub believed: Mutex<Option<&'static str>>,
    pub uploads: Mutex<Chunks>,
    pub committed: Mutex<Vec<Manifest>>,
    /// Reads break after so many bytes.
    pub breaks_at: Mutex<Option<usize>>,
    /// Reads end after so many bytes, as if that were all.
    pub ends_at: Mutex<Option<usize>>,
    /// Reads bring nothing more after so many bytes.
    pub stalls_at: Mutex<Option<usize>>,
    pub limits: Mutex<Limits>,
    pub waits_for: Mutex<Option<String>>,
    /// What it says is missing while it is ready.
    pub lacks: Mutex<String>,
    pub drains: Mutex<bool>,
    /// How the last put wanted its blob kept.
    pub wish: Mutex<PutWish>,
    /// Each with its version; without a target once it is deleted.
    pub names: Mutex<BTreeMap<String, (u64, Option<BlobId>)>>,
    pub jobs: Mutex<HashMap<Uuid, watch::Sender<Job>>>,
    pub pins: Mutex<BTreeMap<String, PinInfo>>,
}

impl std::ops::Deref for Fake {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Fake {
    pub fn with(bytes: impl Into<Bytes>) -> (Self, BlobId) {
        let fake = Self::default();
        let id = fake.keep(bytes.into());
        (fake, id)
    }

    pub fn keep(&self, bytes: Bytes) -> BlobId {
        let id = BlobId::of(&bytes);
        self.blobs.lock().unwrap().insert(id, bytes);
        id
    }

    pub fn router(&self) -> axum::Router {
        router(self.backends(), *self.limits.lock().unwrap(), CancellationToken::new())
    }

    pub fn backends(&self) -> Backends {
        Backends::of(Arc::new(self.clone()))
    }

    fn find(&self, id: BlobId) -> Result<Bytes, ApiError> {
        let found = self.blobs.lock().unwrap().get(&id).cloned();
        found.ok_or_else(|| ApiError::new(ErrorKind::NotFound, format!("no node has blob {id}")))
    }

    fn stream(&self, bytes: &Bytes, range: ByteRange) -> ByteStream {
        let at = |offset| usize::try_from(offset).unwrap();
        let bytes = bytes.slice(at(range.start)..at(range.end));
        let end = self.ends_at.lock().unwrap().unwrap_or(bytes.len()).min(bytes.len());
        let broken = *self.breaks_at.lock().unwrap();
        let whole = bytes.slice(..broken.unwrap_or(end).min(end));
        let pieces: Vec<_> = whole.chunks((whole.len() / 3).max(1)).map(|piece| Ok(whole.slice_ref(piece))).collect();
        let failure = broken.map(|_| Err(io::Error::other("every owner failed")));
        match *self.stalls_at.lock().unwrap() {
            Some(after) => stream::iter([Ok(bytes.slice(..after))]).chain(stream::pending()).boxed(),
            None => stream::iter(pieces.into_iter().chain(failure)).boxed(),
        }
    }

    fn manifest_of(bytes: &[u8]) -> Manifest {
        let mut hasher = BlobHasher::new(u32::try_from(CHUNK).unwrap());
        bytes.chunks(CHUNK).for_each(|chunk| {
            hasher.chunk(chunk);
        });
        hasher.finish().unwrap()
    }
}

async fn read_all(body: ByteStream) -> Result<Bytes, ApiError> {
    let all = body.try_fold(BytesMut::new(), |mut all, piece| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    all.await.map(BytesMut::freeze).map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))
}

pub fn not_found(what: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("no {what}"))
}

/// What a directory shows of a key below it.
fn entry<'a>(rest: &'a str, object: &Object) -> Option<(&'a str, OriginEntry)> {
    let entry = match rest.split_once('/') {
        Some((name, _)) => (name, OriginEntry::Directory { name: name.into() }),
        None => {
            let (size, version) = (object.bytes.len() as u64, object.version.into());
            (rest, OriginEntry::Object { name: rest.into(), size, version, modified_ms: object.modified_ms })
        }
    };
    Some(entry)
}

#[async_trait]
impl Backend for Fake {
    async fn blob(&self, id: BlobId) -> Result<BlobInfo, ApiError> {
        self.find(id).map(|bytes| BlobInfo { id, size: bytes.len() as u64 })
    }

    async fn read_blob(&self, id: BlobId, range: ByteRange) -> Result<ByteStream, ApiError> {
        self.find(id).map(|bytes| self.stream(&bytes, range))
    }

    /// A blob that is known is not read again.
    async fn put_blob(&self, expected: Option<BlobId>, wish: PutWish, body: ByteStream) -> Result<PutOutcome, ApiError> {
        *self.wish.lock().unwrap() = wish;
        if let Some(bytes) = expected.and_then(|id| self.find(id).ok()) {
            return Ok(PutOutcome {
                stored: Stored { id: BlobId::of(&bytes), size: bytes.len() as u64, replicas: 3, wanted: 3 },
                created: false,
            });
        }
        let bytes = read_all(body).await?;
        let (id, size) = (BlobId::of(&bytes), bytes.len() as u64);
        if expected.is_some_and(|expected| expected != id) {
            return Err(ApiError::new(ErrorKind::Mismatch, format!("the body hashes to {id}")));
        }
        let created = self.blobs.lock().unwrap().insert(id, bytes).is_none();
        Ok(PutOutcome { stored: Stored { id, size, replicas: 3, wanted: 3 }, created })
    }

    async fn delete_blob(&self, id: BlobId) -> Result<(), ApiError> {
        self.find(id)?;
        self.blobs.lock().unwrap().remove(&id);
        Ok(())
    }

    async fn manifest(&self, id: BlobId) -> Result<Arc<Manifest>, ApiError> {
        self.find(id).map(|bytes| Arc::new(Self::manifest_of(&bytes)))
    }

    async fn explain(&self, id: BlobId, chunk: Option<u32>) -> Result<Explain, ApiError> {
        let size = self.find(id)?.len() as u64;
        let epoch = chunk.map_or("all".into(), |chunk| chunk.to_string());
        let none = Vec::new;
        Ok(Explain {
            id,
            size,
            chunk_size: 1 << 20,
            epoch,
            replicas: 3,
            manifest_owners: none(),
            manifest_holders: none(),
            unreachable: none(),
            chunks: vec![],
        })
    }

    async fn object(&self, origin: &str, key: &str, _: u64) -> Result<ObjectMeta, ApiError> {
        match origin {
            "panics" => panic!("a bug"),
            "hangs" => std::future::pending().await,
            _ => {}
        }
        let objects = self.objects.lock().unwrap();
        let object = objects.get(&format!("{origin}/{key}")).ok_or_else(|| not_found("such key"))?;
        let size = object.bytes.len() as u64;
        let version = self.believed.lock().unwrap().unwrap_or(object.version).into();
        Ok(ObjectMeta { size, version, modified_ms: object.modified_ms })
    }

    async fn read_object(&self, origin: &str, key: &str, version: &str, range: ByteRange) -> Result<ByteStream, ApiError> {
        let objects = self.objects.lock().unwrap();
        let object = objects.get(&format!("{origin}/{key}")).ok_or_else(|| not_found("such key"))?;
        if object.version != version {
            *self.believed.lock().unwrap() = None;
            return Err(ApiError::new(ErrorKind::Changed, "it is another by now"));
        }
        Ok(self.stream(&object.bytes, range))
    }

    /// Pages of two entries; the token is the last entry's name.
    async fn list(&self, origin: &str, prefix: &str, token: Option<&str>) -> Result<OriginPage, ApiError> {
        if origin == "unlisted" {
            return Err(ApiError::new(ErrorKind::Unlisted, "this server has no listing"));
        }
        let directory = if prefix.is_empty() { format!("{origin}/") } else { format!("{origin}/{prefix}/") };
        let objects = self.objects.lock().unwrap();
        let below: BTreeMap<_, _> =
            objects.iter().filter_map(|(key, object)| entry(key.strip_prefix(&directory)?, object)).collect();
        let first = *below.keys().next().ok_or_else(|| not_found("such directory"))?;
        let mut rest = below.range(token.unwrap_or(first)..).skip(usize::from(token.is_some())).peekable();
        let entries: Vec<_> = rest.by_ref().take(2).collect();
        let next = rest.peek().and(entries.last()).map(|(name, _)| (**name).to_owned());
        Ok(OriginPage { entries: entries.into_iter().map(|(_, entry)| entry.clone()).collect(), next })
    }

    async fn cluster(&self) -> Result<Cluster, ApiError> {
        let (node, epoch, members, missing) = ("n1".into(), "e".into(), Vec::new(), vec!["n2".to_owned()]);
        let (under_replicated_chunks, moving_bytes, eta_ms) = (7, 9, Some(11));
        Ok(Cluster {
            node,
            epoch,
            replicas: 3,
            members,
            under_replicated_chunks,
            lost_chunks: 0,
            moving_bytes,
            eta_ms,
            missing,
            degraded: true,
            settled: false,
        })
    }

    async fn owners(&self, id: BlobId, chunk: Option<u32>) -> Result<Owners, ApiError> {
        Ok(Owners { id, chunk, epoch: "e".into(), point: "0".repeat(16), owners: vec!["n1".into()] })
    }

    async fn drain(&self, away: bool) -> Result<(), ApiError> {
        if let Some(why) = self.waits_for.lock().unwrap().clone() {
            return Err(ApiError::new(ErrorKind::Unavailable, why));
        }
        *self.drains.lock().unwrap() = away;
        Ok(())
    }

    fn drained(&self) -> Drain {
        let state = if *self.drains.lock().unwrap() { DrainState::Draining } else { DrainState::No };
        Drain { state, left_chunks: 2, left_bytes: 3 }
    }

    fn ready(&self) -> Result<String, String> {
        self.waits_for.lock().unwrap().clone().map_or(Ok(self.lacks.lock().unwrap().clone()), Err)
    }

    fn metrics(&self) -> String {
        "herring_up 1\n".into()
    }
}

#[async_trait]
impl PeerBackend for Fake {
    async fn local_manifest(&self, id: BlobId) -> Result<(Arc<Manifest>, bool), ApiError> {
        self.manifest(id).await.map(|manifest| (manifest, false))
    }

    async fn presence(&self, id: BlobId) -> Result<Presence, ApiError> {
        self.find(id).map(|_| Presence::of([0]))
    }

    async fn chunk(&self, asked: ChunkRequest, _: Asker) -> Result<GivenChunk, ApiError> {
        let ChunkRequest { of, index, urge, .. } = asked;
        let (object, identity, chunk_size, wanted) = match of {
            ChunkOf::Object { object, identity, chunk_size, wanted } => (object, identity, chunk_size, wanted),
            ChunkOf::Blob(id) => {
                let bytes = self.find(id)?;
                let chunk = bytes.chunks(CHUNK).nth(usize::try_from(index).unwrap()).ok_or_else(|| not_found("such chunk"))?;
                return Ok(GivenChunk::Whole(Chunk::of(bytes.slice_ref(chunk), u32::try_from(CHUNK).unwrap())));
            }
        };
        match object.origin.as_str() {
            "hangs" => std::future::pending().await,
            "slow" => Ok(GivenChunk::Arriving(arriving(object.size, chunk_size, index, &object.key))),
            _ => Ok(GivenChunk::Whole(Chunk::of(
                format!("{object:?} {identity} {wanted} {urge:?} {chunk_size} {index}").into(),
                chunk_size,
            ))),
        }
    }

    fn load(&self) -> u64 {
        0
    }

    async fn delete_local(&self, id: BlobId) -> Result<(), ApiError> {
        self.blobs.lock().unwrap().remove(&id);
        Ok(())
    }

    async fn upload_chunk(
        &self,
        upload: Uuid,
        chunk_size: u32,
        index: u32,
        digest: ChunkDigest,
        body: ByteStream,
    ) -> Result<(), ApiError> {
        let bytes = read_all(body).await?;
        if !digest.matches(&bytes) {
            return Err(ApiError::new(ErrorKind::Mismatch, "not the chunk that was announced"));
        }
        self.uploads.lock().unwrap().insert((upload, index), (chunk_size, bytes));
        Ok(())
    }

    async fn commit_upload(&self, _: Uuid, manifest: Manifest, _: Option<u8>) -> Result<Presence, ApiError> {
        let count = manifest.geometry().chunk_count();
        self.committed.lock().unwrap().push(manifest);
        Ok(Presence::of(0..count))
    }

    async fn abort_upload(&self, upload: Uuid) -> Result<(), ApiError> {
        self.uploads.lock().unwrap().retain(|(of, _), _| *of != upload);
        Ok(())
    }

    async fn names(&self, _: NamesCall) -> Result<NamesReply, ApiError> {
        Ok(NamesReply::Learnt { behind: Vec::new() })
    }

    async fn meta(&self, _: MetaCall) -> Result<MetaReply, ApiError> {
        Ok(MetaReply::Held)
    }

    async fn repair(&self, _: String, _: RepairCall) -> Result<RepairReply, ApiError> {
        Ok(RepairReply::Differ { buckets: Vec::new() })
    }

    fn usage(&self) -> NodeUsage {
        NodeUsage { bytes_used: 1, bytes_capacity: 2, ..NodeUsage::default() }
    }
}
