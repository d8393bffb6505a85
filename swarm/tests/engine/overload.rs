//! More is asked of a node than it can do: who comes too late hears so at once, who was let in is served, and what nobody waits for goes
//! on behind those who read.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use herring_blob::{BlobId, ByteRange};
use herring_http_api::types::{JobState, Prefetch};
use herring_ring::Point;
use herring_swarm::{Content, PutError, PutOptions, ReadError, Swarm};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::net::{CHUNK, CHUNK_LEN, Net, PATIENCE, Setup, noise};
use crate::peer::Fault;

/// Two chunks fit the memory, and four may wait for it.
const HELD: usize = 2;
const ALL: usize = 6;

fn small() -> Setup {
    Setup::new(2, 1).tune(|config| {
        config.memory = HELD * CHUNK_LEN;
        config.put_memory = HELD * CHUNK_LEN;
    })
}

/// A blob that only this node has.
async fn far_blob(net: &Net, node: usize, seed: u64, chunks: usize) -> (BlobId, Bytes) {
    let others: Vec<usize> = (0..net.nodes.len()).filter(|other| *other != node).collect();
    net.publish(&net.without(&others));
    let bytes = noise(seed, chunks * CHUNK_LEN);
    let id = net.nodes[node].put(&bytes).await.unwrap().stored.id;
    net.publish(&net.members());
    (id, bytes)
}

/// A blob of one chunk that this node owns.
async fn blob_of(net: &Net, owner: usize, seed: u64) -> BlobId {
    let owned = |bytes: &Bytes| net.owners(Point::of_blob(&BlobId::of(bytes))) == [owner];
    let bytes = (seed..).map(|seed| noise(seed, CHUNK_LEN)).find(owned).unwrap();
    net.nodes[owner].put(&bytes).await.unwrap().stored.id
}

fn range(chunk: usize) -> ByteRange {
    ByteRange::at((chunk * CHUNK_LEN) as u64, u64::from(CHUNK))
}

fn read(swarm: &Swarm, content: &Content, chunk: usize) -> BoxStream<'static, Result<Bytes, ReadError>> {
    swarm.stream(content, range(chunk)).boxed()
}

async fn in_time<T>(waited: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waited).await.expect("in time")
}

#[tokio::test]
async fn who_comes_when_too_many_wait_is_told_at_once_and_the_others_are_served() {
    let net = small().start().await;
    let (id, bytes) = far_blob(&net, 0, 1, ALL + 3).await;
    let (swarm, owner) = (&net.nodes[1].swarm, &net.nodes[0].peer);
    let content = swarm.open_blob(id).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    owner.set(Fault::Hold(Arc::clone(&gate)));
    let mut readers: Vec<_> = (0..ALL).map(|chunk| (chunk, read(swarm, &content, chunk))).collect();
    assert!(readers.iter_mut().all(|(_, reader)| reader.next().now_or_never().is_none()));
    // The flights run, and so all of them have asked for memory.
    owner.until(|asked| asked.chunks.len() == HELD).await;

    let refused = read(swarm, &content, ALL).next().now_or_never().expect("at once").unwrap();
    assert!(matches!(refused, Err(ReadError::Overloaded { waited_ms: 0, .. })), "{refused:?}");
    // One more reader of what is on its way costs nothing, and a mount's cannot come again.
    readers.push((0, read(swarm, &content, 0)));
    let mut mounted = pin!(swarm.read(&content, range(ALL + 1)));
    assert!(mounted.as_mut().now_or_never().is_none());

    gate.add_permits(100);
    // Each gives its memory back, for those who wait.
    let served = readers.iter_mut().map(|(chunk, reader)| {
        let wanted = &bytes[*chunk * CHUNK_LEN..][..CHUNK_LEN];
        async move { assert!(reader.next().await.unwrap().unwrap() == wanted) }
    });
    let mounted = async { assert!(mounted.await.unwrap() == bytes[(ALL + 1) * CHUNK_LEN..][..CHUNK_LEN]) };
    in_time(join(join_all(served), mounted)).await;
    assert!(in_time(read(swarm, &content, ALL).next()).await.unwrap().unwrap() == bytes[ALL * CHUNK_LEN..][..CHUNK_LEN]);
}

/// A reader that was let in is not turned away in the middle, however many wait by then.
#[tokio::test]
async fn who_was_let_in_is_served_to_the_end() {
    let net = small().start().await;
    let (id, bytes) = far_blob(&net, 0, 2, ALL + 2).await;
    let (swarm, owner) = (&net.nodes[1].swarm, &net.nodes[0].peer);
    let content = swarm.open_blob(id).await.unwrap();
    let mut long = swarm.stream(&content, ByteRange::new(0, 2 * u64::from(CHUNK))).boxed();
    assert!(in_time(long.next()).await.unwrap().unwrap() == bytes[..CHUNK_LEN]);

    let gate = Arc::new(Semaphore::new(0));
    owner.forget_asked();
    owner.set(Fault::Hold(Arc::clone(&gate)));
    let mut others: Vec<_> = (2..2 + ALL).map(|chunk| read(swarm, &content, chunk)).collect();
    assert!(others.iter_mut().all(|other| other.next().now_or_never().is_none()));
    owner.until(|asked| asked.chunks.len() == HELD).await;
    let mut second = long.next();
    assert!((&mut second).now_or_never().is_none(), "it waits");
    gate.add_permits(100);
    let served = others.iter_mut().map(|other| async { assert!(other.next().await.unwrap().is_ok()) });
    let second = async { assert!(second.await.unwrap().unwrap() == bytes[CHUNK_LEN..2 * CHUNK_LEN]) };
    in_time(join(join_all(served), second)).await;
}

#[tokio::test]
async fn a_put_that_comes_when_too_many_wait_is_told_at_once() {
    let net = small().start().await;
    let node = &net.nodes[0];
    // Half a chunk each, and then nothing.
    let stuck = || stream::iter([Ok(noise(3, CHUNK_LEN / 2))]).chain(stream::pending()).boxed();
    let mut puts: Vec<_> = (0..ALL).map(|_| Box::pin(node.swarm.put(None, PutOptions::default(), stuck()))).collect();
    assert!(puts.iter_mut().all(|put| put.now_or_never().is_none()));
    let refused = node.put(b"one more").now_or_never().expect("at once");
    assert!(matches!(refused, Err(PutError::Overloaded { waited_ms: 0 })), "{refused:?}");
    drop(puts);
    in_time(node.put(b"one more")).await.unwrap();
}

#[tokio::test]
async fn a_prefetch_goes_on_behind_a_reader_that_waits_and_waits() {
    let net = Net::start(3, 1).await;
    let wanted = vec![blob_of(&net, 0, 100).await, blob_of(&net, 0, 200).await];
    let stuck = blob_of(&net, 2, 300).await;
    let swarm = &net.nodes[1].swarm;
    let content = swarm.open_blob(stuck).await.unwrap();
    net.nodes[2].peer.set(Fault::Hang);
    let mut reader = read(swarm, &content, 0);
    let mut waiting = reader.next();
    assert!((&mut waiting).now_or_never().is_none());
    let job = swarm.prefetch(Prefetch { blobs: wanted, ..Prefetch::default() }).await.unwrap();
    let mut states = swarm.follow_job(job).unwrap();
    let ended = in_time(states.wait_for(|job| job.state.is_final())).await.unwrap().clone();
    assert_eq!((ended.state, ended.bytes_done), (JobState::Done, 2 * u64::from(CHUNK)));
    assert!(waiting.now_or_never().is_none(), "the reader still waits");
}
