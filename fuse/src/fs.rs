use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::FileAttr;
use herring_blob::{BlobId, ByteRange};
use herring_swarm::{Content, ReadError, Swarm};
use tokio::sync::mpsc;

use crate::attr::Owner;
use crate::branch::Branch;
use crate::error::FsError;
use crate::found::{Found, Inode};
use crate::inodes::Inodes;
use crate::layout::{Contents, Layout, NAME_MAX, Segment};
use crate::listing::{Listing, Listings, Paged, Part, Whole, is_dot};
use crate::node::{BLOBS, Node, Place, ROOT};
use crate::pages::Pages;
use crate::trees::Trees;

/// A year: what does not hold any more is taken back from the kernel explicitly, so that no reader ever waits because time has passed.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long the kernel believes that a blob is no link yet.
const NOT_NATIVE_TTL: Duration = Duration::from_secs(1);
/// How long it believes what a name points at. The swarm's own answer may be a second old, and a second is what users are told.
const NAME_TTL: Duration = Duration::from_millis(100);
/// How long it believes that there are names below a directory, which all members are asked for.
const ABOVE_NAMES_TTL: Duration = Duration::from_secs(1);
/// Files that changed under their readers and whose names are yet to be taken back. Of more, freshness takes care.
const MAX_CHANGED: usize = 64;

/// The filesystem without a kernel: every method is what a request means.
pub(crate) struct HerringFs {
    swarm: Swarm,
    layout: Layout,
    inodes: Inodes,
    trees: Arc<Trees>,
    listings: Listings,
    owner: Owner,
    mounted: SystemTime,
    /// Where the kernel may have pages of the same bytes as the store's files.
    pages: Pages,
    /// How often names were taken back; see [`Self::name_ttl`].
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
        let (mounted, trees) = (SystemTime::now(), Arc::<Trees>::default());
        let (changed, changes) = mpsc::channel(MAX_CHANGED);
        let fs = Self {
            layout: Layout::new(swarm.clone(), Arc::clone(&trees), mounted),
            inodes: Inodes::new(mounted),
            trees,
            listings: Listings::new(),
            owner: Owner::me(),
            mounted,
            pages: Pages::new(swarm.clone()),
            taken_back: AtomicU64::new(0),
            changed,
            swarm,
        };
        (fs, changes)
    }

    /// What `name` is in the directory `parent`. Counts as one lookup until it is forgotten.
    pub async fn lookup(&self, parent: u64, name: &OsStr) -> Result<Entry, FsError> {
        if let Some(found) = self.lookup_now(parent, name) {
            return found;
        }
        let directory = self.inodes.get(parent)?;
        let name = spelled(name)?;
        directory.seen.touch();
        let since = self.taken_back();
        let found = self.layout.find(&directory.place, name).await?;
        Ok(self.enter(parent, found, Some(since)))
    }

    /// The answer to a lookup that needs no waiting: of the few names that are always there, of blobs whose manifests are here, of all that is in
    /// trees, and of what an origin listed a moment ago.
    pub fn lookup_now(&self, parent: u64, name: &OsStr) -> Option<Result<Entry, FsError>> {
        if let Some(branch) = self.trees.get(parent) {
            let found = spelled(name).and_then(|name| branch.find(name));
            return Some(found.map(|found| self.enter(parent, found, None)));
        }
        let (name, since) = (spelled(name).ok()?, self.taken_back());
        let found = match parent {
            ROOT => self.layout.find_fixed(name),
            BLOBS => Ok(self.layout.find_blob_now(name)?),
            _ => {
                let directory = self.inodes.get(parent).ok()?;
                directory.seen.touch();
                Ok(self.layout.find_listed(&directory.place, name, since)?)
            }
        };
        Some(found.map(|node| self.enter(parent, Found::Node(node), Some(since))))
    }

    pub fn getattr(&self, ino: u64) -> Result<(FileAttr, Duration), FsError> {
        Ok((self.owner.attr(&self.inode(ino)?), FOR_EVER))
    }

    pub fn forget(&self, ino: u64, lookups: u64) {
        if !self.trees.forget(ino, lookups) {
            self.inodes.forget(ino, lookups);
        }
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
        let inode = self.inode(ino).ok()?;
        let (content, at, buffer) = inode.within(offset, buffer)?;
        if !buffer.is_empty() && !read(&self.swarm, content, at, buffer) {
            return None;
        }
        // Some of it may have been in the page cache, because a chunk was just written: that stays there.
        self.pages.note(content, at, buffer.len());
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
        let inode = self.inode(ino)?;
        let (content, base) = match &inode {
            Inode::Node(node) => (node.content.get_or_try_init(|| self.layout.open(node)).await?, node.base()),
            Inode::Branch(branch) => branch.open(|id| self.layout.open_blob(id)).await?,
        };
        let range = inode.range(offset, len);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let bytes = self.swarm.read(content, ByteRange::at(base + range.start, range.len())).await?;
        if bytes.len() as u64 != range.len() {
            return Err(FsError::Short { wanted: range.len(), got: bytes.len() });
        }
        // What was fetched is in the page cache, because it was written to the store.
        self.pages.note(content, base + offset, bytes.len());
        Ok(bytes)
    }

    /// Where a link leads to.
    pub fn readlink(&self, ino: u64) -> Result<PathBuf, FsError> {
        match self.inode(ino)? {
            Inode::Branch(branch) => branch.target(),
            Inode::Node(node) => match &node.place {
                Place::Link { target, .. } => Ok(target.clone()),
                _ => Err(FsError::NotALink),
            },
        }
    }

    pub fn open_directory(&self) -> u64 {
        self.listings.handle()
    }

    pub fn close_directory(&self, handle: u64) {
        self.listings.close(handle);
    }

    /// What is in a directory of a tree, from `offset` on.
    pub fn listing_now(&self, ino: u64, offset: u64) -> Option<Part> {
        let branch = self.trees.get(ino).filter(|branch| branch.entry().is_directory())?;
        Some(Part::Branch(branch, offset))
    }

    /// What is in a directory, from `offset` on, where a reader of `handle` goes on; at the beginning, as it is now. Some of it at least, unless that is the
    /// end.
    pub async fn listing(&self, ino: u64, handle: u64, offset: u64) -> Result<Part, FsError> {
        if let Some(part) = self.listing_now(ino, offset) {
            return Ok(part);
        }
        let Inode::Node(directory) = self.inode(ino)? else { return Err(FsError::NotADirectory) };
        let listing = match self.listings.get(handle).filter(|_| offset > 0) {
            Some(listing) => listing,
            None => self.begin(&directory).await?,
        };
        // Nothing is kept of what cannot be listed.
        let part = self.part(&directory, &listing, offset).await?;
        self.listings.put(handle, listing);
        Ok(part)
    }

    async fn begin(&self, directory: &Node) -> Result<Listing, FsError> {
        directory.seen.touch();
        let since = self.taken_back();
        Ok(match self.layout.list(&directory.place).await? {
            Contents::Items(items) => Listing::Whole(self.listings.whole(items, since)?),
            Contents::Names(segments) => Listing::Names(self.listings.whole(segments, since)?),
            Contents::Pages { origin, prefix } => Listing::Paged(Arc::new(Paged::new(origin, prefix, self.mounted))),
        })
    }

    async fn part(&self, directory: &Node, listing: &Listing, offset: u64) -> Result<Part, FsError> {
        match listing {
            Listing::Whole(whole) => Ok(Part::Whole(Arc::clone(whole), offset)),
            Listing::Names(whole) => Ok(self.part_of_names(directory, whole, offset).await),
            Listing::Paged(paged) => {
                let ask = async |token: Option<String>| {
                    let since = self.taken_back();
                    Ok((self.layout.page(&paged.origin, &paged.prefix, token.as_deref(), since).await?, since))
                };
                paged.part(offset, ask).await.map(Part::Page)
            }
        }
    }

    async fn part_of_names(&self, directory: &Node, whole: &Whole<Segment>, offset: u64) -> Part {
        let items = match &directory.place {
            Place::Names { prefix } => self.layout.look_into(prefix, whole, offset).await,
            _ => Vec::new(),
        };
        Part::Names(items, whole.since)
    }

    /// Gives what is in `part`, which is of the directory `parent`, to `add`, which takes the offset of what follows, the name and what it is, and returns
    /// whether there was no room. What was taken counts as looked up.
    pub fn enter_all(&self, parent: u64, part: &Part, mut add: impl FnMut(u64, &str, &Entry) -> bool) {
        for (next, name, found) in part.items() {
            if is_dot(name) {
                if add(next, name, &self.dot(found)) {
                    return;
                }
                continue;
            }
            let entry = self.enter(parent, found, part.since());
            if add(next, name, &entry) {
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
        self.layout.set_native();
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
        self.layout.stale(origin, prefix, known).await
    }

    /// How long what an origin said is believed.
    pub fn origin_ttl(&self, origin: &str) -> Duration {
        self.swarm.origin_ttl(origin)
    }

    /// A node that the kernel knows, and whose name can be taken back.
    pub fn node(&self, ino: u64) -> Option<Arc<Node>> {
        self.inodes.get(ino).ok().filter(|node| node.place.can_change())
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

    fn inode(&self, ino: u64) -> Result<Inode, FsError> {
        match self.trees.get(ino) {
            Some(branch) => Ok(Inode::Branch(branch)),
            None => self.inodes.get(ino).map(Inode::Node),
        }
    }

    /// `since` is how often names had been taken back before it was looked for; nothing for what never is.
    fn enter(&self, parent: u64, found: Found, since: Option<u64>) -> Entry {
        match found {
            Found::Node(node) => {
                let node = self.inodes.adopt(parent, node);
                Entry { attr: self.owner.of_node(&node), name_ttl: self.name_ttl(&node, since), attr_ttl: FOR_EVER }
            }
            Found::Branch(branch) => {
                branch.tree().count();
                self.entry(&branch, FOR_EVER)
            }
            Found::Root(root) => self.entry(&self.trees.plant(&root), NAME_TTL),
        }
    }

    fn entry(&self, branch: &Branch, name_ttl: Duration) -> Entry {
        Entry { attr: self.owner.of_branch(branch), name_ttl, attr_ttl: FOR_EVER }
    }

    /// Of all that is said of `.` and `..` the kernel takes the number and the type.
    fn dot(&self, found: Found) -> Entry {
        match found {
            Found::Branch(branch) => self.entry(&branch, Duration::ZERO),
            found => {
                let node = Node::new(Place::Root, 0, self.mounted);
                Entry {
                    attr: self.owner.of_node(&Node { ino: found.ino(), ..node }),
                    name_ttl: Duration::ZERO,
                    attr_ttl: Duration::ZERO,
                }
            }
        }
    }

    /// Where names were taken back since a node was looked for, it may be one that the kernel was told of before it knew the name: then the name is
    /// good for this once.
    fn name_ttl(&self, node: &Node, since: Option<u64>) -> Duration {
        match &node.place {
            Place::Slice(_) if since.is_none() => FOR_EVER,
            Place::Slice(_) => NAME_TTL,
            Place::Names { prefix } if !prefix.is_empty() => ABOVE_NAMES_TTL,
            _ if since.is_some_and(|since| since != self.taken_back()) => Duration::ZERO,
            Place::Blob(_) if self.layout.is_native() => NOT_NATIVE_TTL,
            _ => FOR_EVER,
        }
    }

    fn taken_back(&self) -> u64 {
        self.taken_back.load(Ordering::Acquire)
    }
}

/// Ids are ASCII, keys and names are UTF-8, so nothing else can be here. What is no name at all the kernel does not ask for.
fn spelled(name: &OsStr) -> Result<&str, FsError> {
    match name.to_str() {
        _ if name.len() > NAME_MAX => Err(FsError::NameTooLong),
        None | Some("" | "." | "..") => Err(FsError::NoEntry),
        Some(name) if name.contains('/') => Err(FsError::NoEntry),
        Some(name) => Ok(name),
    }
}

#[cfg(test)]
mod tests;
