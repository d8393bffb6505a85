use std::fs;
use std::path::Path;
use std::time::Duration;

use herring_http_api::client::{ApiClient, ClientError};
use tokio::time::timeout;

use super::Source;
use super::bench::Bench;
use super::wanted::ORIGIN;
use crate::lab::{LabError, Member, Members, Settings, inside, runtime};
use crate::swarm::flags;

/// For a node's metrics, and for a put.
const ANSWER: Duration = Duration::from_secs(300);
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
            Source::Origin => flags(&["--origin", &format!("{ORIGIN}=http://{}/", bench.web)]),
            // One owner: what it has is cold everywhere else.
            Source::Blob => flags(&["--replicas", "1", "--weight", "0"]),
        };
        let mut members: Vec<Member> = (1..=nodes).map(|host| Member { host, settings: [&common[..], &from].concat() }).collect();
        if bench.arguments.from == Source::Blob {
            let source = flags(&["--replicas", "1", "--weight", "100"]);
            members.insert(0, Member { host: bench.central, settings: [&common[..], &source].concat() });
        }
        let peers = Self { bench, members: Members::start(settings, &members)?, nodes };
        if bench.arguments.from == Source::Blob {
            peers.put()?;
        }
        Ok(peers)
    }

    fn put(&self) -> Result<(), LabError> {
        let (host, blob) = (self.bench.central, &self.bench.blob);
        let put = async |client: ApiClient| client.put(Some(blob.id), Some(blob.size), blob.stream()).await.map(drop);
        self.at(host, put)
    }

    /// Asks a node from its own host, so that no link is used.
    fn at<T: Send>(&self, host: usize, ask: impl AsyncFnOnce(ApiClient) -> Result<T, ClientError> + Send) -> Result<T, LabError> {
        let url = self.url(host);
        inside(&self.bench.wires.host(host), || asked(host, &url, ask))?
    }

    pub fn url(&self, host: usize) -> String {
        self.members.url(host)
    }

    /// Bytes that the source has given, where that is a node.
    pub fn given(&self) -> Result<u64, LabError> {
        match self.bench.arguments.from {
            Source::Origin => Ok(0),
            Source::Blob => self.at(self.bench.central, async |client| client.metrics().await).map(|text| served(&text)),
        }
    }

    /// Bytes that a node says it has given to others. For a thread on that host.
    pub fn served(&self, host: usize) -> Result<u64, LabError> {
        asked(host, &self.url(host), async |client| client.metrics().await).map(|text| served(&text))
    }

    /// Copies logs and metrics.
    pub fn keep(&self, dir: &Path, what: &str) -> Result<(), LabError> {
        let failed = || LabError::io(dir.display().to_string());
        fs::create_dir_all(dir).map_err(failed())?;
        for (node, from) in (1..=self.nodes).zip(self.members.dirs()) {
            let id = from.file_name().unwrap_or_default().display();
            fs::copy(from.join("log"), dir.join(format!("{what}-{id}.log"))).map_err(failed())?;
            let metrics = self.at(node, async |client| client.metrics().await)?;
            fs::write(dir.join(format!("{what}-n{node}.metrics")), metrics).map_err(failed())?;
        }
        Ok(())
    }
}

fn asked<T>(host: usize, url: &str, ask: impl AsyncFnOnce(ApiClient) -> Result<T, ClientError>) -> Result<T, LabError> {
    let client = ApiClient::new(url).map_err(LabError::client(host))?;
    let asked = runtime(host)?.block_on(async { timeout(ANSWER, ask(client)).await });
    let asked = asked.map_err(|_| LabError::Broken { host, detail: format!("{url} did not answer") })?;
    asked.map_err(LabError::client(host))
}

/// The sum of that count's lines.
fn served(metrics: &str) -> u64 {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(SERVED));
    lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_served_is_summed_over_all_labels() {
        let metrics = format!("# TYPE {SERVED} counter\n{SERVED}{{from=\"disk\"}} 10\n{SERVED} 7\nherring_other_total 5\n");
        assert_eq!((served(&metrics), served("")), (17, 0));
    }
}
