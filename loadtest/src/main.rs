//! Load and measurements of running nodes, over their public API and their mounts. Every byte that is read is verified.

mod blob;
mod blocks;
mod boot;
mod central;
mod error;
mod fanout;
mod faulty;
mod figures;
mod interrupt;
mod lab;
mod mapping;
mod node;
mod origin;
mod pages;
mod random;
mod read;
mod report;
mod soak;
mod stream;
mod swarm;
mod sweep;
mod tail;
mod tally;
mod threads;
mod transport;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The nodes' own: glibc's takes twice the CPU for large buffers, and what is measured here is not it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Measures cold reads while one node of five is slow, silent, resets or stalls: beside the same reads before
    Tail(tail::TailArguments),
    /// Does everything at once to a swarm for a while, and fails where memory, open files or latency creep
    Soak(soak::SoakArguments),
    /// Measures serving and fetching between two nodes beside iperf3, nginx and cp
    Transport(transport::TransportArguments),
    /// Measures how long it takes until each of many nodes has all of one object: from one central server, and through the swarm
    FanOut(fanout::FanOutArguments),
    /// Measures cold reads from peers beside the same reads from one central server, with more and more readers
    #[command(name = "p2p-vs-central")]
    Central(central::CentralArguments),
}

fn main() -> ExitCode {
    match Arguments::parse().scenario {
        Scenario::Read(arguments) => {
            let shown = |report: report::Report| if arguments.json { report.json() } else { report.table() };
            tell(read::run_to_end(&arguments).map(shown))
        }
        Scenario::FuseSweep(arguments) => sweep(&arguments),
        Scenario::Tail(arguments) => tail(&arguments),
        Scenario::Soak(arguments) => soak(&arguments),
        Scenario::Origin(arguments) => tell(origin::run(&arguments).map(|report| report.table())),
        Scenario::Transport(arguments) => tell(transport::run(&arguments).map(|report| report.table())),
        Scenario::BootProfile(arguments) => tell(boot::run(&arguments).map(|report| report.table())),
        Scenario::FanOut(arguments) => tell(fanout::run(&arguments).map(|report| report.table())),
        Scenario::Central(arguments) => tell(central::run(&arguments).map(|report| report.table())),
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

/// The figures, and then what is wrong with them.
fn tail(arguments: &tail::TailArguments) -> ExitCode {
    let done = tail::run(arguments);
    let objections = done.as_ref().map_or(Vec::new(), |report| report.objections(arguments.goal));
    let told = tell(done.map(|report| report.table()));
    objections.iter().for_each(|objection| eprintln!("loadtest: {objection}"));
    if objections.is_empty() { told } else { ExitCode::FAILURE }
}

/// The figures, and then what is wrong with them.
fn soak(arguments: &soak::SoakArguments) -> ExitCode {
    let done = soak::run(arguments);
    let objections = done.as_ref().map_or(Vec::new(), |report| report.objections.clone());
    let told = tell(done.map(|report| if arguments.json { report.json() } else { report.table() }));
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
