//! What was removed is gone from everywhere.

use std::sync::Arc;
use std::time::Duration;

use herring_blob::BlobId;
use herring_http_api::repair::{BlobParts, Bucket, Fate, RepairCall, RepairReply};
use herring_http_api::types::Presence;
use herring_ring::Point;
use herring_swarm::{OpenError, PutOptions, ReadError, RemoveError};
use tokio::sync::Semaphore;

use crate::net::{CHUNK, CHUNK_LEN, Net, Setup, body, eventually, noise};
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
        // A reader's chunk that was still to be kept makes an entry, sees that the blob is deleted, and takes it away.
        eventually("nothing to be left", || node.store.get(&id.into()).is_none()).await;
        assert!(matches!(node.swarm.open_blob(id).await, Err(OpenError::NotFound { .. })));
    }
    net.nodes[1].swarm.remove(id).await.expect("it is gone, as was asked");
    let never = BlobId::of(b"never put");
    assert!(matches!(net.nodes[1].swarm.remove(never).await, Err(RemoveError::NotFound { .. })));
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
async fn who_was_away_while_a_blob_was_deleted_brings_nothing_back() {
    let net = Setup::new(3, 3).tune(|config| config.rebalance_after = Duration::ZERO).start().await;
    let (bytes, other) = (noise(83, 3 * CHUNK_LEN), noise(84, 3 * CHUNK_LEN));
    let [id, again] = [&bytes, &other].map(|bytes| BlobId::of(bytes));
    net.nodes[0].put(&bytes).await.unwrap();
    net.nodes[0].put(&other).await.unwrap();
    net.nodes[2].peer.set(Fault::Refuse);
    net.nodes[0].swarm.remove(id).await.unwrap();
    net.nodes[1].swarm.remove(again).await.unwrap();
    assert!(net.nodes[1].put(&other).await.unwrap().created, "put again, while one is away");
    assert!(net.nodes[2].store.get(&id.into()).is_some(), "it has not heard of it");
    net.nodes[2].peer.set(Fault::None);
    net.nodes.iter().for_each(|node| node.swarm.keep_custody());
    for node in &net.nodes {
        eventually("nobody has what was deleted", || node.store.get(&id.into()).is_none()).await;
        assert!(matches!(node.swarm.open_blob(id).await, Err(OpenError::NotFound { .. })));
    }
    let complete = || net.holders(again, |entry| entry.is_complete() && entry.is_kept()).len() == 3;
    eventually("and all have what was put again", complete).await;
    net.assert_readable(0..3, again, &other).await;
}

#[tokio::test]
async fn a_deletion_outlives_a_restart() {
    let mut net = Net::start(2, 2).await;
    let id = net.nodes[0].put(b"gone for good").await.unwrap().stored.id;
    net.nodes[0].swarm.remove(id).await.unwrap();
    net.restart(1).await;
    let view = net.nodes[0].swarm.view();
    let parts = BlobParts { id, manifest: true, chunks: Presence::of([0]), replicas: None, print: None };
    let offer = RepairCall::Offer { epoch: view.epoch().to_string(), blobs: vec![parts.clone()] };
    let answer = net.nodes[1].swarm.answer_repair("n0".into(), offer).await.unwrap();
    assert_eq!(answer, RepairReply::Lacking { blobs: vec![parts] }, "it has not got it");
    assert_eq!(net.nodes[1].swarm.custody().lacking_chunks, 0, "and does not want it back");
}

#[tokio::test]
async fn a_deletion_from_the_future_is_not_believed() {
    let net = Net::start(2, 2).await;
    let id = net.nodes[0].put(b"here to stay").await.unwrap().stored.id;
    let rogue = Fate { id, deleted: true, at_ms: u64::MAX };
    let call = RepairCall::Fates { fates: vec![rogue], buckets: vec![Bucket::ALL] };
    let RepairReply::Fates { fates } = net.nodes[1].swarm.answer_repair("n0".into(), call).await.unwrap() else { panic!() };
    assert!(!fates.contains(&rogue) && net.nodes[1].store.get(&id.into()).is_some());
    net.assert_readable(0..2, id, b"here to stay").await;
}

#[tokio::test]
async fn a_deletion_that_reaches_too_few_owners_says_whom() {
    let net = Net::start(3, 3).await;
    let id = net.nodes[0].put(b"three copies").await.unwrap().stored.id;
    [1, 2].iter().for_each(|&node: &usize| net.nodes[node].peer.set(Fault::Refuse));
    let Err(RemoveError::Incomplete { tried, .. }) = net.nodes[0].swarm.remove(id).await else { panic!("two were not reached") };
    assert!(tried.0.iter().any(|attempt| attempt.whom == "n2"), "{tried}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_outlives_a_deletion_before_it_on_the_other_side_of_a_partition() {
    let net = Setup::new(5, 2).tune(|config| config.rebalance_after = Duration::ZERO).start().await;
    let (bytes, other) = (noise(85, 3 * CHUNK_LEN), noise(86, 3 * CHUNK_LEN));
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let gone = net.nodes[0].put(&other).await.unwrap().stored.id;
    net.publish_to(|node| node < 3, &net.without(&[3, 4]));
    net.publish_to(|node| node >= 3, &net.without(&[0, 1, 2]));
    net.nodes[3].put(&other).await.unwrap();
    for id in [id, gone] {
        net.nodes[0].swarm.remove(id).await.unwrap();
    }
    net.nodes[3].put(&bytes).await.unwrap();
    net.publish(&net.members());
    net.nodes.iter().for_each(|node| node.swarm.keep_custody());
    let everywhere = || net.holders(gone, |_| true).is_empty();
    eventually("what was deleted after it was put is gone", everywhere).await;
    let kept = || net.holders(id, |entry| entry.is_complete() && entry.is_kept()).len() >= 2;
    eventually("what was put after it was deleted stays", kept).await;
    for node in &net.nodes {
        eventually("all know", || node.swarm.open_blob_now(gone).is_none()).await;
    }
    net.assert_readable(3..5, id, &bytes).await;
    eventually("and is read where it was deleted", || net.nodes[0].store.get(&id.into()).is_some()).await;
    net.assert_readable(0..3, id, &bytes).await;
}

/// A put of one replica asks one owner, who may have been away when the others heard of a deletion.
#[tokio::test]
async fn a_put_of_few_replicas_hears_what_the_other_owners_know() {
    let net = Net::start(3, 3).await;
    let owned = |bytes: &[u8]| net.owners(Point::of_blob(&BlobId::of(bytes)))[0] == 2;
    let bytes = (0..).map(|seed| noise(seed, 100)).find(|bytes| owned(bytes)).unwrap();
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    net.nodes[2].peer.set(Fault::Refuse);
    net.nodes[0].swarm.remove(id).await.unwrap();
    net.nodes[2].peer.set(Fault::None);
    let once = PutOptions { replicas: Some(1), ack: Some(1) };
    net.nodes[2].swarm.put(None, once, body(&bytes)).await.unwrap();
    net.assert_readable(0..3, id, &bytes).await;
}

#[tokio::test]
async fn a_deletion_that_no_owner_hears_is_known_to_nobody() {
    let net = Net::start(4, 2).await;
    let bytes = (0..).map(|seed| noise(seed, 100)).find(|bytes| !net.owners(Point::of_blob(&BlobId::of(bytes))).contains(&0));
    let id = net.nodes[0].put(&bytes.unwrap()).await.unwrap().stored.id;
    let owners = net.owners(Point::of_blob(&id));
    owners.iter().for_each(|owner| net.nodes[*owner].peer.set(Fault::Refuse));
    assert!(matches!(net.nodes[0].swarm.remove(id).await, Err(RemoveError::Incomplete { .. })));
    owners.iter().for_each(|owner| net.nodes[*owner].peer.set(Fault::None));
    net.nodes[0].swarm.open_blob(id).await.expect("nobody remembers what was not acknowledged");
    net.nodes[0].swarm.remove(id).await.expect("and it may be tried again");
}
