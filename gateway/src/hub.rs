//! The dialect of a Hugging Face hub, for downloads: what `huggingface_hub` asks of `HF_ENDPOINT`.

mod answer;
mod refusal;
mod repository;
mod route;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use herring_swarm::Swarm;
use http::{Request, Response};

use crate::Body;
use refusal::Refusal;
use repository::Hub;
use route::Route;

/// Answers a hub's requests for repositories, their trees and their files: `/api/models/…`, `/api/datasets/…` and
/// `/ORG/NAME/resolve/REVISION/PATH`.
#[derive(Clone)]
pub struct HubDoor(Option<Arc<Hub>>);

impl HubDoor {
    /// `origin` names the origin that is a whole hub (`hf://`); where there is none, every request is told how to get one.
    pub fn new(swarm: Swarm, origin: Option<String>) -> Self {
        Self(origin.map(|origin| Arc::new(Hub { swarm, origin })))
    }
}

impl<B> tower::Service<Request<B>> for HubDoor {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// No request to read has a body.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (hub, request) = (self.0.clone(), request.map(|_| ()));
        Box::pin(async move { Ok(answer(hub.as_deref(), &request).await.unwrap_or_else(Refusal::answer)) })
    }
}

async fn answer(hub: Option<&Hub>, request: &Request<()>) -> Result<Response<Body>, Refusal> {
    let hub = hub.ok_or_else(Refusal::no_hub)?;
    match Route::of(request.method(), request.uri())? {
        Route::Info { repository, revision, query } => hub.info(&repository, revision.as_deref(), &query).await,
        Route::Tree { repository, revision, path, query } => hub.tree(&repository, &revision, &path, &query).await,
        Route::File { repository, revision, path } => hub.file(&repository, &revision, &path, request).await,
    }
}
