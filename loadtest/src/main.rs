//! Load and measurements of running nodes, over their public API and their mounts. Every byte that is read is verified.

mod blob;
mod blocks;
mod boot;
mod error;
mod figures;
mod interrupt;
mod mapping;
mod node;
mod origin;
mod pages;
mod random;
mod read;
mod report;
mod stream;
mod swarm;
mod sweep;
mod tally;
mod threads;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "loadtest", version, about = "Load and measurements of Herring nodes")]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Reads random ranges of a blob with more and more readers
    Read(read::ReadArguments),
    /// Measures opens and reads of small files with more and more readers: tmpfs, the store's files and the mount in turn
    FuseSweep(sweep::SweepArguments),
    /// Measures large files and directories through a mount: in order, at random, mapped, cold
    FuseStream(stream::StreamArguments),
    /// Measures reads of an origin through a swarm beside asking the origin oneself: cold, warm, with half of the nodes stopped, by all at once
    Origin(origin::OriginArguments),
    /// Measures a program that starts from a mount: at the first node that starts it, and at others with that one's profile and without
    BootProfile(boot::BootArguments),
}

fn main() -> ExitCode {
    match Arguments::parse().scenario {
        Scenario::Read(arguments) => {
            let shown = |report: report::Report| if arguments.json { report.json() } else { report.table() };
            tell(read::run_to_end(&arguments).map(shown))
        }
        Scenario::FuseSweep(arguments) => sweep(&arguments),
        Scenario::Origin(arguments) => tell(origin::run(&arguments).map(|report| report.table())),
        Scenario::BootProfile(arguments) => tell(boot::run(&arguments).map(|report| report.table())),
        Scenario::FuseStream(arguments) => tell(stream::run(&arguments).map(|report| report.table())),
    }
}

/// The figures, and then what is wrong with them.
fn sweep(arguments: &sweep::SweepArguments) -> ExitCode {
    let done = sweep::run(arguments);
    let objections = done.as_ref().map_or(Vec::new(), |report| arguments.objections(report));
    let told = tell(done.map(|report| report.table()));
    objections.iter().for_each(|objection| eprintln!("loadtest: {objection}"));
    if objections.is_empty() { told } else { ExitCode::FAILURE }
}

fn tell<E: Display>(done: Result<String, E>) -> ExitCode {
    match done {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}
