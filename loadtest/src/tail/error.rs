use std::io;

use crate::error::FuseError;

/// Why a drill ended early. A read that fails does not end it: it is counted.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error(transparent)]
    Swarm(#[from] FuseError),
    #[error("the runtime of relays and readers: {0}")]
    Runtime(io::Error),
    #[error("a reader panicked: {0}")]
    Reader(tokio::task::JoinError),
    #[error(
        "node {node} owns more than its share, and lacks too few chunks to read that many cold: take fewer --reads or another --seed"
    )]
    TooFew { node: usize },
}
