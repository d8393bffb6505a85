//! The engine behind the router: each question handed on, each error given its kind. The only place where engine errors
//! meet HTTP.

mod drain;
mod jobs;
mod meta;
mod names;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use herring_blob::{BlobId, ByteRange, ChunkDigest, Manifest};
use herring_http_api::ByteStream;
use herring_http_api::arriving::GivenChunk;
use herring_http_api::peer::{Asker, ChunkRequest, MetaCall, MetaReply, NamesCall, NamesReply};
use herring_http_api::repair::{RepairCall, RepairReply};
use herring_http_api::server::{ApiError, Backend, ErrorKind, PeerBackend, PutOutcome};
use herring_http_api::types::{BlobInfo, Cluster, Drain, Explain, NodeUsage, ObjectMeta, OriginPage, Owners, Presence, PutWish};
use herring_store::WriteError;
use herring_swarm::{Content, Custody, OpenError, PutError, PutOptions, ReadError, RemoveError, ServeError, Source, Swarm};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use uuid::Uuid;

/// A node as its router sees it.
pub struct Api {
    pub swarm: Swarm,
    pub metrics: PrometheusHandle,
    /// Whether all of the node is up, its mount included.
    pub started: Arc<AtomicBool>,
    /// Whether it is to give away what it keeps; the node follows it.
    pub draining: watch::Sender<bool>,
}

#[async_trait]
impl Backend for Api {
    async fn blob(&self, id: BlobId) -> Result<BlobInfo, ApiError> {
        let content = self.swarm.open_blob(id).await.map_err(open_error)?;
        Ok(BlobInfo { id, size: content.size() })
    }

    async fn read_blob(&self, id: BlobId, range: ByteRange) -> Result<ByteStream, ApiError> {
        let content = self.swarm.open_blob(id).await.map_err(open_error)?;
        Ok(body(self.swarm.stream(&content, range)))
    }

    async fn put_blob(&self, expected: Option<BlobId>, wish: PutWish, body: ByteStream) -> Result<PutOutcome, ApiError> {
        let wish = wish.check(Some(self.swarm.replicas()));
        let PutWish { replicas, ack } = wish.map_err(|error| ApiError::new(ErrorKind::BadRequest, error.to_string()))?;
        let put = self.swarm.put(expected, PutOptions { replicas, ack }, body).await.map_err(put_error)?;
        Ok(PutOutcome { stored: put.stored, created: put.created })
    }

    async fn delete_blob(&self, id: BlobId) -> Result<(), ApiError> {
        self.swarm.remove(id).await.map_err(remove_error)
    }

    async fn manifest(&self, id: BlobId) -> Result<Arc<Manifest>, ApiError> {
        let content = self.swarm.open_blob(id).await.map_err(open_error)?;
        match content.source() {
            Source::Blob(manifest) => Ok(Arc::clone(manifest)),
            Source::Object(_) => Err(ApiError::new(ErrorKind::Internal, format!("{content} is not a blob"))),
        }
    }

    async fn explain(&self, id: BlobId, chunk: Option<u32>) -> Result<Explain, ApiError> {
        let explain = self.swarm.explain(id, chunk).await.map_err(open_error)?;
        match chunk {
            Some(chunk) if explain.chunks.is_empty() => Err(no_chunk(id, chunk)),
            _ => Ok(explain),
        }
    }

    async fn object(&self, origin: &str, key: &str, reading: u64) -> Result<ObjectMeta, ApiError> {
        let content = self.swarm.open_to_read(origin, key, reading).await.map_err(open_error)?;
        let since_1970 = content.modified().duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        Ok(ObjectMeta { size: content.size(), version: version(&content).to_owned(), modified_ms })
    }

    async fn read_object(&self, origin: &str, key: &str, asked: &str, range: ByteRange) -> Result<ByteStream, ApiError> {
        let content = self.swarm.open_version(origin, key, asked).await.map_err(open_error)?;
        if version(&content) != asked {
            return Err(ApiError::new(
                ErrorKind::Changed,
                format!("{origin}/{key} is now version {}, no longer {asked}", version(&content)),
            ));
        }
        Ok(body(self.swarm.stream(&content, range)))
    }

    async fn list(&self, origin: &str, prefix: &str, token: Option<&str>) -> Result<OriginPage, ApiError> {
        meta::list(&self.swarm, origin, prefix, token).await
    }

    async fn cluster(&self) -> Result<Cluster, ApiError> {
        Ok(self.swarm.cluster().await)
    }

    async fn owners(&self, id: BlobId, chunk: Option<u32>) -> Result<Owners, ApiError> {
        let unknown = |error: Option<OpenError>| error.map_or_else(|| no_chunk(id, chunk.unwrap_or_default()), open_error);
        self.swarm.owners(id, chunk).await.map_err(unknown)
    }

    async fn drain(&self, away: bool) -> Result<(), ApiError> {
        self.begin_drain(away)
    }

    fn drained(&self) -> Drain {
        self.drain_state()
    }

    fn ready(&self) -> Result<String, String> {
        match self.started.load(Ordering::Acquire) {
            true => self.swarm.ready().map(|()| lacks(&self.swarm.missing(), &self.swarm.custody())),
            false => Err("this node is starting".to_owned()),
        }
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

#[async_trait]
impl PeerBackend for Api {
    async fn local_manifest(&self, id: BlobId) -> Result<(Arc<Manifest>, bool), ApiError> {
        self.swarm.local_manifest(id).map_err(serve_error)
    }

    async fn presence(&self, id: BlobId) -> Result<Presence, ApiError> {
        self.swarm.presence(id).map_err(serve_error)
    }

    async fn chunk(&self, asked: ChunkRequest, asker: Asker) -> Result<GivenChunk, ApiError> {
        self.swarm.give(asked, asker).await.map_err(serve_error)
    }

    fn load(&self) -> u64 {
        self.swarm.promised()
    }

    async fn delete_local(&self, id: BlobId) -> Result<(), ApiError> {
        self.swarm.remove_local(id).await.map_err(|error| serve_error(error.into()))
    }

    async fn upload_chunk(
        &self,
        upload: Uuid,
        chunk_size: u32,
        index: u32,
        digest: ChunkDigest,
        body: ByteStream,
    ) -> Result<(), ApiError> {
        self.swarm.upload_chunk(upload, chunk_size, index, digest, body).await.map_err(serve_error)
    }

    async fn commit_upload(&self, upload: Uuid, manifest: Manifest, replicas: Option<u8>) -> Result<Presence, ApiError> {
        self.swarm.commit_upload(upload, Arc::new(manifest), replicas).await.map_err(serve_error)
    }

    async fn abort_upload(&self, upload: Uuid) -> Result<(), ApiError> {
        self.swarm.abort_upload(upload).await;
        Ok(())
    }

    async fn names(&self, call: NamesCall) -> Result<NamesReply, ApiError> {
        names::answer(&self.swarm, call).await
    }

    async fn meta(&self, call: MetaCall) -> Result<MetaReply, ApiError> {
        meta::answer(&self.swarm, call).await
    }

    async fn repair(&self, from: String, call: RepairCall) -> Result<RepairReply, ApiError> {
        self.swarm.answer_repair(from, call).await.map_err(serve_error)
    }

    fn usage(&self) -> NodeUsage {
        self.swarm.node_usage()
    }
}

/// What is not as it should be though this node serves; empty where all is well.
fn lacks(missing: &[String], custody: &Custody) -> String {
    let gone = (!missing.is_empty()).then(|| format!("missing {}", missing.join(", ")));
    let due = custody.lacking_chunks;
    let lacking = (due > 0).then(|| format!("{due} chunks of {} bytes are still to come here", custody.lacking_bytes));
    [gone, lacking].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The stream as the router takes it: an error keeps its kind, which decides the status where nothing was sent yet.
fn body(pieces: impl Stream<Item = Result<bytes::Bytes, ReadError>> + Send + 'static) -> ByteStream {
    Box::pin(pieces.map(|piece| piece.map_err(|error| std::io::Error::other(read_error(error)))))
}

fn version(content: &Content) -> &str {
    match content.source() {
        Source::Object(object) => &object.version,
        Source::Blob(_) => "",
    }
}

fn no_chunk(id: BlobId, chunk: u32) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("blob {id} has no chunk {chunk}"))
}

fn open_error(error: OpenError) -> ApiError {
    let kind = match error {
        OpenError::NotFound { .. } | OpenError::NoOrigin { .. } => ErrorKind::NotFound,
        OpenError::InvalidKey { .. } => ErrorKind::BadRequest,
        OpenError::Denied { .. } => ErrorKind::Denied,
        OpenError::Unlisted { .. } => ErrorKind::Unlisted,
        OpenError::Unavailable { .. } => ErrorKind::Unavailable,
    };
    ApiError::new(kind, error.to_string())
}

fn read_error(error: ReadError) -> ApiError {
    let kind = match error {
        ReadError::Unavailable { .. } | ReadError::False { .. } => ErrorKind::BadGateway,
        ReadError::Changed { .. } => ErrorKind::Changed,
        ReadError::Denied { .. } => ErrorKind::Denied,
        ReadError::Overloaded { .. } => ErrorKind::Unavailable,
    };
    ApiError::new(kind, error.to_string())
}

fn put_error(error: PutError) -> ApiError {
    let kind = match error {
        PutError::Mismatch { .. } => ErrorKind::Mismatch,
        PutError::Body(_) | PutError::Shape(_) => ErrorKind::BadRequest,
        PutError::TooFewReplicas { .. } | PutError::NotReady | PutError::Overloaded { .. } => ErrorKind::Unavailable,
        PutError::Full { .. } => ErrorKind::Full,
        PutError::Interrupted | PutError::Record(_) => ErrorKind::Internal,
    };
    ApiError::new(kind, error.to_string())
}

fn remove_error(error: RemoveError) -> ApiError {
    let kind = match error {
        RemoveError::NotFound { .. } => ErrorKind::NotFound,
        RemoveError::Incomplete { .. } | RemoveError::Minority { .. } => ErrorKind::Unavailable,
        RemoveError::Record(_) => ErrorKind::Internal,
    };
    ApiError::new(kind, error.to_string())
}

fn serve_error(error: ServeError) -> ApiError {
    let kind = match error {
        ServeError::NotHere => ErrorKind::NotFound,
        ServeError::Rotten { .. } => ErrorKind::BadGateway,
        ServeError::Invalid(_) | ServeError::Body(_) => ErrorKind::BadRequest,
        ServeError::Overloaded { .. } => ErrorKind::Unavailable,
        ServeError::Deleted(_) => ErrorKind::Changed,
        ServeError::Record(_) => ErrorKind::Internal,
        // The peer itself may be given it.
        ServeError::Read(ReadError::Denied { .. }) => ErrorKind::BadGateway,
        ServeError::Read(error) => return read_error(error),
        ServeError::Write(ref error) => write_kind(error),
    };
    ApiError::new(kind, error.to_string())
}

fn write_kind(error: &WriteError) -> ErrorKind {
    match error {
        WriteError::Mismatch { .. } | WriteError::Conflict { .. } | WriteError::Shape { .. } | WriteError::ChunkSize { .. } => {
            ErrorKind::Mismatch
        }
        WriteError::Full { .. } => ErrorKind::Full,
        WriteError::Busy => ErrorKind::Unavailable,
        WriteError::Gone => ErrorKind::NotFound,
        WriteError::Io(_) => ErrorKind::Internal,
    }
}
