use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{ChannelTransport, RecvOutcome, SendOutcome, Socket};
use herring_ring::NodeId;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::*;

/// Of paused time, unless a test says that it is about real sockets. Far above what any step needs.
const DEADLINE: Duration = Duration::from_secs(30);

/// The default grace.
const SHORT: Duration = Duration::from_secs(1);

/// For what has to be over within the grace: gossip picks its partners by chance, and a test must not depend on luck.
const LONG: Duration = Duration::from_secs(20);

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn config(name: &str, listen: &str, seeds: &[SocketAddr]) -> GossipConfig {
    let me = NodeInfo {
        id: id(name),
        http: "127.0.0.1:7070".parse().unwrap(),
        zone: String::new(),
        weight: 100,
        capacity: None,
        state: NodeState::Ready,
        version: "1".into(),
    };
    GossipConfig { seeds: seeds.iter().map(ToString::to_string).collect(), ..GossipConfig::new(me, listen.parse().unwrap()) }
}

/// Waits for a view that `wanted` holds of.
async fn until(gossip: &Gossip, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
    let mut views = gossip.view();
    let seen = timeout(DEADLINE, views.wait_for(|view| wanted(view))).await;
    match seen {
        Ok(view) => view.expect("the owner lives as long as its handle").clone(),
        Err(_) => panic!("{what}: not seen, last was {:?}", gossip.view().borrow()),
    }
}

async fn members(gossip: &Gossip, names: &[&str]) -> Arc<View> {
    until(gossip, "members", |view| view.members().iter().map(|m| m.id.as_str()).eq(names.iter().copied())).await
}

/// Nodes on a network in memory.
struct Net(Arc<ChannelTransport>);

impl Net {
    fn new() -> Self {
        Self(Arc::new(ChannelTransport::default()))
    }

    async fn start(&self, config: GossipConfig, generation: u64) -> Gossip {
        Gossip::start_over(config, self.0.clone(), generation).await.unwrap()
    }

    async fn three(&self, grace: Duration) -> [Gossip; 3] {
        let with_grace = |config: GossipConfig| GossipConfig { grace, ..config };
        let a = self.start(with_grace(config("a", "127.0.0.1:1", &[])), 1).await;
        let b = self.start(with_grace(config("b", "127.0.0.1:2", &[a.address()])), 1).await;
        let c = self.start(with_grace(config("c", "127.0.0.1:3", &[a.address()])), 1).await;
        for node in [&a, &b, &c] {
            members(node, &["a", "b", "c"]).await;
        }
        [a, b, c]
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_view_has_this_node_in_it() {
    let node = Net::new().start(config("a", "127.0.0.1:1", &[]), 1).await;
    let view = node.view().borrow().clone();
    assert_eq!(view.me(), &id("a"));
    assert_eq!(view.members().len(), 1);
    assert_eq!(view.ring().members().len(), 1);
    assert!(view.alone() && view.settled());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_settles_when_it_has_seen_the_others() {
    let net = Net::new();
    let a = net.start(config("a", "127.0.0.1:1", &[]), 1).await;
    let b = net.start(GossipConfig { settle: DEADLINE, ..config("b", "127.0.0.1:2", &[a.address()]) }, 1).await;
    let first = b.view().borrow().clone();
    assert!(!first.alone() && !first.settled());
    for node in [&a, &b] {
        members(node, &["a", "b"]).await;
        let view = until(node, "settled", View::settled).await;
        assert!(!view.alone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_survivor_settles_in_time_and_says_so() {
    let nobody = "127.0.0.1:9".parse().unwrap();
    let before = Instant::now();
    let node = Net::new().start(config("a", "127.0.0.1:1", &[nobody]), 1).await;
    assert!(!node.view().borrow().settled());
    let view = until(&node, "settled", View::settled).await;
    assert!(!view.alone() && view.members().len() == 1);
    let took = before.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(4), "{took:?}, on a clock that the test owns");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_see_the_same_have_one_epoch() {
    let nodes = Net::new().three(SHORT).await;
    let epochs: Vec<_> = nodes.iter().map(|node| node.view().borrow().epoch()).collect();
    assert_eq!(epochs, [epochs[0]; 3]);
}

#[tokio::test(start_paused = true)]
async fn one_that_falls_silent_is_a_suspect_and_then_gone() {
    let [a, b, c] = Net::new().three(SHORT).await;
    let full = a.view().borrow().epoch();
    let before = tokio::time::Instant::now();
    drop(c);
    let suspected = until(&a, "a suspect", |view| view.suspect(&id("c"))).await;
    assert_eq!(suspected.epoch(), full);
    let left = members(&a, &["a", "b"]).await;
    let took = before.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}, on a clock that the test owns");
    assert_eq!(members(&b, &["a", "b"]).await.epoch(), left.epoch());
    assert_ne!(left.epoch(), full);
}

#[tokio::test(start_paused = true)]
async fn a_quick_restart_changes_the_address_and_not_the_epoch() {
    let net = Net::new();
    let [a, b, c] = net.three(LONG).await;
    let mut views = a.view();
    let full = views.borrow_and_update().epoch();
    drop(c);
    let mut again = config("c", "127.0.0.1:4", &[b.address()]);
    again.me.http.set_port(7099);
    let _c = net.start(again, 2).await;
    let moved = |view: &View| view.get(&id("c")).is_some_and(|c| c.http.port() == 7099) && !view.suspect(&id("c"));
    let watch = async {
        loop {
            views.changed().await.unwrap();
            let view = views.borrow_and_update().clone();
            assert_eq!(view.epoch(), full, "{view:?}");
            if moved(&view) {
                return;
            }
        }
    };
    timeout(DEADLINE, watch).await.unwrap();
    // The dead generation is forgotten meanwhile; nothing of that shows.
    assert!(timeout(Duration::from_secs(10), views.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_short_partition_moves_nothing() {
    let net = Net::new();
    let [a, b, c] = net.three(LONG).await;
    let full = a.view().borrow().epoch();
    let cut = [(a.address(), c.address()), (b.address(), c.address())];
    for (from, to) in cut {
        net.0.remove_link(from, to).await;
    }
    until(&a, "a suspect", |view| view.suspect(&id("c"))).await;
    for (from, to) in cut {
        net.0.add_link(from, to).await;
    }
    let back = until(&a, "no suspect", |view| !view.suspect(&id("c"))).await;
    assert_eq!((back.epoch(), back.members().len()), (full, 3));
}

#[tokio::test(start_paused = true)]
async fn a_state_is_told_to_all() {
    let [a, b, c] = Net::new().three(SHORT).await;
    c.set_state(NodeState::Draining).await;
    assert_eq!(c.view().borrow().get(&id("c")).unwrap().state, NodeState::Draining);
    for node in [&a, &b] {
        let view = until(node, "draining", |view| view.get(&id("c")).unwrap().state == NodeState::Draining).await;
        assert_eq!(view.ring().members().len(), 2);
        assert_eq!(view.epoch(), c.view().borrow().epoch());
    }
}

#[tokio::test(start_paused = true)]
async fn a_weight_is_heard_before_the_state_that_is_said_after_it() {
    let net = Net::new();
    let a = net.start(config("a", "127.0.0.1:1", &[]), 1).await;
    let mut joining = config("b", "127.0.0.1:2", &[a.address()]);
    joining.me = NodeInfo { state: NodeState::Joining, capacity: Some(7), ..joining.me };
    let b = net.start(joining, 1).await;
    let of_b = |view: &View| view.get(&id("b")).map(|b| (b.weight, b.capacity, b.state));
    until(&a, "b and its capacity", |view| of_b(view) == Some((100, Some(7), NodeState::Joining))).await;
    b.set_weight(30).await;
    b.set_state(NodeState::Ready).await;
    let view = until(&a, "b ready", |view| of_b(view).is_some_and(|b| b.2 == NodeState::Ready)).await;
    assert_eq!(of_b(&view), Some((30, Some(7), NodeState::Ready)));
    assert_eq!(view.epoch(), b.view().borrow().epoch());
}

#[tokio::test(start_paused = true)]
async fn one_that_leaves_says_so_before_it_is_gone() {
    let [a, _b, c] = Net::new().three(SHORT).await;
    c.shutdown().await;
    let view = a.view().borrow().clone();
    assert_eq!(view.get(&id("c")).unwrap().state, NodeState::Draining);
    assert!(!view.suspect(&id("c")));
    members(&a, &["a", "b"]).await;
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_another_world() {
    let net = Net::new();
    let a = net.start(config("a", "127.0.0.1:1", &[]), 1).await;
    let stranger = GossipConfig { cluster: "elsewhere".into(), ..config("x", "127.0.0.1:2", &[a.address()]) };
    let _x = net.start(stranger, 1).await;
    let _b = net.start(config("b", "127.0.0.1:3", &[a.address()]), 1).await;
    members(&a, &["a", "b"]).await;
    assert!(timeout(Duration::from_secs(10), a.view().wait_for(|view| view.members().len() > 2)).await.is_err());
}

/// A network whose sockets break when told to, one at a time.
struct Fragile {
    net: Arc<ChannelTransport>,
    breaks: Arc<Notify>,
}

struct FragileSocket {
    socket: Box<dyn Socket>,
    breaks: Arc<Notify>,
}

#[async_trait]
impl Transport for Fragile {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(FragileSocket { socket: self.net.open(listen).await?, breaks: self.breaks.clone() }))
    }
}

#[async_trait]
impl Socket for FragileSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr()
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        self.socket.send(to, envelope).await
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        tokio::select! {
            received = self.socket.recv() => received,
            () = self.breaks.notified() => Err(anyhow::anyhow!("broken")),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_comes_back_and_nothing_moves() {
    let (net, breaks) = (Net::new(), Arc::new(Notify::new()));
    let fragile = Fragile { net: net.0.clone(), breaks: breaks.clone() };
    // The one that breaks is the others' only seed, and has none itself.
    let config_of_a = GossipConfig { grace: LONG, ..config("a", "127.0.0.1:1", &[]) };
    let a = Gossip::start_over(config_of_a, Arc::new(fragile), 1).await.unwrap();
    let b = net.start(config("b", "127.0.0.1:2", &[a.address()]), 1).await;
    let c = net.start(config("c", "127.0.0.1:3", &[a.address()]), 1).await;
    let full = members(&a, &["a", "b", "c"]).await.epoch();
    members(&b, &["a", "b", "c"]).await;
    members(&c, &["a", "b", "c"]).await;
    breaks.notify_one();
    until(&a, "the others, not heard since", |view| view.suspect(&id("b")) && view.suspect(&id("c"))).await;
    until(&a, "them again", |view| !view.suspect(&id("b")) && !view.suspect(&id("c"))).await;
    for node in [&a, &b, &c] {
        assert!(timeout(Duration::from_secs(10), node.view().wait_for(|view| view.epoch() != full)).await.is_err());
    }
}

#[tokio::test]
async fn real_sockets_carry_it() {
    let a = Gossip::start(config("a", "127.0.0.1:0", &[])).await.unwrap();
    let b = Gossip::start(config("b", "127.0.0.1:0", &[a.address()])).await.unwrap();
    let epoch = members(&a, &["a", "b"]).await.epoch();
    assert_eq!(members(&b, &["a", "b"]).await.epoch(), epoch);
    let address = b.address();
    b.shutdown().await;
    UdpSocket::bind(address).await.expect("the socket is closed when shutdown returns");
}

/// Keys that one can be told to replace.
fn keys(text: &str) -> watch::Sender<Arc<ClusterKeys>> {
    watch::Sender::new(Arc::new(text.parse().unwrap()))
}

async fn sealed(name: &str, keys: &watch::Sender<Arc<ClusterKeys>>, seeds: &[SocketAddr]) -> Gossip {
    let keys = Some(keys.subscribe());
    Gossip::start(GossipConfig { keys, grace: LONG, ..config(name, "127.0.0.1:0", seeds) }).await.unwrap()
}

#[tokio::test]
async fn only_who_has_the_key_is_a_member() {
    let (ours, theirs) = (keys(&ClusterKeys::generate()), keys(&ClusterKeys::generate()));
    let a = sealed("a", &ours, &[]).await;
    let b = sealed("b", &ours, &[a.address()]).await;
    let foreign = sealed("f", &theirs, &[a.address(), b.address()]).await;
    let clear = Gossip::start(config("c", "127.0.0.1:0", &[a.address(), b.address()])).await.unwrap();
    let epoch = members(&a, &["a", "b"]).await.epoch();
    let noise = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0..2000u32 {
        let datagram = [&n.to_le_bytes()[..], &vec![1; n as usize]].concat();
        noise.send_to(&datagram, [a.address(), b.address()][n as usize % 2]).await.unwrap();
    }
    let heard = |node: &Gossip| node.view().borrow().members().len();
    // Three rounds of a gossip that goes on beside all that.
    b.set_state(NodeState::Draining).await;
    until(&a, "what a member says", |view| view.get(&id("b")).is_some_and(|b| b.state == NodeState::Draining)).await;
    b.set_state(NodeState::Ready).await;
    until(&a, "what a member says", |view| view.epoch() == epoch).await;
    members(&b, &["a", "b"]).await;
    assert_eq!([&a, &b, &foreign, &clear].map(heard), [2, 2, 1, 1]);
}

#[tokio::test]
async fn keys_are_replaced_while_nodes_run() {
    let [old, new] = [ClusterKeys::generate(), ClusterKeys::generate()];
    let nodes = [keys(&old), keys(&old)];
    let a = sealed("a", &nodes[0], &[]).await;
    let b = sealed("b", &nodes[1], &[a.address()]).await;
    members(&a, &["a", "b"]).await;
    let mut weight = 200;
    for step in [format!("{old}{new}"), format!("{new}{old}"), new.clone()] {
        for node in &nodes {
            node.send_replace(Arc::new(step.parse().unwrap()));
            // Between the two, one has the new keys and the other the old ones.
            weight += 1;
            b.set_weight(weight).await;
            until(&a, "what is said with these keys", |view| view.get(&id("b")).is_some_and(|b| b.weight == weight)).await;
        }
    }
    let late = sealed("c", &keys(&old), &[a.address()]).await;
    let in_time = sealed("d", &keys(&new), &[a.address()]).await;
    members(&in_time, &["a", "b", "d"]).await;
    assert_eq!(late.view().borrow().members().len(), 1);
}

#[tokio::test]
async fn a_start_that_cannot_be_says_why() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Gossip::start(config("a", &address, &[])).await.unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }) && error.to_string().contains(&address), "{error}");

    let error = Gossip::start(config("a", "0.0.0.0:0", &[])).await.unwrap_err();
    assert!(matches!(error, StartError::Unreachable { .. }), "{error}");

    let mut absurd = config("a", "127.0.0.1:0", &[]);
    absurd.me.weight = 1_000_000;
    assert!(matches!(Gossip::start(absurd).await.unwrap_err(), StartError::Me(InfoError::Weight(_))));
}

#[tokio::test]
async fn an_advertised_address_makes_any_listen_reachable() {
    let mut everywhere = config("a", "0.0.0.0:0", &[]);
    everywhere.advertise = Some("127.0.0.1:0".parse().unwrap());
    let a = Gossip::start(everywhere).await.unwrap();
    assert!(a.address().ip().is_loopback() && a.address().port() != 0);
    let b = Gossip::start(config("b", "127.0.0.1:0", &[a.address()])).await.unwrap();
    members(&b, &["a", "b"]).await;
}
