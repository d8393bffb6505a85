use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use herring_blob::BlobId;
use herring_swarm::{Content, Listed, LocalBlob, OpenError, Swarm};

use crate::error::FsError;
use crate::listing::Item;
use crate::node::{LOCAL_NAME, Node, Place};

/// Bytes of one name. A key's segments may be longer elsewhere; programs cannot name them.
pub(crate) const NAME_MAX: usize = 255;

/// What is where: every question goes to the swarm, nothing is remembered here.
pub(crate) struct Tree {
    swarm: Swarm,
    /// The time of all directories, since no store knows one.
    mounted: SystemTime,
    /// Whether blobs that can be read natively are links to the store's files.
    native: AtomicBool,
}

impl Tree {
    pub fn new(swarm: Swarm, mounted: SystemTime) -> Self {
        Self { swarm, mounted, native: AtomicBool::new(false) }
    }

    pub fn set_native(&self) {
        self.native.store(true, Ordering::Release);
    }

    pub fn is_native(&self) -> bool {
        self.native.load(Ordering::Acquire)
    }

    /// What `name` is in the directory `parent`.
    pub async fn find(&self, parent: &Place, name: &str) -> Result<Node, FsError> {
        match parent {
            Place::Root => self.find_fixed(name),
            Place::Blobs => self.find_blob(name).await,
            Place::Origins => self.find_origin(name),
            Place::Prefix { origin, prefix } => self.find_key(origin, Place::key(prefix, name)).await,
            // What is bound to `.local` is not ours to look into, and before it is bound nothing is there.
            Place::Local => Err(FsError::NoEntry),
            Place::Blob(_) | Place::Object(_) | Place::Link { .. } => Err(FsError::NotADirectory),
        }
    }

    pub fn find_fixed(&self, name: &str) -> Result<Node, FsError> {
        match name {
            "blobs" => Ok(self.directory(Place::Blobs)),
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
    pub async fn open(&self, node: &Node) -> Result<Content, FsError> {
        let content = self.open_place(&node.place).await?;
        if node.is(&content) {
            return Ok(content);
        }
        // A listing may be newer than what the swarm remembers of an object.
        if let Place::Object(object) = &node.place {
            self.swarm.forget_object(&object.origin, &object.key);
        }
        let content = self.open_place(&node.place).await?;
        if node.is(&content) { Ok(content) } else { Err(FsError::Gone) }
    }

    async fn open_place(&self, place: &Place) -> Result<Content, FsError> {
        let opened = match place {
            Place::Blob(id) => self.swarm.open_blob(*id).await,
            Place::Object(object) => self.swarm.open_object(&object.origin, &object.key).await,
            _ => return Err(FsError::IsADirectory),
        };
        opened.map_err(|error| match error {
            OpenError::NotFound { .. } => FsError::Gone,
            error => error.into(),
        })
    }

    /// Those of the `known` names in a directory of an origin that are gone, or something else by now.
    ///
    /// One listing, however many they are. An origin that does not answer changes nothing: stale beats broken. One that answers but
    /// cannot list the directory leaves all of them in doubt.
    pub async fn stale(&self, origin: &str, prefix: &str, known: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
        let listed = match self.swarm.list_origin(origin, prefix).await {
            Ok(listed) => listed,
            Err(OpenError::Unavailable { .. }) if !self.answers(&known).await => return Vec::new(),
            Err(_) => return known,
        };
        // Of an object and a directory of one name the object is what a lookup finds; it is listed second.
        let listed: HashMap<&str, &Listed> = listed.iter().map(|one| (one.name(), one)).collect();
        let is_stale = |node: &Arc<Node>| !listed.get(&*node.place.name()).is_some_and(|listed| node.is_listed(listed));
        known.into_iter().filter(is_stale).collect()
    }

    /// Whether the origin says anything about the first object of these.
    async fn answers(&self, known: &[Arc<Node>]) -> bool {
        let Some(Place::Object(object)) = known.iter().map(|node| &node.place).find(|place| matches!(place, Place::Object(_)))
        else {
            return false;
        };
        self.swarm.forget_object(&object.origin, &object.key);
        !matches!(self.swarm.open_object(&object.origin, &object.key).await, Err(OpenError::Unavailable { .. }))
    }

    /// Everything in a directory, `.` and `..` first.
    pub async fn list(&self, place: &Place) -> Result<Vec<Item>, FsError> {
        let mut items = vec![self.item(".", place.clone()), self.item("..", place.parent())];
        match place {
            Place::Root => items.extend([self.item("blobs", Place::Blobs), self.item("origins", Place::Origins)]),
            Place::Blobs => items.extend(self.list_blobs()),
            Place::Origins => items.extend(self.list_origins()),
            Place::Prefix { origin, prefix } => {
                let listed = self.swarm.list_origin(origin, prefix).await?;
                items.extend(listed.into_iter().filter_map(|one| self.listed(origin, prefix, one)));
            }
            Place::Local => {}
            Place::Blob(_) | Place::Object(_) | Place::Link { .. } => return Err(FsError::NotADirectory),
        }
        Ok(items)
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

    fn list_origins(&self) -> impl Iterator<Item = Item> {
        let place = |origin: &String| Place::Prefix { origin: origin.clone(), prefix: String::new() };
        self.swarm.origin_names().into_iter().map(move |origin| self.item(&origin, place(&origin)))
    }

    /// Nothing for a name that no program could ask for.
    fn listed(&self, origin: &str, prefix: &str, one: Listed) -> Option<Item> {
        if one.name().len() > NAME_MAX {
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
}

/// Only the 64 lower-case digits: a file has one name.
fn blob_id(name: &str) -> Option<BlobId> {
    name.parse().ok().filter(|id: &BlobId| id.to_string() == name)
}
