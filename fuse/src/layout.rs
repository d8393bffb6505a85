//! What is where: every question goes to the swarm, nothing is remembered here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use herring_blob::BlobId;
use herring_swarm::{Content, LocalBlob, OpenError, Swarm};

use crate::branch::is_within;
use crate::error::FsError;
use crate::found::Found;
use crate::listing::Item;
use crate::node::Node;
use crate::place::{LOCAL_NAME, Place};
use crate::trees::Trees;
use recent::Recent;

mod names;
mod origins;
mod recent;

pub(crate) use names::Segment;
pub(crate) use origins::listed;

/// Bytes of one name. A key's segments may be longer elsewhere; programs cannot name them.
pub(crate) const NAME_MAX: usize = 255;

pub(crate) struct Layout {
    swarm: Swarm,
    trees: Arc<Trees>,
    /// The time of all directories but those of trees, since no store knows one.
    mounted: SystemTime,
    /// Whether blobs that can be read natively are links to the store's files.
    native: AtomicBool,
    /// The origins of which it was said that they cannot be listed.
    unlisted: Mutex<HashSet<String>>,
    recent: Recent,
}

/// What a directory has.
pub(crate) enum Contents {
    Items(Vec<Item>),
    /// Of the directory among names that names with this prefix are in.
    Names(Vec<Segment>),
    /// Page by page of an origin.
    Pages {
        origin: String,
        prefix: String,
    },
}

impl Layout {
    pub fn new(swarm: Swarm, trees: Arc<Trees>, mounted: SystemTime) -> Self {
        Self { swarm, trees, mounted, native: AtomicBool::new(false), unlisted: Mutex::default(), recent: Recent::default() }
    }

    pub fn set_native(&self) {
        self.native.store(true, Ordering::Release);
    }

    pub fn is_native(&self) -> bool {
        self.native.load(Ordering::Acquire)
    }

    /// What `name` is in the directory `parent`, as the thread `reader` wants to know.
    pub async fn find(&self, parent: &Place, name: &str, reader: u32) -> Result<Found, FsError> {
        let node = match parent {
            Place::Root => self.find_fixed(name),
            Place::Blobs => self.find_blob(name).await,
            Place::Origins => self.find_origin(name),
            Place::Prefix { origin, prefix } => self.find_key(origin, Place::key(prefix, name), reader).await,
            Place::Names { prefix } => return self.find_name(prefix, name).await,
            // What is bound to `.local` is not ours to look into, and before it is bound nothing is there.
            Place::Local => Err(FsError::NoEntry),
            Place::Blob(_) | Place::Object(_) | Place::Slice(_) | Place::Link { .. } => Err(FsError::NotADirectory),
        };
        node.map(Found::Node)
    }

    pub fn find_fixed(&self, name: &str) -> Result<Node, FsError> {
        match name {
            "blobs" => Ok(self.directory(Place::Blobs)),
            "names" => Ok(self.directory(Place::Names { prefix: String::new() })),
            "origins" => Ok(self.directory(Place::Origins)),
            LOCAL_NAME => Ok(self.directory(Place::Local)),
            _ => Err(FsError::NoEntry),
        }
    }

    async fn find_blob(&self, name: &str) -> Result<Node, FsError> {
        let id = blob_id(name).ok_or(FsError::NoEntry)?;
        let content = self.swarm.open_blob(id).await?;
        if !self.is_native() {
            return Ok(Node::opened(content));
        }
        Ok(match self.link(id) {
            Some(target) => Node::new(Place::Link { id, target }, 0, content.modified()),
            None => {
                self.swarm.verify_soon(id);
                Node::opened(content)
            }
        })
    }

    /// The same where nobody need be asked, nor the disk.
    pub fn find_blob_now(&self, name: &str) -> Option<Node> {
        let id = blob_id(name).filter(|_| !self.is_native())?;
        Some(Node::opened(self.swarm.open_blob_now(id)?))
    }

    /// Where a blob's file is, seen from `blobs/`, if it can be read natively.
    fn link(&self, id: BlobId) -> Option<PathBuf> {
        let path = self.swarm.native_path(id)?;
        Some(Path::new("..").join(LOCAL_NAME).join(path))
    }

    /// Opens what was only listed so far, provided that it is still the same, for who will read so many of its first bytes.
    pub async fn open(&self, node: &Node, reading: u64) -> Result<Content, FsError> {
        let content = self.open_place(&node.place, reading).await?;
        let content = match node.tree {
            Some(tree) => content.of_tree(tree),
            None => content,
        };
        if node.is(&content) {
            return if is_within(&content, node.base(), node.size) { Ok(content) } else { Err(FsError::Outside) };
        }
        // A listing may be newer than what the swarm remembers of an object.
        if let Place::Object(object) = &node.place {
            self.swarm.forget_object(&object.origin, &object.key);
        }
        let content = self.open_place(&node.place, reading).await?;
        if node.is(&content) { Ok(content) } else { Err(FsError::Gone) }
    }

    async fn open_place(&self, place: &Place, reading: u64) -> Result<Content, FsError> {
        match place {
            Place::Blob(id) => self.open_blob(*id).await,
            Place::Slice(slice) => self.open_blob(slice.id).await,
            Place::Object(object) => self.swarm.open_to_read(&object.origin, &object.key, reading).await.map_err(gone),
            _ => Err(FsError::IsADirectory),
        }
    }

    /// Opens a blob that was there a moment ago.
    pub async fn open_blob(&self, id: BlobId) -> Result<Content, FsError> {
        self.swarm.open_blob(id).await.map_err(gone)
    }

    /// What is in a directory, `.` and `..` first; of pages, nothing is asked for yet.
    pub async fn list(&self, place: &Place) -> Result<Contents, FsError> {
        let mut items = vec![self.item(".", place.clone()), self.item("..", place.parent())];
        match place {
            Place::Root => items.extend(["blobs", "names", "origins"].into_iter().filter_map(|name| self.fixed(name))),
            Place::Blobs => items.extend(self.list_blobs()),
            Place::Origins => items.extend(self.list_origins()),
            Place::Prefix { origin, prefix } => {
                return Ok(Contents::Pages { origin: origin.clone(), prefix: prefix.clone() });
            }
            Place::Names { prefix } => return self.list_names(prefix).await.map(Contents::Names),
            Place::Local => {}
            Place::Blob(_) | Place::Object(_) | Place::Slice(_) | Place::Link { .. } => return Err(FsError::NotADirectory),
        }
        Ok(Contents::Items(items))
    }

    fn fixed(&self, name: &str) -> Option<Item> {
        let node = self.find_fixed(name).ok()?;
        Some(self.item(name, node.place))
    }

    fn list_blobs(&self) -> impl Iterator<Item = Item> {
        let native = self.is_native();
        self.swarm.local_blobs().into_iter().map(move |LocalBlob { id, size, modified }| {
            let place = match native.then(|| self.link(id)).flatten() {
                Some(target) => Place::Link { id, target },
                None => Place::Blob(id),
            };
            Item { name: id.to_string(), place, size, modified }
        })
    }

    fn item(&self, name: &str, directory: Place) -> Item {
        Item::directory(name, directory, self.mounted)
    }

    fn directory(&self, place: Place) -> Node {
        Node::new(place, 0, self.mounted)
    }
}

/// What was there a moment ago and is not any more.
fn gone(error: OpenError) -> FsError {
    match error {
        OpenError::NotFound { .. } => FsError::Gone,
        error => error.into(),
    }
}

/// Only the 64 lower-case digits: a file has one name.
fn blob_id(name: &str) -> Option<BlobId> {
    name.parse().ok().filter(|id: &BlobId| id.to_string() == name)
}
