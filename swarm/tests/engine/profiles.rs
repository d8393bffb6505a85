//! What one node read first, the next has before it asks.

use std::time::Duration;

use herring_blob::ByteRange;
use herring_swarm::Source;
use tempfile::TempDir;

use crate::net::{CHUNK, CHUNK_LEN, Net, Setup, eventually, noise};

const IDLE: Duration = Duration::from_millis(300);

async fn net(name: &str, dir: &TempDir) -> Net {
    Setup::new(3, 2).tune(|config| config.profile_idle = IDLE).origin(name, dir).start().await
}

/// Waits until the swarm has so many names of its own.
async fn until_profiles(net: &Net, count: usize) {
    for _ in 0..1000 {
        if net.nodes[0].swarm.names(".profiles/", None, 100).await.unwrap().names.len() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no profile was kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origins_directory_is_brought_in_the_order_of_its_first_reads() {
    let dir = TempDir::new().unwrap();
    let net = net("booted", &dir).await;
    std::fs::create_dir_all(dir.path().join("m/l/x")).unwrap();
    let keys = ["m/l/a", "m/l/x/b", "m/l/c"];
    for (seed, key) in (0..).zip(keys) {
        std::fs::write(dir.path().join(key), noise(80 + seed, 6 * CHUNK_LEN)).unwrap();
    }
    let wanted = [("m/l/c", 5), ("m/l/a", 0), ("m/l/x/b", 3), ("m/l/c", 1)];
    let (first, next) = (&net.nodes[0].swarm, &net.nodes[1]);
    for (key, chunk) in wanted {
        let content = first.open_object("booted", key).await.unwrap();
        first.read(&content, ByteRange::at(chunk * u64::from(CHUNK), 10)).await.unwrap();
    }
    until_profiles(&net, 1).await;
    // Reading one thing brings the others.
    let content = next.swarm.open_object("booted", "m/l/a").await.unwrap();
    next.swarm.read(&content, ByteRange::at(0, 10)).await.unwrap();
    for (key, chunk) in wanted {
        let content = next.swarm.open_object("booted", key).await.unwrap();
        let here = || next.store.get(&content.id()).is_some_and(|entry| entry.has(u32::try_from(chunk).unwrap()));
        eventually("what was read first elsewhere is here", here).await;
    }
    let Source::Object(object) = content.source() else { panic!("it is one") };
    let entry = next.store.get(&object.id().into()).unwrap();
    assert!(!entry.is_complete(), "what nobody read is not brought");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trees_blobs_are_brought_too() {
    let dir = TempDir::new().unwrap();
    let net = net("unused", &dir).await;
    let tree = net.nodes[2].put(b"stands for a tree").await.unwrap().stored.id;
    let packs = [noise(85, 9 * CHUNK_LEN), noise(86, 9 * CHUNK_LEN)];
    let mut ids = Vec::new();
    for pack in &packs {
        ids.push(net.nodes[2].put(pack).await.unwrap().stored.id);
    }
    let reader = (0..3).find(|node| net.nodes[*node].store.get(&ids[0].into()).is_none_or(|entry| !entry.is_complete()));
    let Some(last) = reader else { panic!("somebody lacks something, with two replicas on three nodes") };
    let first = &net.nodes[(last + 1) % 3].swarm;
    for (pack, chunk) in [(1, 8), (0, 0), (0, 1), (1, 2)] {
        let content = first.open_blob(ids[pack]).await.unwrap().of_tree(tree);
        first.read(&content, ByteRange::at(chunk * u64::from(CHUNK), 10)).await.unwrap();
    }
    until_profiles(&net, 1).await;
    let last = &net.nodes[last];
    let content = last.swarm.open_blob(ids[0]).await.unwrap().of_tree(tree);
    last.swarm.read(&content, ByteRange::at(0, 10)).await.unwrap();
    for (pack, chunk) in [(1, 8), (0, 0), (0, 1), (1, 2)] {
        let here = || last.store.get(&ids[pack].into()).is_some_and(|entry| entry.has(chunk));
        eventually("what was read first elsewhere is here", here).await;
    }
}
