//! What may stand at a peer's address in its place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// Takes connections and says nothing.
    Silent,
    /// Speaks, but not HTTP.
    Garbage,
    /// Passes on what the peer answers and breaks the connection off after that many bytes.
    Cut { peer: SocketAddr, after: usize },
    /// The same, but keeps the connection: nothing more comes.
    Stall { peer: SocketAddr, after: usize },
    /// Passes all on, but everything that the peer says as much later as is set at that time ([`Door::delay`]), one thing after the other.
    Slow { peer: SocketAddr },
}

pub struct Door {
    pub addr: SocketAddr,
    visits: Arc<AtomicUsize>,
    delay: watch::Sender<Duration>,
    _task: AbortOnDropHandle<()>,
}

impl Door {
    pub async fn open(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, visits) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (counted, delay) = (Arc::clone(&visits), watch::Sender::default());
        let delays = delay.subscribe();
        let task = tokio::spawn(async move {
            let mut guests = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                guests.push(AbortOnDropHandle::new(tokio::spawn(receive(manner, stream, delays.clone()))));
            }
        });
        Self { addr, visits, delay, _task: AbortOnDropHandle::new(task) }
    }

    /// From now on a slow peer's words are so much later.
    pub fn delay(&self, by: Duration) {
        self.delay.send_replace(by);
    }

    /// Connections so far.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

/// An address at which nobody listens, nor will: it stays bound as long as this program runs.
pub async fn nobody() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address
}

async fn receive(manner: Manner, mut stream: TcpStream, delay: watch::Receiver<Duration>) {
    match manner {
        Manner::Silent => std::future::pending().await,
        Manner::Garbage => {
            let _ = stream.write_all(b"220 mail.example.org ESMTP ready, go away\r\n").await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
        Manner::Cut { peer, after } => pass(stream, peer, after, false).await,
        Manner::Stall { peer, after } => pass(stream, peer, after, true).await,
        Manner::Slow { peer } => dawdle(stream, peer, delay).await,
    }
}

async fn dawdle(client: TcpStream, peer: SocketAddr, delay: watch::Receiver<Duration>) {
    let server = TcpStream::connect(peer).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let slowly = async {
        let mut said = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_server.read(&mut said).await {
            let by = *delay.borrow();
            sleep(by).await;
            to_client.write_all(&said[..length]).await?;
        }
        std::io::Result::Ok(())
    };
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = slowly => {}
    }
}

async fn pass(client: TcpStream, peer: SocketAddr, after: usize, stay: bool) {
    let server = TcpStream::connect(peer).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let mut answers = from_server.take(after as u64);
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = copy(&mut answers, &mut to_client) => {
            if stay {
                std::future::pending::<()>().await;
            }
        }
    }
}
