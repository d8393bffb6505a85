//! `/peer/v1`: what nodes ask of each other. The table is in [`crate::peer`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use herring_blob::{BlobId, Chunk, ChunkDigest, MAX_CHUNK_SIZE, ObjectRef};
use http::header::{CONTENT_LENGTH, HeaderName};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;
use uuid::Uuid;

use super::body::Outgoing;
use super::deadline::{COMMIT, of_peer, within};
use super::extract::{Path, Query};
use super::turned::turned;
use super::upload::{PEERS, Upload};
use super::watched::Watched;
use super::{ApiError, ErrorKind, PeerBackend, observe, protocol};
use crate::arriving::{Arriving, GivenChunk};
use crate::peer::{
    ARRIVING, Asker, BACKGROUND, ChunkOf, ChunkRequest, DIGEST, FROM, HOLDERS, HOP, LOAD, MetaCall, MetaReply, NamesCall,
    NamesReply, PIECES, PROVEN, Urge,
};
use crate::repair::{RepairCall, RepairReply};
use crate::types::{NodeUsage, Presence};

/// Bytes of a manifest as JSON: 67 a chunk, so a million chunks, 4 TiB in chunks of 4 MiB.
const MAX_MANIFEST: u64 = 64 << 20;

/// When a peer may ask a busy node again.
const BUSY: Duration = Duration::from_secs(1);

/// Bytes of what a peer may say in JSON: 500 names with what they point at are some 400 KiB.
const MAX_CALL: u64 = 4 << 20;

type Peers = State<Arc<dyn PeerBackend>>;

pub(super) fn routes(peers: Arc<dyn PeerBackend>) -> Router {
    Router::new()
        .route("/blobs/{id}", delete(delete_local))
        .route("/blobs/{id}/manifest", get(local_manifest))
        .route("/blobs/{id}/chunks/{index}", get(blob_chunk))
        .route("/blobs/{id}/presence", get(presence))
        .route("/objects/chunks/{index}", get(object_chunk))
        .route("/uploads/{upload}", delete(abort_upload))
        .route("/uploads/{upload}/chunks/{index}", put(upload_chunk))
        .route("/uploads/{upload}/commit", post(commit_upload))
        .route("/names", post(names))
        .route("/meta", post(meta))
        .route("/repair", post(repair))
        .route("/usage", get(usage))
        .route_layer(from_fn(protocol::understood))
        .route_layer(from_fn(from_a_peer))
        .with_state(peers)
}

/// Every peer says that it asks for itself; a request that was passed on is a loop in the making.
async fn from_a_peer(request: Request, next: Next) -> Response {
    match request.headers().get(HOP).map(|hop| hop.as_bytes()) {
        Some(b"1") => next.run(request).await,
        Some(_) => bad_request(format!("{HOP} must be 1: an asked node never asks on")).into_response(),
        None => bad_request(format!("this is for nodes, which say {HOP}: 1; people's API is described at /docs")).into_response(),
    }
}

async fn local_manifest(State(peers): Peers, Path(id): Path<BlobId>, headers: HeaderMap) -> Result<Response, ApiError> {
    let (manifest, proven) = within(of_peer(&headers), peers.local_manifest(id)).await?;
    let head = [(PROVEN, if proven { "1" } else { "0" })];
    Ok((head, Json(&*manifest)).into_response())
}

#[derive(Debug, Deserialize)]
struct ChunkQuery {
    #[serde(default)]
    first: u32,
    #[serde(default)]
    urge: Urge,
}

async fn blob_chunk(
    State(peers): Peers,
    Path((id, index)): Path<(BlobId, u32)>,
    Query(ChunkQuery { first, urge }): Query<ChunkQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    give(&peers, ChunkRequest { of: ChunkOf::Blob(id), index, first, urge }, &headers).await
}

async fn presence(State(peers): Peers, Path(id): Path<BlobId>, headers: HeaderMap) -> Result<Json<Presence>, ApiError> {
    within(of_peer(&headers), peers.presence(id)).await.map(Json)
}

async fn delete_local(State(peers): Peers, Path(id): Path<BlobId>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    within(of_peer(&headers), peers.delete_local(id)).await.map(|()| StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct ObjectQuery {
    origin: String,
    #[serde(default)]
    identity: String,
    key: String,
    version: String,
    size: u64,
    chunk_size: u32,
    #[serde(default)]
    first: u32,
    #[serde(default = "one")]
    wanted: u32,
    #[serde(default)]
    urge: Urge,
}

fn one() -> u32 {
    1
}

async fn object_chunk(
    State(peers): Peers,
    Path(index): Path<u32>,
    Query(ObjectQuery { origin, identity, key, version, size, chunk_size, first, wanted, urge }): Query<ObjectQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_chunk_size(chunk_size)?;
    let object = ObjectRef { origin, key, version, size };
    give(&peers, ChunkRequest { of: ChunkOf::Object { object, identity, chunk_size, wanted }, index, first, urge }, &headers)
        .await
}

async fn give(peers: &Arc<dyn PeerBackend>, asked: ChunkRequest, headers: &HeaderMap) -> Result<Response, ApiError> {
    let first = asked.first;
    let given = match within(of_peer(headers), peers.chunk(asked, asker(headers))).await? {
        GivenChunk::Whole(chunk) => from_piece(&chunk, first),
        GivenChunk::Arriving(frames) => arriving(frames),
        GivenChunk::Busy { holders } => busy(&holders),
    };
    Ok(([(HeaderName::from_static(LOAD), peers.load().to_string())], given).into_response())
}

fn asker(headers: &HeaderMap) -> Asker {
    let from = headers.get(FROM).and_then(|from| from.to_str().ok()).unwrap_or_default().to_owned();
    Asker { from, background: headers.contains_key(BACKGROUND) }
}

fn busy(holders: &[String]) -> Response {
    let detail = match holders {
        [] => "this node has more to send than it can just now".to_owned(),
        holders => format!("this node has more to send than it can just now; ask {}", holders.join(" or ")),
    };
    let error = ApiError::new(ErrorKind::Unavailable, detail).retry_after(BUSY);
    ([(HeaderName::from_static(HOLDERS), holders.join(","))], error).into_response()
}

/// How often a peer hears that this node is alive while nothing comes for it: four times within the second after which it gives up.
const ALIVE: Duration = Duration::from_millis(250);

fn arriving(frames: BoxStream<'static, Arriving>) -> Response {
    let alive = |frames: BoxStream<'static, Arriving>| async {
        let mut frames = frames;
        let frame = timeout(ALIVE, frames.next()).await.unwrap_or(Some(Arriving::Waiting))?;
        let parts = frame.encode();
        observe::sent(parts.iter().map(|part| part.len() as u64).sum());
        Some((stream::iter(parts.into_iter().map(Ok)), frames))
    };
    let bytes = Watched::new(Box::pin(stream::unfold(frames, alive).flatten()));
    ([(HeaderName::from_static(ARRIVING), "1")], Body::from_stream(bytes)).into_response()
}

#[derive(Debug, Deserialize)]
struct UploadQuery {
    chunk_size: u32,
}

async fn upload_chunk(
    State(peers): Peers,
    Path((upload, index)): Path<(Uuid, u32)>,
    Query(UploadQuery { chunk_size }): Query<UploadQuery>,
    headers: HeaderMap,
    body: Upload,
) -> Result<StatusCode, ApiError> {
    check_chunk_size(chunk_size)?;
    let digest = digest(&headers)?;
    let take = |bytes| peers.upload_chunk(upload, chunk_size, index, digest, bytes);
    body.feed(u64::from(chunk_size), of_peer(&headers), take).await.map(|()| StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct CommitQuery {
    replicas: Option<u8>,
}

async fn commit_upload(
    State(peers): Peers,
    Path(upload): Path<Uuid>,
    Query(CommitQuery { replicas }): Query<CommitQuery>,
    body: Upload,
) -> Result<Json<Presence>, ApiError> {
    let commit = |bytes| async {
        let (manifest, _room) = PEERS.read_json(bytes).await?;
        peers.commit_upload(upload, manifest, replicas).await
    };
    body.feed(MAX_MANIFEST, COMMIT, commit).await.map(Json)
}

async fn abort_upload(State(peers): Peers, Path(upload): Path<Uuid>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    within(of_peer(&headers), peers.abort_upload(upload)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn names(State(peers): Peers, headers: HeaderMap, body: Upload) -> Result<Json<NamesReply>, ApiError> {
    let call: NamesCall = body.json(MAX_CALL, &PEERS).await?;
    within(of_peer(&headers), peers.names(call)).await.map(Json)
}

async fn meta(State(peers): Peers, headers: HeaderMap, body: Upload) -> Result<Json<MetaReply>, ApiError> {
    let call: MetaCall = body.json(MAX_CALL, &PEERS).await?;
    within(of_peer(&headers), peers.meta(call)).await.map(Json)
}

async fn repair(State(peers): Peers, headers: HeaderMap, body: Upload) -> Result<Json<RepairReply>, ApiError> {
    let call: RepairCall = body.json(MAX_CALL, &PEERS).await?;
    within(of_peer(&headers), peers.repair(asker(&headers).from, call)).await.map(Json)
}

async fn usage(State(peers): Peers) -> Json<NodeUsage> {
    Json(peers.usage())
}

/// The chunk, its first piece first.
fn from_piece(chunk: &Chunk, first: u32) -> Response {
    let (digests, length) = (chunk.digests(), chunk.len());
    let headers = [
        (HeaderName::from_static(DIGEST), digests.digest().to_string()),
        (HeaderName::from_static(PIECES), digests.to_hex()),
        (CONTENT_LENGTH, length.to_string()),
    ];
    let bytes = stream::iter(turned(chunk, first).into_iter().map(Ok));
    (headers, Body::new(Outgoing::new(Box::pin(bytes), length.into()))).into_response()
}

fn check_chunk_size(chunk_size: u32) -> Result<(), ApiError> {
    if (1..=MAX_CHUNK_SIZE).contains(&chunk_size) {
        return Ok(());
    }
    Err(bad_request(format!("chunk_size must be from 1 to {MAX_CHUNK_SIZE}, not {chunk_size}")))
}

fn digest(headers: &HeaderMap) -> Result<ChunkDigest, ApiError> {
    let digest = headers.get(DIGEST).and_then(|value| value.to_str().ok()?.parse().ok());
    digest.ok_or_else(|| bad_request(format!("{DIGEST} must be the chunk's BLAKE3, 64 hexadecimal digits")))
}

fn bad_request(detail: String) -> ApiError {
    ApiError::new(ErrorKind::BadRequest, detail)
}
