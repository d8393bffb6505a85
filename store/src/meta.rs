//! The `.meta` file, integers little-endian:
//!
//! ```text
//! 0   8  "herring\n"
//! 8   4  version, 1
//! 12  4  length of the JSON
//! 16  32 BLAKE3 of the head, with these 32 bytes as zeros
//! 48     JSON: what the entry is and since when it is here
//!        32 bytes per chunk: its digest. A blob's belong to the head; an object's are written as chunks come
//!        1 byte per chunk: 0 absent, 1 cached, 2 durable
//!        1 byte: 2 where the description itself is kept; 0x10 + R where it is for R replicas, since format 2
//!        512 bytes per chunk: the digests of its pieces, 32 bytes each, where it has more than one
//! ```
//!
//! The last table may end early, have holes or be absent, as in metas of older versions: then the digests of its pieces are
//! computed from the chunk. It is read chunk by chunk as it is needed, never as a whole: 1,000,000 chunks have 512 MB of it.
//!
//! A chunk is recorded by one write of one byte, after its bytes and its digests were written. So whenever the
//! process dies, a chunk is either absent or whole. After a power loss it may be neither, which is why a recorded chunk
//! is believed only once it was verified.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use herring_blob::{BlobId, ByteRange, ChunkDigest, Geometry, Manifest, ManifestError, ObjectRef, PieceDigests};
use serde::{Deserialize, Serialize};

use crate::Description;
use crate::custody::Kept;
use crate::files::append_range;
use crate::table::State;
use crate::weight::{given, on_disk};

const MAGIC: &[u8; 8] = b"herring\n";
const VERSION: u32 = 1;
const CHECKSUM: std::ops::Range<usize> = 16..48;
const DIGEST: usize = 32;
/// Bytes from one chunk's piece digests to the next one's: room for the 16 that a chunk has at most.
pub(crate) const PIECES_STRIDE: usize = 16 * DIGEST;
/// What is read of a meta at first: all of it for up to 100 chunks or so.
const FIRST_READ: u64 = 4096;
/// Piece digests that are gathered for one write.
const TABLE_WRITE: usize = 1 << 20;

/// Why bytes are no meta file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetaError {
    #[error("it is hardly begun")]
    Stub,
    #[error("it is cut short")]
    Short,
    #[error("it does not begin like one, or is of another version")]
    Magic,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its description makes no sense: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("what it describes is no file")]
    NoData,
    #[error("it is another entry's")]
    Another,
    #[error("its object cannot be cut into its chunks")]
    Geometry,
    #[error("it could not be read: {0}")]
    Io(#[from] io::Error),
}

#[derive(Serialize, Deserialize)]
struct Head {
    since_ms: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Blob { id: BlobId, size: u64, chunk_size: u32 },
    Object { object: ObjectRef, chunk_size: u32 },
}

/// Where the tables lie in one meta file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tables {
    start: u64,
    chunks: u32,
}

impl Tables {
    pub fn digest(&self, n: u32) -> u64 {
        self.start + u64::from(n) * DIGEST as u64
    }

    pub fn state(&self, n: u32) -> u64 {
        self.digest(self.chunks) + u64::from(n)
    }

    pub fn kept(&self) -> u64 {
        self.state(self.chunks)
    }

    pub fn pieces(&self, n: u32) -> u64 {
        self.kept() + 1 + u64::from(n) * PIECES_STRIDE as u64
    }
}

/// A meta file as it was read.
pub(crate) struct Meta {
    pub description: Description,
    pub geometry: Geometry,
    pub since: SystemTime,
    pub tables: Tables,
    /// Of an object's chunks; those of absent chunks mean nothing. Empty for a blob.
    pub digests: Vec<ChunkDigest>,
    pub states: Vec<State>,
    pub kept: Kept,
    /// What the file takes on the disk, bytes.
    pub on_disk: u64,
}

/// The meta of an entry, as it is to be written: of an object no chunk is present.
pub(crate) fn new(
    description: &Description,
    geometry: Geometry,
    since: SystemTime,
    states: Vec<State>,
    kept: Kept,
) -> (Meta, Vec<u8>) {
    let mut bytes = head(description, since);
    let tables = Tables { start: bytes.len() as u64, chunks: geometry.chunk_count() };
    if let Description::Blob(manifest) = description {
        bytes.extend(manifest.chunks().iter().flat_map(ChunkDigest::as_bytes));
    }
    let sum = ChunkDigest::of(&bytes);
    bytes[CHECKSUM].copy_from_slice(sum.as_bytes());
    bytes.resize(bytes.len().max(offset(tables.state(0))), 0);
    bytes.extend(states.iter().map(|state| state.byte()));
    bytes.push(kept.byte());
    let digests = unknown_digests(description, geometry);
    let on_disk = on_disk(ByteRange::new(0, bytes.len() as u64));
    (Meta { description: description.clone(), geometry, since, tables, digests, states, kept, on_disk }, bytes)
}

fn unknown_digests(description: &Description, geometry: Geometry) -> Vec<ChunkDigest> {
    match description {
        Description::Blob(_) => Vec::new(),
        Description::Object { .. } => vec![ChunkDigest::from_bytes([0; DIGEST]); geometry.chunk_count() as usize],
    }
}

/// A file that is in memory has no offset beyond it.
fn offset(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn head(description: &Description, since: SystemTime) -> Vec<u8> {
    let json = serde_json::to_vec(&describe(description, since)).expect("numbers and strings are always JSON");
    let len = u32::try_from(json.len()).expect("a description is far below 4 GiB: keys come from URLs");
    let mut bytes = Vec::with_capacity(CHECKSUM.end + json.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes.extend([0; CHECKSUM.end - CHECKSUM.start]);
    bytes.extend(json);
    bytes
}

fn describe(description: &Description, since: SystemTime) -> Head {
    let age = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let what = match description {
        Description::Blob(m) => What::Blob { id: m.id(), size: m.size(), chunk_size: m.geometry().chunk_size() },
        Description::Object { object, chunk_size } => What::Object { object: object.clone(), chunk_size: *chunk_size },
    };
    Head { since_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX), what }
}

/// Writes the piece digests of these chunks, which come in order; between them holes are left.
pub(crate) fn write_pieces<'a>(
    file: &File,
    tables: Tables,
    chunks: impl Iterator<Item = (u32, &'a PieceDigests)>,
) -> io::Result<()> {
    let (mut start, mut run) = (0, Vec::new());
    for (n, digests) in chunks {
        let at = tables.pieces(n);
        if at != start + run.len() as u64 || run.len() >= TABLE_WRITE {
            file.write_all_at(&run, start)?;
            run.clear();
            start = at;
        }
        run.extend(digests.encode());
        run.resize(run.len().next_multiple_of(PIECES_STRIDE), 0);
    }
    file.write_all_at(&run, start)
}

/// Reads a meta file but for its piece digests. Only what the checksum covers, or what is verified later, is believed.
pub(crate) fn read(file: &File) -> Result<Meta, MetaError> {
    let metadata = file.metadata()?;
    let size = metadata.len();
    let mut bytes = Vec::new();
    extend(file, &mut bytes, FIRST_READ.min(size))?;
    let start = head_end(&bytes)?;
    if start > size {
        return Err(MetaError::Short);
    }
    extend(file, &mut bytes, start)?;
    let head: Head = serde_json::from_slice(bytes.get(CHECKSUM.end..offset(start)).ok_or(MetaError::Short)?)?;
    let geometry = head.what.geometry().ok_or(MetaError::Geometry)?;
    let tables = Tables { start, chunks: geometry.chunk_count() };
    if tables.kept() >= size {
        return Err(MetaError::Short);
    }
    extend(file, &mut bytes, tables.kept() + 1)?;
    let meta = parse(head, geometry, tables, &bytes)?;
    Ok(Meta { on_disk: meta.on_disk.max(given(&metadata)), ..meta })
}

/// Reads on to `end`, or to where the file ends.
fn extend(file: &File, bytes: &mut Vec<u8>, end: u64) -> io::Result<()> {
    append_range(file, ByteRange::new(bytes.len() as u64, end), bytes)
}

/// Where the JSON ends.
fn head_end(bytes: &[u8]) -> Result<u64, MetaError> {
    let fixed = bytes.get(..CHECKSUM.end).ok_or(MetaError::Stub)?;
    if &fixed[..8] != MAGIC || word(fixed, 8) != VERSION {
        return Err(MetaError::Magic);
    }
    Ok(CHECKSUM.end as u64 + u64::from(word(fixed, 12)))
}

fn parse(head: Head, geometry: Geometry, tables: Tables, bytes: &[u8]) -> Result<Meta, MetaError> {
    let kept = *bytes.get(offset(tables.kept())).ok_or(MetaError::Short)?;
    let (states, digests) = (offset(tables.state(0)), offset(tables.digest(0)));
    let sealed = if matches!(head.what, What::Blob { .. }) { states } else { digests };
    check(&bytes[..sealed])?;
    let table = bytes[digests..states].as_chunks::<DIGEST>().0.iter().map(|digest| ChunkDigest::from_bytes(*digest)).collect();
    let (description, digests) = head.what.describe(table)?;
    Ok(Meta {
        description,
        geometry,
        since: SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(head.since_ms)).unwrap_or(SystemTime::UNIX_EPOCH),
        tables,
        digests,
        states: bytes[states..offset(tables.kept())].iter().map(|&byte| State::from_byte(byte)).collect(),
        kept: Kept::from_byte(kept),
        on_disk: on_disk(ByteRange::new(0, tables.kept() + 1)),
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn check(head: &[u8]) -> Result<(), MetaError> {
    let mut blank = head.to_vec();
    blank[CHECKSUM].fill(0);
    if ChunkDigest::of(&blank).as_bytes()[..] == head[CHECKSUM] { Ok(()) } else { Err(MetaError::Checksum) }
}

impl What {
    fn geometry(&self) -> Option<Geometry> {
        match self {
            Self::Blob { size, chunk_size, .. } => Geometry::new(*size, *chunk_size),
            Self::Object { object, chunk_size } => Geometry::new(object.size, *chunk_size),
        }
    }

    /// A blob's digests go into its manifest, an object's stay beside it.
    fn describe(self, digests: Vec<ChunkDigest>) -> Result<(Description, Vec<ChunkDigest>), MetaError> {
        Ok(match self {
            Self::Blob { id, size, chunk_size } => {
                (Description::Blob(Arc::new(Manifest::new(id, size, chunk_size, digests)?)), Vec::new())
            }
            Self::Object { object, chunk_size } => (Description::Object { object, chunk_size }, digests),
        })
    }
}
