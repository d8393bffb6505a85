use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::{BlobId, ByteRange};
use http::Method;
use http_body_util::BodyExt;

use super::raw::{Raw, Script, frame, settings};
use super::server::{Server, With, problem, reply};
use crate::ByteStream;
use crate::client::{ApiClient, ClientError, PeerConfig};

fn id() -> BlobId {
    BlobId::of(b"herring")
}

fn client(server: &Server) -> ApiClient {
    ApiClient::new(&format!("http://{}", server.address)).unwrap()
}

fn body(pieces: &'static [&'static str]) -> ByteStream {
    stream::iter(pieces).map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).boxed()
}

async fn text(stream: ByteStream) -> std::io::Result<String> {
    let pieces: Vec<Bytes> = stream.try_collect().await?;
    Ok(String::from_utf8(pieces.concat()).unwrap())
}

/// A node that has one blob.
async fn node() -> Server {
    Server::start(|request| async move {
        let (head, body) = request.into_parts();
        let range = head.headers.get("range").map(|range| range.to_str().unwrap().to_owned());
        match (&head.method, head.uri.path(), range.as_deref()) {
            (&Method::HEAD, _, _) => reply(200, "").with("content-length", 7),
            (&Method::GET, "/readyz", _) => problem(503, "waits for peers"),
            (&Method::GET, "/metrics", _) => reply(200, "up 1\n"),
            (&Method::GET, path, None) if path.starts_with("/v1/origins/") => reply(200, path.to_owned()),
            (&Method::GET, _, None) => reply(200, "herring"),
            (&Method::GET, _, Some("bytes=2-4")) => reply(206, "rri").with("content-range", "bytes 2-4/7"),
            (&Method::GET, _, Some(_)) => reply(200, "herring"),
            (&Method::DELETE, _, _) => problem(404, "no such blob"),
            (method, path, _) => {
                let id = BlobId::of(&body.collect().await.unwrap().to_bytes());
                let status = if method == Method::POST { 201 } else { 200 };
                if path != "/v1/blobs" && path != format!("/v1/blobs/{id}") {
                    return problem(422, "other bytes");
                }
                reply(status, format!(r#"{{"id":"{id}","size":7,"replicas":1}}"#))
            }
        }
    })
    .await
}

#[tokio::test]
async fn blobs_are_read_whole_and_in_ranges() {
    let server = node().await;
    let client = client(&server);
    assert_eq!(client.blob_info(id()).await.unwrap().size, 7);
    let (length, bytes) = client.get(id(), None).await.unwrap();
    assert_eq!((length, text(bytes).await.unwrap()), (7, "herring".to_owned()));
    let (length, bytes) = client.get(id(), Some(ByteRange::new(2, 5))).await.unwrap();
    assert_eq!((length, text(bytes).await.unwrap()), (3, "rri".to_owned()));
    let (length, bytes) = client.get(id(), Some(ByteRange::new(2, 2))).await.unwrap();
    assert_eq!((length, text(bytes).await.unwrap()), (0, String::new()));
    let ignored = client.get(id(), Some(ByteRange::new(1, 3))).await.err();
    assert!(matches!(ignored, Some(ClientError::Garbage { .. })), "{ignored:?}");
    assert_eq!(client.metrics().await.unwrap(), "up 1\n");
}

#[tokio::test]
async fn keys_are_encoded_and_never_resolved() {
    let server = node().await;
    let client = client(&server);
    let (_, bytes) = client.get_object("o", "a b/ü?#%2f/c", None).await.unwrap();
    assert_eq!(text(bytes).await.unwrap(), "/v1/origins/o/a%20b/%C3%BC%3F%23%252f/c");
    let error = client.get_object("o", "a/../b", None).await.err();
    assert!(matches!(error, Some(ClientError::BadUrl { .. })), "{error:?}");
}

#[tokio::test]
async fn a_put_tells_whether_it_was_new_and_what_was_wrong() {
    let server = node().await;
    let client = client(&server);
    let (stored, created) = client.put(None, None, body(&["her", "ring"])).await.unwrap();
    assert_eq!((stored.id, created), (id(), true));
    let (_, created) = client.put(Some(id()), Some(7), body(&["her", "ring"])).await.unwrap();
    assert!(!created);
    let mismatch = client.put(Some(id()), None, body(&["cod"])).await.unwrap_err();
    assert_eq!(mismatch.to_string(), "other bytes");
    let failing = body(&["her"]).chain(stream::iter([Err(std::io::Error::other("disk on fire"))])).boxed();
    assert_eq!(client.put(None, None, failing).await, Err(ClientError::Source("disk on fire".to_owned())));
}

#[tokio::test]
async fn a_node_that_takes_nothing_fails_a_put() {
    let server = Server::start(|request| async move {
        let _unread = request;
        std::future::pending().await
    })
    .await;
    let config = PeerConfig { answer_timeout: Duration::from_millis(100), ..PeerConfig::patient() };
    let client = ApiClient::with_config(&format!("http://{}", server.address), &config).unwrap();
    let endless = stream::repeat_with(|| Ok(Bytes::from(vec![0; 1 << 20]))).boxed();
    let error = client.put(None, None, endless).await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { ms: 100, .. }), "{error:?}");
}

#[tokio::test]
async fn problems_come_in_the_nodes_words() {
    let server = node().await;
    let client = client(&server);
    let error = client.delete(id()).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Problem(problem) if problem.status == 404 && problem.detail == "no such blob"),
        "{error:?}"
    );
    assert_eq!(client.ready().await, Err("waits for peers".to_owned()));
    let error = client.cluster().await.unwrap_err();
    assert!(matches!(error, ClientError::Garbage { .. }), "{error:?}");
}

/// 200 with a length of 7, three bytes, and a reset that claims that nothing is wrong, which hyper takes for an end.
#[tokio::test]
async fn a_body_cut_short_is_never_a_short_success() {
    let head = frame(1, 4, 1, &[0x88, 0x0f, 0x0d, 1, b'7']);
    let answer = [head, frame(0, 0, 1, b"her"), frame(3, 0, 1, &[0; 4])].concat();
    let server = Raw::start(Script { hello: settings(), answer, ..Script::default() }).await;
    let client = ApiClient::new(&format!("http://{}", server.address)).unwrap();
    let (length, bytes) = client.get(id(), None).await.unwrap();
    assert_eq!(length, 7);
    let error = text(bytes).await.unwrap_err();
    assert!(error.to_string().contains("after 3 of 7 bytes"), "{error}");
}

#[tokio::test]
async fn a_name_is_resolved_and_a_wrong_url_says_what_is_wrong() {
    let server = node().await;
    let client = ApiClient::new(&format!("http://localhost:{}/", server.address.port())).unwrap();
    assert_eq!(client.metrics().await.unwrap(), "up 1\n");
    for (url, part) in [
        ("https://h:1", "--ca FILE"),
        ("h:1", "looks like"),
        ("", "looks like"),
        ("http://h/x", "behind host"),
        ("ftp://h", "like"),
    ] {
        let error = ApiClient::new(url).err().unwrap().to_string();
        assert!(error.contains(part), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_is_told_with_what_to_do() {
    // Bound, so that nobody else is there, and never listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let error = ApiClient::new(&url).unwrap().cluster().await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains("Is a node running there?"), "{error}");
}
