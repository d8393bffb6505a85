//! The JSON bodies of the outward contract.

mod cluster;
mod wish;

use herring_blob::BlobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub use cluster::{Cluster, Custody, Drain, DrainState, MemberInfo, NodeUsage, differences};
pub use wish::{PutWish, PutWishError, PutWishText};

/// What a put answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    #[schema(value_type = String)]
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
    /// How many owners have all that they should of it on disk.
    pub replicas: usize,
    /// How many there shall be: the highest number that a put of these bytes asked for. 0 where the node is too old to say.
    #[serde(default)]
    pub wanted: usize,
}

/// What is known of a blob without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobInfo {
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
}

/// What is known of an origin's object without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMeta {
    /// Bytes.
    pub size: u64,
    /// What the origin calls this version.
    pub version: String,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
}

/// `GET /v1/origins/{origin}/{prefix}/`: a page of what lies directly below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OriginPage {
    /// In the order of their names.
    pub entries: Vec<OriginEntry>,
    /// There is more: ask again with `token=` this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Something in an origin's directory. The name is the last segment of its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum OriginEntry {
    Directory {
        name: String,
    },
    Object {
        name: String,
        /// Bytes.
        size: u64,
        /// What the origin calls this version.
        version: String,
        /// Milliseconds since 1970.
        modified_ms: u64,
    },
}

/// `GET /v1/ring/owners/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Owners {
    #[schema(value_type = String)]
    pub id: BlobId,
    /// The chunk that was asked for; absent for the manifest's owners.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chunk: Option<u32>,
    pub epoch: String,
    /// The place on the ring, 16 hexadecimal digits.
    pub point: String,
    /// Node ids, first owner first.
    pub owners: Vec<String>,
}

/// Where one chunk is and should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainChunk {
    pub index: u32,
    /// Bytes.
    pub size: u64,
    /// BLAKE3, 64 hexadecimal digits.
    pub digest: String,
    pub owners: Vec<String>,
    /// Nodes that said they have it just now.
    pub holders: Vec<String>,
    /// `replicated` where as many owners as there should be hold it, `under-replicated` where some do, `lost` where no node that answered does.
    pub state: String,
    /// For each member: who would own the chunk in its place if it left.
    pub if_lost: Vec<Departure>,
}

/// What one member's departure would do to a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Departure {
    /// The owner that would leave.
    pub node: String,
    /// The node that would become an owner; absent where there are too few nodes.
    pub successor: Option<String>,
}

/// `GET /v1/blobs/{id}/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explain {
    #[schema(value_type = String)]
    pub id: BlobId,
    pub size: u64,
    pub chunk_size: u32,
    pub epoch: String,
    pub replicas: usize,
    pub manifest_owners: Vec<String>,
    pub manifest_holders: Vec<String>,
    /// Nodes that could not be asked.
    pub unreachable: Vec<String>,
    pub chunks: Vec<ExplainChunk>,
}

/// A name and what it points at: `/v1/names/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NameInfo {
    pub name: String,
    /// A blob, or a tree.
    #[schema(value_type = String)]
    pub target: BlobId,
    /// Counts every change of this name, deletions included; its ETag.
    pub version: u64,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
}

/// The body of `PUT /v1/names/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameTarget {
    /// The id of a blob or tree; 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub target: BlobId,
}

/// `GET /v1/names?prefix=`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NameList {
    /// In the order of their names.
    pub names: Vec<NameInfo>,
    /// There is more: ask again with `after=` this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// What a name must be for a change of it to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Always,
    /// It is at this version: `If-Match: "7"`.
    Version(u64),
    /// It points at something: `If-Match: *`.
    Exists,
    /// It points at nothing: `If-None-Match: *`.
    Absent,
}

/// The body of `POST /v1/prefetch`: what this node shall have on its disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Prefetch {
    /// Blobs, or trees with all that is in them.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub blobs: Vec<BlobId>,
    #[serde(default)]
    pub names: Vec<String>,
    #[serde(default)]
    pub origins: Vec<PrefetchPath>,
}

impl Prefetch {
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.names.is_empty() && self.origins.is_empty()
    }
}

/// A key of an origin, or a directory with all that is below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefetchPath {
    pub origin: String,
    /// Empty: everything.
    pub path: String,
    /// It must be an object: where it is a directory, the job fails. So it is always where the token that was shown is for that one object.
    #[serde(default, skip_serializing_if = "is_unset")]
    pub object_only: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_unset(flag: &bool) -> bool {
    !flag
}

impl PrefetchPath {
    /// Whatever is there.
    pub fn new(origin: impl Into<String>, path: impl Into<String>) -> Self {
        Self { origin: origin.into(), path: path.into(), object_only: false }
    }
}

/// What `POST /v1/prefetch` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobCreated {
    #[schema(value_type = String)]
    pub job: Uuid,
}

/// `GET /v1/jobs/{job}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    #[schema(value_type = String)]
    pub job: Uuid,
    pub state: JobState,
    /// Only where one job is asked for, and while it is not over: it may have 1 MiB.
    #[serde(skip_serializing_if = "Prefetch::is_empty", default)]
    pub wanted: Prefetch,
    /// Bytes of what was found so far; complete once `state` is not `looking` any more.
    pub bytes_total: u64,
    /// Bytes of it that are on this node's disk.
    pub bytes_done: u64,
    /// Blobs and objects found so far.
    pub contents: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_ms: Option<u64>,
}

impl Job {
    /// How far it is, without what it is about.
    pub fn without_wanted(self) -> Self {
        Self { wanted: Prefetch::default(), ..self }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Finding out what it is about.
    Looking,
    Running,
    Done,
    Failed,
    /// Somebody did not want it any more; what it brought is still there.
    Cancelled,
}

impl JobState {
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// `GET /v1/jobs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    pub jobs: Vec<Job>,
}

/// A lease: until it ends, this node keeps what it is about on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PinInfo {
    /// A name, or an id.
    pub target: String,
    /// What the name pointed at when it was pinned.
    #[schema(value_type = String)]
    pub id: BlobId,
    /// Milliseconds since 1970.
    pub until_ms: u64,
    /// Bytes of all that it keeps: of a tree, with what is in it.
    #[serde(default)]
    pub bytes: u64,
    /// Those of `bytes` that are on this node's disk. What is missing is brought, and brought again from time to time where it did not come.
    #[serde(default)]
    pub bytes_here: u64,
}

/// `GET /v1/pins`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PinList {
    pub pins: Vec<PinInfo>,
}

/// An error body, RFC 9457 (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Stable and machine-readable, such as `urn:herring:problem:not-found`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    pub status: u16,
    /// What happened, what was tried, and what to do.
    pub detail: String,
}

/// Which chunks of a content a peer holds: `GET /peer/v1/blobs/{id}/presence`, and what a commit answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Runs")]
pub struct Presence {
    /// Half-open runs of chunk indices: ascending, disjoint, none empty. What comes over the wire is checked for it.
    pub chunks: Vec<(u32, u32)>,
    /// How many replicas the blob shall have, where its put said so and the peer keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u8>,
}

impl Presence {
    /// Chunks of a blob that peers speak of: its manifest has at least 67 bytes for each, and 64 MiB. A run costs its writer a few bytes however
    /// many it says, and its reader each of them.
    pub const MOST: u32 = 1 << 20;

    /// Of chunks that come in their order.
    pub fn of(chunks: impl IntoIterator<Item = u32>) -> Self {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for chunk in chunks {
            match runs.last_mut() {
                Some((_, end)) if *end == chunk => *end += 1,
                _ => runs.push((chunk, chunk + 1)),
            }
        }
        Self { chunks: runs, replicas: None }
    }

    /// How many chunks.
    pub fn count(&self) -> u64 {
        self.chunks.iter().map(|(start, end)| u64::from(end - start)).sum()
    }

    pub fn has(&self, chunk: u32) -> bool {
        let after = self.chunks.partition_point(|&(start, _)| start <= chunk);
        after.checked_sub(1).is_some_and(|run| chunk < self.chunks[run].1)
    }
}

/// A presence as it was read, not yet believed.
#[derive(Deserialize)]
struct Runs {
    chunks: Vec<(u32, u32)>,
    #[serde(default)]
    replicas: Option<u8>,
}

impl TryFrom<Runs> for Presence {
    type Error = &'static str;

    fn try_from(Runs { chunks, replicas }: Runs) -> Result<Self, Self::Error> {
        let ordered = chunks.is_sorted_by(|before, after| before.1 <= after.0);
        let filled = chunks.iter().all(|(start, end)| start < end);
        match chunks.last() {
            _ if !ordered || !filled => Err("runs of chunks that are empty, overlap, or do not ascend"),
            Some((_, end)) if *end > Self::MOST => Err("more chunks than a manifest can list"),
            _ => Ok(Self { chunks, replicas }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presence_has_what_its_runs_have() {
        let presence = Presence { chunks: vec![(1, 3), (3, 4), (7, 8), (u32::MAX - 1, u32::MAX)], replicas: None };
        for chunk in (0..10).chain([u32::MAX - 2, u32::MAX - 1, u32::MAX]) {
            let among = presence.chunks.iter().any(|(start, end)| (*start..*end).contains(&chunk));
            assert_eq!(presence.has(chunk), among, "{chunk}");
        }
        assert!(!Presence::of([]).has(0));
        assert_eq!(Presence::of([1, 2, 3, 7]).chunks, [(1, 4), (7, 8)]);
    }

    #[test]
    fn a_presence_out_of_order_is_not_read() {
        let read = |chunks: &str| serde_json::from_str::<Presence>(&format!(r#"{{"chunks":{chunks}}}"#));
        assert_eq!(read("[[0,2],[2,3],[5,9]]").unwrap().chunks, [(0, 2), (2, 3), (5, 9)]);
        assert_eq!(read("[[0,1048576]]").unwrap().count(), 1 << 20);
        for wrong in ["[[2,2]]", "[[3,2]]", "[[0,3],[2,4]]", "[[5,6],[0,1]]", "[[0,1048577]]", "[[0,4294967295]]", "[[-1,2]]"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
