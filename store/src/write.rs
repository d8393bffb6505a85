use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use herring_blob::{Chunk, ChunkDigest, ContentId, Pieces};

use crate::entry::Life;
use crate::files::{Pair, write_segments};
use crate::space::Class;
use crate::table::{Seen, State};
use crate::upload::MAX_UPLOADS;
use crate::{Description, Entry, blocking::blocking};

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Its length, its pieces or its digest are not what the description says, or a chunk with another digest is here already.
    #[error("chunk {chunk} is not what it should be, by its length or its digest; nothing of it was kept")]
    Mismatch { chunk: u32 },
    /// The store's cap, with nothing left that may be evicted; or the disk below it, then `free` is 0.
    #[error("{}", full(*needed, *free))]
    Full { needed: u64, free: u64 },
    #[error("it was removed, committed or aborted meanwhile; begin again")]
    Gone,
    /// The same id under another description: another chunk size, or other digests.
    #[error("{id} is here already, cut differently; read the description that is here, or remove it first")]
    Conflict { id: ContentId },
    #[error(
        "{size} bytes cannot be cut into chunks of {chunk_size} bytes, of which at most {} are taken",
        crate::store::MAX_CHUNKS
    )]
    Shape { size: u64, chunk_size: u32 },
    #[error("this upload was begun with chunks of {begun} bytes, now they should have {asked}")]
    ChunkSize { begun: u32, asked: u32 },
    #[error("{MAX_UPLOADS} uploads are open; try again when some are done")]
    Busy,
    #[error("writing to this disk failed: {0}")]
    Io(io::Error),
}

fn full(needed: u64, free: u64) -> String {
    match needed {
        // The file system does not say for what.
        0 => "the disk of the store is full: make room on it, or lower the capacity".to_owned(),
        _ => format!(
            "no room for {needed} bytes, {free} are free and nothing may be evicted; remove or unpin something, or raise the capacity"
        ),
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::from_io(error, 0)
    }
}

impl WriteError {
    /// A disk that is full is told as [`Full`](Self::Full), for what is done about it is the same.
    pub(crate) fn from_io(error: io::Error, needed: u64) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { needed, free: 0 },
            _ => Self::Io(error),
        }
    }
}

impl Entry {
    /// Writes chunk `n` after checking that it has the shape and the digest described. That its bytes are right, its type says.
    /// A chunk that is here already is left as it is, without I/O. Survives the death of the process, not yet a power loss.
    pub async fn write_chunk(&self, n: u32, chunk: Chunk) -> Result<(), WriteError> {
        let entry = self.clone();
        blocking(move || entry.unless_lost_in_writing(entry.write_blocking(n, &chunk))).await
    }

    pub(crate) fn write_blocking(&self, n: u32, chunk: &Chunk) -> Result<(), WriteError> {
        self.expect(n, chunk)?;
        let life = self.live().ok_or(WriteError::Gone)?;
        let _claim = self.0.writing.wait(n);
        if self.0.table.has(n) {
            return self.agree(n, chunk.digest());
        }
        let room = self.0.disk.reserve(self.weight(n), Class::Cached)?;
        let seen = self.0.disk.write(self.weight(n), || self.place(&life, n, chunk))?;
        self.0.heat.reset(n);
        self.0.table.set_written(n, seen);
        room.keep(1);
        self.0.disk.rotten_lately.remove(&(self.0.id, n));
        self.0.disk.evictor.enter(self, n);
        Ok(())
    }

    fn expect(&self, n: u32, chunk: &Chunk) -> Result<(), WriteError> {
        let described = self.0.description.digest(n).is_none_or(|known| known == chunk.digest());
        let right = has_shape(chunk, self.0.geometry.pieces(n)) && described;
        right.then_some(()).ok_or(WriteError::Mismatch { chunk: n })
    }

    fn agree(&self, n: u32, digest: ChunkDigest) -> Result<(), WriteError> {
        match self.digest(n) {
            Some(known) if known != digest => Err(WriteError::Mismatch { chunk: n }),
            _ => Ok(()),
        }
    }

    /// The absent chunk as it was seen at its last byte's writing.
    fn place(&self, life: &Life<'_>, n: u32, chunk: &Chunk) -> io::Result<Seen> {
        let files = self.open_files(life)?;
        self.check_names(&files)?;
        // What was not recorded must not take the room that the next chunk needs.
        let seen = self.record(&files, n, chunk).inspect_err(|_| self.free_blocks(&files.data, n))?;
        self.weigh_meta(&files.meta);
        Ok(seen)
    }

    /// The order is what makes a killed process leave no half chunk: bytes, digests, state.
    fn record(&self, files: &Pair, n: u32, chunk: &Chunk) -> io::Result<Seen> {
        let start = self.0.geometry.chunk_range(n).start;
        let write = || write_segments(&files.data, chunk.segments(), start).map(|()| self.0.table.look(n));
        let seen = self.own_write(&files.data, write)?;
        self.write_digests(files, n, chunk.digests())?;
        if let Description::Object { .. } = self.0.description {
            files.meta.write_all_at(chunk.digest().as_bytes(), self.0.tables.digest(n))?;
            self.set_digest(n, chunk.digest());
        }
        files.meta.write_all_at(&[State::Cached.byte()], self.0.tables.state(n))?;
        Ok(seen)
    }
}

/// Whether the chunk has bytes, as many as it should, and is cut as it should be.
pub(crate) fn has_shape(chunk: &Chunk, pieces: Pieces) -> bool {
    let bytes: usize = chunk.segments().iter().map(Bytes::len).sum();
    !chunk.is_empty() && chunk.digests().pieces() == pieces && bytes == pieces.chunk_len() as usize
}
