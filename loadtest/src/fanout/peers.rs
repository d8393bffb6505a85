use std::fs;
use std::path::Path;

use herring_http_api::client::ApiClient;

use super::Source;
use super::bench::Bench;
use super::wanted::ORIGIN;
use crate::lab::{LabError, Member, Members, Settings};
use crate::swarm::flags;

/// Bytes that a node has given to its peers, in its own count.
const SERVED: &str = "herring_swarm_bytes_served_total";

/// The nodes, and the one that has the blob, if it comes from a node.
pub struct Peers<'a> {
    bench: &'a Bench<'a>,
    pub members: Members,
    nodes: usize,
}

impl<'a> Peers<'a> {
    pub fn start(bench: &'a Bench<'a>, settings: &Settings<'_>, nodes: usize, own: &[String]) -> Result<Self, LabError> {
        let common = [&bench.arguments.flags[..], own].concat();
        let from = match bench.arguments.from {
            Source::Origin => flags(&["--origin", &format!("{ORIGIN}=http://{}/", bench.server.address)]),
            // One owner: what it has is cold everywhere else.
            Source::Blob => flags(&["--replicas", "1", "--weight", "0"]),
        };
        let mut members: Vec<Member> = (1..=nodes).map(|host| Member { host, settings: [&common[..], &from].concat() }).collect();
        if bench.arguments.from == Source::Blob {
            let source = flags(&["--replicas", "1", "--weight", "100"]);
            members.insert(0, Member { host: bench.wires.last(), settings: [&common[..], &source].concat() });
        }
        let peers = Self { bench, members: Members::start(settings, &members)?, nodes };
        if bench.arguments.from == Source::Blob {
            peers.put()?;
        }
        Ok(peers)
    }

    fn put(&self) -> Result<(), LabError> {
        let blob = self.bench.blob;
        let put = async move |client: ApiClient| client.put(Some(blob.id), Some(blob.size), blob.stream()).await.map(drop);
        self.members.ask(self.bench.wires.last(), put)
    }

    pub fn url(&self, host: usize) -> String {
        self.members.url(host)
    }

    /// Bytes that each node says it has given to others.
    pub fn served(&self) -> Result<Vec<u64>, LabError> {
        (1..=self.nodes).map(|host| self.members.count(host, SERVED)).collect()
    }

    /// Copies logs and metrics.
    pub fn keep(&self, dir: &Path, what: &str) -> Result<(), LabError> {
        let failed = || LabError::io(dir.display().to_string());
        fs::create_dir_all(dir).map_err(failed())?;
        for host in 1..=self.nodes {
            fs::copy(self.members.log(host), dir.join(format!("{what}-n{host}.log"))).map_err(failed())?;
            let metrics = self.members.ask(host, async |client| client.metrics().await)?;
            fs::write(dir.join(format!("{what}-n{host}.metrics")), metrics).map_err(failed())?;
        }
        Ok(())
    }
}
