use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::metrics as names;

/// How full a store is. All bytes are those that `du` shows of its directory: whole blocks, with metas, directories and records, and
/// what is reserved for writes that are running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// The configured cap in bytes. Lower than `bytes` only where it was lowered since they were written, or by what a directory or a
    /// meta grew meanwhile: below 2 %.
    pub capacity: u64,
    /// Those of `bytes` that stay: durable chunks, descriptions that are kept, uploads, records, directories, what lies in quarantine.
    pub durable: u64,
    /// Those of `bytes` that go when room is needed, unless they are pinned.
    pub cached: u64,
    /// Blobs of which at least the manifest is here.
    pub blobs: usize,
    /// Versions of origins' objects.
    pub objects: usize,
    /// Chunks present, those of uploads included.
    pub chunks: u64,
}

/// What of a capacity is left to whom, whatever the other wants, in percent. So a node that is full of what was put can still
/// cache what it reads, and one where everything is pinned can still take a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floors {
    /// Durable bytes, uploads included, may take the capacity but for this.
    pub cached: u64,
    /// What is cached and pinned may stay on up to the capacity but for this and `cached`; what is pinned beyond may be evicted.
    pub durable: u64,
}

impl Floors {
    /// There is no knob for them.
    pub const FIXED: Self = Self { cached: 5, durable: 50 };

    /// The most durable bytes.
    pub fn durable_most(self, capacity: u64) -> u64 {
        capacity - part(capacity, self.cached)
    }

    /// The most bytes that stay only because they are pinned.
    pub fn pinned_most(self, capacity: u64) -> u64 {
        capacity - part(capacity, self.cached) - part(capacity, self.durable)
    }
}

fn part(capacity: u64, percent: u64) -> u64 {
    capacity / 100 * percent + capacity % 100 * percent / 100
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// May go.
    Cached,
    Durable,
}

/// The byte cap. Bytes are reserved before they are written and given back after they are gone, so it holds at every moment, however
/// many write at once.
pub(crate) struct Space {
    capacity: u64,
    used: AtomicU64,
    /// Those of `used` that may not go.
    durable: AtomicU64,
    chunks: AtomicU64,
}

/// Room for something: given back when dropped, unless it was [kept](Self::keep).
#[must_use]
pub(crate) struct Reservation<'a> {
    space: &'a Space,
    bytes: u64,
    class: Class,
}

impl Space {
    pub fn new(capacity: u64) -> Self {
        metrics::gauge!(names::CAPACITY_BYTES).set(gauge(capacity));
        Self { capacity, used: AtomicU64::new(0), durable: AtomicU64::new(0), chunks: AtomicU64::new(0) }
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub fn durable(&self) -> u64 {
        self.durable.load(Relaxed)
    }

    pub fn chunks(&self) -> u64 {
        self.chunks.load(Relaxed)
    }

    /// What is only cached, or free.
    pub fn not_durable(&self) -> u64 {
        self.capacity.saturating_sub(self.durable())
    }

    /// The most that something of this class could be given, if all goes that is only cached.
    pub fn free_for(&self, class: Class) -> u64 {
        match class {
            Class::Cached => self.not_durable(),
            Class::Durable => Floors::FIXED.durable_most(self.capacity).saturating_sub(self.durable()),
        }
    }

    /// `None` where there is no room right now.
    pub fn reserve(&self, bytes: u64, class: Class) -> Option<Reservation<'_>> {
        if class == Class::Durable && !self.hold(bytes) {
            return None;
        }
        if !raise(&self.used, bytes, self.capacity) {
            if class == Class::Durable {
                self.shift(bytes, Class::Cached);
            }
            return None;
        }
        Some(Reservation { space: self, bytes, class })
    }

    /// Counts cached bytes as durable from now on. False where these would be too many.
    pub fn hold(&self, bytes: u64) -> bool {
        raise(&self.durable, bytes, Floors::FIXED.durable_most(self.capacity))
    }

    /// Counts bytes as of this class from now on, which were of the other.
    pub fn shift(&self, bytes: u64, to: Class) {
        match to {
            Class::Durable => self.durable.fetch_add(bytes, Relaxed),
            Class::Cached => self.durable.fetch_sub(bytes, Relaxed),
        };
        self.show();
    }

    /// Counts what is there, whether it fits or not.
    pub fn add(&self, bytes: u64, class: Class, chunks: u32) {
        self.used.fetch_add(bytes, Relaxed);
        self.chunks.fetch_add(chunks.into(), Relaxed);
        if class == Class::Durable {
            self.durable.fetch_add(bytes, Relaxed);
        }
    }

    /// Something that was `known` to take so many bytes, and stays, takes so many now.
    pub fn weigh(&self, known: &AtomicU64, now: u64) {
        let before = known.swap(now, Relaxed);
        if now != before {
            self.add(now, Class::Durable, 0);
            self.release(before, Class::Durable, 0);
        }
    }

    /// Gives back what is no longer on disk.
    pub fn release(&self, bytes: u64, class: Class, chunks: u32) {
        self.chunks.fetch_sub(chunks.into(), Relaxed);
        if class == Class::Durable {
            self.durable.fetch_sub(bytes, Relaxed);
        }
        self.used.fetch_sub(bytes, Relaxed);
        self.show();
    }

    pub fn show(&self) {
        let (used, durable) = (self.used(), self.durable());
        metrics::gauge!(names::USED_BYTES).set(gauge(used));
        metrics::gauge!(names::DURABLE_BYTES).set(gauge(durable));
        metrics::gauge!(names::CACHED_BYTES).set(gauge(used.saturating_sub(durable)));
        metrics::gauge!(names::CHUNKS).set(gauge(self.chunks()));
    }
}

fn raise(count: &AtomicU64, by: u64, most: u64) -> bool {
    let fits = |now: u64| now.checked_add(by).filter(|&total| total <= most);
    count.fetch_update(Relaxed, Relaxed, fits).is_ok()
}

impl Reservation<'_> {
    /// What it was for is on disk and recorded.
    pub fn keep(mut self, chunks: u32) {
        metrics::counter!(names::WRITTEN_BYTES).increment(self.bytes);
        self.bytes = 0;
        self.space.chunks.fetch_add(chunks.into(), Relaxed);
        self.space.show();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.space.release(self.bytes, self.class, 0);
    }
}

/// Gauges are `f64`: exact up to 8 PiB.
#[expect(clippy::cast_precision_loss)]
fn gauge(value: u64) -> f64 {
    value as f64
}
