//! Large bodies that the client drops: what serving costs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::{BlobId, ByteRange, CHUNK_SIZE, Geometry};
use herring_http_api::client::{ApiClient, PeerClient};
use herring_http_api::peer::ChunkRequest;

use super::plain::Plain;
use super::report::Kind::Serve;
use super::tool::failed;
use super::{Bench, Iperf, Nginx, Pair, TransportError, address, api, processes, question};

/// Streams of a client that speaks HTTP/2, connections of one that does not, and of iperf3.
const STREAMS: usize = 8;
const CONNECTIONS: usize = 4;

impl Bench<'_> {
    /// All ways to serve have their turn.
    pub fn serve(&mut self) -> Result<(), TransportError> {
        if let Some(iperf) = self.iperf.as_ref().map(Iperf::processes) {
            let send = |bench: &Self| bench.iperf.as_ref().map_or(Ok(0), |iperf| iperf.send(CONNECTIONS));
            self.turn(Serve, "iperf3, 4 streams", &iperf, send)?;
        }
        if let Some((nginx, at)) = self.nginx.as_ref().map(|nginx| (nginx.processes(), nginx.addresses)) {
            self.turn(Serve, "nginx, HTTP/1.1, 1 connection", &nginx, |bench| bench.plainly(at.http1, 1))?;
            self.turn(Serve, "nginx, HTTP/1.1, 4 connections", &nginx, |bench| bench.plainly(at.http1, CONNECTIONS))?;
            let url = format!("http://{}", at.h2);
            self.turn(Serve, "nginx, h2, 8 streams", &nginx, |bench| bench.as_people(&api(&url, None)?))?;
        }
        let (owner, node) = (processes([self.clear.owner()]), address(self.clear.owner()));
        self.turn(Serve, "node, peers, h2, 8 streams", &owner, |bench| bench.as_a_peer(&bench.clear))?;
        self.turn(Serve, "node, public, HTTP/1.1, 4 connections", &owner, |bench| bench.plainly(node, CONNECTIONS))?;
        self.turn(Serve, "node, public, h2, 8 streams", &owner, |bench| bench.as_people(&bench.clear.api(bench.clear.owner())?))?;
        self.serve_sealed()
    }

    fn serve_sealed(&mut self) -> Result<(), TransportError> {
        if let (Some(nginx), Some(url)) = (self.nginx.as_ref().map(Nginx::processes), self.sealed_nginx()) {
            self.turn(Serve, "nginx, h2 + TLS, 8 streams", &nginx, |bench| {
                bench.as_people(&api(&url, bench.seal.as_ref().map(|seal| &seal.tls))?)
            })?;
        }
        let Some(owner) = self.sealed.as_ref().map(|pair| processes([pair.owner()])) else { return Ok(()) };
        let serve = |bench: &Self| bench.sealed.as_ref().map_or(Ok(0), |pair| bench.as_a_peer(pair));
        self.turn(Serve, "node, peers, h2 + TLS, 8 streams", &owner, serve)
    }

    pub fn sealed_nginx(&self) -> Option<String> {
        let at = self.nginx.as_ref().and_then(|nginx| nginx.addresses.tls)?;
        Some(format!("https://{at}"))
    }

    fn plainly(&self, address: SocketAddr, connections: usize) -> Result<u64, TransportError> {
        let (blob, next) = (self.blob, AtomicU64::new(0));
        let reader = || -> std::io::Result<u64> {
            let (mut plain, mut bytes) = (Plain::connect(address)?, 0);
            while let Some(range) = chunk(blob.size, next.fetch_add(1, Relaxed)) {
                bytes += plain.get(blob.id, range)?;
            }
            Ok(bytes)
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..connections).map(|_| scope.spawn(reader)).collect();
            let ends = readers.into_iter().map(|reader| reader.join().map_err(|_| TransportError::Panicked));
            ends.map(|end| end?.map_err(failed(format!("a GET from {address}")))).sum()
        })
    }

    fn as_a_peer(&self, pair: &Pair) -> Result<u64, TransportError> {
        let geometry = Geometry::new(self.blob.size, CHUNK_SIZE).expect("a blob that was put has a geometry");
        let (address, id) = (address(pair.owner()), self.blob.id);
        let chunks = stream::iter(0..geometry.chunk_count()).map(|n| take(&pair.peers, address, id, geometry, n));
        let all = chunks.buffer_unordered(STREAMS).try_fold(0, async |sum, bytes| Ok(sum + bytes));
        self.runtime.block_on(all)
    }

    fn as_people(&self, client: &ApiClient) -> Result<u64, TransportError> {
        let blob = self.blob;
        let ranges = stream::iter((0..).map_while(|n| chunk(blob.size, n))).map(|range| drain(client, blob.id, range));
        let all = ranges.buffer_unordered(STREAMS).try_fold(0, async |sum, bytes| Ok(sum + bytes));
        self.runtime.block_on(all)
    }
}

/// Where chunk `n` of a blob of so many bytes lies, if it has one.
fn chunk(size: u64, n: u64) -> Option<ByteRange> {
    let range = ByteRange::at(n * u64::from(CHUNK_SIZE), u64::from(CHUNK_SIZE)).clamp_to(size);
    (!range.is_empty()).then_some(range)
}

/// A chunk as peers ask for it, not verified.
pub async fn take(
    peers: &PeerClient,
    address: SocketAddr,
    id: BlobId,
    geometry: Geometry,
    index: u32,
) -> Result<u64, TransportError> {
    let ask = question();
    let mut chunk = peers.chunk(address, &ChunkRequest::blob(id, index), geometry.pieces(index), ask.deadline, &ask).await?;
    let mut bytes = 0;
    while let Some(piece) = chunk.next().await? {
        bytes += piece.bytes.len() as u64;
    }
    Ok(bytes)
}

/// A range as people ask for it.
pub async fn drain(client: &ApiClient, id: BlobId, range: ByteRange) -> Result<u64, TransportError> {
    let (length, body) = client.get(id, Some(range)).await?;
    let came = body.try_fold(0, async |sum, bytes| Ok(sum + bytes.len() as u64)).await;
    let came = came.map_err(failed("a body"))?;
    let wrong = || TransportError::Answer { what: "a GET".to_owned(), detail: format!("{came} bytes of {length}") };
    if came == range.len() { Ok(came) } else { Err(wrong()) }
}
