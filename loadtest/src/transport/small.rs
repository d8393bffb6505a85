//! Small reads: how long one takes, alone and beside seven others.

use std::net::SocketAddr;
use std::time::Instant;

use futures_util::future::try_join_all;
use herring_blob::{ByteRange, CHUNK_SIZE, Geometry};
use herring_http_api::client::ApiClient;

use super::bulk::{drain, take};
use super::plain::Plain;
use super::report::Kind;
use super::tool::failed;
use super::{Bench, Pair, SMALL, TransportError, address, api};
use crate::random::SplitMix64;

/// In flight at once.
const ABREAST: [(usize, Kind); 2] = [(1, Kind::Alone), (8, Kind::Abreast)];

impl Bench<'_> {
    pub fn read_small(&mut self) -> Result<(), TransportError> {
        let (node, nginx) = (address(self.clear.owner()), self.nginx.as_ref().map(|nginx| nginx.addresses));
        for (abreast, kind) in ABREAST {
            if let Some(at) = nginx {
                let url = format!("http://{}", at.h2);
                self.timed(kind, "nginx, HTTP/1.1", |bench| bench.small_plainly(at.http1, abreast))?;
                self.timed(kind, "nginx, h2", |bench| bench.small_as_people(&api(&url, None)?, abreast))?;
            }
            self.timed(kind, "node, public, HTTP/1.1", |bench| bench.small_plainly(node, abreast))?;
            self.timed(kind, "node, public, h2", |bench| bench.small_as_people(&bench.clear.api(bench.clear.owner())?, abreast))?;
            self.timed(kind, "node, peers, h2", |bench| bench.small_as_peers(&bench.clear, abreast))?;
            if self.sealed.is_some() {
                self.sealed_small(kind, abreast)?;
            }
        }
        Ok(())
    }

    fn sealed_small(&mut self, kind: Kind, abreast: usize) -> Result<(), TransportError> {
        if let Some(url) = self.sealed_nginx() {
            self.timed(kind, "nginx, h2 + TLS", |bench| {
                bench.small_as_people(&api(&url, bench.seal.as_ref().map(|seal| &seal.tls))?, abreast)
            })?;
        }
        self.timed(kind, "node, peers, h2 + TLS", |bench| {
            bench.sealed.as_ref().map_or(Ok(Vec::new()), |pair| bench.small_as_peers(pair, abreast))
        })
    }

    fn timed(
        &mut self,
        kind: Kind,
        way: &'static str,
        work: impl FnOnce(&Self) -> Result<Vec<f64>, TransportError>,
    ) -> Result<(), TransportError> {
        self.clear.swarm.go_on()?;
        if way.contains(&self.arguments.only) {
            let times = work(self)?;
            self.figures.note_times(kind, way, times);
        }
        Ok(())
    }

    fn small_plainly(&self, address: SocketAddr, abreast: usize) -> Result<Vec<f64>, TransportError> {
        let reads = self.arguments.reads() / abreast;
        let reader = |lane: usize| -> std::io::Result<Vec<f64>> {
            let mut plain = Plain::connect(address)?;
            let timed = |range| {
                let began = Instant::now();
                plain.get(self.blob.id, range).map(|_| micros(began))
            };
            self.places(lane).take(reads).map(timed).collect()
        };
        let reader = &reader;
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..abreast).map(|lane| scope.spawn(move || reader(lane))).collect();
            let ends = readers.into_iter().map(|reader| reader.join().map_err(|_| TransportError::Panicked));
            let times = ends.map(|end| end?.map_err(failed(format!("a small GET from {address}"))));
            Ok(times.collect::<Result<Vec<_>, TransportError>>()?.concat())
        })
    }

    fn small_as_people(&self, client: &ApiClient, abreast: usize) -> Result<Vec<f64>, TransportError> {
        let (id, reads) = (self.blob.id, self.arguments.reads() / abreast);
        let reader = |lane| async move {
            let mut times = Vec::new();
            for range in self.places(lane).take(reads) {
                let began = Instant::now();
                drain(client, id, range).await?;
                times.push(micros(began));
            }
            Ok::<_, TransportError>(times)
        };
        Ok(self.runtime.block_on(try_join_all((0..abreast).map(reader)))?.concat())
    }

    /// Peers ask for whole chunks: this one is of a blob that has no more.
    fn small_as_peers(&self, pair: &Pair, abreast: usize) -> Result<Vec<f64>, TransportError> {
        let (node, reads, id) = (address(pair.owner()), self.arguments.reads() / abreast, self.small.id);
        let geometry = Geometry::new(SMALL.into(), CHUNK_SIZE).expect("a blob that was put has a geometry");
        let reader = |_| async move {
            let mut times = Vec::new();
            for _ in 0..reads {
                let began = Instant::now();
                take(&pair.peers, node, id, geometry, 0).await?;
                times.push(micros(began));
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

fn micros(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6
}
