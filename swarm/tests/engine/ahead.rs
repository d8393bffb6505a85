//! What is answered before its chunk is here, and what is sent for before it is asked.

use std::collections::BTreeSet;

use bytes::Bytes;
use herring_blob::{BlobId, ByteRange};

use crate::door::{Door, Manner};
use crate::net::{CHUNK, CHUNK_LEN, Net, Numbers, Setup, eventually, noise};

/// A blob of which node 1 has nothing: it came to the swarm later.
async fn far_blob(net: &Net, chunks: usize) -> (BlobId, Bytes) {
    net.publish(&net.without(&[1]));
    let bytes = noise(500, chunks * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    net.publish(&net.members());
    (id, bytes)
}

#[tokio::test]
async fn the_first_bytes_are_answered_while_the_rest_never_comes() {
    for offset in [0, 30_000, CHUNK_LEN - 100] {
        let net = Net::start(2, 1).await;
        let (id, bytes) = far_blob(&net, 1).await;
        let content = net.nodes[1].swarm.open_blob(id).await.unwrap();
        // Room for the greeting, the head and the first piece of 4 KiB; not for the frame behind it.
        let door = Door::open(Manner::Stall { peer: net.nodes[0].info.http, after: 20_000 }).await;
        net.detour(0, door.addr);
        let read = net.nodes[1].swarm.read(&content, ByteRange::at(offset as u64, 100)).await.unwrap();
        assert!(read == bytes[offset..offset + 100], "at {offset}");
        assert_eq!(content_chunks(&net, id), 0, "the chunk is not here");
    }
}

fn content_chunks(net: &Net, id: BlobId) -> u32 {
    net.nodes[1].store.get(&id.into()).unwrap().present_count()
}

#[tokio::test]
async fn a_random_reader_pays_for_the_chunks_that_it_touches() {
    let net = Setup::new(2, 1).tune(|config| config.read_ahead = 256 << 20).start().await;
    let (id, bytes) = far_blob(&net, 24).await;
    let content = net.nodes[1].swarm.open_blob(id).await.unwrap();
    let mut numbers = Numbers(5);
    let mut touched = BTreeSet::new();
    for _ in 0..12 {
        // Two reads of one chunk, never near each other.
        let chunk = numbers.below(24);
        for at in [0, CHUNK_LEN / 2] {
            let start = usize::try_from(chunk).unwrap() * CHUNK_LEN + at;
            let read = net.nodes[1].swarm.read(&content, ByteRange::at(start as u64, 4096)).await.unwrap();
            assert!(read == bytes[start..start + 4096]);
        }
        touched.insert(u32::try_from(chunk).unwrap());
    }
    let mut asked = net.nodes[0].peer.asked().chunks;
    asked.sort_unstable();
    assert_eq!(asked, touched.into_iter().collect::<Vec<_>>(), "each once, and no other");
}

#[tokio::test]
async fn more_is_sent_for_ahead_of_each_of_several_readers() {
    let net = Setup::new(2, 1).tune(|config| config.read_ahead = 8 * u64::from(CHUNK)).start().await;
    let (id, _) = far_blob(&net, 48).await;
    let content = net.nodes[1].swarm.open_blob(id).await.unwrap();
    // Two readers in turn, in steps of a quarter of a chunk: each is two chunks and a half into its half.
    for step in 0..10 {
        for start in [0, 24 * u64::from(CHUNK)] {
            let at = start + step * u64::from(CHUNK) / 4;
            net.nodes[1].swarm.read(&content, ByteRange::at(at, u64::from(CHUNK) / 4)).await.unwrap();
        }
    }
    let entry = net.nodes[1].store.get(&id.into()).unwrap();
    let window = |start: u32| (start..start + 10).all(|chunk| entry.has(chunk));
    eventually("the windows of both readers", || window(0) && window(24)).await;
    assert!(!entry.has(20) && !entry.has(47), "no further than the window");
}

#[tokio::test]
async fn all_of_something_small_is_sent_for_once_somebody_begins_to_read_it() {
    let net = Setup::new(2, 1).tune(|config| config.read_ahead = 256 << 20).start().await;
    net.publish(&net.without(&[1]));
    let mut ids = Vec::new();
    for (seed, chunks) in [(1, 4), (2, 5), (3, 4)] {
        ids.push(net.nodes[0].put(&noise(seed, chunks * CHUNK_LEN)).await.unwrap().stored.id);
    }
    net.publish(&net.members());
    // Who looks at the head of it, or begins to read something larger, has not said that all of it is wanted.
    for (id, read) in ids.iter().zip([CHUNK_LEN / 32, CHUNK_LEN / 8, CHUNK_LEN / 16]) {
        let content = net.nodes[1].swarm.open_blob(*id).await.unwrap();
        net.nodes[1].swarm.read(&content, ByteRange::new(0, read as u64)).await.unwrap();
    }
    eventually("all of what was begun", || content_chunks(&net, ids[2]) == 4).await;
    assert_eq!(net.nodes[0].peer.asked().chunks.len(), 6, "of the others only what was read");
}

#[tokio::test]
async fn small_reads_of_a_chunk_that_finds_no_room_fetch_it_once() {
    let mut setup = Setup::new(2, 1);
    // Room for directories and a manifest, not for a chunk.
    setup.capacity = |index| if index == 1 { 60_000 } else { 1 << 30 };
    let net = setup.start().await;
    let bytes = noise(600, 3 * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let content = net.nodes[1].swarm.open_blob(id).await.unwrap();
    for (at, part) in (0..).step_by(4096).zip(bytes.chunks(4096)) {
        let read = net.nodes[1].swarm.read(&content, ByteRange::at(at, 4096)).await.unwrap();
        assert!(read == part);
    }
    assert_eq!(net.nodes[0].peer.asked().chunks, [0, 1, 2]);
}
