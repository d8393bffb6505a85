use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use fuser::FileType;
use herring_blob::{BlobId, ByteRange, ContentId, ObjectRef};
use herring_swarm::{Content, Listed, Source};
use tokio::sync::OnceCell;

pub(crate) const ROOT: u64 = 1;
pub(crate) const BLOBS: u64 = 2;
pub(crate) const ORIGINS: u64 = 3;
pub(crate) const LOCAL: u64 = 4;

/// Begins what stands for an object's version as long as nobody knows it. No ETag looks like it.
const UNNAMED: &str = "unnamed, of ";

/// Everything that the tree can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Root,
    Blobs,
    Origins,
    /// A directory of an origin; the prefix is its key without a slash at the end, empty for the origin itself.
    Prefix {
        origin: String,
        prefix: String,
    },
    Blob(BlobId),
    Object(ObjectRef),
    /// Where the store's files are bound to, for native reads. Found, but not listed.
    Local,
    /// A blob as a symbolic link to the store's file; the target is relative to `blobs/`.
    Link {
        id: BlobId,
        target: PathBuf,
    },
}

impl Place {
    /// The inode number that this place has unless another place has the same one.
    ///
    /// It comes from the content's id, so it is the same in every mount of every node, and a new version of an object is
    /// a new inode with a page cache of its own.
    pub fn ino(&self) -> u64 {
        let digest = match self {
            Self::Root => return ROOT,
            Self::Blobs => return BLOBS,
            Self::Origins => return ORIGINS,
            Self::Prefix { origin, prefix } => *BlobId::of(format!("{origin}/{prefix}").as_bytes()).as_bytes(),
            Self::Blob(id) => *id.as_bytes(),
            Self::Object(object) => *object.id().as_bytes(),
            Self::Local => return LOCAL,
            // A link may not have the number of the file that it takes the place of: the kernel would call both broken.
            Self::Link { id, .. } => *BlobId::of(id.as_bytes()).as_bytes(),
        };
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(LOCAL + 1)
    }

    pub fn kind(&self) -> FileType {
        match self {
            Self::Root | Self::Blobs | Self::Origins | Self::Prefix { .. } | Self::Local => FileType::Directory,
            Self::Blob(_) | Self::Object(_) => FileType::RegularFile,
            Self::Link { .. } => FileType::Symlink,
        }
    }

    /// Of a file.
    pub fn content_id(&self) -> Option<ContentId> {
        match self {
            Self::Blob(id) => Some((*id).into()),
            Self::Object(object) => Some(object.id().into()),
            Self::Root | Self::Blobs | Self::Origins | Self::Prefix { .. } | Self::Local | Self::Link { .. } => None,
        }
    }

    /// What it is called in its directory.
    pub fn name(&self) -> String {
        let last = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
        match self {
            Self::Root => String::new(),
            Self::Blobs => "blobs".into(),
            Self::Origins => "origins".into(),
            Self::Local => LOCAL_NAME.into(),
            Self::Prefix { origin, prefix } if prefix.is_empty() => origin.clone(),
            Self::Prefix { prefix, .. } => last(prefix),
            Self::Blob(id) | Self::Link { id, .. } => id.to_string(),
            Self::Object(object) => last(&object.key),
        }
    }

    /// The key of what is called `name` in this directory of an origin.
    pub fn key(prefix: &str, name: &str) -> String {
        if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
    }

    /// The directory above; the root is above itself. Files are never asked.
    pub fn parent(&self) -> Place {
        match self {
            Self::Prefix { prefix, .. } if prefix.is_empty() => Self::Origins,
            Self::Prefix { origin, prefix } => {
                let above = prefix.rsplit_once('/').map_or("", |(above, _)| above);
                Self::Prefix { origin: origin.clone(), prefix: above.to_owned() }
            }
            _ => Self::Root,
        }
    }

    /// An object as a listing tells of it. Few origins name no versions there: then the time tells versions apart, until
    /// the object is opened.
    pub fn listed(origin: String, key: String, version: Option<String>, size: u64, modified: SystemTime) -> Self {
        let version = version.unwrap_or_else(|| format!("{UNNAMED}{modified:?}"));
        Self::Object(ObjectRef { origin, key, version, size })
    }
}

/// The directory below which native reads find the store's files.
pub(crate) const LOCAL_NAME: &str = ".local";

/// A file or directory. Immutable, but that a file is opened in the swarm when its first byte is wanted.
#[derive(Debug)]
pub(crate) struct Node {
    pub ino: u64,
    pub place: Place,
    /// Bytes; of a link its target's length; 0 for a directory.
    pub size: u64,
    pub modified: SystemTime,
    pub content: OnceCell<Content>,
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

impl Node {
    pub fn new(place: Place, size: u64, modified: SystemTime) -> Self {
        let size = match &place {
            Place::Link { target, .. } => target.as_os_str().len() as u64,
            _ => size,
        };
        Self { ino: place.ino(), place, size, modified, content: OnceCell::new(), seen: Seen::now() }
    }

    pub fn opened(content: Content) -> Self {
        let place = match content.source() {
            Source::Blob(manifest) => Place::Blob(manifest.id()),
            Source::Object(object) => Place::Object(object.clone()),
        };
        let ino = place.ino();
        let (size, modified) = (content.size(), content.modified());
        Self { ino, place, size, modified, content: OnceCell::new_with(Some(content)), seen: Seen::now() }
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

    /// The opened content, and as much of `buffer` as there is to fill from `offset` on. `None` where it is not open yet.
    pub fn within<'a>(&self, offset: u64, buffer: &'a mut [u8]) -> Option<(&Content, &'a mut [u8])> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buffer.len().min(left);
        Some((self.content.get()?, &mut buffer[..len]))
    }

    /// What a read of `len` bytes from `offset` can give.
    pub fn range(&self, offset: u64, len: u32) -> ByteRange {
        ByteRange::at(offset, len.into()).clamp_to(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(prefix: &str) -> Place {
        Place::Prefix { origin: "o".into(), prefix: prefix.into() }
    }

    #[test]
    fn parents_lead_to_the_root() {
        assert_eq!(prefix("a/b").parent(), prefix("a"));
        assert_eq!(prefix("a").parent(), prefix(""));
        assert_eq!(prefix("").parent(), Place::Origins);
        assert_eq!(Place::Origins.parent(), Place::Root);
        assert_eq!(Place::Root.parent(), Place::Root);
    }

    #[test]
    fn a_new_version_is_another_inode() {
        let version = |version: &str| ObjectRef { origin: "o".into(), key: "k".into(), version: version.into(), size: 1 };
        assert_ne!(Place::Object(version("1")).ino(), Place::Object(version("2")).ino());
    }
}
