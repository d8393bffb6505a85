use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use futures_util::TryStreamExt;
use herring_blob::{BlobHasher, BlobId, ByteRange, Manifest};
use herring_http_api::client::ApiClient;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::blocks::{Block, MAX_BLOCKS, Walk};
use crate::error::LoadError;
use crate::report::Report;
use crate::tally::{Row, Tally};

/// One read, of at most a chunk: a node that needs longer for it is broken, not slow.
const READ_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct ReadArguments {
    /// A node's URL; repeat it for more, and readers are dealt out among them
    #[arg(long = "node", value_name = "URL", required = true)]
    nodes: Vec<String>,
    /// The blob to read
    #[arg(long, value_name = "HEX")]
    id: BlobId,
    /// Readers at once, one run for each number
    #[arg(long, value_delimiter = ',', default_value = "1,4,16", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    readers: Vec<usize>,
    /// Bytes of one read; a read never crosses a chunk
    #[arg(long, default_value_t = 65_536, value_parser = RangedU64ValueParser::<usize>::new().range(1..=67_108_864))]
    range: usize,
    /// How long each run takes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A node as one reader sees it, with connections of its own, as a program of its own would have.
struct Node {
    url: String,
    client: ApiClient,
    id: BlobId,
}

/// Runs it on a runtime of its own.
#[tokio::main]
pub async fn run_to_end(arguments: &ReadArguments) -> Result<Report, LoadError> {
    run(arguments).await
}

/// First the whole blob once, to learn what each range must be; then a run for each number of readers.
async fn run(arguments: &ReadArguments) -> Result<Report, LoadError> {
    let node = Node::new(&arguments.nodes[0], arguments.id)?;
    let manifest = node.client.manifest(arguments.id).await?;
    let (blocks, first_pass) = survey(&node, &manifest, arguments.range).await?;
    let blocks: Arc<[Block]> = blocks.into();
    let mut runs = Vec::new();
    for &readers in &arguments.readers {
        runs.push(run_readers(arguments, &blocks, readers).await?);
    }
    let (id, nodes) = (arguments.id, arguments.nodes.clone());
    Ok(Report { id, size: manifest.size(), range: arguments.range, nodes, first_pass, runs })
}

/// Reads every chunk, verifies it and the whole, and cuts it into blocks. Bounded by [`MAX_BLOCKS`], and by
/// [`READ_DEADLINE`] for each chunk.
async fn survey(node: &Node, manifest: &Manifest, size: usize) -> Result<(Vec<Block>, Row), LoadError> {
    let geometry = manifest.geometry();
    let (began, mut tally, mut blocks) = (Instant::now(), Tally::new(), Vec::new());
    let mut whole = BlobHasher::new(geometry.chunk_size());
    for index in 0..geometry.chunk_count() {
        let range = geometry.chunk_range(index);
        let bytes = node.read(range, &mut tally).await?;
        if !manifest.verify(index, &bytes) {
            return Err(node.wrong(range));
        }
        whole.chunk(&bytes);
        blocks.extend(Block::cut(range.start, &bytes, size));
        if blocks.len() > MAX_BLOCKS {
            return Err(LoadError::TooManyBlocks);
        }
    }
    if whole.finish().ok().map(|manifest| manifest.id()) != Some(node.id) {
        return Err(LoadError::OtherBlob { node: node.url.clone(), id: node.id });
    }
    if blocks.is_empty() { Err(LoadError::Empty(node.id)) } else { Ok((blocks, tally.row(1, began))) }
}

/// All readers at once, until the time is over or one of them fails.
async fn run_readers(arguments: &ReadArguments, blocks: &Arc<[Block]>, readers: usize) -> Result<Row, LoadError> {
    let began = Instant::now();
    let end = began + Duration::from_secs(arguments.seconds);
    let mut running = JoinSet::new();
    for (reader, url) in (0..readers).zip(arguments.nodes.iter().cycle()) {
        let node = Node::new(url, arguments.id)?;
        running.spawn(read_until(end, node, blocks.clone(), Walk::new(reader)));
    }
    let mut all = Tally::new();
    while let Some(done) = running.join_next().await {
        all.add(&done??);
    }
    Ok(all.row(readers, began))
}

async fn read_until(end: Instant, node: Node, blocks: Arc<[Block]>, mut walk: Walk) -> Result<Tally, LoadError> {
    let mut tally = Tally::new();
    while Instant::now() < end {
        let block = walk.pick(&blocks);
        let bytes = node.read(block.range, &mut tally).await?;
        if !block.matches(&bytes) {
            return Err(node.wrong(block.range));
        }
    }
    Ok(tally)
}

impl Node {
    fn new(url: &str, id: BlobId) -> Result<Self, LoadError> {
        Ok(Self { url: url.to_owned(), client: ApiClient::new(url)?, id })
    }

    /// The bytes that came, and the time they took.
    async fn read(&self, range: ByteRange, tally: &mut Tally) -> Result<Bytes, LoadError> {
        let asked = Instant::now();
        let read = timeout(READ_DEADLINE, self.fetch(range)).await;
        let late = || LoadError::TimedOut { node: self.url.clone(), range, seconds: READ_DEADLINE.as_secs() };
        let bytes = read.map_err(|_| late())??;
        tally.record(asked.elapsed(), bytes.len());
        Ok(bytes)
    }

    async fn fetch(&self, range: ByteRange) -> Result<Bytes, LoadError> {
        let broken = |detail: String| LoadError::Broken { node: self.url.clone(), range, detail };
        let (length, mut body) = self.client.get(self.id, Some(range)).await?;
        let mut bytes = BytesMut::new();
        while let Some(piece) = body.try_next().await.map_err(|error| broken(error.to_string()))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > range.len() {
                break;
            }
        }
        if bytes.len() as u64 == range.len() { Ok(bytes.freeze()) } else { Err(broken(format!("{length} bytes were announced"))) }
    }

    fn wrong(&self, range: ByteRange) -> LoadError {
        LoadError::Wrong { node: self.url.clone(), range, id: self.id }
    }
}
