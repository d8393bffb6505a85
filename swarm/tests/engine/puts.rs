//! What a put leaves behind: everything where it belongs, or nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use herring_blob::{BlobId, ChunkDigest};
use herring_http_api::ByteStream;
use herring_ring::Point;
use herring_swarm::{PutError, PutOptions};
use tokio::sync::{Semaphore, mpsc};

use crate::door::{Door, Manner, nobody};
use crate::net::{CHUNK_LEN, Net, Setup, body, manifest_of, noise};
use crate::peer::Fault;

/// A body that a test feeds: it ends when the sender is dropped.
fn fed() -> (mpsc::Sender<Bytes>, ByteStream) {
    let (feed, pieces) = mpsc::channel(1);
    let body = stream::unfold(pieces, |mut pieces| async { pieces.recv().await.map(|piece| (Ok(piece), pieces)) });
    (feed, body.boxed())
}

#[tokio::test]
async fn the_id_that_was_claimed_is_the_one() {
    let net = Net::start(3, 2).await;
    let bytes = noise(1, 3 * CHUNK_LEN + 1);
    let put = net.nodes[0].swarm.put(Some(BlobId::of(&bytes)), PutOptions::default(), body(&bytes)).await.unwrap();
    assert!(put.created);
    net.assert_readable(0..3, put.stored.id, &bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_bytes_than_claimed_leave_nothing() {
    let net = Net::start(4, 3).await;
    let (claimed, bytes) = (BlobId::of(b"something else"), noise(2, 6 * CHUNK_LEN + 1));
    let error = net.nodes[1].swarm.put(Some(claimed), PutOptions::default(), body(&bytes)).await.unwrap_err();
    assert!(matches!(error, PutError::Mismatch { expected, found } if expected == claimed && found == BlobId::of(&bytes)));
    net.until_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_off_leaves_nothing() {
    let net = Net::start(4, 3).await;
    let broken = body(&noise(3, 5 * CHUNK_LEN)).chain(stream::iter([Err(std::io::Error::other("the client is gone"))]));
    let error = net.nodes[2].swarm.put(None, PutOptions::default(), broken.boxed()).await.unwrap_err();
    assert!(matches!(error, PutError::Body(_)));
    net.until_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_nobody_waits_for_any_more_leaves_nothing() {
    let net = Net::start(3, 3).await;
    let (feed, body) = fed();
    let swarm = net.nodes[0].swarm.clone();
    let putting = tokio::spawn(async move { swarm.put(None, PutOptions::default(), body).await });
    // The third chunk's first byte lets the second go; then the client is silent, and then it is gone.
    feed.send(noise(4, 2 * CHUNK_LEN + 1)).await.unwrap();
    net.nodes[1].peer.until(|asked| asked.uploads == 2).await;
    putting.abort();
    assert!(putting.await.unwrap_err().is_cancelled());
    net.until_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_is_replaced_by_the_next_of_the_walk() {
    let mut net = Net::start(4, 2).await;
    let before = noise(5, 12 * CHUNK_LEN);
    let old = net.nodes[0].put(&before).await.unwrap().stored.id;
    net.nodes[3].crash().await;
    net.assert_readable(0..3, old, &before).await;

    let bytes = noise(6, 12 * CHUNK_LEN);
    let put = net.nodes[0].put(&bytes).await.unwrap();
    assert_eq!(put.stored.replicas, 2);
    net.assert_readable(0..3, put.stored.id, &bytes).await;

    // All that it owned is owned by others now.
    net.publish(&net.without(&[3]));
    net.assert_readable(0..3, put.stored.id, &bytes).await;
    net.assert_readable(0..3, old, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_are_enough_for_an_acknowledgement() {
    let net = Net::start(3, 3).await;
    net.detour(2, nobody().await);
    let bytes = noise(7, 4 * CHUNK_LEN);
    assert_eq!(net.nodes[0].put(&bytes).await.unwrap().stored.replicas, 2);
    net.detour(1, nobody().await);
    net.publish(&{
        let mut members = net.members();
        members[1].http = nobody().await;
        members[2].http = nobody().await;
        members
    });
    let error = net.nodes[0].put(&noise(8, CHUNK_LEN)).await.unwrap_err();
    assert!(matches!(&error, PutError::TooFewReplicas { needed: 2, got: 1, tried } if tried.0.len() == 2), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_refuses_is_replaced() {
    let silent = Door::open(Manner::Silent).await;
    let garbage = Door::open(Manner::Garbage).await;
    for (seed, door) in [(10, Some(silent.addr)), (11, Some(garbage.addr)), (12, None)] {
        let net = Net::start(4, 2).await;
        match door {
            Some(door) => net.detour(2, door),
            None => net.nodes[2].peer.set(Fault::Full),
        }
        let bytes = noise(seed, 12 * CHUNK_LEN);
        let put = net.nodes[0].put(&bytes).await.unwrap();
        assert_eq!(put.stored.replicas, 2);
        let manifest = manifest_of(&net.nodes[0].swarm.open_blob(put.stored.id).await.unwrap());
        for chunk in 0..12 {
            let durable = net.holders(manifest.id(), |entry| entry.is_durable(chunk));
            assert_eq!(durable.len(), 2, "chunk {chunk} is on {durable:?}");
        }
        assert!(net.holders(manifest.id(), |_| true).iter().all(|node| *node != 2));
        net.assert_readable([0, 1, 3], put.stored.id, &bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_lost_its_part_before_the_commit_is_no_replica() {
    let net = Net::start(3, 1).await;
    let (feed, body) = fed();
    let swarm = net.nodes[0].swarm.clone();
    let putting = tokio::spawn(async move { swarm.put(None, PutOptions::default(), body).await });
    let bytes = noise(13, 8 * CHUNK_LEN);
    feed.send(bytes.slice(..8 * CHUNK_LEN - 1)).await.unwrap();
    let point = |(index, chunk): (u32, &[u8])| Point::of_streamed_chunk(&ChunkDigest::of(chunk), index);
    let of_one = (0..7).zip(bytes.chunks(CHUNK_LEN)).filter(|part| net.owners(point(*part)) == [1]).count();
    assert!(of_one > 0, "otherwise this proves nothing");
    net.nodes[1].peer.until(|asked| asked.uploads == of_one).await;
    // A node that restarts forgets its uploads, and so it does when nobody continued them for long.
    net.nodes[1].swarm.sweep(Duration::ZERO).await;
    feed.send(bytes.slice(8 * CHUNK_LEN - 1..)).await.unwrap();
    drop(feed);
    let error = putting.await.unwrap().unwrap_err();
    assert!(matches!(error, PutError::TooFewReplicas { needed: 1, got: 0, .. }), "{error}");
    assert!(error.to_string().contains("n1 does not have it"), "{error}");
    // As the error says: trying again is safe, and mends.
    let id = net.nodes[2].put(&bytes).await.unwrap().stored.id;
    net.assert_readable(0..3, id, &bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_owner_lost_before_the_commit_is_given_to_another() {
    let net = Net::start(4, 2).await;
    let (feed, body) = fed();
    let swarm = net.nodes[0].swarm.clone();
    let putting = tokio::spawn(async move { swarm.put(None, PutOptions::default(), body).await });
    let bytes = noise(15, 8 * CHUNK_LEN);
    feed.send(bytes.slice(..8 * CHUNK_LEN - 1)).await.unwrap();
    let point = |(index, chunk): (u32, &[u8])| Point::of_streamed_chunk(&ChunkDigest::of(chunk), index);
    let of_one = (0..7).zip(bytes.chunks(CHUNK_LEN)).filter(|part| net.owners(point(*part)).contains(&1)).count();
    assert!(of_one > 0, "otherwise this proves nothing");
    net.nodes[1].peer.until(|asked| asked.uploads == of_one).await;
    net.nodes[1].swarm.sweep(Duration::ZERO).await;
    feed.send(bytes.slice(8 * CHUNK_LEN - 1..)).await.unwrap();
    drop(feed);
    let put = putting.await.unwrap().unwrap();
    assert_eq!(put.stored.replicas, 2);
    let durable = |chunk| net.holders(put.stored.id, |entry| entry.is_durable(chunk));
    assert!((0..8).all(|chunk| durable(chunk).len() >= 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_of_one_blob_at_once_are_one_blob() {
    let net = Net::start(4, 2).await;
    let bytes = noise(14, 7 * CHUNK_LEN + 5);
    let puts = (0..24).map(|turn| net.nodes[turn % 4].put(&bytes));
    for put in futures_util::future::join_all(puts).await {
        assert_eq!(put.unwrap().stored.replicas, 2);
    }
    let id = BlobId::of(&bytes);
    net.assert_readable(0..4, id, &bytes).await;
    let kept: u64 =
        net.nodes.iter().map(|node| node.store.get(&id.into()).map_or(0, |entry| u64::from(entry.present_count()))).sum();
    assert!(kept >= 16);
    for node in &net.nodes {
        assert_eq!(node.uploads(), 0, "nothing is left of the puts that came second");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_to_owners_has_a_bound() {
    const LARGE: u32 = 16 << 20;
    let net = Setup::new(2, 1).tune(|config| config.chunk_size = LARGE).start().await;
    let mut members = net.members();
    members[0].weight = 0;
    net.publish(&members);
    let gate = Arc::new(Semaphore::new(0));
    let owner = &net.nodes[1].peer;
    owner.set(Fault::Wait(gate.clone()));
    let bytes = noise(79, 5 * LARGE as usize);
    let taking = async {
        // 48 MiB; the next begins when one of them is taken.
        for begun in 3..=5 {
            owner.until(|asked| asked.uploads_begun >= begun).await;
            assert_eq!(owner.asked().uploads_begun, begun);
            gate.add_permits(1);
        }
        gate.add_permits(2);
    };
    let (put, ()) = tokio::join!(net.nodes[0].put(&bytes), taking);
    assert_eq!(put.unwrap().stored.id, BlobId::of(&bytes));
}
