//! What peers say to each other so that each replica is where it should be: `POST /peer/v1/repair`.
//!
//! Sets are compared by digests of their parts, a tree 64 wide: one digest for all, then those of 64 and then of 4,096 parts where they
//! differ. What is equal on both sides costs one digest, however much it is.

use std::collections::HashSet;

use herring_blob::BlobId;
use serde::{Deserialize, Serialize};

use crate::types::Presence;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compared {
    /// What both nodes own and keep: chunks and manifests.
    Kept,
    /// What became of blobs that were deleted once; the same on all nodes.
    Fates,
}

/// How far down the tree parts lie: 1, 64 or 4,096 of them.
pub const LEVELS: u8 = 2;

/// A part of the ring: those points whose first 6 bits a level are `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "RawBucket")]
pub struct Bucket {
    level: u8,
    index: u16,
}

#[derive(Deserialize)]
struct RawBucket {
    level: u8,
    index: u16,
}

impl TryFrom<RawBucket> for Bucket {
    type Error = &'static str;

    fn try_from(RawBucket { level, index }: RawBucket) -> Result<Self, Self::Error> {
        let fits = level <= LEVELS && u32::from(index) < 1 << (6 * u32::from(level));
        fits.then_some(Self { level, index }).ok_or("a bucket that is none")
    }
}

impl Bucket {
    pub const ALL: Self = Self { level: 0, index: 0 };

    /// The smallest one with this point of the ring in it.
    pub fn smallest(point: u64) -> Self {
        Self { level: LEVELS, index: u16::try_from(point >> (64 - 6 * u32::from(LEVELS))).unwrap_or(u16::MAX) }
    }

    /// As many as there are of one size: more are never asked about at once.
    pub const MOST: usize = 1 << (6 * LEVELS);

    pub fn is_smallest(self) -> bool {
        self.level == LEVELS
    }

    /// Its 64 parts; none of a smallest one.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        let count = if self.is_smallest() { 0 } else { 64 };
        (0..count).map(move |part| Self { level: self.level + 1, index: self.index * 64 + part })
    }

    /// Those of `asked` that a peer says differ: what it names besides was not asked, and would be asked again without end.
    pub fn of_those(asked: impl IntoIterator<Item = Self>, said: Vec<Self>) -> Vec<Self> {
        let said: HashSet<Self> = said.into_iter().collect();
        asked.into_iter().filter(|bucket| said.contains(bucket)).collect()
    }

    /// The smallest ones in it, by their numbers, from 0 to 4,095.
    pub fn leaves(self) -> std::ops::Range<usize> {
        let width = 1 << (6 * u32::from(LEVELS - self.level));
        let start = usize::from(self.index) * width;
        start..start + width
    }
}

/// The digest of what is in a bucket, of all that is compared: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketDigest {
    pub bucket: Bucket,
    pub digest: String,
}

/// Parts of a blob that one node keeps, or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobParts {
    pub id: BlobId,
    /// Whether the manifest is one of them.
    pub manifest: bool,
    pub chunks: Presence,
    /// Replicas that its put asked for, where it did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replicas: Option<u8>,
    /// A half of the manifest's [`print`](herring_blob::Manifest::print): under which manifest they are kept. Nodes of the version before do not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub print: Option<u64>,
}

/// What became of a blob that was deleted once. The latest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    pub id: BlobId,
    /// False: it was put again.
    pub deleted: bool,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// What is asked of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepairCall {
    /// Which of these buckets differ from the peer's own. Of what is kept, with the asker's ring.
    Compare { what: Compared, epoch: String, digests: Vec<BucketDigest> },
    /// The asker keeps these parts, which the peer owns: which of them it lacks. It will ask for those by itself.
    Offer { epoch: String, blobs: Vec<BlobParts> },
    /// The asker should keep these parts and has not got them: which of them the peer has, be it in its cache.
    Seek { blobs: Vec<BlobParts> },
    /// Remember these fates, and tell those that differ in these buckets.
    Fates { fates: Vec<Fate>, buckets: Vec<Bucket> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepairReply {
    Differ {
        buckets: Vec<Bucket>,
    },
    Lacking {
        blobs: Vec<BlobParts>,
    },
    Has {
        blobs: Vec<BlobParts>,
    },
    /// Remembered; and those of the buckets.
    Fates {
        fates: Vec<Fate>,
    },
    /// The peer has another ring: later.
    OtherEpoch {
        epoch: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_made_of_its_parts() {
        for point in [0, 1, u64::MAX, u64::MAX / 3, 1 << 58, (1 << 58) - 1] {
            let leaf = Bucket::smallest(point);
            let within = |bucket: Bucket| bucket.leaves().contains(&leaf.leaves().start);
            let mut bucket = Bucket::ALL;
            while !bucket.is_smallest() {
                let parts: Vec<_> = bucket.parts().filter(|part| within(*part)).collect();
                assert_eq!(parts.len(), 1, "{bucket:?}");
                assert_eq!(bucket.parts().flat_map(Bucket::leaves).collect::<Vec<_>>(), bucket.leaves().collect::<Vec<_>>());
                bucket = parts[0];
            }
            assert_eq!(bucket, leaf);
        }
        assert_eq!(Bucket::smallest(0).parts().count(), 0);
    }

    #[test]
    fn only_what_was_asked_about_can_differ() {
        let asked: Vec<_> = Bucket::ALL.parts().collect();
        assert_eq!(Bucket::of_those(asked.clone(), vec![Bucket::ALL, asked[7], asked[7], Bucket::smallest(0)]), [asked[7]]);
        assert_eq!(Bucket::of_those([Bucket::ALL], vec![Bucket::ALL; 3]), [Bucket::ALL]);
    }

    #[test]
    fn a_bucket_that_is_none_is_not_read() {
        let read = |text: &str| serde_json::from_str::<Bucket>(text);
        assert_eq!(read(r#"{"level":2,"index":4095}"#).unwrap(), Bucket::smallest(u64::MAX));
        for wrong in [r#"{"level":2,"index":4096}"#, r#"{"level":0,"index":1}"#, r#"{"level":3,"index":0}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
