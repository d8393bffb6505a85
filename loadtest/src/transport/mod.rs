//! How fast bytes go from one node to the next, beside what else moves them on this machine in the same minutes: iperf3, nginx, `cp`.
//! All of it on loopback and out of the page cache, so that the processors are the limit.

mod bulk;
mod copy;
mod error;
mod gauge;
mod goals;
mod iperf;
mod nginx;
mod plain;
mod report;
mod seal;
mod small;
mod tool;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use herring_http_api::client::{ApiClient, Ask, PeerClient, PeerConfig};
use herring_http_api::peer::Asker;
use herring_http_api::tls::ClientTls;
use tokio::runtime::Runtime;

use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::node::Node;
use crate::swarm::{HomeArguments, Swarm};

pub use error::TransportError;
use gauge::Gauge;
use iperf::Iperf;
use nginx::Nginx;
pub use report::TransportReport;
use report::{Figures, Kind};
use seal::{ASKER, Seal};

/// Of what `--quick` reads, and how often.
const QUICK: (ByteSize, usize, usize) = (ByteSize::mib(256), 2, 200);
/// Bytes of a small read.
pub const SMALL: u32 = 64 << 10;
/// For anything that is measured here. What takes longer is broken, not slow.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub struct TransportArguments {
    #[command(flatten)]
    home: HomeArguments,
    /// Size of the blob that is moved
    #[arg(long, default_value = "1GiB")]
    size: ByteSize,
    /// Rounds that count: in each, every way has its turn. One more goes before them to warm up
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    rounds: usize,
    /// Small reads of each way in each round
    #[arg(long, default_value_t = 2000, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    reads: usize,
    /// Two rounds with a blob of 256 MiB: says whether it works, and little more
    #[arg(long)]
    quick: bool,
    /// Only ways that have this in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// What the bytes are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes all figures, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl TransportArguments {
    fn size(&self) -> u64 {
        if self.quick { QUICK.0.as_u64() } else { self.size.as_u64() }
    }

    fn rounds(&self) -> usize {
        if self.quick { QUICK.1 } else { self.rounds }
    }

    fn reads(&self) -> usize {
        if self.quick { QUICK.2 } else { self.reads }
    }
}

/// Two nodes that are measured, and how they are asked.
struct Pair {
    swarm: Swarm,
    peers: PeerClient,
    tls: Option<ClientTls>,
}

/// What is measured, and what it is measured with.
struct Bench<'a> {
    arguments: &'a TransportArguments,
    runtime: Runtime,
    /// What is moved.
    blob: TestBlob,
    /// One of a single small chunk.
    small: TestBlob,
    clear: Pair,
    /// The same with TLS, where certificates can be made.
    sealed: Option<Pair>,
    nginx: Option<Nginx>,
    iperf: Option<Iperf>,
    figures: Figures,
    /// Of all who speak TLS.
    seal: Option<Seal>,
}

pub fn run(arguments: &TransportArguments) -> Result<TransportReport, TransportError> {
    let mut bench = Bench::start(arguments)?;
    for round in 0..=arguments.rounds() {
        // The first one warms up: fresh pages of a virtual machine cost their first writer up to 3 s/GB.
        bench.figures.count = round > 0;
        bench.serve()?;
        bench.fetch()?;
        bench.read_small()?;
    }
    let report = TransportReport::new(arguments, &bench.figures);
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json()).map_err(FuseError::at(path))?;
    }
    Ok(report)
}

impl<'a> Bench<'a> {
    fn start(arguments: &'a TransportArguments) -> Result<Self, TransportError> {
        let runtime = Runtime::new().map_err(tool::failed("a runtime"))?;
        let blob = TestBlob::new(arguments.size(), arguments.seed, &[0]);
        let small = TestBlob::new(SMALL.into(), arguments.seed, &[1]);
        let (seal, wants_tls) = (Seal::make()?, arguments.only.is_empty() || arguments.only.contains("TLS"));
        let pair = |seal: Option<&Seal>| Pair::start(&arguments.home, seal, &[blob, small]);
        let (clear, sealed) = (pair(None)?, seal.as_ref().filter(|_| wants_tls).map(|seal| pair(Some(seal))).transpose()?);
        let (nginx, iperf) = (Nginx::start(&clear.owner().dir, seal.as_ref())?, Iperf::start()?);
        Ok(Self { arguments, runtime, blob, small, clear, sealed, nginx, iperf, figures: Figures::default(), seal })
    }

    /// Lets `work` have its turn if it is wanted, and notes what it took. It answers how many bytes it moved.
    fn turn(
        &mut self,
        kind: Kind,
        way: &'static str,
        processes: &[u32],
        work: impl FnOnce(&Self) -> Result<u64, TransportError>,
    ) -> Result<(), TransportError> {
        self.clear.swarm.go_on()?;
        if !way.contains(&self.arguments.only) {
            return Ok(());
        }
        let gauge = Gauge::start(processes);
        let bytes = work(self)?;
        let pass = gauge.stop(bytes);
        self.figures.note(kind, way, pass);
        Ok(())
    }
}

impl Pair {
    fn start(home: &HomeArguments, seal: Option<&Seal>, blobs: &[TestBlob]) -> Result<Self, TransportError> {
        let (settings, tls) = (seal.map(Seal::settings).unwrap_or_default(), seal.map(|seal| seal.tls.clone()));
        let swarm = Swarm::of_one_owner(home, &settings, tls.clone())?;
        swarm.put(blobs)?;
        let peers = PeerClient::new(PeerConfig { tls: tls.clone(), ..PeerConfig::default() });
        Ok(Self { swarm, peers, tls })
    }

    fn owner(&self) -> &Node {
        self.swarm.first()
    }

    fn receiver(&self) -> Result<&Node, TransportError> {
        Ok(self.swarm.second("fetching")?)
    }

    fn api(&self, node: &Node) -> Result<ApiClient, TransportError> {
        api(&node.url, self.tls.as_ref())
    }
}

fn api(url: &str, tls: Option<&ClientTls>) -> Result<ApiClient, TransportError> {
    Ok(ApiClient::with_config(url, &PeerConfig { tls: tls.cloned(), ..PeerConfig::default() })?)
}

fn address(node: &Node) -> SocketAddr {
    node.http.expect("a node of our own has an address")
}

fn processes<'n>(nodes: impl IntoIterator<Item = &'n Node>) -> Vec<u32> {
    nodes.into_iter().filter_map(Node::pid).map(|pid| pid.as_raw_nonzero().get().cast_unsigned()).collect()
}

fn question() -> Ask {
    Ask { epoch: "loadtest".to_owned(), deadline: DEADLINE, asker: Asker { from: ASKER.to_owned(), background: false } }
}
