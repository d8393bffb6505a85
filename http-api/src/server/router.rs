use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use http::{Method, Uri};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use super::{ApiError, Backend, ErrorKind, PeerBackend, blobs, cluster, docs, node, observe, origins, peers};

/// Every route of a node: the public API, its description, and the peers' side.
pub fn router(backend: Arc<dyn Backend>, peers: Arc<dyn PeerBackend>) -> Router {
    let (public, api) = OpenApiRouter::with_openapi(docs::empty())
        .merge(blobs::routes())
        .merge(origins::routes())
        .merge(cluster::routes())
        .merge(node::routes())
        .with_state(backend)
        .split_for_parts();
    public
        .merge(docs::routes(docs::complete(api)))
        .nest("/peer/v1", peers::routes(peers))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(observe::observe))
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("there is nothing at {}; /docs lists what there is", uri.path()))
}

/// axum adds `Allow`.
async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, format!("{} cannot be asked with {method}; see Allow", uri.path()))
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let why = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(why, "a request made this node panic");
    ApiError::new(ErrorKind::Internal, "this node met a bug while it answered; its log says where").into_response()
}
