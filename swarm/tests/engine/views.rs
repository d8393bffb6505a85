//! Members come and go; what was put stays readable.

use herring_blob::BlobId;
use herring_gossip::NodeState;
use herring_ring::Point;
use herring_swarm::{OpenError, ReadError};

use crate::net::{CHUNK_LEN, Net, manifest_of, noise};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joiners_that_hold_nothing_hide_nothing() {
    let mut net = Net::start(3, 2).await;
    let mut blobs = Vec::new();
    for seed in 90..98u64 {
        let bytes = noise(seed, usize::try_from(seed - 90).unwrap() * CHUNK_LEN + 1);
        blobs.push((net.nodes[0].put(&bytes).await.unwrap().stored.id, bytes));
    }
    let manifest = manifest_of(&net.nodes[0].swarm.open_blob(blobs[7].0).await.unwrap());
    for _ in 0..3 {
        net.add().await;
    }
    net.publish(&net.members());
    let new_first = |chunk| net.owners(Point::of_chunk(&manifest, chunk)).iter().all(|owner| *owner > 2);
    assert!((0..8).any(new_first), "otherwise this proves little");
    for (id, bytes) in &blobs {
        net.assert_readable((0..6).rev(), *id, bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_replicas_any_one_node_may_leave() {
    for gone in 0..3 {
        let mut net = Net::start(3, 2).await;
        let bytes = noise(100, 12 * CHUNK_LEN + 1);
        let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
        net.nodes[gone].crash().await;
        net.publish(&net.without(&[gone]));
        net.assert_readable((0..3).filter(|node| *node != gone), id, &bytes).await;
    }
}

#[tokio::test]
async fn a_draining_node_owns_nothing_and_still_gives_what_it_has() {
    let net = Net::start(3, 1).await;
    let bytes = noise(101, 12 * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let mut members = net.members();
    members[1].state = NodeState::Draining;
    net.publish(&members);
    net.assert_readable([0, 2], id, &bytes).await;
    assert!(!net.nodes[1].peer.asked().chunks.is_empty());
    net.nodes[1].peer.forget_asked();
    let put = net.nodes[1].put(&noise(102, 12 * CHUNK_LEN)).await.unwrap();
    assert!(net.holders(put.stored.id, |entry| (0..12).any(|chunk| entry.is_durable(chunk))).iter().all(|node| *node != 1));
}

#[tokio::test]
async fn members_may_change_under_a_reader() {
    let mut net = Net::start(3, 2).await;
    let bytes = noise(103, 30 * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    net.add().await;
    let content = net.nodes[3].swarm.open_blob(id).await;
    assert!(content.is_err(), "it knows nobody yet");
    let views = [net.members(), net.without(&[1]), net.members(), net.without(&[2])];
    net.publish(&views[0]);
    let content = net.nodes[3].swarm.open_blob(id).await.unwrap();
    for chunk in 0..30 {
        net.publish(&views[chunk % 4]);
        let range = herring_blob::ByteRange::at((chunk * CHUNK_LEN) as u64, CHUNK_LEN as u64);
        assert!(net.nodes[3].swarm.read(&content, range).await.unwrap() == bytes[chunk * CHUNK_LEN..][..CHUNK_LEN]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_missing_node_had_is_unavailable_and_not_unknown() {
    let mut net = Net::start(4, 1).await;
    let owner = |bytes: &[u8]| net.owners(Point::of_blob(&BlobId::of(bytes)))[0];
    let of = |node| (0..).map(|seed| noise(seed, 100)).find(|bytes| owner(bytes) == node).unwrap();
    let (bytes, elsewhere) = (of(3), BlobId::of(&of(1)));
    let id = net.nodes[3].put(&bytes).await.unwrap().stored.id;
    net.nodes[3].crash().await;
    net.publish(&net.without(&[3]));
    let Err(OpenError::Unavailable { tried, .. }) = net.nodes[0].swarm.open_blob(id).await else {
        panic!("its owner may be back")
    };
    assert!(tried.to_string().contains("n3 is missing"), "{tried}");
    assert!(matches!(net.nodes[0].swarm.open_blob(elsewhere).await, Err(OpenError::NotFound { .. })), "its owner is here");
    let mut members = net.members();
    members[3].state = NodeState::Draining;
    net.publish(&members);
    net.publish(&net.without(&[3]));
    assert!(
        matches!(net.nodes[0].swarm.open_blob(id).await, Err(OpenError::NotFound { .. })),
        "who said goodbye took nothing along"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_copy_that_was_the_only_one_is_told() {
    let mut net = Net::start(2, 1).await;
    let bytes = noise(99, 3 * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let manifest = manifest_of(&net.nodes[0].swarm.open_blob(id).await.unwrap());
    let owner = net.owners(Point::of_chunk(&manifest, 1))[0];
    net.nodes[owner].spoil(id, CHUNK_LEN as u64);
    net.restart(owner).await;
    for reader in [1 - owner, owner] {
        let Err(ReadError::Unavailable { tried, .. }) = net.nodes[reader].get(id).await else { panic!("nobody has it") };
        assert!(
            tried.0.iter().any(|attempt| attempt.whom == format!("n{owner}") && attempt.outcome.contains("rotten")),
            "{tried}"
        );
    }
}
