//! What a node says of itself to whoever runs it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::{ApiError, Backend, ErrorKind};

/// Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes() -> OpenApiRouter<Arc<dyn Backend>> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "node", responses((status = 200, description = "It does", body = String, content_type = "text/plain")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the node serves
///
/// It alone: what is missing elsewhere is said to who may read all, and no reason to send requests to another node.
#[utoipa::path(get, path = "/readyz", tag = "node", responses(
    (status = 200, description = "It does: `ready`, and behind a colon what is not as it should be", body = String, content_type = "text/plain"),
    (status = 503, description = "Not yet, or no more, as while it drains; the detail says what it waits for"),
))]
async fn readyz(State(backend): State<Arc<dyn Backend>>, caller: Caller) -> Result<String, ApiError> {
    let not_ready = |waits_for| ApiError::new(ErrorKind::Unavailable, waits_for);
    if !caller.may_look() {
        // Which nodes are missing is not for everybody.
        return backend.ready().map(|_| "ready\n".to_owned()).map_err(|_| not_ready("this node is not ready".to_owned()));
    }
    let missing = backend.ready().map_err(not_ready)?;
    Ok(if missing.is_empty() { "ready\n".to_owned() } else { format!("ready: {missing}\n") })
}

/// Figures for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "node", responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")))]
async fn metrics(State(backend): State<Arc<dyn Backend>>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS)], backend.metrics()).into_response()
}
