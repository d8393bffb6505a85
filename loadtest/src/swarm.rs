use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_http_api::client::{ApiClient, ClientError, PeerConfig};
use herring_http_api::tls::ClientTls;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::interrupt::Interrupt;
use crate::node::{Launch, Node, Ports};

/// Starting takes about a second; a build without optimisation on a busy machine some more.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Puts under way: each waits for the disk.
const PUTS: usize = 16;

/// What nodes of our own are made of.
#[derive(Debug, Args)]
pub struct HomeArguments {
    /// The herring program [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub herring: Option<PathBuf>,
    /// Where the nodes' data is, in a directory of its own that is removed afterwards: choose the disk [default: the
    /// system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl HomeArguments {
    /// A directory for all nodes' data, removed with the value.
    pub fn make(&self) -> Result<TempDir, FuseError> {
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        tempfile::Builder::new().prefix("loadtest-").tempdir_in(&parent).map_err(FuseError::at(&parent))
    }

    pub fn program(&self) -> Result<PathBuf, FuseError> {
        let beside = || std::env::current_exe().map(|path| path.with_file_name("herring"));
        let program = self.herring.clone().map_or_else(beside, Ok).map_err(FuseError::at(Path::new("/proc/self/exe")))?;
        if program.is_file() { Ok(program) } else { Err(FuseError::NoProgram(program)) }
    }
}

#[derive(Debug, Args)]
pub struct SwarmArguments {
    #[command(flatten)]
    home: HomeArguments,
    /// Measures a node that runs already, and puts blobs into it: needs --mount and --backing, and measures nothing cold
    #[arg(long, value_name = "URL", requires_all = ["mount", "backing"])]
    node: Option<String>,
    /// Where the node of --node is mounted
    #[arg(long, value_name = "DIR", requires = "node")]
    mount: Option<PathBuf>,
    /// The data directory of the node of --node
    #[arg(long, value_name = "DIR", requires = "node")]
    backing: Option<PathBuf>,
}

/// The nodes that are measured.
pub struct Swarm {
    nodes: Vec<Node>,
    interrupt: Interrupt,
    /// How it is asked, where that is by TLS.
    tls: Option<ClientTls>,
    /// Of all nodes' data; removed at the end.
    home: TempDir,
}

/// Nodes that hang until this is dropped, which is before the swarm is: their sockets are open and take what fits into their buffers.
pub struct Paused(Vec<Pid>);

impl Drop for Paused {
    fn drop(&mut self) {
        for id in &self.0 {
            let _ = kill_process(*id, Signal::CONT);
        }
    }
}

impl Swarm {
    /// One that runs already, or two of our own: node 1 owns everything, and node 2, of weight 0, has only what it has read itself, so that what
    /// is put into node 1 is cold at node 2.
    pub fn start(arguments: &SwarmArguments, origins: &[String]) -> Result<Self, FuseError> {
        let mut swarm = Self::empty(&arguments.home)?;
        match (&arguments.node, &arguments.backing, &arguments.mount) {
            (Some(url), Some(dir), Some(mount)) => swarm.nodes.push(Node::running(url, dir, mount)),
            _ => {
                let origins: Vec<String> = origins.iter().flat_map(|origin| ["--origin".to_owned(), origin.clone()]).collect();
                let settings = |weight: &str| [flags(&["--weight", weight, "--replicas", "1"]), origins.clone()].concat();
                swarm.spawn(&arguments.home.program()?, true, &[settings("100"), settings("0")])?;
            }
        }
        swarm.ready()?;
        Ok(swarm)
    }

    /// `count` nodes of our own that are alike, without mounts.
    pub fn of_equals(home: &HomeArguments, count: usize, settings: &[&str]) -> Result<Self, FuseError> {
        let mut swarm = Self::empty(home)?;
        swarm.spawn(&home.program()?, false, &vec![flags(settings); count])?;
        swarm.ready()?;
        Ok(swarm)
    }

    /// Two nodes of our own without mounts: node 1 owns everything, node 2 has only what it has fetched. `tls`: how they are asked whose
    /// settings say that they speak it.
    pub fn of_one_owner(home: &HomeArguments, settings: &[String], tls: Option<ClientTls>) -> Result<Self, FuseError> {
        let mut swarm = Self::empty(home)?;
        swarm.tls = tls;
        let own = |weight| [flags(&["--weight", weight, "--replicas", "1"]), settings.to_vec()].concat();
        swarm.spawn(&home.program()?, false, &[own("100"), own("0")])?;
        if swarm.tls.is_some() {
            swarm.nodes.iter_mut().for_each(|node| node.url = node.url.replacen("http:", "https:", 1));
        }
        swarm.ready()?;
        Ok(swarm)
    }

    /// `count` nodes of our own that are alike, without mounts, which their peers reach where `way` says that it leads to them.
    pub fn behind(
        home: &HomeArguments,
        count: usize,
        settings: &[&str],
        mut way: impl FnMut(SocketAddr) -> io::Result<SocketAddr>,
    ) -> Result<Self, FuseError> {
        let mut swarm = Self::empty(home)?;
        let ports = swarm.ports(count)?;
        let advertised = ports.iter().map(|ports| way(ports.http)).collect::<Result<Vec<_>, _>>();
        let advertised = advertised.map_err(FuseError::at(Path::new("relays")))?;
        let own = advertised.iter().map(|way| [flags(settings), flags(&["--advertise", &way.to_string()])].concat());
        swarm.launch(&home.program()?, false, &ports, &own.collect::<Vec<_>>())?;
        swarm.ready()?;
        Ok(swarm)
    }

    fn empty(home: &HomeArguments) -> Result<Self, FuseError> {
        let home = home.make()?;
        Ok(Self { nodes: Vec::new(), interrupt: Interrupt::new()?, tls: None, home })
    }

    /// A node for each of `settings`, each told of all others.
    fn spawn(&mut self, program: &Path, mounted: bool, settings: &[Vec<String>]) -> Result<(), FuseError> {
        let ports = self.ports(settings.len())?;
        self.launch(program, mounted, &ports, settings)
    }

    fn ports(&self, count: usize) -> Result<Vec<Ports>, FuseError> {
        (0..count).map(|_| Ports::free()).collect::<Result<Vec<_>, _>>().map_err(FuseError::at(self.home.path()))
    }

    fn launch(&mut self, program: &Path, mounted: bool, ports: &[Ports], settings: &[Vec<String>]) -> Result<(), FuseError> {
        let home = self.home.path();
        for (at, own) in settings.iter().enumerate() {
            let others = ports.iter().enumerate().filter(|(other, _)| *other != at);
            let seeds = others.flat_map(|(_, ports)| flags(&["--seed", &ports.gossip.to_string()]));
            let (id, settings): (_, Vec<String>) = (format!("n{}", at + 1), seeds.chain(own.iter().cloned()).collect());
            let launch = Launch { program, id: &id, home, ports: ports[at], host: None, mounted, settings: &settings };
            self.nodes.push(Node::spawn(&launch)?);
        }
        Ok(())
    }

    /// Waits until each node serves, is mounted where it should be, and sees all others alive.
    pub fn ready(&mut self) -> Result<(), FuseError> {
        let (count, deadline) = (self.nodes.len(), Instant::now() + READY_DEADLINE);
        for at in 0..count {
            let client = client(&self.nodes[at].url, self.tls.as_ref())?;
            while let Err(detail) = self.interrupt.block_on(serves(&client, &self.nodes[at], count)) {
                // Whichever has ended, the others wait for it.
                self.nodes.iter_mut().try_for_each(Node::check)?;
                if Instant::now() > deadline {
                    let (node, seconds) = (&self.nodes[at], READY_DEADLINE.as_secs());
                    return Err(FuseError::NotReady { id: node.id.clone(), seconds, detail, log: node.log() });
                }
                self.interrupt.wait(POLL)?;
            }
        }
        Ok(())
    }

    /// Fails where somebody wants an end. Takes a millisecond, so it is for between passes.
    pub fn go_on(&self) -> Result<(), FuseError> {
        self.interrupt.go_on()
    }

    /// Does nothing for a while; fails where somebody wants an end.
    pub fn rest(&self, duration: Duration) -> Result<(), FuseError> {
        self.interrupt.wait(duration)
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The last `count` nodes hang while the value lives.
    pub fn pause(&self, count: usize) -> Paused {
        let last = self.nodes.iter().rev().take(count);
        let paused = Paused(last.clone().filter_map(Node::pid).collect());
        last.for_each(|node| node.signal(Signal::STOP));
        paused
    }

    /// The node that blobs are put into.
    pub fn first(&self) -> &Node {
        &self.nodes[0]
    }

    /// The node that has nothing, where there is one.
    pub fn second(&self, what: &'static str) -> Result<&Node, FuseError> {
        self.nodes.get(1).ok_or(FuseError::OneNode(what))
    }

    /// What a reader of the figures must know.
    pub fn note(&self) -> Option<String> {
        let foreign = || format!("measured at {}, which ran already: its CPU seconds are not known", self.first().url);
        self.nodes.iter().any(|node| !node.is_ours()).then(foreign)
    }

    /// Seconds of all cores that our nodes have used together.
    pub fn cpu_seconds(&self) -> f64 {
        self.nodes.iter().map(Node::cpu_seconds).sum()
    }

    /// Puts blobs into the first node.
    pub fn put(&self, blobs: &[TestBlob]) -> Result<(), FuseError> {
        // Connections of its own: those of earlier puts stood still while we measured.
        let client = client(&self.first().url, self.tls.as_ref())?;
        let puts = stream::iter(blobs).map(|blob| client.put(Some(blob.id), Some(blob.size), blob.stream()));
        let all = puts.buffer_unordered(PUTS).map_err(FuseError::from).try_for_each(|_| async { Ok(()) });
        self.interrupt.block_on(all)
    }

    /// Puts blobs that nobody has asked node 2 for: its disk must not know them.
    pub fn put_cold(&self, blobs: &[TestBlob]) -> Result<(), FuseError> {
        self.put(blobs)?;
        let second = self.second("cold reading")?;
        let known = blobs.iter().map(|blob| second.backing(blob.id)).find(|path| path.exists());
        known.map_or(Ok(()), |path| Err(FuseError::NotCold(path)))
    }

    /// Gives the disk back to later runs.
    pub fn delete(&self, blobs: &[TestBlob]) -> Result<(), FuseError> {
        let client = client(&self.first().url, self.tls.as_ref())?;
        let deletes = stream::iter(blobs).map(|blob| client.delete(blob.id)).buffer_unordered(PUTS);
        self.interrupt.block_on(deletes.map_err(FuseError::from).try_for_each(|()| async { Ok(()) }))
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.nodes.iter().for_each(Node::ask_to_stop);
        self.nodes.iter_mut().for_each(Node::wait);
    }
}

/// A patient one.
fn client(url: &str, tls: Option<&ClientTls>) -> Result<ApiClient, ClientError> {
    ApiClient::with_config(url, &PeerConfig { tls: tls.cloned(), ..PeerConfig::patient() })
}

async fn serves(client: &ApiClient, node: &Node, count: usize) -> Result<(), String> {
    client.ready().await?;
    let members = client.cluster().await.map_err(|error| error.to_string())?.members;
    let members = members.iter().filter(|member| member.state == "ready").count();
    if members < count {
        return Err(format!("it sees {members} of {count} nodes ready"));
    }
    if node.is_mounted() { Ok(()) } else { Err(format!("nothing is mounted at {}", node.mount.display())) }
}

pub fn flags(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}
