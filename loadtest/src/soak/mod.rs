//! A swarm under everything at once for as long as one likes: reads, puts, prefetches, names, deletions, connections that break. What must
//! not grow: memory, open files, threads, latency.

mod creep;
mod error;
mod gauge;
mod report;
mod seen;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::blob::TestBlob;
use crate::faulty::{Fault, Relay};
use crate::random::SplitMix64;
use crate::swarm::{HomeArguments, Swarm};

pub use error::SoakError;
use gauge::Gauge;
pub use report::SoakReport;
use report::Window;
use seen::Seen;
use work::Worker;

const REPLICAS: &str = "3";
/// What is read again and again.
const BLOBS: u64 = 3;
const BLOB_SIZE: u64 = 16 << 20;
/// Figures are taken so often, but no more than once a minute and no less than once a second.
const WINDOWS: u64 = 30;
/// A node's connections from its peers are closed so often.
const RECONNECT: Duration = Duration::from_secs(3);
/// A look at whether somebody wants an end.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub struct SoakArguments {
    #[command(flatten)]
    home: HomeArguments,
    /// How long; an hour is 3600
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    seconds: u64,
    /// Nodes of the swarm
    #[arg(long, default_value_t = 4, value_parser = RangedU64ValueParser::<usize>::new().range(2..=32))]
    nodes: usize,
    /// Of each kind: those that read, and those that put, fetch and delete
    #[arg(long, default_value_t = 4, value_parser = RangedU64ValueParser::<u64>::new().range(1..=64))]
    workers: u64,
    /// What the bytes and the order of things are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// The swarm and those who work with it.
struct Bench<'a> {
    arguments: &'a SoakArguments,
    swarm: Swarm,
    /// To each node, where its peers reach it. After the swarm: its nodes end before the ways to them do.
    relays: Vec<Relay>,
    runtime: Runtime,
    seen: Arc<Seen>,
    numbers: SplitMix64,
    reconnects: u64,
}

pub fn run(arguments: &SoakArguments) -> Result<SoakReport, SoakError> {
    let mut bench = Bench::new(arguments)?;
    let blobs: Vec<TestBlob> = (0..BLOBS).map(|number| TestBlob::new(BLOB_SIZE, arguments.seed, &[0, number])).collect();
    bench.swarm.put(&blobs)?;
    let end = CancellationToken::new();
    let _ended = end.clone().drop_guard();
    let working = bench.begin(&blobs, &end)?;
    let windows = bench.watch()?;
    end.cancel();
    // Each finishes what it is at, or gives it up at its deadline.
    for worker in working {
        bench.runtime.block_on(worker).map_err(SoakError::Worker)?;
    }
    Ok(SoakReport::new(arguments.seconds, arguments.nodes, bench.reconnects, windows, &bench.seen))
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a SoakArguments) -> Result<Self, SoakError> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(SoakError::Runtime)?;
        let mut relays = Vec::new();
        let swarm = Swarm::behind(&arguments.home, arguments.nodes, &["--replicas", REPLICAS], |node| {
            relays.push(Relay::open(runtime.handle(), node)?);
            Ok(relays[relays.len() - 1].address)
        })?;
        let (seen, numbers) = (Arc::default(), SplitMix64::derived(arguments.seed, &[1]));
        Ok(Self { arguments, swarm, relays, runtime, seen, numbers, reconnects: 0 })
    }

    fn begin(&self, blobs: &[TestBlob], end: &CancellationToken) -> Result<Vec<JoinHandle<()>>, SoakError> {
        let nodes: Vec<String> = self.swarm.nodes().iter().map(|node| node.url.clone()).collect();
        let mut working = Vec::new();
        for number in 0..self.arguments.workers {
            let worker = |kind| Worker::new(&nodes, blobs, &self.seen, end, self.arguments.seed, [kind, number]);
            working.push(self.runtime.spawn(worker(2)?.read()));
            working.push(self.runtime.spawn(worker(3)?.churn()));
        }
        Ok(working)
    }

    /// Takes figures until the time is over.
    fn watch(&mut self) -> Result<Vec<Window>, SoakError> {
        let length = Duration::from_secs((self.arguments.seconds / WINDOWS).clamp(1, 60));
        let (began, mut windows, mut reconnect) = (Instant::now(), Vec::new(), RECONNECT);
        let end = Duration::from_secs(self.arguments.seconds);
        let mut next = length;
        self.seen.window();
        while next <= end {
            while began.elapsed() < next {
                self.swarm.rest(POLL)?;
                if began.elapsed() > reconnect {
                    self.reconnect();
                    reconnect = began.elapsed() + RECONNECT;
                }
            }
            let (warm, cold) = self.seen.window();
            let gauges = self.swarm.nodes().iter().map(Gauge::of).collect::<Result<Vec<_>, _>>()?;
            windows.push(Window::new(began.elapsed(), &warm, &cold, gauges));
            next += length;
        }
        Ok(windows)
    }

    /// Closes the connections that a node's peers have to it, whatever goes over them.
    fn reconnect(&mut self) {
        let relay = &self.relays[self.numbers.below(self.relays.len())];
        relay.turn(Fault::BlackHole);
        relay.turn(Fault::None);
        self.reconnects += 1;
    }
}
