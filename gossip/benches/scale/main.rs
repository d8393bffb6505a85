//! What gossip costs a node among 10 to 3,000, and how fast news spread: the tables of docs/scale.md.
//!
//! `cargo bench -p herring-gossip --bench scale [-- NODES…]`; all of it takes two minutes.
//!
//! One real node is measured, on a thread of its own. All others are one chitchat server, which was given the states of so many nodes and
//! answers on the addresses of all of them. It asks the node as often as others would, and its heartbeats go on as theirs would.

mod crowd;
mod spread;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use herring_gossip::{Gossip, GossipConfig, NodeInfo, NodeState};

use crate::crowd::Crowd;

const NODES: [usize; 6] = [10, 100, 300, 1_000, 2_000, 3_000];
/// Between two rounds, as in life.
const INTERVAL: Duration = Duration::from_millis(200);
/// Of a node in a round: it asks three others, and three ask it.
const HANDSHAKES: f64 = 6.0;
/// How long is watched.
const WATCH: Duration = Duration::from_secs(8);
/// For a node to have met all others.
const JOIN: Duration = Duration::from_secs(60);

fn main() {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let nodes = if asked.is_empty() { NODES.to_vec() } else { asked };
    println!(
        "| nodes | SYN | SYN-ACK | ACK | in and out, KB/s | CPU of a round | of a core | a joiner knows all after | by messages | of bytes |"
    );
    println!("| --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |");
    for count in nodes {
        println!("{}", row(count));
    }
    spread::table();
}

fn row(count: usize) -> String {
    let crowd = Crowd::start(count);
    let began = Instant::now();
    let node = Node::start(crowd.address());
    crowd.talk_to(node.address);
    let joined = node.met(count).map(|at| at - began);
    let join = crowd.count();
    let before = (crowd.count(), node.cpu());
    std::thread::sleep(WATCH);
    let (told, cpu) = (crowd.count().since(before.0), node.cpu() - before.1);
    // The crowd, which is all others on one core, is late where it is large. What it managed says what a handshake costs.
    let share = HANDSHAKES / told.messages[1].max(1) as f64;
    let (bytes, work) = (told.bytes.iter().sum::<u64>() as f64 * share, cpu.as_secs_f64() * share);
    let after = joined.map_or_else(|| format!("not in {JOIN:?}"), |took| format!("{:.1} s", took.as_secs_f64()));
    format!(
        "| {count} | {} | {} | {} | {:.0} | {:.2} ms | {:.1} % | {after} | {} | {} KB |",
        told.mean(0),
        told.mean(1),
        told.mean(2),
        bytes / INTERVAL.as_secs_f64() / 1e3,
        work * 1e3,
        work * 100.0 / INTERVAL.as_secs_f64(),
        join.messages.iter().sum::<u64>(),
        join.bytes.iter().sum::<u64>() / 1_000,
    )
}

/// What a node says of itself, with every value as long as in life.
pub fn info(name: &str) -> NodeInfo {
    NodeInfo {
        id: name.parse().expect("a valid id"),
        http: ([127, 0, 0, 1], 7070).into(),
        zone: "rack-17".into(),
        weight: 100,
        capacity: Some(4 << 40),
        state: NodeState::Ready,
        version: "0.1.0".into(),
    }
}

/// The node that is measured.
struct Node {
    address: SocketAddr,
    /// When it had met so many.
    asked: tokio::sync::mpsc::UnboundedSender<(usize, mpsc::Sender<Instant>)>,
    /// Where the kernel says what its thread has used.
    used: String,
}

impl Node {
    fn start(seed: SocketAddr) -> Self {
        let (told, hears) = mpsc::channel();
        let (asked, mut asks) = tokio::sync::mpsc::unbounded_channel::<(usize, mpsc::Sender<Instant>)>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let thread = std::fs::read_link("/proc/thread-self").expect("Linux");
                let config = GossipConfig::new(info("n-0123456789ab"), ([127, 0, 0, 1], 0).into());
                // On a busy machine nobody is to be taken for gone, since that would build a ring.
                let config = GossipConfig { seeds: vec![seed.to_string()], grace: JOIN, interval: INTERVAL, ..config };
                let gossip = Gossip::start(config).await.expect("a free port");
                let _ = told.send((gossip.address(), format!("/proc/{}/schedstat", thread.display())));
                while let Some((count, answer)) = asks.recv().await {
                    let mut views = gossip.view();
                    let met = views.wait_for(|view| view.members().len() > count);
                    if tokio::time::timeout(JOIN, met).await.is_ok() {
                        let _ = answer.send(Instant::now());
                    }
                }
            });
        });
        let (address, used) = hears.recv().expect("it starts");
        Self { address, asked, used }
    }

    fn met(&self, count: usize) -> Option<Instant> {
        let (answer, answered) = mpsc::channel();
        self.asked.send((count, answer)).expect("it runs");
        answered.recv().ok()
    }

    fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(&self.used).expect("its thread runs");
        Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds"))
    }
}
