//! The `herring` program: a node, and the commands that talk to one.

mod api;
mod certs;
mod check;
mod cli;
mod commands;
mod config;
mod digest;
mod doors;
mod drill;
mod error;
mod id;
mod keys;
mod limits;
mod logging;
mod node;
mod output;
mod owner;
mod parent;
mod progress;
mod reread;
mod signals;
mod tls;
mod token;
mod tokens;
mod tree;
mod up;
mod weight;

use std::process::ExitCode;

use rustix::fs::Mode;

use crate::cli::{Cli, Command, NodeArgs};
use crate::config::{NodeConfig, NodeSettings};
use crate::error::{Failure, OrFail};

/// glibc's allocator maps, faults and unmaps large buffers each time, at twice the CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Err(failure) = start() else { return ExitCode::SUCCESS };
    failure.tell();
    failure.code()
}

fn start() -> Result<(), Failure> {
    let Some(cli) = Cli::read()? else { return Ok(()) };
    if matches!(cli.command, Command::Node(_) | Command::Up(_)) {
        keep_private();
    }
    logging::start(cli.global.log_format, cli.command.log_level(), matches!(cli.command, Command::Node(_)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().or_fail(|| "cannot start".to_owned())?;
    let done = runtime.block_on(run(cli));
    // A thread may still wait for stdin or a hung mount; it must not keep the program.
    runtime.shutdown_background();
    done
}

/// What a node writes, its logs and records among it, is for its user alone: files 0600, directories 0700.
fn keep_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Node(args) => node::run(configure(*args)?).await,
        Command::Drill(args) => drill::run(args, &cli.global).await,
        Command::Up(args) => up::run(args, cli.global.output()).await,
        Command::Token(command) => token::run(command, cli.global.output()),
        Command::Certs(command) => certs::run(&command, cli.global.output()),
        Command::Client(command) => commands::run(command, &cli.global).await,
        Command::Completions { shell } => output::print(&cli::completions(shell)),
    }
}

fn configure(args: NodeArgs) -> Result<NodeConfig, Failure> {
    let file = args.config.as_deref().map(NodeSettings::load).transpose()?.unwrap_or_default();
    let config = NodeConfig::new(args.settings.over(file))?;
    if args.die_with_parent {
        parent::follow();
    }
    Ok(config)
}
