//! Objects' chunks where the origin cannot give them, or need not.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use herring_blob::ByteRange;
use herring_ring::Point;
use herring_swarm::{Content, ReadError, Source};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::count::{origin_bytes, origin_reads, unique_bytes};
use crate::door::nobody;
use crate::net::{CHUNK, CHUNK_LEN, Net, Setup, eventually, noise};
use crate::peer::Fault;
use crate::site::{Site, response};

/// Puts another file in the place of one: another version, whatever the clock's grain.
fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn owner(net: &Net, content: &Content, chunk: u32) -> usize {
    let Source::Object(object) = content.source() else { panic!("{content} is no object") };
    net.owners(Point::of_object_chunk(object, chunk))[0]
}

/// A net of four nodes with one owner a chunk, of which one node that owns none of the first run has read all of an object past its owners, so
/// that nobody else has a byte of it. Gives the index of that node.
async fn held_by_one(name: &str, dir: &TempDir, bytes: &[u8]) -> (Net, Content, usize) {
    let net = Setup::new(4, 1).origin(name, dir).start().await;
    std::fs::write(dir.path().join("o"), bytes).unwrap();
    let content = net.nodes[0].swarm.open_object(name, "o").await.unwrap();
    let holder = (0..4).find(|node| *node != owner(&net, &content, 0)).unwrap();
    let mut members = net.members();
    let away = nobody().await;
    members.iter_mut().enumerate().filter(|(index, _)| *index != holder).for_each(|(_, node)| node.http = away);
    net.publish(&members);
    assert!(net.nodes[holder].drain(&content).await.unwrap() == bytes);
    // Readers are served before the disk has it all.
    let store = &net.nodes[holder].store;
    eventually("the holder has it on its disk", || store.get(&content.id()).is_some_and(|entry| entry.is_complete())).await;
    net.publish(&net.members());
    (net, content, holder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_version_is_read_where_the_swarm_has_it() {
    let (dir, bytes) = (TempDir::new().unwrap(), noise(70, 3 * CHUNK_LEN + 5));
    let (net, content, _) = held_by_one("held-old", &dir, &bytes).await;
    replace(&dir.path().join("o"), &noise(71, 3 * CHUNK_LEN + 5));
    for node in &net.nodes {
        assert!(node.drain(&content).await.unwrap() == bytes, "{}", node.info.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_holds_of_an_old_version_has_changed() {
    let dir = TempDir::new().unwrap();
    let net = Setup::new(3, 2).origin("held-none", &dir).start().await;
    std::fs::write(dir.path().join("o"), noise(72, 6 * CHUNK_LEN)).unwrap();
    let content = net.nodes[0].swarm.open_object("held-none", "o").await.unwrap();
    let first = net.nodes[0].swarm.read(&content, ByteRange::at(0, 10)).await.unwrap();
    replace(&dir.path().join("o"), &noise(73, 6 * CHUNK_LEN));
    for node in &net.nodes {
        assert_eq!(node.swarm.read(&content, ByteRange::at(0, 10)).await.unwrap(), first, "the swarm has this chunk");
        let last = node.swarm.read(&content, ByteRange::at(5 * u64::from(CHUNK), 10)).await;
        assert!(matches!(last, Err(ReadError::Changed { .. })), "{last:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origin_may_be_gone_where_somebody_has_read_it() {
    let (dir, bytes) = (TempDir::new().unwrap(), noise(74, 5 * CHUNK_LEN));
    let (net, content, _) = held_by_one("held-gone", &dir, &bytes).await;
    drop(dir);
    let readings = net.nodes.iter().map(|node| node.drain(&content));
    assert!(join_all(readings).await.into_iter().all(|read| read.unwrap() == bytes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn former_owners_spare_the_origin() {
    let dir = TempDir::new().unwrap();
    let mut net = Setup::new(3, 1).origin("former", &dir).start().await;
    let bytes = noise(75, 32 * CHUNK_LEN);
    std::fs::write(dir.path().join("o"), &bytes).unwrap();
    let content = net.nodes[0].swarm.open_object("former", "o").await.unwrap();
    assert!(net.nodes[0].drain(&content).await.unwrap() == bytes);
    for chunk in 0..32 {
        let store = &net.nodes[owner(&net, &content, chunk)].store;
        let here = || store.get(&content.id()).is_some_and(|entry| entry.has(chunk));
        eventually("the owner has it on its disk", here).await;
    }
    // Some chunks' owner is another now, who was there for none of it.
    for _ in 0..2 {
        net.add().await;
    }
    net.publish(&net.members());
    let readings = net.nodes.iter().map(|node| node.drain(&content));
    assert!(join_all(readings).await.into_iter().all(|read| read.unwrap() == bytes));
    assert_eq!(origin_bytes("former"), bytes.len() as u64);
    assert_eq!(unique_bytes("former"), bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origin_is_asked_beside_former_owners_that_hang() {
    let dir = TempDir::new().unwrap();
    let tune = |config: &mut herring_swarm::SwarmConfig| config.holder_patience = Duration::from_millis(300);
    let mut net = Setup::new(2, 1).tune(tune).origin("beside", &dir).start().await;
    net.add().await;
    net.publish(&net.members());
    // Its first chunk lies where its key does.
    let keys = (0..).map(|n| format!("o{n}"));
    let key = keys.into_iter().find(|key| net.owners(Point::of_key("beside", key))[0] == 2).unwrap();
    let bytes = noise(78, CHUNK_LEN);
    std::fs::write(dir.path().join(&key), &bytes).unwrap();
    let content = net.nodes[2].swarm.open_object("beside", &key).await.unwrap();
    assert_eq!(owner(&net, &content, 0), 2);
    net.nodes[..2].iter().for_each(|node| node.peer.set(Fault::Hang));
    assert!(net.nodes[2].drain(&content).await.unwrap() == bytes);
    // The second one may not have heard the question before the origin answered.
    assert!(net.nodes[..2].iter().any(|node| node.peer.asked().objects == [0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_side_by_side_are_one_question() {
    let dir = TempDir::new().unwrap();
    let net = Setup::new(3, 2).tune(|config| config.read_ahead = 64 * u64::from(CHUNK)).origin("runs", &dir).start().await;
    // Eight runs of four chunks.
    let bytes = noise(76, 32 * CHUNK_LEN);
    std::fs::write(dir.path().join("o"), &bytes).unwrap();
    let content = net.nodes[0].swarm.open_object("runs", "o").await.unwrap();
    assert!(net.nodes[0].drain(&content).await.unwrap() == bytes);
    assert_eq!(origin_bytes("runs"), bytes.len() as u64);
    // Chunks that are asked for just before the one in front of them claims them are questions more: 24 on a very busy machine.
    let reads = origin_reads("runs");
    assert!((8..32).contains(&reads), "{reads} questions for 32 chunks");
}

#[tokio::test]
async fn a_read_of_one_chunk_asks_for_no_more() {
    let dir = TempDir::new().unwrap();
    let net = Setup::new(2, 1).origin("single", &dir).start().await;
    std::fs::write(dir.path().join("o"), noise(77, 8 * CHUNK_LEN)).unwrap();
    let content = net.nodes[0].swarm.open_object("single", "o").await.unwrap();
    net.nodes[0].swarm.read(&content, ByteRange::at(0, 10)).await.unwrap();
    assert_eq!(origin_bytes("single"), CHUNK_LEN as u64);
}

/// An HTTP origin of one small object; the methods that it was asked with.
async fn small_site(asked: Arc<Mutex<Vec<String>>>) -> Site {
    let body = "b".repeat(1000);
    Site::open(move |method, _| {
        asked.lock().unwrap().push(method);
        let head = "Content-Range: bytes 0-999/1000\r\nETag: \"v\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
        Box::pin(std::future::ready(response("206 Partial Content", head, &body)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_read_is_one_question() {
    for reader in 0..3 {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let site = small_site(Arc::clone(&asked)).await;
        let net = Setup::new(3, 2).origin_url(&format!("one-question=http://{}/", site.addr)).start().await;
        let node = &net.nodes[reader];
        let content = node.swarm.open_to_read("one-question", "k", u64::MAX).await.unwrap();
        assert_eq!(node.drain(&content).await.unwrap(), [b'b'; 1000]);
        assert_eq!(*asked.lock().unwrap(), ["GET"], "the version and the bytes");
        for other in &net.nodes {
            let content = other.swarm.open_object("one-question", "k").await.unwrap();
            assert_eq!(other.drain(&content).await.unwrap(), [b'b'; 1000]);
        }
        assert_eq!(asked.lock().unwrap().len(), 1, "once for all nodes");
    }
}

/// An HTTP origin of one object of all zeros, so many bytes, of which the first come at once and those behind them once there is a permit.
async fn slow_site(asked: Arc<Mutex<Vec<String>>>, bytes: usize, at_once: usize, gate: Arc<Semaphore>) -> Site {
    Site::open_in_parts(move |method, _| {
        asked.lock().unwrap().push(method);
        let last = bytes - 1;
        let head =
            format!("Content-Range: bytes 0-{last}/{bytes}\r\nETag: \"v\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n");
        let mut now = response("206 Partial Content", &head, &"0".repeat(bytes));
        let later = now.split_off(now.len() - (bytes - at_once));
        let gate = Arc::clone(&gate);
        let rest = async move {
            gate.acquire().await.unwrap().forget();
            later
        };
        stream::iter([now]).chain(stream::once(rest)).boxed()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_brings_in_its_owners_place_it_waits_for() {
    const BYTES: usize = 3 * CHUNK_LEN;
    let (asked, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
    let site = slow_site(Arc::clone(&asked), BYTES, CHUNK_LEN, Arc::clone(&gate)).await;
    let net = Setup::new(4, 3).origin_url(&format!("in-place=http://{}/", site.addr)).start().await;
    let owners = net.owners(Point::of_key("in-place", "k"));
    let reader = (0..4).find(|node| !owners.contains(node)).unwrap();
    owners.iter().for_each(|owner| net.nodes[*owner].peer.set(Fault::Refuse));
    let reader = &net.nodes[reader];
    let content = reader.swarm.open_to_read("in-place", "k", BYTES as u64).await.unwrap();
    // The last chunk is under way, and not here yet.
    let (read, ()) = tokio::join!(reader.swarm.read(&content, ByteRange::at(2 * u64::from(CHUNK), 10)), async {
        assert!(reader.swarm.read(&content, ByteRange::at(0, 10)).await.unwrap() == [b'0'; 10][..]);
        gate.add_permits(1);
    });
    assert!(read.unwrap() == [b'0'; 10][..]);
    assert_eq!(*asked.lock().unwrap(), ["GET"]);
    assert!(
        owners.iter().all(|owner| net.nodes[*owner].peer.asked().objects.is_empty()),
        "owners that would have to be waited for"
    );
}
