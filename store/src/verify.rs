//! What was found on disk at open is believed piece by piece, as it is read.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use herring_blob::PieceDigests;

use crate::entry::Life;
use crate::files::{Pair, fill_cached};
use crate::meta::PIECES_STRIDE;
use crate::table::{Mask, Seen, State};
use crate::{Entry, ReadError, blocking::blocking, metrics as names};

/// Whether what is read may stay in the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    Keep,
    Spare,
}

impl Entry {
    /// Verifies what is here and was not verified since the store was opened, chunk by chunk, without leaving it in the page cache.
    /// The first chunk that is rotten ends it: that one is [`Missing`](ReadError::Missing) from then on. Dropping the future ends it after a chunk.
    pub async fn verify_all(&self) -> Result<(), ReadError> {
        for n in 0..self.0.geometry.chunk_count() {
            let seen = self.0.table.look(n);
            if seen.is_here() && !seen.is_verified(Mask::ALL) {
                let entry = self.clone();
                blocking(move || entry.verify(n, Cache::Spare)).await?;
            }
        }
        Ok(())
    }

    /// Reads what is not verified yet of chunk `n`, which must be here.
    pub(crate) fn verify(&self, n: u32, cache: Cache) -> Result<(), ReadError> {
        let seen = self.seen(n)?;
        if seen.is_verified(Mask::ALL) {
            return Ok(());
        }
        let files = self.files_of(self.0.geometry.chunk_range(n))?;
        let whole = 0..self.0.geometry.pieces(n).chunk_len();
        let mut bytes = vec![0; whole.len()];
        self.read_verifying(&files, n, seen, whole, &mut bytes, cache)
    }

    /// Fills `out` with `part` of chunk `n`, after verifying the pieces that it touches; without their digests, the whole chunk.
    pub(crate) fn read_verifying(
        &self,
        files: &Pair,
        n: u32,
        seen: Seen,
        part: Range<u32>,
        out: &mut [u8],
        cache: Cache,
    ) -> Result<(), ReadError> {
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
        self.load(files, n, seen, &wide, bytes, cache)?;
        match &digests {
            Some(digests) => self.verify_pieces(n, seen, digests, wanted, bytes)?,
            None => drop(self.verify_whole(files, n, seen, bytes)?),
        }
        if wide != part {
            let start = (part.start - wide.start) as usize;
            out.copy_from_slice(&around[start..start + part.len()]);
        }
        self.confirm(n, seen)
    }

    /// Reads `part` of a chunk that may not be on the disk to its end: then it is as rotten as with wrong bytes.
    fn load(&self, files: &Pair, n: u32, seen: Seen, part: &Range<u32>, out: &mut [u8], cache: Cache) -> Result<(), ReadError> {
        let at = self.place_of(n, part);
        let read = match cache {
            Cache::Keep => fill_cached(&files.data, out, at),
            Cache::Spare => self.0.disk.files.fill_sparing(&files.data, out, at),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.drop_rotten(n, seen, self.mask(n, part.clone())))
            }
            done => Ok(done?),
        }
    }

    /// Checks those of the `wanted` pieces, which `bytes` holds, that were not verified when the chunk was `seen`.
    fn verify_pieces(
        &self,
        n: u32,
        seen: Seen,
        digests: &PieceDigests,
        wanted: Range<u32>,
        bytes: &[u8],
    ) -> Result<(), ReadError> {
        let pieces = digests.pieces();
        let start = pieces.range(wanted.start).start;
        for index in wanted.clone() {
            let (mask, range) = (Mask::of(index..index + 1, pieces), pieces.range(index));
            let piece = &bytes[(range.start - start) as usize..(range.end - start) as usize];
            if !seen.is_verified(mask) && !digests.verify(index, piece) {
                return Err(self.drop_rotten(n, seen, mask));
            }
        }
        self.0.table.set_verified(n, seen, Mask::of(wanted, pieces));
        Ok(())
    }

    /// The digests of chunk `n`, which these bytes should be, computed from them and written down where they were not.
    pub(crate) fn verify_whole(&self, files: &Pair, n: u32, seen: Seen, bytes: &[u8]) -> Result<PieceDigests, ReadError> {
        let pieces = self.0.geometry.pieces(n);
        let found = (bytes.len() == pieces.chunk_len() as usize).then(|| PieceDigests::of(pieces, bytes));
        let Some(digests) = found.filter(|found| self.digest(n) == Some(found.digest())) else {
            return Err(self.drop_rotten(n, seen, Mask::ALL));
        };
        self.0.table.set_verified(n, seen, Mask::ALL);
        if self.digests(files, n).is_none() {
            self.write_digests(files, n, &digests).unwrap_or_else(|error| {
                // They will be computed again.
                tracing::debug!(id = %self.0.id, chunk = n, %error, "could not write down a chunk's piece digests");
            });
        }
        Ok(digests)
    }

    /// With the claim, so that nobody writes the chunk anew between the two places where it is forgotten.
    fn drop_rotten(&self, n: u32, seen: Seen, wrong: Mask) -> ReadError {
        if let Some(life) = self.live() {
            let _claim = self.0.writing.wait(n);
            let was = self.0.table.look(n).state;
            if self.0.table.drop_unverified(n, seen, wrong) {
                self.forget(&life, n, was);
                self.0.disk.changed();
            }
        }
        ReadError::Missing { chunk: n }
    }

    fn forget(&self, life: &Life<'_>, n: u32, was: State) {
        metrics::counter!(names::ROTTEN_CHUNKS).increment(1);
        tracing::warn!(id = %self.0.id, chunk = n, "a chunk on disk is not what it should be; dropped, to be fetched again");
        if let Err(error) = self.erase(life, n) {
            // It will be found rotten again after the next start.
            tracing::warn!(id = %self.0.id, chunk = n, %error, "could not record that a chunk is gone");
        }
        self.0.disk.space.release(self.weight(n), was.class(), 1);
        self.enter_if_empty();
    }

    fn erase(&self, life: &Life<'_>, n: u32) -> io::Result<()> {
        let files = self.open_files(life)?;
        files.meta.write_all_at(&[State::Absent.byte()], self.0.tables.state(n))?;
        self.free_blocks(&files.data, n);
        Ok(())
    }
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
