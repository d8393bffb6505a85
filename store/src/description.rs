use std::sync::Arc;

use herring_blob::{ChunkDigest, ContentId, Geometry, Manifest, ObjectRef};

/// What an entry is: all that is known of it before its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Description {
    /// A blob of the swarm, with the digest of every chunk.
    Blob(Arc<Manifest>),
    /// A version of an origin's object. The digests of its chunks are known when they come.
    Object {
        object: ObjectRef,
        /// Bytes.
        chunk_size: u32,
    },
}

impl Description {
    /// For an object this computes a SHA-256; an [`Entry`](crate::Entry) remembers it.
    pub fn id(&self) -> ContentId {
        match self {
            Self::Blob(manifest) => manifest.id().into(),
            Self::Object { object, .. } => object.id().into(),
        }
    }

    /// `None` for an object that cannot be cut like this; a manifest always can. An entry's is always there.
    pub fn geometry(&self) -> Option<Geometry> {
        match self {
            Self::Blob(manifest) => Some(manifest.geometry()),
            Self::Object { object, chunk_size } => Geometry::new(object.size, *chunk_size),
        }
    }

    /// The digest that chunk `n` must have: known ahead for blobs only.
    pub fn digest(&self, n: u32) -> Option<ChunkDigest> {
        match self {
            Self::Blob(manifest) => manifest.digest(n),
            Self::Object { .. } => None,
        }
    }
}
