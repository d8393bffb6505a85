//! What peers say to each other under `/peer/v1/…`, beyond the JSON bodies of [`crate::types`].
//!
//! | request | answer |
//! | --- | --- |
//! | `GET blobs/{id}/manifest` | 200 manifest, 404 |
//! | `GET blobs/{id}/chunks/{n}?first=` | 200 the chunk's bytes from piece `first` on, [`DIGEST`] and [`PIECES`], 404 |
//! | `GET blobs/{id}/presence` | 200 [`crate::types::Presence`], 404 |
//! | `DELETE blobs/{id}` | 204, also where there was none |
//! | `GET objects/chunks/{n}?origin=&key=&version=&size=&chunk_size=&first=` | the same; the owner asks the origin where it must |
//! | `PUT uploads/{upload}/chunks/{n}?chunk_size=` with [`DIGEST`] | 204, 422, 507 |
//! | `POST uploads/{upload}/commit` with a manifest | 200 [`crate::types::Presence`] of the blob once all is on disk, 422, 507 |
//! | `DELETE uploads/{upload}` | 204 |
//! | `GET usage` | 200 [`crate::types::NodeUsage`] |
//!
//! A chunk's body begins with piece `first` (0 where it is not said, or past the last), goes on to the chunk's end and then
//! from its beginning up to that piece. With [`PIECES`] checked against the digest, each piece can be verified, and shown, as
//! it comes; the first one is a DATA frame of its own, as a frame is readable only once all of it is there.

use herring_blob::{BlobId, ObjectRef};

/// The BLAKE3 digest of the chunk in the body.
pub const DIGEST: &str = "herring-digest";
/// The digests of that chunk's pieces, [`PieceDigests::to_hex`](herring_blob::PieceDigests::to_hex): at most 1 KiB.
pub const PIECES: &str = "herring-pieces";
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
