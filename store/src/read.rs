use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use herring_blob::ByteRange;
use rustix::io::ReadWriteFlags;

use crate::entry::Life;
use crate::files::{punch, read_range};
use crate::table::State;
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

impl Entry {
    /// The bytes of `range`, cut to the size, if that needs no waiting: its chunks are here and verified, the file is open
    /// and the bytes are in the page cache. `None` otherwise, and on file systems that cannot tell. Fit for async threads.
    pub fn read_now(&self, range: ByteRange) -> Option<Bytes> {
        let range = range.clamp_to(self.0.geometry.size());
        if range.is_empty() {
            return Some(Bytes::new());
        }
        if !self.is_alive() || !self.is_verified(range) {
            return None;
        }
        let files = self.files_if_open()?;
        let mut bytes = vec![0; usize::try_from(range.len()).ok()?];
        let read = rustix::io::preadv2(&files.data, &mut [IoSliceMut::new(&mut bytes)], range.start, ReadWriteFlags::NOWAIT);
        (read == Ok(bytes.len())).then(|| handed_out(bytes.into()))
    }

    /// The bytes of `range`, cut to the size. All its chunks must be here. Chunks that were not yet read since the store was
    /// opened are read whole and verified. The caller bounds the range: it is held in memory.
    pub async fn read(&self, range: ByteRange) -> Result<Bytes, ReadError> {
        let entry = self.clone();
        blocking(move || entry.read_blocking(range)).await
    }

    pub(crate) fn read_blocking(&self, range: ByteRange) -> Result<Bytes, ReadError> {
        let range = range.clamp_to(self.0.geometry.size());
        let chunks = self.0.geometry.chunks_in(range);
        if let Some(chunk) = chunks.clone().find(|&n| !self.has(n)) {
            return Err(ReadError::Missing { chunk });
        }
        let life = self.live().ok_or(ReadError::Missing { chunk: chunks.start })?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let files = self.open_files(&life)?;
        drop(life);
        if self.is_verified(range) {
            return Ok(handed_out(read_whole(&files.data, range)?));
        }
        self.read_verifying(&files.data, range, chunks).map(handed_out)
    }

    fn is_verified(&self, range: ByteRange) -> bool {
        self.0.geometry.chunks_in(range).all(|n| self.0.table.is_verified(n))
    }

    /// Reads the chunks around `range` whole, in one go, and checks those that were not checked yet.
    fn read_verifying(&self, data: &File, range: ByteRange, chunks: std::ops::Range<u32>) -> Result<Bytes, ReadError> {
        let geometry = self.0.geometry;
        let wide = ByteRange::new(geometry.chunk_range(chunks.start).start, geometry.chunk_range(chunks.end - 1).end);
        let bytes = Bytes::from(read_range(data, wide)?);
        for n in chunks {
            let part = within(&bytes, wide, geometry.chunk_range(n));
            if !self.0.table.is_verified(n) && !self.check(n, part) {
                return Err(ReadError::Missing { chunk: n });
            }
        }
        let part = within(&bytes, wide, range);
        if part.len() as u64 != range.len() {
            return Err(cut_short().into());
        }
        // A small read must not keep whole chunks in memory for as long as somebody holds it.
        Ok(if part.len() < bytes.len() / 2 { Bytes::copy_from_slice(part) } else { bytes.slice_ref(part) })
    }

    /// Whether `bytes`, as found on disk, are chunk `n`. If not, the chunk is dropped.
    fn check(&self, n: u32, bytes: &[u8]) -> bool {
        if self.digest(n).is_some_and(|digest| digest.matches(bytes)) {
            self.0.table.set_verified(n);
            return true;
        }
        self.drop_rotten(n);
        false
    }

    /// With the claim, so that nobody writes the chunk anew between the two places where it is forgotten.
    fn drop_rotten(&self, n: u32) {
        let Some(life) = self.live() else { return };
        let _claim = self.0.writing.wait(n);
        if !self.0.table.drop_unverified(n) {
            return;
        }
        let range = self.0.geometry.chunk_range(n);
        metrics::counter!(names::ROTTEN_CHUNKS).increment(1);
        tracing::warn!(id = %self.0.id, chunk = n, "a chunk on disk is not what it should be; dropped, to be fetched again");
        if let Err(error) = self.forget(&life, n) {
            // It will be found rotten again after the next start.
            tracing::warn!(id = %self.0.id, chunk = n, %error, "could not record that a chunk is gone");
        }
        self.0.disk.space.release(range.len(), 1);
    }

    fn forget(&self, life: &Life<'_>, n: u32) -> io::Result<()> {
        let files = self.open_files(life)?;
        files.meta.write_all_at(&[State::Absent.byte()], self.0.tables.state(n))?;
        punch(&files.data, self.0.geometry.chunk_range(n));
        Ok(())
    }
}

fn handed_out(bytes: Bytes) -> Bytes {
    metrics::counter!(names::READ_BYTES).increment(bytes.len() as u64);
    bytes
}

fn read_whole(data: &File, range: ByteRange) -> io::Result<Bytes> {
    let bytes = read_range(data, range)?;
    if bytes.len() as u64 == range.len() { Ok(bytes.into()) } else { Err(cut_short()) }
}

/// A verified chunk ends early only where somebody else has cut the file.
fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a file of the store is shorter than it was")
}

/// The bytes of `range` in a buffer that begins at `wide.start`; fewer, where the buffer ends early.
fn within(bytes: &Bytes, wide: ByteRange, range: ByteRange) -> &[u8] {
    let at = |offset: u64| usize::try_from(offset - wide.start).map_or(bytes.len(), |at| at.min(bytes.len()));
    &bytes[at(range.start)..at(range.end)]
}
