use axum::body::Body;
use bytes::Bytes;
use herring_blob::BlobId;
use http::Request;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tower::ServiceExt;

use crate::fake::{Fake, Object};
use crate::{ask, get};

const TEN: &[u8] = b"0123456789";

#[tokio::test]
async fn a_blob_comes_whole_with_all_that_a_cache_wants() {
    let (fake, id) = Fake::with(TEN);
    for uri in [format!("/v1/blobs/{id}"), format!("/v1/blobs/sha256:{id}")] {
        let answer = get(&fake, &uri, &[]).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, TEN));
        assert_eq!(answer.header("etag"), format!("\"sha256:{id}\""));
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("content-length"), "10");
    }
}

#[tokio::test]
async fn head_says_the_same_and_sends_nothing() {
    let (fake, id) = Fake::with(TEN);
    *fake.breaks_at.lock().unwrap() = Some(0); // were it read, it would break
    let answer = ask(&fake, "HEAD", &format!("/v1/blobs/{id}"), &[("range", "bytes=2-3")], "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length"), "10");
    assert_eq!(answer.header("content-range"), "");
    assert_eq!(answer.header("etag"), format!("\"sha256:{id}\""));
}

#[tokio::test]
async fn ranges() {
    let (fake, id) = Fake::with(TEN);
    let uri = format!("/v1/blobs/{id}");
    for (range, status, content_range, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=8-", 206, "bytes 8-9/10", "89"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=-99", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=5-99", 206, "bytes 5-9/10", "56789"),
        ("bytes=4-2", 200, "", "0123456789"),
        ("bytes=0-1,4-5", 200, "", "0123456789"),
        ("lines=0-1", 200, "", "0123456789"),
    ] {
        let answer = get(&fake, &uri, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-range")), (status, content_range), "{range}");
        assert_eq!(answer.body, body, "{range}");
        assert_eq!(answer.header("content-length"), body.len().to_string(), "{range}");
    }
}

#[tokio::test]
async fn a_range_past_the_end_says_where_the_end_is() {
    let (fake, id) = Fake::with(TEN);
    let empty = fake.keep(Bytes::new());
    for (id, size, range) in [(id, 10, "bytes=10-"), (id, 10, "bytes=-0"), (empty, 0, "bytes=0-"), (empty, 0, "bytes=-1")] {
        let answer = get(&fake, &format!("/v1/blobs/{id}"), &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (416, "range-not-satisfiable"));
        assert_eq!(answer.header("content-range"), format!("bytes */{size}"));
    }
    let answer = get(&fake, &format!("/v1/blobs/{empty}"), &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-length"), answer.body.len()), (200, "0", 0));
}

#[tokio::test]
async fn conditions() {
    let (fake, id) = Fake::with(TEN);
    let uri = format!("/v1/blobs/{id}");
    let tag = format!("\"sha256:{id}\"");
    let answer = get(&fake, &uri, &[("if-none-match", &format!("\"x\", W/{tag}")), ("range", "bytes=0-1")]).await;
    assert_eq!((answer.status.as_u16(), answer.body.len(), answer.header("etag")), (304, 0, tag.as_str()));
    assert!(answer.header("cache-control").contains("immutable"));
    let answer = get(&fake, &uri, &[("if-match", "\"x\"")]).await;
    assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (412, "precondition-failed"));
    let answer = get(&fake, &uri, &[("if-range", &tag), ("range", "bytes=0-1")]).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (206, &b"01"[..]));
    let answer = get(&fake, &uri, &[("if-range", "\"x\""), ("range", "bytes=0-1")]).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, TEN));
    let absent = BlobId::of(b"absent");
    assert_eq!(get(&fake, &format!("/v1/blobs/{absent}"), &[("if-none-match", "*")]).await.kind(), "not-found");
}

#[tokio::test]
async fn objects_are_read_like_blobs_but_asked_for_again() {
    let fake = Fake::default();
    let object = Object { bytes: TEN.into(), version: "W/\"v1\"", modified_ms: 1_000_500 };
    fake.objects.lock().unwrap().insert("hub/a dir/b%2Fc".into(), object);
    let uri = "/v1/origins/hub/a%20dir/b%252Fc";
    let answer = get(&fake, uri, &[("range", "bytes=-2")]).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (206, &b"89"[..]));
    assert_eq!((answer.header("etag"), answer.header("cache-control")), ("W/\"v1\"", "no-cache"));
    assert_eq!(answer.header("last-modified"), "Thu, 01 Jan 1970 00:16:40 GMT");
    assert_eq!(get(&fake, uri, &[("if-modified-since", "Thu, 01 Jan 1970 00:16:40 GMT")]).await.status.as_u16(), 304);
    assert_eq!(get(&fake, uri, &[("if-none-match", "\"v1\"")]).await.status.as_u16(), 304);
    assert_eq!(get(&fake, uri, &[("if-range", "W/\"v1\""), ("range", "bytes=-2")]).await.status.as_u16(), 200);
    assert_eq!(ask(&fake, "HEAD", uri, &[], "").await.header("content-length"), "10");
    assert_eq!(get(&fake, "/v1/origins/hub/other", &[]).await.kind(), "not-found");
}

/// Nobody who names no version need know that this node believed in an old one.
#[tokio::test]
async fn what_turns_out_to_be_another_version_is_read_as_it_is_now() {
    let fake = Fake::default();
    let object = Object { bytes: TEN.into(), version: "\"new\"", modified_ms: 0 };
    fake.objects.lock().unwrap().insert("hub/a".into(), object);
    let (old, uri) = (Some("\"old\""), "/v1/origins/hub/a");
    for (headers, status, body) in [
        (&[][..], 200, TEN),
        (&[("range", "bytes=-2")][..], 206, &b"89"[..]),
        (&[("if-none-match", "\"other\"")][..], 200, TEN),
        (&[("if-range", "\"old\""), ("range", "bytes=-2")][..], 200, TEN),
    ] {
        *fake.believed.lock().unwrap() = old;
        let answer = get(&fake, uri, headers).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..], answer.header("etag")), (status, body, "\"new\""), "{headers:?}");
    }
    *fake.believed.lock().unwrap() = old;
    assert_eq!(ask(&fake, "HEAD", uri, &[], "").await.header("etag"), "\"old\"");
    assert_eq!(get(&fake, uri, &[("if-match", "\"old\"")]).await.status.as_u16(), 412);
}

#[tokio::test]
async fn a_body_that_breaks_or_ends_too_early_is_an_error() {
    for (breaks_at, ends_at) in [(Some(4), None), (None, Some(4)), (Some(10), None)] {
        let (fake, id) = Fake::with(TEN);
        *fake.breaks_at.lock().unwrap() = breaks_at;
        *fake.ends_at.lock().unwrap() = ends_at;
        let response = fake.router().oneshot(Request::get(format!("/v1/blobs/{id}")).body(Body::empty()).unwrap()).await.unwrap();
        // What breaks after the last byte that was promised has broken nothing.
        assert_eq!(response.into_body().collect().await.is_err(), breaks_at != Some(10));
    }
}

#[tokio::test]
async fn a_read_that_fails_at_once_says_why() {
    let (fake, id) = Fake::with(TEN);
    *fake.breaks_at.lock().unwrap() = Some(0);
    let answer = get(&fake, &format!("/v1/blobs/{id}"), &[]).await;
    assert_eq!((answer.status.as_u16(), answer.kind().as_str()), (502, "bad-gateway"));
    assert_eq!(answer.problem().detail, "every owner failed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever range is asked: the bytes, their count and their place agree.
    #[test]
    fn bytes_and_headers_agree(size in 0usize..50, first in 0usize..60, last in 0usize..60) {
        let bytes: Vec<u8> = (0..50).take(size).collect();
        let (fake, id) = Fake::with(bytes.clone());
        let range = format!("bytes={first}-{last}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let answer = runtime.block_on(get(&fake, &format!("/v1/blobs/{id}"), &[("range", &range)]));
        prop_assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        match answer.status.as_u16() {
            200 => prop_assert!(last < first && answer.body == bytes),
            206 => {
                let end = last.min(size - 1);
                prop_assert_eq!(&answer.body[..], &bytes[first..=end]);
                prop_assert_eq!(answer.header("content-range"), format!("bytes {first}-{end}/{size}"));
            }
            status => prop_assert!(status == 416 && first >= size && first <= last),
        }
    }
}

/// As over HTTP/2, where the client's window is closed: the server cannot go on, and holds what was read for it.
#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_given_up() {
    let (fake, id) = Fake::with(vec![7; 100]);
    let request = || Request::get(format!("/v1/blobs/{id}")).body(Body::empty()).unwrap();
    for (pause, whole) in [(29, true), (31, false)] {
        let response = fake.router().oneshot(request()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(pause)).await;
        assert_eq!(response.into_body().collect().await.is_ok(), whole, "after {pause} s");
    }
}
