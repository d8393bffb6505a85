use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use herring_blob::{BlobId, ByteRange};
use herring_http_api::client::{ApiClient, ClientError, PeerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::random::Random;
use crate::error::Failure;
use crate::up::Place;

/// Within this a request is answered, or it has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Within this a machine that is there accepts.
const ACCEPT: Duration = Duration::from_secs(1);
/// Bytes of a body's frame.
const PIECE: usize = 1 << 20;

/// Where blobs go in and out.
#[async_trait]
pub trait Door: Send + Sync {
    /// The id that it gave.
    async fn put(&self, bytes: Bytes) -> Result<BlobId, String>;
    async fn read(&self, id: BlobId, range: ByteRange) -> Result<Vec<u8>, String>;
}

#[async_trait]
impl Door for ApiClient {
    async fn put(&self, bytes: Bytes) -> Result<BlobId, String> {
        let size = bytes.len() as u64;
        let pieces: Vec<_> = bytes.chunks(PIECE).map(|piece| Ok(bytes.slice_ref(piece))).collect();
        let put = ApiClient::put(self, None, Some(size), Box::pin(stream::iter(pieces)));
        Ok(put.await.map_err(|error| error.to_string())?.0.id)
    }

    async fn read(&self, id: BlobId, range: ByteRange) -> Result<Vec<u8>, String> {
        let (_, mut body) = self.get(id, Some(range)).await.map_err(|error| error.to_string())?;
        let mut bytes = Vec::with_capacity(usize::try_from(range.len()).unwrap_or_default());
        while let Some(piece) = body.try_next().await.map_err(|error| error.to_string())? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// Where a node answers, and how it is spoken to there.
#[derive(Debug, Clone)]
pub struct At {
    pub url: String,
    speech: PeerConfig,
}

impl At {
    /// A dead node is noticed in 5 s, and a slow one has as long as a request may take.
    pub fn new(url: String, speech: PeerConfig) -> Self {
        let waits = PeerConfig { connect_timeout: Duration::from_secs(3), answer_timeout: DEADLINE, ..speech };
        let speech = PeerConfig { ping_interval: Duration::from_secs(1), ping_timeout: Duration::from_secs(4), ..waits };
        Self { url, speech }
    }

    /// As who started it speaks to it.
    pub fn place(place: &Place) -> Result<Self, Failure> {
        Ok(Self::new(place.url(), place.speech()?))
    }

    /// Whether it is spoken to in TLS.
    pub fn is_secure(&self) -> bool {
        self.url.starts_with("https:")
    }

    /// Whether something listens there, whatever it speaks.
    pub async fn accepts(&self) -> bool {
        let target = self.url.split_once("://").map_or(&*self.url, |(_, target)| target);
        timeout(ACCEPT, TcpStream::connect(target)).await.is_ok_and(|connected| connected.is_ok())
    }

    pub fn client(&self) -> Result<ApiClient, ClientError> {
        ApiClient::with_config(&self.url, &self.speech)
    }
}

/// A node as those who load it see it.
pub struct Site {
    /// What it calls itself.
    pub id: String,
    pub at: At,
    door: Arc<dyn Door>,
    /// The drill has not taken it away.
    serves: AtomicBool,
    /// How often the drill took it away.
    falls: AtomicU64,
}

impl Site {
    pub fn new(id: String, at: At, door: Arc<dyn Door>) -> Self {
        Self { id, at, door, serves: AtomicBool::new(true), falls: AtomicU64::new(0) }
    }

    /// From now on nobody is sent here, and who is here already is excused.
    pub fn fall(&self) {
        self.falls.fetch_add(1, Ordering::SeqCst);
        self.serves.store(false, Ordering::SeqCst);
    }

    pub fn rise(&self) {
        self.serves.store(true, Ordering::SeqCst);
    }

    pub fn serves(&self) -> bool {
        self.serves.load(Ordering::SeqCst)
    }

    /// To be compared with a later one: a request in between met a node that the drill had taken away.
    pub fn falls(&self) -> u64 {
        self.falls.load(Ordering::SeqCst)
    }

    pub async fn read(&self, id: BlobId, range: ByteRange) -> Result<Vec<u8>, String> {
        in_time(self.door.read(id, range)).await
    }

    pub async fn put(&self, bytes: Bytes) -> Result<BlobId, String> {
        in_time(self.door.put(bytes)).await
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(DEADLINE, work).await.unwrap_or_else(|_| Err(format!("nothing within {} s", DEADLINE.as_secs())))
}

/// All nodes, in the order in which they are numbered.
#[derive(Default)]
pub struct Sites(RwLock<Vec<Arc<Site>>>);

impl Sites {
    pub fn new(sites: impl IntoIterator<Item = Site>) -> Self {
        Self(RwLock::new(sites.into_iter().map(Arc::new).collect()))
    }

    pub fn add(&self, site: Site) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(site));
    }

    pub fn all(&self) -> Vec<Arc<Site>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn serving(&self) -> Vec<Arc<Site>> {
        self.all().into_iter().filter(|site| site.serves()).collect()
    }

    pub fn pick(&self, numbers: &mut Random) -> Option<Arc<Site>> {
        numbers.pick(&self.serving()).cloned()
    }
}
