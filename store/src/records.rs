//! Small records beside the chunks: what names mean here, what origins answered, jobs and pins. A table of keys each, in one file.
//!
//! The chunks stay the truth about themselves; nothing here says where they are. Writes of many callers share one fsync: a thread of its
//! own takes all that wait into one transaction. One update takes 0.5 ms on an SSD, 64 at once 1.2 ms.

mod ages;
mod file;
mod queue;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::OpenError;
use crate::disk::Disk;
use file::File;
use queue::{Note, Queue, Update};

/// The largest value that is kept, bytes: a hub's document with what is said of it.
const MAX_VALUE: usize = 33 << 20;
/// What may wait to be noted, bytes. What comes on top is not remembered.
const MAX_NOTED: usize = 64 << 20;
/// How long an update waits for the disk. It may still happen after that.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a record is about. Keys of different tables are different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    Names,
    /// Of a bounded size: see [`Records::bound`].
    Metadata,
    /// That something was not there: many, and each worth little. Bounded too, apart.
    Misses,
    /// The commits of hubs' revisions: few, and for good.
    Commits,
    Jobs,
    Pins,
    /// What became of blobs that were deleted.
    Fates,
}

/// What an update makes of a record, and tells its caller.
#[derive(Debug)]
pub enum Change<T> {
    /// Leaves it as it is.
    Keep(T),
    Put(Vec<u8>, T),
    Remove(T),
}

/// Why a record could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordError {
    #[error(
        "the records in {} could not be read or written: {reason}; check that the disk is well and not full, then try again",
        .path.display()
    )]
    Disk { path: PathBuf, reason: String },
    #[error("the disk did not take the record within {DEADLINE:?}; it may still do; check the disk, then look whether it did")]
    Slow,
    #[error("a record of {bytes} bytes is too large, at most {MAX_VALUE} are kept")]
    TooLarge { bytes: usize },
    #[error("this node's records are closed, it is stopping; ask another node")]
    Closed,
}

/// This node's records. Cheap to clone; the last one dropped writes down what was noted, and waits for that.
#[derive(Clone)]
pub struct Records(Arc<Inner>);

struct Inner {
    file: Arc<File>,
    queue: Queue,
    /// Bytes that wait to be noted.
    noted: Arc<AtomicUsize>,
}

impl Records {
    /// Blocks for as long as it takes to check the whole file, if there is one.
    pub(crate) fn open(disk: Arc<Disk>) -> Result<Self, OpenError> {
        let file = Arc::new(File::open(disk)?);
        let queue = Queue::start(file.clone())?;
        Ok(Self(Arc::new(Inner { file, queue, noted: Arc::default() })))
    }

    /// What is written under this key. Waits for nobody's write; for the disk only where the page cache has lost it.
    pub fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, RecordError> {
        self.0.file.get(table, key)
    }

    /// At most `limit` records whose keys begin with `prefix` and come after `after`, in the order of their keys' bytes.
    pub fn scan(
        &self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, RecordError> {
        self.0.file.scan(table, prefix, after, limit)
    }

    /// Changes one record by what is there now, which nobody else changes meanwhile. On disk when it returns, and then only is it seen
    /// by [`get`](Self::get). A caller who goes away does not stop it. `change` holds up all other writers: it should only compute.
    pub async fn update<T: Send + 'static>(
        &self,
        table: Table,
        key: String,
        change: impl FnOnce(Option<&[u8]>) -> Change<T> + Send + 'static,
    ) -> Result<T, RecordError> {
        let (update, answer) = Update::new(table, key, change);
        let wait = async {
            self.0.queue.push(Box::new(update)).await?;
            match answer.await {
                Ok(Ok(Ok(value))) => Ok(value),
                Ok(Ok(Err(panic))) => std::panic::resume_unwind(panic),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(RecordError::Closed),
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or(Err(RecordError::Slow))
    }

    /// Remembers a value when there is time, without an fsync of its own: what was noted in the last seconds before a power loss or a
    /// kill is lost. So is what comes while too much waits already, or is too large.
    pub fn note(&self, table: Table, key: String, value: Vec<u8>) {
        let bytes = value.len();
        let waiting = self.0.noted.fetch_add(bytes, Relaxed);
        let note = Note::new(table, key, value, self.0.noted.clone());
        if bytes <= MAX_VALUE && waiting + bytes <= MAX_NOTED {
            self.0.queue.try_push(Box::new(note));
        }
    }

    /// From now on `table` holds at most about so many bytes, keys included; the records that were written longest ago go first.
    /// Only [`Table::Metadata`] and [`Table::Misses`] can be bounded, and are from the start: to 128 MiB and 8, for which the file takes at
    /// most twice as many.
    pub fn bound(&self, table: Table, most_bytes: u64) {
        if let Some(aged) = table.aged() {
            self.0.file.set_bound(aged, most_bytes);
        }
    }

    /// To how many bytes a table is bounded.
    pub fn bound_of(&self, table: Table) -> u64 {
        table.aged().map_or(u64::MAX, |aged| self.0.file.bound(aged))
    }
}

#[cfg(test)]
mod tests;
