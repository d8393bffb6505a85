use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use herring_blob::{ContentId, Geometry};
use tokio::sync::watch;
use uuid::Uuid;

use crate::claims::Claims;
use crate::custody::{DESCRIPTION, Kept};
use crate::disk::Disk;
use crate::layout::{Layout, create_file, write_file};
use crate::space::{Class, Floors};
use crate::table::State;
use crate::upload::{Draft, Upload};
use crate::weight::BLOCK;
use crate::{Description, Entry, OpenError, Records, Usage, WriteError, blocking::blocking, meta, scan};

/// The most chunks that one entry may have: 16 TiB at 4 MiB a chunk. Its tables then take 155 MB in memory, and up to 100 more while they are cached, and 2.3 GB on disk.
pub(crate) const MAX_CHUNKS: u32 = 1 << 22;

#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Made if it is not there. No other process may use it at the same time.
    pub dir: PathBuf,
    /// The most bytes that `du` may show of `dir`.
    pub capacity: u64,
}

/// What this node holds. Cheap to clone; the directory stays locked until the last clone, entry and upload is gone.
///
/// ```text
/// format                        the layout's version
/// lock                          held by the process that has it open
/// blobs/ab/<64 hex>[.meta]      bytes, and which of them are there
/// objects/ab/<64 hex>[.meta]    the same, for versions of origins' objects
/// uploads/<uuid>                not committed; removed at open
/// native/<64 hex>               second names of blobs that are whole and verified; removed at open
/// records.redb                  small records, see [`Records`]; not there before the first
/// quarantine/<uuid>/<64 hex>…   files whose meta turned out rotten at open: for somebody to look at, not used
/// ```
#[derive(Clone)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    disk: Arc<Disk>,
    entries: RwLock<HashMap<ContentId, Entry>>,
    /// Threads that create, commit or remove, each an id of its own.
    naming: Claims<ContentId>,
    uploads: Mutex<HashMap<Uuid, Arc<Draft>>>,
    records: Records,
}

impl Store {
    /// Opens the directory, removes what a crash left half done, and reads which chunks are there. Blocks.
    pub fn open(config: StoreConfig) -> Result<Self, OpenError> {
        let disk = Arc::new(Disk::open(config)?);
        let entries = RwLock::new(scan::scan(&disk)?);
        let records = Records::open(disk.clone())?;
        disk.weigh_rest();
        let inner = Inner { disk, entries, naming: Claims::new(), uploads: Mutex::new(HashMap::new()), records };
        let store = Self(Arc::new(inner));
        // The first and only time.
        let _ = store.0.disk.owner.set(Arc::downgrade(&store.0));
        Ok(store)
    }

    /// What this node remembers beside its chunks.
    pub fn records(&self) -> &Records {
        &self.0.records
    }

    /// Counts changes of what is durable here: commits, chunks kept or released, rot found, removals.
    pub fn durable_changes(&self) -> watch::Receiver<u64> {
        self.0.disk.changes.subscribe()
    }

    /// What is here under this id. No I/O.
    pub fn get(&self, id: &ContentId) -> Option<Entry> {
        self.entries(|entries| entries.get(id).cloned())
    }

    /// All blobs of which at least the manifest is here.
    pub fn blobs(&self) -> Vec<Entry> {
        self.select(|id| matches!(id, ContentId::Blob(_)))
    }

    /// All versions of origins' objects.
    pub fn objects(&self) -> Vec<Entry> {
        self.select(|id| matches!(id, ContentId::Object(_)))
    }

    fn select(&self, which: impl Fn(&ContentId) -> bool) -> Vec<Entry> {
        self.entries(|entries| entries.iter().filter(|(id, _)| which(id)).map(|(_, entry)| entry.clone()).collect())
    }

    fn entries<T>(&self, look: impl FnOnce(&HashMap<ContentId, Entry>) -> T) -> T {
        look(&self.0.entries.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the files of blobs are that may be read without this program: what [`Entry::native_path`] is relative to.
    pub fn native_dir(&self) -> PathBuf {
        self.0.disk.layout.native_dir()
    }

    /// Bytes that can be written under the cap, if all goes for them that may be evicted. Another writer may take them at any moment.
    pub fn room(&self) -> u64 {
        self.0.disk.room()
    }

    /// Bytes that can be written if all goes for them that may be evicted: under the cap, or on the disk below it where that is less.
    /// Asks the disk's file system, which takes some microseconds.
    pub fn free(&self) -> u64 {
        self.on_disk(self.room())
    }

    /// Bytes that what is not durable may take here, pinned or not: under the cap, or on the disk below it where that is less.
    pub fn could_cache(&self) -> u64 {
        self.on_disk(self.0.disk.space.not_durable())
    }

    /// As much of the room under the cap as the disk has.
    fn on_disk(&self, room: u64) -> u64 {
        let disk =
            rustix::fs::statvfs(self.0.disk.layout.dir()).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let space = &self.0.disk.space;
        let unused = space.capacity().saturating_sub(space.used());
        room.min(disk.saturating_add(room.saturating_sub(unused)))
    }

    /// Chunks that were found rotten since it was opened, by whoever read them, and dropped.
    pub fn rotten_chunks(&self) -> u64 {
        self.0.disk.rotten.load(Relaxed)
    }

    /// Entries whose files were found gone since it was opened.
    pub fn lost_entries(&self) -> u64 {
        self.0.disk.lost.load(Relaxed)
    }

    /// Whether chunk `n` of it was found rotten lately, and did not come back since.
    pub fn was_rotten(&self, id: &ContentId, n: u32) -> bool {
        self.0.disk.rotten_lately.get(&(*id, n)).is_some()
    }

    /// Whether so many bytes more could be durable here, whatever of the rest goes for them.
    pub fn could_keep(&self, bytes: u64) -> bool {
        self.0.disk.space.free_for(Class::Durable) >= bytes
    }

    /// What eviction must leave alone from now on, as far as the [`Floors`](crate::Floors) let it.
    pub fn set_pinned(&self, pinned: Arc<HashSet<ContentId>>) {
        self.0.disk.evictor.set_pinned(pinned);
    }

    /// Bytes on the disk that pins may take here beside what is durable: what the [`Floors`](crate::Floors) let stay only because it is
    /// pinned, and where so much is durable that less is left for it, that.
    pub fn pin_room(&self) -> u64 {
        let space = &self.0.disk.space;
        Floors::FIXED.pinned_most(space.capacity()).min(space.free_for(Class::Durable))
    }

    /// Bytes of that which a pin of this takes: all of it but for what is durable here. `size`: its bytes, for where its entry is not here.
    pub fn pin_weight(&self, id: &ContentId, size: u64) -> u64 {
        let whole = || size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        self.get(id).map_or_else(whole, |entry| entry.not_durable())
    }

    pub fn usage(&self) -> Usage {
        let space = &self.0.disk.space;
        let (blobs, all) = self.entries(|entries| {
            let blobs = entries.keys().filter(|id| matches!(id, ContentId::Blob(_))).count();
            (blobs, entries.len())
        });
        let (bytes, durable) = (space.used(), space.durable());
        let (capacity, cached, chunks) = (space.capacity(), bytes.saturating_sub(durable), space.chunks());
        Usage { bytes, capacity, durable, cached, blobs, objects: all - blobs, chunks }
    }

    /// An entry without chunks. Where one of this id is here already, that one is given, whatever its chunk size is; calls at
    /// the same time give the same one.
    pub async fn create(&self, description: Description) -> Result<Entry, WriteError> {
        // Without waiting for who holds the name: a commit may, for as long as the disk takes.
        if let Some(entry) = self.get(&description.id()) {
            return Ok(entry);
        }
        let store = self.clone();
        blocking(move || store.create_blocking(description)).await
    }

    fn create_blocking(&self, description: Description) -> Result<Entry, WriteError> {
        let geometry = check_shape(&description)?;
        let id = description.id();
        let _claim = self.0.naming.wait(id);
        if let Some(entry) = self.get(&id) {
            return Ok(entry);
        }
        let states = vec![State::Absent; geometry.chunk_count() as usize];
        let (meta, bytes) = meta::new(&description, geometry, SystemTime::now(), states, Kept::No);
        let (disk, layout) = (&self.0.disk, &self.0.disk.layout);
        let room = disk.reserve(meta.on_disk, Class::Cached)?;
        layout.make_shelf(&id)?;
        create_file(&layout.data(&id))?.set_len(geometry.size())?;
        write_file(&layout.draft(&id), &bytes)?;
        std::fs::rename(layout.draft(&id), layout.meta(&id))?;
        room.keep(0);
        disk.weigh_shelf(Layout::shelf_index(&id));
        let entry = Entry::new(disk.clone(), id, meta, true);
        // Its names are not flushed: nobody is told that they are durable before somebody keeps it, who flushes them then.
        self.adopt(entry.clone());
        disk.evictor.enter(&entry, DESCRIPTION);
        Ok(entry)
    }

    /// Removes an entry with all its chunks. Who reads from it may finish; the entry is dead then. False where there was none.
    pub async fn remove(&self, id: &ContentId) -> Result<bool, WriteError> {
        self.remove_if(id, |_| true).await
    }

    /// The same, if `still` says so of the entry; false where it does not. It is asked while nobody can create, commit or write this id, so what
    /// it says is so until the entry is gone: who commits comes before the question, or after the removal. For that it may only look at memory.
    pub async fn remove_if(
        &self,
        id: &ContentId,
        still: impl FnOnce(&Entry) -> bool + Send + 'static,
    ) -> Result<bool, WriteError> {
        let (store, id) = (self.clone(), *id);
        blocking(move || store.remove_blocking(id, still)).await
    }

    pub(crate) fn remove_blocking(&self, id: ContentId, still: impl FnOnce(&Entry) -> bool) -> Result<bool, WriteError> {
        let _claim = self.0.naming.wait(id);
        let Some(entry) = self.get(&id) else { return Ok(false) };
        let buried = entry.bury(still);
        if !entry.is_alive() {
            self.drop_dead(&entry);
            self.0.disk.changed();
        }
        Ok(buried?)
    }

    /// Removes an entry that is not kept and has no chunks.
    pub(crate) fn remove_if_empty(&self, entry: &Entry) -> Result<(), WriteError> {
        let _claim = self.0.naming.wait(entry.id());
        let buried = entry.bury(|entry| !entry.is_kept() && entry.present_count() == 0);
        self.drop_dead(entry);
        Ok(buried.map(drop)?)
    }

    /// Removes an entry that is only cached, without waiting for anybody: false where that would have to.
    pub(crate) fn evict(&self, entry: &Entry) -> bool {
        let Some(_claim) = self.0.naming.try_take(entry.id()) else { return false };
        let gone = entry.evict_whole().unwrap_or_else(|error| {
            tracing::warn!(id = %entry.id(), %error, "what should make room could not be removed");
            false
        });
        self.drop_dead(entry);
        gone
    }

    /// With the claim on the entry's name.
    pub(crate) fn drop_dead(&self, entry: &Entry) {
        if !entry.is_alive() {
            let mut entries = self.0.entries.write().unwrap_or_else(PoisonError::into_inner);
            if entries.get(&entry.id()).is_some_and(|known| Arc::ptr_eq(&known.0, &entry.0)) {
                entries.remove(&entry.id());
            }
        }
    }

    /// An upload of its own, in chunks of `chunk_size` bytes. Cleaned up when its last handle is dropped.
    pub async fn begin_upload(&self, chunk_size: u32) -> Result<Upload, WriteError> {
        let store = self.clone();
        blocking(move || Ok(Upload::new(store.clone(), store.draft(Uuid::new_v4(), chunk_size)?))).await
    }

    /// The upload that callers agreed to call `id`, begun by whoever comes first: so that the chunks of one put meet, though
    /// each comes with a request of its own. Stays until it is committed, aborted or [swept](Self::sweep_uploads).
    pub async fn upload(&self, id: Uuid, chunk_size: u32) -> Result<Upload, WriteError> {
        let store = self.clone();
        blocking(move || store.upload_blocking(id, chunk_size)).await
    }

    fn upload_blocking(&self, id: Uuid, chunk_size: u32) -> Result<Upload, WriteError> {
        let mut uploads = self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let draft = match uploads.get(&id) {
            Some(draft) if draft.chunk_size() != chunk_size => {
                return Err(WriteError::ChunkSize { begun: draft.chunk_size(), asked: chunk_size });
            }
            Some(draft) => draft.clone(),
            None => {
                let draft = self.draft(id, chunk_size)?;
                uploads.insert(id, draft.clone());
                draft
            }
        };
        draft.touch();
        Ok(Upload::new(self.clone(), draft))
    }

    fn draft(&self, id: Uuid, chunk_size: u32) -> Result<Arc<Draft>, WriteError> {
        Geometry::new(0, chunk_size).ok_or(WriteError::Shape { size: 0, chunk_size })?;
        Ok(Arc::new(Draft::create(self.0.disk.clone(), id, chunk_size)?))
    }

    /// Drops the uploads that nobody touched for `older_than`. How many there were.
    pub async fn sweep_uploads(&self, older_than: Duration) -> usize {
        let idle: Vec<_> = {
            let uploads = self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            uploads.values().filter(|draft| draft.idle() >= older_than).cloned().collect()
        };
        for draft in &idle {
            tracing::info!(upload = %draft.id(), "an upload was left unfinished; dropped");
            Upload::new(self.clone(), draft.clone()).abort().await;
        }
        idle.len()
    }

    pub(crate) fn naming(&self) -> &Claims<ContentId> {
        &self.0.naming
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    pub(crate) fn adopt(&self, entry: Entry) {
        self.0.entries.write().unwrap_or_else(PoisonError::into_inner).insert(entry.id(), entry);
    }

    /// The next call of this id begins anew.
    pub(crate) fn forget_upload(&self, draft: &Arc<Draft>) {
        let mut uploads = self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if uploads.get(&draft.id()).is_some_and(|known| Arc::ptr_eq(known, draft)) {
            uploads.remove(&draft.id());
        }
    }
}

impl From<Arc<Inner>> for Store {
    fn from(inner: Arc<Inner>) -> Self {
        Self(inner)
    }
}

pub(crate) fn check_shape(description: &Description) -> Result<Geometry, WriteError> {
    let shape = || match description {
        Description::Blob(manifest) => WriteError::Shape { size: manifest.size(), chunk_size: manifest.geometry().chunk_size() },
        Description::Object { object, chunk_size } => WriteError::Shape { size: object.size, chunk_size: *chunk_size },
    };
    description.geometry().filter(|geometry| geometry.chunk_count() <= MAX_CHUNKS).ok_or_else(shape)
}
