use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use herring_blob::{ByteRange, CHUNK_SIZE};
use herring_http_api::client::ApiClient;
use tokio::time::timeout;

use super::deal::Piece;
use crate::blob::TestBlob;
use crate::lab::{Http, LabError, Stop, runtime};
use crate::tally::Tally;

/// For one read.
const DEADLINE: Duration = Duration::from_secs(60);

/// A reader on a host, and what it reads in one turn, one piece after the other.
pub struct Reader<'a> {
    pub host: usize,
    pub pieces: &'a [Piece],
    pub blobs: &'a [TestBlob],
    /// When all begin.
    pub start: Instant,
    pub stop: &'a Stop,
}

impl Reader<'_> {
    /// From the node on this host, over loopback. For a thread on it.
    pub fn at_node(&self, url: &str) -> Result<Tally, LabError> {
        let (client, runtime) = (ApiClient::new(url).map_err(LabError::client(self.host))?, runtime(self.host)?);
        // So that no connection is dialled while the clock runs: a central server's client has one too.
        let _ = runtime.block_on(async { timeout(DEADLINE, client.ready()).await });
        self.all(|blob, range, bytes| {
            let read = runtime.block_on(async { timeout(DEADLINE, read(&client, blob, range, bytes)).await });
            let read = read.unwrap_or_else(|_| Err(format!("bytes {range} took longer than {DEADLINE:?}")));
            read.map_err(|detail| LabError::Broken { host: self.host, detail })
        })
    }

    /// From the central server. For a thread on this host.
    pub fn at_server(&self, web: SocketAddr) -> Result<Tally, LabError> {
        let deadline = self.start + DEADLINE * u32::try_from(self.pieces.len()).unwrap_or(1);
        let mut http = Http::connect(self.host, web, deadline, self.stop)?;
        let path = |blob: &TestBlob| format!("/{}", blob.id);
        self.all(|blob, range, bytes| {
            let took = |_, piece: &[u8]| {
                bytes.extend_from_slice(piece);
                Ok(())
            };
            http.get(&path(blob), Some(range), took).map(drop)
        })
    }

    /// Each is timed from the question to the last byte, and then compared.
    fn all(&self, mut get: impl FnMut(&TestBlob, ByteRange, &mut Vec<u8>) -> Result<(), LabError>) -> Result<Tally, LabError> {
        let mut tally = Tally::new();
        let mut bytes = Vec::with_capacity(CHUNK_SIZE as usize);
        std::thread::sleep(self.start.saturating_duration_since(Instant::now()));
        for piece in self.pieces {
            self.stop.go_on()?;
            let (blob, at) = (&self.blobs[piece.blob], u64::from(piece.chunk) * u64::from(CHUNK_SIZE));
            let range = ByteRange::new(at, (at + u64::from(CHUNK_SIZE)).min(blob.size));
            bytes.clear();
            let began = Instant::now();
            get(blob, range, &mut bytes)?;
            tally.record(began.elapsed(), bytes.len());
            let what = format!("host {}, blob {}", self.host, blob.id);
            blob.compare(Path::new(&what), at, &bytes)?;
            if bytes.len() as u64 != range.len() {
                return Err(LabError::Wrong { host: self.host, what, at: at + bytes.len() as u64 });
            }
        }
        Ok(tally)
    }
}

async fn read(client: &ApiClient, blob: &TestBlob, range: ByteRange, bytes: &mut Vec<u8>) -> Result<(), String> {
    let (_, mut stream) = client.get(blob.id, Some(range)).await.map_err(|error| error.to_string())?;
    while let Some(piece) = stream.try_next().await.map_err(|error| error.to_string())? {
        bytes.extend_from_slice(&piece);
    }
    Ok(())
}
