//! The router, and the server around it, over a node that lives in memory.
#![cfg(feature = "server")]

mod access;
mod audits;
mod authority;
mod clients;
mod doors;
mod drain;
mod fake;
mod floods;
mod frames;
mod jobs;
mod limits;
mod listing;
mod names;
mod peers;
mod reading;
mod requests;
mod routes;
mod sockets;
mod tls;
mod writing;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use herring_http_api::types::Problem;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use fake::Fake;

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body comes whole").to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The error that this is, which must be one in every respect.
    fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        assert!(!problem.detail.is_empty());
        problem
    }

    fn kind(&self) -> String {
        self.problem().kind.strip_prefix("urn:herring:problem:").expect("every type is one of ours").to_owned()
    }
}

/// Asks without a socket.
async fn ask(fake: &Fake, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let request =
        headers.iter().fold(Request::builder().method(method).uri(uri), |request, (name, value)| request.header(*name, *value));
    let response = fake.router().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    Answer::of(response).await
}

async fn get(fake: &Fake, uri: &str, headers: &[(&str, &str)]) -> Answer {
    ask(fake, "GET", uri, headers, Body::empty()).await
}
