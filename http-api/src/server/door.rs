//! Doors for programs that speak another dialect than ours, such as S3's or a hub's.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use super::ApiError;
use super::body::Outgoing;
use super::error::SOON;
use super::watched::Watched;
use crate::ByteStream;
use crate::access::Resource;

/// Whatever breaks a body.
pub type DoorError = Box<dyn Error + Send + Sync>;

/// A body on its way through a door.
pub type DoorBody = UnsyncBoxBody<Bytes, DoorError>;

/// A service under a path of the node's. It sees each request's path without that prefix, percent-encoded as it came, and the whole
/// URI as an extension of type [`Uri`].
pub struct Door {
    path: &'static str,
    service: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
    guide: Guide,
}

type Asks = Box<dyn Fn(&Method, &Uri) -> Option<Resource> + Send + Sync>;
type Refuses = Box<dyn Fn(StatusCode, &str) -> Response<Body> + Send + Sync>;

/// What a door knows of requests before they are let in.
pub(super) struct Guide {
    path: &'static str,
    asks: Asks,
    refuses: Option<Refuses>,
}

impl Guide {
    /// Whether this is one of the routes of its door.
    pub(super) fn is_at(&self, pattern: &str) -> bool {
        pattern.strip_prefix(self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What a request would read; `None` where it would not read.
    pub(super) fn asked(&self, method: &Method, uri: &Uri) -> Option<Resource> {
        (self.asks)(method, &below(self.path, uri))
    }

    /// The error as the door's own clients understand it.
    pub(super) fn refuse(&self, error: ApiError) -> Response<Body> {
        let Some(refuses) = &self.refuses else { return error.into_response() };
        let mut said = refuses(error.kind.status(), &error.detail);
        let plain = error.into_response();
        for name in [header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
            plain.headers().get_all(&name).iter().for_each(|value| {
                said.headers_mut().append(&name, value.clone());
            });
        }
        said
    }
}

impl Door {
    /// `path` begins with a slash, does not end with one, and holds no braces: `/s3`.
    pub fn new<S, B>(path: &'static str, service: S) -> Self
    where
        S: Service<Request<DoorBody>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<DoorError>,
    {
        let service = service.map_request(move |request| inward(path, request)).map_response(outward);
        // Where nothing is said, nobody but an admin may ask.
        let guide = Guide { path, asks: Box::new(|_, _| None), refuses: None };
        Self { path, service: BoxCloneSyncService::new(service), guide }
    }

    /// `asks`: what a request would read, by its method and the URI that the service sees; `None` where it would not read, which is for
    /// admins. What the service makes of a path, this must as well.
    #[must_use]
    pub fn asking(mut self, asks: impl Fn(&Method, &Uri) -> Option<Resource> + Send + Sync + 'static) -> Self {
        self.guide.asks = Box::new(asks);
        self
    }

    /// How a request is told that it is not let in: by 401, 403 or 429, and why.
    #[must_use]
    pub fn refusing<B>(mut self, refuses: impl Fn(StatusCode, &str) -> Response<B> + Send + Sync + 'static) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<DoorError>,
    {
        self.guide.refuses = Some(Box::new(move |status, why| outward(refuses(status, why))));
        self
    }

    /// Each request for the path itself or below it goes through.
    pub(super) fn hang(self, router: Router) -> (Router, Arc<Guide>) {
        let Self { path, service, guide } = self;
        let router = router.route_service(path, service.clone()).route_service(&format!("{path}/"), service.clone());
        (router.route_service(&format!("{path}/{{*path}}"), service), Arc::new(guide))
    }
}

/// The request as the service behind `path` sees it.
fn inward(path: &str, request: Request<Body>) -> Request<DoorBody> {
    let (mut head, body) = request.into_parts();
    let inner = below(path, &head.uri);
    let whole = std::mem::replace(&mut head.uri, inner);
    head.extensions.insert(whole);
    Request::from_parts(head, body.map_err(Into::into).boxed_unsync())
}

fn below(path: &str, uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = whole.strip_prefix(path).unwrap_or(whole);
    let rest = if rest.starts_with('/') { rest.try_into() } else { format!("/{rest}").try_into() };
    parts.path_and_query = Some(rest.expect("the end of a path is a path once a slash is before it"));
    Uri::from_parts(parts).expect("only the path is another")
}

/// The answer as it is, but as all answers here: a long body is given up when nobody reads it, and broken when it is not as long as was
/// said; and who is to come back hears when.
fn outward<B>(mut response: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<DoorError>,
{
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().entry(header::RETRY_AFTER).or_insert_with(|| SOON.as_secs().into());
    }
    response.map(|body| match body.size_hint().exact() {
        Some(0) => Body::new(body),
        Some(length) => Body::new(Outgoing::new(stream(body), length)),
        None => Body::from_stream(Watched::new(stream(body))),
    })
}

fn stream<B>(body: B) -> ByteStream
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<DoorError>,
{
    Box::pin(body.into_data_stream().map_err(io::Error::other))
}
