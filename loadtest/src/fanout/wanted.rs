use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use herring_http_api::ByteStream;
use herring_http_api::client::{ApiClient, ClientError};
use herring_http_api::types::{JobState, Prefetch, PrefetchPath};
use tokio::time::timeout;

use super::bench::{KEY, Start};
use super::report::{Finish, Sampler};
use super::{Reader, Source};
use crate::blob::TestBlob;
use crate::lab::{LabError, Stop, runtime};

/// Of the web server, in the nodes.
pub const ORIGIN: &str = "web";
/// Between two looks at whether to stop.
const GLANCE: Duration = Duration::from_millis(250);
/// For all bytes of a node that has them.
const COMPARING: Duration = Duration::from_secs(300);
/// Bytes compared at once.
const PIECE: usize = 1 << 20;

/// What each node is to get, and how.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub blob: TestBlob,
    pub source: Source,
    pub reader: Reader,
}

/// One node that gets it, watched from its own host.
struct Watch<'a> {
    host: usize,
    client: ApiClient,
    sampler: Sampler,
    deadline: Instant,
    stop: &'a Stop,
}

impl Wanted {
    /// Until that node has all of it. For a thread on that host.
    pub fn bring(&self, host: usize, url: &str, start: &Start, stop: &Stop) -> Result<Finish, LabError> {
        let (client, runtime) = (ApiClient::new(url).map_err(LabError::client(host))?, runtime(host)?);
        start.wait();
        let mut watch = Watch { host, client, sampler: Sampler::new(start.at), deadline: start.deadline, stop };
        let done = runtime.block_on(async {
            match self.reader {
                Reader::Prefetch => watch.prefetch(&self.aim()).await,
                Reader::Get => watch.get(self).await,
            }
        })?;
        if done != self.blob.size {
            return Err(LabError::Broken { host, detail: format!("it has {done} bytes instead of {}", self.blob.size) });
        }
        Ok(watch.sampler.end(done))
    }

    /// Reads all of it from that node, and compares. For a thread on that host.
    pub fn compare(&self, host: usize, url: &str, stop: &Stop) -> Result<(), LabError> {
        let client = ApiClient::new(url).map_err(LabError::client(host))?;
        let deadline = Instant::now() + COMPARING;
        let mut watch = Watch { host, client, sampler: Sampler::new(Instant::now()), deadline, stop };
        runtime(host)?.block_on(watch.compare(self, url))
    }

    fn aim(&self) -> Prefetch {
        match self.source {
            Source::Origin => {
                let path = PrefetchPath::new(ORIGIN, KEY);
                Prefetch { origins: vec![path], ..Prefetch::default() }
            }
            Source::Blob => Prefetch { blobs: vec![self.blob.id], ..Prefetch::default() },
        }
    }

    async fn open(&self, client: &ApiClient) -> Result<ByteStream, ClientError> {
        let opened = match self.source {
            Source::Origin => client.get_object(ORIGIN, KEY, None).await,
            Source::Blob => client.get(self.blob.id, None).await,
        };
        opened.map(|(_, stream)| stream)
    }
}

impl Watch<'_> {
    async fn prefetch(&mut self, aim: &Prefetch) -> Result<u64, LabError> {
        let failed = LabError::client(self.host);
        let job = self.client.prefetch(aim).await.map_err(&failed)?;
        let mut states = self.client.follow_job(job).await.map_err(&failed)?;
        loop {
            let job = self.patiently(states.try_next()).await?;
            let job = job.ok_or_else(|| self.broken("its job never ended"))?;
            self.sampler.look(job.bytes_done);
            match job.state {
                JobState::Done => return Ok(job.bytes_done),
                JobState::Failed | JobState::Cancelled => return Err(self.broken(job.error.unwrap_or_default())),
                JobState::Looking | JobState::Running => {}
            }
        }
    }

    async fn get(&mut self, wanted: &Wanted) -> Result<u64, LabError> {
        let (mut stream, mut done) = (self.open(wanted).await?, 0);
        while let Some(piece) = self.patiently(stream.try_next()).await? {
            done += piece.len() as u64;
            self.sampler.look(done);
        }
        Ok(done)
    }

    async fn compare(&mut self, wanted: &Wanted, url: &str) -> Result<(), LabError> {
        let (mut stream, mut unread, mut at) = (self.open(wanted).await?, Vec::with_capacity(2 * PIECE), 0);
        loop {
            let piece: Option<Bytes> = self.patiently(stream.try_next()).await?;
            unread.extend_from_slice(piece.as_deref().unwrap_or_default());
            // The bytes are known from multiples of 8 on; at the end, all of the rest is compared.
            let length = if piece.is_some() { unread.len() - unread.len() % PIECE } else { unread.len() };
            wanted.blob.compare(Path::new(url), at, &unread[..length])?;
            at += length as u64;
            unread.drain(..length);
            if piece.is_none() {
                let whole = at == wanted.blob.size;
                return whole.then_some(()).ok_or_else(|| LabError::Wrong { host: self.host, what: url.into(), at });
            }
        }
    }

    async fn open(&mut self, wanted: &Wanted) -> Result<ByteStream, LabError> {
        let client = self.client.clone();
        self.patiently(wanted.open(&client)).await
    }

    /// Waits for what comes next, and looks around meanwhile.
    async fn patiently<T, E: Display>(&mut self, next: impl Future<Output = Result<T, E>>) -> Result<T, LabError> {
        let mut next = std::pin::pin!(next);
        loop {
            self.stop.go_on()?;
            if let Ok(done) = timeout(GLANCE, &mut next).await {
                return done.map_err(|error| self.broken(error));
            }
            self.sampler.again();
            if Instant::now() > self.deadline {
                return Err(self.broken(format_args!("it takes too long, and is at byte {}", self.sampler.done())));
            }
        }
    }

    fn broken(&self, detail: impl Display) -> LabError {
        LabError::Broken { host: self.host, detail: detail.to_string() }
    }
}
