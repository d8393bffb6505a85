use std::io;
use std::path::{Path, PathBuf};

use herring_blob::{BlobId, ByteRange};
use herring_http_api::client::ClientError;

use crate::blocks::MAX_BLOCKS;

/// Why a load test ended early. One failed read ends it: figures that leave failures out would be too good.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{node} broke off in bytes {range}: {detail}")]
    Broken { node: String, range: ByteRange, detail: String },
    #[error("{node} took longer than {seconds} s for bytes {range}")]
    TimedOut { node: String, range: ByteRange, seconds: u64 },
    #[error("{node} gave wrong bytes for {range} of blob {id}")]
    Wrong { node: String, range: ByteRange, id: BlobId },
    #[error("{node} gave bytes whose chunks match their manifest, but they are not blob {id}")]
    OtherBlob { node: String, id: BlobId },
    #[error("blob {0} is empty: there is nothing to read, choose another")]
    Empty(BlobId),
    #[error(
        "the blob has more than {MAX_BLOCKS} ranges of this size to remember digests of: choose a larger --range or a smaller blob"
    )]
    TooManyBlocks,
    #[error("a reader panicked: {0}")]
    Reader(#[from] tokio::task::JoinError),
}

/// Why a measurement of mounts ended early. One wrong byte ends it.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} does not hold the {size} bytes that were put: it differs in the bytes from {at} on", .path.display())]
    Wrong { path: PathBuf, at: u64, size: u64 },
    #[error("{} was to be read for the first time, but node 2 has it on its disk already", .0.display())]
    NotCold(PathBuf),
    #[error("there is no herring program at {}: build it (cargo build --release), or say where it is with --herring", .0.display())]
    NoProgram(PathBuf),
    #[error("node {id} ended by itself ({status}); the end of its log:\n{log}")]
    Ended { id: String, status: String, log: String },
    #[error("node {id} was not ready after {seconds} s ({detail}); the end of its log:\n{log}")]
    NotReady { id: String, seconds: u64, detail: String, log: String },
    #[error("{0} cannot be measured at a node that runs already: it needs a second node, leave out --node")]
    OneNode(&'static str),
    #[error("a reading thread panicked")]
    Panicked,
    #[error("ended as asked, before all was measured")]
    Interrupted,
}

impl FuseError {
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
