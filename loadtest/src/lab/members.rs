use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use herring_http_api::client::{ApiClient, ClientError};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::error::LabError;
use super::hosts::inside;
use super::relay::Relays;
use super::wires::{Wires, address};
use crate::interrupt::Interrupt;
use crate::node::{Launch, Node, Ports};
use crate::swarm::flags;

const HTTP: u16 = 7070;
const GOSSIP: u16 = 7071;
/// Where peers reach a node whose answers take longer.
const RELAYED: u16 = 7170;
/// Nodes that the others are told of; gossip tells them of each other.
const SEEDS: usize = 3;
/// For all of them, on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);
/// For a node's metrics, and for a put through a narrow link.
const ANSWER: Duration = Duration::from_secs(600);
/// One look at a node.
const LOOK: Duration = Duration::from_secs(5);

/// Where nodes are started.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    pub program: &'a Path,
    /// Of all their data.
    pub home: &'a Path,
    pub wires: &'a Wires,
    pub interrupt: &'a Interrupt,
    /// How much longer what one sends to another takes, in each direction.
    pub delay: Duration,
}

/// A node that is started.
#[derive(Debug, Clone)]
pub struct Member {
    pub host: usize,
    /// Flags beside those that all have.
    pub settings: Vec<String>,
}

/// Nodes on hosts of their own, without mounts. They end with the value.
pub struct Members {
    /// Of each host.
    namespaces: BTreeMap<usize, String>,
    nodes: BTreeMap<usize, Node>,
    /// Dropped when the nodes have ended.
    _relays: Vec<Relays>,
}

impl Members {
    /// Returns when all see each other, and the same ring.
    pub fn start(settings: &Settings<'_>, members: &[Member]) -> Result<Self, LabError> {
        let namespaces = members.iter().map(|member| (member.host, settings.wires.host(member.host))).collect();
        let mut all = Self { namespaces, nodes: BTreeMap::new(), _relays: Vec::new() };
        let seeds: Vec<usize> = members.iter().take(SEEDS).map(|member| member.host).collect();
        for member in members {
            let relayed = all.lengthen(settings, member.host)?;
            let node = launch(settings, member, &seeds, &relayed)?;
            all.nodes.insert(member.host, node);
        }
        all.settle(settings)?;
        Ok(all)
    }

    /// Flags that send peers the longer way, if there is to be one.
    fn lengthen(&mut self, settings: &Settings<'_>, host: usize) -> Result<Vec<String>, LabError> {
        if settings.delay.is_zero() {
            return Ok(Vec::new());
        }
        let near = at(host, RELAYED)?;
        self._relays.push(Relays::between(&settings.wires.host(host), near, at(host, HTTP)?, settings.delay)?);
        Ok(flags(&["--advertise", &near.to_string(), "--gossip-advertise", &at(host, GOSSIP)?.to_string()]))
    }

    /// What owns what is clear only when all have heard of all.
    fn settle(&mut self, settings: &Settings<'_>) -> Result<(), LabError> {
        let (count, deadline) = (self.nodes.len(), Instant::now() + READY_DEADLINE);
        loop {
            let mut seen = Vec::with_capacity(count);
            for (host, node) in &mut self.nodes {
                node.check()?;
                seen.push(inside(&settings.wires.host(*host), || look(&node.url, count))?);
            }
            match agreed(&seen) {
                Ok(()) => return Ok(()),
                Err(detail) if Instant::now() > deadline => return Err(self.unsettled(&detail)),
                Err(_) => settings.interrupt.wait(POLL)?,
            }
        }
    }

    fn unsettled(&self, detail: &str) -> LabError {
        let log = self.nodes.values().next().map(Node::log).unwrap_or_default();
        let detail = format!(" ({detail}); the end of the first one's log:\n{log}");
        LabError::TimedOut { what: "starting the nodes".into(), seconds: READY_DEADLINE.as_secs(), detail }
    }

    pub fn url(&self, host: usize) -> String {
        self.nodes.get(&host).map(|node| node.url.clone()).unwrap_or_default()
    }

    /// Asks a node from its own host, so that no link is used.
    pub fn ask<T: Send>(
        &self,
        host: usize,
        question: impl AsyncFnOnce(ApiClient) -> Result<T, ClientError> + Send,
    ) -> Result<T, LabError> {
        let namespace = self.namespaces.get(&host).map_or("", String::as_str);
        inside(namespace, || ask(host, &self.url(host), question))?
    }

    /// The sum of a count over a node's labels.
    pub fn count(&self, host: usize, name: &str) -> Result<u64, LabError> {
        self.ask(host, async |client| client.metrics().await).map(|metrics| sum(&metrics, name))
    }

    /// Seconds of all cores that they have used together.
    pub fn cpu_seconds(&self) -> f64 {
        self.nodes.values().map(Node::cpu_seconds).sum()
    }

    /// Where a node writes down what happens.
    pub fn log(&self, host: usize) -> PathBuf {
        self.nodes.get(&host).map(|node| node.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.nodes.values().for_each(Node::ask_to_stop);
        self.nodes.values_mut().for_each(Node::wait);
    }
}

/// For what one host's thread asks of its node.
pub fn runtime(host: usize) -> Result<Runtime, LabError> {
    Builder::new_current_thread().enable_all().build().map_err(LabError::io(format!("host {host}: its runtime")))
}

/// Asks a node. For a thread on its host.
pub fn ask<T>(host: usize, url: &str, question: impl AsyncFnOnce(ApiClient) -> Result<T, ClientError>) -> Result<T, LabError> {
    let client = ApiClient::new(url).map_err(LabError::client(host))?;
    let asked = runtime(host)?.block_on(async { timeout(ANSWER, question(client)).await });
    let asked = asked.map_err(|_| LabError::Broken { host, detail: format!("{url} did not answer") })?;
    asked.map_err(LabError::client(host))
}

/// Of all lines of that count; they may have labels.
fn sum(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(['{', ' ']));
    lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn launch(settings: &Settings<'_>, member: &Member, seeds: &[usize], relayed: &[String]) -> Result<Node, LabError> {
    let ports = Ports { http: at(member.host, HTTP)?, gossip: at(member.host, GOSSIP)? };
    let seeds = seeds.iter().filter(|seed| **seed != member.host);
    let seeds = seeds.flat_map(|seed| flags(&["--seed", &format!("{}:{GOSSIP}", address(*seed))]));
    let zone = settings.wires.zone(member.host).map(|zone| flags(&["--zone", &format!("z{zone}")])).unwrap_or_default();
    let all: Vec<String> = flags(&["--insecure"]).into_iter().chain(seeds).chain(zone).collect();
    let flags = [&all[..], relayed, &member.settings].concat();
    let (id, host) = (format!("n{}", member.host), settings.wires.host(member.host));
    let Settings { program, home, .. } = *settings;
    Ok(Node::spawn(&Launch { program, id: &id, home, ports, host: Some(&host), mounted: false, settings: &flags })?)
}

/// The ring that a node sees, where it sees `count` nodes that are ready.
fn look(url: &str, count: usize) -> Result<String, String> {
    let runtime = runtime(0).map_err(|error| error.to_string())?;
    let client = ApiClient::new(url).map_err(|error| error.to_string())?;
    let looking = async {
        client.ready().await?;
        client.cluster().await.map_err(|error| error.to_string())
    };
    let looked = runtime.block_on(async { timeout(LOOK, looking).await });
    let cluster = looked.map_err(|_| format!("{url} did not answer"))??;
    let ready = cluster.members.iter().filter(|member| member.state == "ready").count();
    if ready == count { Ok(cluster.epoch) } else { Err(format!("{url} sees {ready} of {count} nodes ready")) }
}

fn agreed(seen: &[Result<String, String>]) -> Result<(), String> {
    if let Some(Err(detail)) = seen.iter().find(|one| one.is_err()) {
        return Err(detail.clone());
    }
    let first = seen.first();
    if seen.iter().all(|one| Some(one) == first) { Ok(()) } else { Err("they do not see the same ring yet".into()) }
}

pub fn at(host: usize, port: u16) -> Result<SocketAddr, LabError> {
    let broken = |_| LabError::Broken { host, detail: "it has no address".into() };
    format!("{}:{port}", address(host)).parse().map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_summed_over_its_labels_and_no_others() {
        let metrics = "# TYPE a_total counter\na_total{from=\"disk\"} 10\na_total 7\na_total_more 5\n";
        assert_eq!((sum(metrics, "a_total"), sum("", "a_total")), (17, 0));
    }

    #[test]
    fn nodes_agree_when_all_see_the_same_ring() {
        let seen = |text: &str| Ok(text.to_owned());
        assert!(agreed(&[seen("a"), seen("a")]).is_ok());
        assert!(agreed(&[seen("a"), seen("b")]).is_err());
        assert_eq!(agreed(&[seen("a"), Err("not yet".into())]), Err("not yet".into()));
    }
}
