use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Way;
use super::error::BootError;
use crate::error::FuseError;
use crate::interrupt::Interrupt;
use crate::lab::{LabError, address};
use crate::node::{Launch, Node, Ports, inside};
use crate::swarm::{HomeArguments, flags};

const POLL: Duration = Duration::from_millis(100);
/// Some ten nodes on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// What a node says that is asked too early.
const NOT_YET: &str = "wait until /readyz says so";
const HTTP: u16 = 7070;
const GOSSIP: u16 = 7071;

/// Nodes, each on a host of its own where that is possible. Node 1 owns everything; the others have what they have read.
pub struct Hosts {
    nodes: Vec<Node>,
    program: PathBuf,
    ports: Vec<Ports>,
    pub interrupt: Interrupt,
    /// Dropped when the nodes have ended.
    pub way: Way,
    home: TempDir,
}

impl Hosts {
    /// As many as there are `settings`, which are those beside what all have.
    pub fn start(home: &HomeArguments, way: Way, settings: &[Vec<String>]) -> Result<Self, BootError> {
        let count = settings.len();
        let ports = match &way {
            Way::Wires(_) => {
                (1..=count).map(|number| Ok(Ports { http: at(number, HTTP)?, gossip: at(number, GOSSIP)? })).collect()
            }
            Way::Loopback | Way::Longer(_) => {
                (0..count).map(|_| Ports::free().map_err(|error| wrong(error.to_string()))).collect::<Result<Vec<_>, _>>()
            }
        }?;
        let (program, home, interrupt) = (home.program()?, home.make()?, Interrupt::new()?);
        let mut hosts = Self { nodes: Vec::new(), program, ports, interrupt, way, home };
        for (number, own) in (1..=count).zip(settings) {
            hosts.launch(number, own)?;
        }
        (1..=count).try_for_each(|number| hosts.ready(number))?;
        Ok(hosts)
    }

    fn launch(&mut self, number: usize, own: &[String]) -> Result<(), BootError> {
        // One owner: what it has is cold everywhere else.
        let weight = if number == 1 { "100" } else { "0" };
        let all = flags(&["--replicas", "1", "--weight", weight, "--insecure"]);
        let others = self.ports.iter().enumerate().filter(|(other, _)| *other + 1 != number);
        let seeds = others.flat_map(|(_, ports)| flags(&["--seed", &ports.gossip.to_string()]));
        let settings: Vec<String> = all.into_iter().chain(seeds).chain(own.iter().cloned()).collect();
        let (id, host) = (format!("n{number}"), self.host(number));
        let settings = [settings, self.longer(number)?].concat();
        let (ports, home) = (self.ports[number - 1], self.home.path());
        let launch =
            Launch { program: &self.program, id: &id, home, ports, host: host.as_deref(), mounted: true, settings: &settings };
        self.nodes.push(Node::spawn(&launch)?);
        Ok(())
    }

    /// Where peers reach it, if not where it listens.
    fn longer(&self, number: usize) -> Result<Vec<String>, BootError> {
        let Way::Longer(relays) = &self.way else { return Ok(Vec::new()) };
        let address = relays.lengthen(self.ports[number - 1].http).map_err(|error| wrong(error.to_string()))?;
        Ok(flags(&["--advertise", &address.to_string()]))
    }

    fn host(&self, number: usize) -> Option<String> {
        match &self.way {
            Way::Wires(wires) => Some(wires.host(number)),
            Way::Loopback | Way::Longer(_) => None,
        }
    }

    /// Waits until it is mounted and sees all others.
    fn ready(&mut self, number: usize) -> Result<(), BootError> {
        let (count, deadline) = (self.nodes.len(), Instant::now() + READY_DEADLINE);
        loop {
            self.nodes[number - 1].check()?;
            let status = self.client(number, &["status", "--json"]).map(|output| text(&output.stdout)).unwrap_or_default();
            if self.nodes[number - 1].is_mounted() && status.matches("\"ready\"").count() == count {
                return Ok(());
            }
            self.before(deadline, "starting the nodes", number)?;
        }
    }

    /// A client command, at the host of that node.
    pub fn client(&self, number: usize, arguments: &[&str]) -> Result<Output, BootError> {
        let url = &self.nodes[number - 1].url;
        let mut command = inside(self.host(number).as_deref(), &self.program);
        let output = command.args(["--node", url]).args(arguments).output().map_err(FuseError::at(&self.program))?;
        if output.status.success() {
            return Ok(output);
        }
        let (what, detail) = (format!("herring {}", arguments.join(" ")), text(&output.stderr));
        Err(BootError::Command { what, status: output.status.to_string(), detail })
    }

    /// Puts a directory into node 1 as a tree.
    pub fn put(&self, dir: &Path, name: &str) -> Result<(), BootError> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            match self.client(1, &["put", &dir.display().to_string(), "--name", name]) {
                // It is a member somewhat sooner than it is an owner, and no command tells the difference.
                Err(BootError::Command { detail, .. }) if detail.contains(NOT_YET) => {
                    self.before(deadline, "becoming an owner", 1)?
                }
                done => return done.map(drop),
            }
        }
    }

    /// Waits until a node lists a name that begins with `prefix`.
    pub fn wait_for_name(&self, number: usize, prefix: &str, patience: Duration) -> Result<(), BootError> {
        let deadline = Instant::now() + patience;
        while !text(&self.client(number, &["ls", prefix])?.stdout).contains(prefix) {
            self.before(deadline, &format!("a name {prefix}…"), number)?;
        }
        Ok(())
    }

    fn before(&self, deadline: Instant, what: &str, number: usize) -> Result<(), BootError> {
        if Instant::now() > deadline {
            let (seconds, log) = (READY_DEADLINE.as_secs(), self.nodes[number - 1].log());
            return Err(BootError::TimedOut {
                what: what.to_owned(),
                seconds,
                detail: format!("; the end of node {number}'s log:\n{log}"),
            });
        }
        self.interrupt.wait(POLL).map_err(BootError::from)
    }

    /// Where the mount of a node shows what a name points at.
    pub fn tree(&self, number: usize, name: &str) -> PathBuf {
        self.nodes[number - 1].mount.join("names").join(name)
    }

    /// Bytes of its disk that its store takes.
    pub fn stored(&self, number: usize) -> u64 {
        disk(&self.nodes[number - 1].dir.join("blobs"))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.nodes.iter().for_each(Node::ask_to_stop);
        self.nodes.iter_mut().for_each(Node::wait);
    }
}

fn at(number: usize, port: u16) -> Result<SocketAddr, BootError> {
    format!("{}:{port}", address(number)).parse().map_err(|_| wrong(format!("host {number} has no address")))
}

fn wrong(detail: String) -> BootError {
    LabError::Wires { what: "addresses".to_owned(), detail }.into()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Of all files below; of what is not there, 0.
fn disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(size).sum()
}
