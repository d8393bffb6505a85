//! Directories, opened: the blobs that are trees, parsed once and shared.

use std::sync::Arc;

use herring_blob::{BlobId, ByteRange, Tree, TreeEntry, TreeError, TreeKind};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flight::{Answer, Flights};
use crate::{Content, OpenError, ReadError, Swarm, Tried};

/// Bytes of parsed trees that are kept: some 500,000 entries. A larger tree lives for as long as it is used.
const MEMORY: u64 = 64 << 20;
/// Trees of at most so many bytes are read and parsed [`SMALL_AT_ONCE`] at a time, larger ones one by one beside them: trees come from anyone, and to list names
/// is to open many. So at most one tree of the largest kind and a million entries more are in the making.
const SMALL: u64 = 4 << 20;
const SMALL_AT_ONCE: usize = 8;
/// Bytes that the allocator takes for a short text beside its own.
const OVERHEAD: usize = 24;
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
    opened: Cache<BlobId, Kept, Weight>,
    opening: Arc<Flights<BlobId, Answer<Result<Opened, OpenError>>>>,
    /// Turns to read and parse.
    small: Semaphore,
    large: Semaphore,
}

#[derive(Debug, Clone)]
struct Kept {
    opened: Opened,
    /// About the bytes that it takes, counted once: the cache asks often.
    weight: u64,
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<BlobId, Kept> for Weight {
    fn weight(&self, _: &BlobId, kept: &Kept) -> u64 {
        kept.weight
    }
}

impl Kept {
    fn new(opened: Opened) -> Self {
        let weight = 64 + opened.as_ref().map_or(0, |open| weigh(&open.tree));
        Self { opened, weight }
    }
}

fn weigh(tree: &Tree) -> u64 {
    let target = |entry: &TreeEntry| match &entry.kind {
        TreeKind::Link { target } => OVERHEAD + target.len(),
        _ => 0,
    };
    let of_entry = |entry: &TreeEntry| size_of::<TreeEntry>() + OVERHEAD + entry.path.len() + target(entry);
    (tree.entries().iter().map(of_entry).sum::<usize>() + size_of_val(tree.blobs())) as u64
}

impl Trees {
    pub fn new(tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let options = OptionsBuilder::new().estimated_items_capacity(FEW).weight_capacity(MEMORY).shards(1).build();
        let options = options.expect("a capacity and a weight are all that options need");
        let opened = Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default());
        let (small, large) = (Semaphore::new(SMALL_AT_ONCE), Semaphore::new(1));
        Self { opened, opening: Flights::new(tasks.clone(), stop.clone()), small, large }
    }

    fn get(&self, id: &BlobId) -> Option<Opened> {
        self.opened.get(id).map(|kept| kept.opened)
    }

    /// One that is larger than all may be together is not kept.
    fn keep(&self, id: BlobId, opened: Opened) {
        self.opened.insert(id, Kept::new(opened));
    }

    /// To read and parse so many bytes.
    async fn turn(&self, bytes: u64) -> SemaphorePermit<'_> {
        let turns = if bytes <= SMALL { &self.small } else { &self.large };
        turns.acquire().await.expect("nobody closes these")
    }

    /// After the blob was removed.
    pub fn forget(&self, id: &BlobId) {
        self.opened.remove(id);
    }
}

impl Swarm {
    /// The tree that a blob is; `None` where it is an ordinary blob.
    pub async fn open_tree(&self, id: BlobId) -> Result<Option<Arc<OpenTree>>, OpenError> {
        if let Some(opened) = self.0.trees.get(&id) {
            return Ok(opened);
        }
        let swarm = self.clone();
        let opening = self.0.trees.opening.join(id, move || async move { swarm.parse_tree(id).await });
        let interrupted = || Err(OpenError::Unavailable { what: format!("tree {id}"), tried: Tried::default() });
        opening.await.unwrap_or_else(interrupted)
    }

    async fn parse_tree(&self, id: BlobId) -> Result<Opened, OpenError> {
        let content = self.open_blob(id).await?;
        let opened = match self.begins_as_tree(&content).await? {
            true => {
                let _turn = self.0.trees.turn(content.size()).await;
                let bytes = self.read_tree(&content).await?;
                decode(id, bytes).await?.map(Arc::new)
            }
            false => None,
        };
        self.0.trees.keep(id, opened.clone());
        if self.0.fates.is_deleted(&id) {
            // Deleted meanwhile: whatever comes first, this or the word of it.
            self.0.trees.forget(&id);
        }
        Ok(opened)
    }

    async fn begins_as_tree(&self, content: &Content) -> Result<bool, OpenError> {
        let begin =
            self.read(content, ByteRange::at(0, Tree::MAGIC.len() as u64)).await.map_err(|error| unreadable(content, error))?;
        Ok(begin == Tree::MAGIC.as_bytes())
    }

    async fn read_tree(&self, content: &Content) -> Result<Vec<u8>, OpenError> {
        if content.size() > Tree::MAX_BYTES {
            let detail = format!("{content} is not opened: {}", TreeError::TooLarge);
            return Err(OpenError::InvalidKey { detail });
        }
        let mut whole = Vec::with_capacity(usize::try_from(content.size()).unwrap_or(0));
        while (whole.len() as u64) < content.size() {
            let piece = ByteRange::at(whole.len() as u64, PIECE);
            whole.extend_from_slice(&self.read(content, piece).await.map_err(|error| unreadable(content, error))?);
        }
        Ok(whole)
    }
}

fn unreadable(content: &Content, error: ReadError) -> OpenError {
    OpenError::Unavailable { what: content.to_string(), tried: Tried::of("reading it", error) }
}

async fn decode(id: BlobId, bytes: Vec<u8>) -> Result<Option<OpenTree>, OpenError> {
    // Fails only where the runtime ends.
    let interrupted = |_| OpenError::Unavailable { what: format!("tree {id}"), tried: Tried::default() };
    tokio::task::spawn_blocking(move || parse(id, &bytes)).await.map_err(interrupted)?
}

/// What begins as a tree and is none is an ordinary blob.
fn parse(id: BlobId, bytes: &[u8]) -> Result<Option<OpenTree>, OpenError> {
    match Tree::decode(bytes) {
        Ok(tree) => Ok(Some(OpenTree { id, tree })),
        Err(error @ TreeError::TooLarge) => Err(OpenError::InvalidKey { detail: format!("tree {id} is not opened: {error}") }),
        Err(error) => {
            tracing::warn!(%id, %error, "a blob that begins as a tree is taken for a file");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "{\"tree\":1,\"blobs\":[]}\n{\"p\":\"\",\"m\":493,\"t\":0,\"d\":1}\n";

    fn id() -> BlobId {
        BlobId::of(b"tree")
    }

    #[test]
    fn a_tree_of_too_many_entries_is_an_error_and_what_is_none_is_a_blob() {
        let mut text = HEAD.as_bytes().to_vec();
        assert!(parse(id(), &text).unwrap().is_some());
        text.resize(text.len() + Tree::MAX_ENTRIES, b'\n');
        assert!(matches!(parse(id(), &text), Err(OpenError::InvalidKey { .. })));
        assert!(parse(id(), b"{\"tree\":").unwrap().is_none());
    }

    #[test]
    fn trees_are_kept_as_long_as_there_is_room_for_all_of_them() {
        let trees = Trees::new(&TaskTracker::new(), &CancellationToken::new());
        let opened = parse(id(), HEAD.as_bytes()).unwrap().map(Arc::new);
        assert!(Kept::new(opened.clone()).weight >= size_of::<TreeEntry>() as u64);
        trees.keep(id(), opened.clone());
        assert!(trees.get(&id()).is_some_and(|opened| opened.is_some()));
        let large = BlobId::of(b"large");
        trees.opened.insert(large, Kept { opened, weight: MEMORY + 1 });
        assert!(trees.get(&large).is_none() && trees.get(&id()).is_some());
    }

    #[tokio::test]
    async fn large_trees_are_parsed_one_by_one_and_small_ones_do_not_wait_for_them() {
        let trees = Trees::new(&TaskTracker::new(), &CancellationToken::new());
        let _large = trees.turn(SMALL + 1).await;
        assert!(trees.large.try_acquire().is_err());
        let _small = trees.turn(SMALL).await;
        assert_eq!(trees.small.available_permits(), SMALL_AT_ONCE - 1);
    }
}
