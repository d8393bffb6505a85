//! Files that are not on the disk any more, or are none: somebody removed them, or the disk did. Their entry goes, so that what it held counts as
//! lacking here and comes again from others.

use std::io;

use rustix::fs::fstat;
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

impl Entry {
    /// What reading came to; what is lost is missing. The caller holds no lock of this entry's.
    pub(crate) fn unless_lost<T>(&self, chunk: u32, read: Result<T, ReadError>) -> Result<T, ReadError> {
        match read {
            Err(ReadError::Io(error)) if is_gone(&error) => {
                self.lose(&error);
                Err(ReadError::Missing { chunk })
            }
            read => read,
        }
    }

    /// What writing came to: who is told that it is gone begins anew.
    pub(crate) fn unless_lost_in_writing<T>(&self, written: Result<T, WriteError>) -> Result<T, WriteError> {
        match written {
            Err(WriteError::Io(error)) if is_gone(&error) => {
                self.lose(&error);
                Err(WriteError::Gone)
            }
            written => written,
        }
    }

    fn lose(&self, error: &io::Error) {
        if let Some(store) = self.0.disk.store() {
            let _claim = store.naming().wait(self.id());
            store.lose(self, error);
        }
    }

    /// Fails where somebody took the files' names away: with the last handle their bytes go.
    pub(crate) fn check_names(&self, files: &Pair) -> io::Result<()> {
        let names = 1 + u64::from(self.linked_now() == Some(true));
        let has = |file, names| fstat(file).is_ok_and(|stat| stat.st_nlink >= names);
        if !self.is_alive() || has(&files.data, names) && has(&files.meta, 1) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "a file of the store was removed while it was open"))
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
    /// The entry goes, and what is left of its files. With the claim on its name. Whether that was done.
    pub(crate) fn lose(&self, entry: &Entry, error: &io::Error) -> bool {
        let buried = entry.bury(|_| true);
        if buried.as_ref().is_ok_and(|buried| !buried) {
            return false;
        }
        metrics::counter!(crate::metrics::LOST_ENTRIES).increment(1);
        tracing::error!(id = %entry.id(), %error, "files of the store are gone from the disk; what they held comes again from others, check the disk");
        if buried.is_err() && !entry.is_alive() {
            // Something is in the file's place that is no file.
            if let Err(error) = self.disk().layout.put_aside(&[entry.data_path()]) {
                tracing::debug!(id = %entry.id(), %error, "nothing was put aside");
            }
        }
        self.drop_dead(entry);
        self.disk().changed();
        !entry.is_alive()
    }

    /// Whether the entry is gone since this was not found. With the claim on its name.
    pub(crate) fn lost(&self, entry: &Entry, error: &WriteError) -> bool {
        matches!(error, WriteError::Io(error) if is_gone(error) && self.lose(entry, error))
    }
}
