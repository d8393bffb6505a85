use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use herring_blob::{BlobId, ByteRange, Chunk, IdHasher, Manifest, PieceDigests, Pieces};
use uuid::Uuid;

use crate::blocking::blocking;
use crate::claims::Claims;
use crate::disk::Disk;
use crate::files::{punch, read_range, write_segments};
use crate::layout::{create_file, remove_file};
use crate::space::Class;
use crate::weight::on_disk;
use crate::witness::Witness;
use crate::write::has_shape;
use crate::{Entry, Store, WriteError};

/// The most uploads that are open at a time; each holds a file descriptor.
pub const MAX_UPLOADS: usize = 1024;
/// Bytes of an upload after which they are brought to the disk, in the background: at 200 MB/s a third of a second of flushing,
/// instead of minutes at the commit of a large blob.
const FLUSH_EVERY: u64 = 64 << 20;

/// Chunks of a blob whose id is not yet known. They are in the store, and durable, once [committed](Self::commit), and
/// nobody sees them before. Cheap to clone.
#[derive(Clone)]
pub struct Upload {
    store: Store,
    draft: Arc<Draft>,
}

impl Upload {
    pub(crate) fn new(store: Store, draft: Arc<Draft>) -> Self {
        Self { store, draft }
    }

    pub fn id(&self) -> Uuid {
        self.draft.id
    }

    #[cfg(test)]
    pub(crate) fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Bytes.
    pub fn chunk_size(&self) -> u32 {
        self.draft.chunk_size
    }

    /// How many chunks it has received.
    pub fn received_count(&self) -> usize {
        self.draft.received().len()
    }

    /// Takes chunk `n`. In any order, many at a time; the same again is fine. Refused as [`Gone`](WriteError::Gone) once some of
    /// what was received could not be brought to the disk.
    pub async fn write_chunk(&self, n: u32, chunk: Chunk) -> Result<(), WriteError> {
        let draft = self.draft.clone();
        blocking(move || draft.write(n, &chunk)).await
    }

    /// Makes the chunks received durable chunks of the blob of `manifest`, and the manifest with them. When this returns
    /// they survive a power loss. They must carry the manifest's digests, but need not be all, nor any.
    ///
    /// `replicas`, 1 to [`MAX_REPLICAS`](crate::MAX_REPLICAS): how many this blob has, whatever the swarm has of others; `None` leaves what was
    /// said before, or leaves it to the swarm.
    ///
    /// Where the blob is here already they are copied into it, which for a moment takes their room twice. After an error the
    /// upload is as before and may be committed again, unless an fsync failed: then that says [`Gone`](WriteError::Gone).
    pub async fn commit(&self, manifest: Arc<Manifest>, replicas: Option<u8>) -> Result<Entry, WriteError> {
        let upload = self.clone();
        blocking(move || {
            let entry = upload.draft.commit(&upload.store, &manifest, replicas)?;
            upload.store.forget_upload(&upload.draft);
            Ok(entry)
        })
        .await
    }

    /// What all that was received hashes to, where it is all that `manifest` names and nothing else; `None` where it is not. Reads it back.
    pub async fn whole_id(&self, manifest: Arc<Manifest>) -> Result<Option<BlobId>, WriteError> {
        let draft = self.draft.clone();
        blocking(move || Ok(draft.whole_id(&manifest)?)).await
    }

    /// Drops the chunks received. Later writes and commits are refused.
    pub async fn abort(&self) {
        let upload = self.clone();
        let closed = blocking(move || {
            // In this order: a chunk that comes between the two finds a closed upload, not a name that is about to go.
            let closed = upload.draft.close();
            upload.store.forget_upload(&upload.draft);
            closed
        });
        if let Err(error) = closed.await {
            tracing::warn!(upload = %self.draft.id, %error, "an upload's file could not be removed; the next start will");
        }
    }
}

/// What the handles of one upload share.
pub(crate) struct Draft {
    pub(crate) disk: Arc<Disk>,
    id: Uuid,
    chunk_size: u32,
    pub(crate) file: File,
    pub(crate) witness: Witness,
    /// Somebody else wrote to the file.
    doubted: AtomicBool,
    /// The digests of what was received, 512 bytes a chunk of 16 pieces.
    received: Mutex<HashMap<u32, PieceDigests>>,
    /// Bytes since the last flush.
    unflushed: AtomicU64,
    flushing: AtomicBool,
    spoilt: AtomicBool,
    writing: Claims<u32>,
    touched: Mutex<Instant>,
    /// Held shared by writes, alone by commit and abort.
    pub(crate) phase: RwLock<Phase>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    Closed,
}

impl Draft {
    pub fn create(disk: Arc<Disk>, id: Uuid, chunk_size: u32) -> Result<Self, WriteError> {
        let another = |open| (open < MAX_UPLOADS).then_some(open + 1);
        disk.uploads.fetch_update(Relaxed, Relaxed, another).map_err(|_| WriteError::Busy)?;
        let path = disk.layout.uploads().join(id.to_string());
        let file = create_file(&path).inspect_err(|_| {
            disk.uploads.fetch_sub(1, Relaxed);
        })?;
        Ok(Self {
            disk,
            id,
            chunk_size,
            file,
            witness: Witness::new(),
            doubted: AtomicBool::new(false),
            received: Mutex::default(),
            unflushed: AtomicU64::new(0),
            flushing: AtomicBool::new(false),
            spoilt: AtomicBool::new(false),
            writing: Claims::new(),
            touched: Mutex::new(Instant::now()),
            phase: RwLock::new(Phase::Open),
        })
    }

    pub fn id(&self) -> Uuid {
        self.id
    }

    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    pub fn path(&self) -> PathBuf {
        self.disk.layout.uploads().join(self.id.to_string())
    }

    pub fn received(&self) -> MutexGuard<'_, HashMap<u32, PieceDigests>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole_id(&self, manifest: &Manifest) -> std::io::Result<Option<BlobId>> {
        let received = BTreeMap::from_iter(self.received().clone());
        let digests = received.values().map(PieceDigests::digest);
        if !received.keys().copied().eq(0..manifest.geometry().chunk_count()) || !digests.eq(manifest.chunks().iter().copied()) {
            return Ok(None);
        }
        let mut hasher = IdHasher::default();
        for (&n, digests) in &received {
            let bytes = read_range(&self.file, self.range(n, digests.pieces().chunk_len().into()))?;
            if !manifest.verify(n, &bytes) {
                // The commit finds that out, and says so.
                return Ok(None);
            }
            hasher.update(&bytes);
        }
        Ok(Some(hasher.finish()))
    }

    pub fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub fn idle(&self) -> Duration {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Where chunk `n` lies, if it has `len` bytes.
    pub fn range(&self, n: u32, len: u64) -> ByteRange {
        ByteRange::at(u64::from(n) * u64::from(self.chunk_size), len)
    }

    fn write(self: &Arc<Self>, n: u32, chunk: &Chunk) -> Result<(), WriteError> {
        self.touch();
        if chunk.len() > self.chunk_size || !has_shape(chunk, Pieces::new(chunk.len(), self.chunk_size)) {
            return Err(WriteError::Mismatch { chunk: n });
        }
        let phase = self.phase.read().unwrap_or_else(PoisonError::into_inner);
        if *phase == Phase::Closed || self.is_spoilt() {
            return Err(WriteError::Gone);
        }
        let _claim = self.writing.wait(n);
        if let Some(known) = self.received().get(&n) {
            return if known == chunk.digests() { Ok(()) } else { Err(WriteError::Mismatch { chunk: n }) };
        }
        self.place(n, chunk)
    }

    fn place(self: &Arc<Self>, n: u32, chunk: &Chunk) -> Result<(), WriteError> {
        let len = u64::from(chunk.len());
        let range = self.range(n, len);
        let room = self.disk.reserve(on_disk(range), Class::Durable)?;
        let write = || {
            let written = self.own_write(|| write_segments(&self.file, chunk.segments(), range.start));
            written.inspect_err(|_| self.own_write(|| punch(&self.file, range)))
        };
        self.disk.write(on_disk(range), write)?;
        room.keep(1);
        self.received().insert(n, chunk.digests().clone());
        self.flush_soon(len);
        self.touch();
        Ok(())
    }

    /// Everything that changes the file or its name goes through here.
    pub fn own_write<T>(&self, write: impl FnOnce() -> T) -> T {
        self.witness.own(&self.file, || self.doubted.store(true, Relaxed), write)
    }

    pub fn is_doubted(&self) -> bool {
        self.doubted.load(Relaxed)
    }

    /// Brings what was written to the disk from time to time, so that a commit has little left to wait for. One thread at a time,
    /// which nobody waits for but a commit or an abort.
    fn flush_soon(self: &Arc<Self>, written: u64) {
        let due = self.unflushed.fetch_add(written, Relaxed) + written >= FLUSH_EVERY;
        if due && !self.flushing.swap(true, AcqRel) {
            self.unflushed.store(0, Relaxed);
            let draft = self.clone();
            // It ends by itself, and has the draft until then; what it finds out is kept there.
            drop(tokio::task::spawn_blocking(move || draft.flush()));
        }
    }

    fn flush(&self) {
        let phase = self.phase.read().unwrap_or_else(PoisonError::into_inner);
        if *phase == Phase::Open
            && let Err(error) = self.file.sync_data()
        {
            tracing::error!(upload = %self.id, %error, "what an upload received could not be brought to the disk; it must begin again");
            self.spoil();
        }
        self.flushing.store(false, Release);
    }

    /// The kernel drops bytes that it could not write, and calls the next flush a success: this upload is lost.
    pub fn spoil(&self) {
        self.spoilt.store(true, Relaxed);
    }

    /// Whether a flush failed, so that some of what was received may be gone.
    pub fn is_spoilt(&self) -> bool {
        self.spoilt.load(Relaxed)
    }

    pub fn close(&self) -> std::io::Result<()> {
        let mut phase = self.phase.write().unwrap_or_else(PoisonError::into_inner);
        self.close_in(&mut phase)
    }

    /// Forgets what was received, and its file. Nothing to do the second time.
    pub fn close_in(&self, phase: &mut Phase) -> std::io::Result<()> {
        if std::mem::replace(phase, Phase::Closed) == Phase::Closed {
            return Ok(());
        }
        let received = std::mem::take(&mut *self.received());
        let removed = remove_file(&self.path());
        for (&n, chunk) in &received {
            let range = self.range(n, chunk.pieces().chunk_len().into());
            self.disk.space.release(on_disk(range), Class::Durable, 1);
        }
        removed
    }
}

/// The last handle is gone. One unlink, mostly well below a millisecond; who cares on which thread calls `abort`.
impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(upload = %self.id, %error, "an upload's file could not be removed; the next start will");
        }
        self.disk.uploads.fetch_sub(1, Relaxed);
    }
}
