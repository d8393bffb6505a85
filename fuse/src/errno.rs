use fuser::Errno;
use herring_swarm::{NameError, OpenError, ReadError};

use crate::error::FsError;
use crate::metrics;

impl FsError {
    /// What the reader's `errno` becomes.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::NoEntry => Errno::ENOENT,
            Self::NotADirectory => Errno::ENOTDIR,
            Self::IsADirectory => Errno::EISDIR,
            Self::NameTooLong => Errno::ENAMETOOLONG,
            Self::Forgotten(_) | Self::Gone => Errno::ESTALE,
            Self::ListingsFull => Errno::ENFILE,
            Self::Short { .. } | Self::Outside => Errno::EIO,
            Self::TimedOut { .. } => Errno::ETIMEDOUT,
            Self::NotALink => Errno::EINVAL,
            Self::Killed => Errno::EINTR,
            Self::Open(error) => of_open(error),
            Self::Name(error) => of_name(error),
            Self::Read(error) => of_read(error),
        }
    }
}

fn of_open(error: &OpenError) -> Errno {
    match error {
        OpenError::NotFound { .. } | OpenError::NoOrigin { .. } => Errno::ENOENT,
        OpenError::InvalidKey { .. } => Errno::EINVAL,
        OpenError::Denied { .. } => Errno::EACCES,
        OpenError::Unlisted { .. } => Errno::ENOTSUP,
        OpenError::Unavailable { .. } => Errno::EIO,
    }
}

fn of_name(error: &NameError) -> Errno {
    match error {
        NameError::NotFound { .. } | NameError::Invalid { .. } => Errno::ENOENT,
        _ => Errno::EIO,
    }
}

/// Overload is EBUSY: on EAGAIN, Python's raw files return `None` instead of raising, and ENOMEM sounds like the reader's own.
fn of_read(error: &ReadError) -> Errno {
    match error {
        ReadError::Unavailable { .. } | ReadError::False { .. } => Errno::EIO,
        ReadError::Changed { .. } => Errno::ESTALE,
        ReadError::Denied { .. } => Errno::EACCES,
        ReadError::Overloaded { .. } => Errno::EBUSY,
    }
}

/// The errno to answer with, after the failure was counted and logged. That something is not there, or its reader was killed, is everyday life; that an
/// origin has no listings is said once elsewhere.
pub(crate) fn report(op: &'static str, ino: u64, error: &FsError) -> Errno {
    let errno = error.errno();
    ::metrics::counter!(metrics::ERRORS, "op" => op, "errno" => errno.code().to_string()).increment(1);
    if [Errno::ENOENT, Errno::ENOTDIR, Errno::ENAMETOOLONG, Errno::EINTR, Errno::ENOTSUP].contains(&errno) {
        tracing::debug!(op, ino, errno = errno.code(), %error, "refused");
    } else {
        tracing::warn!(op, ino, errno = errno.code(), %error, "a request of the mount failed");
    }
    errno
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_the_errno_that_says_what_to_do() {
        let what = || "x".to_owned();
        let tried = Default::default;
        let open = |error: OpenError| FsError::from(error).errno();
        assert_eq!(open(OpenError::NotFound { what: what(), tried: tried() }), Errno::ENOENT);
        assert_eq!(open(OpenError::Denied { detail: what() }), Errno::EACCES);
        assert_eq!(open(OpenError::Unavailable { what: what(), tried: tried() }), Errno::EIO);
        assert_eq!(open(OpenError::Unlisted { detail: what() }), Errno::ENOTSUP);
        let name = |error: NameError| FsError::from(error).errno();
        assert_eq!(name(NameError::NotFound { name: what() }), Errno::ENOENT);
        assert_eq!(name(NameError::Unavailable { what: what(), tried: tried() }), Errno::EIO);
        let read = |error: ReadError| FsError::from(error).errno();
        assert_eq!(read(ReadError::Unavailable { what: what(), chunk: 0, tried: tried() }), Errno::EIO);
        assert_eq!(read(ReadError::Changed { what: what() }), Errno::ESTALE);
        assert_eq!(read(ReadError::Overloaded { what: what(), waited_ms: 1 }), Errno::EBUSY);
        assert_eq!(FsError::TimedOut { seconds: 1 }.errno(), Errno::ETIMEDOUT);
    }
}
