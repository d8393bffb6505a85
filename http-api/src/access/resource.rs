use herring_blob::BlobId;

use crate::name::is_own;

/// What a request is about, as the prefixes of tokens name it: `names/<name>`, `origins/<origin>/<key>`, `blobs/<id>`. Spelt as the handlers
/// see it, percent-decoded as they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// Nothing that a prefix can name: not for tokens that are limited.
    Everything,
    /// Nothing that belongs to some and not to others, or what the handler checks piece by piece.
    Nothing,
    /// This very thing.
    One(String),
    /// All whose paths begin so.
    Below(String),
}

impl Resource {
    pub fn name(name: &str) -> Self {
        // They tell of all that the swarm reads.
        if is_own(name) { Self::Everything } else { Self::One(format!("names/{name}")) }
    }

    /// The names that begin so.
    pub fn names(prefix: &str) -> Self {
        if is_own(prefix) { Self::Everything } else { Self::Below(format!("names/{prefix}")) }
    }

    /// `id` as it was written.
    pub fn blob(id: &str) -> Self {
        Self::One(format!("blobs/{}", id.parse::<BlobId>().map_or_else(|_| id.to_owned(), |id| id.to_string())))
    }

    pub fn blobs() -> Self {
        Self::Below("blobs/".to_owned())
    }

    pub fn object(origin: &str, key: &str) -> Self {
        Self::One(format!("origins/{origin}/{key}"))
    }

    /// The keys of an origin that begin so.
    pub fn keys(origin: &str, prefix: &str) -> Self {
        Self::Below(format!("origins/{origin}/{prefix}"))
    }

    /// What is below a directory, which has no slash at its ends; empty: the root.
    pub fn directory(origin: &str, directory: &str) -> Self {
        let slash = if directory.is_empty() { "" } else { "/" };
        Self::Below(format!("origins/{origin}/{directory}{slash}"))
    }

    /// An id, or else a name.
    pub fn target(text: &str) -> Self {
        if text.parse::<BlobId>().is_ok() { Self::blob(text) } else { Self::name(text) }
    }
}
