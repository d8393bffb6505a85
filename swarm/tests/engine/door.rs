//! What may stand at a peer's address in its place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
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
}

pub struct Door {
    pub addr: SocketAddr,
    visits: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Door {
    pub async fn open(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, visits) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&visits);
        let task = tokio::spawn(async move {
            let mut guests = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                guests.push(AbortOnDropHandle::new(tokio::spawn(receive(manner, stream))));
            }
        });
        Self { addr, visits, _task: AbortOnDropHandle::new(task) }
    }

    /// Connections so far.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

/// An address at which nobody listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn receive(manner: Manner, mut stream: TcpStream) {
    match manner {
        Manner::Silent => std::future::pending().await,
        Manner::Garbage => {
            let _ = stream.write_all(b"220 mail.example.org ESMTP ready, go away\r\n").await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
        Manner::Cut { peer, after } => pass(stream, peer, after, false).await,
        Manner::Stall { peer, after } => pass(stream, peer, after, true).await,
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
