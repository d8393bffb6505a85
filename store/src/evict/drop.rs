//! How a chunk goes, without a wrong byte for anybody: it is forgotten first, and only then is looked whether somebody uses its bytes
//! where they lie. Who begins to use them counts himself first, and looks afterwards whether the chunk is still there. So one of the two
//! sees the other. Who copies bytes needs no count: he asks afterwards whether the chunk is [still](crate::table::Table::still) the same.
//!
//! Nothing here waits for a lock: who makes room holds some himself.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use herring_blob::ByteRange;

use crate::claims::Claim;
use crate::custody::DESCRIPTION;
use crate::files::punch;
use crate::space::Class;
use crate::table::State;
use crate::weight::BLOCK;
use crate::{Entry, metrics as names};

impl Entry {
    /// Some of the chunk was read. One who reads all of it in whatever pieces reads its first byte once: that counts as one hit.
    pub(crate) fn hit(&self, n: u32, part: &Range<u32>) {
        if part.start == 0 {
            self.0.heat.note(n);
        }
    }

    /// Whether chunk `n` is only cached; or for the description, whether nothing but it is here, and it is not kept.
    pub(super) fn may_go(&self, n: u32) -> bool {
        self.is_alive()
            && match n {
                DESCRIPTION => self.present_count() == 0 && !self.is_kept(),
                n => self.0.table.look(n).state == State::Cached,
            }
    }

    /// Whether none of it may go, though some is only cached: others read the file as it is, and it cannot go whole.
    pub(super) fn is_bound(&self) -> bool {
        self.is_linked() && self.is_held()
    }

    fn is_held(&self) -> bool {
        self.is_kept() || self.has_durable()
    }

    /// Its turn has come. False where it cannot go now.
    pub(super) fn go(&self, n: u32) -> bool {
        if !self.is_kept() && (n == DESCRIPTION || self.present_count() <= 1 || self.is_linked()) {
            return self.0.disk.store().is_some_and(|store| store.evict(self));
        }
        let gone = self.evict(n).is_some();
        self.enter_if_empty();
        gone
    }

    /// Nothing but its description is left: that goes next, if it is not kept.
    pub(crate) fn enter_if_empty(&self) {
        if self.may_go(DESCRIPTION) {
            self.0.disk.evictor.enter(self, DESCRIPTION);
        }
    }

    /// Removes an entry that has one chunk at most, or is read as it is, all of it only cached. Who reads from it may finish. False where
    /// it is not so, or somebody writes to it.
    pub(crate) fn evict_whole(&self) -> io::Result<bool> {
        let (chunks, bytes) = (self.present_count(), self.weights().0);
        let small = |entry: &Self| !entry.is_held() && (entry.present_count() <= 1 || entry.is_linked());
        let gone = self.try_bury(small)?;
        if gone {
            count(chunks, bytes);
        }
        Ok(gone)
    }

    /// Drops cached chunk `n` and punches its hole: how many bytes that freed on disk. `None`: durable, in use (mapped for a reader or a
    /// peer, being written), natively linked, absent. BLOCKS.
    pub(crate) fn evict(&self, n: u32) -> Option<u64> {
        let life = self.try_live()?;
        let _claim = self.0.writing.try_take(n)?;
        let files = self.open_files(&life).ok()?;
        let seen = self.0.table.drop_cached(n)?;
        let absent = [State::Absent.byte()];
        if self.0.uses.any(n) || self.may_be_linked() || files.meta.write_all_at(&absent, self.0.tables.state(n)).is_err() {
            self.0.table.restore(n, seen);
            return None;
        }
        self.free_blocks(&files.data, n);
        self.0.disk.space.release(self.weight(n), Class::Cached, 1);
        count(1, self.weight(n));
        Some(self.weight(n))
    }

    /// Gives the blocks of chunk `n` back, which is absent and claimed. A block that it shares with a neighbour goes with the last of the
    /// two; the last one of the file is its own.
    pub(crate) fn free_blocks(&self, data: &File, n: u32) {
        let ByteRange { mut start, mut end } = self.0.geometry.chunk_range(n);
        let below = n.checked_sub(1).filter(|_| !start.is_multiple_of(BLOCK)).and_then(|n| self.claim_absent(n));
        let is_last = n + 1 == self.0.geometry.chunk_count();
        let above = (!is_last && !end.is_multiple_of(BLOCK)).then(|| self.claim_absent(n + 1)).flatten();
        if below.is_some() {
            start -= start % BLOCK;
        }
        if is_last || above.is_some() {
            end = end.next_multiple_of(BLOCK);
        }
        self.own_write(data, || punch(data, ByteRange::new(start, end)));
    }

    /// The claim on a chunk, if nobody has it and the chunk is absent. `None` where chunks are smaller than a block, which may be shared
    /// by more than two.
    fn claim_absent(&self, n: u32) -> Option<Claim<'_, u32>> {
        let claim = self.0.writing.try_take(n)?;
        (u64::from(self.0.geometry.chunk_size()) >= BLOCK && !self.0.table.has(n)).then_some(claim)
    }
}

fn count(chunks: u32, bytes: u64) {
    metrics::counter!(names::EVICTED_CHUNKS).increment(chunks.into());
    metrics::counter!(names::EVICTED_BYTES).increment(bytes);
}
