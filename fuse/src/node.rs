use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use fuser::FileType;
use herring_blob::BlobId;
use herring_swarm::{Content, Listed, Source};
use tokio::sync::OnceCell;

use crate::place::{Place, Slice, UNNAMED, moment};

/// A file or directory. Immutable, but that a file is opened in the swarm when its first byte is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub ino: u64,
    pub place: Place,
    /// Bytes; of a link its target's length; 0 for a directory.
    pub size: u64,
    pub modified: SystemTime,
    pub content: OnceCell<Content>,
    /// The tree that it was found in first, for its boot profile.
    pub tree: Option<BlobId>,
    /// When something in this directory was asked for last.
    pub seen: Seen,
}

/// A moment that can be moved to now.
#[derive(Debug)]
pub(crate) struct Seen {
    begin: Instant,
    /// Seconds since then.
    last: AtomicU64,
}

impl Seen {
    fn now() -> Self {
        Self { begin: Instant::now(), last: AtomicU64::new(0) }
    }

    pub fn touch(&self) {
        self.last.store(self.begin.elapsed().as_secs(), Relaxed);
    }

    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed().saturating_sub(Duration::from_secs(self.last.load(Relaxed)))
    }
}

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self { begin: self.begin, last: AtomicU64::new(self.last.load(Relaxed)) }
    }
}

impl Node {
    pub fn new(place: Place, size: u64, modified: SystemTime) -> Self {
        let size = match &place {
            Place::Link { target, .. } => target.as_os_str().len() as u64,
            _ => size,
        };
        Self { ino: place.ino(), place, size, modified, content: OnceCell::new(), tree: None, seen: Seen::now() }
    }

    pub fn slice(slice: Slice) -> Self {
        Self::new(Place::Slice(slice), slice.size, moment(slice.modified_ns))
    }

    pub fn opened(content: Content) -> Self {
        let place = match content.source() {
            Source::Blob(manifest) => Place::Blob(manifest.id()),
            Source::Object(object) => Place::Object(object.clone()),
        };
        let ino = place.ino();
        let (size, modified) = (content.size(), content.modified());
        Self { ino, place, size, modified, content: OnceCell::new_with(Some(content)), tree: None, seen: Seen::now() }
    }

    /// Where in its content the file begins.
    pub fn base(&self) -> u64 {
        match &self.place {
            Place::Slice(slice) => slice.offset,
            _ => 0,
        }
    }

    /// Permission bits.
    pub fn mode(&self) -> u16 {
        match (&self.place, self.place.kind()) {
            (Place::Slice(slice), _) => slice.mode,
            (_, FileType::Directory) => 0o555,
            (_, FileType::Symlink) => 0o777,
            _ => 0o444,
        }
    }

    /// Whether `content` is what this node stands for.
    pub fn is(&self, content: &Content) -> bool {
        match &self.place {
            Place::Object(object) if object.version.starts_with(UNNAMED) => {
                content.size() == self.size && content.modified() == self.modified
            }
            place => place.content_id() == Some(content.id()),
        }
    }

    /// Whether an origin still has this node, as far as its listing tells.
    pub fn is_listed(&self, listed: &Listed) -> bool {
        match (&self.place, listed) {
            (Place::Prefix { .. }, Listed::Directory { .. }) => true,
            (Place::Object(object), Listed::Object { size, modified, version, .. }) => match version {
                Some(version) if !object.version.starts_with(UNNAMED) => *version == object.version,
                _ => (*size, *modified) == (self.size, self.modified),
            },
            _ => false,
        }
    }
}
