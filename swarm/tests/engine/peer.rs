//! What a node answers its peers: the engine's answer, counted, and spoilt where a test says so.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use herring_blob::{BlobId, Chunk, ChunkDigest, Manifest};
use herring_http_api::ByteStream;
use herring_http_api::arriving::{Arriving, GivenChunk};
use herring_http_api::peer::{Asker, ChunkOf, ChunkRequest, MetaCall, MetaReply, NamesCall, NamesReply};
use herring_http_api::repair::{RepairCall, RepairReply};
use herring_http_api::server::{ApiError, ErrorKind, PeerBackend};
use herring_http_api::types::{NodeUsage, Presence};
use herring_store::WriteError;
use herring_swarm::{ReadError, ServeError, Swarm};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::net::{CHUNK, PATIENCE};

/// Questions that came to a peer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Asked {
    pub manifests: usize,
    /// Indices of the chunks of blobs.
    pub chunks: Vec<u32>,
    /// Indices of the chunks of objects.
    pub objects: Vec<u32>,
    pub uploads: usize,
    /// Those that are not taken yet among them.
    pub uploads_begun: usize,
    pub commits: usize,
    pub names: Vec<NamesCall>,
    /// Questions about origins.
    pub metas: Vec<MetaCall>,
    pub repairs: Vec<RepairCall>,
}

/// How a peer answers questions for chunks, and takes them.
#[derive(Debug, Clone, Default)]
pub enum Fault {
    #[default]
    None,
    /// Never answers.
    Hang,
    /// Answers once there is a permit.
    Hold(Arc<Semaphore>),
    /// Answers what was so when it was asked, once there is a permit.
    HoldAnswer(Arc<Semaphore>),
    /// Says at once that it waits, and gives the chunk, or takes it, once there is a permit.
    Wait(Arc<Semaphore>),
    /// Other bytes, with the digest of the right ones or of the wrong ones. Waits for a permit too.
    Lie { right_header: bool, hold: Arc<Semaphore> },
    /// 503.
    Refuse,
    /// 404, whatever it has.
    Forget,
    /// 507 to everything that it should take.
    Full,
}

impl Fault {
    pub fn lie(right_header: bool) -> Self {
        Self::Lie { right_header, hold: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }
}

pub struct Peer {
    swarm: Swarm,
    asked: watch::Sender<Asked>,
    fault: Mutex<Fault>,
}

impl Peer {
    pub fn new(swarm: Swarm) -> Self {
        Self { swarm, asked: watch::Sender::default(), fault: Mutex::default() }
    }

    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub fn asked(&self) -> Asked {
        self.asked.borrow().clone()
    }

    pub fn forget_asked(&self) {
        self.asked.send_replace(Asked::default());
    }

    /// Waits until it was asked so.
    pub async fn until(&self, condition: impl Fn(&Asked) -> bool) {
        let mut asked = self.asked.subscribe();
        let met = timeout(PATIENCE, asked.wait_for(|asked| condition(asked))).await;
        met.expect("the questions that a test waits for must come").expect("the sender lives as long as the peer");
    }

    fn fault(&self) -> Fault {
        self.fault.lock().unwrap().clone()
    }

    async fn give<T>(
        &self,
        reply: impl Future<Output = Result<T, ServeError>>,
        lie: impl FnOnce(T, bool) -> T,
    ) -> Result<T, ApiError> {
        let fault = self.fault();
        match &fault {
            Fault::Hang => std::future::pending().await,
            Fault::Hold(gate) | Fault::Lie { hold: gate, .. } => gate.acquire().await.unwrap().forget(),
            Fault::Refuse => return Err(ApiError::new(ErrorKind::Unavailable, "not now")),
            Fault::Forget => return Err(ApiError::new(ErrorKind::NotFound, "never heard of it")),
            Fault::None | Fault::Full | Fault::Wait(_) | Fault::HoldAnswer(_) => {}
        }
        let reply = reply.await.map_err(answer)?;
        if let Fault::HoldAnswer(gate) = &fault {
            gate.acquire().await.unwrap().forget();
        }
        Ok(if let Fault::Lie { right_header, .. } = fault { lie(reply, right_header) } else { reply })
    }

    async fn take(&self) -> Result<(), ApiError> {
        match self.fault() {
            Fault::Full => Err(ApiError::new(ErrorKind::Full, "no room, says the test")),
            Fault::Refuse => Err(ApiError::new(ErrorKind::Unavailable, "not now")),
            Fault::Hang => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

/// As many bytes, the last bit of which is wrong.
fn wrong(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes.into()
}

fn lie(chunk: Chunk, right_header: bool) -> Chunk {
    let bytes = wrong(&chunk.slice(0..chunk.len()));
    if right_header { Chunk::known(chunk.digests().clone(), vec![bytes]) } else { Chunk::of(bytes, CHUNK) }
}

fn lie_of_chunk(given: GivenChunk, right_header: bool) -> GivenChunk {
    match given {
        GivenChunk::Whole(chunk) => GivenChunk::Whole(lie(chunk, right_header)),
        // Its digest would have to be made up; a wrong one shows the same.
        GivenChunk::Arriving(frames) => GivenChunk::Arriving(frames.map(wrong_piece).boxed()),
        busy @ GivenChunk::Busy { .. } => busy,
    }
}

fn wrong_piece(frame: Arriving) -> Arriving {
    match frame {
        Arriving::Piece { index, digest, bytes } => Arriving::Piece { index, digest, bytes: wrong(&bytes) },
        other => other,
    }
}

/// All of a chunk, once there is a permit.
fn in_turn(chunk: Chunk, gate: Arc<Semaphore>) -> impl Stream<Item = Arriving> {
    let frames = async move {
        gate.acquire().await.unwrap().forget();
        let digests = chunk.digests().clone();
        let piece = |index| {
            let bytes = chunk.slice(digests.pieces().range(index));
            Arriving::Piece { index, digest: digests.piece(index).unwrap(), bytes }
        };
        let pieces: Vec<_> = (0..digests.pieces().count()).map(piece).collect();
        stream::iter([Arriving::Digests(digests)].into_iter().chain(pieces))
    };
    stream::once(frames).flatten()
}

#[async_trait]
impl PeerBackend for Peer {
    async fn local_manifest(&self, id: BlobId) -> Result<(Arc<Manifest>, bool), ApiError> {
        let refuses = matches!(self.fault(), Fault::Refuse);
        self.asked.send_modify(|asked| asked.manifests += 1);
        if refuses {
            return Err(ApiError::new(ErrorKind::Unavailable, "not now"));
        }
        self.swarm.local_manifest(id).map_err(answer)
    }

    async fn presence(&self, id: BlobId) -> Result<Presence, ApiError> {
        self.swarm.presence(id).map_err(answer)
    }

    async fn chunk(&self, asked: ChunkRequest, asker: Asker) -> Result<GivenChunk, ApiError> {
        self.asked.send_modify(|told| match asked.of {
            ChunkOf::Blob(_) => told.chunks.push(asked.index),
            ChunkOf::Object { .. } => told.objects.push(asked.index),
        });
        let given = self.give(self.swarm.give(asked, asker), lie_of_chunk).await?;
        Ok(match (self.fault(), given) {
            (Fault::Wait(gate), GivenChunk::Whole(chunk)) => GivenChunk::Arriving(in_turn(chunk, gate).boxed()),
            (_, given) => given,
        })
    }

    fn load(&self) -> u64 {
        self.swarm.promised()
    }

    async fn delete_local(&self, id: BlobId) -> Result<(), ApiError> {
        self.swarm.remove_local(id).await.map_err(|error| answer(error.into()))
    }

    async fn upload_chunk(
        &self,
        upload: Uuid,
        chunk_size: u32,
        index: u32,
        digest: ChunkDigest,
        body: ByteStream,
    ) -> Result<(), ApiError> {
        self.take().await?;
        self.asked.send_modify(|asked| asked.uploads_begun += 1);
        if let Fault::Wait(gate) = self.fault() {
            gate.acquire().await.unwrap().forget();
        }
        let taken = self.swarm.upload_chunk(upload, chunk_size, index, digest, body).await.map_err(answer);
        self.asked.send_modify(|asked| asked.uploads += 1);
        taken
    }

    async fn commit_upload(&self, upload: Uuid, manifest: Manifest, replicas: Option<u8>) -> Result<Presence, ApiError> {
        self.asked.send_modify(|asked| asked.commits += 1);
        self.take().await?;
        self.swarm.commit_upload(upload, Arc::new(manifest), replicas).await.map_err(answer)
    }

    async fn abort_upload(&self, upload: Uuid) -> Result<(), ApiError> {
        self.swarm.abort_upload(upload).await;
        Ok(())
    }

    async fn names(&self, call: NamesCall) -> Result<NamesReply, ApiError> {
        self.asked.send_modify(|asked| asked.names.push(call.clone()));
        self.take().await?;
        self.swarm.answer_names(call).await.map_err(|error| ApiError::new(ErrorKind::Unavailable, error.to_string()))
    }

    async fn meta(&self, call: MetaCall) -> Result<MetaReply, ApiError> {
        self.asked.send_modify(|asked| asked.metas.push(call.clone()));
        match self.fault() {
            Fault::Hang => std::future::pending().await,
            Fault::Refuse => Err(ApiError::new(ErrorKind::Unavailable, "not now")),
            Fault::HoldAnswer(gate) => {
                let reply = self.swarm.answer_meta(call).await;
                gate.acquire().await.unwrap().forget();
                reply.map_err(answer)
            }
            _ => self.swarm.answer_meta(call).await.map_err(answer),
        }
    }

    async fn repair(&self, from: String, call: RepairCall) -> Result<RepairReply, ApiError> {
        self.asked.send_modify(|asked| asked.repairs.push(call.clone()));
        self.take().await?;
        self.swarm.answer_repair(from, call).await.map_err(answer)
    }

    fn usage(&self) -> NodeUsage {
        self.swarm.node_usage()
    }
}

fn answer(error: ServeError) -> ApiError {
    let kind = match &error {
        ServeError::NotHere => ErrorKind::NotFound,
        ServeError::Rotten { .. } => ErrorKind::BadGateway,
        ServeError::Invalid(_) | ServeError::Body(_) => ErrorKind::BadRequest,
        ServeError::Read(ReadError::Changed { .. }) => ErrorKind::Changed,
        ServeError::Read(ReadError::Unavailable { .. }) => ErrorKind::BadGateway,
        ServeError::Write(WriteError::Full { .. }) => ErrorKind::Full,
        ServeError::Write(WriteError::Mismatch { .. }) => ErrorKind::Mismatch,
        ServeError::Write(WriteError::Gone) => ErrorKind::NotFound,
        ServeError::Deleted(_) => ErrorKind::Changed,
        ServeError::Overloaded { .. } | ServeError::Read(_) | ServeError::Write(_) | ServeError::Record(_) => {
            ErrorKind::Unavailable
        }
    };
    ApiError::new(kind, error.to_string())
}
