use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use herring_blob::BlobId;
use herring_http_api::server::Limits;
use herring_http_api::types::{PutWish, Stored};
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
    assert_eq!((first.status.as_u16(), stored(&first)), (201, Stored { id, size: 5, replicas: 3, wanted: 3 }));
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
async fn a_put_says_how_it_is_to_be_kept() {
    let fake = Fake::default();
    let put = format!("/v1/blobs/{}", BlobId::of(b"bytes"));
    for (query, replicas, ack) in [
        ("", None, None),
        ("?replicas=1", Some(1), None),
        ("?ack=200", None, Some(200)),
        ("?replicas=200&ack=1", Some(200), Some(1)),
        ("?ack=3&replicas=3", Some(3), Some(3)),
    ] {
        for (method, uri) in [("PUT", put.as_str()), ("POST", "/v1/blobs")] {
            fake.blobs.lock().unwrap().clear();
            let answer = ask(&fake, method, &format!("{uri}{query}"), &[], "bytes").await;
            assert_eq!(answer.status.as_u16(), 201, "{method} {query}");
            assert_eq!(*fake.wish.lock().unwrap(), PutWish { replicas, ack }, "{method} {query}");
        }
    }
}

#[tokio::test]
async fn a_put_that_cannot_be_kept_so_keeps_nothing() {
    let fake = Fake::default();
    let put = format!("/v1/blobs/{}", BlobId::of(b"bytes"));
    for (query, says) in [
        ("replicas=0", "replicas must be from 1 to 200, not 0"),
        ("replicas=201", "not 201"),
        ("ack=0", "ack must be from 1"),
        ("ack=201", "not 201"),
        ("replicas=2&ack=3", "than keep it, 2"),
        ("replicas=256", "replicas must be from 1 to 200, not \"256\""),
        ("ack=-1", "ack must be from 1 to 200, not \"-1\""),
        ("replicas=", "replicas must be from 1 to 200, not \"\""),
        ("ack=two", "ack must be from 1 to 200, not \"two\""),
        ("ack=1&ack=2", "ack"),
    ] {
        for (method, uri) in [("PUT", put.as_str()), ("POST", "/v1/blobs")] {
            let answer = ask(&fake, method, &format!("{uri}?{query}"), &[], "bytes").await;
            assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (400, "bad-request"), "{method} {query}");
            assert!(answer.problem().detail.contains(says), "{query}: {}", answer.problem().detail);
        }
    }
    assert!(fake.blobs.lock().unwrap().is_empty());
}

/// Who sends all before it listens hears what is wrong, and not that the connection was reset.
#[tokio::test]
async fn the_body_of_a_put_that_cannot_be_is_read_away() {
    let fake = Fake::default();
    for uri in ["/v1/blobs?replicas=-1", "/v1/blobs?ack=1&ack=2"] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let body = stream::iter(0..9).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, io::Error>(Bytes::from("x"))
        });
        let answer = ask(&fake, "POST", uri, &[], Body::from_stream(body)).await;
        assert_eq!((answer.status.as_u16(), sent.load(Ordering::Relaxed)), (400, 9), "{uri}");
    }
    let answer = ask(&fake, "PUT", "/v1/blobs/abc", &[], "bytes").await;
    assert_eq!(answer.status.as_u16(), 400);
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

/// … but where half of the places are taken it must keep a pace, so that a few slow ones do not keep all others out.
#[tokio::test(start_paused = true)]
async fn where_places_are_scarce_a_slow_body_must_keep_a_pace() {
    let fake = Fake::default();
    *fake.limits.lock().unwrap() = Limits { reads: 1, writes: 1 };
    let drip = |bytes: usize, every: u64| {
        Body::from_stream(stream::iter(0..9).then(move |_| async move {
            tokio::time::sleep(std::time::Duration::from_secs(every)).await;
            Ok::<_, io::Error>(Bytes::from(vec![7; bytes]))
        }))
    };
    let slow = ask(&fake, "POST", "/v1/blobs", &[], drip(1, 10)).await;
    assert_eq!((slow.status.as_u16(), slow.kind().as_str()), (408, "body-stalled"));
    // 64 KiB in 20 seconds.
    assert_eq!(ask(&fake, "POST", "/v1/blobs", &[], drip(32 << 10, 10)).await.status.as_u16(), 201);
    // Nor is the rest of a body that nobody wants waited for for ever.
    let id = BlobId::of(&vec![7; 9 * (32 << 10)]);
    let began = tokio::time::Instant::now();
    let rest = stream::iter(0..99).then(|_| async {
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        Ok::<_, io::Error>(Bytes::from("x"))
    });
    let there = ask(&fake, "PUT", &format!("/v1/blobs/{id}"), &[], Body::from_stream(rest)).await;
    assert_eq!((there.status.as_u16(), began.elapsed().as_secs()), (200, 30));
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
