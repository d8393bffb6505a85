//! What one node read first, the next has before it asks.

use std::time::Duration;

use futures_util::future::join_all;
use herring_blob::{BlobId, ByteRange};
use herring_http_api::peer::{Ballot, NameRecord, NameState, NamedRecord, NamesCall};
use herring_swarm::{Condition, NameError, NameInfo, Source, Swarm};
use tempfile::TempDir;

use crate::net::{CHUNK, CHUNK_LEN, Net, Setup, eventually, noise};

/// Longer than a thread waits for a processor: reads that are further apart are not of one start.
const IDLE: Duration = Duration::from_secs(2);

async fn net(name: &str, dir: &TempDir) -> Net {
    Setup::new(3, 2).tune(|config| config.profile_idle = IDLE).origin(name, dir).start().await
}

/// The names that the swarm has of its own.
async fn profiles(net: &Net) -> Vec<NameInfo> {
    net.nodes[0].swarm.names(".profiles/", None, 100).await.unwrap().names
}

/// Waits until there are such.
async fn until(net: &Net, are: impl Fn(&[NameInfo]) -> bool) {
    for _ in 0..6000 {
        if are(&profiles(net).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("in vain; there is {:?}", profiles(net).await);
}

async fn until_profiles(net: &Net, count: usize) {
    until(net, |profiles| profiles.len() >= count).await;
}

async fn read(swarm: &Swarm, origin: &str, key: &str, chunk: u64) {
    let content = swarm.open_object(origin, key).await.unwrap();
    swarm.read(&content, ByteRange::at(chunk * u64::from(CHUNK), 10)).await.unwrap();
}

async fn read_in_tree(swarm: &Swarm, tree: BlobId, id: BlobId, chunks: [u64; 2]) {
    let content = swarm.open_blob(id).await.unwrap().of_tree(tree);
    for chunk in chunks {
        swarm.read(&content, ByteRange::at(chunk * u64::from(CHUNK), 10)).await.unwrap();
    }
}

/// What another node wrote of this blob.
async fn written(net: &Net, of: BlobId) -> BlobId {
    let profile = format!(r#"{{"profile":1,"contents":["{of}"],"reads":[[0,0,1]]}}"#);
    net.nodes[0].put(profile.as_bytes()).await.unwrap().stored.id
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_of_no_use_makes_room_for_another() {
    let dir = TempDir::new().unwrap();
    let net = net("unused", &dir).await;
    let tree = net.nodes[2].put(b"stands for a tree").await.unwrap().stored.id;
    let id = net.nodes[2].put(&noise(87, 9 * CHUNK_LEN)).await.unwrap().stored.id;
    // Of what is gone.
    let (name, stale) = (format!(".profiles/trees/{tree}"), written(&net, BlobId::of(b"gone")).await);
    net.nodes[0].swarm.put_name(&name, stale, Condition::Always).await.unwrap();
    read_in_tree(&net.nodes[0].swarm, tree, id, [0, 1]).await;
    until(&net, <[_]>::is_empty).await;
    net.nodes[2].swarm.open_blob(stale).await.expect_err("it goes with its name");
    read_in_tree(&net.nodes[1].swarm, tree, id, [2, 4]).await;
    until_profiles(&net, 1).await;
    // That is gone itself.
    let first = profiles(&net).await.remove(0);
    net.nodes[0].swarm.remove(first.target).await.unwrap();
    read_in_tree(&net.nodes[2].swarm, tree, id, [6, 8]).await;
    until(&net, |profiles| profiles.iter().any(|now| now.target != first.target)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_goes_with_its_blob_when_it_is_old() {
    let net = Net::start(3, 2).await;
    let [old, young] = [written(&net, BlobId::of(b"1")).await, written(&net, BlobId::of(b"2")).await];
    let other = net.nodes[0].put(b"no profile").await.unwrap().stored.id;
    net.nodes[0].swarm.put_name(".profiles/young", young, Condition::Always).await.unwrap();
    let long_ago = |(name, target): (&str, BlobId)| {
        let state = NameState { version: 1, target: Some(target), modified_ms: 0, changes: Vec::new() };
        NamedRecord { name: name.to_owned(), record: NameRecord { ballot: Ballot { counter: 1, node: "n".to_owned() }, state } }
    };
    let records: Vec<_> = [(".profiles/old", old), (".profiles/other", other), ("old", young)].map(long_ago).into();
    for node in &net.nodes {
        node.swarm.answer_names(NamesCall::Learn { records: records.clone() }).await.unwrap();
    }
    for node in &net.nodes {
        node.swarm.sweep(Duration::from_secs(3600)).await;
    }
    assert_eq!(profiles(&net).await.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), [".profiles/young"]);
    assert_eq!(net.nodes[0].swarm.name("old").await.unwrap().target, young);
    net.nodes[1].swarm.open_blob(old).await.expect_err("it went");
    for kept in [young, other] {
        net.nodes[1].swarm.open_blob(kept).await.expect("it is as young, or somebody's");
    }
    assert!(matches!(net.nodes[1].swarm.name(".profiles/old").await, Err(NameError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_leaves_no_profiles() {
    let dir = TempDir::new().unwrap();
    // All are begun before the first is over: of one chunk no profile is made.
    let idle = Duration::from_secs(5);
    let net = Setup::new(3, 2).tune(|config| config.profile_idle = idle).origin("scanned", &dir).start().await;
    let keys: Vec<_> = (0..20).map(|n| format!("d{n}/a")).collect();
    for (seed, key) in (90..).zip(&keys) {
        std::fs::create_dir(dir.path().join(key).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(key), noise(seed, 2 * CHUNK_LEN)).unwrap();
    }
    for chunk in 0..2 {
        join_all(keys.iter().map(|key| read(&net.nodes[0].swarm, "scanned", key, chunk))).await;
    }
    // Begun later elsewhere, where nobody scans: what was to be kept of the scan is kept as soon.
    for chunk in 0..2 {
        read(&net.nodes[1].swarm, "scanned", &keys[0], chunk).await;
    }
    until_profiles(&net, 1).await;
    assert_eq!(profiles(&net).await.len(), 1);
}
