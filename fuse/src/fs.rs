use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::{FileAttr, FileType, INodeNo};
use herring_blob::BlobId;
use herring_swarm::{Content, Listed, OpenError, Swarm, Usage};

use crate::error::FsError;
use crate::inodes::Inodes;
use crate::listing::{Item, Listing, Listings};
use crate::node::{Node, Place};

/// Bytes of one name. A key's segments may be longer elsewhere; programs cannot name them.
pub(crate) const NAME_MAX: u32 = 255;
/// A year: for what never changes. A deleted blob's name is taken back from the kernel explicitly.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long the kernel believes what an origin's key is: as long as the swarm believes the origin.
const ORIGIN_TTL: Duration = Duration::from_secs(1);
/// What programs take as a good size for a read: the largest that the kernel asks for at once.
const BLOCK_SIZE: u32 = 1 << 20;

/// The filesystem without a kernel: every method is what a request means.
pub(crate) struct HerringFs {
    swarm: Swarm,
    inodes: Inodes,
    listings: Listings,
    owner: (u32, u32),
    mounted: SystemTime,
    /// How many deletions were seen; see [`Self::lookup`].
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
        Self { swarm, inodes: Inodes::new(mounted), listings: Listings::new(), owner, mounted, deletions: AtomicU64::new(0) }
    }

    /// What `name` is in the directory `parent`. Counts as one lookup until it is forgotten.
    pub async fn lookup(&self, parent: u64, name: &OsStr) -> Result<Entry, FsError> {
        let parent = self.inodes.get(parent)?;
        if is_long(name.as_encoded_bytes()) {
            return Err(FsError::NameTooLong);
        }
        // Ids are ASCII and keys are UTF-8, so nothing else can be here.
        let name = name.to_str().ok_or(FsError::NoEntry)?;
        let deletions = self.deletions.load(Ordering::Acquire);
        let node = self.find(&parent.place, name).await?;
        let mut entry = self.enter(node);
        if self.deletions.load(Ordering::Acquire) != deletions {
            // Perhaps it was deleted meanwhile, and the kernel was told so before it knew the name.
            entry.name_ttl = Duration::ZERO;
        }
        Ok(entry)
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
        let content = node.content.get_or_try_init(|| self.open(&node)).await?;
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
        self.listings.put(handle, self.list(&place).await?)
    }

    /// Gives what is in `listing` from `offset` on to `add`, which takes the next offset, the name and what it is, and
    /// returns whether there was no room. What was taken counts as looked up.
    pub fn enter_all(&self, listing: &Listing, offset: u64, mut add: impl FnMut(u64, &str, &Entry) -> bool) {
        for (next, item) in listing.from(offset) {
            let node = Node::new(item.place.clone(), item.size, item.modified);
            if item.is_dot() {
                if add(next, &item.name, &self.entry(&node)) {
                    return;
                }
                continue;
            }
            let entry = self.enter(node);
            if add(next, &item.name, &entry) {
                return self.forget(entry.attr.ino.0, 1);
            }
        }
    }

    pub fn usage(&self) -> Usage {
        self.swarm.usage()
    }

    /// A deletion is about to be told to the kernel: lookups under way must not outlive it.
    pub fn deleting(&self) {
        self.deletions.fetch_add(1, Ordering::AcqRel);
    }

    /// The blobs that the kernel may know.
    pub fn known_blobs(&self) -> Vec<BlobId> {
        self.inodes.blobs()
    }

    async fn find(&self, parent: &Place, name: &str) -> Result<Node, FsError> {
        match parent {
            Place::Root => self.find_fixed(name),
            Place::Blobs => self.find_blob(name).await,
            Place::Origins => self.find_origin(name),
            Place::Prefix { origin, prefix } => self.find_key(origin, Place::key(prefix, name)).await,
            Place::Blob(_) | Place::Object(_) => Err(FsError::NotADirectory),
        }
    }

    fn find_fixed(&self, name: &str) -> Result<Node, FsError> {
        match name {
            "blobs" => Ok(self.directory(Place::Blobs)),
            "origins" => Ok(self.directory(Place::Origins)),
            _ => Err(FsError::NoEntry),
        }
    }

    /// Only the 64 lower-case digits: a file has one name.
    async fn find_blob(&self, name: &str) -> Result<Node, FsError> {
        let id: BlobId = name.parse().map_err(|_| FsError::NoEntry)?;
        if id.to_string() != name {
            return Err(FsError::NoEntry);
        }
        Ok(Node::opened(self.swarm.open_blob(id).await?))
    }

    fn find_origin(&self, name: &str) -> Result<Node, FsError> {
        if !self.swarm.origin_names().iter().any(|known| known == name) {
            return Err(FsError::NoEntry);
        }
        Ok(self.directory(Place::Prefix { origin: name.to_owned(), prefix: String::new() }))
    }

    /// A bucket can have both `a` and `a/b`: then `a` is the file.
    async fn find_key(&self, origin: &str, key: String) -> Result<Node, FsError> {
        match self.swarm.open_object(origin, &key).await {
            Ok(content) => Ok(Node::opened(content)),
            Err(OpenError::NotFound { .. }) => self.find_prefix(origin, key).await,
            Err(OpenError::InvalidKey { .. }) => Err(FsError::NoEntry),
            Err(error) => Err(error.into()),
        }
    }

    async fn find_prefix(&self, origin: &str, prefix: String) -> Result<Node, FsError> {
        match self.swarm.list_origin(origin, &prefix).await {
            // The key was valid a moment ago, so the complaint is about too many entries: a directory all the same.
            Ok(_) | Err(OpenError::InvalidKey { .. }) => Ok(self.directory(Place::Prefix { origin: origin.to_owned(), prefix })),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what was only listed so far, provided that it is still the same.
    async fn open(&self, node: &Node) -> Result<Content, FsError> {
        let opened = match &node.place {
            Place::Blob(id) => self.swarm.open_blob(*id).await,
            Place::Object(object) => self.swarm.open_object(&object.origin, &object.key).await,
            Place::Root | Place::Blobs | Place::Origins | Place::Prefix { .. } => return Err(FsError::IsADirectory),
        };
        match opened {
            Ok(content) if node.is(&content) => Ok(content),
            Ok(_) | Err(OpenError::NotFound { .. }) => Err(FsError::Gone),
            Err(error) => Err(error.into()),
        }
    }

    async fn list(&self, place: &Place) -> Result<Vec<Item>, FsError> {
        let mut items = vec![self.item(".", place.clone()), self.item("..", place.parent())];
        match place {
            Place::Root => items.extend([self.item("blobs", Place::Blobs), self.item("origins", Place::Origins)]),
            Place::Blobs => items.extend(self.list_blobs()),
            Place::Origins => items.extend(self.list_origins()),
            Place::Prefix { origin, prefix } => {
                let listed = self.swarm.list_origin(origin, prefix).await?;
                items.extend(listed.into_iter().filter_map(|one| self.listed(origin, prefix, one)));
            }
            Place::Blob(_) | Place::Object(_) => return Err(FsError::NotADirectory),
        }
        Ok(items)
    }

    fn list_blobs(&self) -> impl Iterator<Item = Item> {
        let blobs = self.swarm.local_blobs().into_iter();
        blobs.map(|blob| Item {
            name: blob.id.to_string(),
            place: Place::Blob(blob.id),
            size: blob.size,
            modified: blob.modified,
        })
    }

    fn list_origins(&self) -> impl Iterator<Item = Item> {
        let place = |origin: &String| Place::Prefix { origin: origin.clone(), prefix: String::new() };
        self.swarm.origin_names().into_iter().map(move |origin| self.item(&origin, place(&origin)))
    }

    /// Nothing for a name that no program could ask for.
    fn listed(&self, origin: &str, prefix: &str, one: Listed) -> Option<Item> {
        if is_long(one.name().as_bytes()) {
            return None;
        }
        let (origin, key) = (origin.to_owned(), Place::key(prefix, one.name()));
        Some(match one {
            Listed::Directory { name } => self.item(&name, Place::Prefix { origin, prefix: key }),
            Listed::Object { name, size, modified, version } => {
                Item { name, place: Place::listed(origin, key, version, size, modified), size, modified }
            }
        })
    }

    fn item(&self, name: &str, directory: Place) -> Item {
        Item::directory(name, directory, self.mounted)
    }

    fn directory(&self, place: Place) -> Node {
        Node::new(place, 0, self.mounted)
    }

    fn enter(&self, node: Node) -> Entry {
        self.entry(&self.inodes.adopt(node))
    }

    fn entry(&self, node: &Node) -> Entry {
        let name_ttl = if node.place.may_change() { ORIGIN_TTL } else { FOR_EVER };
        Entry { attr: self.attr(node), name_ttl, attr_ttl: FOR_EVER }
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

fn is_long(name: &[u8]) -> bool {
    name.len() > NAME_MAX as usize
}

#[cfg(test)]
mod tests;
