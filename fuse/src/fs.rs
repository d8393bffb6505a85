use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::{FileAttr, FileType, INodeNo};
use herring_blob::BlobId;
use herring_swarm::{Swarm, Usage};

use crate::error::FsError;
use crate::inodes::Inodes;
use crate::listing::{Listing, Listings};
use crate::node::Node;
use crate::tree::{NAME_MAX, Tree};

/// A year: for what never changes. A deleted blob's name is taken back from the kernel explicitly.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long the kernel believes what an origin's key is: as long as the swarm believes the origin.
const ORIGIN_TTL: Duration = Duration::from_secs(1);
/// What programs take as a good size for a read: the largest that the kernel asks for at once.
const BLOCK_SIZE: u32 = 1 << 20;

/// The filesystem without a kernel: every method is what a request means.
pub(crate) struct HerringFs {
    swarm: Swarm,
    tree: Tree,
    inodes: Inodes,
    listings: Listings,
    owner: (u32, u32),
    /// How many deletions the kernel was told; see [`Self::entry`].
    deletions: AtomicU64,
}

/// What the kernel is told of a name.
#[derive(Debug)]
pub(crate) struct Entry {
    pub attr: FileAttr,
    /// How long the name may be believed.
    pub name_ttl: Duration,
    /// How long the attributes may be believed: for ever, since another version is another inode.
    pub attr_ttl: Duration,
}

impl HerringFs {
    /// Everything belongs to who runs this process.
    pub fn new(swarm: Swarm) -> Self {
        let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let mounted = SystemTime::now();
        let tree = Tree::new(swarm.clone(), mounted);
        Self { swarm, tree, inodes: Inodes::new(mounted), listings: Listings::new(), owner, deletions: AtomicU64::new(0) }
    }

    /// What `name` is in the directory `parent`. Counts as one lookup until it is forgotten.
    pub async fn lookup(&self, parent: u64, name: &OsStr) -> Result<Entry, FsError> {
        let parent = self.inodes.get(parent)?;
        if name.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        // Ids are ASCII and keys are UTF-8, so nothing else can be here.
        let name = name.to_str().ok_or(FsError::NoEntry)?;
        let since = self.deletions();
        let node = self.tree.find(&parent.place, name).await?;
        Ok(self.enter(node, since))
    }

    pub fn getattr(&self, ino: u64) -> Result<(FileAttr, Duration), FsError> {
        Ok((self.attr(&*self.inodes.get(ino)?), FOR_EVER))
    }

    pub fn forget(&self, ino: u64, lookups: u64) {
        self.inodes.forget(ino, lookups);
    }

    /// The bytes from `offset`, fewer than `len` only at the end, if that takes no waiting.
    pub fn read_now(&self, ino: u64, offset: u64, len: u32) -> Option<Bytes> {
        let node = self.inodes.get(ino).ok()?;
        let range = node.range(offset, len);
        let bytes = self.swarm.read_now(node.content.get()?, range)?;
        (bytes.len() as u64 == range.len()).then_some(bytes)
    }

    /// The bytes from `offset`, fewer than `len` only at the end.
    pub async fn read(&self, ino: u64, offset: u64, len: u32) -> Result<Bytes, FsError> {
        let node = self.inodes.get(ino)?;
        let content = node.content.get_or_try_init(|| self.tree.open(&node)).await?;
        let range = node.range(offset, len);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let bytes = self.swarm.read(content, range).await?;
        if bytes.len() as u64 != range.len() {
            return Err(FsError::Short { wanted: range.len(), got: bytes.len() });
        }
        Ok(bytes)
    }

    pub fn open_directory(&self) -> u64 {
        self.listings.handle()
    }

    pub fn close_directory(&self, handle: u64) {
        self.listings.close(handle);
    }

    /// The listing that a reader of `handle` goes on with at `offset`; at the beginning, a new one.
    pub async fn listing(&self, ino: u64, handle: u64, offset: u64) -> Result<Arc<Listing>, FsError> {
        if offset > 0
            && let Some(listing) = self.listings.get(handle)
        {
            return Ok(listing);
        }
        let place = self.inodes.get(ino)?.place.clone();
        let since = self.deletions();
        self.listings.put(handle, self.tree.list(&place).await?, since)
    }

    /// Gives what is in `listing` from `offset` on to `add`, which takes the next offset, the name and what it is, and
    /// returns whether there was no room. What was taken counts as looked up.
    pub fn enter_all(&self, listing: &Listing, offset: u64, mut add: impl FnMut(u64, &str, &Entry) -> bool) {
        for (next, item) in listing.from(offset) {
            let node = Node::new(item.place.clone(), item.size, item.modified);
            if item.is_dot() {
                if add(next, &item.name, &self.entry(&node, listing.since())) {
                    return;
                }
                continue;
            }
            let entry = self.enter(node, listing.since());
            if add(next, &item.name, &entry) {
                return self.forget(entry.attr.ino.0, 1);
            }
        }
    }

    pub fn usage(&self) -> Usage {
        self.swarm.usage()
    }

    /// A deletion is about to be told to the kernel: what is under way must not be believed for long.
    pub fn deleting(&self) {
        self.deletions.fetch_add(1, Ordering::AcqRel);
    }

    /// The blobs that the kernel may know.
    pub fn known_blobs(&self) -> Vec<BlobId> {
        self.inodes.blobs()
    }

    fn enter(&self, node: Node, since: u64) -> Entry {
        self.entry(&self.inodes.adopt(node), since)
    }

    /// `since` is how many deletions there were before the node was looked for. With more of them now, it may be one that the
    /// kernel was told of before it knew the name: then the name is good for this once.
    fn entry(&self, node: &Node, since: u64) -> Entry {
        let name_ttl = match node.place.may_change() {
            _ if self.deletions() != since => Duration::ZERO,
            true => ORIGIN_TTL,
            false => FOR_EVER,
        };
        Entry { attr: self.attr(node), name_ttl, attr_ttl: FOR_EVER }
    }

    fn deletions(&self) -> u64 {
        self.deletions.load(Ordering::Acquire)
    }

    fn attr(&self, node: &Node) -> FileAttr {
        let (kind, perm, nlink) =
            if node.place.is_directory() { (FileType::Directory, 0o555, 2) } else { (FileType::RegularFile, 0o444, 1) };
        FileAttr {
            ino: INodeNo(node.ino),
            size: node.size,
            blocks: node.size.div_ceil(512),
            atime: node.modified,
            mtime: node.modified,
            ctime: node.modified,
            crtime: node.modified,
            kind,
            perm,
            nlink,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: BLOCK_SIZE,
            flags: 0,
        }
    }
}

#[cfg(test)]
mod tests;
