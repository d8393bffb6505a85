//! A swarm of one node over a directory of its own, with an origin that is a directory too, and one that does not answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use herring_blob::BlobId;
use herring_gossip::{NodeInfo, NodeState, View};
use herring_http_api::client::{PeerClient, PeerConfig};
use herring_origin::{OriginSpec, Origins};
use herring_store::{Store, StoreConfig};
use herring_swarm::{PutOptions, Swarm, SwarmConfig};
use tempfile::TempDir;
use tokio::sync::watch;

/// Small, so that a few hundred KiB have many chunks.
pub const CHUNK: u32 = 64 << 10;
pub const CAPACITY: u64 = 1 << 30;
/// The origin that is a directory.
pub const ORIGIN: &str = "files";
/// The origin that does not answer.
pub const REFUSING: &str = "refusing";

/// Nothing listens on the lowest port.
pub const NOBODY: ([u8; 4], u16) = ([127, 0, 0, 1], 1);

pub struct Rig {
    pub swarm: Swarm,
    /// The origin's directory.
    pub origin: PathBuf,
    _dir: TempDir,
    _view: watch::Sender<Arc<View>>,
}

impl Rig {
    /// With a bucket of `server` for the origin that does not answer, and `options` for the one that does. Must be called inside a runtime.
    pub fn new(capacity: u64, server: SocketAddr, options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let origin = dir.path().join("origin");
        std::fs::create_dir(&origin).unwrap();
        let spec = OriginSpec::new(ORIGIN, &format!("file://{}{options}", origin.display())).unwrap();
        let bucket = format!("s3://bucket/?endpoint=http://{server}&region=r&anonymous=true&path_style=true");
        let refusing = OriginSpec::new(REFUSING, &bucket).unwrap();
        let store = Store::open(StoreConfig { dir: dir.path().join("store"), capacity }).unwrap();
        let (sender, view) = watch::channel(Arc::new(View::fixed("me".parse().unwrap(), vec![me()])));
        let config = SwarmConfig { replicas: 1, chunk_size: CHUNK, ..SwarmConfig::default() };
        let swarm =
            Swarm::new(config, store, PeerClient::new(PeerConfig::default()), view, Origins::new([spec, refusing]).unwrap());
        Self { swarm, origin, _dir: dir, _view: sender }
    }

    pub async fn put(&self, bytes: &[u8]) -> BlobId {
        let body = Bytes::copy_from_slice(bytes);
        let body = Box::pin(futures_util::stream::once(async { Ok(body) }));
        let put = self.swarm.put(None, PutOptions::default(), body).await.unwrap();
        put.stored.id
    }

    /// A file of the origin.
    pub fn write(&self, key: &str, bytes: &[u8]) {
        let path = self.origin.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn me() -> NodeInfo {
    NodeInfo {
        id: "me".parse().unwrap(),
        http: ([127, 0, 0, 1], 1).into(),
        zone: String::new(),
        weight: 100,
        capacity: None,
        state: NodeState::Ready,
        version: String::new(),
    }
}

/// Bytes of which no two aligned blocks are alike, so that a wrong offset is a wrong byte.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = next(state);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// SplitMix64: enough randomness for a test, and the same every time.
pub fn next(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
