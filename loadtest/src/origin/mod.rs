//! Whether reading an origin through the swarm is as fast as asking it oneself, and what it is asked for: cold, warm, with half of the nodes
//! hanging, by all nodes at once.

mod client;
mod crowd;
mod error;
mod object;
mod reads;
mod report;
mod request;
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use tokio::runtime::Runtime;

use crate::error::FuseError;
use crate::random::SplitMix64;
use crate::swarm::{HomeArguments, Swarm};

use client::{Place, Plain};
pub use error::OriginError;
pub use report::OriginReport;
use server::{Counts, Origin, Site};

/// Its name in the nodes.
const NAME: &str = "measured";
/// How long the origin may go on sending what nobody waits for.
const SETTLE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

#[derive(Debug, Args)]
pub struct OriginArguments {
    #[command(flatten)]
    home: HomeArguments,
    /// Nodes of the swarm
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(2..=64))]
    nodes: usize,
    /// Milliseconds before each answer of the origin
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    latency: u64,
    /// Bytes a second that the origin gives to each connection; 0: as many as go
    #[arg(long, value_name = "SIZE", default_value = "100MB")]
    rate: ByteSize,
    /// Size of each object
    #[arg(long, default_value = "16MiB")]
    size: ByteSize,
    /// Objects of each kind that are read once in a calm swarm, and as many in all rounds with half of it stopped
    #[arg(long, default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    objects: usize,
    /// How often half of the nodes are stopped
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(0..=1000))]
    rounds: usize,
    /// Size of the object that all nodes read at once
    #[arg(long, default_value = "256MiB")]
    large: ByteSize,
    /// How often they do, each time another
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(0..=1000))]
    runs: usize,
    /// Listings of one directory at once, dealt out among the nodes
    #[arg(long, default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    listers: usize,
    /// Directories that are listed
    #[arg(long, default_value_t = 5)]
    directories: u64,
    /// Entries of each
    #[arg(long, default_value_t = 100)]
    entries: u64,
    /// What the bytes and the choice of nodes are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes all figures, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The swarm and its origin, while they are measured.
struct Bench<'a> {
    arguments: &'a OriginArguments,
    runtime: &'a Runtime,
    origin: &'a Origin,
    swarm: &'a mut Swarm,
    /// The origin, asked oneself.
    direct: Place,
    nodes: Vec<Place>,
    plain: Plain,
    numbers: SplitMix64,
}

pub fn run(arguments: &OriginArguments) -> Result<OriginReport, OriginError> {
    let runtime = Runtime::new().map_err(OriginError::Origin)?;
    let (latency, rate) = (Duration::from_millis(arguments.latency), arguments.rate.as_u64());
    let site = Site { latency, rate, seed: arguments.seed, entries: arguments.entries };
    let origin = runtime.block_on(Origin::start(site)).map_err(OriginError::Origin)?;
    let url = format!("{NAME}=http://{}/", origin.address);
    let mut swarm = Swarm::of_equals(&arguments.home, arguments.nodes, &["--origin", &url])?;
    let mut bench = Bench::new(arguments, &runtime, &origin, &mut swarm);
    let calm = reads::calm(&mut bench)?;
    let together = crowd::together(&mut bench)?;
    let listings = crowd::listings(&mut bench)?;
    // The last, since a swarm that has just changed asks more.
    let half = reads::half(&mut bench)?;
    let report = OriginReport::new(arguments, calm, half, together, listings);
    if let Some(path) = &arguments.json {
        let written = std::fs::write(path, report.json());
        written.map_err(FuseError::at(path))?;
    }
    Ok(report)
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a OriginArguments, runtime: &'a Runtime, origin: &'a Origin, swarm: &'a mut Swarm) -> Self {
        let direct = Place { address: origin.address, prefix: "/".into() };
        let prefix = format!("/v1/origins/{NAME}/");
        let nodes =
            swarm.nodes().iter().filter_map(|node| node.http).map(|address| Place { address, prefix: prefix.clone() }).collect();
        let (plain, numbers) = (Plain::new(arguments.seed), SplitMix64::derived(arguments.seed, &[0]));
        Self { arguments, runtime, origin, swarm, direct, nodes, plain, numbers }
    }

    /// Lets the origin finish what nobody waits for any more, and fails where somebody wants an end.
    fn settle(&self) -> Result<(), OriginError> {
        self.swarm.go_on()?;
        let deadline = Instant::now() + SETTLE;
        while self.origin.is_busy() {
            if Instant::now() > deadline {
                return Err(OriginError::Restless { seconds: SETTLE.as_secs() });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// What `work` gave, and what the origin was asked for until it was quiet again.
    fn counted<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, OriginError>) -> Result<(T, Counts), OriginError> {
        self.settle()?;
        let before = self.origin.counts();
        let done = work(self)?;
        self.settle()?;
        Ok((done, self.origin.counts().since(before)))
    }
}
