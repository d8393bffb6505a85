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
