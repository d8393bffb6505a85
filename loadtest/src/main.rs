//! Load against running nodes, over their public API. Every byte that is read is verified.

mod blocks;
mod error;
mod read;
mod report;
mod tally;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "loadtest", version, about = "Load against running Herring nodes")]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Reads random ranges of a blob with more and more readers
    Read(read::ReadArguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Scenario::Read(arguments) = Arguments::parse().scenario;
    match read::run(&arguments).await {
        Ok(report) => {
            println!("{}", if arguments.json { report.json() } else { report.table() });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}
