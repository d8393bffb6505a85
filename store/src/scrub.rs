//! Chunks that are read only to see whether the disk still has them as they were.

use crate::files::release;
use crate::lost::is_broken;
use crate::verify::Cache;
use crate::{Entry, ReadError, blocking::blocking, metrics as names};

/// What a scrub found of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrubbed {
    Right,
    /// Its bytes were not what its digest says: it was dropped, durable or not.
    Rotten,
    /// It is not here, or went meanwhile.
    Absent,
}

impl Entry {
    /// Reads chunk `n` from the disk, leaving none of it in the page cache, and verifies all of it, whatever was verified before. What is
    /// not yet written back, or is mapped for a reader, is read where it is: in the page cache. An error is a disk that cannot be
    /// read now; the chunk stays, for the next try.
    pub async fn scrub(&self, n: u32) -> Result<Scrubbed, ReadError> {
        let entry = self.clone();
        blocking(move || {
            let was_alive = entry.is_alive();
            match entry.unless_lost(n, entry.scrub_blocking(n)) {
                // Its files are gone, and it with them.
                Err(ReadError::Missing { .. }) if was_alive && !entry.is_alive() => Ok(Scrubbed::Rotten),
                Err(ReadError::Missing { .. }) => Ok(Scrubbed::Absent),
                done => done,
            }
        })
        .await
    }

    fn scrub_blocking(&self, n: u32) -> Result<Scrubbed, ReadError> {
        let range = self.0.geometry.chunk_range(n);
        let files = self.files_of(range)?;
        self.settle(&files)?;
        let seen = self.seen(n)?;
        // So that it is the disk that answers.
        release(&files.data, range);
        let whole = 0..self.0.geometry.pieces(n).chunk_len();
        let mut bytes = vec![0; whole.len()];
        let found = self.read_pieces(&files, n, whole, &mut bytes, Cache::Spare);
        let found = match found {
            Err(error) if is_broken(&error) => Err(()),
            found => found?.map_err(|_| ()),
        };
        metrics::counter!(names::SCRUBBED_BYTES).increment(range.len());
        Ok(match found {
            Ok(pieces) => {
                self.0.table.set_verified(n, seen, pieces);
                Scrubbed::Right
            }
            Err(()) if self.drop_chunk(n, |table| table.drop_verified(n, seen)) => Scrubbed::Rotten,
            Err(()) => Scrubbed::Absent,
        })
    }
}
