use std::fs::{self, FileType, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use herring_blob::{Tree, TreeError};

use crate::error::{Failure, OrFail};

/// A directory with all that is below it as it was when it was looked at.
#[derive(Debug)]
pub struct Walk {
    pub root: PathBuf,
    /// The root first, each directory before what is in it, names in the order of their bytes: as in a tree.
    pub entries: Vec<Entry>,
}

#[derive(Debug)]
pub struct Entry {
    /// From the root; empty for the root itself.
    pub path: String,
    pub mode: u32,
    pub modified_ns: i64,
    pub kind: Kind,
    /// What would be another if it changed.
    mark: Mark,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    /// Bytes.
    File(u64),
    Link(String),
}

/// Device, inode, size, and the times of its content and of itself, which nobody can set.
type Mark = (u64, u64, u64, (i64, i64), (i64, i64));

impl Walk {
    /// Looks at everything and reads no file. Blocks.
    pub fn of(root: &Path) -> Result<Self, Failure> {
        let mut entries = Vec::new();
        // A stack, not a recursion: depth is the tree's business. Last first.
        let mut pending = vec![String::new()];
        while let Some(path) = pending.pop() {
            let entry = look(root, path)?;
            if entry.kind == Kind::Directory {
                pending.extend(below(root, &entry.path)?);
            }
            entries.push(entry);
            if entries.len() > Tree::MAX_ENTRIES {
                return Err(too_large(root));
            }
        }
        match entries[0].kind {
            Kind::Directory => Ok(Self { root: root.to_owned(), entries }),
            _ => Err(Failure::usage(format_args!("{} is not a directory", root.display()))),
        }
    }

    /// The bytes of all files together; sparse ones can say more than any number holds.
    pub fn size(&self) -> u64 {
        self.entries.iter().map(Entry::size).fold(0, u64::saturating_add)
    }

    pub fn files(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.kind, Kind::File(_))).count()
    }

    /// Fails where anything is no more as it was. Blocks.
    pub fn check(&self) -> Result<(), Failure> {
        for entry in &self.entries {
            let now = look(&self.root, entry.path.clone());
            if now.is_err() || now.is_ok_and(|now| now.mark != entry.mark || now.mode != entry.mode) {
                return Err(changed(&place(&self.root, &entry.path)));
            }
        }
        Ok(())
    }
}

impl Entry {
    pub fn size(&self) -> u64 {
        if let Kind::File(size) = self.kind { size } else { 0 }
    }
}

fn changed(path: &Path) -> Failure {
    let path = path.display();
    Failure::failed(format_args!("{path} changed while the directory was read: put it again when nobody writes to it"))
}

/// Where an entry is; the root itself without a slash behind it.
pub fn place(root: &Path, path: &str) -> PathBuf {
    if path.is_empty() { root.to_owned() } else { root.join(path) }
}

fn look(root: &Path, path: String) -> Result<Entry, Failure> {
    let at = place(root, &path);
    let cannot = || format!("cannot read {}", at.display());
    // The root may be given as a link to it; nothing below is followed.
    let meta = if path.is_empty() { fs::metadata(&at) } else { fs::symlink_metadata(&at) }.or_fail(cannot)?;
    let kind = kind(&at, &meta)?;
    if path.len() > Tree::MAX_PATH {
        return Err(refused(&at, "its path in the tree is longer than 4095 bytes"));
    }
    let modified_ns = meta.mtime().checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(meta.mtime_nsec()));
    let modified_ns = modified_ns.ok_or_else(|| refused(&at, "its time is too far from 1970"))?;
    let mark = (meta.dev(), meta.ino(), meta.size(), (meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    Ok(Entry { path, mode: meta.mode() & 0o7777, modified_ns, kind, mark })
}

fn kind(at: &Path, meta: &Metadata) -> Result<Kind, Failure> {
    let file_type = meta.file_type();
    if file_type.is_dir() {
        return Ok(Kind::Directory);
    }
    if file_type.is_file() {
        return Ok(Kind::File(meta.len()));
    }
    if file_type.is_symlink() {
        let target = fs::read_link(at).or_fail(|| format!("cannot read the link {}", at.display()))?;
        let target = target.into_os_string().into_string();
        return target.map(Kind::Link).map_err(|_| refused(at, "it links to a path that is not UTF-8"));
    }
    Err(refused(at, special(file_type)))
}

fn special(file_type: FileType) -> &'static str {
    match file_type {
        _ if file_type.is_socket() => "it is a socket",
        _ if file_type.is_fifo() => "it is a pipe",
        _ => "it is a device",
    }
}

fn refused(at: &Path, why: &str) -> Failure {
    Failure::failed(format_args!("{} cannot be put: {why}. Nothing was sent", at.display()))
}

/// Nobody would open it again.
pub fn too_large(root: &Path) -> Failure {
    refused(root, &TreeError::TooLarge.to_string())
}

/// The paths of what is in a directory, last first.
fn below(root: &Path, path: &str) -> Result<Vec<String>, Failure> {
    let at = place(root, path);
    let cannot = || format!("cannot list {}", at.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&at).or_fail(cannot)? {
        let entry = entry.or_fail(cannot)?;
        names.push(entry.file_name().into_string().map_err(|_| refused(&entry.path(), "its name is not UTF-8"))?);
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    let child = |name: String| if path.is_empty() { name } else { format!("{path}/{name}") };
    Ok(names.into_iter().map(child).collect())
}
