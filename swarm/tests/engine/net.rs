//! Some nodes in one process.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::{BlobId, ByteRange, Manifest};
use herring_gossip::{NodeInfo, NodeState, View};
use herring_http_api::ByteStream;
use herring_http_api::client::{PeerClient, PeerConfig};
use herring_http_api::server::{Backends, Server, ServerConfig};
use herring_origin::{OriginSpec, Origins};
use herring_ring::{NodeId, Point};
use herring_store::{Entry, OpenError, Store, StoreConfig};
use herring_swarm::{Content, Put, PutError, PutOptions, ReadError, Source, Swarm, SwarmConfig};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::count;
use crate::peer::Peer;
use crate::stub::NoPublicApi;

/// What must come about has come about by then, however busy the machine is. Only a test that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Small, so that blobs of a few hundred KiB have many.
pub const CHUNK: u32 = 64 << 10;
pub const CHUNK_LEN: usize = CHUNK as usize;

/// What the nodes of a net have in common, and how much each may keep.
pub struct Setup {
    pub nodes: usize,
    pub config: SwarmConfig,
    pub capacity: fn(usize) -> u64,
    pub origins: Vec<OriginSpec>,
}

pub struct Net {
    pub nodes: Vec<Node>,
    setup: Setup,
    homes: TempDir,
    /// Its own: a port of a node that crashed must not go to another net, where somebody would answer.
    address: IpAddr,
}

pub struct Node {
    pub info: NodeInfo,
    pub swarm: Swarm,
    pub store: Store,
    pub peer: Arc<Peer>,
    home: PathBuf,
    view: watch::Sender<Arc<View>>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Setup {
    /// Nothing is hedged and nothing fetched ahead: what is asked of whom is what the test causes.
    pub fn new(nodes: usize, replicas: usize) -> Self {
        let never = Duration::from_secs(3600);
        let config = SwarmConfig {
            prove_first: 0,
            replicas,
            chunk_size: CHUNK,
            profile_idle: Duration::ZERO,
            read_ahead: 0,
            read_ahead_after: 128 << 10,
            hedge: never,
            owner_patience: never,
            owner_patience_least: never,
            holder_patience: never,
            origin_patience: never,
            opinions: PATIENCE,
            status_deadline: PATIENCE,
            name_deadline: PATIENCE,
            origin_hedge: never,
            slow_origin: never,
            outage: Duration::ZERO,
            ..SwarmConfig::default()
        };
        Self { nodes, config, capacity: |_| 1 << 30, origins: Vec::new() }
    }

    pub fn tune(mut self, tune: impl FnOnce(&mut SwarmConfig)) -> Self {
        tune(&mut self.config);
        self
    }

    pub fn origin(self, name: &str, dir: &TempDir) -> Self {
        self.origin_url(&format!("{name}=file://{}", dir.path().display()))
    }

    pub fn origin_url(mut self, spec: &str) -> Self {
        self.origins.push(spec.parse().unwrap());
        self
    }

    pub async fn start(self) -> Net {
        count::install();
        let mut net = Net { nodes: Vec::new(), homes: TempDir::new().unwrap(), setup: self, address: own_address() };
        for _ in 0..net.setup.nodes {
            net.add().await;
        }
        net.publish(&net.members());
        net
    }
}

/// An address of loopback that no other net has, as far as 128 processes go.
fn own_address() -> IpAddr {
    static NETS: AtomicU32 = AtomicU32::new(1);
    let (process, net) = (std::process::id() % 128, NETS.fetch_add(1, Ordering::Relaxed));
    let [.., high, low] = net.to_be_bytes();
    Ipv4Addr::new(127, 100 + u8::try_from(process).unwrap_or(0), high, low).into()
}

impl Net {
    pub async fn start(nodes: usize, replicas: usize) -> Self {
        Setup::new(nodes, replicas).start().await
    }

    /// One more node, which nobody knows of before a view with it is published.
    pub async fn add(&mut self) {
        let node = self.start_node(self.nodes.len()).await;
        self.nodes.push(node);
    }

    async fn start_node(&self, index: usize) -> Node {
        let (home, capacity) = (self.homes.path().join(index.to_string()), (self.setup.capacity)(index));
        let origins = Origins::new(self.setup.origins.iter().cloned()).unwrap();
        Node::start(index, self.address, home, capacity, self.setup.config.clone(), origins).await
    }

    /// A node ends in order, and another process begins over its data, at another address.
    pub async fn restart(&mut self, index: usize) {
        let mut node = self.nodes.remove(index);
        node.crash().await;
        node.swarm.shutdown().await;
        drop(node);
        let node = self.start_node(index).await;
        self.nodes.insert(index, node);
        self.publish(&self.members());
    }

    pub fn members(&self) -> Vec<NodeInfo> {
        self.nodes.iter().map(|node| node.info.clone()).collect()
    }

    /// The members but for these nodes.
    pub fn without(&self, gone: &[usize]) -> Vec<NodeInfo> {
        let stays = |(index, info)| (!gone.contains(&index)).then_some(info);
        self.members().into_iter().enumerate().filter_map(stays).collect()
    }

    /// Lets every node see these members.
    pub fn publish(&self, members: &[NodeInfo]) {
        self.publish_to(|_| true, members);
    }

    /// Lets these nodes see these members.
    pub fn publish_to(&self, sees: impl Fn(usize) -> bool, members: &[NodeInfo]) {
        for (_, node) in self.nodes.iter().enumerate().filter(|(index, _)| sees(*index)) {
            node.view.send_replace(Arc::new(View::fixed(node.info.id.clone(), members.to_vec())));
            node.swarm.view_changed();
        }
    }

    /// Lets a node see itself alone, and look for others.
    pub fn seclude(&self, index: usize) {
        let node = &self.nodes[index];
        node.view.send_replace(Arc::new(View::unsettled(node.info.id.clone(), vec![node.info.clone()])));
        node.swarm.view_changed();
    }

    /// Lets all see another address for a node: its place on the ring stays, its door is another.
    pub fn detour(&self, index: usize, door: SocketAddr) {
        let mut members = self.members();
        members[index].http = door;
        self.publish(&members);
    }

    /// The nodes that own a point now, in the ring's order.
    pub fn owners(&self, point: Point) -> Vec<usize> {
        let view = self.nodes[0].swarm.view();
        view.owners(point, self.setup.config.replicas).into_iter().map(|node| self.index(&node.id)).collect()
    }

    pub fn index(&self, id: &NodeId) -> usize {
        self.nodes.iter().position(|node| node.info.id == *id).unwrap()
    }

    /// The nodes on which this holds of the entry.
    pub fn holders(&self, id: BlobId, holds: impl Fn(&Entry) -> bool) -> BTreeSet<usize> {
        (0..self.nodes.len()).filter(|&index| self.nodes[index].store.get(&id.into()).as_ref().is_some_and(&holds)).collect()
    }

    /// Every part of the blob is durable on all of its owners and on nobody else.
    pub fn assert_placed(&self, manifest: &Manifest) {
        let owners = |point| self.owners(point).into_iter().collect::<BTreeSet<_>>();
        for chunk in 0..manifest.geometry().chunk_count() {
            let due = owners(Point::of_chunk(manifest, chunk));
            assert_eq!(
                self.holders(manifest.id(), |entry| entry.is_durable(chunk)),
                due,
                "durable on the owners of chunk {chunk}"
            );
            assert_eq!(self.holders(manifest.id(), |entry| entry.has(chunk)), due, "nowhere else");
        }
        let kept = self.holders(manifest.id(), Entry::is_kept);
        assert!(owners(Point::of_blob(&manifest.id())).is_subset(&kept), "the manifest is on its owners");
    }

    /// Nothing of any put is left: neither a blob nor an upload, and no room is taken. Puts are abandoned behind their
    /// callers' backs, so this waits.
    pub async fn until_empty(&self) {
        for node in &self.nodes {
            let left = || node.store.usage().chunks > 0 || !node.store.blobs().is_empty() || node.uploads() > 0;
            eventually("an abandoned put leaves nothing", || !left()).await;
        }
    }

    /// Every node reads these bytes, and as often as it is asked.
    pub async fn assert_readable(&self, readers: impl IntoIterator<Item = usize>, id: BlobId, bytes: &[u8]) {
        for reader in readers {
            assert!(self.nodes[reader].get(id).await.unwrap() == bytes, "node {reader} reads what was put");
        }
    }
}

impl Net {
    /// What nodes that are added from now on have instead, by the same names or others.
    pub fn set_origins(&mut self, specs: &[String]) {
        self.setup.origins = specs.iter().map(|spec| spec.parse().unwrap()).collect();
    }
}

/// What an earlier run left to a thread for blocking work, whom nobody waits for, holds its store a moment longer than its tasks.
/// Waits until whoever had it open before has let it go.
pub async fn open(config: StoreConfig) -> Store {
    let store = OnceLock::new();
    let free = || match Store::open(config.clone()) {
        Err(OpenError::Locked { .. }) => false,
        opened => store.set(opened.unwrap()).is_ok(),
    };
    eventually("the store is free", free).await;
    store.into_inner().unwrap()
}

/// Peers that have no processor for 2 s are not dead.
pub fn patient() -> PeerConfig {
    let long = Duration::from_secs(3);
    PeerConfig { connect_timeout: long, stall: long, ping_timeout: long, ..PeerConfig::default() }
}

impl Node {
    async fn start(index: usize, address: IpAddr, home: PathBuf, capacity: u64, config: SwarmConfig, origins: Origins) -> Self {
        let store = open(StoreConfig { dir: home.clone(), capacity }).await;
        let quick = ServerConfig { drain: Duration::ZERO, ..ServerConfig::default() };
        let server = Server::bind(SocketAddr::new(address, 0), quick).await.unwrap();
        let info = NodeInfo {
            id: format!("n{index}").parse().unwrap(),
            http: server.local_addr(),
            zone: String::new(),
            weight: 100,
            capacity: None,
            state: NodeState::Ready,
            version: String::new(),
        };
        let view = watch::Sender::new(Arc::new(View::fixed(info.id.clone(), Vec::new())));
        let client = PeerClient::new(patient());
        let swarm = Swarm::new(config, store.clone(), client, view.subscribe(), origins);
        let (peer, stop) = (Arc::new(Peer::new(swarm.clone())), CancellationToken::new());
        let public = Arc::new(NoPublicApi);
        let backends = Backends {
            public: public.clone(),
            names: public.clone(),
            jobs: public,
            peers: peer.clone(),
            doors: Vec::new(),
            tokens: None,
        };
        let serving = tokio::spawn(server.serve(backends, stop.clone()));
        Self { info, swarm, store, peer, home, view, stop, serving }
    }

    /// The node's process is gone: nobody listens, and its connections are closed.
    pub async fn crash(&mut self) {
        self.stop.cancel();
        (&mut self.serving).await.unwrap();
    }

    pub async fn put(&self, bytes: &[u8]) -> Result<Put, PutError> {
        self.swarm.put(None, PutOptions::default(), body(bytes)).await
    }

    pub async fn get(&self, id: BlobId) -> Result<Vec<u8>, ReadError> {
        let content = self.swarm.open_blob(id).await.unwrap();
        self.drain(&content).await
    }

    /// All of it, through the stream.
    pub async fn drain(&self, content: &Content) -> Result<Vec<u8>, ReadError> {
        let pieces = self.swarm.stream(content, ByteRange::new(0, content.size()));
        let whole = pieces.try_fold(BytesMut::new(), |mut whole, piece| async move {
            whole.extend_from_slice(&piece);
            Ok(whole)
        });
        Ok(whole.await?.to_vec())
    }

    /// The file of a blob's bytes on its disk.
    pub fn data(&self, id: BlobId) -> PathBuf {
        let id = id.to_string();
        self.home.join("blobs").join(&id[..2]).join(&id)
    }

    /// Turns a bit of a blob on its disk.
    pub fn spoil(&self, id: BlobId, at: u64) {
        let file = std::fs::File::options().read(true).write(true).open(self.data(id)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    /// Files of uploads on its disk.
    pub fn uploads(&self) -> usize {
        std::fs::read_dir(self.home.join("uploads")).unwrap().count()
    }
}

pub fn manifest_of(content: &Content) -> Arc<Manifest> {
    match content.source() {
        Source::Blob(manifest) => Arc::clone(manifest),
        Source::Object(_) => panic!("{content} is not a blob"),
    }
}

/// Bytes that nobody can tell from others, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Bytes {
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let words = std::iter::repeat_with(|| numbers.next().to_le_bytes());
    words.flatten().take(len).collect::<Vec<_>>().into()
}

/// Splitmix64.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A body in pieces that fit no chunk.
pub fn body(bytes: &[u8]) -> ByteStream {
    let pieces: Vec<_> = bytes.chunks(10_007).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

/// Waits for what must come about, but not for ever.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}
