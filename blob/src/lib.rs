//! The nouns of Herring: content ids, chunks, ranges, manifests and their digests.
//!
//! Everything here is a value. Nothing reads a disk, a socket or a clock.

mod chunk;
mod content;
mod digest;
mod geometry;
mod hashing;
mod id;
mod manifest;
mod pieces;
mod range;
mod tree;

pub use chunk::{Arrival, Chunk, PieceCutter, WrongPiece};
pub use content::{ContentId, ObjectRef};
pub use digest::ChunkDigest;
pub use geometry::Geometry;
pub use hashing::{BlobHasher, IdHasher};
pub use id::{BlobId, IdError, ObjectId};
pub use manifest::{Manifest, ManifestError, RawManifest};
pub use pieces::{PieceDigest, PieceDigests, Pieces};
pub use range::ByteRange;
pub use tree::{Mark, Tree, TreeEntry, TreeError, TreeKind};

/// Bytes in a chunk where nothing else is said: 4 MiB.
///
/// Large enough that a request's fixed cost (about 0.1 ms on a local network) is small beside the
/// transfer (1 ms at 4 GB/s), small enough that a random read does not wait for much more than it asked.
pub const CHUNK_SIZE: u32 = 4 << 20;

/// The largest chunk that is accepted from anyone, 64 MiB: a chunk is held in memory while it is verified.
pub const MAX_CHUNK_SIZE: u32 = 64 << 20;
