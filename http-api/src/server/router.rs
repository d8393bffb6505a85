use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{Method, Uri};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use super::admission::{Admission, Limits, admit};
use super::auth::{Guard, guard};
use super::deadline::honour;
use super::{
    ApiError, Backend, Door, ErrorKind, JobsBackend, NamesBackend, PeerBackend, blobs, cluster, docs, drain, jobs, names, node,
    observe, origins, peers, pins,
};
use crate::access::Tokens;

/// The node behind the routes.
pub struct Backends {
    pub public: Arc<dyn Backend>,
    pub names: Arc<dyn NamesBackend>,
    pub jobs: Arc<dyn JobsBackend>,
    pub peers: Arc<dyn PeerBackend>,
    pub doors: Vec<Door>,
    /// Who may ask what. `None`: everybody, everything.
    pub tokens: Option<watch::Receiver<Arc<Tokens>>>,
}

impl Backends {
    /// One that is all of them, without doors, for everybody.
    pub fn of<T: Backend + NamesBackend + JobsBackend + PeerBackend>(node: Arc<T>) -> Self {
        Self { public: node.clone(), names: node.clone(), jobs: node.clone(), peers: node, doors: Vec::new(), tokens: None }
    }
}

/// Every route of a node: the public API, its description, the doors, and the peers' side. Answers that would never end do so with
/// `closing`.
pub fn router(backends: Backends, limits: Limits, closing: CancellationToken) -> Router {
    let admission = from_fn_with_state(Admission::new(limits), admit);
    let (public, api) = OpenApiRouter::with_openapi(docs::empty())
        .merge(blobs::routes())
        .merge(origins::routes())
        .with_state(backends.public.clone())
        .merge(names::routes().with_state(backends.names))
        .route_layer(admission.clone())
        .merge(cluster::routes().merge(drain::routes()).merge(node::routes()).with_state(backends.public))
        .merge(jobs::routes().with_state(jobs::Jobs::new(backends.jobs.clone(), closing)))
        .merge(pins::routes().with_state(backends.jobs))
        .split_for_parts();
    let (doors, guides): (Vec<_>, _) = backends.doors.into_iter().map(|door| door.hang(Router::new())).unzip();
    let keeper = from_fn_with_state(Arc::new(Guard::new(backends.tokens, guides)), guard);
    let doors = doors.into_iter().map(|door| door.route_layer(admission.clone()));
    doors
        .fold(public, Router::merge)
        .route_layer(from_fn(honour))
        .merge(docs::routes(docs::complete(api)))
        .nest("/peer/v1", peers::routes(backends.peers))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        // Before whatever is above: nothing is looked up for who may not ask.
        .layer(keeper)
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
