//! What was removed is gone from everywhere.

use std::sync::Arc;

use herring_blob::BlobId;
use herring_swarm::{OpenError, ReadError, RemoveError};
use tokio::sync::Semaphore;

use crate::door::nobody;
use crate::net::{CHUNK, CHUNK_LEN, Net, Setup, noise};
use crate::peer::Fault;

#[tokio::test]
async fn a_removed_blob_is_gone_from_every_node_and_all_are_told() {
    let net = Net::start(4, 2).await;
    let (bytes, other) = (noise(80, 5 * CHUNK_LEN), noise(81, 100));
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let stays = net.nodes[0].put(&other).await.unwrap().stored.id;
    net.assert_readable(0..4, id, &bytes).await;
    let mut told: Vec<_> = net.nodes.iter().map(|node| node.swarm.deletions()).collect();
    net.nodes[3].swarm.remove(id).await.unwrap();
    for (node, told) in net.nodes.iter().zip(&mut told) {
        assert_eq!(told.try_recv(), Ok(id));
        assert!(node.store.get(&id.into()).is_none());
        assert!(matches!(node.swarm.open_blob(id).await, Err(OpenError::NotFound { .. })));
    }
    assert!(matches!(net.nodes[1].swarm.remove(id).await, Err(RemoveError::NotFound { .. })));
    net.assert_readable(0..4, stays, &other).await;
    assert!(net.nodes[2].put(&bytes).await.unwrap().created, "it may come back");
    net.assert_readable(0..4, id, &bytes).await;
}

#[tokio::test]
async fn readers_under_way_do_not_bring_a_removed_blob_back() {
    let net = Setup::new(3, 1).tune(|config| config.read_ahead = 4 * u64::from(CHUNK)).start().await;
    let bytes = noise(82, 12 * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let reader = &net.nodes[2];
    let content = reader.swarm.open_blob(id).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    for giver in &net.nodes[..2] {
        giver.peer.set(Fault::HoldAnswer(gate.clone()));
    }
    let removal = async {
        net.nodes[0].peer.until(|asked| !asked.chunks.is_empty()).await;
        net.nodes[0].swarm.remove(id).await.unwrap();
        gate.add_permits(Semaphore::MAX_PERMITS / 2);
    };
    let (read, ()) = tokio::join!(reader.drain(&content), removal);
    assert!(matches!(read, Err(ReadError::Unavailable { .. })), "some of it was asked for too late");
    for node in &net.nodes {
        assert!(matches!(node.swarm.open_blob(id).await, Err(OpenError::NotFound { .. })));
    }
}

#[tokio::test]
async fn a_removal_that_does_not_reach_all_says_whom() {
    let net = Net::start(3, 3).await;
    let id = net.nodes[0].put(b"three copies").await.unwrap().stored.id;
    net.detour(2, nobody().await);
    let Err(RemoveError::Incomplete { tried, .. }) = net.nodes[0].swarm.remove(id).await else { panic!("n2 was not reached") };
    assert_eq!(tried.0.iter().map(|attempt| attempt.whom.as_str()).collect::<Vec<_>>(), ["n2"]);
    assert!(matches!(net.nodes[0].swarm.open_blob(BlobId::of(b"three copies")).await, Err(OpenError::Unavailable { .. })));
}
