use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use herring_blob::{ByteRange, Chunk};

use crate::buffers::SIZE as BUFFER;
use crate::files::{Pair, append_range, fill_now, read_range, release};
use crate::lost::is_broken;
use crate::table::{Mask, Seen};
use crate::verify::Cache;
use crate::{Entry, blocking::blocking, metrics as names};

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not here, or not any more: it was rotten, or the entry was removed. Get it elsewhere.
    #[error("chunk {chunk} is not on this disk")]
    Missing { chunk: u32 },
    #[error("reading from this disk failed: {0}; the same bytes may be had from a peer")]
    Io(#[from] io::Error),
}

/// What needs no waiting: fit for async threads.
impl Entry {
    /// The bytes of `range`, cut to the size, if that needs no waiting: its pieces are here and verified, the file is open
    /// and the bytes are in the page cache. `None` otherwise, and on file systems that cannot tell.
    pub fn read_now(&self, range: ByteRange) -> Option<Bytes> {
        let range = range.clamp_to(self.0.geometry.size());
        let verified = |n| self.0.table.look(n).is_verified(self.mask(n, self.0.geometry.within(n, range)));
        if !self.0.geometry.chunks_in(range).all(verified) {
            return None;
        }
        let mut buffer = self.0.disk.buffers.take(usize::try_from(range.len()).ok()?);
        self.fill_parts_now(range.start, buffer.bytes_mut(), fill_now).then(|| buffer.freeze())
    }

    /// Fills `buffer` with the bytes from `offset` on, as [`read_now`](Self::read_now) does, without allocating. False where that
    /// would have to wait, or the buffer reaches past the end; the buffer then holds anything, and the kernel has begun to read
    /// for the [`read_into`](Self::read_into) that should follow.
    pub fn read_into_now(&self, offset: u64, buffer: &mut [u8]) -> bool {
        self.fill_parts_now(offset, buffer, |file, out, at| self.0.disk.files.fill_now_sparing(file, out, at))
    }

    fn fill_parts_now(&self, offset: u64, buffer: &mut [u8], fill: impl Fn(&File, &mut [u8], u64) -> bool) -> bool {
        let len = buffer.len();
        if len == 0 || !self.is_alive() || !self.reaches(offset, len) {
            return len == 0;
        }
        let Some(files) = self.files_if_open() else { return false };
        let read = self.each_part(offset, buffer, |n, part, out| {
            let seen = self.0.table.look(n);
            let at = self.place_of(n, &part);
            let right =
                seen.is_verified(self.mask(n, part.clone())) && fill(&files.data, out, at) && self.is_right(&files.data, n, seen);
            right.then(|| self.hit(n, &part));
            right.then_some(()).ok_or(())
        });
        read.inspect(|()| count(len)).is_ok()
    }

    /// Chunk `n`, if it is here, verified and in the page cache with its digests.
    pub fn chunk_now(&self, n: u32) -> Option<Chunk> {
        let seen = self.0.table.look(n);
        if !self.is_alive() || !seen.is_verified(Mask::ALL) {
            return None;
        }
        let files = self.files_if_open()?;
        let digests = self.digests_with(n, |bytes, at| fill_now(&files.meta, bytes, at))?;
        let range = self.0.geometry.chunk_range(n);
        let mapped = self.map_now(n, &files.data).map(|bytes| vec![handed_out(bytes)]);
        let segments = mapped.or_else(|| self.segments_now(&files.data, range))?;
        self.hit(n, &(0..1));
        self.is_right(&files.data, n, seen).then(|| Chunk::known(digests, segments))
    }

    fn segments_now(&self, data: &File, range: ByteRange) -> Option<Vec<Bytes>> {
        let segment = |at: u64| {
            let len = range.intersect(ByteRange::at(at, BUFFER as u64)).len();
            let mut buffer = self.0.disk.buffers.take(usize::try_from(len).ok()?);
            fill_now(data, buffer.bytes_mut(), at).then(|| handed_out(buffer.freeze()))
        };
        (range.start..range.end).step_by(BUFFER).map(segment).collect()
    }
}

/// What waits for the disk.
impl Entry {
    /// The bytes of `range`, cut to the size. All its chunks must be here. Pieces that were not yet read since the store was
    /// opened are verified. The caller bounds the range: it is held in memory.
    pub async fn read(&self, range: ByteRange) -> Result<Bytes, ReadError> {
        let entry = self.clone();
        blocking(move || entry.unless_lost(0, entry.read_blocking(range))).await
    }

    fn read_blocking(&self, range: ByteRange) -> Result<Bytes, ReadError> {
        let range = range.clamp_to(self.0.geometry.size());
        let files = self.files_of(range)?;
        let mut bytes = Vec::with_capacity(usize::try_from(range.len()).map_err(io::Error::other)?);
        for n in self.0.geometry.chunks_in(range) {
            self.append_part(&files, n, self.0.geometry.within(n, range), &mut bytes)?;
        }
        Ok(handed_out(bytes.into()))
    }

    fn append_part(&self, files: &Pair, n: u32, part: Range<u32>, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
        self.hit(n, &part);
        let (start, end) = (bytes.len(), bytes.len() + part.len());
        let seen = self.seen(n)?;
        if seen.is_verified(self.mask(n, part.clone())) {
            let read = append_range(&files.data, ByteRange::at(self.place_of(n, &part), part.len() as u64), bytes);
            read.or_else(or_anew)?;
            if bytes.len() == end && self.is_right(&files.data, n, seen) {
                return Ok(());
            }
        }
        bytes.resize(end, 0);
        self.read_verifying(files, n, part, &mut bytes[start..], Cache::Keep)
    }

    /// Fills `buffer` with the bytes from `offset` on, which must all be here, and leaves none of them in the page cache: for who
    /// caches them elsewhere. BLOCKS on the disk. Allocates nothing where the pieces are verified, or the buffer holds whole pieces.
    pub fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        if !self.reaches(offset, buffer.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "asked for bytes past the end").into());
        }
        let (range, len) = (ByteRange::at(offset, buffer.len() as u64), buffer.len());
        let read = self
            .files_of(range)
            .and_then(|files| self.each_part(offset, buffer, |n, part, out| self.fill_part(&files, n, part, out)));
        self.unless_lost(0, read)?;
        count(len);
        Ok(())
    }

    fn fill_part(&self, files: &Pair, n: u32, part: Range<u32>, out: &mut [u8]) -> Result<(), ReadError> {
        let seen = self.seen(n)?;
        if seen.is_verified(self.mask(n, part.clone())) {
            match self.0.disk.files.fill_sparing(&files.data, out, self.place_of(n, &part)) {
                Ok(()) if self.is_right(&files.data, n, seen) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof && !is_broken(&error) => return Err(error.into()),
                // Somebody has changed the file, or cut it.
                _ => {}
            }
        }
        self.read_verifying(files, n, part, out, Cache::Spare)
    }

    /// Chunk `n`, whole, with its digests. One that was verified before is not hashed again.
    pub async fn read_chunk(&self, n: u32) -> Result<Chunk, ReadError> {
        let entry = self.clone();
        blocking(move || entry.unless_lost(n, entry.chunk_blocking(n))).await
    }

    fn chunk_blocking(&self, n: u32) -> Result<Chunk, ReadError> {
        let range = self.0.geometry.chunk_range(n);
        let files = self.files_of(range)?;
        self.settle(&files)?;
        let seen = self.seen(n)?;
        self.hit(n, &(0..1));
        let bytes = read_range(&files.data, range).map_err(|error| self.unread(n, seen, error))?;
        let known = seen.is_verified(Mask::ALL).then(|| self.digests(&files, n)).flatten();
        let known = known.filter(|_| bytes.len() as u64 == range.len() && self.is_right(&files.data, n, seen));
        let digests = known.map_or_else(|| self.verify_whole(&files, n, seen, &bytes), Ok)?;
        Ok(Chunk::known(digests, vec![handed_out(bytes.into())]))
    }

    /// Says that `range` of the data need not stay in the page cache: the kernel begins to write what is dirty, and drops what is
    /// clean. BLOCKS, shortly.
    pub fn release_pages(&self, range: ByteRange) {
        let range = range.clamp_to(self.0.geometry.size());
        let files = self.live().and_then(|life| self.open_files(&life).ok());
        // Without its files there is nothing to release.
        files.inspect(|files| release(&files.data, range));
    }

    /// The files, if all chunks that hold any byte of `range` are here.
    pub(crate) fn files_of(&self, range: ByteRange) -> Result<Arc<Pair>, ReadError> {
        let chunks = self.0.geometry.chunks_in(range);
        if let Some(chunk) = chunks.clone().find(|&n| !self.has(n)) {
            return Err(ReadError::Missing { chunk });
        }
        let life = self.live().ok_or(ReadError::Missing { chunk: chunks.start })?;
        Ok(self.open_files(&life)?)
    }

    pub(crate) fn seen(&self, n: u32) -> Result<Seen, ReadError> {
        let seen = self.0.table.look(n);
        if seen.is_here() { Ok(seen) } else { Err(ReadError::Missing { chunk: n }) }
    }
}

/// Where bytes lie.
impl Entry {
    /// Calls `each` for every chunk that holds some of the bytes from `offset` on: with its number, which of its bytes, and where
    /// they go.
    fn each_part<E>(
        &self,
        offset: u64,
        buffer: &mut [u8],
        mut each: impl FnMut(u32, Range<u32>, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let range = ByteRange::at(offset, buffer.len() as u64);
        let mut rest = buffer;
        for n in self.0.geometry.chunks_in(range) {
            let part = self.0.geometry.within(n, range);
            let (out, tail) = rest.split_at_mut(part.len());
            each(n, part, out)?;
            rest = tail;
        }
        Ok(())
    }

    fn reaches(&self, offset: u64, len: usize) -> bool {
        offset.checked_add(len as u64).is_some_and(|end| end <= self.0.geometry.size())
    }

    /// The pieces of chunk `n` that hold any byte of `part`.
    pub(crate) fn mask(&self, n: u32, part: Range<u32>) -> Mask {
        let pieces = self.0.geometry.pieces(n);
        Mask::of(pieces.covering(part), pieces)
    }

    /// Where `part` of chunk `n` begins in the file.
    pub(crate) fn place_of(&self, n: u32, part: &Range<u32>) -> u64 {
        self.0.geometry.chunk_range(n).start + u64::from(part.start)
    }
}

/// What the disk cannot give is read once more, by who then drops it.
fn or_anew(error: io::Error) -> io::Result<()> {
    if is_broken(&error) { Ok(()) } else { Err(error) }
}

fn handed_out(bytes: Bytes) -> Bytes {
    count(bytes.len());
    bytes
}

fn count(len: usize) {
    metrics::counter!(names::READ_BYTES).increment(len as u64);
}
