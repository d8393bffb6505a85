use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt};
use herring_blob::ByteRange;
use herring_http_api::client::{ApiClient, ClientError};
use herring_http_api::types::{Condition, Job, JobState, Prefetch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::SoakError;
use super::seen::{Count, Seen};
use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::random::SplitMix64;

/// Anything that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two reads of one worker: what grows is looked for, not the most that goes.
const PAUSE: Duration = Duration::from_millis(5);
/// After so many reads a worker closes its connections and opens others.
const CONNECTION: u64 = 100;
/// Reads begin at multiples of this; the longest is sixteen times as long.
const UNIT: u64 = 64 << 10;
/// What is put: more than a chunk.
const SIZE: u64 = 5 << 20;
/// All but reads is tried so often: it may break off where a connection is closed under it.
const TRIES: u32 = 10;
const AGAIN: Duration = Duration::from_millis(300);

/// Does one kind of thing until the end.
pub struct Worker {
    nodes: Vec<String>,
    clients: Vec<ApiClient>,
    blobs: Vec<TestBlob>,
    seen: Arc<Seen>,
    end: CancellationToken,
    seed: u64,
    /// Its kind and number.
    labels: [u64; 2],
    numbers: SplitMix64,
}

impl Worker {
    pub fn new(
        nodes: &[String],
        blobs: &[TestBlob],
        seen: &Arc<Seen>,
        end: &CancellationToken,
        seed: u64,
        labels: [u64; 2],
    ) -> Result<Self, SoakError> {
        let (nodes, blobs, seen, end) = (nodes.to_vec(), blobs.to_vec(), seen.clone(), end.clone());
        let (clients, numbers) = (connect(&nodes)?, SplitMix64::derived(seed, &labels));
        Ok(Self { nodes, clients, blobs, seen, end, seed, labels, numbers })
    }

    /// Ranges of what is there for all the time.
    pub async fn read(mut self) {
        let mut reads = 0;
        while !self.end.is_cancelled() {
            let blob = self.blobs[self.numbers.below(self.blobs.len())];
            let (node, size) = (self.numbers.below(self.nodes.len()), UNIT << self.numbers.below(5));
            let range = ByteRange::at(self.numbers.draw() % ((blob.size - size) / UNIT + 1) * UNIT, size);
            match self.fetch(node, blob, range).await {
                Ok(took) => self.seen.warm(took, usize::try_from(size).unwrap_or(0)),
                Err(why) => self.seen.failed(why),
            }
            reads += 1;
            if reads % CONNECTION == 0
                && let Ok(clients) = connect(&self.nodes)
            {
                self.clients = clients;
            }
            sleep(PAUSE).await;
        }
    }

    /// Puts a blob, points a name at it, reads it elsewhere, has it brought to a third node, and deletes the one before.
    pub async fn churn(mut self) {
        let (mut round, mut before) = (0, None);
        while !self.end.is_cancelled() {
            let blob = TestBlob::new(SIZE, self.seed, &[self.labels[0], self.labels[1], round]);
            if let Err(why) = self.turn(blob, before.take(), round).await {
                self.seen.failed(why);
            }
            (round, before) = (round + 1, Some(blob));
        }
    }

    async fn turn(&mut self, blob: TestBlob, before: Option<TestBlob>, round: u64) -> Result<(), String> {
        let order = self.numbers.shuffled(self.nodes.len());
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|place| order[place % order.len()]);
        let at = |node: usize| self.clients[node].clone();
        let (name, always) = (format!("soak/{}", self.labels[1]), Condition::Always);
        self.retry("put", || async { at(first).put(Some(blob.id), Some(blob.size), blob.stream()).await }).await?;
        self.seen.count(Count::Puts);
        self.retry("name", || async { at(second).put_name(&name, blob.id, always).await }).await?;
        let named = self.retry("name read", || async { at(third).name(&name).await }).await?;
        if named.target != blob.id {
            return Err(format!("{name} is {} at {} after it was made {}", named.target, self.nodes[third], blob.id));
        }
        self.seen.count(Count::Names);
        let took = self.fetch(second, blob, ByteRange::at(0, blob.size)).await?;
        self.seen.cold(took, usize::try_from(SIZE).unwrap_or(0));
        self.retry("prefetch", || Self::prefetch(at(third), blob)).await?;
        self.seen.count(Count::Prefetches);
        if let Some(before) = before {
            self.retry("deletion", || async { gone(at(fourth).delete(before.id).await) }).await?;
            self.seen.count(Count::Deletes);
        }
        if round % 10 == 9 {
            self.retry("name deletion", || async { gone(at(first).delete_name(&name, always).await) }).await?;
        }
        Ok(())
    }

    /// Once more where it failed, since only reads must survive that a connection is closed under them.
    async fn retry<T, W>(&self, what: &str, work: impl Fn() -> W) -> Result<T, String>
    where
        W: Future<Output = Result<T, ClientError>>,
    {
        let mut tries = 1;
        loop {
            let why = match timeout(DEADLINE, work()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("took longer than {} s", DEADLINE.as_secs()),
            };
            if tries == TRIES {
                return Err(format!("{what} failed {TRIES} times: {why}"));
            }
            tries += 1;
            self.seen.count(Count::Retries);
            sleep(AGAIN).await;
        }
    }

    /// How a job ended that brings the blob to the node.
    async fn prefetch(client: ApiClient, blob: TestBlob) -> Result<(), ClientError> {
        let wanted = Prefetch { blobs: vec![blob.id], ..Prefetch::default() };
        let mut states = client.follow_job(client.prefetch(&wanted).await?).await?;
        let mut last = None;
        while let Some(job) = states.next().await {
            last = Some(job?);
        }
        let failed = |job: Job| ClientError::Broken { url: format!("job {}", job.job), detail: job.error.unwrap_or_default() };
        last.filter(|job| job.state != JobState::Done).map_or(Ok(()), |job| Err(failed(job)))
    }

    /// How long it took, without the comparing.
    async fn fetch(&self, node: usize, blob: TestBlob, range: ByteRange) -> Result<Duration, String> {
        let failed = |why: &dyn Display| format!("read of {range} of {} at {}: {why}", blob.id, self.nodes[node]);
        let work = async {
            let (_, body) = self.clients[node].get(blob.id, Some(range)).await.map_err(|error| failed(&error))?;
            let add = |mut all: BytesMut, piece: bytes::Bytes| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            };
            body.try_fold(BytesMut::new(), add).await.map_err(|error| failed(&error))
        };
        let asked = Instant::now();
        let bytes = timeout(DEADLINE, work).await.map_err(|error| failed(&error))??;
        let took = asked.elapsed();
        if bytes.len() as u64 != range.len() {
            return Err(failed(&format_args!("{} bytes came", bytes.len())));
        }
        blob.compare(Path::new(&self.nodes[node]), range.start, &bytes).map_err(|error| failed(&error))?;
        Ok(took)
    }
}

/// What a broken off deletion did, the next one does not find.
fn gone(deleted: Result<(), ClientError>) -> Result<(), ClientError> {
    match deleted {
        Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(()),
        deleted => deleted,
    }
}

fn connect(nodes: &[String]) -> Result<Vec<ApiClient>, FuseError> {
    nodes.iter().map(|node| ApiClient::new(node).map_err(FuseError::from)).collect()
}
