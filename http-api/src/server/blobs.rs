//! `/v1/blobs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use herring_blob::{BlobId, Manifest};
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deadline::{REPLY, SETTLE, within};
use super::docs::ManifestSchema;
use super::etag::ETag;
use super::extract::{Path, Query};
use super::representation::Representation;
use super::upload::Upload;
use super::{ApiError, Backend, ErrorKind, PutOutcome};
use crate::types::{Explain, PutWish, PutWishText, Stored};

/// A blob's bytes are its name, so a copy is good for ever.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

pub(super) fn routes() -> OpenApiRouter<Arc<dyn Backend>> {
    OpenApiRouter::new()
        .routes(routes!(post_blob))
        .routes(routes!(get_blob, put_blob, delete_blob))
        .routes(routes!(get_manifest))
        .routes(routes!(explain_blob))
}

/// Read a blob
///
/// The whole, or one range of it. Every chunk is verified before a byte of it is sent; a body that cannot be completed
/// breaks the connection.
#[utoipa::path(
    method(get, head), path = "/v1/blobs/{id}", tag = "blobs",
    params(
        ("id" = String, Path, description = "SHA-256 of the blob, 64 hexadecimal digits; `sha256:` in front is accepted"),
        ("Range" = Option<String>, Header, description = "One range of bytes, such as `bytes=0-99` or `bytes=-100`; several are answered with the whole"),
        ("If-Range" = Option<String>, Header, description = "Heed `Range` only if this is the blob's ETag"),
        ("If-Match" = Option<String>, Header, description = "ETags, or `*`: else 412"),
        ("If-None-Match" = Option<String>, Header, description = "ETags, or `*`: answered with 304 if one is the blob's"),
    ),
    responses(
        (status = 200, description = "The whole blob", content_type = "application/octet-stream", body = Vec<u8>,
            headers(("ETag" = String, description = "`\"sha256:<id>\"`"), ("Accept-Ranges" = String), ("Cache-Control" = String))),
        (status = 206, description = "The range that was asked for", content_type = "application/octet-stream", body = Vec<u8>,
            headers(("ETag" = String), ("Content-Range" = String))),
        (status = 304, description = "The client has it already"),
        (status = 400, description = "The id is malformed"),
        (status = 404, description = "No node has this blob"),
        (status = 412, description = "`If-Match` names something else"),
        (status = 416, description = "The range lies past the end", headers(("Content-Range" = String, description = "`bytes */<size>`"))),
        (status = 502, description = "No node that was asked gave it"),
        (status = 503, description = "Too busy, or a node that may have it is missing since less than an hour: try again"),
    ),
)]
async fn get_blob(
    State(backend): State<Arc<dyn Backend>>,
    Path(id): Path<BlobId>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let size = within(REPLY, backend.blob(id)).await?.size;
    let etag = ETag::of_version(&format!("sha256:{id}"));
    let blob = Representation { size, etag, modified: None, cache_control: IMMUTABLE };
    blob.answer(&method, &headers, |range| async move { backend.read_blob(id, range).await }).await
}

/// Put a blob whose id is known
///
/// Answered once enough replicas are on disk. Safe to repeat.
#[utoipa::path(
    put, path = "/v1/blobs/{id}", tag = "blobs",
    params(
        ("id" = String, Path, description = "SHA-256 of the body, 64 hexadecimal digits"),
        PutWish,
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The blob, of any size"),
    responses(
        (status = 200, description = "It was there already", body = Stored),
        (status = 201, description = "It is new", body = Stored),
        (status = 400, description = "The id is malformed, more are to confirm than keep it, or the body broke off"),
        (status = 408, description = "The body stopped coming"),
        (status = 422, description = "The body hashes to something else; nothing was kept"),
        (status = 503, description = "Too busy, or too few nodes: try again"),
        (status = 507, description = "No room on disk"),
    ),
)]
async fn put_blob(
    State(backend): State<Arc<dyn Backend>>,
    id: Result<Path<BlobId>, ApiError>,
    wish: Result<Query<PutWishText>, ApiError>,
    upload: Upload,
) -> Result<Response, ApiError> {
    let put = take(&*backend, id.map(|Path(id)| Some(id)), wish, upload).await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(put.stored)).into_response())
}

/// Put a blob
///
/// Its id is computed while it streams in, and answered once enough replicas are on disk. Safe to repeat.
#[utoipa::path(
    post, path = "/v1/blobs", tag = "blobs",
    params(PutWish),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The blob, of any size"),
    responses(
        (status = 201, description = "It is stored", body = Stored, headers(("Location" = String, description = "`/v1/blobs/<id>`"))),
        (status = 400, description = "More are to confirm than keep it, or the body broke off"),
        (status = 408, description = "The body stopped coming"),
        (status = 503, description = "Too busy, or too few nodes: try again"),
        (status = 507, description = "No room on disk"),
    ),
)]
async fn post_blob(
    State(backend): State<Arc<dyn Backend>>,
    wish: Result<Query<PutWishText>, ApiError>,
    upload: Upload,
) -> Result<Response, ApiError> {
    let stored = take(&*backend, Ok(None), wish, upload).await?.stored;
    let location = [(header::LOCATION, format!("/v1/blobs/{}", stored.id))];
    Ok((StatusCode::CREATED, location, Json(stored)).into_response())
}

/// What cannot be, or not as it is wished, is refused where the rest of a body is read away: who sends first and listens then hears why.
async fn take(
    backend: &dyn Backend,
    expected: Result<Option<BlobId>, ApiError>,
    wish: Result<Query<PutWishText>, ApiError>,
    upload: Upload,
) -> Result<PutOutcome, ApiError> {
    let put = |body| async {
        let (expected, Query(wish)) = (expected?, wish?);
        let wish = wish.parse().map_err(|error| ApiError::new(ErrorKind::BadRequest, error.to_string()))?;
        backend.put_blob(expected, wish, body).await
    };
    upload.feed(u64::MAX, SETTLE, put).await
}

/// Delete a blob from the swarm
///
/// Answered once most of its owners have written down that it is deleted, and everybody else who can hear it was told. Safe to repeat.
#[utoipa::path(
    delete, path = "/v1/blobs/{id}", tag = "blobs",
    params(("id" = String, Path, description = "SHA-256 of the blob, 64 hexadecimal digits")),
    responses(
        (status = 204, description = "It is gone, or was before"),
        (status = 400, description = "The id is malformed"),
        (status = 404, description = "No node has this blob, and none knows that it was deleted"),
        (status = 503, description = "Too few of its owners could be told, or too few nodes are here: try again"),
    ),
)]
async fn delete_blob(State(backend): State<Arc<dyn Backend>>, Path(id): Path<BlobId>) -> Result<StatusCode, ApiError> {
    within(REPLY, backend.delete_blob(id)).await.map(|()| StatusCode::NO_CONTENT)
}

/// The digests of a blob's chunks
#[utoipa::path(
    get, path = "/v1/blobs/{id}/manifest", tag = "blobs",
    params(("id" = String, Path, description = "SHA-256 of the blob, 64 hexadecimal digits")),
    responses(
        (status = 200, description = "The manifest", body = ManifestSchema),
        (status = 400, description = "The id is malformed"),
        (status = 404, description = "No node has this blob"),
        (status = 502, description = "No node that was asked gave it"),
    ),
)]
async fn get_manifest(State(backend): State<Arc<dyn Backend>>, Path(id): Path<BlobId>) -> Result<Json<Manifest>, ApiError> {
    within(REPLY, backend.manifest(id)).await.map(|manifest| Json(Arc::unwrap_or_clone(manifest)))
}

/// A question about one chunk, or about all.
#[derive(Debug, Deserialize)]
pub(super) struct ChunkQuery {
    pub chunk: Option<u32>,
}

/// Where a blob's chunks are and should be
#[utoipa::path(
    get, path = "/v1/blobs/{id}/explain", tag = "blobs",
    params(
        ("id" = String, Path, description = "SHA-256 of the blob, 64 hexadecimal digits"),
        ("chunk" = Option<u32>, Query, description = "Only this chunk"),
    ),
    responses(
        (status = 200, description = "Per chunk: owners, known holders, state, what a departure would move", body = Explain),
        (status = 400, description = "The id or the chunk is malformed"),
        (status = 404, description = "No node has this blob, or it has no such chunk"),
        (status = 502, description = "No node that was asked gave its manifest"),
    ),
)]
async fn explain_blob(
    State(backend): State<Arc<dyn Backend>>,
    Path(id): Path<BlobId>,
    Query(ChunkQuery { chunk }): Query<ChunkQuery>,
) -> Result<Json<Explain>, ApiError> {
    within(REPLY, backend.explain(id, chunk)).await.map(Json)
}
