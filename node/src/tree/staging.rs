use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Failure, OrFail};

/// Where a tree is written: unless it is kept in the end, nothing of it stays.
#[derive(Debug)]
pub struct Staging(Option<Place>);

#[derive(Debug)]
enum Place {
    /// A new directory, which takes its name once it is whole.
    Beside(TempDir, PathBuf),
    /// A directory that was there, and empty.
    Into(PathBuf),
}

impl Staging {
    pub fn open(target: &Path) -> Result<Self, Failure> {
        let cannot = || format!("cannot write {}", target.display());
        match fs::metadata(target) {
            Ok(meta) if !meta.is_dir() => Err(Failure::usage(format_args!("{} is there, and no directory", target.display()))),
            Ok(_) if fs::read_dir(target).or_fail(cannot)?.next().is_some() => {
                let target = target.display();
                Err(Failure::usage(format_args!("{target} is not empty: name a directory that is, or that is not there yet")))
            }
            Ok(_) => Ok(Self(Some(Place::Into(target.to_owned())))),
            Err(_) => {
                let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let beside = tempfile::Builder::new().prefix(".herring-").tempdir_in(parent);
                let beside = beside.or_fail(|| format!("cannot create a directory beside {}", target.display()))?;
                Ok(Self(Some(Place::Beside(beside, target.to_owned()))))
            }
        }
    }

    pub fn path(&self) -> &Path {
        match &self.0 {
            Some(Place::Beside(dir, _)) => dir.path(),
            Some(Place::Into(path)) => path,
            None => Path::new(""),
        }
    }

    /// Lets it appear.
    pub fn keep(mut self) -> Result<(), Failure> {
        let Some(Place::Beside(dir, target)) = self.0.take() else { return Ok(()) };
        fs::rename(dir.path(), &target).or_fail(|| format!("cannot write {}", target.display()))?;
        // It is not there any more under the name that would be removed.
        let _ = dir.keep();
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        match self.0.take() {
            Some(Place::Beside(dir, _)) => {
                open_up(dir.path());
                drop(dir);
            }
            Some(Place::Into(path)) => empty(&path),
            None => {}
        }
    }
}

/// What is left is left where it cannot be removed; the failure that led here is what is told.
fn empty(path: &Path) {
    open_up(path);
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
            _ => fs::remove_file(entry.path()),
        };
        let _ = removed;
    }
}

/// Directories that were made read-only already could not be emptied.
fn open_up(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut pending = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        pending.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
}
