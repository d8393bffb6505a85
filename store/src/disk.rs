use std::fs::File;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock, Weak};

use herring_blob::ContentId;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::buffers::Buffers;
use crate::evict::Evictor;
use crate::files::Files;
use crate::layout::{Layout, SHELVES};
use crate::lost::is_at;
use crate::space::{Floors, Space};
use crate::store::Inner;
use crate::{OpenError, Store, StoreConfig};

/// Rotten chunks that are remembered until they come back.
const ROTTEN: usize = 1024;

/// What entries and uploads share. Lives until the last of them is gone, and the lock with it: nobody else opens the
/// directory while anything here may still write to it.
pub(crate) struct Disk {
    pub layout: Layout,
    pub space: Space,
    pub evictor: Evictor,
    /// What the shelves' directories take, and the records.
    pub shelves: Vec<AtomicU64>,
    pub records: AtomicU64,
    pub files: Files,
    pub buffers: Arc<Buffers>,
    /// How many chunks were found rotten, and dropped.
    pub rotten: AtomicU64,
    /// Those of the last ones that did not come back yet.
    pub rotten_lately: Cache<(ContentId, u32), ()>,
    /// Entries whose files were gone.
    pub lost: AtomicU64,
    /// Uploads that are open.
    pub uploads: AtomicUsize,
    /// Counts what [`Store::durable_changes`] tells of.
    pub changes: watch::Sender<u64>,
    /// Whose it is, once that is open.
    pub owner: OnceLock<Weak<Inner>>,
    lock: File,
}

impl Disk {
    pub fn open(config: StoreConfig) -> Result<Self, OpenError> {
        let layout = Layout::new(config.dir);
        let lock = layout.prepare()?;
        let space = Space::new(config.capacity);
        let evictor = Evictor::new(Floors::FIXED.pinned_most(config.capacity));
        let shelves = (0..SHELVES).map(|_| AtomicU64::new(0)).collect();
        let (files, buffers) = (Files::new(), Arc::default());
        let (changes, owner) = (watch::Sender::new(0), OnceLock::new());
        let (records, rotten, lost, uploads) = Default::default();
        Ok(Self {
            layout,
            space,
            evictor,
            shelves,
            records,
            files,
            buffers,
            rotten,
            rotten_lately: Cache::new(ROTTEN),
            lost,
            uploads,
            changes,
            owner,
            lock,
        })
    }

    /// Whether the store's directory is still the one that was opened.
    pub fn is_in_place(&self) -> bool {
        is_at(&self.lock, &self.layout.lock_path())
    }

    /// Something durable came or went.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// `None` while the store opens, and once its last handle is gone.
    pub fn store(&self) -> Option<Store> {
        self.owner.get()?.upgrade().map(Store::from)
    }
}
