//! Replicas come to where they should be, whatever happened to the members.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use herring_blob::{BlobId, Manifest};
use herring_gossip::{NodeInfo, NodeState};
use herring_http_api::repair::RepairCall;
use herring_ring::Point;
use herring_store::Entry;
use herring_swarm::PutOptions;

use crate::net::{CHUNK_LEN, Net, Setup, body, eventually, manifest_of, noise};
use crate::peer::Fault;

/// Nothing waits for a node that may come back.
async fn net(nodes: usize) -> Net {
    let net = idle(nodes, 3).await;
    begin(&net);
    net
}

/// Nobody looks after replicas yet.
async fn idle(nodes: usize, replicas: usize) -> Net {
    let tuned = Setup::new(nodes, replicas).tune(|config| {
        config.rebalance_after = Duration::ZERO;
        config.scrub_period = Duration::ZERO;
    });
    tuned.start().await
}

fn begin(net: &Net) {
    net.nodes.iter().for_each(|node| node.swarm.keep_custody());
}

/// Lets all see these members, and notice it.
fn publish(net: &Net, members: &[NodeInfo]) {
    net.publish(members);
    net.nodes.iter().for_each(|node| node.swarm.view_changed());
}

/// Puts some blobs of many sizes on different nodes.
async fn fill(net: &Net, blobs: u64) -> Vec<(BlobId, Vec<u8>)> {
    let mut put = Vec::new();
    for n in 0..blobs {
        let bytes = noise(n + 1, usize::try_from(n).unwrap() * CHUNK_LEN / 2 + 100).to_vec();
        let node = &net.nodes[usize::try_from(n).unwrap() % 2];
        put.push((node.put(&bytes).await.unwrap().stored.id, bytes));
    }
    put
}

/// The members by which owners are counted, and whether all that they own is durable on them, and nothing on others.
async fn until_placed(net: &Net, members: &[usize], blobs: &[(BlobId, Vec<u8>)]) {
    for (id, _) in blobs {
        let content = net.nodes[members[0]].swarm.open_blob(*id).await.unwrap();
        let manifest = manifest_of(&content);
        eventually("replicas are on their owners, and only there", || is_placed(net, members, &manifest)).await;
    }
}

fn is_placed(net: &Net, members: &[usize], manifest: &Manifest) -> bool {
    let seen = |holds: &dyn Fn(&Entry) -> bool| -> BTreeSet<usize> {
        net.holders(manifest.id(), holds).into_iter().filter(|node| members.contains(node)).collect()
    };
    let owners = |point| net.owners(point).into_iter().collect::<BTreeSet<_>>();
    let chunks = (0..manifest.geometry().chunk_count())
        .all(|chunk| seen(&|entry| entry.is_durable(chunk)) == owners(Point::of_chunk(manifest, chunk)));
    chunks && owners(Point::of_blob(&manifest.id())).is_subset(&seen(&Entry::is_kept))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_gets_what_it_owns_and_the_others_let_it_go() {
    let net = net(5).await;
    publish(&net, &net.without(&[3, 4]));
    let blobs = fill(&net, 12).await;
    publish(&net, &net.members());
    until_placed(&net, &[0, 1, 2, 3, 4], &blobs).await;
    for (id, bytes) in &blobs {
        net.assert_readable(0..5, *id, bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_kept_is_made_anew_from_the_others() {
    let mut net = net(5).await;
    let blobs = fill(&net, 12).await;
    net.nodes[4].crash().await;
    publish(&net, &net.without(&[4]));
    until_placed(&net, &[0, 1, 2, 3], &blobs).await;
    net.nodes[3].crash().await;
    publish(&net, &net.without(&[3, 4]));
    until_placed(&net, &[0, 1, 2], &blobs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drains_hands_over_everything() {
    let net = net(4).await;
    let blobs = fill(&net, 12).await;
    let mut members = net.members();
    members[3].state = NodeState::Draining;
    net.nodes[3].swarm.drain(true);
    publish(&net, &members);
    until_placed(&net, &[0, 1, 2], &blobs).await;
    let nothing = || blobs.iter().all(|(id, _)| !net.holders(*id, Entry::is_kept).contains(&3));
    eventually("it keeps nothing any more", nothing).await;
    eventually("and knows it", || net.nodes[3].swarm.custody().settled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lost_everything_is_filled_again() {
    let net = net(3).await;
    let blobs = fill(&net, 12).await;
    for (id, _) in &blobs {
        net.nodes[1].store.remove(&(*id).into()).await.unwrap();
    }
    until_placed(&net, &[0, 1, 2], &blobs).await;
}

/// A blob of which the owners of one chunk, who own nothing else of it, lost everything: it, its bytes and those owners.
async fn bereft(net: &Net, read_by: std::ops::Range<usize>) -> (Arc<Manifest>, Vec<u8>, Vec<usize>) {
    for seed in 0.. {
        let bytes = noise(seed, 3 * CHUNK_LEN);
        let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
        let manifest = manifest_of(&net.nodes[0].swarm.open_blob(id).await.unwrap());
        let points = (0..3).map(|chunk| Point::of_chunk(&manifest, chunk)).chain([Point::of_blob(&id)]);
        let owners: Vec<Vec<usize>> = points.map(|point| net.owners(point)).collect();
        let owns_more = |node: &usize| owners.iter().filter(|owners| owners.contains(node)).count() > 1;
        let Some(bereft) = owners[..3].iter().find(|owners| !owners.iter().any(owns_more)) else { continue };
        net.assert_readable(read_by, id, &bytes).await;
        for node in bereft {
            net.nodes[*node].store.remove(&id.into()).await.unwrap();
        }
        return (manifest, bytes.to_vec(), bereft.clone());
    }
    unreachable!("there are many seeds")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_readers_have_is_kept_again() {
    let net = idle(6, 2).await;
    let (manifest, bytes, _) = bereft(&net, 0..6).await;
    begin(&net);
    until_placed(&net, &[0, 1, 2, 3, 4, 5], &[(manifest.id(), bytes)]).await;
    eventually("all know it", || net.nodes.iter().all(|node| node.swarm.custody().settled)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_node_has_is_told_until_it_is_put_again() {
    let net = idle(6, 2).await;
    let (manifest, bytes, bereft) = bereft(&net, 0..0).await;
    begin(&net);
    let lost = |node: &usize| net.nodes[*node].swarm.custody();
    eventually("its owners miss it", || {
        bereft.iter().map(lost).all(|custody| custody.lost_of == Some(manifest.id()) && custody.lacking_chunks > 0)
    })
    .await;
    assert!(bereft.iter().map(lost).all(|custody| custody.lost_chunks > 0));
    assert_eq!(net.nodes[0].put(&bytes).await.unwrap().stored.id, manifest.id());
    until_placed(&net, &[0, 1, 2, 3, 4, 5], &[(manifest.id(), bytes)]).await;
    eventually("and miss it no more", || {
        (0..6).all(|node| lost(&node).settled && (lost(&node).lost_chunks, lost(&node).lost_of) == (0, None))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_file_is_gone_is_made_again() {
    let net = net(3).await;
    let blobs = fill(&net, 6).await;
    until_placed(&net, &[0, 1, 2], &blobs).await;
    for (id, bytes) in &blobs {
        std::fs::remove_file(net.nodes[1].data(*id)).unwrap();
        assert_eq!(net.nodes[1].get(*id).await.unwrap(), *bytes, "others have it");
    }
    until_placed(&net, &[0, 1, 2], &blobs).await;
    for (id, _) in &blobs {
        assert!(net.nodes[1].store.get(&(*id).into()).unwrap().look_for_files().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_one_owner_missed_is_completed() {
    let net = net(3).await;
    net.nodes[2].peer.set(Fault::Refuse);
    let bytes = noise(7, 5 * CHUNK_LEN);
    let put = net.nodes[0].put(&bytes).await.unwrap();
    assert_eq!(put.stored.replicas, 2);
    net.nodes[2].peer.set(Fault::None);
    eventually("the third owner has it", || {
        net.holders(put.stored.id, |entry| entry.is_complete() && entry.is_kept()).len() == 3
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_nodes_exchange_one_digest() {
    let net = net(3).await;
    let blobs = fill(&net, 8).await;
    until_placed(&net, &[0, 1, 2], &blobs).await;
    eventually("all say so", || net.nodes.iter().all(|node| node.swarm.custody().settled)).await;
    net.nodes.iter().for_each(|node| node.peer.forget_asked());
    net.nodes[0].swarm.view_changed();
    let compared = |node: usize| {
        let asked = net.nodes[node].peer.asked().repairs;
        asked.iter().filter(|call| matches!(call, RepairCall::Compare { digests, .. } if digests.len() == 1)).count()
    };
    eventually("they are compared", || compared(1) >= 2 && compared(2) >= 2).await;
    for node in [1, 2] {
        let asked = net.nodes[node].peer.asked().repairs;
        assert!(asked.iter().all(|call| matches!(call, RepairCall::Compare { digests, .. } if digests.len() == 1)), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_has_as_many_replicas_as_its_put_asked_for() {
    let net = net(5).await;
    let bytes = noise(3, 6 * CHUNK_LEN);
    let options = |replicas, ack| PutOptions { replicas, ack };
    let put = net.nodes[0].swarm.put(None, options(Some(5), Some(5)), body(&bytes)).await.unwrap();
    assert_eq!(put.stored.replicas, 5);
    assert_eq!(net.holders(put.stored.id, Entry::is_complete).len(), 5);
    let other = noise(4, 6 * CHUNK_LEN);
    let put = net.nodes[0].swarm.put(None, options(Some(1), None), body(&other)).await.unwrap();
    assert_eq!(put.stored.replicas, 1);
    let content = net.nodes[0].swarm.open_blob(put.stored.id).await.unwrap();
    for chunk in 0..content.geometry().chunk_count() {
        assert_eq!(net.holders(put.stored.id, |entry| entry.is_durable(chunk)).len(), 1, "chunk {chunk}");
    }
    net.assert_readable(0..5, put.stored.id, &other).await;
}

#[tokio::test]
async fn the_highest_number_that_was_asked_for_counts() {
    let net = Net::start(5, 3).await;
    let bytes = noise(5, 2 * CHUNK_LEN);
    for (replicas, wanted) in [(Some(1), 1), (None, 3), (Some(2), 3), (Some(5), 5), (Some(1), 5), (None, 5)] {
        let put = net.nodes[1].swarm.put(None, PutOptions { replicas, ack: Some(1) }, body(&bytes)).await.unwrap();
        assert_eq!(put.stored.wanted, wanted, "{replicas:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_says_goodbye_keeps_what_it_has() {
    let tuned = Setup::new(3, 3).tune(|config| {
        config.rebalance_after = Duration::from_secs(3600);
        config.scrub_period = Duration::ZERO;
    });
    let net = tuned.start().await;
    let blobs = fill(&net, 4).await;
    net.nodes.iter().for_each(|node| node.swarm.keep_custody());
    let mut members = net.members();
    members[2].state = NodeState::Draining;
    publish(&net, &members);
    let met = || net.nodes[0].peer.asked().repairs.len() >= 2;
    eventually("it has heard of the change", met).await;
    let keeps = |(id, _): &(BlobId, Vec<u8>)| net.holders(*id, |entry| entry.is_kept() && entry.is_durable(0)).contains(&2);
    assert!(blobs.iter().all(keeps), "it will be back");
}
