use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use herring_blob::BlobId;
use herring_http_api::types::Stored;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fake::Fake;
use crate::{Answer, ask, get};

fn stored(answer: &Answer) -> Stored {
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn put_is_created_then_there_already() {
    let fake = Fake::default();
    let id = BlobId::of(b"bytes");
    let uri = format!("/v1/blobs/sha256:{id}");
    let first = ask(&fake, "PUT", &uri, &[], "bytes").await;
    assert_eq!((first.status.as_u16(), stored(&first)), (201, Stored { id, size: 5, replicas: 3 }));
    let again = ask(&fake, "PUT", &uri, &[], "bytes").await;
    assert_eq!((again.status.as_u16(), stored(&again).id), (200, id));
    assert_eq!(get(&fake, &uri, &[]).await.body, "bytes");
}

#[tokio::test]
async fn put_of_other_bytes_is_refused() {
    let fake = Fake::default();
    let answer = ask(&fake, "PUT", &format!("/v1/blobs/{}", BlobId::of(b"a")), &[], "b").await;
    assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (422, "mismatch"));
}

#[tokio::test]
async fn post_says_where() {
    let fake = Fake::default();
    let answer = ask(&fake, "POST", "/v1/blobs", &[], "bytes").await;
    let id = BlobId::of(b"bytes");
    assert_eq!((answer.status.as_u16(), stored(&answer).id), (201, id));
    assert_eq!(answer.header("location"), format!("/v1/blobs/{id}"));
}

#[tokio::test]
async fn delete_once() {
    let (fake, id) = Fake::with("bytes");
    let uri = format!("/v1/blobs/{id}");
    assert_eq!(ask(&fake, "DELETE", &uri, &[], "").await.status.as_u16(), 204);
    assert_eq!(ask(&fake, "DELETE", &uri, &[], "").await.kind(), "not-found");
}

/// The clock is paused: it jumps to the deadline once nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_408() {
    let body = stream::iter([Ok::<_, io::Error>(Bytes::from("some"))]).chain(stream::pending());
    let answer = ask(&Fake::default(), "POST", "/v1/blobs", &[], Body::from_stream(body)).await;
    assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (408, "body-stalled"));
}

/// 29 seconds between any two bytes are slow, but not silent, however long it takes together.
#[tokio::test(start_paused = true)]
async fn a_slow_body_is_not_stalled() {
    let body = stream::iter(0..20).then(|_| async {
        tokio::time::sleep(std::time::Duration::from_secs(29)).await;
        Ok::<_, io::Error>(Bytes::from("x"))
    });
    let answer = ask(&Fake::default(), "POST", "/v1/blobs", &[], Body::from_stream(body)).await;
    assert_eq!((answer.status.as_u16(), stored(&answer).size), (201, 20));
}

#[tokio::test]
async fn a_body_that_breaks_stores_nothing() {
    let fake = Fake::default();
    let body = stream::iter([Ok(Bytes::from("some")), Err(io::Error::other("gone"))]);
    let answer = ask(&fake, "POST", "/v1/blobs", &[], Body::from_stream(body)).await;
    assert_eq!(answer.kind(), "bad-request");
    assert!(fake.blobs.lock().unwrap().is_empty());
}

/// A client that only listens once it has sent everything must be let, or it never hears the answer …
#[tokio::test]
async fn an_unwanted_body_is_read_away() {
    let (fake, id) = Fake::with("bytes");
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let body = stream::iter(0..100).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, io::Error>(Bytes::from("piece"))
    });
    let answer = ask(&fake, "PUT", &format!("/v1/blobs/{id}"), &[], Body::from_stream(body)).await;
    assert_eq!((answer.status.as_u16(), sent.load(Ordering::Relaxed)), (200, 100));
}

/// … but one that waits to be asked for its body must not be asked.
#[tokio::test]
async fn a_body_that_waits_for_continue_is_not_asked_for() {
    let (fake, id) = Fake::with("bytes");
    let body = Body::from_stream(stream::poll_fn(|_| -> std::task::Poll<Option<io::Result<Bytes>>> { panic!("asked for") }));
    let answer = ask(&fake, "PUT", &format!("/v1/blobs/{id}"), &[("expect", "100-continue")], body).await;
    assert_eq!(answer.status.as_u16(), 200);
}
