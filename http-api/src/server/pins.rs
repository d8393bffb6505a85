//! `/v1/pins`.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deadline::{REPLY, within};
use super::extract::{Path, Query};
use super::names::check;
use super::{ApiError, ErrorKind, JobsBackend};
use crate::name::check_name;
use crate::ttl::{Ttl, TtlError};
use crate::types::{PinInfo, PinList};

type Pins = State<Arc<dyn JobsBackend>>;

pub(super) fn routes() -> OpenApiRouter<Arc<dyn JobsBackend>> {
    OpenApiRouter::new().routes(routes!(list_pins)).routes(routes!(put_pin, delete_pin))
}

#[derive(Debug, Deserialize)]
struct PinQuery {
    ttl: Option<String>,
}

/// Keep a blob or a tree on this node's disk for a while
///
/// What is not there yet is brought in the background, again and again until it is all there. Asked again, the lease ends then instead.
#[utoipa::path(
    put, path = "/v1/pins/{*target}", tag = "pins",
    params(
        ("target" = String, Path, description = "An id, or a name: what it points at now"),
        ("ttl" = Option<String>, Query, description = "How long: `7d`, `36h`, `90m`, or seconds; a week where it is not said"),
    ),
    responses(
        (status = 200, description = "It is kept until then", body = PinInfo),
        (status = 400, description = "The target or the time is malformed, or there is a body"),
        (status = 404, description = "No such blob, or the name points at nothing"),
        (status = 503, description = "Too few nodes answer: try again"),
        (status = 507, description = "It cannot stay here beside what is pinned already; says how many bytes it needs, and how many pins may take"),
    ),
)]
async fn put_pin(
    State(jobs): Pins,
    Path(target): Path<String>,
    Query(PinQuery { ttl }): Query<PinQuery>,
    body: Body,
) -> Result<Json<PinInfo>, ApiError> {
    check(check_name(&target), &target)?;
    if !body.is_end_stream() {
        return Err(ApiError::new(
            ErrorKind::BadRequest,
            "a pin takes no body: how long it lasts is said with ?ttl=, as in ?ttl=36h",
        ));
    }
    let ttl = ttl.map_or(Ok(Ttl::default()), |ttl| ttl.parse());
    let Ttl(ttl) = ttl.map_err(|error: TtlError| ApiError::new(ErrorKind::BadRequest, error.to_string()))?;
    within(REPLY, jobs.pin(&target, ttl)).await.map(Json)
}

/// End a lease
#[utoipa::path(
    delete, path = "/v1/pins/{*target}", tag = "pins",
    params(("target" = String, Path, description = "As it was pinned")),
    responses(
        (status = 204, description = "It is not pinned any more"),
        (status = 400, description = "The target is malformed"),
        (status = 404, description = "It is not pinned here"),
    ),
)]
async fn delete_pin(State(jobs): Pins, Path(target): Path<String>) -> Result<StatusCode, ApiError> {
    check(check_name(&target), &target)?;
    within(REPLY, jobs.unpin(&target)).await.map(|()| StatusCode::NO_CONTENT)
}

/// What this node keeps, until when, and how much of it is there
#[utoipa::path(get, path = "/v1/pins", tag = "pins", responses((status = 200, description = "The leases", body = PinList)))]
async fn list_pins(State(jobs): Pins) -> Result<Json<PinList>, ApiError> {
    within(REPLY, jobs.pins()).await.map(|pins| Json(PinList { pins }))
}
