use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use fuser::FileType;
use herring_blob::{Tree, TreeEntry, TreeKind};
use herring_swarm::Content;

use crate::error::FsError;
use crate::found::Found;
use crate::node::Node;
use crate::place::{Place, Slice};
use crate::trees::Planted;

/// Files of at least so many bytes have an inode by what they are, not by where: a version of a tree that changes one of a thousand files, or a second
/// name, leaves the kernel the pages of the others. It is also where a file gets a blob of its own.
const OWN_INODE: u64 = 1 << 20;

/// An entry of a tree that the kernel knows, or is about to.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    tree: Arc<Planted>,
    at: usize,
}

impl Branch {
    pub fn new(tree: Arc<Planted>, at: usize) -> Self {
        Self { tree, at }
    }

    pub fn tree(&self) -> &Planted {
        &self.tree
    }

    pub fn ino(&self) -> u64 {
        self.tree.first + self.at as u64
    }

    pub fn entry(&self) -> &TreeEntry {
        &self.all().entries()[self.at]
    }

    pub fn kind(&self) -> FileType {
        match self.entry().kind {
            TreeKind::File { .. } => FileType::RegularFile,
            TreeKind::Link { .. } => FileType::Symlink,
            TreeKind::Directory { .. } => FileType::Directory,
        }
    }

    /// A directory is linked to by its name, by itself and by the directories in it.
    pub fn links(&self) -> u32 {
        if !self.entry().is_directory() {
            return 1;
        }
        self.tree.inside(self.at).saturating_add(2)
    }

    /// What is called `name` in this directory.
    pub fn find(&self, name: &str) -> Result<Found, FsError> {
        if !self.entry().is_directory() {
            return Err(FsError::NotADirectory);
        }
        if name.is_empty() || name.contains('/') {
            return Err(FsError::NoEntry);
        }
        let path = match &*self.entry().path {
            "" => Cow::Borrowed(name),
            path => Cow::Owned(format!("{path}/{name}")),
        };
        Ok(self.other(self.all().find(&path).ok_or(FsError::NoEntry)?).found())
    }

    /// What is in this directory from `offset` on, `.` and `..` included, each with the offset of what follows it. Nothing is kept for that: an offset is 2
    /// more than the index of the entry to go on with.
    pub fn list(&self, offset: u64) -> impl Iterator<Item = (u64, &str, Found)> {
        let dots = (offset < 2).then(|| [(1, ".", Found::Branch(self.clone())), (2, "..", self.above())]);
        let first = offset.checked_sub(2).and_then(|at| usize::try_from(at).ok()).unwrap_or_default().max(self.at + 1);
        let all = self.all();
        let (mut next, end) = (first, all.below(self.at).end);
        let children = std::iter::from_fn(move || {
            let at = (next < end).then_some(next)?;
            next = all.below(at).end;
            Some((next as u64 + 2, all.entries()[at].name(), self.other(at).found()))
        });
        dots.into_iter().flatten().filter(move |(next, ..)| *next > offset).chain(children)
    }

    /// The directory that this one is in.
    fn above(&self) -> Found {
        match &*self.entry().path {
            "" => Found::Node(Node::new(Place::of_name(&self.tree.root.name), 0, std::time::UNIX_EPOCH)),
            path => {
                let above = path.rsplit_once('/').map_or("", |(above, _)| above);
                Found::Branch(self.other(self.all().find(above).unwrap_or(0)))
            }
        }
    }

    fn found(self) -> Found {
        match self.entry().kind {
            TreeKind::File { size, .. } if size >= OWN_INODE => {
                Found::Node(Node { tree: Some(self.tree.root.open.id), ..Node::slice(self.slice()) })
            }
            _ => Found::Branch(self),
        }
    }

    fn slice(&self) -> Slice {
        let entry = self.entry();
        let TreeKind::File { blob, offset, size } = entry.kind else { unreachable!("only files are asked for") };
        let id = self.all().blobs()[blob as usize];
        Slice { id, offset, size, mode: self.mode(), modified_ns: entry.modified_ns }
    }

    pub fn mode(&self) -> u16 {
        // Twelve bits, or it were no tree.
        u16::try_from(self.entry().mode & 0o7777).unwrap_or_default()
    }

    /// Where a link leads to.
    pub fn target(&self) -> Result<PathBuf, FsError> {
        match &self.entry().kind {
            TreeKind::Link { target } => Ok(PathBuf::from(target)),
            _ => Err(FsError::NotALink),
        }
    }

    /// Of a file: the content that it is in, if that is open, and where in it it begins.
    pub fn opened(&self) -> Option<(&Content, u64)> {
        let TreeKind::File { blob, offset, size } = self.entry().kind else { return None };
        let content = self.tree.contents.get(blob as usize)?.get()?;
        is_within(content, offset, size).then_some((content, offset))
    }

    /// The same, opening it with `open` for all files that are in it.
    pub async fn open<F>(&self, open: impl FnOnce(herring_blob::BlobId) -> F) -> Result<(&Content, u64), FsError>
    where
        F: Future<Output = Result<Content, FsError>>,
    {
        let TreeKind::File { blob, offset, size } = self.entry().kind else { return Err(FsError::IsADirectory) };
        let (at, blobs) = (blob as usize, self.all().blobs());
        // Only an empty file is in no blob, and nobody reads that.
        let (Some(cell), Some(id)) = (self.tree.contents.get(at), blobs.get(at)) else { return Err(FsError::Outside) };
        let tree = self.tree.root.open.id;
        let content = cell.get_or_try_init(|| async { Ok::<_, FsError>(open(*id).await?.of_tree(tree)) }).await?;
        if is_within(content, offset, size) { Ok((content, offset)) } else { Err(FsError::Outside) }
    }

    fn other(&self, at: usize) -> Self {
        Self { tree: Arc::clone(&self.tree), at }
    }

    fn all(&self) -> &Tree {
        &self.tree.root.open.tree
    }
}

/// A tree comes from anyone, and may say of its files what it likes.
pub(crate) fn is_within(content: &Content, offset: u64, size: u64) -> bool {
    offset.checked_add(size).is_some_and(|end| end <= content.size())
}
