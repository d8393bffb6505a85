use herring_swarm::{NameError, OpenError, ReadError};

use crate::listing::MAX_LISTED;

/// Why the filesystem refuses. What the kernel is told is in `errno.rs`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FsError {
    #[error("there is nothing of that name")]
    NoEntry,
    #[error("a file has no entries")]
    NotADirectory,
    #[error("a directory has no bytes")]
    IsADirectory,
    #[error("a name has at most {} bytes", crate::layout::NAME_MAX)]
    NameTooLong,
    /// The kernel names an inode that it forgot before.
    #[error("inode {0} is not known")]
    Forgotten(u64),
    /// Listed, but deleted or replaced before its first read.
    #[error("it was deleted or replaced since it was listed")]
    Gone,
    #[error("the directories being listed have more than {MAX_LISTED} entries together")]
    ListingsFull,
    /// The kernel would fill up what is missing with zeros.
    #[error("{got} bytes came instead of {wanted}")]
    Short { wanted: u64, got: usize },
    #[error("its tree says that it has more bytes than the blob that it is in")]
    Outside,
    #[error("not answered within {seconds} s")]
    TimedOut { seconds: u64 },
    #[error("it is no symbolic link")]
    NotALink,
    /// Nobody hears it.
    #[error("the reader was killed")]
    Killed,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Read(#[from] ReadError),
}
