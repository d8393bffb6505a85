use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use herring_blob::{ByteRange, ChunkDigest, Manifest};
use uuid::Uuid;

use crate::blocking::blocking;
use crate::claims::Claims;
use crate::disk::Disk;
use crate::files::punch;
use crate::layout::{create_file, remove_file};
use crate::{Entry, Store, WriteError};

/// The most uploads that are open at a time; each holds a file descriptor.
pub const MAX_UPLOADS: usize = 1024;
/// Bytes of an upload after which they are brought to the disk: at 200 MB/s a third of a second of flushing, instead of minutes at
/// the commit of a large blob.
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

    /// Bytes.
    pub fn chunk_size(&self) -> u32 {
        self.draft.chunk_size
    }

    /// How many chunks it has received.
    pub fn received_count(&self) -> usize {
        self.draft.received().len()
    }

    /// Takes chunk `n`, after checking it against `digest`. In any order, many at a time; the same again is fine.
    pub async fn write_chunk(&self, n: u32, digest: ChunkDigest, bytes: Bytes) -> Result<(), WriteError> {
        let draft = self.draft.clone();
        blocking(move || draft.write(n, digest, &bytes)).await
    }

    /// Makes the chunks received durable chunks of the blob of `manifest`, and the manifest with them. When this returns
    /// they survive a power loss. They must carry the manifest's digests, but need not be all, nor any.
    ///
    /// Where the blob is here already they are copied into it, which for a moment takes their room twice. After an error the
    /// upload is as before and may be committed again, unless an fsync failed: then that says [`Gone`](WriteError::Gone).
    pub async fn commit(&self, manifest: Arc<Manifest>) -> Result<Entry, WriteError> {
        let upload = self.clone();
        blocking(move || {
            let entry = upload.draft.commit(&upload.store, &manifest)?;
            upload.store.forget_upload(&upload.draft);
            Ok(entry)
        })
        .await
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
    received: Mutex<HashMap<u32, Received>>,
    /// Bytes since the last flush.
    unflushed: AtomicU64,
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

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub digest: ChunkDigest,
    pub len: u64,
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
            received: Mutex::default(),
            unflushed: AtomicU64::new(0),
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

    pub fn received(&self) -> MutexGuard<'_, HashMap<u32, Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn write(&self, n: u32, digest: ChunkDigest, bytes: &[u8]) -> Result<(), WriteError> {
        self.touch();
        let received = Received { digest, len: bytes.len() as u64 };
        if bytes.is_empty() || received.len > u64::from(self.chunk_size) || !digest.matches(bytes) {
            return Err(WriteError::Mismatch { chunk: n });
        }
        let phase = self.phase.read().unwrap_or_else(PoisonError::into_inner);
        if *phase == Phase::Closed {
            return Err(WriteError::Gone);
        }
        let _claim = self.writing.wait(n);
        if let Some(known) = self.received().get(&n) {
            return if *known == received { Ok(()) } else { Err(WriteError::Mismatch { chunk: n }) };
        }
        self.place(n, received, bytes)
    }

    fn place(&self, n: u32, received: Received, bytes: &[u8]) -> Result<(), WriteError> {
        let room = self.disk.space.reserve(received.len)?;
        let range = self.range(n, received.len);
        if let Err(error) = self.file.write_all_at(bytes, range.start) {
            punch(&self.file, range);
            return Err(WriteError::from_io(error, received.len));
        }
        room.keep();
        self.received().insert(n, received);
        self.flush(received.len)?;
        self.touch();
        Ok(())
    }

    /// Brings what was written to the disk from time to time, so that a commit has little left to wait for.
    fn flush(&self, written: u64) -> Result<(), WriteError> {
        if self.unflushed.fetch_add(written, Relaxed) + written < FLUSH_EVERY {
            return Ok(());
        }
        self.unflushed.store(0, Relaxed);
        // The kernel drops bytes that it could not write, and calls the next flush a success: this upload is lost.
        self.file.sync_data().inspect_err(|_| self.spoilt.store(true, Relaxed)).map_err(WriteError::from)
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
        self.disk.space.release(received.values().map(|chunk| chunk.len).sum(), received.len() as u64);
        remove_file(&self.path())
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
