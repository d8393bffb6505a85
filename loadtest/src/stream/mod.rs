//! How fast large files and large directories are through the mount, beside the ways around it.

mod bench;
mod passes;
mod report;

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::pages::Pages;
use crate::swarm::{Swarm, SwarmArguments};

use bench::{Bench, Reader, Way};
use passes::{Pass, Scatter};
pub use report::StreamReport;
use report::{Head, Line, Unit};

/// Of the origin whose directory is listed.
const ORIGIN: &str = "many";
/// What `cat` reads at once.
const CAT: usize = 128 << 10;
const MIB: usize = 1 << 20;
/// Of the blob whose first byte is waited for: a few chunks, and what is read lies in the third.
const FIRST_BYTE_BLOB: u64 = 32 << 20;
const FIRST_BYTE_OFFSET: u64 = 10 << 20;

#[derive(Debug, Args)]
pub struct StreamArguments {
    #[command(flatten)]
    swarm: SwarmArguments,
    /// Size of the blob that is read warm and hot
    #[arg(long, default_value = "1GiB")]
    size: ByteSize,
    /// Size of each blob that is read for the first time; each run takes fresh ones
    #[arg(long, default_value = "256MiB")]
    cold_size: ByteSize,
    /// How often everything is measured; medians are shown
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    runs: usize,
    /// Random reads of each pass
    #[arg(long, default_value_t = 4096, value_parser = RangedU64ValueParser::<usize>::new().range(16..=10_000_000))]
    operations: usize,
    /// Files of the directory that is listed
    #[arg(long, default_value_t = 10_000)]
    entries: u32,
    /// What the bytes and the ways through them are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is measured
    #[arg(long, value_delimiter = ',', default_value = "sequential,random,mmap,cold,first-byte,list")]
    parts: Vec<Part>,
    /// Writes all figures of all runs, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Reads of 1 MiB in order: backing file and mount, hot and warm
    Sequential,
    /// Random reads of 4 and 128 KiB by 1 and 16 threads: backing file and mount, warm
    Random,
    /// Reads of 128 KiB against page faults, through the mount, hot and warm
    Mmap,
    /// The same of blobs that only the other node has
    Cold,
    /// Opening such a blob and reading 4 KiB of it
    FirstByte,
    /// Names and attributes of a large directory of an origin
    List,
}

pub fn run(arguments: &StreamArguments) -> Result<StreamReport, FuseError> {
    let many = tempfile::tempdir().map_err(FuseError::at(Path::new("the temporary directory")))?;
    let listed = arguments.parts.contains(&Part::List);
    fill(many.path(), if listed { arguments.entries } else { 0 })?;
    let swarm = Swarm::start(&arguments.swarm, &[format!("{ORIGIN}=file://{}", many.path().display())])?;
    let bench = Bench::new(&swarm, Pages::new(), arguments.runs);
    let warm = TestBlob::new(arguments.size.as_u64(), arguments.seed, &[0]);
    let needed = arguments.parts.iter().any(|part| matches!(part, Part::Sequential | Part::Random | Part::Mmap));
    if needed {
        swarm.put(&[warm])?;
        warm.verify(&swarm.first().file(warm.id))?;
    }
    let mut lines = Vec::new();
    for part in &arguments.parts {
        lines.extend(match part {
            Part::Sequential => sequential(&bench, &warm)?,
            Part::Random => random(&bench, &warm, arguments)?,
            Part::Mmap => mmap(&bench, &warm)?,
            Part::Cold => cold(&bench, arguments)?,
            Part::FirstByte => first_byte(&bench, arguments.seed)?,
            Part::List => list(&bench, many.path())?,
        });
    }
    if needed {
        swarm.delete(&[warm])?;
    }
    let (size, cold_size, notes) = (arguments.size.as_u64(), arguments.cold_size.as_u64(), bench.notes());
    let report = StreamReport { size, cold_size, runs: arguments.runs, seed: arguments.seed, notes, lines };
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json()).map_err(FuseError::at(path))?;
    }
    Ok(report)
}

fn sequential(bench: &Bench<'_>, blob: &TestBlob) -> Result<Vec<Line>, FuseError> {
    let (backing, mount) = bench.paths(blob);
    let read = |path: &Path| passes::sequential(path, MIB);
    let ways = || [Way::new("backing", || read(&backing)), Way::new("mount", || read(&mount))];
    let hot = bench.hot(&Head::new("sequential 1 MiB, hot", Unit::Rate, None), ways())?;
    let head = Head::new("sequential 1 MiB, warm", Unit::Rate, Some(">= 0.85"));
    Ok(vec![hot, bench.warm(&head, [&backing, &mount], ways())?])
}

fn random(bench: &Bench<'_>, blob: &TestBlob, arguments: &StreamArguments) -> Result<Vec<Line>, FuseError> {
    let (backing, mount) = bench.paths(blob);
    let measure = |(size, threads)| {
        let scatter = Scatter { size, threads, operations: arguments.operations, seed: arguments.seed };
        let read = |path: &Path| passes::scattered(path, blob.size, scatter);
        let ways = [Way::new("backing", || read(&backing)), Way::new("mount", || read(&mount))];
        let what = format!("random {} KiB x {threads}, warm", size >> 10);
        bench.warm(&Head::new(what, Unit::Operations, Some(">= 0.6")), [&backing, &mount], ways)
    };
    [(4 << 10, 1), (4 << 10, 16), (128 << 10, 1), (128 << 10, 16)].into_iter().map(measure).collect()
}

fn mmap(bench: &Bench<'_>, blob: &TestBlob) -> Result<Vec<Line>, FuseError> {
    let (backing, mount) = bench.paths(blob);
    let ways = || [Way::new("cat", || passes::sequential(&mount, CAT)), Way::new("mmap", || passes::mapped(&mount))];
    let hot = bench.hot(&Head::new("mount 128 KiB, hot", Unit::Rate, Some(">= 0.83")), ways())?;
    let head = Head::new("mount 128 KiB, warm", Unit::Rate, Some(">= 0.83"));
    Ok(vec![hot, bench.warm(&head, [&backing, &mount], ways())?])
}

fn cold(bench: &Bench<'_>, arguments: &StreamArguments) -> Result<Vec<Line>, FuseError> {
    let fresh = |label: u64| move |run: u64| TestBlob::new(arguments.cold_size.as_u64(), arguments.seed, &[label, run]);
    let cat: Reader = |path| passes::sequential(path, CAT);
    let head = Head::new("node 2 128 KiB, cold", Unit::Rate, Some(">= 0.83"));
    Ok(vec![bench.cold(&head, [("cat", &fresh(1), cat), ("mmap", &fresh(2), passes::mapped)])?])
}

fn first_byte(bench: &Bench<'_>, seed: u64) -> Result<Vec<Line>, FuseError> {
    let fresh = |label: u64| move |run: u64| TestBlob::new(FIRST_BYTE_BLOB, seed, &[label, run]);
    let open: Reader = |path| passes::single(path, 0, 0);
    let read: Reader = |path| passes::single(path, FIRST_BYTE_OFFSET, 4 << 10);
    let head = Head::new("node 2 first byte, cold", Unit::Millis, None);
    Ok(vec![bench.cold(&head, [("open", &fresh(3), open), ("+4 KiB", &fresh(4), read)])?])
}

fn list(bench: &Bench<'_>, many: &Path) -> Result<Vec<Line>, FuseError> {
    let dir = bench.swarm.first().mount.join("origins").join(ORIGIN);
    let first = bench.once(&Head::new("ls -l, the first time", Unit::Millis, None), Way::new("mount", || passes::list(&dir)))?;
    let ways = [Way::new("origin", || passes::list(many)), Way::new("mount", || passes::list(&dir))];
    Ok(vec![first, bench.hot(&Head::new("ls -l, again", Unit::Millis, Some("< 100 ms")), ways)?])
}

fn fill(dir: &Path, entries: u32) -> Result<(), FuseError> {
    let write = |n: u32| std::fs::write(dir.join(format!("entry-{n:06}")), n.to_string());
    (0..entries).try_for_each(write).map_err(FuseError::at(dir))
}
