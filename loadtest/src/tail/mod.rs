//! Cold reads at four nodes of five while the way to the fifth, which they ask most, is bad: slow, silent, resetting, stalling. Beside the same
//! reads just before.

mod error;
mod figures;
mod reads;
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use herring_blob::CHUNK_SIZE;
use herring_http_api::client::ApiClient;
use herring_http_api::types::Explain;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::faulty::{Fault, Relay};
use crate::node::Node;
use crate::random::SplitMix64;
use crate::swarm::{HomeArguments, Swarm};

pub use error::TailError;
use figures::{Hedging, served};
use reads::{Read, Reader};
pub use report::TailReport;
use report::{Drill, Measured};

const NODES: usize = 5;
const REPLICAS: &str = "3";
/// Those that read: all but the one that becomes bad.
const READING: usize = NODES - 1;
/// Of all chunks, a node lacks those that three of the other four own: two in five. A quarter more, since the ring is not even.
const CHUNKS_PER_READ: f64 = 1.25 * NODES as f64 / 2.0;
/// And for small blobs, of which a node may own more than its share by chance.
const SPARE: u64 = 16;
/// How many times as slow as a well one a slow node is.
const SLOWER: u32 = 100;
/// A deletion is tried so often: nodes dial again after half a second.
const DELETES: u32 = 10;
const AGAIN: Duration = Duration::from_millis(500);
/// A look at whether somebody wants an end.
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct TailArguments {
    #[command(flatten)]
    home: HomeArguments,
    /// What becomes of the way to the fifth node, one after the other
    #[arg(long = "fault", value_enum, value_delimiter = ',', default_value = "none,slow,blackhole,reset,stall")]
    faults: Vec<Kind>,
    /// Cold reads during each fault, and as many before it
    #[arg(long, default_value_t = 400, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    reads: usize,
    /// Readers at once, dealt out among four nodes
    #[arg(long, default_value_t = READING, value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    readers: usize,
    /// How much later a slow node's answers come [default: a hundred times what half of the reads before took at most]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    delay: Option<u64>,
    /// What the bytes and the choice of ranges are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fails where a fault makes the slowest hundredth of the reads slower than this many times that of a healthy swarm
    #[arg(long, value_name = "TIMES")]
    pub goal: Option<f64>,
    /// Writes all figures, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It stays well: what two measurements differ by anyhow
    None,
    /// Every answer comes a hundred times later than usual
    Slow,
    /// Its bytes come at a hundredth of the usual rate
    Trickle,
    /// It accepts and says nothing
    Blackhole,
    /// It resets every other stream, before its head or within its body
    Reset,
    /// Its bodies stop in the middle
    Stall,
}

/// The swarm, while it is measured.
struct Bench<'a> {
    arguments: &'a TailArguments,
    swarm: Swarm,
    /// To each node, where its peers reach it. After the swarm: its nodes end before the ways to them do.
    relays: Vec<Relay>,
    runtime: Runtime,
    numbers: SplitMix64,
    /// Chunks that each node had served when it was looked at last.
    served: Vec<f64>,
}

/// A blob, and which of its chunks each reading node lacks.
struct Material {
    blob: TestBlob,
    /// Of the nodes, the one that does not read.
    bad: usize,
    cold: Vec<(usize, Vec<u32>)>,
}

pub fn run(arguments: &TailArguments) -> Result<TailReport, TailError> {
    let mut bench = Bench::new(arguments)?;
    // Opens the connections, lets the nodes learn how quick they are, and shows which one is asked most.
    let mut warm = bench.put(0, arguments.reads)?;
    bench.read(&mut warm, arguments.reads)?;
    bench.delete(warm.blob)?;
    let mut drills = Vec::new();
    for (number, kind) in (1..).zip(&arguments.faults) {
        let drill = bench.drill(number, *kind)?;
        eprintln!("loadtest: {}", drill.line());
        drills.push(drill);
    }
    let report = TailReport::new(arguments.readers, arguments.seed, drills);
    if let Some(path) = &arguments.json {
        let written = std::fs::write(path, report.json());
        written.map_err(FuseError::at(path))?;
    }
    Ok(report)
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a TailArguments) -> Result<Self, TailError> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(TailError::Runtime)?;
        let mut relays = Vec::new();
        let swarm = Swarm::behind(&arguments.home, NODES, &["--replicas", REPLICAS], |node| {
            relays.push(Relay::open(runtime.handle(), node)?);
            Ok(relays[relays.len() - 1].address)
        })?;
        Ok(Self {
            arguments,
            swarm,
            relays,
            runtime,
            numbers: SplitMix64::derived(arguments.seed, &[0]),
            served: vec![0.0; NODES],
        })
    }

    /// The same reads in health and with the fault, of the same blob.
    fn drill(&mut self, number: u64, kind: Kind) -> Result<Drill, TailError> {
        let (reads, first) = (self.arguments.reads, self.arguments.reads / 10 + READING);
        let mut material = self.put(number, 2 * reads + first)?;
        // While the disk still takes what was put.
        self.read(&mut material, first)?;
        let before = self.served()?;
        let healthy = self.read(&mut material, reads)?;
        let asked = self.served()?[material.bad] - before[material.bad];
        let fault = self.fault(kind, &healthy);
        self.relays[material.bad].turn(fault);
        let faulty = self.read(&mut material, reads);
        self.relays[material.bad].turn(Fault::None);
        let drill = Drill::new(kind, fault, asked, healthy, faulty?);
        self.delete(material.blob)?;
        Ok(drill)
    }

    /// Chunks that each node has given to its peers so far.
    fn served(&self) -> Result<Vec<f64>, TailError> {
        self.swarm.nodes().iter().map(|node| Ok(served(&self.metrics(node)?))).collect()
    }

    /// The node that has served most since this was asked last: what is hardest to do without.
    fn favourite(&mut self) -> Result<usize, TailError> {
        let now = self.served()?;
        let before = std::mem::replace(&mut self.served, now.clone());
        let lately = now.iter().zip(before).map(|(now, before)| now - before);
        Ok(lately.enumerate().max_by(|one, other| one.1.total_cmp(&other.1)).map_or(0, |(at, _)| at))
    }

    /// The connections to the node that was bad have just been closed, maybe with this very question on its way.
    fn delete(&self, blob: TestBlob) -> Result<(), TailError> {
        let mut tries = 1;
        while let Err(error) = self.swarm.delete(&[blob]) {
            if tries == DELETES {
                return Err(error.into());
            }
            tries += 1;
            self.swarm.rest(AGAIN)?;
        }
        Ok(())
    }

    fn fault(&self, kind: Kind, healthy: &Measured) -> Fault {
        let slow = self.arguments.delay.map_or(healthy.median() * SLOWER, Duration::from_millis);
        match kind {
            Kind::None => Fault::None,
            Kind::Slow => Fault::Slow(slow),
            Kind::Trickle => Fault::Trickle(rate(slow)),
            Kind::Blackhole => Fault::BlackHole,
            Kind::Reset => Fault::Reset,
            Kind::Stall => Fault::Stall,
        }
    }

    /// A blob of which the reading nodes lack enough chunks for `reads`.
    fn put(&mut self, number: u64, reads: usize) -> Result<Material, TailError> {
        // Some thousands.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let chunks = (reads as f64 * CHUNKS_PER_READ / self.arguments.readers.min(READING) as f64).ceil() as u64 + SPARE;
        let blob = TestBlob::new(chunks * u64::from(CHUNK_SIZE), self.arguments.seed, &[number]);
        self.swarm.put(&[blob])?;
        let client = ApiClient::new(&self.swarm.first().url).map_err(FuseError::from)?;
        let explain = self.runtime.block_on(client.explain(blob.id, None)).map_err(FuseError::from)?;
        let bad = self.favourite()?;
        let reading = self.swarm.nodes().iter().enumerate().filter(|(at, _)| *at != bad);
        let cold = reading.map(|(at, node)| (at, shuffled(lacking(&explain, &node.id), &mut self.numbers))).collect();
        Ok(Material { blob, bad, cold })
    }

    /// So many reads, by all readers at once.
    fn read(&mut self, material: &mut Material, reads: usize) -> Result<Measured, TailError> {
        let before = self.hedging(material.bad)?;
        let readers = self.readers(material, reads)?;
        let began = Instant::now();
        let running: Vec<_> = readers.into_iter().map(|reader| self.runtime.spawn(reader.run(began))).collect();
        while running.iter().any(|reader| !reader.is_finished()) {
            self.swarm.rest(POLL)?;
        }
        let seconds = began.elapsed().as_secs_f64();
        let done = running.into_iter().map(|reader| self.runtime.block_on(reader)).collect::<Result<Vec<_>, _>>();
        let reads: Vec<Read> = done.map_err(TailError::Reader)?.into_iter().flatten().collect();
        Ok(Measured { reads, seconds, hedging: self.hedging(material.bad)?.since(&before) })
    }

    /// Each with chunks of its own, which nobody has read at its node; who finds more of them reads more.
    fn readers(&mut self, material: &mut Material, reads: usize) -> Result<Vec<Reader>, TailError> {
        let places: Vec<usize> = (0..self.arguments.readers).map(|reader| reader % READING).collect();
        let weights: Vec<usize> = places.iter().map(|place| material.cold[*place].1.len()).collect();
        let shares = shares(reads, &weights);
        let dealt = places.into_iter().zip(shares).map(|(place, share)| {
            let (node, cold) = &mut material.cold[place];
            let rest = cold.len().checked_sub(share).ok_or(TailError::TooFew { node: *node + 1 })?;
            let numbers = SplitMix64::new(self.numbers.draw());
            Reader::new(&self.swarm.nodes()[*node].url, material.blob, cold.split_off(rest), numbers)
        });
        dealt.collect()
    }

    /// What all nodes but that one have counted so far.
    fn hedging(&self, bad: usize) -> Result<Hedging, TailError> {
        let mut all = Hedging::default();
        for (_, node) in self.swarm.nodes().iter().enumerate().filter(|(at, _)| *at != bad) {
            all.add(&Hedging::of(&self.metrics(node)?));
        }
        Ok(all)
    }

    fn metrics(&self, node: &Node) -> Result<String, TailError> {
        let client = ApiClient::new(&node.url).map_err(FuseError::from)?;
        Ok(self.runtime.block_on(client.metrics()).map_err(FuseError::from)?)
    }
}

/// A whole in as many parts as there are weights, in proportion to them.
fn shares(whole: usize, weights: &[usize]) -> Vec<usize> {
    let total = weights.iter().sum::<usize>().max(1);
    let bound = |upto: usize| whole * weights[..upto].iter().sum::<usize>() / total;
    (0..weights.len()).map(|at| bound(at + 1) - bound(at)).collect()
}

/// Bytes a second at which a chunk takes so long.
fn rate(chunk: Duration) -> u64 {
    // A rate is not negative.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rate = (f64::from(CHUNK_SIZE) / chunk.as_secs_f64().max(1e-3)) as u64;
    rate.max(1)
}

/// The chunks that a node neither has nor is to have.
fn lacking(explain: &Explain, node: &str) -> Vec<u32> {
    let has = |nodes: &[String]| nodes.iter().any(|one| one == node);
    explain.chunks.iter().filter(|chunk| !has(&chunk.owners) && !has(&chunk.holders)).map(|chunk| chunk.index).collect()
}

fn shuffled(chunks: Vec<u32>, numbers: &mut SplitMix64) -> Vec<u32> {
    numbers.shuffled(chunks.len()).into_iter().map(|at| chunks[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_make_the_whole() {
        assert_eq!(shares(100, &[10, 10, 20]), [25, 25, 50]);
        assert_eq!(shares(7, &[3, 3, 3, 3]), [1, 2, 2, 2]);
        assert_eq!((shares(7, &[0, 5]), shares(7, &[0])), (vec![0, 7], vec![0]));
    }

    #[test]
    fn a_slow_chunk_has_a_rate() {
        assert_eq!((rate(Duration::from_secs(1)), rate(Duration::ZERO) > 1 << 30), (4 << 20, true));
    }
}
