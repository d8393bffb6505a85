//! `/v1/cluster` and `/v1/ring`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use herring_blob::BlobId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blobs::ChunkQuery;
use super::deadline::{REPLY, within};
use super::extract::{Path, Query};
use super::{ApiError, Backend};
use crate::types::{Cluster, Owners};

pub(super) fn routes() -> OpenApiRouter<Arc<dyn Backend>> {
    OpenApiRouter::new().routes(routes!(get_cluster)).routes(routes!(get_owners))
}

/// The nodes, as this one sees them
#[utoipa::path(
    get, path = "/v1/cluster", tag = "cluster",
    responses((status = 200, description = "Members, and the epoch of the ring that they make", body = Cluster)),
)]
async fn get_cluster(State(backend): State<Arc<dyn Backend>>) -> Result<Json<Cluster>, ApiError> {
    within(REPLY, backend.cluster()).await.map(Json)
}

/// Who owns a blob's manifest or chunk
///
/// Computed from the ring alone: the blob need not exist.
#[utoipa::path(
    get, path = "/v1/ring/owners/{id}", tag = "cluster",
    params(
        ("id" = String, Path, description = "SHA-256 of the blob, 64 hexadecimal digits"),
        ("chunk" = Option<u32>, Query, description = "The owners of this chunk, rather than of the manifest"),
    ),
    responses(
        (status = 200, description = "First owner first", body = Owners),
        (status = 400, description = "The id or the chunk is malformed"),
    ),
)]
async fn get_owners(
    State(backend): State<Arc<dyn Backend>>,
    Path(id): Path<BlobId>,
    Query(ChunkQuery { chunk }): Query<ChunkQuery>,
) -> Result<Json<Owners>, ApiError> {
    within(REPLY, backend.owners(id, chunk)).await.map(Json)
}
