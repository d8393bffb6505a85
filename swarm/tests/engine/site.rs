//! An HTTP server that says what a test wants it to.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// From a method and a target to all of a response.
type Respond = dyn Fn(String, String) -> BoxFuture<'static, String> + Send + Sync;

pub struct Site {
    pub addr: SocketAddr,
    serving: AbortOnDropHandle<()>,
}

impl Site {
    pub async fn open(respond: impl Fn(String, String) -> BoxFuture<'static, String> + Send + Sync + 'static) -> Self {
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
    let response = respond(words.next().unwrap(), words.next().unwrap()).await;
    let _ = stream.write_all(response.as_bytes()).await;
}
