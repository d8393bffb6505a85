//! Requests that cannot be, or that mean more than they may.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use herring_blob::BlobId;
use http::StatusCode;

use crate::fake::Fake;
use crate::sockets::{Running, read_to_end};
use crate::{ask, get};

async fn status_of(server: &Running, request: &[u8]) -> String {
    let text = read_to_end(server.raw(request).await).await;
    text.split("\r\n").next().unwrap().replace("HTTP/1.1 ", "")
}

#[tokio::test]
async fn a_head_has_bounds() {
    let server = Running::of(&Fake::default()).await;
    let head =
        |extra: String| format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{extra}\r\n").into_bytes();
    assert!(status_of(&server, &head(format!("x: {}\r\n", "v".repeat(60 << 10)))).await.starts_with("200"));
    // More than a read brings at once, and than a request of HTTP/2 may have.
    for (what, head) in [
        ("a long field", head(format!("x: {}\r\n", "v".repeat(900 << 10)))),
        ("a field that never ends", format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "v".repeat(900 << 10)).into_bytes()),
        ("many fields", head("x: v\r\n".repeat(101))),
        ("a long path", format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "p".repeat(900 << 10)).into_bytes()),
        ("a long query", format!("GET /healthz?{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "q".repeat(900 << 10)).into_bytes()),
    ] {
        let status = status_of(&server, &head).await;
        // An answer can be lost where bytes came that nobody read.
        assert!(status.is_empty() || status.starts_with("431") || status.starts_with("414"), "{what}: {status}");
    }
}

/// Two lengths of one body are how requests are smuggled past whoever stands in front.
#[tokio::test]
async fn a_body_has_one_length() {
    let fake = Fake::default();
    let server = Running::of(&fake).await;
    let post = |head: &str, body: &str| {
        format!("POST /v1/blobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}\r\n\r\n{body}").into_bytes()
    };
    for (head, body) in [
        ("content-length: 5\r\ncontent-length: 6", "bytes!"),
        ("content-length: 5, 6", "bytes!"),
        ("content-length: -1", "bytes"),
        ("content-length: +5", "bytes"),
        ("content-length: 0x5", "bytes"),
        ("content-length: 18446744073709551616", "bytes"),
        ("transfer-encoding: chunked, identity", "5\r\nbytes\r\n0\r\n\r\n"),
        ("transfer-encoding: gzip", "bytes"),
        ("transfer-encoding: chunked", "fffffffffffffffff\r\nbytes"),
        ("transfer-encoding: chunked", "-5\r\nbytes\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "5\r\nbytes!\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "ffffffffffffffff\r\nbytes"),
    ] {
        let (request, what) = (post(head, body), format!("{head} {body:?}"));
        let mut socket = server.raw(&request).await;
        tokio::io::AsyncWriteExt::shutdown(&mut socket).await.unwrap();
        let text = read_to_end(socket).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 501"), "{what}: {text}");
        assert!(fake.blobs.lock().unwrap().is_empty(), "{what}");
    }
    // Where both are said, chunks count and nothing else does.
    let both = post("content-length: 3\r\ntransfer-encoding: chunked", "5\r\nbytes\r\n0\r\n\r\n");
    let status = status_of(&server, &both).await;
    let kept: Vec<_> = fake.blobs.lock().unwrap().keys().copied().collect();
    assert!(
        status.starts_with("400") && kept.is_empty() || status.starts_with("201") && kept == [BlobId::of(b"bytes")],
        "{status} {kept:?}"
    );
}

#[tokio::test]
async fn a_body_that_ends_early_stores_nothing() {
    let fake = Fake::default();
    let server = Running::of(&fake).await;
    for head in ["content-length: 9", "transfer-encoding: chunked"] {
        for body in ["bytes", "9\r\nbytes"] {
            let mut socket =
                server.raw(format!("POST /v1/blobs HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n{body}").as_bytes()).await;
            tokio::io::AsyncWriteExt::shutdown(&mut socket).await.unwrap();
            let text = read_to_end(socket).await;
            assert!(!text.starts_with("HTTP/1.1 2") || head.starts_with("content") && body.len() >= 9, "{head} {body}: {text}");
        }
    }
    let kept: Vec<_> = fake.blobs.lock().unwrap().values().cloned().collect();
    assert!(kept.iter().all(|bytes| bytes.len() == 8 || bytes.len() == 9), "{kept:?}");
}

/// What is sent is what is kept: nothing is unpacked that could be more than its sender sent.
#[tokio::test]
async fn no_body_is_decoded() {
    let fake = Fake::default();
    let bomb = Bytes::from_static(b"\x1f\x8b\x08 as if this were packed");
    for coding in ["gzip", "br", "zstd", "deflate, gzip", "unheard-of"] {
        let stored = ask(&fake, "POST", "/v1/blobs", &[("content-encoding", coding)], bomb.clone()).await;
        let text = String::from_utf8_lossy(&stored.body).into_owned();
        assert!(stored.status == StatusCode::CREATED && text.contains(&BlobId::of(&bomb).to_string()), "{coding}: {text}");
        let named = ask(&fake, "PUT", "/v1/names/a", &[("content-encoding", coding)], bomb.clone()).await;
        assert_eq!(named.kind(), "bad-request", "{coding}");
        let answer = get(&fake, &format!("/v1/blobs/{}", BlobId::of(&bomb)), &[("accept-encoding", coding)]).await;
        assert_eq!((answer.header("content-encoding"), &answer.body), ("", &bomb), "{coding}");
    }
}

#[tokio::test]
async fn every_body_of_json_has_a_bound() {
    let peer = [("herring-hop", "1")];
    let fake = Fake::default();
    let commit = format!("/peer/v1/uploads/{}/commit", "0".repeat(32));
    for (method, path, headers, bound) in [
        ("PUT", "/v1/names/a", [].as_slice(), 4 << 10),
        ("POST", "/v1/prefetch", &[], 1 << 20),
        ("POST", "/peer/v1/names", &peer, 4 << 20),
        ("POST", "/peer/v1/meta", &peer, 4 << 20),
        ("POST", "/peer/v1/repair", &peer, 4 << 20),
        ("POST", &commit, &peer, 64 << 20),
    ] {
        let said =
            |length: usize| [headers, &[("content-length", Box::leak(length.to_string().into_boxed_str()) as &str)]].concat();
        let spaces = |length: usize| Body::from(vec![b' '; length]);
        let refused = ask(&fake, method, path, &said(bound + 1), "").await;
        assert_eq!(refused.kind(), "too-large", "{path}");
        // Without a word of its length it is read up to the bound, and no further.
        let unsaid = stream::iter((0..=bound / 4096).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 4096]))));
        assert_eq!(ask(&fake, method, path, headers, Body::from_stream(unsaid)).await.kind(), "too-large", "{path}");
        assert_eq!(ask(&fake, method, path, headers, spaces(bound.min(4096))).await.kind(), "bad-request", "{path}");
        // Deeper than any stack.
        for open in ["[", "{\"a\":"] {
            let deep = open.repeat(bound.min(1 << 20) / open.len());
            assert_eq!(ask(&fake, method, path, headers, deep).await.kind(), "bad-request", "{path}");
        }
    }
}

#[tokio::test]
async fn numbers_end_where_their_types_do() {
    let (fake, id) = Fake::with("bytes");
    let blob = format!("/v1/blobs/{id}");
    let explain = |chunk: &str| format!("{blob}/explain?chunk={chunk}");
    assert_eq!(get(&fake, &explain("4294967295"), &[]).await.status, StatusCode::OK);
    for (uri, status) in [
        (explain("4294967296"), 400),
        (explain("-1"), 400),
        (explain(""), 400),
        ("/v1/names?prefix=&limit=18446744073709551615".into(), 200),
        ("/v1/names?prefix=&limit=18446744073709551616".into(), 400),
        ("/v1/names?prefix=&limit=-1".into(), 400),
        ("/v1/names?prefix=&limit=0".into(), 400),
    ] {
        assert_eq!(get(&fake, &uri, &[]).await.status.as_u16(), status, "{uri}");
    }
    for (range, status) in [
        ("bytes=18446744073709551615-", 416),
        ("bytes=18446744073709551614-18446744073709551615", 416),
        ("bytes=0-18446744073709551615", 206),
        ("bytes=-18446744073709551615", 206),
        ("bytes=0-99999999999999999999999999", 206),
        ("bytes=--1", 200),
        ("bytes=4-2", 200),
        ("bytes=", 200),
        ("bytes=-", 200),
        ("bytes=0-0,", 200),
    ] {
        let answer = get(&fake, &blob, &[("range", range)]).await;
        assert_eq!(answer.status.as_u16(), status, "{range}");
        assert!(answer.body.len() <= 5 || status == 416, "{range}");
    }
}

/// However many ranges are asked for, it is the whole that comes, once.
#[tokio::test]
async fn ranges_by_the_thousand_are_one() {
    let (fake, id) = Fake::with("bytes");
    let ranges = |range: fn(usize) -> String| format!("bytes={}", (0..5000).map(range).collect::<Vec<_>>().join(","));
    for many in [
        ranges(|_| "0-".into()),
        ranges(|at| format!("{}-{at}", 0)),
        ranges(|at| format!("-{at}")),
        ranges(|at| format!("{}-4", 4999 - at)),
    ] {
        let answer = get(&fake, &format!("/v1/blobs/{id}"), &[("range", &many)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, b"bytes".as_slice()));
    }
}

/// However it is spelt, a path leads to nothing but what its words say, and a name to no file.
#[tokio::test]
async fn no_spelling_of_a_path_leads_elsewhere() {
    let fake = Fake::default();
    for name in [
        "..",
        "a/../b",
        "a/..",
        "./a",
        "a//b",
        "%2e%2e",
        "a/%2e%2e/b",
        "%2e",
        "a%2f%2e%2e%2fb",
        "a%2f%2fb",
        "%2fa",
        "a%2f",
        "%00",
        "a%00b",
        "a%0ab",
        "a%7fb",
        "a%c2%85b",
        &"x".repeat(256),
        &"y/".repeat(300),
        "a%ff",
        "%c0%ae%c0%ae",
        "%ed%a0%80",
    ] {
        for (method, body) in [("GET", ""), ("PUT", r#"{"target":"x"}"#), ("DELETE", "")] {
            let answer = ask(&fake, method, &format!("/v1/names/{name}"), &[], body).await;
            assert_eq!(answer.kind(), "bad-request", "{method} {name}");
        }
        assert_eq!(ask(&fake, "PUT", &format!("/v1/pins/{name}"), &[], "").await.kind(), "bad-request", "{name}");
    }
    // Decoded once, and not twice.
    let answer = get(&fake, "/v1/names/%252e%252e", &[]).await;
    assert_eq!(answer.kind(), "not-found");
    for elsewhere in ["/v1/blobs/../../healthz", "/v1/%2e%2e/healthz", "//healthz", "/v1/names/../../healthz"] {
        assert!(!get(&fake, elsewhere, &[]).await.status.is_success(), "{elsewhere}");
    }
}
