//! What was found on disk at open is believed piece by piece, as it is read.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::Relaxed;

use herring_blob::PieceDigests;

use crate::entry::Life;
use crate::files::{Pair, fill_cached};
use crate::lost::is_broken;
use crate::meta::PIECES_STRIDE;
use crate::table::{Mask, Seen, State, Table};
use crate::{Entry, ReadError, blocking::blocking, metrics as names};

/// Whether what is read may stay in the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    Keep,
    Spare,
}

/// These pieces are not what their digests say.
pub(crate) struct Rotten(Mask);

impl Entry {
    /// Verifies what is here and was not verified since the store was opened, chunk by chunk, without leaving it in the page cache.
    /// The first chunk that is rotten ends it: that one is [`Missing`](ReadError::Missing) from then on. Dropping the future ends it after a chunk.
    pub async fn verify_all(&self) -> Result<(), ReadError> {
        for n in 0..self.0.geometry.chunk_count() {
            let seen = self.0.table.look(n);
            if seen.is_here() && !seen.is_verified(Mask::ALL) {
                let entry = self.clone();
                blocking(move || entry.unless_lost(n, entry.verify(n, Cache::Spare))).await?;
            }
        }
        Ok(())
    }

    /// Reads what is not verified yet of chunk `n`, which must be here.
    pub(crate) fn verify(&self, n: u32, cache: Cache) -> Result<(), ReadError> {
        let files = self.files_of(self.0.geometry.chunk_range(n))?;
        self.settle(&files)?;
        if self.seen(n)?.is_verified(Mask::ALL) {
            return Ok(());
        }
        let whole = 0..self.0.geometry.pieces(n).chunk_len();
        let mut bytes = vec![0; whole.len()];
        self.read_verifying(&files, n, whole, &mut bytes, cache)
    }

    /// Fills `out` with `part` of chunk `n`, after verifying the pieces that it touches, whatever was verified before.
    pub(crate) fn read_verifying(
        &self,
        files: &Pair,
        n: u32,
        part: Range<u32>,
        out: &mut [u8],
        cache: Cache,
    ) -> Result<(), ReadError> {
        self.settle(files)?;
        let seen = self.seen(n)?;
        match self.read_pieces(files, n, part, out, cache) {
            Ok(Ok(right)) => self.0.table.set_verified(n, seen, right),
            Ok(Err(Rotten(wrong))) => return Err(self.drop_rotten(n, seen, wrong)),
            Err(error) => return Err(self.unread(n, seen, error)),
        }
        Ok(())
    }

    /// Fills `out` with `part` of chunk `n`, and verifies the pieces that it touches; without their digests, the whole chunk. Which pieces
    /// are right.
    pub(crate) fn read_pieces(
        &self,
        files: &Pair,
        n: u32,
        part: Range<u32>,
        out: &mut [u8],
        cache: Cache,
    ) -> io::Result<Result<Mask, Rotten>> {
        let pieces = self.0.geometry.pieces(n);
        let digests = self.digests(files, n);
        let wanted = if digests.is_some() { pieces.covering(part.clone()) } else { 0..pieces.count() };
        let wide = pieces.range(wanted.start).start..pieces.range(wanted.end - 1).end;
        let mut around = Vec::new();
        let bytes = if wide == part {
            &mut *out
        } else {
            around.resize(wide.len(), 0);
            &mut around[..]
        };
        let found = match self.load(files, self.place_of(n, &wide), bytes, cache) {
            // It ends before: as rotten as with wrong bytes.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Rotten(Mask::of(wanted, pieces))),
            Err(error) => return Err(error),
            Ok(()) => match &digests {
                Some(digests) => verify_pieces(digests, wanted, bytes),
                None => self.make_digests(files, n, bytes).map(|_| Mask::ALL).ok_or(Rotten(Mask::ALL)),
            },
        };
        if wide != part {
            let start = (part.start - wide.start) as usize;
            out.copy_from_slice(&around[start..start + part.len()]);
        }
        Ok(found)
    }

    fn load(&self, files: &Pair, at: u64, out: &mut [u8], cache: Cache) -> io::Result<()> {
        match cache {
            Cache::Keep => fill_cached(&files.data, out, at),
            Cache::Spare => self.0.disk.files.fill_sparing(&files.data, out, at),
        }
    }

    /// The digests of chunk `n`, which these bytes should be that were read since it was `seen`.
    pub(crate) fn verify_whole(&self, files: &Pair, n: u32, seen: Seen, bytes: &[u8]) -> Result<PieceDigests, ReadError> {
        let Some(digests) = self.make_digests(files, n, bytes) else {
            return Err(self.drop_rotten(n, seen, Mask::ALL));
        };
        self.0.table.set_verified(n, seen, Mask::ALL);
        Ok(digests)
    }

    /// The digests of chunk `n`, computed from its bytes, and written down where they were not. `None` for other bytes.
    fn make_digests(&self, files: &Pair, n: u32, bytes: &[u8]) -> Option<PieceDigests> {
        let pieces = self.0.geometry.pieces(n);
        let found = (bytes.len() == pieces.chunk_len() as usize).then(|| PieceDigests::of(pieces, bytes));
        let digests = found.filter(|found| self.digest(n) == Some(found.digest()))?;
        if self.digests(files, n).is_none() {
            self.write_digests(files, n, &digests).unwrap_or_else(|error| {
                // They will be computed again.
                tracing::debug!(id = %self.0.id, chunk = n, %error, "could not write down a chunk's piece digests");
            });
        }
        Some(digests)
    }

    /// What the disk cannot give is as good as rotten, whatever was verified of it before.
    pub(crate) fn unread(&self, n: u32, seen: Seen, error: io::Error) -> ReadError {
        if is_broken(&error) && self.drop_chunk(n, |table| table.drop_verified(n, seen)) {
            tracing::error!(id = %self.0.id, chunk = n, %error, "the disk cannot read a chunk any more; check it");
            return ReadError::Missing { chunk: n };
        }
        error.into()
    }

    fn drop_rotten(&self, n: u32, seen: Seen, wrong: Mask) -> ReadError {
        self.drop_chunk(n, |table| table.drop_unverified(n, seen, wrong));
        ReadError::Missing { chunk: n }
    }

    /// Drops a rotten chunk, if `drop` does. With the claim, so that nobody writes the chunk anew between the two places where it is
    /// forgotten.
    pub(crate) fn drop_chunk(&self, n: u32, drop: impl FnOnce(&Table) -> Option<State>) -> bool {
        let Some(life) = self.live() else { return false };
        let _claim = self.0.writing.wait(n);
        let Some(was) = drop(&self.0.table) else { return false };
        self.forget(&life, n, was);
        if was == State::Durable {
            self.0.disk.changed();
        }
        true
    }

    fn forget(&self, life: &Life<'_>, n: u32, was: State) {
        metrics::counter!(names::ROTTEN_CHUNKS).increment(1);
        self.0.disk.rotten.fetch_add(1, Relaxed);
        self.0.disk.rotten_lately.insert((self.0.id, n), ());
        tracing::warn!(id = %self.0.id, chunk = n, "a chunk on disk is not what it should be; dropped, to be fetched again");
        if let Err(error) = self.erase(life, n, was) {
            // It will be found rotten again after the next start.
            tracing::warn!(id = %self.0.id, chunk = n, %error, "could not record that a chunk is gone");
        }
        self.0.disk.space.release(self.weight(n), was.class(), 1);
        self.enter_if_empty();
    }

    fn erase(&self, life: &Life<'_>, n: u32, was: State) -> io::Result<()> {
        let files = self.open_files(life)?;
        files.meta.write_all_at(&[State::Absent.byte()], self.0.tables.state(n))?;
        if was == State::Durable {
            // After a power loss the hole must not be taken for something durable.
            files.meta.sync_data()?;
        }
        self.free_blocks(&files.data, n);
        Ok(())
    }
}

/// Checks the `wanted` pieces, which `bytes` holds.
fn verify_pieces(digests: &PieceDigests, wanted: Range<u32>, bytes: &[u8]) -> Result<Mask, Rotten> {
    let pieces = digests.pieces();
    let start = pieces.range(wanted.start).start;
    for index in wanted.clone() {
        let range = pieces.range(index);
        if !digests.verify(index, &bytes[(range.start - start) as usize..(range.end - start) as usize]) {
            return Err(Rotten(Mask::of(index..index + 1, pieces)));
        }
    }
    Ok(Mask::of(wanted, pieces))
}

/// The table of piece digests in the meta.
impl Entry {
    /// As they are written down; `None` where they are not, or are not this chunk's.
    pub(crate) fn digests(&self, files: &Pair, n: u32) -> Option<PieceDigests> {
        self.digests_with(n, |bytes, at| fill_cached(&files.meta, bytes, at).is_ok())
    }

    /// The same, read in the caller's way.
    pub(crate) fn digests_with(&self, n: u32, read: impl FnOnce(&mut [u8], u64) -> bool) -> Option<PieceDigests> {
        let (pieces, digest) = (self.0.geometry.pieces(n), self.digest(n)?);
        if pieces.count() == 1 {
            return PieceDigests::decode(pieces, digest, digest.as_bytes());
        }
        let mut bytes = [0; PIECES_STRIDE];
        let bytes = &mut bytes[..PieceDigests::encoded_len(pieces)];
        read(bytes, self.0.tables.pieces(n)).then(|| PieceDigests::decode(pieces, digest, bytes)).flatten()
    }

    /// The digest of a chunk's only piece is the chunk's: that is not written twice.
    pub(crate) fn write_digests(&self, files: &Pair, n: u32, digests: &PieceDigests) -> io::Result<()> {
        if digests.pieces().count() == 1 {
            return Ok(());
        }
        files.meta.write_all_at(&digests.encode(), self.0.tables.pieces(n))
    }
}
