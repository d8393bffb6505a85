use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use herring_http_api::name::check_given;

use crate::commands::put::Wanted;
use crate::error::{Failure, OrFail};

/// How much a walk may find.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub files: usize,
    pub bytes: u64,
}

impl Bounds {
    pub const NONE: Self = Self { files: usize::MAX, bytes: u64::MAX };

    /// Takes a file of `size` bytes off, where it still fits.
    fn take(&mut self, size: u64) -> bool {
        let fits = self.files > 0 && size <= self.bytes;
        if fits {
            self.files -= 1;
            self.bytes -= size;
        }
        fits
    }
}

/// What the paths of a command line are put in as: files as they are, directories as trees under their own names.
pub fn wanted(paths: &[PathBuf]) -> Result<Vec<Wanted>, Failure> {
    let mut names = BTreeSet::new();
    let one = |path: &PathBuf| {
        let meta = fs::metadata(path).or_fail(|| format!("cannot read {}", path.display()))?;
        let name = if meta.is_dir() { Some(base_name(path)?) } else { None };
        if let Some(name) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
            return Err(Failure::usage(format_args!("two directories would be names/{name}: put one in by herring put --name")));
        }
        Ok(Wanted { path: path.clone(), name })
    };
    paths.iter().map(one).collect()
}

/// Of `.` too.
fn base_name(path: &Path) -> Result<String, Failure> {
    let whole = fs::canonicalize(path).or_fail(|| format!("cannot read {}", path.display()))?;
    let name = whole.file_name().and_then(OsStr::to_str).filter(|name| check_given(name).is_ok());
    let unfit = || {
        let path = path.display();
        Failure::usage(format_args!(
            "{path} has no name that a tree could have, in UTF-8 and without a dot in front: herring put --name gives it one"
        ))
    };
    name.map(str::to_owned).ok_or_else(unfit)
}

/// The files that the paths of a command line mean: a directory stands for all files in it.
pub fn to_put(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let meta = fs::metadata(path).or_fail(|| format!("cannot read {}", path.display()))?;
        if meta.is_dir() { found.extend(regular_files(path, &[], Bounds::NONE)?) } else { found.push(path.clone()) }
    }
    Ok(found)
}

/// The regular files below `root` in alphabetical order, without those in directories named in `skip`. Links are not
/// followed, so this ends. Files that no longer fit into `bounds` are left out.
pub fn regular_files(root: &Path, skip: &[&str], mut bounds: Bounds) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    // A stack, not a recursion: depth is the tree's business.
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).or_fail(|| format!("cannot read {}", path.display()))?;
        if meta.is_file() && bounds.take(meta.len()) {
            found.push(path);
        } else if meta.is_dir() {
            pending.extend(below(&path, skip)?);
        }
        if bounds.files == 0 {
            break;
        }
    }
    Ok(found)
}

/// What is in a directory, last first.
fn below(directory: &Path, skip: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let cannot = || format!("cannot list {}", directory.display());
    let entries: Result<Vec<_>, _> = fs::read_dir(directory).or_fail(cannot)?.collect();
    let mut paths: Vec<PathBuf> = entries.or_fail(cannot)?.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| !skip.iter().any(|skip| path.file_name() == Some(OsStr::new(skip))));
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, size) in [("a", 1), ("b/c", 10), ("b/d", 100), ("target/x", 1), ("e", 1)] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; size]).unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("b/loop")).unwrap();
        dir
    }

    fn names(dir: &tempfile::TempDir, bounds: Bounds) -> Vec<String> {
        let files = regular_files(dir.path(), &["target"], bounds).unwrap();
        files.iter().map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_tree_is_walked_in_order_without_links_and_what_is_skipped() {
        let dir = tree();
        assert_eq!(names(&dir, Bounds::NONE), ["a", "b/c", "b/d", "e"]);
        assert_eq!(to_put(&[dir.path().into(), dir.path().join("a")]).unwrap().len(), 6);
    }

    #[test]
    fn bounds_hold() {
        let dir = tree();
        assert_eq!(names(&dir, Bounds { files: 2, bytes: u64::MAX }), ["a", "b/c"]);
        assert_eq!(names(&dir, Bounds { files: 9, bytes: 50 }), ["a", "b/c", "e"]);
    }

    #[test]
    fn what_is_not_there_is_told_before_anything_starts() {
        let told = [to_put(&["/no/such/file".into()]).unwrap_err(), wanted(&["/no/such/file".into()]).unwrap_err()];
        for sentence in told.map(|failure| failure.to_string()) {
            assert!(sentence.starts_with("cannot read /no/such/file"), "{sentence}");
        }
    }

    #[test]
    fn directories_have_their_own_names_and_only_one_each() {
        let dir = tree();
        let at = |path: &str| dir.path().join(path);
        let names = |paths: &[PathBuf]| wanted(paths).map(|all| all.into_iter().map(|one| one.name).collect::<Vec<_>>());
        assert_eq!(names(&[at("b"), at("a"), at("b/../target/.")]).unwrap(), [Some("b".into()), None, Some("target".into())]);
        let twice = names(&[at("b"), at("target/../b")]).unwrap_err();
        assert!(twice.to_string().contains("names/b"), "{twice}");
        assert!(names(&["/".into()]).is_err());
        fs::create_dir(at(".hidden")).unwrap();
        assert!(names(&[at(".hidden")]).unwrap_err().to_string().contains("without a dot in front"));
    }
}
