//! An HTTP server that says what a test wants it to.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// From a method and a target to a response, in parts.
type Respond = dyn Fn(String, String) -> BoxStream<'static, String> + Send + Sync;

pub struct Site {
    pub addr: SocketAddr,
    serving: AbortOnDropHandle<()>,
}

impl Site {
    pub async fn open(respond: impl Fn(String, String) -> BoxFuture<'static, String> + Send + Sync + 'static) -> Self {
        Self::open_in_parts(move |method, target| respond(method, target).into_stream().boxed()).await
    }

    /// Whose responses may come little by little.
    pub async fn open_in_parts(respond: impl Fn(String, String) -> BoxStream<'static, String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { addr, serving: AbortOnDropHandle::new(tokio::spawn(serve(listener, Arc::new(respond)))) }
    }

    /// Nobody listens any more.
    pub fn close(&self) {
        self.serving.abort();
    }
}

pub fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}", body.len())
}

async fn serve(listener: TcpListener, respond: Arc<Respond>) {
    let mut guests = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        guests.push(AbortOnDropHandle::new(tokio::spawn(answer(stream, Arc::clone(&respond)))));
    }
}

/// One request a connection, without a body.
async fn answer(mut stream: TcpStream, respond: Arc<Respond>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ').map(str::to_owned);
    let mut response = respond(words.next().unwrap(), words.next().unwrap());
    while let Some(part) = response.next().await {
        let _ = stream.write_all(part.as_bytes()).await;
    }
}
