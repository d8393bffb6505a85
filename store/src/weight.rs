//! What things take on the disk, as `du` shows it.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use herring_blob::ByteRange;

use crate::Entry;
use crate::disk::Disk;
use crate::files::punch;
use crate::space::Class;
use crate::table::State;

/// What the file systems that matter give at least, bytes.
pub(crate) const BLOCK: u64 = 4096;
/// Names below the store's directory that are looked at once, when it is opened: they hardly change.
const FIXED: [&str; 8] = ["", "lock", "format", "blobs", "objects", "uploads", "native", "quarantine"];

/// The blocks that these bytes of a file touch, in bytes. Of two ranges side by side that share a block both count it: never too few, and too
/// many by one block for each chunk whose size is no multiple of it.
pub(crate) fn on_disk(range: ByteRange) -> u64 {
    if range.is_empty() { 0 } else { (range.end.div_ceil(BLOCK) - range.start / BLOCK) * BLOCK }
}

/// What the file system says that it gave.
pub(crate) fn given(metadata: &std::fs::Metadata) -> u64 {
    metadata.blocks() * 512
}

fn given_at(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |metadata| given(&metadata))
}

/// What an entry's meta is counted with. It only grows.
pub(crate) struct MetaWeight {
    pub bytes: u64,
    pub class: Class,
}

impl Entry {
    /// Bytes on the disk of chunk `n`, if it is here.
    pub(crate) fn weight(&self, n: u32) -> u64 {
        on_disk(self.0.geometry.chunk_range(n))
    }

    /// Bytes of the chunks that are here: all, and the durable ones.
    pub(crate) fn weights(&self) -> (u64, u64) {
        let of = |wanted: fn(State) -> bool| {
            let chunks = 0..self.0.geometry.chunk_count();
            chunks.filter(|&n| wanted(self.0.table.look(n).state)).map(|n| self.weight(n)).sum()
        };
        (of(|state| state != State::Absent), of(|state| state == State::Durable))
    }

    /// Bytes on the disk of the chunks that are not durable, whether they are here or not.
    pub(crate) fn not_durable(&self) -> u64 {
        let chunks = 0..self.0.geometry.chunk_count();
        chunks.filter(|&n| !self.is_durable(n)).map(|n| self.weight(n)).sum()
    }

    /// Bytes of the chunks that are here, as they are read.
    pub fn bytes_here(&self) -> u64 {
        let chunks = 0..self.0.geometry.chunk_count();
        chunks.filter(|&n| self.has(n)).map(|n| self.0.geometry.chunk_range(n).len()).sum()
    }

    pub(crate) fn has_durable(&self) -> bool {
        (0..self.0.geometry.chunk_count()).any(|n| self.0.table.look(n).state == State::Durable)
    }

    pub(crate) fn meta_weight(&self) -> MutexGuard<'_, MetaWeight> {
        self.0.meta_weight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The meta was written to, and may have grown.
    pub(crate) fn weigh_meta(&self, file: &File) {
        let now = file.metadata().map_or(0, |metadata| given(&metadata));
        let mut known = self.meta_weight();
        if now > known.bytes {
            self.0.disk.space.add(now - known.bytes, known.class, 0);
            known.bytes = now;
        }
    }

    /// The meta counts as this from now on.
    pub(crate) fn set_meta_class(&self, class: Class) {
        let mut known = self.meta_weight();
        if known.class != class {
            self.0.disk.space.shift(known.bytes, class);
            known.class = class;
        }
    }

    /// Counts what was found when the store was opened, and lets what is only cached wait for its turn. `given`: what the data has on the
    /// disk; what a killed process wrote and did not record is given back.
    pub(crate) fn found(&self, given: u64) {
        let (all, durable) = self.weights();
        let (space, evictor) = (&self.0.disk.space, &self.0.disk.evictor);
        space.add(durable, Class::Durable, self.present_count());
        space.add(all - durable, Class::Cached, 0);
        {
            let meta = self.meta_weight();
            space.add(meta.bytes, meta.class, 0);
        }
        // Beside its chunks a file has blocks that say where they lie.
        if given > all + all / 128 + 4 * BLOCK {
            self.free_absent();
        }
        evictor.enter_found(self, (0..self.0.geometry.chunk_count()).filter(|&n| self.0.table.look(n).state == State::Cached));
        self.enter_if_empty();
    }

    fn free_absent(&self) {
        let Some(files) = self.live().and_then(|life| self.open_files(&life).ok()) else { return };
        tracing::info!(id = %self.0.id, "gave back what was written and not recorded before the process died");
        let mut start = 0;
        for n in (0..self.0.geometry.chunk_count()).filter(|&n| self.0.table.has(n)) {
            let range = self.0.geometry.chunk_range(n);
            if start < range.start {
                punch(&files.data, ByteRange::new(start, range.start));
            }
            start = range.end;
        }
        let end = self.0.geometry.size().next_multiple_of(BLOCK);
        if start < end {
            punch(&files.data, ByteRange::new(start, end));
        }
    }
}

impl Disk {
    /// What there is beside entries and records, when the store is opened.
    pub fn weigh_rest(&self) {
        let dir = self.layout.dir();
        let fixed: u64 = FIXED.iter().map(|name| given_at(&dir.join(name))).sum();
        self.space.add(fixed + below(&dir.join("quarantine")), Class::Durable, 0);
        (0..self.shelves.len()).for_each(|index| self.weigh_shelf(index));
        self.space.show();
    }

    /// A name came to this shelf, which may have grown by it.
    pub fn weigh_shelf(&self, index: usize) {
        self.space.weigh(&self.shelves[index], given_at(&self.layout.shelf_at(index)));
    }

    pub fn weigh_records(&self) {
        self.space.weigh(&self.records, given_at(&self.layout.records()));
    }
}

/// All that lies in the directories of `dir`.
fn below(dir: &Path) -> u64 {
    let list = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|file| file.path()).collect::<Vec<_>>();
    list(dir).iter().map(|place| given_at(place) + list(place).iter().map(|file| given_at(file)).sum::<u64>()).sum()
}
