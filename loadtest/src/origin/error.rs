use std::io;

use crate::error::FuseError;

/// Why a measurement of an origin ended early. One failed read ends it: figures that leave failures out would be too good.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error(transparent)]
    Swarm(#[from] FuseError),
    #[error("{url}: {source}")]
    Io { url: String, source: io::Error },
    #[error("{url} was not answered as it should be: {detail}")]
    Answer { url: String, detail: String },
    #[error("{url} took longer than {seconds} s")]
    TimedOut { url: String, seconds: u64 },
    #[error("the origin was still being asked {seconds} s after the last read")]
    Restless { seconds: u64 },
    #[error("the in-process origin: {0}")]
    Origin(#[source] io::Error),
    #[error("a reader panicked: {0}")]
    Reader(#[from] tokio::task::JoinError),
}
