use std::io;

use crate::error::FuseError;

/// Why a soak ended early. Something that went wrong for its workers does not end it: it is counted.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    #[error(transparent)]
    Swarm(#[from] FuseError),
    #[error("the runtime of relays and workers: {0}")]
    Runtime(io::Error),
    #[error("a worker panicked: {0}")]
    Worker(tokio::task::JoinError),
}
