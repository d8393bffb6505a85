//! What peers say to each other under `/peer/v1/…`, beyond the JSON bodies of [`crate::types`].
//!
//! | request | answer |
//! | --- | --- |
//! | `GET blobs/{id}/manifest` | 200 manifest, and [`PROVEN`], 404 |
//! | `GET blobs/{id}/chunks/{n}?first=&urge=` | 200 the chunk's bytes from piece `first` on, [`DIGEST`] and [`PIECES`]; 200 with [`ARRIVING`]: see [`crate::arriving`]; 404; 503 with [`HOLDERS`] |
//! | `GET blobs/{id}/presence` | 200 [`crate::types::Presence`], 404 |
//! | `DELETE blobs/{id}` | 204, also where there was none |
//! | `GET objects/chunks/{n}?origin=&key=&version=&size=&chunk_size=&first=&wanted=&urge=` | the same; where the chunk is not here the owner asks the origin, and answers with [`ARRIVING`] at once |
//! | `PUT uploads/{upload}/chunks/{n}?chunk_size=` with [`DIGEST`] | 204, 422, 507 |
//! | `POST uploads/{upload}/commit?replicas=` with a manifest | 200 [`crate::types::Presence`] of the blob once all is on disk, 422, 507 |
//! | `DELETE uploads/{upload}` | 204 |
//! | `POST names` with a [`NamesCall`] | 200 [`NamesReply`] |
//! | `POST meta` with a [`MetaCall`] | 200 [`MetaReply`], 404 where the origin has no such thing, other errors as for people |
//! | `POST repair` with a [`RepairCall`](crate::repair::RepairCall) | 200 [`RepairReply`](crate::repair::RepairReply) |
//! | `GET usage` | 200 [`crate::types::NodeUsage`] |
//!
//! A chunk's body begins with piece `first` (0 where it is not said, or past the last), goes on to the chunk's end and then
//! from its beginning up to that piece. With [`PIECES`] checked against the digest, each piece can be verified, and shown, as
//! it comes; the first one is a DATA frame of its own, as a frame is readable only once all of it is there.

use herring_blob::{BlobId, ObjectRef};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The BLAKE3 digest of the chunk in the body.
pub const DIGEST: &str = "herring-digest";
/// The digests of that chunk's pieces, [`PieceDigests::to_hex`](herring_blob::PieceDigests::to_hex): at most 1 KiB.
pub const PIECES: &str = "herring-pieces";
/// With a manifest, `1`: the answering node has hashed the whole blob itself.
pub const PROVEN: &str = "herring-proven";
/// Instead of the two above, `1`: the chunk is still on its way to the peer, and is passed on as it comes.
pub const ARRIVING: &str = "herring-arriving";
/// The epoch of the asker's view.
pub const EPOCH: &str = "herring-epoch";
/// Milliseconds that the asker will still wait.
pub const DEADLINE: &str = "herring-deadline-ms";
/// The id of the node that asks.
pub const FROM: &str = "herring-from";
/// `1`: nobody waits for this yet.
pub const BACKGROUND: &str = "herring-background";
/// With a 503: the ids of nodes that lately asked for the same chunk, and have it by now or soon, parted by commas; the best to ask first.
pub const HOLDERS: &str = "herring-holders";
/// Bytes that the answering node has promised to send to all and has not sent yet.
pub const LOAD: &str = "herring-load";
/// The [`PROTOCOL`] that the asker speaks; who does not say speaks 1.
pub const VERSION: &str = "herring-protocol";
/// What peers say to each other, counted whenever an older node would not understand it. Nodes that differ by one understand each other, so that a swarm can
/// be renewed node by node: 2 says more about usage and can be asked to repair.
pub const PROTOCOL: u32 = 2;
/// How many nodes a request has passed through. An asked owner never asks another, so it is always 1.
pub const HOP: &str = "herring-hop";

/// A chunk, as asked of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRequest {
    pub of: ChunkOf,
    pub index: u32,
    /// The piece that is to come first; one past the last is taken for 0.
    pub first: u32,
    pub urge: Urge,
}

/// What a chunk is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkOf {
    Blob(BlobId),
    Object {
        object: ObjectRef,
        /// What the asker's origin of that name is, whatever it is named; empty where it did not say.
        identity: String,
        chunk_size: u32,
        /// How many chunks from this one on the asker will want soon: the owner may ask the origin for several at once. At least 1.
        wanted: u32,
    },
}

/// How much the asker wants it of this very peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urge {
    /// A peer that is busy may name others who have it.
    #[default]
    Any,
    /// Only if the peer has it: it is not to get it for this.
    Held,
    /// The same, or if it is on its way there: somebody named this peer, who knows that it does not wait for the asker in its turn.
    Named,
    /// Those whom it named did not give it: it is to give it itself, in its turn.
    Insist,
}

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asker {
    /// Its node id; empty where it did not say.
    pub from: String,
    /// Nobody waits for the answer yet.
    pub background: bool,
}

impl ChunkRequest {
    /// A blob's chunk from its first piece on, from whoever has it.
    pub fn blob(id: BlobId, index: u32) -> Self {
        Self { of: ChunkOf::Blob(id), index, first: 0, urge: Urge::Any }
    }

    /// The same of an origin's object, and of nothing behind it.
    pub fn object(object: ObjectRef, chunk_size: u32, index: u32) -> Self {
        Self { of: ChunkOf::Object { object, identity: String::new(), chunk_size, wanted: 1 }, index, first: 0, urge: Urge::Any }
    }
}

/// The rank of a try to change a name; higher wins, and no two are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ballot {
    pub counter: u64,
    /// The node that tries.
    pub node: String,
}

/// What a name is at one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameState {
    /// From 1, counts every change.
    pub version: u64,
    /// `None`: deleted.
    pub target: Option<BlobId>,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
    /// The changes that led here, the last one first, at most sixteen: who asked for one knows it again after another node finished it.
    pub changes: Vec<Uuid>,
}

/// What an owner of a name accepted, and under which ballot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    pub ballot: Ballot,
    pub state: NameState,
}

/// A record with the name that it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRecord {
    pub name: String,
    pub record: NameRecord,
}

/// What is asked of an owner of names. Each is one step of a single-decree consensus per name (CASPaxos).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamesCall {
    /// Promise to accept nothing below this ballot.
    Prepare { name: String, ballot: Ballot },
    /// Accept this, unless a higher ballot was promised.
    Accept { name: String, record: NameRecord },
    /// What was accepted.
    Get { name: String },
    /// What was accepted of names that begin with `prefix` and come after `after`, at most `limit`.
    List { prefix: String, after: Option<String>, limit: usize },
    /// Accept those that are above what is here, as if they had been asked for.
    Learn { records: Vec<NamedRecord> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamesReply {
    /// To a prepare or an accept: whether it was done, the highest ballot promised here, and what is accepted here.
    Vote { done: bool, promised: Ballot, accepted: Option<NameRecord> },
    /// To a get.
    Record(Option<NameRecord>),
    /// To a list, in the order of the names.
    Records(Vec<NamedRecord>),
    /// To a learn: the names of which less than that is accepted here still, because more was promised.
    Learnt { behind: Vec<String> },
}

/// Something that is asked about an origin, and not its objects' bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MetaQuestion {
    /// What is at this key: an object, or a directory.
    Key { origin: String, key: String },
    /// A page of what lies directly below a prefix.
    Page { origin: String, prefix: String, token: Option<String> },
    /// A document of a hub's API.
    Document { origin: String, path: String },
    /// The commit that a hub's revision means.
    Pin { origin: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaCall {
    /// Answer as an owner, from memory or from the origin; not from what is older than `newest_ms`, where that is said.
    ///
    /// `reading`: the asker will read so many of the object's first bytes; the owner may ask for them in the same question.
    Ask { question: MetaQuestion, newest_ms: Option<u64>, reading: u64 },
    /// Answer with what is remembered, however old, without asking anyone.
    Remembered { question: MetaQuestion },
    /// The origin is overloaded: ask it nothing new for so long.
    Hold { origin: String, ms: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaReply {
    Answer {
        /// The engine's own form of the answer, JSON.
        answer: String,
        /// Milliseconds since the origin said so.
        age_ms: u64,
    },
    /// The peer waits for the origin and is well: ask again, for an answer that is no older than the first question.
    Asking,
    Held,
}
