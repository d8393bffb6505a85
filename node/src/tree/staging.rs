use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Failure, OrFail};

/// Where a tree is written: unless it is kept in the end, nothing of it stays.
#[derive(Debug)]
pub struct Staging {
    /// `None` once its content is where it belongs.
    dir: Option<TempDir>,
    target: PathBuf,
    /// Whether it is in the target, a directory that was there and empty, and not beside it.
    inside: bool,
}

impl Staging {
    pub fn open(target: &Path) -> Result<Self, Failure> {
        let inside = is_there(target)?;
        let parent = if inside { target } else { target.parent().unwrap_or(target) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let dir = tempfile::Builder::new().prefix(".herring-").tempdir_in(parent);
        let dir = dir.or_fail(|| format!("cannot create a directory in {}", parent.display()))?;
        Ok(Self { dir: Some(dir), target: target.to_owned(), inside })
    }

    pub fn path(&self) -> &Path {
        self.dir.as_ref().map_or(&self.target, TempDir::path)
    }

    /// Lets it appear.
    pub fn keep(mut self) -> Result<(), Failure> {
        let kept = if self.inside { fill(self.path(), &self.target) } else { fs::rename(self.path(), &self.target) };
        kept.or_fail(|| format!("cannot write {}; nothing was kept", self.target.display()))?;
        // It is not there any more under the name that would be removed.
        let _ = self.dir.take().map(TempDir::keep);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed is left; the failure that led here is what is told.
        if let Some(dir) = &self.dir {
            open_up(dir.path());
        }
    }
}

/// Whether a directory is there to be filled; anything else that is there is refused.
fn is_there(target: &Path) -> Result<bool, Failure> {
    let (cannot, shown) = (|| format!("cannot write {}", target.display()), target.display());
    match fs::metadata(target) {
        Ok(meta) if !meta.is_dir() => Err(Failure::usage(format_args!("{shown} is there, and no directory"))),
        Ok(_) if fs::read_dir(target).or_fail(cannot)?.next().is_some() => {
            Err(Failure::usage(format_args!("{shown} is not empty: name a directory that is, or that is not there yet")))
        }
        Ok(_) => Ok(true),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).or_fail(cannot),
        Err(_) if target.is_symlink() => Err(Failure::usage(format_args!("{shown} is a link to what is not there"))),
        Err(_) => Ok(false),
    }
}

/// Moves what is in `dir`, and its mode and time, to the directory that it is in. Where that fails, all is in `dir` again.
fn fill(dir: &Path, target: &Path) -> io::Result<()> {
    let meta = fs::metadata(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    let names = names(dir)?;
    // Somebody else may have written there meanwhile, and a file would be replaced.
    if self::names(target)?.iter().any(|name| *name != dir.file_name().unwrap_or_default()) {
        return Err(io::Error::other("something else was written there meanwhile"));
    }
    for (count, name) in names.iter().enumerate() {
        if let Err(error) = shift(&dir.join(name), &target.join(name)) {
            for name in &names[..count] {
                let _ = shift(&target.join(name), &dir.join(name));
            }
            return Err(error);
        }
    }
    fs::remove_dir(dir)?;
    let directory = File::open(target)?;
    match directory.set_permissions(meta.permissions()).and_then(|()| directory.set_modified(meta.modified()?)) {
        // A directory that is somebody else's keeps what its owner gave it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        set => set,
    }
}

fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// Moves an entry to another directory: of a directory, that changes its entry `..`, which a read-only one refuses.
fn shift(from: &Path, to: &Path) -> io::Result<()> {
    let permissions = Some(fs::symlink_metadata(from)?).filter(fs::Metadata::is_dir).map(|meta| meta.permissions());
    if permissions.is_some() {
        fs::set_permissions(from, Permissions::from_mode(0o700))?;
    }
    fs::rename(from, to)?;
    permissions.map_or(Ok(()), |permissions| fs::set_permissions(to, permissions))
}

/// Directories that were made read-only already could not be emptied.
fn open_up(path: &Path) {
    let mut pending = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let _ = fs::set_permissions(&path, Permissions::from_mode(0o700));
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        pending.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
}
