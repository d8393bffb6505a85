//! Some nodes on this machine, each a process with a directory, started and ended by the test.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use herring_blob::BlobId;
use herring_http_api::ByteStream;
use herring_http_api::client::{ApiClient, PeerConfig};
use herring_http_api::tls::ClientTls;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::authority::{Authority, Pair};

pub const HERRING: &str = env!("CARGO_BIN_EXE_herring");
/// Long enough for a slow machine, short enough that a hang is found. Never asserted on.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How the nodes of a test are started.
#[derive(Clone)]
pub struct Plan {
    pub nodes: usize,
    pub replicas: usize,
    pub mounts: bool,
    /// Each `NAME=URL`.
    pub origins: Vec<String>,
    pub capacity: &'static str,
    /// Whose certificates the nodes have; without one they speak in clear.
    pub authority: Option<Arc<Authority>>,
    /// The tokens that the nodes know, and one of them, of an admin, that the test shows.
    pub tokens: Option<(PathBuf, String)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { nodes: 3, replicas: 2, mounts: false, origins: Vec::new(), capacity: "10GiB", authority: None, tokens: None }
    }
}

pub struct Swarm {
    #[expect(dead_code, reason = "the directory is removed when this is dropped")]
    dir: TempDir,
    pub nodes: Vec<Node>,
    plan: Plan,
    runtime: tokio::runtime::Runtime,
}

pub struct Node {
    pub http: SocketAddr,
    pub gossip: SocketAddr,
    pub dir: PathBuf,
    /// Whom to trust, where it speaks TLS.
    pub ca: Option<PathBuf>,
    /// What it shows, where it speaks TLS.
    pub own: Option<Pair>,
    pub child: Option<Child>,
}

impl Swarm {
    /// Starts the nodes and waits until all see each other ready.
    pub fn start(plan: Plan) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = |n: usize| Node {
            http: free_port(),
            gossip: free_port(),
            dir: dir.path().join(format!("n{}", n + 1)),
            ca: plan.authority.as_ref().map(|authority| authority.ca()),
            own: plan.authority.as_ref().map(|authority| authority.issue(&format!("n{}", n + 1))),
            child: None,
        };
        let nodes = (0..plan.nodes).map(node).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut swarm = Self { nodes, plan, runtime, dir };
        (0..swarm.nodes.len()).for_each(|n| swarm.launch(n));
        swarm.wait_for_members(swarm.nodes.len());
        swarm
    }

    /// Starts node `n` (from 0), or starts it again.
    pub fn launch(&mut self, n: usize) {
        let seeds: Vec<SocketAddr> = self.nodes.iter().map(|node| node.gossip).collect();
        let node = &mut self.nodes[n];
        std::fs::create_dir_all(&node.dir).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(node.dir.join("log")).unwrap();
        let mut command = Command::new(HERRING);
        command.arg("node").args(["--id", &format!("n{}", n + 1), "--replicas", &self.plan.replicas.to_string()]);
        command.arg("--data-dir").arg(node.dir.join("data")).args(["--capacity", self.plan.capacity]);
        command.args(["--listen", &node.http.to_string(), "--gossip", &node.gossip.to_string()]);
        seeds.iter().filter(|seed| **seed != node.gossip).for_each(|seed| {
            command.args(["--seed", &seed.to_string()]);
        });
        if self.plan.mounts {
            command.arg("--mount").arg(node.mount());
        }
        self.plan.origins.iter().for_each(|origin| {
            command.args(["--origin", origin]);
        });
        if let Some((Pair { cert, key }, ca)) = node.own.as_ref().zip(node.ca.as_ref()) {
            command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key).arg("--tls-ca").arg(ca);
        }
        if let Some((tokens, _)) = &self.plan.tokens {
            command.arg("--tokens").arg(tokens);
        }
        node.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Waits until every running node is ready and sees `count` ready members, all in the same epoch, which it returns.
    pub fn wait_for_members(&self, count: usize) -> String {
        let mut epoch = None;
        let running: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].child.is_some()).collect();
        wait_until(&format!("{count} members on every node"), || {
            let seen: Vec<Option<(usize, String)>> = running.iter().map(|n| self.members(*n)).collect();
            let agreed = seen[0].clone().filter(|(ready, _)| *ready == count && seen.iter().all(|view| *view == seen[0]));
            epoch = agreed.map(|(_, epoch)| epoch);
            epoch.is_some()
        });
        epoch.expect("it was waited for")
    }

    /// How many ready members node `n` sees, and its epoch.
    pub fn members(&self, n: usize) -> Option<(usize, String)> {
        self.block(async { self.api(n).ready().await }).ok()?;
        let cluster = self.block(async { self.api(n).cluster().await }).ok()?;
        let ready = cluster.members.iter().filter(|member| member.state == "ready").count();
        (ready == cluster.members.len()).then_some((ready, cluster.epoch))
    }

    pub fn api(&self, n: usize) -> ApiClient {
        let tls = self.nodes[n].ca.as_ref().map(|ca| ClientTls::load(ca, None).unwrap());
        let token = self.plan.tokens.as_ref().map(|(_, token)| token.parse().unwrap());
        ApiClient::with_config(&self.nodes[n].url(), &PeerConfig { tls, token, ..PeerConfig::patient() }).unwrap()
    }

    pub fn block<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await.expect("the test's own deadline") })
    }
}

impl Node {
    pub fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.http)
    }

    pub fn mount(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    pub fn blob(&self, id: BlobId) -> PathBuf {
        self.mount().join("blobs").join(id.to_string())
    }

    pub fn origin(&self, origin: &str) -> PathBuf {
        self.mount().join("origins").join(origin)
    }

    /// SIGSTOP, SIGCONT and the like.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().expect("the node is running")), signal).unwrap();
    }

    /// `kill -9`, and reaped.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM (or another signal), and its exit status.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let mut child = self.child.take().expect("the node is running");
        let mut status = None;
        wait_until("the node to end", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
            detach(&node.mount());
            if std::thread::panicking() {
                let log = std::fs::read_to_string(node.dir.join("log")).unwrap_or_default();
                eprintln!("--- {}\n{log}", node.dir.display());
            }
        }
    }
}

/// Takes away what a killed node left mounted.
pub fn detach(mount: &Path) {
    if is_mounted(mount) {
        let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
    }
}

pub fn is_mounted(mount: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == mount.to_str())
}

pub fn stream(bytes: Bytes) -> ByteStream {
    let pieces: Vec<_> = bytes.chunks(1 << 20).map(|piece| Ok(bytes.slice_ref(piece))).collect();
    Box::pin(futures_util::stream::iter(pieces))
}

pub async fn collect(mut body: ByteStream) -> Vec<u8> {
    use futures_util::StreamExt;
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    whole
}

/// The origin sent each byte once, as a rule. A node that has no processor for a second is taken for silent, and others ask in its place; all of
/// them never do. That it is exactly once is held where no time passes, in the engine's tests.
pub fn assert_about_once(asked: u64, unique: u64) {
    assert!((unique..2 * unique).contains(&asked), "{asked} for {unique}");
}

/// Polls until `condition` holds; panics after [`DEADLINE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Status and answer of one HTTP/1.1 request. `head`: its first lines, without those that all have.
pub fn request(server: SocketAddr, head: &str, body: &[u8]) -> (u16, String) {
    let mut socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(socket, "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    // A server that refuses may close before it has read all.
    let _ = socket.write_all(body);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"));
    (status, answer)
}

/// The same bytes for the same seed on every machine.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut word).take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// A port that nobody has just now, below those that the kernel hands out by itself.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests of other processes run side by side: each begins elsewhere.
    let start = u16::try_from(std::process::id() % 300 * 40).unwrap();
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// A first port of which `herring up` can have all that it needs for three nodes.
pub fn free_base() -> u16 {
    // Tests of one process run side by side: each begins elsewhere.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 200).unwrap() + NEXT.fetch_add(67, Ordering::Relaxed) % 200;
    let bases = (0..200).map(|n| 12_000 + (start + n) % 200 * 30);
    let is_free = |port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    bases.into_iter().find(|base| (0..22).all(|offset| is_free(base + offset))).expect("some ports are free")
}

/// Whether the machine has what a test needs. Where `HERRING_REQUIRE` names it, it must.
pub fn have(need: &str, there: bool) -> bool {
    let required = std::env::var("HERRING_REQUIRE").unwrap_or_default();
    assert!(there || !required.split(',').any(|one| one == need), "HERRING_REQUIRE names {need}, which is not here");
    if !there {
        eprintln!("skipped: no {need} on this machine");
    }
    there
}

pub fn have_fuse() -> bool {
    have("fuse", std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok())
}
