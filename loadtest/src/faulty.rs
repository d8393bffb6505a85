//! What may lie between a node and its peers: a relay of HTTP/2 in clear that can be told to become bad, in one of several ways, and good again.
//!
//! The network and the node behind it stay well, and so does gossip, which goes past it: the failure that is hardest to notice.

mod frame;
mod streams;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use frame::{Frame, PREFACE};
use streams::{Sent, Streams};

/// Frames on their way in one direction. Windows bound their bytes, 32 MiB a connection; this only the small ones.
const FLYING: usize = 8192;
/// Bytes that are read or written at once where frames are small.
const BUFFER: usize = 64 << 10;
/// Bytes after which a slow link pauses.
const DROP: usize = 16 << 10;

/// How a relay treats what it is to pass on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Not at all.
    None,
    /// Every answer comes so much later.
    Slow(Duration),
    /// Answers come at so many bytes a second, all connections together.
    Trickle(u64),
    /// Takes everything, connections too, and gives nothing.
    BlackHole,
    /// Resets every other stream, before its head or within its body.
    Reset,
    /// Bodies stop in the middle; the connection is well.
    Stall,
}

/// A way to one node. Ends with the value.
pub struct Relay {
    pub address: SocketAddr,
    fault: watch::Sender<Fault>,
    _task: AbortOnDropHandle<()>,
}

/// What a connection needs to know.
#[derive(Clone)]
struct Way {
    target: SocketAddr,
    fault: watch::Receiver<Fault>,
    /// When the slow link will have sent what it was given.
    idle: Arc<Mutex<Instant>>,
}

/// A frame, and when it is passed on.
type Queued = (Instant, Frame);

impl Relay {
    /// An address that leads to `target`; on the runtime of `handle`.
    pub fn open(handle: &Handle, target: SocketAddr) -> io::Result<Self> {
        let _within = handle.enter();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let (address, listener) = (listener.local_addr()?, TcpListener::from_std(listener)?);
        let (fault, seen) = watch::channel(Fault::None);
        let way = Way { target, fault: seen, idle: Arc::new(Mutex::new(Instant::now())) };
        Ok(Self { address, fault, _task: AbortOnDropHandle::new(handle.spawn(accept(listener, way))) })
    }

    /// From now on, also on the connections that are open. Becoming good again closes those, whose streams may be beyond repair.
    pub fn turn(&self, fault: Fault) {
        self.fault.send_if_modified(|now| std::mem::replace(now, fault) != fault);
    }
}

async fn accept(listener: TcpListener, way: Way) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((near, _)) = listener.accept() => {
                let (way, mut fault) = (way.clone(), way.fault.clone());
                // What was before this connection is not its concern.
                fault.mark_unchanged();
                connections.spawn(async move {
                    tokio::select! { _ = way.serve(near) => {}, () = healed(&mut fault) => {} }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Waits until the relay becomes good again.
async fn healed(fault: &mut watch::Receiver<Fault>) {
    while fault.changed().await.is_ok() {
        if *fault.borrow_and_update() == Fault::None {
            return;
        }
    }
}

impl Way {
    fn now(&self) -> Fault {
        *self.fault.borrow()
    }

    async fn serve(&self, near: TcpStream) -> io::Result<()> {
        near.set_nodelay(true)?;
        let (near_in, near_out) = near.into_split();
        let mut near_in = BufReader::with_capacity(BUFFER, near_in);
        if self.now() == Fault::BlackHole {
            return tokio::io::copy(&mut near_in, &mut tokio::io::sink()).await.map(drop);
        }
        let far = TcpStream::connect(self.target).await?;
        far.set_nodelay(true)?;
        let (far_in, mut far_out) = far.into_split();
        let mut preface = [0; PREFACE.len()];
        near_in.read_exact(&mut preface).await?;
        if preface != *PREFACE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        far_out.write_all(&preface).await?;
        let streams = Mutex::new(Streams::default());
        let ((to_near, for_near), (to_far, for_far)) = (mpsc::channel(FLYING), mpsc::channel(FLYING));
        let (back_near, back_far) = (to_near.downgrade(), to_far.downgrade());
        let far_in = BufReader::with_capacity(BUFFER, far_in);
        let questions = self.read(near_in, to_far, back_near, |frame| (Duration::ZERO, lock(&streams).question(frame)));
        let answers = self.read(far_in, to_near, back_far, |frame| {
            let fault = self.now();
            (fault.delay(), lock(&streams).answer(fault, frame))
        });
        tokio::try_join!(questions, answers, self.write(for_near, near_out, true), self.write(for_far, far_out, false)).map(drop)
    }

    /// One direction, until that side ends, which ends the other direction of `onward` too.
    async fn read(
        &self,
        mut from: impl AsyncRead + Unpin,
        onward: mpsc::Sender<Queued>,
        back: mpsc::WeakSender<Queued>,
        treat: impl Fn(Frame) -> (Duration, Sent),
    ) -> io::Result<()> {
        while let Some(frame) = Frame::read(&mut from).await? {
            let (delay, sent) = treat(frame);
            let at = Instant::now() + delay;
            for frame in sent.onward {
                onward.send((at, frame)).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
            for frame in sent.back {
                // Waiting here for a side that waits for us would be for ever; it is far from full.
                let queue = back.upgrade().ok_or(io::ErrorKind::BrokenPipe)?;
                queue.try_send((at, frame)).map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
        }
        Ok(())
    }

    async fn write(&self, mut queue: mpsc::Receiver<Queued>, to: OwnedWriteHalf, trickles: bool) -> io::Result<()> {
        let mut to = BufWriter::with_capacity(BUFFER, to);
        while let Some((at, frame)) = queue.recv().await {
            if at > Instant::now() {
                sleep_until(at).await;
            }
            match self.now() {
                Fault::BlackHole => continue,
                Fault::Trickle(rate) if trickles => self.trickle(&frame, rate, &mut to).await?,
                _ => frame.write(&mut to).await?,
            }
            if queue.is_empty() {
                to.flush().await?;
            }
        }
        to.shutdown().await
    }

    /// Some bytes, and a pause for as long as they take.
    async fn trickle(&self, frame: &Frame, rate: u64, to: &mut BufWriter<OwnedWriteHalf>) -> io::Result<()> {
        to.write_all(&frame.head()).await?;
        for part in frame.payload.chunks(DROP) {
            to.write_all(part).await?;
            to.flush().await?;
            sleep_until(self.sent(part.len() as u64, rate)).await;
        }
        Ok(())
    }

    /// When the link will have sent so many bytes more.
    fn sent(&self, bytes: u64, rate: u64) -> Instant {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        *idle = Instant::now().max(*idle) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        *idle
    }
}

impl Fault {
    fn delay(self) -> Duration {
        if let Self::Slow(delay) = self { delay } else { Duration::ZERO }
    }
}

fn lock(streams: &Mutex<Streams>) -> MutexGuard<'_, Streams> {
    streams.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
