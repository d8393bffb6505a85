//! Making room. What is only cached goes, chunk by chunk, as [`queue`] says, in the thread that needs the room; with its last chunk goes an
//! entry that is not kept. What is durable never goes, nor what is pinned, as far as the [`Floors`](crate::Floors) let it stay.

mod drop;
mod heat;
mod queue;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use herring_blob::ContentId;

use crate::custody::DESCRIPTION;
use crate::disk::Disk;
use crate::entry::{self, Entry};
use crate::space::{Class, Reservation};
use crate::weight::BLOCK;
use crate::{WriteError, metrics as names};
use queue::{Part, Queue, Step, Waiting};

pub(crate) use heat::Heat;

/// Items in a row that may be in use when their turn comes, before a write is told that there is no room.
const BUSY: usize = 1024;
/// Items of removed entries that may lie in the queue, beside as many as half of it.
const STALE: usize = 1024;
/// Hits in the small queue that make a chunk more than something that passes by.
const HOT: u8 = 2;

/// A chunk of an entry, or its [description](DESCRIPTION). Does not keep the entry in memory.
struct Item {
    entry: Weak<entry::Inner>,
    n: u32,
}

/// Who says what goes next.
pub(crate) struct Evictor {
    queue: Mutex<Queue<Item>>,
    pinned: RwLock<Arc<HashSet<ContentId>>>,
    /// The most that may stay only because it is pinned, bytes.
    pinned_most: u64,
    /// Items of removed entries, about.
    stale: AtomicUsize,
}

impl Disk {
    /// Room for `bytes`, which is made where there is none. BLOCKS, for as long as it takes to punch or unlink what goes.
    pub fn reserve(&self, bytes: u64, class: Class) -> Result<Reservation<'_>, WriteError> {
        loop {
            if let Some(room) = self.space.reserve(bytes, class) {
                return Ok(room);
            }
            let free = self.space.free_for(class).min(self.room());
            if free < bytes || !self.evict() {
                metrics::counter!(names::REFUSED_WRITES).increment(1);
                return Err(WriteError::Full { needed: bytes, free: free.min(bytes.saturating_sub(1)) });
            }
        }
    }

    /// Writes what takes `bytes`, for which room is reserved. Where the disk has less than the cap allows, that room is made too.
    pub fn write<T>(&self, bytes: u64, write: impl Fn() -> io::Result<T>) -> Result<T, WriteError> {
        loop {
            match write().map_err(|error| WriteError::from_io(error, bytes)) {
                Err(WriteError::Full { .. }) if self.evict_bytes(bytes) => {}
                done => return done,
            }
        }
    }

    fn evict_bytes(&self, bytes: u64) -> bool {
        let enough = self.space.used().saturating_sub(bytes);
        while self.space.used() > enough {
            if !self.evict() {
                return false;
            }
        }
        true
    }

    /// Bytes that can be written if all goes that may go.
    pub fn room(&self) -> u64 {
        self.space.not_durable().saturating_sub(self.evictor.bytes_aside())
    }

    /// Drops one chunk, or one entry. False where nothing may go, or all of it is in use.
    fn evict(&self) -> bool {
        for _ in 0..BUSY {
            let Some(waiting) = self.evictor.next() else { return false };
            // Gone by itself: that is room too.
            let Some(entry) = waiting.item.entry.upgrade().map(Entry) else { return true };
            if entry.go(waiting.item.n) {
                return true;
            }
            self.evictor.put_back(&entry, waiting);
        }
        false
    }
}

impl Evictor {
    pub fn new(pinned_most: u64) -> Self {
        Self { queue: Mutex::new(Queue::new()), pinned: RwLock::default(), pinned_most, stale: AtomicUsize::new(0) }
    }

    /// A chunk was cached, or an entry made: it waits for its turn, if it does not already.
    pub fn enter(&self, entry: &Entry, n: u32) {
        if entry.0.heat.set_queued(n) {
            let (item, blocks) = Item::new(entry, n);
            self.queue().push(item, blocks, key(entry, n));
        }
    }

    /// What was found when the store was opened: it was there before all that comes.
    pub fn enter_found(&self, entry: &Entry, chunks: impl Iterator<Item = u32>) {
        let mut queue = self.queue();
        for n in chunks.filter(|&n| entry.0.heat.set_queued(n)) {
            let (item, blocks) = Item::new(entry, n);
            queue.push_back(Waiting { item, blocks });
        }
    }

    /// An entry was removed. The items of its chunks are dropped once there are too many of that kind: nobody may ever ask for room.
    pub fn forget(&self, entry: &Entry) {
        self.recall_of(entry);
        let count = entry.0.table.present_count() as usize + 1;
        let stale = self.stale.fetch_add(count, Relaxed) + count;
        let mut queue = self.queue();
        if stale > STALE + queue.len() / 2 {
            queue.retain(|item| item.entry.upgrade().is_some_and(|entry| Entry(entry).is_alive()));
            self.stale.store(0, Relaxed);
        }
    }

    pub fn set_pinned(&self, pinned: Arc<HashSet<ContentId>>) {
        *self.pinned.write().unwrap_or_else(PoisonError::into_inner) = pinned;
        self.recall();
    }

    /// What was put aside is asked again.
    fn recall(&self) {
        self.queue().recall();
    }

    /// Something became durable, was released or removed, so that what is aside of it may not be any more.
    pub fn recall_of(&self, entry: &Entry) {
        if self.pinned().contains(&entry.id()) || entry.is_linked() {
            self.recall();
        }
    }

    fn pinned(&self) -> Arc<HashSet<ContentId>> {
        self.pinned.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn bytes_aside(&self) -> u64 {
        self.queue().blocks_aside() * BLOCK
    }

    /// The next that should go. From here on it does not wait any more.
    fn next(&self) -> Option<Waiting<Item>> {
        let pinned = self.pinned();
        self.queue().next(|item, part, aside| self.judge(item, part, aside * BLOCK, &pinned))
    }

    fn judge(&self, item: &Item, part: Part, aside: u64, pinned: &HashSet<ContentId>) -> Step {
        let Some(entry) = item.entry.upgrade().map(Entry) else { return Step::Forget };
        let (heat, n) = (&entry.0.heat, item.n);
        // In this order: who makes it evictable after the look enters it anew.
        heat.clear_queued(n);
        if !entry.may_go(n) {
            return Step::Forget;
        }
        let stays = |step| if heat.set_queued(n) { step } else { Step::Forget };
        if entry.is_bound() || (pinned.contains(&entry.id()) && aside + entry.weight_of(n) <= self.pinned_most) {
            return stays(Step::Aside);
        }
        match part {
            Part::Small if heat.hits(n) >= HOT => {
                heat.reset(n);
                stays(Step::Again)
            }
            Part::Main if heat.cool(n) => stays(Step::Again),
            _ => Step::Out { key: key(&entry, n) },
        }
    }

    /// It could not go after all.
    fn put_back(&self, entry: &Entry, waiting: Waiting<Item>) {
        if entry.0.heat.set_queued(waiting.item.n) {
            self.queue().push_back(waiting);
        }
    }

    /// Items that wait, or are aside.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.queue().all()
    }

    /// Each operation leaves the queue whole, so poison is no reason to stop.
    fn queue(&self) -> MutexGuard<'_, Queue<Item>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Item {
    /// With the blocks that it takes.
    fn new(entry: &Entry, n: u32) -> (Self, u32) {
        let blocks = u32::try_from(entry.weight_of(n) / BLOCK).unwrap_or(u32::MAX);
        (Self { entry: Arc::downgrade(&entry.0), n }, blocks)
    }
}

impl Entry {
    /// What goes with this item, bytes.
    fn weight_of(&self, n: u32) -> u64 {
        if n == DESCRIPTION { BLOCK } else { self.weight(n) }
    }
}

/// By which a chunk is known again after it went. Two that share one only spare each other the small queue.
fn key(entry: &Entry, n: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (entry.id(), n).hash(&mut hasher);
    hasher.finish()
}
