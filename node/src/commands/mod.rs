//! The commands that talk to a running node, one file each.

mod drain;
mod explain;
mod get;
mod ls;
mod pin;
mod prefetch;
pub mod put;
mod rm;
mod stat;
mod status;
mod target;

use clap::Subcommand;
use herring_http_api::client::ClientError;

pub use target::Target;

use crate::cli::Global;
use crate::error::Failure;

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Puts files and directories into the swarm and prints their ids
    Put(put::PutArgs),
    /// Writes a blob to a file or to stdout, or a directory to a directory, verified
    Get(get::GetArgs),
    /// Lists the names of the swarm
    Ls {
        /// Only those that begin so; those that begin with a dot are the swarm's own and shown only where this does
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Shows what a blob or a name is: size, chunks, and what is in a directory
    Stat {
        /// 64 hexadecimal digits, with or without sha256: in front, or a name
        #[arg(value_name = "ID|NAME")]
        what: Target,
    },
    /// Deletes a blob from the whole swarm, or a name, but not what it points at
    Rm {
        /// 64 hexadecimal digits, with or without sha256: in front, or a name
        #[arg(value_name = "ID|NAME")]
        what: Target,
    },
    /// Brings what will be read soon to the node's disk
    Prefetch(prefetch::PrefetchArgs),
    /// Brings a blob or tree to the node's disk and keeps it there for a time
    Pin(pin::PinArgs),
    /// Ends a pin early
    Unpin {
        /// As it was pinned
        #[arg(value_name = "ID|NAME")]
        target: Target,
    },
    /// Shows what is pinned on the node
    Pins,
    /// Shows where a blob's chunks are, where they should be, and what the loss of a node would move
    Explain(explain::ExplainArgs),
    /// Shows the nodes of the swarm, and whether everything is where it should be
    Status(status::StatusArgs),
    /// Lets the node give what it keeps to the others, and waits until it can be stopped; it serves reads meanwhile
    Drain(drain::DrainArgs),
}

pub async fn run(command: ClientCommand, global: &Global) -> Result<(), Failure> {
    let (client, output) = (global.client()?, global.output());
    match command {
        ClientCommand::Put(args) => put::run(&client, output, args).await,
        ClientCommand::Get(args) => get::run(&client, args).await,
        ClientCommand::Ls { prefix } => ls::run(&client, output, &prefix).await,
        ClientCommand::Stat { what } => stat::run(&client, output, what).await,
        ClientCommand::Rm { what } => rm::run(&client, output, what).await,
        ClientCommand::Prefetch(args) => prefetch::run(&client, output, args).await,
        ClientCommand::Pin(args) => pin::pin(&client, output, args).await,
        ClientCommand::Unpin { target } => pin::unpin(&client, output, &target).await,
        ClientCommand::Pins => pin::list(&client, output).await,
        ClientCommand::Explain(args) => explain::run(&client, output, args).await,
        ClientCommand::Status(args) => status::run(&client, output, args).await,
        ClientCommand::Drain(args) => drain::run(&client, output, &args).await,
    }
}

/// A node's refusal is already a sentence.
impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::failed(error)
    }
}
