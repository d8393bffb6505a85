use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use herring_blob::{ChunkDigest, ContentId};

use crate::entry::Life;
use crate::files::{Pair, punch};
use crate::table::State;
use crate::upload::MAX_UPLOADS;
use crate::{Description, Entry, blocking::blocking};

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Its length or bytes are not what the digest or the description says, or a chunk with another digest is here already.
    #[error("chunk {chunk} is not what it should be, by its length or its digest; nothing of it was kept")]
    Mismatch { chunk: u32 },
    /// The store's cap, or the disk below it. Then `free` is 0.
    #[error("no room for {needed} bytes, {free} are free; remove something that is only cached, or raise the capacity")]
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
    /// Writes chunk `n`, whole, after checking it against `digest` and that against the description, so that `Ok` always
    /// says that these bytes are right. A chunk that is here already is left as it is, without I/O. Survives the death of the process, not yet a power loss.
    pub async fn write_chunk(&self, n: u32, digest: ChunkDigest, bytes: Bytes) -> Result<(), WriteError> {
        let entry = self.clone();
        blocking(move || entry.write_blocking(n, digest, &bytes)).await
    }

    pub(crate) fn write_blocking(&self, n: u32, digest: ChunkDigest, bytes: &[u8]) -> Result<(), WriteError> {
        self.expect(n, digest, bytes)?;
        let life = self.live().ok_or(WriteError::Gone)?;
        let _claim = self.0.writing.wait(n);
        if self.0.table.has(n) {
            return self.agree(n, digest);
        }
        let room = self.0.disk.space.reserve(bytes.len() as u64)?;
        self.place(&life, n, digest, bytes).map_err(|error| WriteError::from_io(error, bytes.len() as u64))?;
        self.0.table.set_written(n);
        room.keep();
        Ok(())
    }

    fn expect(&self, n: u32, digest: ChunkDigest, bytes: &[u8]) -> Result<(), WriteError> {
        let range = self.0.geometry.chunk_range(n);
        let described = self.0.description.digest(n).is_none_or(|known| known == digest);
        let right = !range.is_empty() && range.len() == bytes.len() as u64 && described && digest.matches(bytes);
        right.then_some(()).ok_or(WriteError::Mismatch { chunk: n })
    }

    fn agree(&self, n: u32, digest: ChunkDigest) -> Result<(), WriteError> {
        match self.digest(n) {
            Some(known) if known != digest => Err(WriteError::Mismatch { chunk: n }),
            _ => Ok(()),
        }
    }

    fn place(&self, life: &Life<'_>, n: u32, digest: ChunkDigest, bytes: &[u8]) -> io::Result<()> {
        let files = self.open_files(life)?;
        // What was not recorded must not take the room that the next chunk needs.
        self.record(&files, n, digest, bytes).inspect_err(|_| punch(&files.data, self.0.geometry.chunk_range(n)))
    }

    /// The order is what makes a killed process leave no half chunk: bytes, digest, state.
    fn record(&self, files: &Pair, n: u32, digest: ChunkDigest, bytes: &[u8]) -> io::Result<()> {
        files.data.write_all_at(bytes, self.0.geometry.chunk_range(n).start)?;
        if let Description::Object { .. } = self.0.description {
            files.meta.write_all_at(digest.as_bytes(), self.0.tables.digest(n))?;
            self.set_digest(n, digest);
        }
        files.meta.write_all_at(&[State::Cached.byte()], self.0.tables.state(n))
    }
}
