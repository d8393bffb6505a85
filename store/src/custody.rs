//! What is kept. A durable chunk, and a description that is kept, stay until somebody releases them; what is only cached may be
//! evicted at any time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{Ordering::Acquire, Ordering::Release};

use crate::claims::Claim;
use crate::entry::Life;
use crate::space::Class;
use crate::table::{Mask, State};
use crate::verify::Cache;
use crate::{Entry, ReadError, WriteError, blocking::blocking};

/// The most replicas that a blob may be said to have.
pub const MAX_REPLICAS: u8 = 200;
/// Claimed by who changes whether the description is kept; no chunk has this number, see [`MAX_CHUNKS`](crate::store::MAX_CHUNKS).
pub(crate) const DESCRIPTION: u32 = u32::MAX;
/// From here on the byte on disk is a number of replicas.
const REPLICAS: u8 = 0x10;

/// Whether an entry's description is kept, and for how many replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    No,
    /// With as many as the swarm has of everything.
    Yes,
    Replicas(u8),
}

impl Kept {
    /// A byte that no version of this program wrote is rot: nothing is kept.
    pub fn from_byte(byte: u8) -> Self {
        match byte.checked_sub(REPLICAS) {
            None if byte == State::Durable.byte() => Self::Yes,
            Some(replicas @ 1..=MAX_REPLICAS) => Self::Replicas(replicas),
            _ => Self::No,
        }
    }

    pub fn byte(self) -> u8 {
        match self {
            Self::No => State::Absent.byte(),
            Self::Yes => State::Durable.byte(),
            Self::Replicas(replicas) => REPLICAS + replicas,
        }
    }

    /// What it is once somebody keeps it who asks for so many, or does not say. Of two numbers the higher counts.
    pub fn with(self, replicas: Option<u8>) -> Self {
        match (self, replicas) {
            (Self::Replicas(now), Some(replicas)) if replicas < now => Self::Replicas(now),
            (_, Some(replicas)) => Self::Replicas(replicas.clamp(1, MAX_REPLICAS)),
            (Self::No, None) => Self::Yes,
            (now, None) => now,
        }
    }
}

impl Entry {
    /// Whether the description itself is kept: a blob that somebody put, even where none of its chunks is here.
    /// What is not kept is a cache and may be removed at any time.
    pub fn is_kept(&self) -> bool {
        self.kept() != Kept::No
    }

    /// How many replicas the blob has, 1 to [`MAX_REPLICAS`], where its put said so.
    pub fn replicas(&self) -> Option<u8> {
        match self.kept() {
            Kept::Replicas(replicas) => Some(replicas),
            Kept::No | Kept::Yes => None,
        }
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept::from_byte(self.0.kept.load(Acquire))
    }

    /// Makes those of `chunks` that are here durable, and the description with them, so that no chunks keep it alone. They are read
    /// where nobody has verified them yet, and when this returns they survive a power loss. Answers which of them are durable now, in
    /// order: never fails for absent ones. `replicas` as in [`Upload::commit`](crate::Upload::commit).
    ///
    /// [`Gone`](WriteError::Gone) where the entry was removed, [`Full`](WriteError::Full) where too much is durable already,
    /// [`Io`](WriteError::Io) where the disk fails.
    pub async fn keep(&self, chunks: Vec<u32>, replicas: Option<u8>) -> Result<Vec<u32>, WriteError> {
        let entry = self.clone();
        blocking(move || entry.unless_lost_in_writing(entry.keep_blocking(chunks, replicas))).await
    }

    fn keep_blocking(&self, mut chunks: Vec<u32>, replicas: Option<u8>) -> Result<Vec<u32>, WriteError> {
        chunks.sort_unstable();
        chunks.dedup();
        let mut right = Vec::new();
        for n in chunks {
            if self.has_right(n)? {
                right.push(n);
            }
        }
        let life = self.live().ok_or(WriteError::Gone)?;
        let held = self.hold(&right);
        self.make_durable(&life, &held, replicas)?;
        Ok(held.iter().map(Claim::key).collect())
    }

    /// Whether chunk `n` is here and right. A recorded one that nobody has read yet is believed only once it was; a rotten one is
    /// dropped by that.
    pub(crate) fn has_right(&self, n: u32) -> io::Result<bool> {
        match self.verify(n, Cache::Keep) {
            Ok(()) => Ok(true),
            Err(ReadError::Missing { .. }) => Ok(false),
            Err(ReadError::Io(error)) => Err(error),
        }
    }

    /// Claims on those of `chunks`, which are in order, that are here and verified: nobody drops them meanwhile.
    pub(crate) fn hold(&self, chunks: &[u32]) -> Vec<Claim<'_, u32>> {
        let claims = chunks.iter().map(|&n| self.0.writing.wait(n));
        claims.filter(|claim| self.0.table.look(claim.key()).is_verified(Mask::ALL)).collect()
    }

    /// Makes the chunks that are held, and the description, durable: bytes, meta, names, each before the next says so.
    pub(crate) fn make_durable(&self, life: &Life<'_>, held: &[Claim<'_, u32>], replicas: Option<u8>) -> Result<(), WriteError> {
        let _turn = self.0.writing.wait(DESCRIPTION);
        let chunks: Vec<u32> = held.iter().map(Claim::key).filter(|&n| !self.is_durable(n)).collect();
        let kept = self.kept().with(replicas);
        if chunks.is_empty() && kept == self.kept() {
            // Who made it so may have failed at this last step.
            return Ok(self.0.disk.layout.sync_shelf(&self.0.id)?);
        }
        let (space, bytes) = (&self.0.disk.space, chunks.iter().map(|&n| self.weight(n)).sum());
        if !space.hold(bytes) {
            return Err(WriteError::Full { needed: bytes, free: space.free_for(Class::Durable) });
        }
        self.write_durable(life, &chunks, kept).inspect_err(|_| space.shift(bytes, Class::Cached))?;
        chunks.iter().for_each(|&n| self.0.table.set_durable(n));
        self.0.kept.store(kept.byte(), Release);
        self.set_meta_class(Class::Durable);
        self.0.disk.evictor.recall_of(self);
        self.0.disk.changed();
        Ok(())
    }

    fn write_durable(&self, life: &Life<'_>, chunks: &[u32], kept: Kept) -> io::Result<()> {
        let files = self.open_files(life)?;
        self.check_names(&files)?;
        self.sync(&files.data)?;
        for &n in chunks {
            files.meta.write_all_at(&[State::Durable.byte()], self.0.tables.state(n))?;
        }
        files.meta.write_all_at(&[kept.byte()], self.0.tables.kept())?;
        self.sync(&files.meta)?;
        // An entry that was cached may have names that are not on the disk yet.
        self.0.disk.layout.sync_shelf(&self.0.id)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.0.sync_failed.load(Acquire) {
            return Err(io::Error::other(format!("an fsync of {} failed before; restart, or remove it", self.0.id)));
        }
        file.sync_all().inspect_err(|_| self.0.sync_failed.store(true, Release))
    }

    /// Makes durable chunks cached: they stay, and may be evicted.
    pub async fn release(&self, chunks: Vec<u32>) -> Result<(), WriteError> {
        let entry = self.clone();
        blocking(move || entry.unless_lost_in_writing(entry.release_blocking(&chunks))).await
    }

    fn release_blocking(&self, chunks: &[u32]) -> Result<(), WriteError> {
        let life = self.live().ok_or(WriteError::Gone)?;
        let (files, mut released) = (self.open_files(&life)?, Vec::new());
        for &n in chunks {
            let _claim = self.0.writing.wait(n);
            if self.0.table.look(n).state == State::Durable {
                files.meta.write_all_at(&[State::Cached.byte()], self.0.tables.state(n))?;
                self.0.table.set_cached(n);
                self.0.disk.space.shift(self.weight(n), Class::Cached);
                released.push(n);
            }
        }
        // Before any of them can go: after a power loss a hole must not be taken for something durable.
        let flushed = self.sync(&files.meta);
        released.into_iter().for_each(|n| self.0.disk.evictor.enter(self, n));
        self.0.disk.evictor.recall_of(self);
        self.0.disk.changed();
        Ok(flushed?)
    }

    /// Keeps the description no more, unless a chunk is durable. Its chunks stay until they are evicted; with none left, the entry goes now.
    pub async fn release_description(&self) -> Result<(), WriteError> {
        let entry = self.clone();
        blocking(move || entry.unless_lost_in_writing(entry.release_description_blocking())).await
    }

    fn release_description_blocking(&self) -> Result<(), WriteError> {
        {
            let life = self.live().ok_or(WriteError::Gone)?;
            let _turn = self.0.writing.wait(DESCRIPTION);
            if self.has_durable() {
                return Ok(());
            }
            self.open_files(&life)?.meta.write_all_at(&[Kept::No.byte()], self.0.tables.kept())?;
            self.0.kept.store(Kept::No.byte(), Release);
            self.set_meta_class(Class::Cached);
        }
        self.0.disk.evictor.recall_of(self);
        self.0.disk.changed();
        self.0.disk.store().map_or(Ok(()), |store| store.remove_if_empty(self))
    }
}
