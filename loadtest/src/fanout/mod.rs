//! How long it takes until each of many nodes has all of one object, when all begin at once and links are what limits them: from one central
//! server, from static owners, and through the whole swarm.

mod bench;
mod central;
mod peers;
mod report;
mod svg;
mod wanted;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::error::FuseError;
use crate::lab::{LabError, Rate};

use bench::Bench;
pub use report::FanOutReport;

#[derive(Debug, Args)]
pub struct FanOutArguments {
    /// The herring program [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    herring: Option<PathBuf>,
    /// Where all data is, in a directory of its own that is removed afterwards; disks are slower than many links: /dev/shm is not [default: the
    /// system's temporary directory]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// How many nodes; each number is measured on its own
    #[arg(long, value_delimiter = ',', default_value = "2,4,8,16,32", value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    nodes: Vec<usize>,
    /// Of the object
    #[arg(long, default_value = "128MiB")]
    size: ByteSize,
    /// Of each host's link, in each direction, as tc writes it
    #[arg(long, default_value = "100mbit")]
    rate: Rate,
    /// Milliseconds that what is asked and answered between hosts takes longer, in each direction
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1000))]
    delay: u64,
    /// Deals the nodes out among so many zones, and counts what goes into each
    #[arg(long, default_value_t = 0, value_parser = RangedU64ValueParser::<usize>::new().range(0..=16))]
    zones: usize,
    /// Where the bytes are in the beginning
    #[arg(long, value_enum, default_value_t = Source::Origin)]
    from: Source,
    /// How nodes are made to fetch them
    #[arg(long, value_enum, default_value_t = Reader::Prefetch)]
    reader: Reader,
    /// What is compared
    #[arg(long, value_enum, value_delimiter = ',', default_value = "central,static,swarm")]
    modes: Vec<Mode>,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    repeat: usize,
    /// What the bytes are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A flag more for every node; may be repeated
    #[arg(long = "flag", value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Writes down how far each node was every half second, into the JSON
    #[arg(long)]
    timeline: bool,
    /// Keeps each node's log and metrics there
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Draws time against nodes
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Writes all figures, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A web server on a host of its own, read through
    Origin,
    /// A node on a host of its own, the only owner
    Blob,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reader {
    /// A prefetch on each
    Prefetch,
    /// A program on each host that reads it from its node, from front to back
    Get,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every host downloads it from one web server
    Central,
    /// Nodes ask the origin and each chunk's owners
    Static,
    /// Owners that are busy point at others who have it
    Swarm,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Central, Self::Static, Self::Swarm];

    fn name(self) -> &'static str {
        match self {
            Self::Central => "central",
            Self::Static => "static",
            Self::Swarm => "swarm",
        }
    }
}

pub fn run(arguments: &FanOutArguments) -> Result<FanOutReport, LabError> {
    let mut bench = Bench::new(arguments)?;
    let mut report = FanOutReport::new(arguments);
    for nodes in &arguments.nodes {
        for _ in 0..arguments.repeat {
            for mode in &arguments.modes {
                let fan = bench.measure(*mode, *nodes)?;
                eprintln!("loadtest: {nodes} nodes, {}: {:.2} s, {:.2} × the ideal", mode.name(), fan.seconds, fan.over_ideal);
                report.fans.push(fan);
                // What was measured is kept, whatever happens to the rest.
                report_to(arguments, &report)?;
            }
        }
    }
    Ok(report)
}

fn report_to(arguments: &FanOutArguments, report: &FanOutReport) -> Result<(), LabError> {
    let write = |path: &Path, text: String| std::fs::write(path, text).map_err(FuseError::at(path));
    arguments.json.as_deref().map_or(Ok(()), |path| write(path, report.json()))?;
    arguments.svg.as_deref().map_or(Ok(()), |path| write(path, svg::plot(report)))?;
    Ok(())
}

impl FanOutArguments {
    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay)
    }
}
