//! What speaks against an answer, and for how long: a change that was noticed, a refusal, that there was nothing.

use std::time::Duration;

use futures_util::FutureExt;
use herring_ring::Point;
use herring_swarm::{OpenError, ReadError, Swarm};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{KEYS, LONG, no_owner, start, version, version_of};
use crate::bucket::{Bucket, Manner};
use crate::net::{CHUNK_LEN, PATIENCE, Setup, noise};

/// Asks for the key until it is at that version, but not for ever.
async fn until_version(swarm: &Swarm, key: &str, wanted: &str) {
    let met = async {
        while !matches!(swarm.open_object("o", key).await, Ok(content) if version(&content) == wanted) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("{key} never came to be {wanted}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubt_of_long_ago_does_not_make_old_answers_new() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(4, &bucket, 1).await;
    let (own, owners) = (&net.nodes[no_owner(&net, "a")].swarm, &net.nodes[no_owner(&net, "z")].swarm);
    let owner = &net.nodes[net.owners(Point::of_key("o", "z"))[0]].swarm;
    own.forget_object("o", "a");
    owners.forget_object("o", "z");
    // Both were said after the doubt: here one remembers it itself, the other's owner does.
    assert_eq!((version_of(own, "a").await, version_of(owner, "z").await), ("\"v1\"".into(), "\"v1\"".into()));
    bucket.put("a", 2);
    bucket.put("z", 2);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(version_of(own, "a").await, "\"v2\"", "its own answer's time is over");
    assert_eq!(version_of(owners, "z").await, "\"v2\"", "the owner's too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_after_a_doubt_is_found_soon_too() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(4, &bucket, LONG).await;
    let reader = &net.nodes[no_owner(&net, "new")].swarm;
    reader.forget_object("o", "new");
    assert!(matches!(reader.open_object("o", "new").await, Err(OpenError::NotFound { .. })));
    bucket.put("new", 1);
    until_version(reader, "new", "\"v1\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_no_answer_for_long_after_a_doubt_either() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(4, &bucket, LONG).await;
    let reader = &net.nodes[no_owner(&net, "a")].swarm;
    assert_eq!(version_of(reader, "a").await, "\"v1\"");
    reader.forget_object("o", "a");
    bucket.set(Manner::Ill);
    assert_eq!(version_of(reader, "a").await, "\"v1\"", "the owner was refused");
    bucket.set(Manner::Well);
    bucket.put("a", 2);
    until_version(reader, "a", "\"v2\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looked_too_early_finds_what_the_others_remember() {
    let bucket = Bucket::open(&KEYS).await;
    let net = start(6, &bucket, 0).await;
    let early = &net.nodes[0].swarm;
    let keys = (0..).map(|n| format!("new{n}")).filter(|key| !net.owners(Point::of_key("o", key)).contains(&0));
    let keys: Vec<String> = keys.take(2).collect();
    for key in &keys {
        assert!(matches!(early.open_object("o", key).await, Err(OpenError::NotFound { .. })));
        bucket.put(key, 1);
        for node in &net.nodes[1..] {
            assert_eq!(version_of(&node.swarm, key).await, "\"v1\"");
        }
    }
    bucket.close();
    assert_eq!(version_of(early, &keys[0]).await, "\"v1\"", "when it finds the origin gone");
    assert_eq!(version_of(early, &keys[1]).await, "\"v1\"", "and when it knows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_an_old_version_casts_no_doubt_on_the_new_one() {
    let dir = TempDir::new().unwrap();
    let net = Setup::new(2, 1).origin_url(&format!("o=file://{}?ttl={LONG}", dir.path().display())).start().await;
    let (node, path) = (&net.nodes[0], dir.path().join("k"));
    std::fs::write(&path, noise(91, 4 * CHUNK_LEN)).unwrap();
    let old = node.swarm.open_object("o", "k").await.unwrap();
    std::fs::write(dir.path().join("beside"), noise(92, 4 * CHUNK_LEN)).unwrap();
    std::fs::rename(dir.path().join("beside"), &path).unwrap();
    assert!(matches!(node.drain(&old).await, Err(ReadError::Changed { .. })));
    let new = node.swarm.open_object("o", "k").await.unwrap();
    assert_ne!(new.id(), old.id(), "that was news");
    assert!(matches!(node.drain(&old).await, Err(ReadError::Changed { .. })));
    let again = node.swarm.open_object("o", "k").now_or_never().expect("that was not, and nobody is asked");
    assert_eq!(again.unwrap().id(), new.id());
}
