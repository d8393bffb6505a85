use std::fs::File;
use std::path::Path;

use rustix::fs::{Advice, fadvise, sync};

use crate::error::FuseError;

const SWITCH: &str = "/proc/sys/vm/drop_caches";

/// How the page cache is emptied before a warm or a cold pass.
#[derive(Debug)]
pub enum Pages {
    /// All of it, with directory entries and inodes: needs root.
    Kernel,
    /// Only the pages of the files that are read. Entries and inodes stay, so opens are hot.
    Advice,
}

impl Pages {
    pub fn new() -> Self {
        if File::options().write(true).open(SWITCH).is_ok() { Self::Kernel } else { Self::Advice }
    }

    /// Writes what is dirty, so that it is not written while something is measured.
    pub fn sync() {
        sync();
    }

    /// What to tell of it in a report.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::Kernel => None,
            Self::Advice => {
                Some(format!("not root: {SWITCH} was skipped, posix_fadvise(DONTNEED) per file instead; opens are hot"))
            }
        }
    }

    /// `files` are those that the next pass reads, and those behind them.
    pub fn drop<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Result<(), FuseError> {
        // Dirty pages stay where they are.
        sync();
        match self {
            Self::Kernel => std::fs::write(SWITCH, "3").map_err(FuseError::at(Path::new(SWITCH))),
            Self::Advice => files.into_iter().try_for_each(forget),
        }
    }
}

fn forget(path: &Path) -> Result<(), FuseError> {
    let file = File::open(path).map_err(FuseError::at(path))?;
    fadvise(file, 0, None, Advice::DontNeed).map_err(|error| FuseError::at(path)(error.into()))
}
