use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{BlobId, ObjectId};

/// What a node can hold chunks of: a blob of the swarm, or one version of an origin's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentId {
    Blob(BlobId),
    Object(ObjectId),
}

/// One version of an origin's object. All nodes that see the same version compute the same [`ObjectId`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The name that the swarm gave the origin.
    pub origin: String,
    /// The key within the origin, without a leading slash.
    pub key: String,
    /// What the origin calls this version: an ETag, a generation, a commit.
    pub version: String,
    /// Bytes.
    pub size: u64,
}

impl ObjectRef {
    /// Each part goes in behind its length, so that no two different objects can be spelt alike.
    pub fn id(&self) -> ObjectId {
        let mut hash = Sha256::new();
        hash.update(b"herring object v1");
        for part in [&self.origin, &self.key, &self.version] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(self.size.to_le_bytes());
        ObjectId::from_bytes(hash.finalize().into())
    }
}

impl From<BlobId> for ContentId {
    fn from(id: BlobId) -> Self {
        Self::Blob(id)
    }
}

impl From<ObjectId> for ContentId {
    fn from(id: ObjectId) -> Self {
        Self::Object(id)
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(id) => write!(f, "blob {id}"),
            Self::Object(id) => write!(f, "object {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(origin: &str, key: &str, version: &str, size: u64) -> ObjectRef {
        ObjectRef { origin: origin.into(), key: key.into(), version: version.into(), size }
    }

    #[test]
    fn every_part_counts_and_parts_do_not_run_together() {
        let base = object("a", "bc", "v", 1).id();
        assert_eq!(base, object("a", "bc", "v", 1).id());
        for other in [object("ab", "c", "v", 1), object("a", "b", "cv", 1), object("a", "bc", "v", 2), object("a", "bc", "w", 1)]
        {
            assert_ne!(base, other.id());
        }
    }
}
