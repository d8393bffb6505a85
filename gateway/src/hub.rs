//! The dialect of a Hugging Face hub, for downloads: what `huggingface_hub` asks of `HF_ENDPOINT`.

mod answer;
mod refusal;
mod repository;
mod route;
mod tree;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use herring_swarm::Swarm;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;
use url::form_urlencoded;

use crate::{Asked, Body, BodyError};
use refusal::Refusal;
use repository::Hub;
use route::{Route, encode};

/// Bytes of a form: a thousand paths.
const MAX_FORM: usize = 1 << 20;

/// How long one may take to come.
const FORM_DEADLINE: Duration = Duration::from_secs(10);

/// Answers a hub's requests for repositories, their trees and their files: `/api/models/…`, `/api/datasets/…` and
/// `/ORG/NAME/resolve/REVISION/PATH`.
#[derive(Clone)]
pub struct HubDoor(Option<Arc<Hub>>);

impl HubDoor {
    /// `origin` names the origin that is a whole hub (`hf://`); where there is none, every request is told how to get one.
    pub fn new(swarm: Swarm, origin: Option<String>) -> Self {
        Self(origin.map(|origin| Arc::new(Hub { swarm, origin })))
    }

    /// What a request would read; `None` where it would not.
    pub fn asked(&self, method: &Method, uri: &Uri) -> Option<Asked> {
        match (Route::of(method, uri), &self.0) {
            (Ok(route), Some(hub)) => Some(route.asked(&hub.origin)),
            (Ok(_), None) => Some(Asked::All),
            // It is told that there is nothing.
            (Err(_), _) => matches!(*method, Method::GET | Method::HEAD).then_some(Asked::All),
        }
    }

    /// The answer to who is not let in.
    pub fn refusal(status: StatusCode, why: &str) -> Response<Body> {
        Refusal::not_let_in(status, why).answer()
    }
}

impl<B> tower::Service<Request<B>> for HubDoor
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let hub = self.0.clone();
        Box::pin(async move { Ok(answer(hub.as_deref(), request).await.unwrap_or_else(Refusal::answer)) })
    }
}

async fn answer<B>(hub: Option<&Hub>, request: Request<B>) -> Result<Response<Body>, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let hub = hub.ok_or_else(Refusal::no_hub)?;
    let (about, body) = request.into_parts();
    match Route::of(&about.method, &about.uri)? {
        Route::Info { repository, revision, query } => hub.info(&repository, revision.as_deref(), &query).await,
        Route::Refs { repository, query } => hub.told(&repository, &format!("/refs{query}")).await,
        Route::Commits { repository, revision, query } => {
            hub.told(&repository, &format!("/commits/{}{query}", encode(&revision))).await
        }
        Route::Tree { repository, revision, path, query } => hub.tree(&repository, &revision, &path, &query).await,
        Route::Paths { repository, revision } => hub.paths(&repository, &revision, form(body).await?).await,
        Route::File { repository, revision, path } => hub.file(&repository, &revision, &path, &about).await,
    }
}

/// The fields of a form, in their order.
async fn form<B>(body: B) -> Result<Vec<(String, String)>, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    let whole = timeout(FORM_DEADLINE, Limited::new(body, MAX_FORM).collect()).await;
    let whole = whole.map_err(Refusal::form)?.map_err(Refusal::form)?.to_bytes();
    Ok(form_urlencoded::parse(&whole).into_owned().collect())
}
