//! Whether somebody else wrote to a data file while it is open here.
//!
//! What was verified is believed as long as the file's time of change (ctime, which nobody can set) is the one that this process's own
//! last write left. Each reader of verified pieces looks at it after it has read: one `fstat`, 0.2 µs. Where it is another, all pieces
//! of the entry are verified anew as they are read.
//!
//! Since Linux 6.13 a time that somebody has looked at is never given to a later change, on ext4, XFS, Btrfs and tmpfs. Before, times move
//! in steps of 1 to 10 ms: a foreign write in the same step as our last own one is not noticed. Never noticed are: the first foreign write,
//! if one of our own to the same file is under way then (after one that was noticed, all is verified anew after each own write), later stores through a mapping that is already writable, and what happens below
//! the file system. A scrub finds those.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::files::Pair;
use crate::table::Seen;
use crate::{Entry, metrics as names};

/// Nobody has looked at the file yet; nothing of it is verified.
const UNSEEN: u64 = 0;
/// Somebody else wrote to it, or it cannot be told.
const DOUBTED: u64 = 1;
/// This process is writing to it: its time is anybody's guess, and what was verified before is believed.
const WRITING: u64 = u64::MAX;

/// What a file's time of change is as long as only this process writes to it. 24 bytes.
pub(crate) struct Witness {
    /// In ns since 1970, or one of the above.
    time: AtomicU64,
    /// Somebody else has written to the file before: he may do so again, while we do.
    suspect: AtomicBool,
    /// Held by whoever changes the time, and over a whole write: the kernel lets only one at a time write to a file anyway.
    turn: Mutex<()>,
}

impl Witness {
    pub const fn new() -> Self {
        Self { time: AtomicU64::new(UNSEEN), suspect: AtomicBool::new(false), turn: Mutex::new(()) }
    }

    /// Goes on where `other` is, which was the same file's.
    pub fn follow(&self, other: &Self) {
        self.time.store(other.time.load(Acquire), Release);
    }

    /// Whether nobody else wrote to the file since the witness was taken: asked after reading. Never waits.
    pub fn vouches(&self, data: &File) -> bool {
        loop {
            let time = self.time.load(Acquire);
            match time {
                UNSEEN | DOUBTED => return false,
                WRITING => return true,
                _ if changed(data).is_ok_and(|now| now == time) => return true,
                // Else a write of our own came between the two looks.
                _ if self.time.load(Acquire) == time => return false,
                _ => {}
            }
        }
    }

    /// Makes what will be verified from now on count. Calls `doubt`, which must take back what was verified before, where somebody else
    /// wrote; then gives the file its `size` back. BLOCKS on own writes, if there is doubt.
    pub fn settle(&self, data: &File, size: u64, doubt: impl FnOnce()) -> io::Result<()> {
        if self.vouches(data) {
            return Ok(());
        }
        let _turn = self.turn();
        if self.check(data, doubt) == DOUBTED {
            // Waits for whoever is writing: the kernel notes the time first, and copies the bytes then.
            data.set_len(size)?;
        }
        self.time.store(changed(data)?, Release);
        Ok(())
    }

    /// Runs `write`, which may change the file. Calls `doubt` as [`settle`](Self::settle) does: an own write must not hide a foreign one.
    pub fn own<T>(&self, data: &File, doubt: impl FnOnce(), write: impl FnOnce() -> T) -> T {
        let _turn = self.turn();
        self.check(data, doubt);
        self.time.store(WRITING, Release);
        let _taken = Retake { witness: self, data };
        write()
    }

    /// What the witness is. DOUBTED, with `doubt` called, if it is not true. The caller has the turn.
    fn check(&self, data: &File, doubt: impl FnOnce()) -> u64 {
        let time = self.time.load(Acquire);
        if time == UNSEEN || time != DOUBTED && changed(data).is_ok_and(|now| now == time) {
            return time;
        }
        self.time.store(DOUBTED, Release);
        self.suspect.store(true, Release);
        doubt();
        DOUBTED
    }

    /// For tests: while it is held, this process does not write to the file.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        // It guards no data that a panic could leave half changed.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the witness when a write ends, also by a panic.
struct Retake<'a> {
    witness: &'a Witness,
    data: &'a File,
}

impl Drop for Retake<'_> {
    fn drop(&mut self) {
        self.witness.time.store(changed(self.data).unwrap_or(DOUBTED), Release);
    }
}

/// When the file was changed last, in ns since 1970.
fn changed(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstat(file)?;
    let nanos = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    Ok(u64::try_from(nanos).unwrap_or_default().clamp(DOUBTED + 1, WRITING - 1))
}

impl Entry {
    /// Whether bytes of verified pieces, read after their chunk was `seen`, are right. Never waits.
    pub(crate) fn is_right(&self, data: &File, n: u32, seen: Seen) -> bool {
        // In this order: who finds a foreign write first takes back what was verified, and then vouches for what is verified anew.
        self.0.witness.vouches(data) && self.0.table.still(n, seen)
    }

    /// Before a look at what is verified, by who may wait.
    pub(crate) fn settle(&self, files: &Pair) -> io::Result<()> {
        self.0.witness.settle(&files.data, self.0.geometry.size(), || self.doubt())?;
        self.check_names(files)
    }

    /// Everything that changes the data file, its names or its holes goes through here: what does not is taken for somebody else's.
    pub(crate) fn own_write<T>(&self, data: &File, write: impl FnOnce() -> T) -> T {
        let written = self.0.witness.own(data, || self.doubt(), write);
        if self.0.witness.suspect.load(Acquire) {
            // What was changed under cover of this write is found when it is read.
            self.0.table.doubt();
        }
        written
    }

    fn doubt(&self) {
        metrics::counter!(names::FOREIGN_WRITES).increment(1);
        tracing::warn!(id = %self.0.id, "somebody else wrote to a file of the store; all of it is verified anew");
        self.0.table.doubt();
    }
}
