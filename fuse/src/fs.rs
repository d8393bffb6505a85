use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::{FileAttr, FileType, INodeNo};
use herring_blob::BlobId;
use herring_swarm::{Content, ReadError, Swarm};
use tokio::sync::mpsc;

use crate::error::FsError;
use crate::inodes::Inodes;
use crate::listing::{Listing, Listings};
use crate::node::{BLOBS, Node, Place, ROOT};
use crate::pages::Pages;
use crate::tree::{NAME_MAX, Tree};

/// A year: what does not hold any more is taken back from the kernel explicitly, so that no reader ever waits because time has passed.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long the kernel believes that a blob is no link yet.
const NOT_NATIVE_TTL: Duration = Duration::from_secs(1);
/// Files that changed under their readers and whose names are yet to be taken back. Of more, freshness takes care.
const MAX_CHANGED: usize = 64;
/// What programs take as a good size for a read: the largest that the kernel asks for at once.
const BLOCK_SIZE: u32 = 1 << 20;

/// The filesystem without a kernel: every method is what a request means.
pub(crate) struct HerringFs {
    swarm: Swarm,
    tree: Tree,
    inodes: Inodes,
    listings: Listings,
    owner: (u32, u32),
    /// Where the kernel may have pages of the same bytes as the store's files.
    pages: Pages,
    /// How often names were taken back; see [`Self::entry`].
    taken_back: AtomicU64,
    changed: mpsc::Sender<u64>,
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
    /// Everything belongs to who runs this process. The receiver gives the inodes whose names do not hold any more.
    pub fn new(swarm: Swarm) -> (Self, mpsc::Receiver<u64>) {
        let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let mounted = SystemTime::now();
        let tree = Tree::new(swarm.clone(), mounted);
        let (changed, changes) = mpsc::channel(MAX_CHANGED);
        let (inodes, listings, pages) = (Inodes::new(mounted), Listings::new(), Pages::new(swarm.clone()));
        (Self { swarm, tree, inodes, listings, owner, pages, taken_back: AtomicU64::new(0), changed }, changes)
    }

    /// What `name` is in the directory `parent`. Counts as one lookup until it is forgotten.
    pub async fn lookup(&self, parent: u64, name: &OsStr) -> Result<Entry, FsError> {
        let directory = self.inodes.get(parent)?;
        if name.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        // Ids are ASCII and keys are UTF-8, so nothing else can be here.
        let name = name.to_str().ok_or(FsError::NoEntry)?;
        directory.seen.touch();
        let since = self.taken_back();
        let node = self.tree.find(&directory.place, name).await?;
        Ok(self.enter(parent, node, since))
    }

    /// The answer to a lookup that needs no waiting: of the few names that are always there, and of blobs whose manifests are here.
    pub fn lookup_now(&self, parent: u64, name: &OsStr) -> Option<Result<Entry, FsError>> {
        let (name, since) = (name.to_str().unwrap_or_default(), self.taken_back());
        let found = match parent {
            ROOT => self.tree.find_fixed(name),
            BLOBS => Ok(self.tree.find_blob_now(name)?),
            _ => return None,
        };
        Some(found.map(|node| self.enter(parent, node, since)))
    }

    pub fn getattr(&self, ino: u64) -> Result<(FileAttr, Duration), FsError> {
        Ok((self.attr(&*self.inodes.get(ino)?), FOR_EVER))
    }

    pub fn forget(&self, ino: u64, lookups: u64) {
        self.inodes.forget(ino, lookups);
    }

    /// Fills `buffer` from `offset` on, less than all of it only at the end, if that takes no waiting.
    pub fn read_now<'a>(&self, ino: u64, offset: u64, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        self.fill(ino, offset, buffer, Swarm::read_into_now)
    }

    /// The same from this node's disk, waiting for it. `None` where the disk lacks something of it.
    pub fn read_local<'a>(&self, ino: u64, offset: u64, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        self.fill(ino, offset, buffer, Swarm::read_into_local)
    }

    fn fill<'a>(
        &self,
        ino: u64,
        offset: u64,
        buffer: &'a mut [u8],
        read: impl FnOnce(&Swarm, &Content, u64, &mut [u8]) -> bool,
    ) -> Option<&'a [u8]> {
        let node = self.inodes.get(ino).ok()?;
        let (content, buffer) = node.within(offset, buffer)?;
        if !buffer.is_empty() && !read(&self.swarm, content, offset, buffer) {
            return None;
        }
        // Some of it may have been in the page cache, because a chunk was just written: that stays there.
        self.pages.note(content, offset, buffer.len());
        Some(buffer)
    }

    /// The bytes from `offset`, fewer than `len` only at the end, from wherever they are.
    pub async fn read(&self, ino: u64, offset: u64, len: u32) -> Result<Bytes, FsError> {
        let result = self.read_anywhere(ino, offset, len).await;
        if let Err(FsError::Gone | FsError::Read(ReadError::Changed { .. })) = &result {
            let _ = self.changed.try_send(ino);
        }
        result
    }

    async fn read_anywhere(&self, ino: u64, offset: u64, len: u32) -> Result<Bytes, FsError> {
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
        // What was fetched is in the page cache, because it was written to the store.
        self.pages.note(content, offset, bytes.len());
        Ok(bytes)
    }

    /// Where a link leads to.
    pub fn readlink(&self, ino: u64) -> Result<PathBuf, FsError> {
        match &self.inodes.get(ino)?.place {
            Place::Link { target, .. } => Ok(target.clone()),
            _ => Err(FsError::NotALink),
        }
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
        let directory = self.inodes.get(ino)?;
        directory.seen.touch();
        let place = directory.place.clone();
        let since = self.taken_back();
        self.listings.put(handle, self.tree.list(&place).await?, since)
    }

    /// Gives what is in `listing`, which is one of the directory `parent`, from `offset` on to `add`, which takes the next offset, the name and
    /// what it is, and returns whether there was no room. What was taken counts as looked up.
    pub fn enter_all(&self, parent: u64, listing: &Listing, offset: u64, mut add: impl FnMut(u64, &str, &Entry) -> bool) {
        for (next, item) in listing.from(offset) {
            let node = Node::new(item.place.clone(), item.size, item.modified);
            if item.is_dot() {
                if add(next, &item.name, &self.entry(&node, listing.since())) {
                    return;
                }
                continue;
            }
            let entry = self.enter(parent, node, listing.since());
            if add(next, &item.name, &entry) {
                return self.forget(entry.attr.ino.0, 1);
            }
        }
    }

    /// Bytes that this node's store has, and how many more it can take.
    pub fn space(&self) -> (u64, u64) {
        (self.swarm.usage().bytes, self.swarm.free())
    }

    /// Blobs that can be read natively are links from now on.
    pub fn set_native(&self) {
        self.tree.set_native();
    }

    /// The directories of `origin` in which the kernel knows something.
    pub fn known_directories(&self, origin: &str) -> Vec<Arc<Node>> {
        let ours = |node: &Arc<Node>| matches!(&node.place, Place::Prefix { origin: of, .. } if of == origin);
        self.inodes.parents().into_iter().filter(ours).collect()
    }

    /// What the kernel knows by name in `directory`.
    pub fn known(&self, directory: &Node) -> Vec<Arc<Node>> {
        self.inodes.named(directory.ino)
    }

    /// What the kernel believes about names in `directory` although its origin does not say so any more.
    pub async fn stale(&self, directory: &Node) -> Vec<Arc<Node>> {
        let Place::Prefix { origin, prefix } = &directory.place else { return Vec::new() };
        let known = self.inodes.named(directory.ino);
        if known.is_empty() {
            return known;
        }
        self.tree.stale(origin, prefix, known).await
    }

    /// How long what an origin said is believed.
    pub fn origin_ttl(&self, origin: &str) -> Duration {
        self.swarm.origin_ttl(origin)
    }

    /// A node that the kernel knows.
    pub fn node(&self, ino: u64) -> Option<Arc<Node>> {
        self.inodes.get(ino).ok()
    }

    /// What the kernel knows in `blobs/`.
    pub fn known_blobs(&self) -> Vec<BlobId> {
        let id = |node: Arc<Node>| match node.place {
            Place::Blob(id) | Place::Link { id, .. } => Some(id),
            _ => None,
        };
        self.inodes.named(BLOBS).into_iter().filter_map(id).collect()
    }

    /// Names are about to be taken back from the kernel: what is under way must not be believed for long.
    pub fn taking_back(&self) {
        self.taken_back.fetch_add(1, Ordering::AcqRel);
    }

    /// The name of `node` is about to be taken back. Gives the directory that it is in.
    pub fn unname(&self, node: &Node) -> Option<u64> {
        if let Place::Object(object) = &node.place {
            self.swarm.forget_object(&object.origin, &object.key);
        }
        self.inodes.unname(node.ino)
    }

    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    fn enter(&self, parent: u64, node: Node, since: u64) -> Entry {
        self.entry(&self.inodes.adopt(parent, node), since)
    }

    /// `since` is how often names had been taken back before the node was looked for. With more of that now, it may be one that the
    /// kernel was told of before it knew the name: then the name is good for this once.
    fn entry(&self, node: &Node, since: u64) -> Entry {
        let name_ttl = match node.place {
            _ if self.taken_back() != since => Duration::ZERO,
            Place::Blob(_) if self.tree.is_native() => NOT_NATIVE_TTL,
            _ => FOR_EVER,
        };
        Entry { attr: self.attr(node), name_ttl, attr_ttl: FOR_EVER }
    }

    fn taken_back(&self) -> u64 {
        self.taken_back.load(Ordering::Acquire)
    }

    fn attr(&self, node: &Node) -> FileAttr {
        let kind = node.place.kind();
        let (perm, nlink) = match kind {
            FileType::Directory => (0o555, 2),
            FileType::Symlink => (0o777, 1),
            _ => (0o444, 1),
        };
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
