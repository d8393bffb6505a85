use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An HTTP/2 frame on stream `stream`.
pub fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

pub fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

/// A server of bytes: says something at once, something else once it was asked something, and then is silent or hangs up.
pub struct Raw {
    pub address: SocketAddr,
    accepts: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Default)]
pub struct Script {
    pub hello: Vec<u8>,
    pub answer: Vec<u8>,
    pub hang_up: bool,
}

impl Raw {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, accepts) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let count = accepts.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(play(socket, script.clone()));
            }
        });
        Self { address, accepts, _tasks: tasks }
    }

    pub fn accepts(&self) -> usize {
        self.accepts.load(Ordering::SeqCst)
    }
}

async fn play(mut socket: TcpStream, script: Script) {
    socket.write_all(&script.hello).await.unwrap();
    if script.hang_up {
        return;
    }
    if !script.answer.is_empty() && read_to_headers(&mut socket).await.is_ok() {
        socket.write_all(&script.answer).await.unwrap();
    }
    std::future::pending().await
}

/// Reads the preface and frames up to the first HEADERS.
async fn read_to_headers(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.read_exact(&mut [0; 24]).await?;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await?;
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        socket.read_exact(&mut payload).await?;
        if head[3] == 1 {
            return Ok(());
        }
    }
}
