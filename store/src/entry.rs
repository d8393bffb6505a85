use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::SystemTime;

use herring_blob::{ChunkDigest, ContentId, Geometry};

use crate::Description;
use crate::claims::Claims;
use crate::custody::Kept;
use crate::disk::Disk;
use crate::evict::Heat;
use crate::files::{Handle, Pair};
use crate::layout::remove_file;
use crate::mapped::Uses;
use crate::meta::{Meta, Tables};
use crate::space::Class;
use crate::table::{State, Table};
use crate::weight::MetaWeight;
use crate::witness::Witness;

/// Something that the store holds: a description, and those of its chunks that are here. Cheap to clone.
///
/// What survives: a chunk that was written survives the death of this process; one that is durable, because an
/// [`Upload`](crate::Upload) brought it or somebody [keeps](Self::keep) it, also survives a power loss. Whatever a power loss spoils is noticed at the first read.
///
/// An entry that was removed from the store is dead: it has no chunks, reads answer missing and writes are refused.
#[derive(Clone)]
pub struct Entry(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub disk: Arc<Disk>,
    pub description: Description,
    pub id: ContentId,
    pub geometry: Geometry,
    pub tables: Tables,
    pub table: Table,
    pub witness: Witness,
    since: SystemTime,
    /// How often its chunks were hit.
    pub heat: Heat,
    /// Chunks that somebody has mapped.
    pub uses: Uses,
    /// Whether it has a native name. Held while it is given one.
    pub linked: RwLock<bool>,
    pub meta_weight: Mutex<MetaWeight>,
    pub handle: Handle,
    /// Of an object's chunks; empty for a blob.
    digests: RwLock<Vec<ChunkDigest>>,
    /// Threads that write, each on a chunk of its own.
    pub writing: Claims<u32>,
    /// [`Kept`](crate::custody::Kept), as its byte.
    pub kept: AtomicU8,
    /// An fsync has failed: the kernel then drops the bytes and calls the next fsync a success, so none is asked again.
    pub sync_failed: AtomicBool,
    alive: AtomicBool,
    /// Held shared while the files are opened or written, alone while they are removed.
    life: RwLock<()>,
}

/// The entry's files may be opened and written as long as this is held.
pub(crate) struct Life<'a>(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>);

impl Entry {
    /// With `verified`, this process has checked the bytes of all chunks that `meta` records.
    pub(crate) fn new(disk: Arc<Disk>, id: ContentId, meta: Meta, verified: bool) -> Self {
        let class = if meta.kept == Kept::No { Class::Cached } else { Class::Durable };
        Self(Arc::new(Inner {
            handle: disk.files.handle(),
            disk,
            description: meta.description,
            id,
            geometry: meta.geometry,
            tables: meta.tables,
            table: Table::new(meta.states.into_iter(), verified),
            witness: Witness::new(),
            heat: Heat::new(meta.geometry.chunk_count()),
            uses: Uses::default(),
            linked: RwLock::new(false),
            meta_weight: Mutex::new(MetaWeight { bytes: meta.on_disk, class }),
            since: meta.since,
            digests: RwLock::new(meta.digests),
            writing: Claims::new(),
            kept: AtomicU8::new(meta.kept.byte()),
            sync_failed: AtomicBool::new(false),
            alive: AtomicBool::new(true),
            life: RwLock::new(()),
        }))
    }

    pub fn description(&self) -> &Description {
        &self.0.description
    }

    pub fn id(&self) -> ContentId {
        self.0.id
    }

    pub fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    /// When it came into the store, to the millisecond; stays the same from then on.
    pub fn modified(&self) -> SystemTime {
        self.0.since
    }

    /// Whether chunk `n` is here. What was found at open counts until its first read says otherwise.
    pub fn has(&self, n: u32) -> bool {
        self.is_alive() && self.0.table.has(n)
    }

    /// Whether chunk `n` is here to stay: committed or [kept](Self::keep).
    pub fn is_durable(&self, n: u32) -> bool {
        self.is_alive() && self.0.table.look(n).state == State::Durable
    }

    /// The digest of chunk `n`: always known for a blob, for an object where the chunk is here.
    pub fn digest(&self, n: u32) -> Option<ChunkDigest> {
        match &self.0.description {
            Description::Blob(manifest) => manifest.digest(n),
            Description::Object { .. } => {
                let digests = self.0.digests.read().unwrap_or_else(PoisonError::into_inner);
                digests.get(n as usize).copied().filter(|_| self.has(n))
            }
        }
    }

    /// For each chunk, whether it is here.
    pub fn present(&self) -> Vec<bool> {
        let mut present = self.0.table.present();
        if !self.is_alive() {
            present.fill(false);
        }
        present
    }

    /// How many chunks are here.
    pub fn present_count(&self) -> u32 {
        if self.is_alive() { self.0.table.present_count() } else { 0 }
    }

    /// Whether all chunks are here. Something empty is complete from the start.
    pub fn is_complete(&self) -> bool {
        self.is_alive() && self.0.table.present_count() == self.0.geometry.chunk_count()
    }

    /// A file with the bytes in [`Store::native_dir`](crate::Store::native_dir), for who wants to read it without this program.
    /// Only of a blob of which all is here and was verified since the store was opened: such a file never changes, until the
    /// blob is removed and the file with it. It is a second name of the data, made here: the first one may come to name a file with
    /// holes when the blob was removed and comes back. BLOCKS, shortly.
    pub fn native_path(&self) -> Option<PathBuf> {
        let life = self.live()?;
        // Held until it has the name: who drops a chunk looks at it afterwards.
        let mut linked = self.0.linked.write().unwrap_or_else(PoisonError::into_inner);
        let is_whole = || self.0.table.verified_count() == self.0.geometry.chunk_count();
        let native = (is_whole() && matches!(self.0.id, ContentId::Blob(_))).then(|| self.0.disk.layout.native(&self.0.id))?;
        let files = self.open_files(&life).ok()?;
        self.settle(&files).ok().filter(|()| is_whole())?;
        match self.own_write(&files.data, || std::fs::hard_link(self.data_path(), &native)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::warn!(id = %self.0.id, %error, "a blob cannot be given a name to be read natively");
                return None;
            }
            _ => *linked = true,
        }
        drop((linked, life));
        // What is read through it is not seen here.
        self.0.heat.note_all();
        native.file_name().map(PathBuf::from)
    }

    /// Whether others read the file as it is: then it has no holes until it goes.
    pub(crate) fn is_linked(&self) -> bool {
        self.linked_now() == Some(true)
    }

    /// The same, or whether they are about to: who drops a chunk first and is told no was seen by whoever looks for holes after that.
    pub(crate) fn may_be_linked(&self) -> bool {
        self.linked_now() != Some(false)
    }

    /// `None` while it is given the name, which may take as long as the disk does: who makes room does not wait for that.
    fn linked_now(&self) -> Option<bool> {
        match self.0.linked.try_read() {
            Ok(linked) => Some(*linked),
            Err(TryLockError::Poisoned(linked)) => Some(*linked.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether it is still in the store.
    pub fn is_alive(&self) -> bool {
        self.0.alive.load(Acquire)
    }

    pub(crate) fn set_digest(&self, n: u32, digest: ChunkDigest) {
        self.0.digests.write().unwrap_or_else(PoisonError::into_inner)[n as usize] = digest;
    }

    /// `None` once it was removed.
    pub(crate) fn live(&self) -> Option<Life<'_>> {
        let life = self.0.life.read().unwrap_or_else(PoisonError::into_inner);
        self.is_alive().then_some(Life(life))
    }

    /// The same, without waiting for who removes it.
    pub(crate) fn try_live(&self) -> Option<Life<'_>> {
        let life = self.0.life.try_read().ok()?;
        self.is_alive().then_some(Life(life))
    }

    pub(crate) fn open_files(&self, _life: &Life<'_>) -> io::Result<Arc<Pair>> {
        // Spelling two paths for nothing took a twelfth of the processor of small reads.
        if let Some(open) = self.files_if_open() {
            return Ok(open);
        }
        self.0.disk.files.open(self.0.handle, &self.data_path(), &self.0.disk.layout.meta(&self.0.id))
    }

    pub(crate) fn files_if_open(&self) -> Option<Arc<Pair>> {
        self.0.disk.files.get(self.0.handle)
    }

    pub(crate) fn data_path(&self) -> PathBuf {
        self.0.disk.layout.data(&self.0.id)
    }

    /// Removes the files, if `still` holds when nobody can write any more: the meta first, without which the data means nothing. False
    /// where it does not hold, or that was done before.
    pub(crate) fn bury(&self, still: impl FnOnce(&Self) -> bool) -> io::Result<bool> {
        let alone = self.0.life.write().unwrap_or_else(PoisonError::into_inner);
        let buried = self.remove_files(&alone, still)?;
        if buried {
            self.0.disk.layout.sync_shelf(&self.0.id)?;
        }
        Ok(buried)
    }

    /// The same, not yet on the disk when it returns, and without waiting for who writes: then false as well.
    pub(crate) fn try_bury(&self, still: impl FnOnce(&Self) -> bool) -> io::Result<bool> {
        self.0.life.try_write().map_or(Ok(false), |alone| self.remove_files(&alone, still))
    }

    fn remove_files(&self, _alone: &RwLockWriteGuard<'_, ()>, still: impl FnOnce(&Self) -> bool) -> io::Result<bool> {
        if !self.is_alive() || !still(self) {
            return Ok(false);
        }
        let layout = &self.0.disk.layout;
        let remove_native = || remove_file(&layout.native(&self.0.id));
        self.files_if_open().map_or_else(remove_native, |files| self.own_write(&files.data, remove_native))?;
        remove_file(&layout.meta(&self.0.id))?;
        self.0.alive.store(false, Release);
        self.0.disk.files.close(self.0.handle);
        let removed = remove_file(&self.data_path());
        self.give_back();
        removed.map(|()| true)
    }

    /// All that it took is free.
    fn give_back(&self) {
        let (disk, chunks) = (&self.0.disk, self.0.table.present_count());
        let (all, durable) = self.weights();
        disk.space.release(all - durable, Class::Cached, chunks);
        disk.space.release(durable, Class::Durable, 0);
        let meta = self.meta_weight();
        disk.space.release(meta.bytes, meta.class, 0);
        disk.evictor.forget(self);
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, {} of {} chunks)", self.0.id, self.present_count(), self.0.geometry.chunk_count())
    }
}
