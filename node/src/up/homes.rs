use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use super::layout::home;
use crate::error::Failure;

/// A node holds a lock on this file in its directory for as long as it runs.
const LOCK: &str = "lock";

/// Whether nobody lives in the directories of these nodes; else who does, before anything of theirs is touched.
pub fn check(dir: &Path, nodes: u16) -> Result<(), Failure> {
    (0..nodes).try_for_each(|index| vacant(&home(dir, index)))
}

fn vacant(home: &Path) -> Result<(), Failure> {
    let path = home.join(LOCK);
    let cannot =
        |error| Failure::failed(format_args!("cannot see whether {} is in use: {}: {error}", home.display(), path.display()));
    let lock = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(cannot)?,
    };
    match lock.try_lock() {
        // Closing the file gives the lock back.
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Failure::failed(format_args!(
            "{} is in use by another herring process: stop that one, or give another directory with --dir",
            home.display()
        ))),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_vacant_until_its_lock_is_held() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path(), 3).unwrap();
        let home = dir.path().join("n2");
        std::fs::create_dir(&home).unwrap();
        let lock = File::create(home.join(LOCK)).unwrap();
        check(dir.path(), 3).unwrap();
        lock.lock().unwrap();
        let sentence = check(dir.path(), 3).unwrap_err().to_string();
        assert!(sentence.starts_with(&format!("{} is in use", home.display())), "{sentence}");
        check(dir.path(), 1).unwrap();
        drop(lock);
        check(dir.path(), 3).unwrap();
    }
}
