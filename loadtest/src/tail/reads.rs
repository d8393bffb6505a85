use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::TryStreamExt;
use herring_blob::{ByteRange, CHUNK_SIZE};
use herring_http_api::client::ApiClient;
use tokio::time::timeout;

use super::TailError;
use crate::blob::TestBlob;
use crate::error::FuseError;
use crate::random::SplitMix64;

/// A read that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// The shortest read; each size is twice the one before, up to a chunk.
const SHORTEST: u64 = 64 << 10;
const SIZES: usize = 7;

/// One read of a range that its node did not have.
#[derive(Debug)]
pub struct Read {
    /// When it began, after the beginning of all.
    pub at: Duration,
    /// From the asking to the last byte.
    pub took: Duration,
    pub failed: Option<String>,
}

/// Reads one range after the other, each of another chunk, from one node.
pub struct Reader {
    url: String,
    client: ApiClient,
    blob: TestBlob,
    chunks: Vec<u32>,
    numbers: SplitMix64,
}

impl Reader {
    pub fn new(url: &str, blob: TestBlob, chunks: Vec<u32>, numbers: SplitMix64) -> Result<Self, TailError> {
        let client = ApiClient::new(url).map_err(FuseError::from)?;
        Ok(Self { url: url.to_owned(), client, blob, chunks, numbers })
    }

    pub async fn run(mut self, start: Instant) -> Vec<Read> {
        let mut reads = Vec::with_capacity(self.chunks.len());
        for chunk in std::mem::take(&mut self.chunks) {
            let range = self.range(chunk);
            let asked = Instant::now();
            let read = timeout(DEADLINE, self.fetch(range)).await;
            let took = asked.elapsed();
            let failed = match read {
                Ok(Ok(bytes)) => {
                    self.blob.compare(Path::new(&self.url), range.start, &bytes).err().map(|error| error.to_string())
                }
                Ok(Err(why)) => Some(format!("bytes {range} from {}: {why}", self.url)),
                Err(_) => Some(format!("bytes {range} from {}: took longer than {} s", self.url, DEADLINE.as_secs())),
            };
            reads.push(Read { at: asked - start, took, failed });
        }
        reads
    }

    /// Of any size, anywhere in the chunk.
    fn range(&mut self, chunk: u32) -> ByteRange {
        let size = SHORTEST << self.numbers.below(SIZES);
        let places = (u64::from(CHUNK_SIZE) - size) / SHORTEST + 1;
        let within = self.numbers.draw() % places * SHORTEST;
        ByteRange::at(u64::from(chunk) * u64::from(CHUNK_SIZE) + within, size)
    }

    async fn fetch(&self, range: ByteRange) -> Result<BytesMut, String> {
        let (length, mut body) = self.client.get(self.blob.id, Some(range)).await.map_err(|error| error.to_string())?;
        let mut bytes = BytesMut::with_capacity(usize::try_from(range.len()).unwrap_or(0));
        while let Some(piece) = body.try_next().await.map_err(|error| error.to_string())? {
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() as u64 == range.len() { Ok(bytes) } else { Err(format!("{} bytes came of {length}", bytes.len())) }
    }
}
