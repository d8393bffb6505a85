//! Disks without room.

use herring_swarm::PutError;
use tempfile::TempDir;

use crate::net::{CHUNK, CHUNK_LEN, Setup, noise};

/// The last of the nodes can keep two chunks.
fn small_last(index: usize) -> u64 {
    if index == 2 { 2 * u64::from(CHUNK) } else { 1 << 30 }
}

#[tokio::test]
async fn a_node_without_room_passes_on_what_it_cannot_keep() {
    let mut setup = Setup::new(3, 2).tune(|config| config.read_ahead = 4 * u64::from(CHUNK));
    setup.capacity = small_last;
    let net = setup.start().await;
    let bytes = noise(70, 16 * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    for _ in 0..2 {
        net.assert_readable([2, 1, 0], id, &bytes).await;
    }
    let usage = net.nodes[2].store.usage();
    assert!(usage.bytes <= usage.capacity, "{usage:?}");
}

#[tokio::test]
async fn objects_pass_through_a_node_without_room() {
    let dir = TempDir::new().unwrap();
    let mut setup = Setup::new(3, 1).origin("narrow", &dir);
    setup.capacity = small_last;
    let net = setup.start().await;
    let bytes = noise(71, 12 * CHUNK_LEN);
    std::fs::write(dir.path().join("o"), &bytes).unwrap();
    for reader in [0, 2] {
        let content = net.nodes[reader].swarm.open_object("narrow", "o").await.unwrap();
        assert!(net.nodes[reader].drain(&content).await.unwrap() == bytes);
    }
    let usage = net.nodes[2].store.usage();
    assert!(usage.bytes <= usage.capacity, "{usage:?}");
}

#[tokio::test]
async fn a_put_for_which_there_is_no_room_harms_nothing() {
    let mut setup = Setup::new(3, 2);
    setup.capacity = |_| 12 * u64::from(CHUNK);
    let net = setup.start().await;
    let kept = noise(72, 6 * CHUNK_LEN);
    let id = net.nodes[0].put(&kept).await.unwrap().stored.id;
    let used: Vec<_> = net.nodes.iter().map(|node| node.store.usage().bytes).collect();
    let error = net.nodes[1].put(&noise(73, 60 * CHUNK_LEN)).await.unwrap_err();
    assert!(matches!(error, PutError::Full { .. }), "{error}");
    for (node, used) in net.nodes.iter().zip(used) {
        let left = || node.store.usage().bytes != used || node.uploads() > 0;
        crate::net::eventually("the put that failed gives its room back", || !left()).await;
    }
    net.assert_readable(0..3, id, &kept).await;
}
