//! Small reads: how long one takes, alone and beside seven others.

use std::net::SocketAddr;
use std::time::Instant;

use futures_util::future::try_join_all;
use herring_blob::{BlobId, ByteRange, CHUNK_SIZE, Geometry};

use super::bulk::{drain, take};
use super::plain::Plain;
use super::report::Kind;
use super::tool::failed;
use super::{Bench, SMALL, TransportError, address, api};
use crate::random::SplitMix64;

/// In flight at once.
const ABREAST: [(usize, Kind); 2] = [(1, Kind::Alone), (8, Kind::Abreast)];

impl Bench<'_> {
    pub fn small(&mut self) -> Result<(), TransportError> {
        let node = address(self.owner());
        let nginx = self.nginx.as_ref().map(super::Nginx::address);
        for (abreast, kind) in ABREAST {
            if let Some(nginx) = nginx {
                self.timed(kind, "nginx, HTTP/1.1", |bench| bench.small_plainly(nginx, abreast))?;
            }
            self.timed(kind, "node, public, HTTP/1.1", |bench| bench.small_plainly(node, abreast))?;
            self.timed(kind, "node, public, h2", |bench| bench.small_as_people(abreast))?;
            self.timed(kind, "node, peers, h2", |bench| bench.small_as_peers(abreast))?;
        }
        Ok(())
    }

    fn timed(
        &mut self,
        kind: Kind,
        way: &'static str,
        work: impl FnOnce(&Self) -> Result<Vec<f64>, TransportError>,
    ) -> Result<(), TransportError> {
        self.swarm.go_on()?;
        if self.wants(way) {
            let times = work(self)?;
            self.figures.note_times(kind, way, times);
        }
        Ok(())
    }

    fn small_plainly(&self, address: SocketAddr, abreast: usize) -> Result<Vec<f64>, TransportError> {
        let reads = self.arguments.reads() / abreast;
        let reader = |lane: usize| -> std::io::Result<Vec<f64>> {
            let mut plain = Plain::connect(address)?;
            self.places(lane).take(reads).map(|range| timed(|| plain.get(self.blob.id, range))).collect()
        };
        let reader = &reader;
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..abreast).map(|lane| scope.spawn(move || reader(lane))).collect();
            let mut times = Vec::new();
            for end in readers.into_iter().map(|reader| reader.join().map_err(|_| TransportError::Panicked)) {
                times.extend(end?.map_err(failed(format!("a small GET from {address}")))?);
            }
            Ok(times)
        })
    }

    fn small_as_people(&self, abreast: usize) -> Result<Vec<f64>, TransportError> {
        let (client, reads) = (api(&self.owner().url)?, self.arguments.reads() / abreast);
        let (client, id) = (&client, self.blob.id);
        let reader = |lane| async move {
            let mut times = Vec::new();
            for range in self.places(lane).take(reads) {
                let began = Instant::now();
                drain(client, id, range).await?;
                times.push(began.elapsed().as_secs_f64() * 1e6);
            }
            Ok::<_, TransportError>(times)
        };
        Ok(self.runtime.block_on(try_join_all((0..abreast).map(reader)))?.concat())
    }

    /// Peers ask for whole chunks: this one is of a blob that has no more.
    fn small_as_peers(&self, abreast: usize) -> Result<Vec<f64>, TransportError> {
        let (peers, node, reads) = (&self.peers, address(self.owner()), self.arguments.reads() / abreast);
        let (id, geometry): (BlobId, _) = (self.small.id, Geometry::new(SMALL.into(), CHUNK_SIZE));
        let geometry = geometry.expect("a blob that was put has a geometry");
        let reader = |_| async move {
            let mut times = Vec::new();
            for _ in 0..reads {
                let began = Instant::now();
                take(peers, node, id, geometry, 0).await?;
                times.push(began.elapsed().as_secs_f64() * 1e6);
            }
            Ok::<_, TransportError>(times)
        };
        Ok(self.runtime.block_on(try_join_all((0..abreast).map(reader)))?.concat())
    }

    /// Where a lane reads: anywhere, the same places for every way.
    fn places(&self, lane: usize) -> impl Iterator<Item = ByteRange> + use<> {
        let blocks = usize::try_from(self.blob.size / u64::from(SMALL)).unwrap_or(usize::MAX).max(1);
        let mut numbers = SplitMix64::derived(self.arguments.seed, &[2, lane as u64]);
        std::iter::from_fn(move || Some(ByteRange::at(numbers.below(blocks) as u64 * u64::from(SMALL), SMALL.into())))
    }
}

/// Microseconds.
fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<f64, E> {
    let began = Instant::now();
    work().map(|_| began.elapsed().as_secs_f64() * 1e6)
}
