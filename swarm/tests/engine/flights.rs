//! One chunk is fetched once, however many want it and whether they wait or not.

use std::sync::Arc;

use futures_util::future::join_all;
use herring_blob::{BlobId, ByteRange};
use herring_ring::Point;
use tokio::sync::Semaphore;

use crate::net::{CHUNK_LEN, Net, eventually, noise};
use crate::peer::Fault;

/// A blob of one chunk on one node, whose answers wait for permits; another node is the reader.
async fn held(seed: u64) -> (Net, usize, usize, BlobId, Vec<u8>, Arc<Semaphore>) {
    let net = Net::start(2, 1).await;
    let bytes = noise(seed, CHUNK_LEN).to_vec();
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let owner = net.owners(Point::of_blob(&id))[0];
    let gate = Arc::new(Semaphore::new(0));
    net.nodes[owner].peer.set(Fault::Hold(gate.clone()));
    (net, owner, 1 - owner, id, bytes, gate)
}

#[tokio::test]
async fn fifty_readers_of_a_cold_chunk_are_one_question() {
    let (net, owner, reader, id, bytes, gate) = held(50).await;
    let owner = &net.nodes[owner].peer;
    let readings = join_all((0..50).map(|_| net.nodes[reader].get(id)));
    let release = async {
        owner.until(|asked| !asked.chunks.is_empty()).await;
        gate.add_permits(50);
    };
    let (read, ()) = tokio::join!(readings, release);
    assert!(read.into_iter().all(|read| read.unwrap() == bytes));
    assert_eq!(owner.asked().chunks, [0]);
    assert!(owner.asked().manifests <= 1, "the manifest is one flight too");
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_the_chunk_behind() {
    let (net, owner, reader, id, bytes, gate) = held(51).await;
    let swarm = net.nodes[reader].swarm.clone();
    let content = swarm.open_blob(id).await.unwrap();
    let reading = tokio::spawn(async move { swarm.read(&content, ByteRange::new(0, 10)).await });
    net.nodes[owner].peer.until(|asked| asked.chunks == [0]).await;
    reading.abort();
    assert!(reading.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    let entry = net.nodes[reader].store.get(&id.into()).unwrap();
    eventually("the flight lands without its reader", || entry.has(0)).await;
    assert!(entry.read(ByteRange::new(0, CHUNK_LEN as u64)).await.unwrap() == bytes);
    assert_eq!(net.nodes[owner].peer.asked().chunks, [0]);
}

#[tokio::test]
async fn a_shutdown_frees_those_who_wait() {
    let (net, owner, reader, id, _, _gate) = held(52).await;
    let swarm = net.nodes[reader].swarm.clone();
    let shutdown = async {
        net.nodes[owner].peer.until(|asked| asked.chunks == [0]).await;
        swarm.shutdown().await;
    };
    let (read, ()) = tokio::join!(net.nodes[reader].get(id), shutdown);
    assert!(read.unwrap_err().to_string().contains("shutting down"));
}
