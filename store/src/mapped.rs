//! Bytes that are handed out where they lie, in the page cache.

use std::collections::{HashMap, hash_map};
use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use herring_blob::ByteRange;
use memmap2::{Advice, Mmap, MmapOptions};

use crate::Entry;
use crate::files::fill_now;

/// Fewer bytes are copied sooner than mapped: a mapping costs two system calls, and its end an interrupt at each core.
const LEAST: u64 = 1 << 20;
/// In each so many bytes one is looked for in the page cache, which reads, and drops, large parts of a file together.
const STRIDE: usize = 256 << 10;

/// For each chunk that somebody has mapped, how many have.
#[derive(Default)]
pub(crate) struct Uses(Mutex<HashMap<u32, usize>>);

/// One of them, until dropped.
struct Use {
    entry: Entry,
    n: u32,
}

impl Uses {
    /// Whether anybody uses the chunk where it lies.
    pub fn any(&self, n: u32) -> bool {
        self.counts().contains_key(&n)
    }

    fn enter(entry: &Entry, n: u32) -> Use {
        *entry.0.uses.counts().entry(n).or_default() += 1;
        Use { entry: entry.clone(), n }
    }

    /// Whoever panics leaves the map whole.
    fn counts(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut counts = self.entry.0.uses.counts();
        if let hash_map::Entry::Occupied(mut count) = counts.entry(self.n) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// In this order: unmapped first.
struct Mapped {
    map: Mmap,
    _use: Use,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Entry {
    /// The bytes of chunk `n`, not copied, where [`map`] can. The caller looks afterwards whether the chunk is still there; from then on it
    /// is not punched until the last of these bytes is dropped.
    pub(crate) fn map_now(&self, n: u32, data: &File) -> Option<Bytes> {
        let range = self.0.geometry.chunk_range(n);
        if range.len() < LEAST {
            return None;
        }
        let _use = Uses::enter(self, n);
        Some(Bytes::from_owner(Mapped { map: map(data, range)?, _use }))
    }
}

/// The bytes of `range`, not copied, if they are many and in the page cache: serving a chunk so takes 0.57 CPU-s/GB of client and server,
/// and 0.74 with a copy (docs/adr/0019-transport.md). `None` otherwise, and where the kernel cannot do it.
///
/// Nobody may change them while the mapping lives: for chunks that were verified, which nobody writes to, and that are counted as used, so
/// that nobody punches them. They stay as they were for who has mapped them when the file is removed.
fn map(data: &File, range: ByteRange) -> Option<Mmap> {
    if range.len() < LEAST || !is_cached(data, range) {
        return None;
    }
    let len = usize::try_from(range.len()).ok()?;
    #[expect(
        unsafe_code,
        reason = "it saves a quarter of the processor of serving; why the bytes stay as they are is said above"
    )]
    let map = unsafe { MmapOptions::new().offset(range.start).len(len).map(data) }.ok()?;
    // A disk that fails is told here, and not by a signal when somebody looks; and 1,024 page faults are one call.
    map.advise(Advice::PopulateRead).ok()?;
    Some(map)
}

/// As well as a few looks can tell: what is not costs a wait for the disk. False where the file ends before the range does.
fn is_cached(data: &File, range: ByteRange) -> bool {
    let mut looks = (range.start..range.end).step_by(STRIDE).chain([range.end - 1]);
    looks.all(|at| fill_now(data, &mut [0], at))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_range_is_mapped_wherever_it_begins() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..3_000_001u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        file.write_all_at(&bytes, 0).unwrap();
        for (start, len) in [(0, LEAST), (1, LEAST), (4097, 2_000_000), (1_500_000, LEAST)] {
            let range = ByteRange::at(start, len);
            let [from, to] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
            // Not on every file system can it be told what is in the page cache.
            if let Some(mapped) = map(&file, range) {
                assert!(mapped[..] == bytes[from..to], "{range}");
            }
        }
        assert!(map(&file, ByteRange::at(0, LEAST - 1)).is_none(), "too little");
        assert!(map(&file, ByteRange::at(2_500_000, LEAST)).is_none(), "past the end");
    }
}
