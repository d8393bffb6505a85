use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{WriteError, metrics as names};

/// How full a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of chunks that are present, of uploads, and of writes that are running.
    pub bytes: u64,
    /// The configured cap in bytes. Lower than `bytes` only where it was lowered since they were written.
    pub capacity: u64,
    /// Blobs of which at least the manifest is here.
    pub blobs: usize,
    /// Versions of origins' objects.
    pub objects: usize,
    /// Chunks present, those of uploads included.
    pub chunks: u64,
}

/// The byte cap. Bytes are reserved before they are written, so it holds at every moment, however many write at once.
///
/// The `.meta` files are not counted: 545 bytes per chunk are 130 millionths of one. Nor is what lies in quarantine, nor the records:
/// names and jobs are some hundred bytes each, and what origins answered is [bounded](crate::Records::bound) by itself.
pub(crate) struct Space {
    capacity: u64,
    bytes: AtomicU64,
    chunks: AtomicU64,
}

/// Room for one chunk: given back when dropped, unless it was [kept](Self::keep).
#[must_use]
pub(crate) struct Reservation<'a> {
    space: &'a Space,
    bytes: u64,
}

impl Space {
    pub fn new(capacity: u64) -> Self {
        metrics::gauge!(names::CAPACITY_BYTES).set(gauge(capacity));
        Self { capacity, bytes: AtomicU64::new(0), chunks: AtomicU64::new(0) }
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub fn chunks(&self) -> u64 {
        self.chunks.load(Relaxed)
    }

    pub fn reserve(&self, bytes: u64) -> Result<Reservation<'_>, WriteError> {
        let fits = |used: u64| used.checked_add(bytes).filter(|&total| total <= self.capacity);
        match self.bytes.fetch_update(Relaxed, Relaxed, fits) {
            Ok(_) => Ok(Reservation { space: self, bytes }),
            Err(used) => {
                metrics::counter!(names::REFUSED_WRITES).increment(1);
                Err(WriteError::Full { needed: bytes, free: self.capacity.saturating_sub(used) })
            }
        }
    }

    /// Counts what was found on disk, whether it fits or not.
    pub fn found(&self, bytes: u64, chunks: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.chunks.fetch_add(chunks, Relaxed);
        self.show();
    }

    /// Bytes that can still be reserved.
    pub fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.bytes())
    }

    /// Gives back what is no longer on disk.
    pub fn release(&self, bytes: u64, chunks: u64) {
        self.bytes.fetch_sub(bytes, Relaxed);
        self.chunks.fetch_sub(chunks, Relaxed);
        self.show();
    }

    fn show(&self) {
        metrics::gauge!(names::USED_BYTES).set(gauge(self.bytes()));
        metrics::gauge!(names::CHUNKS).set(gauge(self.chunks()));
    }
}

impl Reservation<'_> {
    /// The chunk is on disk and recorded.
    pub fn keep(mut self) {
        metrics::counter!(names::WRITTEN_BYTES).increment(self.bytes);
        self.bytes = 0;
        self.space.chunks.fetch_add(1, Relaxed);
        self.space.show();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.space.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// Gauges are `f64`: exact up to 8 PiB.
#[expect(clippy::cast_precision_loss)]
fn gauge(value: u64) -> f64 {
    value as f64
}
