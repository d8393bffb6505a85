//! Opens and reads of small files, timed at the system call: tmpfs, the store's own files and the mount, in turn.

mod measure;
mod plan;
mod report;
mod set;
mod svg;

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use tempfile::TempDir;

use crate::error::FuseError;
use crate::pages::Pages;
use crate::random::SplitMix64;
use crate::swarm::{Swarm, SwarmArguments};

use measure::{Quantiles, Times};
use plan::{Deal, Mode, Place, Places};
use report::Line;
pub use report::SweepReport;
use set::Set;

#[derive(Debug, Args)]
pub struct SweepArguments {
    #[command(flatten)]
    swarm: SwarmArguments,
    /// Files
    #[arg(long, default_value_t = 256, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    files: usize,
    /// Bytes of each file
    #[arg(long, default_value_t = 65_536, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_073_741_824))]
    size: usize,
    /// Reading threads, a sweep for each number
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64,256", value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    readers: Vec<usize>,
    /// How often each is measured; the median of the runs' p99 is shown
    #[arg(long, default_value_t = 10, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    runs: usize,
    /// What the caches hold
    #[arg(long, value_delimiter = ',', default_value = "hot,warm,cold")]
    modes: Vec<Mode>,
    /// What the files' bytes and their order are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Hot reads of a run at each place, of all threads together
    #[arg(long, default_value_t = 8192, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000_000))]
    operations: usize,
    /// Warm passes of a run at each place: in each, every file is read once, with dropped caches
    #[arg(long, default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    passes: usize,
    /// A directory in memory to compare with; files are put as deep in it as they are in the mount, since an open pays for each
    /// directory on its way
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    tmpfs: PathBuf,
    /// Writes the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the p99 over the readers
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Fails where a hot p99 of the mount is more than --limit times that of tmpfs
    #[arg(long)]
    check: bool,
    /// For --check
    #[arg(long, default_value_t = 1.3)]
    limit: f64,
}

impl SweepArguments {
    /// What --check has to say against these figures.
    pub fn objections(&self, report: &SweepReport) -> Vec<String> {
        if self.check { report.above(self.limit) } else { Vec::new() }
    }
}

struct Sweep<'a> {
    arguments: &'a SweepArguments,
    swarm: Swarm,
    pages: Pages,
    /// Where the files are in memory.
    tmpfs: TempDir,
}

pub fn run(arguments: &SweepArguments) -> Result<SweepReport, FuseError> {
    let tmpfs = tempfile::Builder::new().prefix("loadtest-").tempdir_in(&arguments.tmpfs);
    let tmpfs = tmpfs.map_err(FuseError::at(&arguments.tmpfs))?;
    let sweep = Sweep { arguments, swarm: Swarm::start(&arguments.swarm, &[])?, pages: Pages::new(), tmpfs };
    let lines = sweep.lines()?;
    let SweepArguments { files, size, runs, seed, .. } = *arguments;
    let report = SweepReport { files, size, runs, seed, notes: sweep.pages.note().into_iter().collect(), lines };
    write(arguments.json.as_deref(), || report.json())?;
    write(arguments.svg.as_deref(), || svg::plot(&report))?;
    Ok(report)
}

impl Sweep<'_> {
    fn lines(&self) -> Result<Vec<Line>, FuseError> {
        let set = Set::local(self.arguments, &self.swarm, self.tmpfs.path())?;
        let mut lines = Vec::new();
        for mode in &self.arguments.modes {
            for &readers in &self.arguments.readers {
                lines.push(self.line(*mode, readers, &set)?);
                eprintln!("loadtest: {mode} with {readers} readers done");
            }
        }
        set.verify_and_remove(&self.swarm)?;
        Ok(lines)
    }

    fn line(&self, mode: Mode, readers: usize, set: &Set) -> Result<Line, FuseError> {
        // Reads everything once, too.
        set.verify()?;
        let (mut runs, mut operations) = (Places::<Vec<Quantiles>>::default(), 0);
        for run in 0..self.arguments.runs {
            self.swarm.go_on()?;
            let numbers = SplitMix64::derived(self.arguments.seed, &[readers as u64, run as u64]);
            let fresh = if mode == Mode::Cold { Some(self.fresh(readers, run)?) } else { None };
            for place in Place::rotated(run) {
                let times = self.pass(mode, readers, numbers, (fresh.as_ref().unwrap_or(set), place))?;
                operations = times.open.len();
                runs.of_mut(place).push(times.quantiles());
            }
            fresh.map_or(Ok(()), |fresh| fresh.verify_and_remove(&self.swarm))?;
        }
        Ok(Line::new(mode, readers, operations, &runs))
    }

    /// All reads of one place in one run. Each place gets the same numbers, so the same files in the same order.
    fn pass(&self, mode: Mode, readers: usize, mut numbers: SplitMix64, at: (&Set, Place)) -> Result<Times, FuseError> {
        let files = self.arguments.files;
        match mode {
            Mode::Hot => at.0.take(at.1, &plan::at_random(files, readers, self.arguments.operations, &mut numbers)),
            Mode::Warm => {
                let mut times = Times::default();
                for _ in 0..self.arguments.passes {
                    times.add(self.emptied(at, &plan::each_once(files, readers, &mut numbers))?);
                }
                Ok(times)
            }
            Mode::Cold => self.emptied(at, &plan::each_once(files, readers, &mut numbers)),
        }
    }

    fn emptied(&self, (set, place): (&Set, Place), deal: &Deal) -> Result<Times, FuseError> {
        self.pages.drop(set.files(place).paths().chain(set.files(Place::Backing).paths()))?;
        set.take(place, deal)
    }

    fn fresh(&self, readers: usize, run: usize) -> Result<Set, FuseError> {
        Set::fresh(self.arguments, &self.swarm, self.tmpfs.path(), &[readers as u64, run as u64])
    }
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), FuseError> {
    path.map_or(Ok(()), |path| std::fs::write(path, text()).map_err(FuseError::at(path)))
}
