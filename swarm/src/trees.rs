//! Directories, opened: the blobs that are trees, parsed once and shared.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use herring_blob::{BlobId, ByteRange, Tree};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flight::{Answer, Flights};
use crate::{Content, OpenError, ReadError, Swarm, Tried};

/// Bytes of parsed trees that are kept: some 600,000 entries.
const MEMORY: u64 = 64 << 20;
/// Bytes of the largest tree that is opened: some two million entries.
const LARGEST: u64 = 256 << 20;
/// Trees that there may be, as a guess.
const FEW: usize = 1000;
/// Bytes read at once.
const PIECE: u64 = 4 << 20;

/// A directory with all that is below it, opened. Immutable.
#[derive(Debug)]
pub struct OpenTree {
    pub id: BlobId,
    pub tree: Tree,
}

type Opened = Option<Arc<OpenTree>>;

/// What is known of blobs that somebody took for trees.
pub(crate) struct Trees {
    opened: Cache<BlobId, Opened, Weight>,
    opening: Arc<Flights<BlobId, Answer<Result<Opened, OpenError>>>>,
}

/// Weighs trees by about the memory that they take; one that is larger than all may be is kept alone.
#[derive(Debug, Clone)]
struct Weight;

impl Weighter<BlobId, Opened> for Weight {
    fn weight(&self, _: &BlobId, opened: &Opened) -> u64 {
        let tree = opened.as_ref().map_or(0, |open| {
            let of_paths: usize = open.tree.entries().iter().map(|entry| 96 + entry.path.len()).sum();
            (of_paths + 32 * open.tree.blobs().len()) as u64
        });
        (tree + 64).min(MEMORY / 2)
    }
}

impl Trees {
    pub fn new(tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let options = OptionsBuilder::new().estimated_items_capacity(FEW).weight_capacity(MEMORY).shards(1).build();
        let options = options.expect("a capacity and a weight are all that options need");
        let opened = Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { opened, opening: Flights::new(tasks.clone(), stop.clone()) }
    }

    /// After the blob was removed.
    pub fn forget(&self, id: &BlobId) {
        self.opened.remove(id);
    }
}

impl Swarm {
    /// The tree that a blob is; `None` where it is an ordinary blob.
    pub async fn open_tree(&self, id: BlobId) -> Result<Option<Arc<OpenTree>>, OpenError> {
        if let Some(opened) = self.0.trees.opened.get(&id) {
            return Ok(opened);
        }
        let swarm = self.clone();
        let opening = self.0.trees.opening.join(id, move || async move { swarm.parse_tree(id).await });
        let interrupted = || Err(OpenError::Unavailable { what: format!("tree {id}"), tried: Tried::default() });
        opening.await.unwrap_or_else(interrupted)
    }

    async fn parse_tree(&self, id: BlobId) -> Result<Opened, OpenError> {
        let removals = self.0.removals.load(Ordering::Relaxed);
        let content = self.open_blob(id).await?;
        let opened = match self.read_tree(&content).await? {
            Some(bytes) => decode(id, bytes).await.map(Arc::new),
            None => None,
        };
        if self.0.removals.load(Ordering::Relaxed) == removals {
            self.0.trees.opened.insert(id, opened.clone());
        }
        Ok(opened)
    }

    /// All bytes of a blob that begins as a tree does.
    async fn read_tree(&self, content: &Content) -> Result<Option<Vec<u8>>, OpenError> {
        let unreadable =
            |error: ReadError| OpenError::Unavailable { what: content.to_string(), tried: Tried::of("reading it", error) };
        let begin = self.read(content, ByteRange::at(0, Tree::MAGIC.len() as u64)).await.map_err(unreadable)?;
        if begin != Tree::MAGIC.as_bytes() {
            return Ok(None);
        }
        if content.size() > LARGEST {
            let detail = format!("{content} has {} bytes; trees of more than {LARGEST} are not opened", content.size());
            return Err(OpenError::InvalidKey { detail });
        }
        let mut whole = Vec::with_capacity(usize::try_from(content.size()).unwrap_or(0));
        while (whole.len() as u64) < content.size() {
            let piece = ByteRange::at(whole.len() as u64, PIECE);
            whole.extend_from_slice(&self.read(content, piece).await.map_err(unreadable)?);
        }
        Ok(Some(whole))
    }
}

/// What begins as a tree and is none is an ordinary blob.
async fn decode(id: BlobId, bytes: Vec<u8>) -> Option<OpenTree> {
    let decoded = tokio::task::spawn_blocking(move || Tree::decode(&bytes)).await.ok()?;
    let tree =
        decoded.inspect_err(|error| tracing::warn!(%id, %error, "a blob that begins as a tree is taken for a file")).ok()?;
    Some(OpenTree { id, tree })
}
