use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::error::LabError;
use super::hosts::inside;

/// Bytes taken at once.
const PIECE: usize = 64 << 10;
/// Pieces on their way, 32 MiB: at 10 ms more than the machine moves.
const FLYING: usize = 512;

/// Long ways to nodes: what comes to an address of its own is passed on after a while, and answers likewise. Ends with the value.
pub struct Relays {
    runtime: Runtime,
    delay: Duration,
}

impl Relays {
    pub fn new(delay: Duration) -> io::Result<Self> {
        Ok(Self { runtime: Builder::new_multi_thread().worker_threads(2).enable_all().build()?, delay })
    }

    /// A longer way from `near` to `target`, both of them in that namespace.
    pub fn between(namespace: &str, near: SocketAddr, target: SocketAddr, delay: Duration) -> Result<Self, LabError> {
        // The runtime's threads are where the one is that makes them.
        let made = inside(namespace, || {
            let relays = Self::new(delay)?;
            relays.lengthen_from(near, target).map(|_| relays)
        });
        made?.map_err(LabError::io(format!("a relay at {near}")))
    }

    /// The address of a longer way to `target`.
    pub fn lengthen(&self, target: SocketAddr) -> io::Result<SocketAddr> {
        self.lengthen_from((Ipv4Addr::LOCALHOST, 0).into(), target)
    }

    fn lengthen_from(&self, near: SocketAddr, target: SocketAddr) -> io::Result<SocketAddr> {
        let listener = self.runtime.block_on(TcpListener::bind(near))?;
        let address = listener.local_addr()?;
        self.runtime.spawn(accept(listener, target, self.delay));
        Ok(address)
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, delay: Duration) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => { connections.spawn(pass(stream, target, delay)); }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(near: TcpStream, target: SocketAddr, delay: Duration) -> io::Result<()> {
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::try_join!(carry(near_in, far_out, delay), carry(far_in, near_out, delay)).map(drop)
}

/// One direction: every piece arrives `delay` after it was sent, and so does the end.
async fn carry(from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, delay: Duration) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(FLYING);
    tokio::try_join!(take(from, sender, delay), give(receiver, to)).map(drop)
}

async fn take(mut from: impl AsyncRead + Unpin, sender: mpsc::Sender<(Instant, Bytes)>, delay: Duration) -> io::Result<()> {
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        let length = from.read_buf(&mut piece).await?;
        // Nobody to pass it on to: the other half has said why.
        if length == 0 || sender.send((Instant::now() + delay, piece.freeze())).await.is_err() {
            return Ok(());
        }
    }
}

async fn give(mut receiver: mpsc::Receiver<(Instant, Bytes)>, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some((at, piece)) = receiver.recv().await {
        sleep_until(at).await;
        to.write_all(&piece).await?;
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_is_said_comes_back_later_and_whole() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relays = Relays::new(Duration::from_millis(20)).unwrap();
        let way = relays.lengthen(listener.local_addr().unwrap()).unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            stream.write_all(&said).unwrap();
        });
        let (mut stream, began) = (std::net::TcpStream::connect(way).unwrap(), Instant::now());
        let said = vec![7; 300_000];
        stream.write_all(&said).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert!(heard == said && began.elapsed() >= Duration::from_millis(40));
        echo.join().unwrap();
    }
}
