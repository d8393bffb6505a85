mod cap;
mod chunks;
mod crash;
mod custody;
mod evict;
mod into;
mod lost;
mod model;
mod open;
mod pieces;
mod remove;
mod scrub;
mod uploads;
mod witness;

use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use herring_blob::{BlobHasher, ByteRange, Chunk, ContentId, Manifest, ObjectRef};
use tempfile::TempDir;

use crate::{Description, Entry, OpenError, Store, StoreConfig, WriteError};

/// Small, so that every boundary is near.
const CHUNK: u32 = 64;
/// The smallest that is cut into 16 pieces, each of [`PIECE`] bytes.
const BIG: u32 = 16 * PIECE;
const PIECE: u32 = 1024;

/// A directory to open a store in, again and again.
struct Room {
    dir: TempDir,
    capacity: u64,
}

impl Room {
    fn new() -> Self {
        Self::with_capacity(1 << 30)
    }

    fn with_capacity(capacity: u64) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), capacity }
    }

    fn try_open(&self) -> Result<Store, OpenError> {
        Store::open(StoreConfig { dir: self.dir.path().into(), capacity: self.capacity })
    }

    fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    fn data(&self, id: &ContentId) -> PathBuf {
        crate::layout::Layout::new(self.dir.path().into()).data(id)
    }

    fn meta(&self, id: &ContentId) -> PathBuf {
        self.data(id).with_extension("meta")
    }

    /// How many entries lie in quarantine.
    fn quarantined(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("quarantine")).map_or(0, Iterator::count)
    }

    /// Files below the store's directory, but for the lock and the format.
    fn files(&self) -> usize {
        let shelves = ["blobs", "objects"].map(|top| std::fs::read_dir(self.dir.path().join(top)).unwrap());
        let shelved: usize =
            shelves.into_iter().flatten().map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count()).sum();
        shelved + std::fs::read_dir(self.dir.path().join("uploads")).unwrap().count()
    }

    /// What the file system gave to all that is below the store's directory, bytes.
    fn du(&self) -> u64 {
        let mut seen = HashSet::new();
        du(self.dir.path(), &mut seen)
    }

    /// The store counts what the disk holds: never less, and more only where chunks share a block.
    fn assert_weighed(&self, store: &Store, shared: u64) {
        self.assert_weighed_but(store, 0, shared);
    }

    /// The same, but for so many blocks that are on the disk beside: what is left of chunks smaller than one, or a file's extents.
    fn assert_weighed_but(&self, store: &Store, left: u64, shared: u64) {
        let (usage, du, block) = (store.usage(), self.du(), crate::weight::BLOCK);
        let may = du.saturating_sub(left * block)..=du + shared * block;
        assert!(may.contains(&usage.bytes), "{usage:?}, but {du} on the disk");
        assert_eq!(usage.bytes, usage.durable + usage.cached);
    }

    fn flip(&self, id: &ContentId, offset: u64) {
        flip(&self.data(id), offset);
    }

    fn flip_open(&self, id: &ContentId, offset: u64) {
        flip_open(&self.data(id), offset);
    }
}

/// In place, as somebody else does while the store has the file open.
fn flip_open(path: &std::path::Path, offset: u64) {
    let (file, mut byte) = (std::fs::File::options().read(true).write(true).open(path).unwrap(), [0]);
    // Past the end of a file that was cut there is nothing to flip.
    if file.read_at(&mut byte, offset).unwrap() == 1 {
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    }
}

/// Each file once, by whatever names it is found; what goes meanwhile is nothing.
fn du(path: &std::path::Path, seen: &mut HashSet<u64>) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    if !seen.insert(metadata.ino()) {
        return 0;
    }
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
    metadata.blocks() * 512 + inside.map(|file| du(&file.path(), seen)).sum::<u64>()
}

fn flip(path: &std::path::Path, offset: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Something with known bytes.
#[derive(Clone)]
struct Thing {
    bytes: Bytes,
    description: Description,
}

impl Thing {
    fn blob(size: usize, seed: u64) -> Self {
        Self::blob_in(CHUNK, size, seed)
    }

    fn object(size: usize, seed: u64) -> Self {
        Self::object_in(CHUNK, size, seed)
    }

    fn blob_in(chunk_size: u32, size: usize, seed: u64) -> Self {
        let bytes = noise(size, seed);
        let mut hasher = BlobHasher::new(chunk_size);
        bytes.chunks(chunk_size as usize).for_each(|chunk| {
            hasher.chunk(chunk);
        });
        Self { bytes, description: Description::Blob(Arc::new(hasher.finish().unwrap())) }
    }

    fn object_in(chunk_size: u32, size: usize, seed: u64) -> Self {
        let object = ObjectRef { origin: "o".into(), key: format!("k{seed}"), version: "1".into(), size: size as u64 };
        Self { bytes: noise(size, seed), description: Description::Object { object, chunk_size } }
    }

    fn id(&self) -> ContentId {
        self.description.id()
    }

    fn manifest(&self) -> Arc<Manifest> {
        match &self.description {
            Description::Blob(manifest) => manifest.clone(),
            Description::Object { .. } => unreachable!("an object has no manifest"),
        }
    }

    fn count(&self) -> u32 {
        self.description.geometry().unwrap().chunk_count()
    }

    fn whole(&self) -> ByteRange {
        ByteRange::new(0, self.bytes.len() as u64)
    }

    fn range(&self, n: u32) -> ByteRange {
        self.description.geometry().unwrap().chunk_range(n)
    }

    fn slice(&self, range: ByteRange) -> Bytes {
        let range = range.clamp_to(self.bytes.len() as u64);
        if range.is_empty() {
            return Bytes::new();
        }
        self.bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap())
    }

    fn chunk_size(&self) -> u32 {
        self.description.geometry().unwrap().chunk_size()
    }

    fn chunk(&self, n: u32) -> Chunk {
        Chunk::of(self.slice(self.range(n)), self.chunk_size())
    }

    async fn create(&self, store: &Store) -> Entry {
        store.create(self.description.clone()).await.unwrap()
    }

    async fn write(&self, entry: &Entry, n: u32) -> Result<(), WriteError> {
        entry.write_chunk(n, self.chunk(n)).await
    }

    async fn fill(&self, store: &Store) -> Entry {
        let entry = self.create(store).await;
        for n in 0..self.count() {
            self.write(&entry, n).await.unwrap();
        }
        entry
    }

    async fn upload(&self, store: &Store, chunks: &[u32]) -> Result<Entry, WriteError> {
        let upload = store.begin_upload(self.chunk_size()).await?;
        for &n in chunks {
            upload.write_chunk(n, self.chunk(n)).await?;
        }
        upload.commit(self.manifest(), None).await
    }
}

/// The same bytes for the same seed, no two chunks alike.
fn noise(size: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(size).collect()
}
