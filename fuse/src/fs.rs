use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fuser::FileAttr;
use herring_blob::BlobId;
use herring_swarm::Swarm;
use tokio::sync::mpsc;

use crate::attr::Owner;
use crate::branch::Branch;
use crate::error::FsError;
use crate::found::{Found, Inode};
use crate::inodes::Inodes;
use crate::layout::{Layout, NAME_MAX};
use crate::listing::Listings;
use crate::node::Node;
use crate::pages::Pages;
use crate::place::{BLOBS, Place, ROOT};
use crate::trees::Trees;

mod list;
mod read;

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

    /// What `name` is in the directory `parent`, as the thread `reader` wants to know. Counts as one lookup until it is forgotten.
    pub async fn lookup(&self, parent: u64, name: &OsStr, reader: u32) -> Result<Entry, FsError> {
        if let Some(found) = self.lookup_now(parent, name) {
            return found;
        }
        let directory = self.inodes.get(parent)?;
        let name = spelled(name)?;
        directory.seen.touch();
        let since = self.taken_back();
        let found = self.layout.find(&directory.place, name, reader).await?;
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

    /// The names of trees to take back once the kernel knows too many of them, as directory and name.
    pub async fn crowded(&self) -> Vec<(u64, String)> {
        self.trees.crowded().await
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
            // Believed for no time: an empty directory in its place would be copied as one.
            Found::Unopened(node) => Entry { name_ttl: Duration::ZERO, ..self.enter(parent, Found::Node(node), since) },
            Found::Root(root) => self.entry(&self.trees.plant(&root), NAME_TTL),
        }
    }

    fn entry(&self, branch: &Branch, name_ttl: Duration) -> Entry {
        Entry { attr: self.owner.of_branch(branch), name_ttl, attr_ttl: FOR_EVER }
    }

    /// Of all that is said of `.` and `..` the kernel takes the number and the type.
    fn dot(&self, found: &Found) -> Entry {
        let node = Node { ino: found.ino(), ..Node::new(Place::Root, 0, self.mounted) };
        Entry { attr: self.owner.of_node(&node), name_ttl: Duration::ZERO, attr_ttl: Duration::ZERO }
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
