//! What peers say to each other under `/peer/v1/…`, beyond the JSON bodies of [`crate::types`].
//!
//! | request | answer |
//! | --- | --- |
//! | `GET blobs/{id}/manifest` | 200 manifest, 404 |
//! | `GET blobs/{id}/chunks/{n}` | 200 the chunk's bytes and [`DIGEST`], 404 |
//! | `GET blobs/{id}/presence` | 200 [`crate::types::Presence`], 404 |
//! | `DELETE blobs/{id}` | 204, also where there was none |
//! | `GET objects/chunks/{n}?origin=&key=&version=&size=&chunk_size=` | 200 bytes and [`DIGEST`]; the owner asks the origin where it must |
//! | `PUT uploads/{upload}/chunks/{n}?chunk_size=` with [`DIGEST`] | 204, 422, 507 |
//! | `POST uploads/{upload}/commit` with a manifest | 200 [`crate::types::Presence`] of the blob once all is on disk, 422, 507 |
//! | `DELETE uploads/{upload}` | 204 |
//! | `GET usage` | 200 [`crate::types::NodeUsage`] |

use bytes::Bytes;
use herring_blob::{BlobId, ChunkDigest, ObjectRef};

/// The BLAKE3 digest of the chunk in the body.
pub const DIGEST: &str = "herring-digest";
/// The epoch of the asker's view.
pub const EPOCH: &str = "herring-epoch";
/// Milliseconds that the asker will still wait.
pub const DEADLINE: &str = "herring-deadline-ms";
/// How many nodes a request has passed through. An asked owner never asks another, so it is always 1.
pub const HOP: &str = "herring-hop";

/// A chunk, as asked of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkRequest {
    Blob { id: BlobId, index: u32 },
    Object { object: ObjectRef, chunk_size: u32, index: u32 },
}

/// A chunk as a peer sent it. Not yet believed: the asker verifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkReply {
    pub digest: ChunkDigest,
    pub bytes: Bytes,
}
