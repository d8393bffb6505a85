use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_http_api::client::ApiClient;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::node::{Node, Ports};

/// Starting takes about a second; a build without optimisation on a busy machine some more.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Puts under way: each waits for the disk.
const PUTS: usize = 16;
/// For the runtime to see a signal that came.
const GLANCE: Duration = Duration::from_millis(1);

#[derive(Debug, Args)]
pub struct SwarmArguments {
    /// The herring program [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    herring: Option<PathBuf>,
    /// Where the nodes' data is, in a directory of its own that is removed afterwards: choose the disk [default: the
    /// system's temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
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

/// The nodes that are measured. Our own are two: node 1 owns everything, and node 2, of weight 0, has only what it has
/// read itself, so that what is put into node 1 is cold at node 2.
pub struct Swarm {
    nodes: Vec<Node>,
    runtime: Runtime,
    /// By Ctrl-C or SIGTERM: that ends the measurement in good order, so that nothing is left behind.
    asked_to_stop: Arc<AtomicBool>,
    /// Of all nodes' data; removed at the end.
    home: TempDir,
}

impl Swarm {
    pub fn start(arguments: &SwarmArguments, origins: &[String]) -> Result<Self, FuseError> {
        let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
        let home = tempfile::Builder::new().prefix("loadtest-").tempdir_in(&parent).map_err(FuseError::at(&parent))?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(FuseError::at(&parent))?;
        let asked_to_stop = runtime.block_on(async { watch_signals() }).map_err(FuseError::at(Path::new("signals")))?;
        let mut swarm = Self { nodes: Vec::new(), runtime, asked_to_stop, home };
        match (&arguments.node, &arguments.backing, &arguments.mount) {
            (Some(url), Some(dir), Some(mount)) => swarm.nodes.push(Node::running(url, dir, mount)),
            _ => swarm.spawn(&program(arguments)?, origins)?,
        }
        swarm.ready()?;
        Ok(swarm)
    }

    fn spawn(&mut self, program: &Path, origins: &[String]) -> Result<(), FuseError> {
        let free = || Ports::free().map_err(FuseError::at(self.home.path()));
        let (one, two) = (free()?, free()?);
        for (id, ports, seed, weight) in [("n1", one, two, "100"), ("n2", two, one, "0")] {
            let settings = ["--seed", &seed.gossip.to_string(), "--weight", weight, "--replicas", "1"].map(str::to_owned);
            let origins = origins.iter().flat_map(|origin| ["--origin".to_owned(), origin.clone()]);
            let settings: Vec<String> = settings.into_iter().chain(origins).collect();
            self.nodes.push(Node::spawn(program, id, self.home.path(), ports, &settings)?);
        }
        Ok(())
    }

    /// Waits until each node serves, is mounted and sees all others.
    fn ready(&mut self) -> Result<(), FuseError> {
        let (count, deadline) = (self.nodes.len(), Instant::now() + READY_DEADLINE);
        for node in &mut self.nodes {
            let client = ApiClient::new(&node.url)?;
            while let Err(detail) = self.runtime.block_on(serves(&client, node, count)) {
                node.check()?;
                if self.asked_to_stop.load(Ordering::Relaxed) {
                    return Err(FuseError::Interrupted);
                }
                if Instant::now() > deadline {
                    let (id, seconds, log) = (node.id.clone(), READY_DEADLINE.as_secs(), node.log());
                    return Err(FuseError::NotReady { id, seconds, detail, log });
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// Fails where somebody wants an end. Takes a millisecond, so it is for between passes.
    pub fn go_on(&self) -> Result<(), FuseError> {
        self.runtime.block_on(async { sleep(GLANCE).await });
        if self.asked_to_stop.load(Ordering::Relaxed) { Err(FuseError::Interrupted) } else { Ok(()) }
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
        let client = ApiClient::new(&self.first().url)?;
        let puts = stream::iter(blobs).map(|blob| client.put(Some(blob.id), Some(blob.size), blob.stream()));
        let all = puts.buffer_unordered(PUTS).map_err(FuseError::from).try_for_each(|_| async { Ok(()) });
        self.runtime.block_on(all)
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
        let client = ApiClient::new(&self.first().url)?;
        let deletes = stream::iter(blobs).map(|blob| client.delete(blob.id)).buffer_unordered(PUTS);
        self.runtime.block_on(deletes.map_err(FuseError::from).try_for_each(|()| async { Ok(()) }))
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.nodes.iter().for_each(Node::ask_to_stop);
        self.nodes.iter_mut().for_each(Node::wait);
    }
}

/// From here on Ctrl-C and SIGTERM set a flag instead of ending this process. The task ends with its runtime.
fn watch_signals() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let seen = flag.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        seen.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}

async fn serves(client: &ApiClient, node: &Node, count: usize) -> Result<(), String> {
    client.ready().await?;
    let members = client.cluster().await.map_err(|error| error.to_string())?.members.len();
    if members < count {
        return Err(format!("it sees {members} of {count} nodes"));
    }
    if node.is_mounted() { Ok(()) } else { Err(format!("nothing is mounted at {}", node.mount.display())) }
}

fn program(arguments: &SwarmArguments) -> Result<PathBuf, FuseError> {
    let beside = || std::env::current_exe().map(|path| path.with_file_name("herring"));
    let program = arguments.herring.clone().map_or_else(beside, Ok).map_err(FuseError::at(Path::new("/proc/self/exe")))?;
    if program.is_file() { Ok(program) } else { Err(FuseError::NoProgram(program)) }
}
