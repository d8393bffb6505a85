//! The socket under chitchat: sealed with the cluster's keys, or in clear where there are none.
//!
//! chitchat turns messages into bytes and back nowhere but in its own UDP socket. So that one talks over loopback to a `Hatch` here, and only the hatch to the network:
//! chitchat sees no byte that no member sealed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpTransport};
use chitchat::{ChitchatEnvelope, ChitchatMessage};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::key::ClusterKeys;
use crate::seal::{Opener, Refused, Sealer};

/// What UDP can bring at most, bytes.
const DATAGRAM: usize = 65_536;
/// Between two warnings of what was refused, or could not be sent: whoever floods a node must not flood its log.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// For a datagram over loopback, which is there as soon as it is sent. A member's that is no gossip never comes out of chitchat's socket.
const HOP: Duration = Duration::from_millis(100);

/// Opens sockets that speak with these keys, as they are at each moment; `None`: in clear.
pub(crate) struct Sockets(pub Option<watch::Receiver<Arc<ClusterKeys>>>);

#[async_trait]
impl Transport for Sockets {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        match &self.0 {
            None => Ok(Box::new(ClearSocket::open(listen).await?)),
            Some(keys) => Ok(Box::new(SealedSocket::open(listen, keys.clone()).await?)),
        }
    }
}

struct ClearSocket {
    socket: Box<dyn Socket>,
    refusals: Refusals,
    unsent: Unsent,
}

impl ClearSocket {
    async fn open(listen: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { socket: UdpTransport.open(listen).await?, refusals: Refusals::default(), unsent: Unsent::default() })
    }
}

#[async_trait]
impl Socket for ClearSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr()
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        let sent = self.socket.send(to, envelope).await;
        Ok(sent.unwrap_or_else(|error| self.unsent.note(to, &error)))
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let received = self.socket.recv().await?;
            if !is_other_cluster(&received.envelope) {
                return Ok(received);
            }
            self.refusals.note(received.from_addr, Refusal::OtherCluster);
        }
    }
}

struct SealedSocket {
    /// To the network.
    outside: UdpSocket,
    hatch: Hatch,
    keys: watch::Receiver<Arc<ClusterKeys>>,
    sealer: Sealer,
    opener: Opener,
    buffer: Box<[u8]>,
    /// Whose message is in the hatch, and of how many bytes it was.
    inside: Option<(SocketAddr, usize)>,
    refusals: Refusals,
    unsent: Unsent,
}

impl SealedSocket {
    async fn open(listen: SocketAddr, mut keys: watch::Receiver<Arc<ClusterKeys>>) -> anyhow::Result<Self> {
        let outside = UdpSocket::bind(listen).await.with_context(|| format!("{listen}/UDP"))?;
        let now = keys.borrow_and_update().clone();
        let (sealer, opener) = (Sealer::new(&now), Opener::new(now));
        let (refusals, unsent, buffer) = (Refusals::default(), Unsent::default(), vec![0; DATAGRAM].into());
        Ok(Self { outside, hatch: Hatch::open().await?, keys, sealer, opener, buffer, inside: None, refusals, unsent })
    }

    async fn seal(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        let message = self.hatch.bytes(envelope).await?;
        self.refresh();
        let mut sent = 0;
        for datagram in self.sealer.seal(&message, now_ms()) {
            sent += self.outside.send_to(&datagram, to).await.with_context(|| format!("gossip to {to}"))?;
        }
        Ok(SendOutcome { num_bytes_sent: sent })
    }

    fn refresh(&mut self) {
        // Who watches over the keys may be gone: then they stay as they are.
        if self.keys.has_changed().unwrap_or(false) {
            let now = self.keys.borrow_and_update().clone();
            self.sealer = Sealer::new(&now);
            self.opener.set_keys(now);
        }
    }

    /// What comes next from a member is in the hatch.
    async fn let_in(&mut self) -> anyhow::Result<()> {
        let (length, from) = match self.outside.recv_from(&mut self.buffer).await {
            Ok(received) => received,
            Err(error) if passes(&error) => return Ok(()),
            Err(error) => return Err(error).context("the gossip socket broke"),
        };
        self.refresh();
        match self.opener.open(&self.buffer[..length], now_ms()) {
            Ok(Some(message)) => match self.hatch.put(&message).await {
                Ok(()) => self.inside = Some((from, length)),
                // Longer than any datagram, or there is no memory just now: as if it was lost on the way.
                Err(error) => {
                    debug!(%from, %error, "gossip was lost within this node");
                    self.refusals.note(from, Refusal::Lost);
                }
            },
            Ok(None) => {}
            Err(why) => self.refusals.note(from, why.into()),
        }
        Ok(())
    }
}

#[async_trait]
impl Socket for SealedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.outside.local_addr().context("the gossip socket has no address")
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        let sent = self.seal(to, envelope).await;
        Ok(sent.unwrap_or_else(|error| self.unsent.note(to, &error)))
    }

    /// Where this is dropped while it waits, it goes on where it was.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let Some((from, length)) = self.inside else {
                self.let_in().await?;
                continue;
            };
            let envelope = self.hatch.take().await?;
            self.inside = None;
            match envelope {
                None => self.refusals.note(from, Refusal::Garbled),
                Some(envelope) if is_other_cluster(&envelope) => self.refusals.note(from, Refusal::OtherCluster),
                Some(envelope) => return Ok(RecvOutcome { from_addr: from, envelope, num_bytes_received: length }),
            }
        }
    }
}

/// Two sockets on loopback: chitchat's, and ours, which hears nobody but that one.
struct Hatch {
    theirs: Box<dyn Socket>,
    ours: UdpSocket,
    ours_at: SocketAddr,
    buffer: Box<[u8]>,
}

impl Hatch {
    async fn open() -> anyhow::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let theirs = UdpTransport.open(any).await.context("sealed gossip needs the loopback interface")?;
        let ours = UdpSocket::bind(any).await?;
        ours.connect(theirs.local_addr()?).await?;
        let ours_at = ours.local_addr()?;
        Ok(Self { theirs, ours, ours_at, buffer: vec![0; DATAGRAM].into() })
    }

    /// A message as bytes.
    async fn bytes(&mut self, envelope: ChitchatEnvelope) -> anyhow::Result<Vec<u8>> {
        let sent = self.theirs.send(self.ours_at, envelope).await?.num_bytes_sent;
        loop {
            let length = timeout(HOP, self.ours.recv(&mut self.buffer)).await.context("loopback lost a datagram")??;
            // Another one is of a send that was given up.
            if length == sent {
                return Ok(self.buffer[..length].to_vec());
            }
        }
    }

    async fn put(&self, message: &[u8]) -> io::Result<()> {
        self.ours.send(message).await.map(drop)
    }

    /// The message that was put; `None` where it is none.
    async fn take(&mut self) -> anyhow::Result<Option<ChitchatEnvelope>> {
        loop {
            match timeout(HOP, self.theirs.recv()).await {
                // Any process of this machine can send to a socket on loopback, but not from ours.
                Ok(received) => match received? {
                    RecvOutcome { from_addr, envelope, .. } if from_addr == self.ours_at => return Ok(Some(envelope)),
                    _ => {}
                },
                Err(_) => return Ok(None),
            }
        }
    }
}

fn is_other_cluster(envelope: &ChitchatEnvelope) -> bool {
    matches!(envelope.message, ChitchatMessage::BadCluster)
}

/// Why a datagram is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Seal(#[from] Refused),
    #[error("it is no gossip")]
    Garbled,
    #[error("this node could not take it in just now")]
    Lost,
    #[error("that node is of another cluster (--cluster)")]
    OtherCluster,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::Seal(refused) => refused.reason(),
            Self::Garbled => "garbled",
            Self::Lost => "lost",
            Self::OtherCluster => "cluster",
        }
    }
}

/// Counts all, and tells of one from time to time.
#[derive(Default)]
struct Refusals {
    warned: Option<Instant>,
    since: u64,
}

impl Refusals {
    fn note(&mut self, from: SocketAddr, why: Refusal) {
        metrics::counter!("herring_gossip_refused_total", "reason" => why.reason()).increment(1);
        self.since += 1;
        debug!(%from, %why, "gossip was refused");
        if self.warned.is_none_or(|warned| warned.elapsed() > WARN_EVERY) {
            warn!(%from, %why, refused = self.since, "gossip was refused; there are no more than one of these lines a minute");
            (self.warned, self.since) = (Some(Instant::now()), 0);
        }
    }
}

/// Counts what could not be sent, to a seed without a route say, and tells of one from time to time: chitchat would, five times a second, and of each with a
/// backtrace. To gossip it is as if it was lost on the way.
#[derive(Default)]
struct Unsent {
    warned: Option<Instant>,
    since: u64,
}

impl Unsent {
    fn note(&mut self, to: SocketAddr, error: &anyhow::Error) -> SendOutcome {
        let why = format!("{error:#}");
        self.since += 1;
        debug!(%to, why, "gossip could not be sent");
        if self.warned.is_none_or(|warned| warned.elapsed() > WARN_EVERY) {
            warn!(%to, why, unsent = self.since, "gossip could not be sent to that seed or node; there are no more than one of these lines a minute");
            (self.warned, self.since) = (Some(Instant::now()), 0);
        }
        SendOutcome { num_bytes_sent: 0 }
    }
}

/// An earlier datagram met nobody, or there is no memory just now.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, OutOfMemory};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | Interrupted | OutOfMemory)
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use chitchat::ProtocolVersion;

    use super::*;

    /// chitchat warns of every error, and sends to its seeds five times a second.
    #[tokio::test]
    async fn what_cannot_be_sent_is_lost_and_told_once() {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // No socket of IPv4 gets there.
        let nowhere: SocketAddr = "[::1]:9".parse().unwrap();
        let envelope = || ChitchatEnvelope { version: ProtocolVersion::V1, message: ChitchatMessage::BadCluster };
        let keys = watch::Sender::new(Arc::new(ClusterKeys::generate().parse::<ClusterKeys>().unwrap()));
        let mut sealed = SealedSocket::open(here, keys.subscribe()).await.unwrap();
        let mut clear = ClearSocket::open(here).await.unwrap();
        for left in [0, 1] {
            assert_eq!(sealed.send(nowhere, envelope()).await.unwrap().num_bytes_sent, 0);
            assert_eq!(clear.send(nowhere, envelope()).await.unwrap().num_bytes_sent, 0);
            assert_eq!([sealed.unsent.since, clear.unsent.since], [left; 2], "the first is told, and the next waits");
        }
        assert!(clear.send(sealed.local_addr().unwrap(), envelope()).await.unwrap().num_bytes_sent > 0);
    }
}
