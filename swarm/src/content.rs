use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use herring_blob::{BlobId, ChunkDigest, ContentId, Geometry, Manifest, ObjectRef};

use crate::ahead::Ahead;
use crate::fetch::Version;
use crate::profile::Trace;
use crate::streams::Streams;

/// Something opened: all that is needed to read any range of it. Cheap to clone; immutable, so it never goes stale.
#[derive(Debug, Clone)]
pub struct Content(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: ContentId,
    geometry: Geometry,
    source: Source,
    modified: SystemTime,
    /// A blob: its manifest is known to be its own.
    proven: AtomicBool,
    /// Who reads it where.
    streams: Mutex<Streams<Ahead>>,
    /// The tree that it was opened as a part of.
    tree: OnceLock<BlobId>,
    /// Where reads of it are noted, as a part of something larger.
    trace: OnceLock<Arc<Trace>>,
}

/// Where a content's truth is.
#[derive(Debug, Clone)]
pub enum Source {
    Blob(Arc<Manifest>),
    Object(ObjectRef),
}

impl Content {
    pub(crate) fn blob(manifest: Arc<Manifest>, modified: SystemTime) -> Self {
        Self::new(manifest.id().into(), manifest.geometry(), Source::Blob(manifest), modified)
    }

    pub(crate) fn object(object: ObjectRef, geometry: Geometry, modified: SystemTime) -> Self {
        Self::new(object.id().into(), geometry, Source::Object(object), modified)
    }

    fn new(id: ContentId, geometry: Geometry, source: Source, modified: SystemTime) -> Self {
        Self(Arc::new(Inner {
            id,
            geometry,
            source,
            modified,
            proven: AtomicBool::new(false),
            streams: Mutex::default(),
            tree: OnceLock::new(),
            trace: OnceLock::new(),
        }))
    }

    /// Tells a blob's manifest from others of the same id; an object's id is of its version already.
    pub(crate) fn print(&self) -> u128 {
        match &self.0.source {
            Source::Blob(manifest) => manifest.print(),
            Source::Object(_) => 0,
        }
    }

    pub(crate) fn version(&self) -> Version {
        (self.id(), self.print())
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.0.proven.load(Relaxed)
    }

    pub(crate) fn set_proven(&self) {
        self.0.proven.store(true, Relaxed);
    }

    pub fn id(&self) -> ContentId {
        self.0.id
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.0.geometry.size()
    }

    pub fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// A blob: when it came to this node, or now. An object: as the origin says.
    pub fn modified(&self) -> SystemTime {
        self.0.modified
    }

    /// The digest of a chunk, where it is known before the chunk is: a blob's always, an object's never.
    pub fn digest(&self, chunk: u32) -> Option<ChunkDigest> {
        match &self.0.source {
            Source::Blob(manifest) => manifest.digest(chunk),
            Source::Object(_) => None,
        }
    }

    /// The same as a part of a tree, whose boot profile its reads follow. The first tree that it was opened for stays.
    pub fn of_tree(self, tree: BlobId) -> Self {
        let _ = self.0.tree.set(tree);
        self
    }

    pub(crate) fn tree(&self) -> Option<BlobId> {
        self.0.tree.get().copied()
    }

    /// Where reads of it are noted; `begin` says where when it is read first.
    pub(crate) fn trace(&self, begin: impl FnOnce() -> Arc<Trace>) -> &Trace {
        self.0.trace.get_or_init(begin)
    }

    /// The readers of this content. The closure must not wait: every read of it passes here.
    pub(crate) fn streams<T>(&self, work: impl FnOnce(&mut Streams<Ahead>) -> T) -> T {
        work(&mut self.0.streams.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.source {
            Source::Blob(manifest) => write!(f, "blob {}", manifest.id()),
            Source::Object(object) => write!(f, "{}/{} (version {})", object.origin, object.key, object.version),
        }
    }
}
