use std::time::SystemTime;

use herring_blob::BlobId;
use herring_swarm::{Content, Listed, OpenError, Swarm};

use crate::error::FsError;
use crate::listing::Item;
use crate::node::{Node, Place};

/// Bytes of one name. A key's segments may be longer elsewhere; programs cannot name them.
pub(crate) const NAME_MAX: usize = 255;

/// What is where: every question goes to the swarm, nothing is remembered here.
pub(crate) struct Tree {
    swarm: Swarm,
    /// The time of all directories, since no store knows one.
    mounted: SystemTime,
}

impl Tree {
    pub fn new(swarm: Swarm, mounted: SystemTime) -> Self {
        Self { swarm, mounted }
    }

    /// What `name` is in the directory `parent`.
    pub async fn find(&self, parent: &Place, name: &str) -> Result<Node, FsError> {
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
    pub async fn open(&self, node: &Node) -> Result<Content, FsError> {
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
