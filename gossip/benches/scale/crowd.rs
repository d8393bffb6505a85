//! All the other nodes.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpTransport};
use chitchat::{
    ChitchatConfig, ChitchatEnvelope, ChitchatHandle, ChitchatId, ChitchatMessage, FailureDetectorConfig, ProtocolVersion,
    Serializable, VersionedValue, spawn_chitchat,
};
use herring_gossip::{Gossip, GossipConfig};
use tokio::time::{interval, sleep};

use crate::{INTERVAL, info};

const CLUSTER: &str = "herring";
/// Nodes of one datagram of heartbeats, of some 60 bytes each.
const TOLD_AT_ONCE: usize = 900;
/// Handshakes that a node is asked for in each round.
const FAN_OUT: usize = 3;

/// Messages of each kind, SYN, SYN-ACK and ACK, to and from the crowd.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub messages: [u64; 3],
    pub bytes: [u64; 3],
}

impl Count {
    pub fn since(self, before: Self) -> Self {
        let less = |now: [u64; 3], then: [u64; 3]| [now[0] - then[0], now[1] - then[1], now[2] - then[2]];
        Self { messages: less(self.messages, before.messages), bytes: less(self.bytes, before.bytes) }
    }

    /// Bytes of a message of this kind.
    pub fn mean(self, kind: usize) -> String {
        match self.messages[kind] {
            0 => "none".into(),
            messages => (self.bytes[kind] / messages).to_string(),
        }
    }
}

pub struct Crowd {
    address: SocketAddr,
    counters: Arc<[[AtomicU64; 2]; 3]>,
    partner: mpsc::Sender<SocketAddr>,
    stop: Arc<AtomicBool>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Crowd {
    pub fn start(count: usize) -> Self {
        let port = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (counters, stop) = (Arc::<[[AtomicU64; 2]; 3]>::default(), Arc::<AtomicBool>::default());
        let (partner, partners) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let net = Net { counters: counters.clone() };
        let ends = stop.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let server = spawn_chitchat(config(address), Vec::new(), &net).await.expect("the port is still free");
                let nodes = populate(&server, address, count).await;
                let _ = ready.send(());
                live(&server, address, nodes, &partners, &ends).await;
            });
        });
        is_ready.recv().expect("it starts");
        Self { address, counters, partner, stop }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this node is asked for handshakes.
    pub fn talk_to(&self, node: SocketAddr) {
        self.partner.send(node).expect("it runs");
    }

    pub fn count(&self) -> Count {
        let read = |what: usize| std::array::from_fn(|kind| self.counters[kind][what].load(Ordering::Relaxed));
        Count { messages: read(0), bytes: read(1) }
    }
}

/// As the gossip room sets it up, but silent where it is not told to speak.
fn config(address: SocketAddr) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new("n-ffffffffffff", 1, address),
        cluster_id: CLUSTER.into(),
        gossip_interval: Duration::from_secs(3600),
        listen_addr: (Ipv4Addr::UNSPECIFIED, address.port()).into(),
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(3600),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}

/// Gives it nodes that say what a real one says, each with an address of its own. Its ids, with a heartbeat each.
async fn populate(server: &ChitchatHandle, address: SocketAddr, count: usize) -> Vec<(ChitchatId, u64)> {
    let said = said_by_a_node(server, address).await;
    let mut random = fastrand::Rng::with_seed(count as u64);
    let nodes: Vec<_> = (0..count).map(|_| (somebody(address.port(), &mut random), random.u64(1_000..100_000_000))).collect();
    for (id, _) in &nodes {
        let http = SocketAddr::new(id.gossip_advertise_addr.ip(), 7070).to_string();
        let values = said.iter().map(|(key, value)| {
            let value = if key == "http" { VersionedValue { value: http.clone(), ..value.clone() } } else { value.clone() };
            (key.clone(), value)
        });
        let (values, version): (Vec<_>, u64) = (values.collect(), said.iter().map(|(_, v)| v.version).max().unwrap_or_default());
        server.with_chitchat(|state| state.reset_node_state_if_update(id, values.clone().into_iter(), version, 0)).await;
    }
    nodes
}

/// A node of a random id, that started within the last month.
fn somebody(port: u16, random: &mut fastrand::Rng) -> ChitchatId {
    let address = SocketAddr::from(([127, random.u8(1..), random.u8(..), random.u8(1..)], port));
    let started = 1_800_000_000_000 + random.u64(..30 * 86_400_000);
    ChitchatId::new(format!("n-{:012x}", random.u64(..1 << 48)), started, address)
}

/// The keys and values of a real node, of which this server is the seed.
async fn said_by_a_node(server: &ChitchatHandle, address: SocketAddr) -> Vec<(String, VersionedValue)> {
    let config = GossipConfig::new(info("n-aaaaaaaaaaaa"), ([127, 0, 0, 1], 0).into());
    let _gossip = Gossip::start(GossipConfig { seeds: vec![address.to_string()], ..config }).await.expect("a free port");
    loop {
        let said = server
            .with_chitchat(|state| {
                let node = state.node_states().values().find(|node| &*node.chitchat_id().node_id == "n-aaaaaaaaaaaa")?;
                node.contains_key("version")
                    .then(|| node.key_values_including_deleted().map(|(k, v)| (k.to_owned(), v.clone())).collect())
            })
            .await;
        match said {
            Some(said) => return said,
            None => sleep(INTERVAL).await,
        }
    }
}

/// Round by round, until told to stop.
async fn live(
    server: &ChitchatHandle,
    address: SocketAddr,
    mut nodes: Vec<(ChitchatId, u64)>,
    partners: &mpsc::Receiver<SocketAddr>,
    stop: &AtomicBool,
) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let (mut rounds, mut partner) = (interval(INTERVAL), None);
    while !stop.load(Ordering::Relaxed) {
        rounds.tick().await;
        for told in nodes.chunks_mut(TOLD_AT_ONCE) {
            told.iter_mut().for_each(|(_, heartbeat)| *heartbeat += 13);
            let _ = socket.send_to(&heartbeats(told), address);
        }
        partner = partners.try_iter().last().or(partner);
        for _ in 0..FAN_OUT {
            if let Some(partner) = partner {
                let _ = server.gossip(partner);
            }
            // Others do not ask all at once.
            sleep(INTERVAL / 5).await;
        }
    }
}

/// A SYN of chitchat's first protocol, whose digest needs no compression, with these heartbeats.
fn heartbeats(nodes: &[(ChitchatId, u64)]) -> Vec<u8> {
    let mut bytes = 45_139u16.to_le_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(u16::try_from(nodes.len()).expect("few").to_le_bytes());
    for (id, heartbeat) in nodes {
        id.serialize(&mut bytes);
        // It claims to know all that they said, so that it is not told again.
        for number in [*heartbeat, 0, u64::MAX] {
            bytes.extend(number.to_le_bytes());
        }
    }
    CLUSTER.to_owned().serialize(&mut bytes);
    bytes
}

/// UDP that counts.
struct Net {
    counters: Arc<[[AtomicU64; 2]; 3]>,
}

struct Counting {
    socket: Box<dyn Socket>,
    counters: Arc<[[AtomicU64; 2]; 3]>,
}

#[async_trait]
impl Transport for Net {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(Counting { socket: UdpTransport.open(listen).await?, counters: self.counters.clone() }))
    }
}

impl Counting {
    fn count(&self, kind: Option<usize>, bytes: usize) {
        if let Some([messages, sum]) = kind.map(|kind| &self.counters[kind]) {
            messages.fetch_add(1, Ordering::Relaxed);
            sum.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// Which one of [`Count`]; none of what brings or answers heartbeats.
fn kind(envelope: &ChitchatEnvelope) -> Option<usize> {
    match (envelope.version, &envelope.message) {
        (ProtocolVersion::V1, ChitchatMessage::Syn { .. }) => Some(0),
        (ProtocolVersion::V1, ChitchatMessage::SynAck { .. }) => Some(1),
        (ProtocolVersion::V1, ChitchatMessage::Ack { .. }) => Some(2),
        _ => None,
    }
}

#[async_trait]
impl Socket for Counting {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr()
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        let kind = kind(&envelope);
        let sent = self.socket.send(to, envelope).await?;
        self.count(kind, sent.num_bytes_sent);
        Ok(sent)
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        let received = self.socket.recv().await?;
        self.count(kind(&received.envelope), received.num_bytes_received);
        Ok(received)
    }
}
