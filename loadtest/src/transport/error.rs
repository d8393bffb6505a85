use std::io;

use herring_http_api::client::{ClientError, PeerError};

use crate::error::FuseError;

/// Why a measurement of the transport ended early. One failed read ends it: figures that leave failures out would be too good.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    Swarm(#[from] FuseError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("a node did not give what a peer asked for: {0}")]
    Peer(#[from] PeerError),
    #[error("{what}: {source}")]
    Tool { what: String, source: io::Error },
    #[error("{what} did not do what it should: {detail}")]
    Answer { what: String, detail: String },
    #[error("a reading thread panicked")]
    Panicked,
}
