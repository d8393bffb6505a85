//! Whether asking a peer beats the shared server, with more and more readers: the same cold ranges, from the readers' own nodes, which fetch them
//! from others, and from one central web server with the same link.

mod bench;
mod deal;
mod readers;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::error::FuseError;
use crate::lab::{LabError, Rate};

use bench::Bench;
pub use report::CentralReport;

/// In so many rounds the two are asked in turn, and readers begin at another node in each.
const ROUNDS: usize = 8;

#[derive(Debug, Args)]
pub struct CentralArguments {
    /// The herring program [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    herring: Option<PathBuf>,
    /// Where all data is, in a directory of its own that is removed afterwards; disks are slower than many links: /dev/shm is not [default: the
    /// system's temporary directory]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Nodes, among which readers are dealt out; each chunk is on three of them in the beginning, and is read at others
    #[arg(long, default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(4..=32))]
    nodes: usize,
    /// Readers at the same time; each number is measured on its own
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64", value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    readers: Vec<usize>,
    /// Reads for each number of readers, at least, of each of the two
    #[arg(long, default_value_t = 192, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    reads: usize,
    /// Of each host's link, in each direction, as tc writes it
    #[arg(long, default_value = "1gbit")]
    rate: Rate,
    /// Milliseconds that what is asked and answered between hosts takes longer, in each direction
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1000))]
    delay: u64,
    /// What the bytes and the choice of chunks are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A flag more for every node; may be repeated
    #[arg(long = "flag", value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Writes all figures, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn run(arguments: &CentralArguments) -> Result<CentralReport, LabError> {
    let mut bench = Bench::new(arguments)?;
    let mut report = CentralReport::new(arguments);
    for readers in &arguments.readers {
        let line = bench.measure(*readers)?;
        eprintln!(
            "loadtest: {readers} readers: p50 {:.1} ms, {:.1} ms from the central server",
            line.p2p.p50_ms(),
            line.central.p50_ms()
        );
        report.lines.push(line);
    }
    if let Some(path) = &arguments.json {
        let written = std::fs::write(path, report.json());
        written.map_err(FuseError::at(path))?;
    }
    Ok(report)
}

impl CentralArguments {
    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay)
    }

    /// Of one reader in one round.
    fn reads_in_turn(&self, readers: usize) -> usize {
        self.reads.div_ceil(readers * ROUNDS)
    }

    /// Reads at a node in all rounds of all numbers of readers, at most.
    fn reads_at_each(&self) -> usize {
        let at_each = |readers: usize| match readers < self.nodes {
            // They go on by a node each round.
            true => ROUNDS.div_ceil(self.nodes) * readers.min(ROUNDS),
            false => ROUNDS * readers.div_ceil(self.nodes),
        };
        self.readers.iter().map(|readers| self.reads_in_turn(*readers) * at_each(*readers)).sum()
    }
}
