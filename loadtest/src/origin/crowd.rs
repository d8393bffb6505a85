use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use super::object::Object;
use super::{Bench, OriginError, Place, Plain};

/// Directories, so that nothing is read twice.
const LARGE: u64 = 100;
const LISTED: u64 = 1000;

/// All nodes reading one object at once.
#[derive(Debug, Clone, Serialize)]
pub struct Together {
    /// Of one that asks the origin itself.
    pub alone_seconds: f64,
    /// Until the last of the nodes had given all.
    pub seconds: f64,
    /// Of all cores, that the nodes used for it; the readers and the origin, which share the machine, used more.
    pub cpu_seconds: f64,
    /// Bytes that the origin sent over the bytes that there are.
    pub sent_per_unique: f64,
    pub gets: u64,
    pub heads: u64,
}

/// One directory, listed by many at once.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    /// Of one that asks the origin itself.
    pub alone_ms: f64,
    pub each_ms: Vec<f64>,
    /// Times that the origin was asked for it.
    pub lists: u64,
    /// Anything else that it was asked for.
    pub others: u64,
}

pub fn together(bench: &mut Bench<'_>) -> Result<Vec<Together>, OriginError> {
    let size = bench.arguments.large.as_u64();
    let objects = (0..bench.arguments.runs as u64).map(|run| Object { directory: LARGE + run, number: 0, size });
    objects.map(|object| bench.read_together(object)).collect()
}

pub fn listings(bench: &mut Bench<'_>) -> Result<Vec<Listing>, OriginError> {
    (0..bench.arguments.directories).map(|number| bench.list_together(LISTED + number)).collect()
}

impl Bench<'_> {
    fn read_together(&mut self, object: Object) -> Result<Together, OriginError> {
        let (alone, _) = self.counted(|bench| bench.runtime.block_on(bench.plain.get(&bench.direct, object, None)))?;
        let cpu_before = self.swarm.cpu_seconds();
        let (seconds, counts) = self.counted(|bench| {
            let (nodes, seed, began) = (bench.nodes.clone(), bench.arguments.seed, Instant::now());
            // Each with its buffer made before: the clock is the readers' own.
            let readers = nodes.into_iter().map(|node| (node, Plain::new(seed)));
            let reads = readers.map(|(node, mut plain)| async move { plain.get(&node, object, None).await });
            bench.runtime.block_on(all(reads)).map(|_| began.elapsed().as_secs_f64())
        })?;
        eprintln!("loadtest: all nodes have read {} bytes at once", object.size);
        let sent_per_unique = counts.bytes as f64 / object.size as f64;
        let (gets, heads) = (counts.gets, counts.heads);
        let cpu_seconds = self.swarm.cpu_seconds() - cpu_before;
        Ok(Together { alone_seconds: alone.as_secs_f64(), seconds, cpu_seconds, sent_per_unique, gets, heads })
    }

    fn list_together(&mut self, directory: u64) -> Result<Listing, OriginError> {
        let (entries, seed) = (self.arguments.entries, self.arguments.seed);
        let (alone, _) = self.counted(|bench| bench.runtime.block_on(bench.plain.list(&bench.direct, directory, entries)))?;
        let (each, counts) = self.counted(|bench| {
            let nodes: Vec<Place> = bench.nodes.iter().cycle().take(bench.arguments.listers).cloned().collect();
            let readers = nodes.into_iter().map(|node| (node, Plain::new(seed)));
            let lists = readers.map(|(node, mut plain)| async move { plain.list(&node, directory, entries).await });
            bench.runtime.block_on(all(lists))
        })?;
        let millis = |took: Duration| took.as_secs_f64() * 1e3;
        let others = counts.heads + counts.gets;
        Ok(Listing { alone_ms: millis(alone), each_ms: each.into_iter().map(millis).collect(), lists: counts.lists, others })
    }
}

/// All at once; what each took.
async fn all<R>(reads: impl Iterator<Item = R>) -> Result<Vec<Duration>, OriginError>
where
    R: Future<Output = Result<Duration, OriginError>> + Send + 'static,
{
    let (mut running, mut took) = (JoinSet::new(), Vec::new());
    reads.for_each(|read| drop(running.spawn(read)));
    while let Some(done) = running.join_next().await {
        took.push(done??);
    }
    Ok(took)
}
