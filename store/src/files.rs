use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use herring_blob::ByteRange;
use quick_cache::sync::Cache;
use rustix::buffer::spare_capacity;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Entries whose files stay open: two descriptors each, 2,048 of the 20,000 that many machines allow a process.
const OPEN_ENTRIES: usize = 1024;

/// The two open files of one entry.
pub(crate) struct Pair {
    pub data: File,
    pub meta: File,
}

/// Which entry's files: never reused, so the files of a removed entry are never taken for those of its successor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Handle(u64);

/// The open files, opened when first used and closed when others are used more.
pub(crate) struct Files {
    open: Cache<Handle, Arc<Pair>>,
    next: AtomicU64,
}

impl Files {
    pub fn new() -> Self {
        Self { open: Cache::new(OPEN_ENTRIES), next: AtomicU64::new(0) }
    }

    pub fn handle(&self) -> Handle {
        Handle(self.next.fetch_add(1, Relaxed))
    }

    /// The files if they are open. Never touches the disk.
    pub fn get(&self, handle: Handle) -> Option<Arc<Pair>> {
        self.open.get(&handle)
    }

    pub fn open(&self, handle: Handle, data: &Path, meta: &Path) -> io::Result<Arc<Pair>> {
        if let Some(pair) = self.get(handle) {
            return Ok(pair);
        }
        // Without O_CREAT: a file that is gone stays gone.
        let both = |path| OpenOptions::new().read(true).write(true).open(path);
        let pair = Arc::new(Pair { data: both(data)?, meta: both(meta)? });
        self.open.insert(handle, pair.clone());
        Ok(pair)
    }

    /// Closes the files, once the last that reads from them is done.
    pub fn close(&self, handle: Handle) {
        self.open.remove(&handle);
    }
}

/// The bytes of `range`, fewer where the file ends before. The buffer is not zeroed first: at 2.6 GB/s for fresh pages
/// that would cost as much as the read.
pub(crate) fn read_range(file: &File, range: ByteRange) -> io::Result<Vec<u8>> {
    let len = usize::try_from(range.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = range.start + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    bytes.truncate(len);
    Ok(bytes)
}

/// Gives the blocks of `range` back to the disk. Best effort: where the file system cannot, they are overwritten later.
pub(crate) fn punch(file: &File, range: ByteRange) {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(error) = rustix::fs::fallocate(file, flags, range.start, range.len()) {
        tracing::debug!(%range, %error, "could not punch a hole");
    }
}
