//! How long a program takes to start from a mount: on the first node that starts it, which writes down what it read, and on others, with that
//! profile and without.

mod error;
mod hosts;
mod report;
mod start;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::error::FuseError;
use crate::lab::{Plan, Relays, Wires};
use crate::pages::Pages;
use crate::swarm::{HomeArguments, flags};

pub use error::BootError;
use hosts::Hosts;
pub use report::BootReport;
use report::Start;
use start::{Program, ask_python};

/// What the tree is called.
const NAME: &str = "boot";
/// Where the swarm keeps what was read first.
const PROFILES: &str = ".profiles/";
/// A start is written down for 120 s at most, and for 5 s after the last new read.
const PATIENCE: Duration = Duration::from_secs(150);

#[derive(Debug, Args)]
pub struct BootArguments {
    /// The herring program [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    herring: Option<PathBuf>,
    /// Where the nodes' data is, in a directory of its own that is removed afterwards [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// The directory that is put as a tree and that the command starts from [default: the one in which python3 finds numpy]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What is started, by a shell, with PYTHONPATH set to the tree
    #[arg(long, default_value = "python3 -c 'import numpy'")]
    command: String,
    /// How many nodes start it with the profile, and as many without
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=30))]
    runs: usize,
    /// Of each node's link, both ways, as tc writes it; needs root, else all nodes are on loopback
    #[arg(long, default_value = "1gbit")]
    rate: String,
    /// Leaves all nodes on loopback
    #[arg(long)]
    loopback: bool,
    /// Milliseconds that what is sent between nodes takes longer, in each direction; on loopback, without a limit to the rate
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1000))]
    delay: u64,
    /// Writes all figures, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What lies between the nodes.
enum Way {
    Loopback,
    Longer(Relays),
    Wires(Wires),
}

/// What a node does about profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The first that reads: there is none yet.
    First,
    With,
    Without,
}

pub fn run(arguments: &BootArguments) -> Result<BootReport, BootError> {
    let (program, dir) = what_is_started(arguments)?;
    // Once before, so that the interpreter itself is warm for all.
    program.start(&dir)?;
    let native = (0..arguments.runs).map(|_| program.start(&dir)).collect::<Result<Vec<_>, _>>()?;
    let kinds = kinds(arguments.runs);
    let way = Way::new(arguments, kinds.len() + 1)?;
    let home = HomeArguments { herring: arguments.herring.clone(), dir: arguments.home.clone() };
    let own = kinds.iter().map(|kind| if *kind == Kind::Without { flags(&["--profile-idle", "0"]) } else { Vec::new() });
    let hosts = Hosts::start(&home, way, &[Vec::new()].into_iter().chain(own).collect::<Vec<_>>())?;
    hosts.put(&dir, NAME)?;
    let starts = kinds.iter().zip(2..).map(|(kind, number)| start_on(&hosts, &program, *kind, number));
    let starts = starts.collect::<Result<Vec<_>, _>>()?;
    let report = BootReport::new(dir, program.command, hosts.way.describe(arguments), native, starts);
    if let Some(path) = &arguments.json {
        let written = std::fs::write(path, report.json());
        written.map_err(FuseError::at(path))?;
    }
    Ok(report)
}

impl Way {
    fn new(arguments: &BootArguments, nodes: usize) -> Result<Self, BootError> {
        if arguments.delay > 0 {
            let relays = Relays::new(Duration::from_millis(arguments.delay));
            return Ok(Self::Longer(relays.map_err(FuseError::at(Path::new("relays")))?));
        }
        let wires = if arguments.loopback {
            None
        } else {
            Wires::make(Plan { hosts: nodes, rate: &arguments.rate, zones: 0, apart: 0 })?
        };
        Ok(wires.map_or(Self::Loopback, Self::Wires))
    }

    fn describe(&self, arguments: &BootArguments) -> String {
        match self {
            Self::Loopback if arguments.loopback => "all nodes on loopback".to_owned(),
            Self::Loopback => "all nodes on loopback: links are shaped for root only".to_owned(),
            Self::Longer(_) => format!("all nodes on loopback, {} ms away from each other", arguments.delay),
            Self::Wires(_) => format!("links of {}", arguments.rate),
        }
    }
}

fn what_is_started(arguments: &BootArguments) -> Result<(Program, PathBuf), BootError> {
    let asked = ask_python();
    let python = asked.as_ref().ok().map(|(python, _)| python.clone());
    let dir = match (&arguments.dir, asked) {
        (Some(dir), _) => dir.clone(),
        (None, Ok((_, Some(numpy)))) => numpy,
        (None, Ok((python, None))) => return Err(BootError::NoNumpy(python.display().to_string())),
        (None, Err(why)) => return Err(BootError::NoNumpy(why)),
    };
    let dir = dir.canonicalize().map_err(FuseError::at(&dir))?;
    Ok((Program { command: arguments.command.clone(), python }, dir))
}

/// In which order nodes 2, 3, … start it: in turn, and each turn begins with the other.
fn kinds(runs: usize) -> Vec<Kind> {
    let pairs = [[Kind::With, Kind::Without], [Kind::Without, Kind::With]];
    [Kind::First].into_iter().chain(pairs.into_iter().cycle().take(runs).flatten()).collect()
}

fn start_on(hosts: &Hosts, program: &Program, kind: Kind, number: usize) -> Result<Start, BootError> {
    hosts.wait_for_name(number, NAME, PATIENCE)?;
    let before = hosts.stored(number);
    let tree = hosts.tree(number, NAME);
    // What others have read is written by now, and nobody's writing is in the way.
    Pages::sync();
    let seconds = program.start(&tree)?;
    let fetched = hosts.stored(number).saturating_sub(before);
    if kind == Kind::First {
        hosts.wait_for_name(number, PROFILES, PATIENCE)?;
    }
    eprintln!("loadtest: node {number} has started it in {seconds:.2} s");
    Ok(Start { kind: kind.name(), seconds, fetched, had: before })
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::With => "with",
            Self::Without => "without",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_take_turns_and_each_is_first_as_often() {
        use Kind::{First, With, Without};
        assert_eq!(kinds(3), [First, With, Without, Without, With, With, Without]);
    }
}
