use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use herring_blob::BlobId;
use herring_http_api::peer::HOP;
use herring_http_api::server::{Backends, BindError, Server, ServerConfig};
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::{CHUNK, Fake};

/// No test waits longer for what should happen at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs until it is dropped or stopped.
pub struct Running {
    pub addr: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    pub async fn with(fake: &Fake, config: ServerConfig) -> Self {
        Self::start(fake.backends(), config).await
    }

    pub async fn start(backends: Backends, config: ServerConfig) -> Self {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
        let (addr, stop) = (server.local_addr(), CancellationToken::new());
        let serving = tokio::spawn(server.serve(backends, stop.clone()));
        Self { addr, stop, serving }
    }

    pub async fn of(fake: &Fake) -> Self {
        Self::with(fake, ServerConfig::default()).await
    }

    pub async fn stop(self) {
        self.stop.cancel();
        within(self.serving).await.unwrap();
    }

    pub async fn raw(&self, bytes: &[u8]) -> TcpStream {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        socket
    }

    /// Asks on a connection of its own, which stays open as long as the sender that is returned.
    async fn h1(&self, request: Request<Body>) -> (Response<Incoming>, http1::SendRequest<Body>) {
        let socket = TokioIo::new(TcpStream::connect(self.addr).await.unwrap());
        let (mut send, driver) = http1::handshake(socket).await.unwrap();
        tokio::spawn(driver);
        (within(send.send_request(request)).await.unwrap(), send)
    }

    pub async fn h2(&self, request: Request<Body>) -> (Response<Incoming>, http2::SendRequest<Body>) {
        let mut send = self.h2_connection().await;
        (within(send.send_request(request)).await.unwrap(), send)
    }

    async fn h2_connection(&self) -> http2::SendRequest<Body> {
        let socket = TokioIo::new(TcpStream::connect(self.addr).await.unwrap());
        let (send, driver) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
        tokio::spawn(driver);
        send
    }

    fn get(&self, path: &str) -> Request<Body> {
        let uri = format!("http://{}{path}", self.addr);
        Request::get(uri).header("host", self.addr.to_string()).body(Body::empty()).unwrap()
    }
}

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("this takes no time")
}

/// What comes until the other end closes.
pub async fn read_to_end(mut socket: TcpStream) -> String {
    let mut all = Vec::new();
    // A reset after the last byte is an end as well.
    let _ = within(socket.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}

pub async fn read_until(socket: &mut TcpStream, what: &str) -> String {
    let mut text = String::new();
    while !text.contains(what) {
        let byte = within(socket.read_u8()).await.expect("the connection stays open");
        text.push(char::from(byte));
    }
    text
}

#[tokio::test]
async fn both_protocols_on_one_port() {
    let bytes = Bytes::from(vec![9; 5 << 20]);
    let (fake, id) = Fake::with(bytes.clone());
    let server = Running::of(&fake).await;
    let (one, _open) = server.h1(server.get(&format!("/v1/blobs/{id}"))).await;
    let (two, _open) = server.h2(server.get(&format!("/v1/blobs/{id}"))).await;
    assert_eq!((one.version(), two.version()), (Version::HTTP_11, Version::HTTP_2));
    assert_eq!(one.into_body().collect().await.unwrap().to_bytes(), bytes);
    assert_eq!(two.into_body().collect().await.unwrap().to_bytes(), bytes);
    let post = Request::post(format!("http://{}/v1/blobs", server.addr)).body(Body::from(vec![8; 5 << 20])).unwrap();
    assert_eq!(server.h2(post).await.0.status(), StatusCode::CREATED);
}

/// Frames of an HTTP/2 connection: type, and payload.
pub async fn read_frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    within(socket.read_exact(&mut head)).await.unwrap();
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    within(socket.read_exact(&mut payload)).await.unwrap();
    (head[3], payload)
}

#[tokio::test]
async fn frames_and_windows_are_announced_as_measured() {
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;
    let server = Running::of(&Fake::default()).await;
    let mut socket = server.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let (kind, settings) = read_frame(&mut socket).await;
    assert_eq!(kind, SETTINGS);
    let value = |id: u16| {
        let entry = settings.chunks(6).find(|entry| entry[..2] == id.to_be_bytes()).expect("it is set");
        u32::from_be_bytes(entry[2..].try_into().unwrap())
    };
    let (max_streams, window, frame) = (value(3), value(4), value(5));
    assert_eq!((max_streams, window, frame), (256, 2 << 20, 1 << 20));
    let increment = loop {
        let (kind, payload) = read_frame(&mut socket).await;
        if kind == WINDOW_UPDATE {
            break u32::from_be_bytes(payload.try_into().unwrap());
        }
    };
    // On top of the protocol's 65,535.
    assert_eq!(increment, (32 << 20) - 65_535);
}

/// A frame can be read only once all of it is there.
#[tokio::test]
async fn a_chunks_first_piece_is_a_frame_of_its_own() {
    let (fake, id) = Fake::with(vec![9; CHUNK]);
    let server = Running::of(&fake).await;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_frame_size(1 << 20).initial_stream_window_size(4 << 20).initial_connection_window_size(4 << 20);
    let socket = TokioIo::new(TcpStream::connect(server.addr).await.unwrap());
    let (mut send, driver) = builder.handshake(socket).await.unwrap();
    tokio::spawn(driver);
    let mut request = server.get(&format!("/peer/v1/blobs/{id}/chunks/0?first=3"));
    request.headers_mut().insert(HOP, "1".parse().unwrap());
    let mut body = within(send.send_request(request)).await.unwrap().into_body();
    let mut frames = Vec::new();
    while let Some(frame) = within(body.frame()).await {
        frames.push(frame.unwrap().into_data().unwrap().len());
    }
    assert_eq!(frames, [CHUNK / 16, CHUNK / 16 * 12, CHUNK / 16 * 3]);
}

#[tokio::test]
async fn a_body_that_fails_breaks_the_stream() {
    let (fake, id) = Fake::with(vec![9; 1 << 20]);
    for fails in [&fake.breaks_at, &fake.ends_at] {
        *fails.lock().unwrap() = Some(1000);
        let server = Running::of(&fake).await;
        let mut two = server.h2_connection().await;
        // The reset may overtake the head.
        if let Ok(answer) = within(two.send_request(server.get(&format!("/v1/blobs/{id}")))).await {
            assert!(within(answer.into_body().collect()).await.is_err());
        }
        assert!(within(two.send_request(server.get("/healthz"))).await.is_ok(), "other streams go on");
        let socket = server.raw(format!("GET /v1/blobs/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
        // What was not yet written when it broke may be missing, the head included; a whole body must not be there.
        let text = read_to_end(socket).await;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(text.is_empty() || text.contains("content-length: 1048576\r\n"), "{text}");
        assert!(body.len() <= 1000);
        *fails.lock().unwrap() = None;
    }
}

fn put_head(id: BlobId, length: usize) -> Vec<u8> {
    format!("PUT /v1/blobs/{id} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n")
        .into_bytes()
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let server = Running::of(&Fake::default()).await;
    let mut socket = server.raw(&put_head(BlobId::of(b"bytes"), 5)).await;
    assert_eq!(read_until(&mut socket, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"bytes").await.unwrap();
    assert!(read_until(&mut socket, "\r\n\r\n").await.starts_with("HTTP/1.1 201 "));
}

#[tokio::test]
async fn a_client_that_asks_first_is_spared_what_is_there_already() {
    let (fake, id) = Fake::with("bytes");
    let server = Running::of(&fake).await;
    let socket = server.raw(&put_head(id, 5)).await;
    let text = read_to_end(socket).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert!(text.contains(&id.to_string()) && !text.contains("100 Continue"), "{text}");
}

/// A blocking client sends all of its body before it reads a word; closing on it would reset its socket.
#[tokio::test]
async fn a_client_that_sends_all_first_hears_that_it_is_there_already() {
    let bytes = vec![9; 16 << 20];
    let (fake, id) = Fake::with(bytes.clone());
    let server = Running::of(&fake).await;
    let head = format!("PUT /v1/blobs/{id} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", bytes.len());
    let mut socket = server.raw(head.as_bytes()).await;
    within(socket.write_all(&bytes)).await.unwrap();
    assert!(read_until(&mut socket, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_shutdown_closes_idle_connections_and_ends() {
    let (fake, id) = Fake::with("bytes");
    let server = Running::of(&fake).await;
    let silent = server.raw(b"").await;
    let (one, _open) = server.h1(server.get(&format!("/v1/blobs/{id}"))).await;
    one.into_body().collect().await.unwrap();
    let (two, _open) = server.h2(server.get(&format!("/v1/blobs/{id}"))).await;
    two.into_body().collect().await.unwrap();
    let addr = server.addr;
    server.stop().await;
    assert_eq!(read_to_end(silent).await, "");
    // Nobody listens there, or this could not.
    TcpListener::bind(addr).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_lets_a_request_in_flight_end() {
    let server = Running::with(&Fake::default(), ServerConfig { drain: PATIENCE, ..ServerConfig::default() }).await;
    let mut socket =
        server.raw(b"POST /v1/blobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n").await;
    read_until(&mut socket, "100 Continue\r\n\r\n").await;
    server.stop.cancel();
    socket.write_all(b"bytes").await.unwrap();
    let text = read_to_end(socket).await;
    assert!(text.starts_with("HTTP/1.1 201 "), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let config = ServerConfig { drain: Duration::from_millis(20), ..ServerConfig::default() };
    let server = Running::with(&Fake::default(), config).await;
    let mut socket =
        server.raw(b"POST /v1/blobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n").await;
    read_until(&mut socket, "100 Continue\r\n\r\n").await;
    server.stop().await;
    assert_eq!(read_to_end(socket).await, "");
}

#[tokio::test]
async fn who_says_nothing_is_not_kept() {
    let config = ServerConfig { header_timeout: Duration::from_millis(20), ..ServerConfig::default() };
    let server = Running::with(&Fake::default(), config).await;
    for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nhost"] {
        let text = read_to_end(server.raw(said).await).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
}

#[tokio::test]
async fn connections_above_the_bound_wait_where_all_others_are_busy() {
    let config = ServerConfig { max_connections: 1, ..ServerConfig::default() };
    let server = Running::with(&Fake::default(), config).await;
    let mut first =
        server.raw(b"POST /v1/blobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n").await;
    read_until(&mut first, "100 Continue\r\n\r\n").await;
    let waiting = server.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let answered = tokio::time::timeout(Duration::from_millis(50), waiting.readable()).await;
    assert!(answered.is_err(), "nobody serves it while the first is busy");
    first.write_all(b"bytes").await.unwrap();
    assert!(read_until(&mut first, "\r\n\r\n").await.starts_with("HTTP/1.1 201 "));
    assert!(read_to_end(waiting).await.starts_with("HTTP/1.1 200 "), "the first is idle, and makes room");
}

/// The blob is larger than both ends' socket buffers, so most of it stays with the server until the client reads.
#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_connection() {
    let (fake, id) = Fake::with(vec![9; 64 << 20]);
    let config = ServerConfig { max_connections: 1, unread: Duration::from_millis(100), ..ServerConfig::default() };
    let server = Running::with(&fake, config).await;
    let unread = server.raw(format!("GET /v1/blobs/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
    let next = server.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(read_to_end(next).await.starts_with("HTTP/1.1 200 "), "the place is free again");
    assert!(read_to_end(unread).await.len() < 64 << 20);
}

/// The connection is well, and only the answer's own window stays closed.
#[tokio::test]
async fn nor_may_an_answer_over_http2_stand_still_for_ever() {
    let (fake, id) = Fake::with(vec![9; 1 << 20]);
    let config = ServerConfig { unread: Duration::from_millis(100), ..ServerConfig::default() };
    let server = Running::with(&fake, config).await;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1000);
    let socket = TokioIo::new(TcpStream::connect(server.addr).await.unwrap());
    let (mut send, driver) = builder.handshake(socket).await.unwrap();
    let driver = tokio::spawn(driver);
    let unread = within(send.send_request(server.get(&format!("/v1/blobs/{id}")))).await.unwrap();
    assert_eq!(unread.status(), 200);
    let _ = within(driver).await.unwrap();
    assert!(send.is_closed());
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let server = Running::of(&Fake::default()).await;
    let error = Server::bind(server.addr, ServerConfig::default()).await.unwrap_err();
    assert!(matches!(error, BindError::InUse(addr) if addr == server.addr));
    let text = error.to_string();
    assert!(text.contains(&server.addr.to_string()) && text.contains("--listen"), "{text}");
    let elsewhere = Server::bind("192.0.2.1:80".parse().unwrap(), ServerConfig::default()).await.unwrap_err();
    assert!(matches!(elsewhere, BindError::NoSuchAddress(_)), "{elsewhere}");
}
