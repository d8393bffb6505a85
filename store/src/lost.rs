//! Files that are not on the disk any more, or are none: somebody removed them, or the disk did. Their entry goes, so that what it held counts as
//! lacking here and comes again from others.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{fstat, lstat};
use rustix::io::Errno;

use crate::blocking::blocking;
use crate::files::Pair;
use crate::{Entry, ReadError, Store, WriteError};

/// Whether this says that a file has no place on the disk any more. What may pass, such as too many open files, does not.
fn is_gone(error: &io::Error) -> bool {
    let gone = [io::ErrorKind::NotFound, io::ErrorKind::IsADirectory, io::ErrorKind::NotADirectory];
    gone.contains(&error.kind()) || Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// Whether the disk does not have these bytes any more, though it has the file.
pub(crate) fn is_broken(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::UCLEAN | Errno::NODATA))
}

/// Whether this is the file that the path names.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let id = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    fstat(file).is_ok_and(|open| lstat(path).is_ok_and(|named| id(open) == id(named)))
}

impl Entry {
    /// What reading came to; what is lost is missing. The caller holds no lock of this entry's.
    pub(crate) fn unless_lost<T>(&self, chunk: u32, read: Result<T, ReadError>) -> Result<T, ReadError> {
        match read {
            Err(ReadError::Io(error)) if is_gone(&error) && self.lose(&error) => Err(ReadError::Missing { chunk }),
            read => read,
        }
    }

    /// What writing came to: who is told that it is gone begins anew.
    pub(crate) fn unless_lost_in_writing<T>(&self, written: Result<T, WriteError>) -> Result<T, WriteError> {
        match written {
            Err(WriteError::Io(error)) if is_gone(&error) && self.lose(&error) => Err(WriteError::Gone),
            written => written,
        }
    }

    fn lose(&self, error: &io::Error) -> bool {
        self.0.disk.store().is_some_and(|store| {
            let _claim = store.naming().wait(self.id());
            store.lose(self, error)
        })
    }

    /// Fails where the files are not those that their names stand for any more: with the last handle their bytes go.
    pub(crate) fn check_names(&self, files: &Pair) -> io::Result<()> {
        let named = || is_at(&files.data, &self.data_path()) && is_at(&files.meta, &self.0.disk.layout.meta(&self.0.id));
        // Its own removal takes the names first.
        if named() || !self.is_alive() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "a file of the store was removed or replaced while it was open"))
    }

    /// Looks whether the files are where they should be; where they are not, the entry goes. False then.
    pub async fn look_for_files(&self) -> bool {
        let entry = self.clone();
        blocking(move || entry.unless_lost_in_writing(entry.find_files())).await.is_ok()
    }

    fn find_files(&self) -> Result<(), WriteError> {
        let Some(_life) = self.live() else { return Ok(()) };
        for path in [self.data_path(), self.0.disk.layout.meta(&self.0.id)] {
            if !std::fs::symlink_metadata(&path)?.is_file() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
            }
        }
        Ok(())
    }
}

impl Store {
    /// The entry goes, and what is left of its files. With the claim on its name. Whether it is gone: not where the whole directory is another one, as
    /// when its disk was unmounted: then everything would go, and be written to the disk below.
    pub(crate) fn lose(&self, entry: &Entry, error: &io::Error) -> bool {
        let disk = self.disk();
        if !entry.is_alive() || !disk.is_in_place() {
            return !entry.is_alive();
        }
        let no_file = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file());
        let strange: Vec<_> =
            [entry.data_path(), disk.layout.meta(&entry.id())].into_iter().filter(|path| no_file(path)).collect();
        if !strange.is_empty()
            && let Err(error) = disk.layout.put_aside(&strange)
        {
            tracing::warn!(id = %entry.id(), %error, "what is in place of a file of the store cannot be put aside");
        }
        disk.layout.forget_shelf(&entry.id());
        if let Err(error) = entry.bury(|_| true) {
            tracing::debug!(id = %entry.id(), %error, "not all that is left of a lost entry is gone");
        }
        if entry.is_alive() {
            return false;
        }
        metrics::counter!(crate::metrics::LOST_ENTRIES).increment(1);
        disk.lost.fetch_add(1, Relaxed);
        tracing::error!(id = %entry.id(), %error, "files of the store are gone from the disk; what they held comes again from others, check the disk");
        self.drop_dead(entry);
        disk.changed();
        true
    }

    /// Whether the entry is gone since this was not found. With the claim on its name.
    pub(crate) fn lost(&self, entry: &Entry, error: &WriteError) -> bool {
        matches!(error, WriteError::Io(error) if is_gone(error) && self.lose(entry, error))
    }
}
