use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Failure, OrFail};

/// A drill's word to `herring up` that it ends a node on purpose: a locked file beside the node's directory. `herring up` starts
/// that node again once the hold is gone, be it that the drill let go or that the drill died.
#[derive(Debug)]
pub struct Hold {
    path: PathBuf,
    _lock: File,
}

impl Hold {
    pub fn take(dir: &Path, id: &str) -> Result<Self, Failure> {
        let path = path(dir, id);
        let cannot = || format!("cannot hold {id} by {}", path.display());
        let lock = File::create(&path).or_fail(cannot)?;
        lock.try_lock().map_err(|_| Failure::failed(format_args!("another drill holds {id}: {}", path.display())))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // The lock goes with the file in any case.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether a drill that lives wants this node to be away.
pub fn is_held(dir: &Path, id: &str) -> bool {
    let Ok(file) = File::open(path(dir, id)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.hold"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_held_for_as_long_as_its_drill_lives() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_held(dir.path(), "n1"));
        let hold = Hold::take(dir.path(), "n1").unwrap();
        assert!(is_held(dir.path(), "n1") && !is_held(dir.path(), "n2"));
        assert!(Hold::take(dir.path(), "n1").unwrap_err().to_string().starts_with("another drill holds n1"));
        drop(hold);
        assert!(!is_held(dir.path(), "n1"));
        // What a drill left that was killed.
        std::fs::write(dir.path().join("n1.hold"), "").unwrap();
        assert!(!is_held(dir.path(), "n1"));
        Hold::take(dir.path(), "n1").unwrap();
    }
}
