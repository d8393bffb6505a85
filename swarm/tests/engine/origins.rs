//! Objects of origins: each byte is asked of the origin once for the whole swarm, and no version is mixed with another.

use std::time::Duration;

use futures_util::future::join_all;
use herring_blob::ByteRange;
use herring_http_api::types::differences;
use herring_ring::Point;
use herring_swarm::{Content, OpenError, ReadError, Source};
use tempfile::TempDir;

use crate::bucket::{Bucket, Manner};
use crate::count::origin_bytes;
use crate::door::nobody;
use crate::net::{CHUNK, CHUNK_LEN, Net, Setup, noise};
use crate::peer::Fault;

async fn with_origin(nodes: usize, replicas: usize, name: &str) -> (Net, TempDir) {
    let dir = TempDir::new().unwrap();
    let net =
        Setup::new(nodes, replicas).tune(|config| config.read_ahead = 4 * u64::from(CHUNK)).origin(name, &dir).start().await;
    (net, dir)
}

fn owners_of(net: &Net, content: &Content, chunk: u32) -> Vec<usize> {
    let Source::Object(object) = content.source() else { panic!("{content} is no object") };
    net.owners(Point::of_object_chunk(object, chunk))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_readers_on_every_node_cost_the_origin_each_byte_once() {
    let (net, dir) = with_origin(4, 2, "once").await;
    let bytes = noise(60, 24 * CHUNK_LEN + 99);
    std::fs::write(dir.path().join("model.bin"), &bytes).unwrap();
    let readings = (0..12).map(|turn| {
        let node = &net.nodes[turn % 4];
        async move { node.drain(&node.swarm.open_object("once", "model.bin").await.unwrap()).await }
    });
    assert!(join_all(readings).await.into_iter().all(|read| read.unwrap() == bytes));
    assert_eq!(origin_bytes("once"), bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_jump_cost_the_origin_each_byte_once_too() {
    let (net, dir) = with_origin(3, 2, "jumps").await;
    let bytes = noise(61, 16 * CHUNK_LEN);
    std::fs::write(dir.path().join("o"), &bytes).unwrap();
    let readings = (0..3usize).map(|turn| {
        let node = &net.nodes[turn];
        let bytes = &bytes;
        async move {
            let content = node.swarm.open_object("jumps", "o").await.unwrap();
            for step in 0..16 {
                let start = ((step * 7 + turn * 5) % 16) * CHUNK_LEN + 11;
                let read = node.swarm.read(&content, ByteRange::at(start as u64, 100)).await.unwrap();
                assert!(read == bytes[start..start + 100]);
            }
        }
    });
    join_all(readings).await;
    assert_eq!(origin_bytes("jumps"), bytes.len() as u64);
}

#[tokio::test]
async fn an_object_that_changes_is_never_a_mix() {
    let (net, dir) = with_origin(3, 2, "changing").await;
    let (old, new) = (noise(62, 12 * CHUNK_LEN), noise(63, 12 * CHUNK_LEN));
    let path = dir.path().join("o");
    std::fs::write(&path, &old).unwrap();
    let node = &net.nodes[0];
    let content = node.swarm.open_object("changing", "o").await.unwrap();
    let start = node.swarm.read(&content, ByteRange::new(0, 10)).await.unwrap();
    assert!(start == old[..10]);
    // Replaced as a whole, so with another inode: another version whatever the clock's grain.
    let beside = dir.path().join("new");
    std::fs::write(&beside, &new).unwrap();
    std::fs::rename(beside, &path).unwrap();

    for reader in 0..3 {
        let read = net.nodes[reader].drain(&content).await;
        assert!(matches!(read, Err(ReadError::Changed { .. })), "the last chunk was never read, so node {reader} cannot have it");
    }
    let again = node.swarm.open_object("changing", "o").await.unwrap();
    assert!(node.drain(&again).await.unwrap() == new, "opened again, as the error says");
}

#[tokio::test]
async fn an_old_version_that_is_here_whole_stays_whole() {
    let (net, dir) = with_origin(3, 2, "versions").await;
    let (old, new) = (noise(64, 3 * CHUNK_LEN), noise(65, 3 * CHUNK_LEN));
    let path = dir.path().join("o");
    std::fs::write(&path, &old).unwrap();
    let content = net.nodes[0].swarm.open_object("versions", "o").await.unwrap();
    assert!(net.nodes[0].drain(&content).await.unwrap() == old);
    let beside = dir.path().join("new");
    std::fs::write(&beside, &new).unwrap();
    std::fs::rename(beside, &path).unwrap();
    assert!(net.nodes[0].drain(&content).await.unwrap() == old);
    // What the first node was told may be believed for a second.
    net.nodes[1].swarm.forget_object("versions", "o");
    let other = net.nodes[1].swarm.open_object("versions", "o").await.unwrap();
    assert_ne!(other.id(), content.id());
    assert!(net.nodes[1].drain(&other).await.unwrap() == new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_read_with_its_owners_gone_or_at_fault() {
    // A lie whose digest is the lie's own is not noticed: an object has no manifest that knows better.
    for (name, fault) in [("gone", None), ("refusing", Some(Fault::Refuse)), ("lying", Some(Fault::lie(true)))] {
        let (net, dir) = with_origin(3, 1, name).await;
        let bytes = noise(66, 9 * CHUNK_LEN + 7);
        std::fs::write(dir.path().join("o"), &bytes).unwrap();
        let content = net.nodes[0].swarm.open_object(name, "o").await.unwrap();
        let owner = owners_of(&net, &content, 4)[0];
        match fault {
            Some(fault) => net.nodes[owner].peer.set(fault),
            None => net.detour(owner, nobody().await),
        }
        for reader in (0..3).filter(|reader| *reader != owner) {
            assert!(net.nodes[reader].drain(&content).await.unwrap() == bytes, "node {reader}, {name}");
        }
    }
}

#[tokio::test]
async fn a_hanging_owner_is_passed_by() {
    let dir = TempDir::new().unwrap();
    let hedged = Setup::new(3, 2).tune(|config| config.owner_patience = Duration::from_millis(300));
    let net = hedged.origin("hanging", &dir).start().await;
    let bytes = noise(67, 9 * CHUNK_LEN);
    std::fs::write(dir.path().join("o"), &bytes).unwrap();
    let content = net.nodes[0].swarm.open_object("hanging", "o").await.unwrap();
    let owner = owners_of(&net, &content, 0)[0];
    net.nodes[owner].peer.set(Fault::Hang);
    let reader = &net.nodes[(owner + 1) % 3];
    assert!(reader.drain(&content).await.unwrap() == bytes);
    assert!(net.nodes[owner].peer.asked().objects.contains(&0));
}

#[tokio::test]
async fn what_no_origin_has_is_not_found() {
    let (net, dir) = with_origin(2, 1, "empty").await;
    let swarm = &net.nodes[0].swarm;
    assert!(matches!(swarm.open_object("unknown", "o").await, Err(OpenError::NoOrigin { .. })));
    assert!(matches!(swarm.open_object("empty", "o").await, Err(OpenError::NotFound { .. })));
    assert!(matches!(swarm.open_object("empty", "../o").await, Err(OpenError::InvalidKey { .. })));
    std::fs::write(dir.path().join("nothing"), b"").unwrap();
    let content = swarm.open_object("empty", "nothing").await.unwrap();
    assert_eq!(net.nodes[0].drain(&content).await.unwrap(), b"");
}

#[tokio::test]
async fn an_object_that_was_deleted_has_changed_for_who_has_it_open() {
    let dir = TempDir::new().unwrap();
    let net = Setup::new(2, 1).origin("deleted", &dir).start().await;
    std::fs::write(dir.path().join("o"), noise(90, 8 * CHUNK_LEN)).unwrap();
    let reader = &net.nodes[0].swarm;
    let content = reader.open_object("deleted", "o").await.unwrap();
    let read = async |chunk: u64| reader.read(&content, ByteRange::at(chunk * u64::from(CHUNK), 10)).await;
    assert!(read(0).await.is_ok());
    std::fs::remove_file(dir.path().join("o")).unwrap();
    for chunk in 1..8 {
        assert!(matches!(read(chunk).await, Err(ReadError::Changed { .. })), "chunk {chunk}, whoever owns it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_fails_for_a_moment_is_waited_for() {
    // Of what nobody remembers and nobody has: more than all nodes ask for at once, or for ever.
    for (outage, failures, waits) in [(Duration::ZERO, usize::MAX, false), (Duration::from_secs(3600), 20, true)] {
        let bucket = Bucket::open(&["a", "b"]).await;
        let net = Setup::new(3, 2).tune(|config| config.outage = outage).origin_url(&bucket.spec("o", 3600)).start().await;
        let node = &net.nodes[0];
        bucket.set(Manner::Fail(failures));
        assert_eq!(node.swarm.open_object("o", "a").await.is_ok(), waits, "outage {outage:?}");
        bucket.set(Manner::Well);
        let content = node.swarm.open_object("o", "b").await.unwrap();
        bucket.set(Manner::Fail(failures));
        let read = node.drain(&content).await;
        assert_eq!(read.is_ok(), waits, "{read:?}");
    }
}

/// One node may lack credentials, or its way to the origin may be broken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_origin_refuses_to_one_owner_another_gets() {
    let bucket = Bucket::open(&["a", "b"]).await;
    let net = Setup::new(3, 3).origin_url(&bucket.spec("o", 3600)).start().await;
    for key in ["a", "b"] {
        let content = net.nodes[0].swarm.open_object("o", key).await.unwrap();
        let node = &net.nodes[owners_of(&net, &content, 0)[0]];
        bucket.set(Manner::Deny(1));
        assert_eq!(node.drain(&content).await.unwrap(), b"v0001");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_origins_of_one_name_are_not_taken_for_one() {
    let keys = ["a", "b", "c", "d"];
    let (one, other) = (Bucket::open(&keys).await, Bucket::open(&keys).await);
    let mut net = Setup::new(2, 2).origin_url(&one.spec("o", 3600)).start().await;
    net.set_origins(&[other.spec("o", 3600)]);
    net.add().await;
    net.publish(&net.members());
    for (node, mine) in [(0, &one), (2, &other), (1, &one)] {
        let was = mine.asked().len();
        for key in keys {
            // Both call it v1.
            let content = net.nodes[node].swarm.open_object("o", key).await.unwrap();
            net.nodes[node].drain(&content).await.unwrap();
        }
        let gets = mine.asked()[was..].iter().filter(|asked| asked.starts_with("GET")).count();
        assert_eq!(gets, if node == 1 { 0 } else { keys.len() }, "node {node}");
    }
    let told = differences(&net.nodes[1].swarm.cluster().await.members);
    assert_eq!(told, ["origin o has another URL at n2 than at n0 and n1; give all nodes the same --origin"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_origin_gives_to_nobody_is_refused() {
    let bucket = Bucket::open(&["a"]).await;
    let net = Setup::new(3, 3).origin_url(&bucket.spec("o", 3600)).start().await;
    let content = net.nodes[0].swarm.open_object("o", "a").await.unwrap();
    bucket.set(Manner::Deny(usize::MAX));
    for node in &net.nodes {
        assert!(matches!(node.drain(&content).await, Err(ReadError::Denied { .. })));
    }
    bucket.set(Manner::Well);
    assert_eq!(net.nodes[0].drain(&content).await.unwrap(), b"v0001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_fails_for_long_is_not_waited_for() {
    let bucket = Bucket::open(&["a"]).await;
    let outage = Duration::from_millis(1);
    let net = Setup::new(2, 1).tune(|config| config.outage = outage).origin_url(&bucket.spec("o", 3600)).start().await;
    bucket.close();
    for _ in 0..3 {
        assert!(matches!(net.nodes[0].swarm.open_object("o", "a").await, Err(OpenError::Unavailable { .. })));
    }
}
