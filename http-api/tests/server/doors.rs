//! What comes in by a door is the service's business, and goes out as the service said it.

use std::convert::Infallible;
use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use herring_http_api::server::{Backends, Door, DoorBody, DoorError, Limits, ServerConfig, router};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, service_fn};

use crate::fake::Fake;
use crate::sockets::Running;
use crate::{Answer, get};

type Reply = Response<UnsyncBoxBody<Bytes, DoorError>>;

fn reply(status: u16, text: impl Into<Bytes>) -> Reply {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

fn streamed(pieces: usize, end: io::Result<Bytes>) -> Reply {
    let pieces = stream::iter(0..pieces).map(|_| Ok(Bytes::from(vec![7; 1 << 16]))).chain(stream::iter([end]));
    Response::new(StreamBody::new(pieces.map(|piece| piece.map(Frame::data).map_err(Into::into))).boxed_unsync())
}

/// Tells what it sees, or does what the path says.
async fn serve(request: Request<DoorBody>) -> Result<Reply, Infallible> {
    let original = request.extensions().get::<Uri>().unwrap().clone();
    let (head, body) = request.into_parts();
    let mut answer = match head.uri.path() {
        "/missing" => reply(404, "<Error>NoSuchKey</Error>"),
        "/busy" => reply(503, "<Error>SlowDown</Error>"),
        "/long" => streamed(1000, Ok(Bytes::new())),
        "/breaks" => streamed(1000, Err(io::Error::other("the origin went"))),
        "/panics" => panic!("a bug"),
        "/object" => {
            let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
            answer.headers_mut().insert("content-length", "123456789".parse().unwrap());
            answer
        }
        _ => {
            let body = body.collect().await.unwrap().to_bytes();
            reply(200, format!("{} {} of {original}: {body:?}", head.method, head.uri))
        }
    };
    answer.headers_mut().insert("x-door", "s3".parse().unwrap());
    Ok(answer)
}

fn backends() -> Backends {
    let doors = ["/s3", "/hf"].map(|path| Door::new(path, service_fn(serve))).into();
    Backends { doors, ..Fake::default().backends() }
}

async fn knock(method: &str, uri: &str, body: &'static str) -> Answer {
    let request = Request::builder().method(method).uri(uri).body(Body::from(body)).unwrap();
    Answer::of(router(backends(), Limits::default(), CancellationToken::new()).oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn a_service_sees_its_own_paths() {
    for (uri, inner) in [
        ("/s3", "/"),
        ("/s3/", "/"),
        ("/s3?list-type=2", "/?list-type=2"),
        ("/s3/?list-type=2", "/?list-type=2"),
        ("/s3/bucket/a%20b/%2e%2e/c%2Fd?versionId=1&x", "/bucket/a%20b/%2e%2e/c%2Fd?versionId=1&x"),
        ("/s3/bucket//x/", "/bucket//x/"),
        ("/hf/s3/x", "/s3/x"),
    ] {
        let answer = knock("GET", uri, "").await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, format!("GET {inner} of {uri}: b\"\"").into()), "{uri}");
    }
    let answer = knock("PROPFIND", "/s3/x", "all").await;
    assert_eq!(answer.body, "PROPFIND /x of /s3/x: b\"all\"", "any method, with its body");
    for uri in ["/s3x/y", "/v1/s3/", "/hfx"] {
        assert_eq!(knock("GET", uri, "").await.kind(), "not-found", "{uri}");
    }
    assert_eq!(get(&Fake::default(), "/s3/", &[]).await.kind(), "not-found", "where no door is");
}

#[tokio::test]
async fn answers_pass_untouched() {
    let missing = knock("GET", "/s3/missing", "").await;
    assert_eq!(
        (missing.status.as_u16(), missing.header("x-door"), &missing.body[..]),
        (404, "s3", &b"<Error>NoSuchKey</Error>"[..])
    );
    assert_eq!(missing.header("retry-after"), "");
    let busy = knock("GET", "/s3/busy", "").await;
    assert_eq!((busy.status.as_u16(), busy.header("retry-after"), &busy.body[..]), (503, "1", &b"<Error>SlowDown</Error>"[..]));
    let head = knock("HEAD", "/s3/object", "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, "123456789", 0));
    let long = knock("GET", "/s3/long", "").await;
    assert_eq!((long.header("content-length"), long.body.len()), ("", 1000 << 16));
    assert_eq!(knock("GET", "/s3/panics", "").await.kind(), "internal");
}

#[tokio::test]
async fn over_sockets_too() {
    let server = Running::start(backends(), ServerConfig::default()).await;
    let ask = async |method: &str, path: &str| -> (StatusCode, HeaderMap, Option<usize>) {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", server.addr)).body(Body::empty()).unwrap();
        let (response, _connection) = server.h2(request).await;
        let (head, body) = response.into_parts();
        (head.status, head.headers, body.collect().await.ok().map(|body| body.to_bytes().len()))
    };
    let (status, headers, length) = ask("HEAD", "/hf/object").await;
    assert_eq!((status.as_u16(), &headers["content-length"], length), (200, &"123456789".parse().unwrap(), Some(0)));
    assert_eq!(ask("GET", "/hf/long").await.2, Some(1000 << 16));
    assert_eq!(ask("GET", "/hf/missing").await.0, 404);
    assert_eq!(ask("GET", "/hf/breaks").await.2, None, "what broke never looks complete");
}

/// As with all bodies here.
#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_given_up() {
    let request = Request::get("/s3/long").body(Body::empty()).unwrap();
    let response = router(backends(), Limits::default(), CancellationToken::new()).oneshot(request).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    assert!(response.into_body().collect().await.is_err());
}
