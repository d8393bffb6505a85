//! What a node does when too much is asked of it, or in too little time.

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::{join, join_all};
use herring_blob::BlobId;
use herring_http_api::server::Limits;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::fake::Fake;
use crate::{Answer, ask, get};

const DEADLINE: &str = "herring-deadline-ms";

/// A node that takes two reads and one write at once, and a blob.
fn busy() -> (Fake, Router, String) {
    let (fake, id) = Fake::with("bytes");
    *fake.limits.lock().unwrap() = Limits { reads: 2, writes: 1 };
    let router = fake.router();
    (fake, router, format!("/v1/blobs/{id}"))
}

/// The answer, of which nothing is read yet.
async fn ask_of(router: &Router, method: &str, uri: &str, body: impl Into<Body>) -> axum::response::Response {
    let request = Request::builder().method(method).uri(uri).body(body.into()).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn past_its_limit_a_node_says_so_at_once_and_is_there_again_after() {
    let (_fake, router, blob) = busy();
    let first = ask_of(&router, "GET", &blob, "").await;
    let second = ask_of(&router, "GET", &blob, "").await;
    let refused = Answer::of(ask_of(&router, "GET", &blob, "").await).await;
    assert_eq!((refused.status.as_u16(), refused.kind().as_str()), (503, "unavailable"));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(ask_of(&router, "GET", "/v1/names?prefix=", "").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    for always in ["/healthz", "/readyz", "/metrics", "/v1/cluster", "/v1/jobs", "/openapi.json"] {
        assert_eq!(ask_of(&router, "GET", always, "").await.status(), StatusCode::OK, "{always}");
    }
    // Who was let in has all of it, and makes room for the next: read to the end, or gone.
    assert_eq!(Answer::of(first).await.body, "bytes");
    assert_eq!(Answer::of(ask_of(&router, "GET", &blob, "").await).await.body, "bytes");
    drop(second);
    let again = [ask_of(&router, "GET", &blob, "").await, ask_of(&router, "HEAD", &blob, "").await];
    assert!(again.iter().all(|answer| answer.status().is_success()), "{again:?}");
}

#[tokio::test]
async fn reads_and_writes_have_limits_of_their_own() {
    let (_fake, router, blob) = busy();
    let reads = [ask_of(&router, "GET", &blob, "").await, ask_of(&router, "GET", &blob, "").await];
    let (mut sender, body) = channel();
    let (put, refused) = join(ask_of(&router, "POST", "/v1/blobs", body), async {
        sender.send(b"by and").await;
        let refused = Answer::of(ask_of(&router, "POST", "/v1/blobs", "too many").await).await;
        sender.send(b" by").await;
        drop(sender);
        refused
    })
    .await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    assert_eq!(put.status(), StatusCode::CREATED);
    assert!(reads.iter().all(|answer| answer.status().is_success()));
    drop(put);
    assert_eq!(ask_of(&router, "POST", "/v1/blobs", "now").await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_request_that_fails_or_panics_frees_its_slot() {
    let (_fake, router, blob) = busy();
    let absent = format!("/v1/blobs/{}", BlobId::of(b"absent"));
    for uri in ["/v1/origins/panics/key", &absent, "/v1/blobs/xyz", "/v1/origins/panics/key", &absent, "/v1/blobs/xyz"] {
        assert_ne!(Answer::of(ask_of(&router, "GET", uri, "").await).await.status, StatusCode::SERVICE_UNAVAILABLE, "{uri}");
    }
    let both = join_all([ask_of(&router, "GET", &blob, ""), ask_of(&router, "GET", &blob, "")]).await;
    assert!(both.iter().all(|answer| answer.status().is_success()), "{both:?}");
}

/// The clock is paused: it jumps to the deadline once nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_client_that_says_how_long_it_waits_is_not_kept_longer() {
    let (fake, id) = Fake::with("some bytes");
    let before = tokio::time::Instant::now();
    let late = get(&fake, "/v1/origins/hangs/key", &[(DEADLINE, "250")]).await;
    assert_eq!((late.status.as_u16(), late.kind().as_str()), (504, "timed-out"));
    assert_eq!(before.elapsed().as_millis(), 250);
    let blob = format!("/v1/blobs/{id}");
    assert_eq!(get(&fake, &blob, &[(DEADLINE, "250")]).await.body, "some bytes");
    assert_eq!(get(&fake, &blob, &[(DEADLINE, "18446744073709551615")]).await.body, "some bytes");
    assert_eq!(get(&fake, &blob, &[(DEADLINE, "soon")]).await.status, StatusCode::BAD_REQUEST);
    // A write that is taken in is not given up half way.
    assert_eq!(ask(&fake, "POST", "/v1/blobs", &[(DEADLINE, "0")], "x").await.status, StatusCode::CREATED);

    *fake.stalls_at.lock().unwrap() = Some(4);
    let request = Request::get(&blob).header(DEADLINE, "250").body(Body::empty()).unwrap();
    let mut broken = fake.router().oneshot(request).await.unwrap().into_body();
    assert_eq!(broken.frame().await.unwrap().unwrap().into_data().unwrap(), "some");
    assert!(broken.frame().await.unwrap().unwrap_err().to_string().contains("deadline"));
}

/// A body, and what sends it.
fn channel() -> (Sender, Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    (Sender(sender), Body::from_stream(pieces))
}

struct Sender(tokio::sync::mpsc::Sender<std::io::Result<Bytes>>);

impl Sender {
    async fn send(&mut self, bytes: &'static [u8]) {
        self.0.send(Ok(Bytes::from_static(bytes))).await.unwrap();
    }
}
