//! `/v1/drain`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deadline::{REPLY, within};
use super::{ApiError, Backend};
use crate::types::Drain;

pub(super) fn routes() -> OpenApiRouter<Arc<dyn Backend>> {
    OpenApiRouter::new().routes(routes!(post_drain, get_drain, delete_drain))
}

/// Give away what this node keeps
///
/// The others become owners of it in its place, and it goes on serving reads until they have it all: then it may be stopped. It is not ready meanwhile.
/// A node that is started anew takes part again.
#[utoipa::path(
    post, path = "/v1/drain", tag = "node",
    responses(
        (status = 202, description = "It has begun, or had", body = Drain),
        (status = 503, description = "There is no other node that could take it"),
    ),
)]
async fn post_drain(State(backend): State<Arc<dyn Backend>>) -> Result<(StatusCode, Json<Drain>), ApiError> {
    within(REPLY, backend.drain(true)).await?;
    Ok((StatusCode::ACCEPTED, Json(backend.drained())))
}

/// How far the node is with that
#[utoipa::path(get, path = "/v1/drain", tag = "node", responses((status = 200, description = "What is left", body = Drain)))]
async fn get_drain(State(backend): State<Arc<dyn Backend>>) -> Json<Drain> {
    Json(backend.drained())
}

/// Let the node take part again
///
/// What it gave away comes back to it in time.
#[utoipa::path(delete, path = "/v1/drain", tag = "node", responses((status = 204, description = "It does, or did")))]
async fn delete_drain(State(backend): State<Arc<dyn Backend>>) -> Result<StatusCode, ApiError> {
    within(REPLY, backend.drain(false)).await.map(|()| StatusCode::NO_CONTENT)
}
