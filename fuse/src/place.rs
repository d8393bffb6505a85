use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::FileType;
use herring_blob::{BlobId, ContentId, ObjectRef};

pub(crate) const ROOT: u64 = 1;
pub(crate) const BLOBS: u64 = 2;
pub(crate) const ORIGINS: u64 = 3;
pub(crate) const LOCAL: u64 = 4;
pub(crate) const NAMES: u64 = 5;

/// Inode numbers from here on are those of trees' entries: see `trees.rs`.
pub(crate) const FIRST_OF_TREES: u64 = 1 << 63;

/// Begins what stands for an object's version as long as nobody knows it. No ETag looks like it.
pub(crate) const UNNAMED: &str = "unnamed, of ";

/// Everything that the mount can show but what is in trees.
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
    /// Where names are; the prefix is what they begin with, without a slash at the end, empty for all of them.
    Names {
        prefix: String,
    },
    /// A file that names lead to and that has a blob, or a good part of one, of its own: one inode whatever name or tree it is found by.
    Slice(Slice),
    /// Where the store's files are bound to, for native reads. Found, but not listed.
    Local,
    /// A blob as a symbolic link to the store's file; the target is relative to `blobs/`.
    Link {
        id: BlobId,
        target: PathBuf,
    },
}

/// Bytes of a blob as a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    pub id: BlobId,
    /// Where in the blob the file begins.
    pub offset: u64,
    pub size: u64,
    /// Permission bits.
    pub mode: u16,
    /// Nanoseconds since 1970, before it negative.
    pub modified_ns: i64,
}

impl Slice {
    fn digest(&self) -> BlobId {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.mode.to_le_bytes());
        bytes.extend_from_slice(&self.modified_ns.to_le_bytes());
        BlobId::of(&bytes)
    }
}

/// A moment in nanoseconds since 1970.
pub(crate) fn moment(ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(ns.unsigned_abs());
    if ns < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// The number that digests have as inodes.
pub(crate) fn number(digest: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Of anything that is no entry of a tree.
fn plain(number: u64) -> u64 {
    (number % FIRST_OF_TREES).max(NAMES + 1)
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
            Self::Names { prefix } if prefix.is_empty() => return NAMES,
            // No origin's name is empty.
            Self::Names { prefix } => *BlobId::of(format!("/{prefix}").as_bytes()).as_bytes(),
            Self::Slice(slice) => *slice.digest().as_bytes(),
        };
        plain(number(&digest))
    }

    pub fn kind(&self) -> FileType {
        match self {
            Self::Root | Self::Blobs | Self::Origins | Self::Prefix { .. } | Self::Names { .. } | Self::Local => {
                FileType::Directory
            }
            Self::Blob(_) | Self::Object(_) | Self::Slice(_) => FileType::RegularFile,
            Self::Link { .. } => FileType::Symlink,
        }
    }

    /// Of a file.
    pub fn content_id(&self) -> Option<ContentId> {
        match self {
            Self::Blob(id) => Some((*id).into()),
            Self::Object(object) => Some(object.id().into()),
            Self::Slice(slice) => Some(slice.id.into()),
            _ => None,
        }
    }

    /// What it is called in its directory; of a slice, which may be in many, nothing.
    pub fn name(&self) -> String {
        let last = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
        match self {
            Self::Root | Self::Slice(_) => String::new(),
            Self::Names { prefix } if prefix.is_empty() => "names".into(),
            Self::Names { prefix } => last(prefix),
            Self::Blobs => "blobs".into(),
            Self::Origins => "origins".into(),
            Self::Local => LOCAL_NAME.into(),
            Self::Prefix { origin, prefix } if prefix.is_empty() => origin.clone(),
            Self::Prefix { prefix, .. } => last(prefix),
            Self::Blob(id) | Self::Link { id, .. } => id.to_string(),
            Self::Object(object) => last(&object.key),
        }
    }

    /// The key of what is called `name` in this directory of an origin; the name of what is called so among names.
    pub fn key(prefix: &str, name: &str) -> String {
        if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
    }

    /// The directory above; the root is above itself. Files are never asked.
    pub fn parent(&self) -> Place {
        match self {
            Self::Prefix { prefix, .. } if prefix.is_empty() => Self::Origins,
            Self::Prefix { origin, prefix } => Self::Prefix { origin: origin.clone(), prefix: above(prefix) },
            Self::Names { prefix } if !prefix.is_empty() => Self::Names { prefix: above(prefix) },
            _ => Self::Root,
        }
    }

    /// The directory that a name is in.
    pub fn of_name(name: &str) -> Self {
        Self::Names { prefix: above(name) }
    }

    /// Whether its name is taken back once its bytes turn out not to be there any more: a tree's files have theirs for ever.
    pub fn can_change(&self) -> bool {
        matches!(self, Self::Blob(_) | Self::Object(_))
    }

    /// An object as a listing tells of it. Few origins name no versions there: then the time tells versions apart, until
    /// the object is opened.
    pub fn listed(origin: String, key: String, version: Option<String>, size: u64, modified: SystemTime) -> Self {
        let version = version.unwrap_or_else(|| format!("{UNNAMED}{modified:?}"));
        Self::Object(ObjectRef { origin, key, version, size })
    }
}

/// All of a key or name but its last segment.
fn above(key: &str) -> String {
    key.rsplit_once('/').map_or("", |(above, _)| above).to_owned()
}

/// The number after it.
pub(crate) fn next_number(ino: u64) -> u64 {
    plain(ino + 1)
}

/// The directory below which native reads find the store's files.
pub(crate) const LOCAL_NAME: &str = ".local";

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
        let names = |prefix: &str| Place::Names { prefix: prefix.into() };
        assert_eq!((names("a/b").parent(), names("a").parent(), names("").parent()), (names("a"), names(""), Place::Root));
        assert_eq!((Place::of_name("a/b"), Place::of_name("a")), (names("a"), names("")));
        assert_eq!(Place::Root.parent(), Place::Root);
    }

    #[test]
    fn times_before_1970_are_times() {
        assert_eq!(moment(-1) + Duration::from_nanos(1), UNIX_EPOCH);
        assert_eq!(moment(1_700_000_000_123_456_789).duration_since(UNIX_EPOCH).unwrap().subsec_nanos(), 123_456_789);
        assert!(moment(i64::MIN) < moment(i64::MAX));
    }

    #[test]
    fn numbers_stay_below_those_of_trees() {
        assert_eq!((plain(u64::MAX), plain(FIRST_OF_TREES), plain(0)), (FIRST_OF_TREES - 1, NAMES + 1, NAMES + 1));
        assert_eq!(next_number(FIRST_OF_TREES - 1), NAMES + 1);
    }

    #[test]
    fn a_new_version_is_another_inode() {
        let version = |version: &str| ObjectRef { origin: "o".into(), key: "k".into(), version: version.into(), size: 1 };
        assert_ne!(Place::Object(version("1")).ino(), Place::Object(version("2")).ino());
    }
}
