//! The commands that talk to a running node, one file each.

mod explain;
mod get;
pub mod put;
mod rm;
mod stat;
mod status;

use clap::Subcommand;
use herring_blob::BlobId;
use herring_http_api::client::{ApiClient, ClientError};

use crate::cli::Global;
use crate::error::Failure;

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Puts files into the swarm and prints their ids
    Put(put::PutArgs),
    /// Writes a blob to a file or to stdout, verified
    Get(get::GetArgs),
    /// Shows a blob's size and chunks
    Stat {
        /// 64 hexadecimal digits, with or without sha256: in front
        id: BlobId,
    },
    /// Deletes a blob from the whole swarm
    Rm {
        /// 64 hexadecimal digits, with or without sha256: in front
        id: BlobId,
    },
    /// Shows where a blob's chunks are, where they should be, and what the loss of a node would move
    Explain(explain::ExplainArgs),
    /// Shows the nodes of the swarm
    Status(status::StatusArgs),
}

pub async fn run(command: ClientCommand, global: &Global) -> Result<(), Failure> {
    let (client, output) = (ApiClient::new(&global.node).map_err(Failure::usage)?, global.output());
    match command {
        ClientCommand::Put(args) => put::run(&client, output, args).await,
        ClientCommand::Get(args) => get::run(&client, args).await,
        ClientCommand::Stat { id } => stat::run(&client, output, id).await,
        ClientCommand::Rm { id } => rm::run(&client, output, id).await,
        ClientCommand::Explain(args) => explain::run(&client, output, args).await,
        ClientCommand::Status(args) => status::run(&client, output, args).await,
    }
}

/// A node's refusal is already a sentence.
impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::failed(error)
    }
}
