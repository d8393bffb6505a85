//! Nodes that lie about what a blob is: they have a manifest under its id, and the chunks that fit the manifest.

use std::sync::Arc;

use herring_blob::{BlobHasher, BlobId, ByteRange, Chunk, Manifest};
use herring_http_api::repair::{BlobParts, RepairCall, RepairReply};
use herring_http_api::types::Presence;
use herring_ring::Point;
use herring_store::WriteError;
use herring_swarm::{OpenError, ReadError, ServeError};
use uuid::Uuid;

use crate::net::{CHUNK, CHUNK_LEN, Net, Node, Setup, body, eventually, noise};

/// Larger than every blob here, or smaller.
const ALL: u64 = 64 << 20;
const NONE: u64 = 1;

async fn net(nodes: usize, replicas: usize, prove_first: u64) -> Net {
    Setup::new(nodes, replicas).tune(|config| config.prove_first = prove_first).start().await
}

/// The manifest of `bytes` under the id of something else.
fn lie(id: BlobId, bytes: &[u8]) -> Arc<Manifest> {
    let mut hasher = BlobHasher::new(CHUNK);
    bytes.chunks(CHUNK_LEN).for_each(|chunk| _ = hasher.chunk(chunk));
    let honest = hasher.finish().unwrap();
    Arc::new(Manifest::new(id, honest.size(), CHUNK, honest.chunks().to_vec()).unwrap())
}

/// The node has that as the blob, durable, as if it were right.
async fn plant(node: &Node, id: BlobId, bytes: &[u8]) {
    let upload = node.store.begin_upload(CHUNK).await.unwrap();
    for (n, chunk) in (0..).zip(bytes.chunks(CHUNK_LEN)) {
        upload.write_chunk(n, Chunk::of(chunk.to_vec().into(), CHUNK)).await.unwrap();
    }
    // The node itself may be about to fetch the blob once more, to hash it.
    for _ in 0..100 {
        node.store.remove(&id.into()).await.unwrap();
        match upload.commit(lie(id, bytes), None).await {
            Err(WriteError::Conflict { .. }) => {}
            planted => return drop(planted.unwrap()),
        }
    }
    panic!("another always comes before");
}

/// A part of the upload, and what the node says to the commit of all of it.
async fn commit(node: &Node, manifest: &Arc<Manifest>, bytes: &[u8], chunks: &[u32]) -> Result<Presence, ServeError> {
    let upload = Uuid::new_v4();
    for &n in chunks {
        let chunk = bytes.chunks(CHUNK_LEN).nth(n as usize).unwrap();
        let digest = manifest.digest(n).unwrap();
        node.swarm.upload_chunk(upload, CHUNK, n, digest, body(chunk)).await.unwrap();
    }
    node.swarm.commit_upload(upload, Arc::clone(manifest), None).await
}

async fn range(node: &Node, id: BlobId, range: ByteRange) -> Result<Vec<u8>, String> {
    let content = node.swarm.open_blob(id).await.map_err(|error| error.to_string())?;
    node.swarm.read(&content, range).await.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_makes_up_nobody_shows() {
    let net = net(3, 3, ALL).await;
    let (id, made_up) = (BlobId::of(b"never put"), noise(1, 3 * CHUNK_LEN + 7));
    plant(&net.nodes[1], id, &made_up).await;
    for reader in [0, 2, 0] {
        let first = range(&net.nodes[reader], id, ByteRange::new(0, 10)).await.unwrap_err();
        assert!(["does not hash", "is not here", "could not be had"].iter().any(|told| first.contains(told)), "{first}");
    }
    for node in [0, 2] {
        assert!(net.nodes[node].store.get(&id.into()).is_none_or(|entry| !entry.is_kept()), "nor keeps it");
    }
    // The liar itself shows it to nobody once it has looked.
    assert!(range(&net.nodes[1], id, ByteRange::new(0, 10)).await.is_err());
    assert!(net.nodes[1].store.get(&id.into()).is_some(), "what is kept an operator looks at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_large_blob_that_is_made_up_the_end_is_never_given() {
    let net = net(3, 3, NONE).await;
    let (id, made_up) = (BlobId::of(b"never put"), noise(1, 3 * CHUNK_LEN + 7));
    plant(&net.nodes[1], id, &made_up).await;
    let reader = &net.nodes[0];
    let content = reader.swarm.open_blob(id).await.unwrap();
    assert!(matches!(reader.drain(&content).await, Err(ReadError::False { .. })));
    eventually("what came is hashed again, and gone", || reader.store.get(&id.into()).is_none()).await;
    assert!(matches!(reader.swarm.open_blob(id).await, Err(OpenError::NotFound { .. })), "and it is not taken again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_owner_that_lies_is_outvoted() {
    // Who owns nothing of it hears two who agree; an owner that lost its disk hears one against the other.
    for (prove_first, place) in [(NONE, 3), (NONE, 1), (ALL, 4), (ALL, 1)] {
        // A net for each reader: with the liar it is the second that lost its part, and of three replicas one is left.
        let net = net(5, 3, prove_first).await;
        let (bytes, made_up) = (noise(2, 4 * CHUNK_LEN), noise(3, 4 * CHUNK_LEN));
        let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
        let owners = net.owners(Point::of_blob(&id));
        plant(&net.nodes[owners[0]], id, &made_up).await;
        let others = (0..5).filter(|node| !owners.contains(node));
        let by_place = owners.iter().copied().chain(others).collect::<Vec<_>>();
        let reader = by_place[place];
        net.nodes[reader].store.remove(&id.into()).await.unwrap();
        let right = range(&net.nodes[reader], id, ByteRange::new(0, 99)).await;
        assert_eq!(right.unwrap(), bytes[..99], "{prove_first} {place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_lies_is_refused_by_who_has_all_of_it() {
    let net = net(3, 3, ALL).await;
    let (id, made_up) = (BlobId::of(b"never put"), noise(4, 3 * CHUNK_LEN));
    let manifest = lie(id, &made_up);
    let refused = commit(&net.nodes[0], &manifest, &made_up, &[0, 1, 2]).await;
    assert!(matches!(&refused, Err(ServeError::Invalid(why)) if why.contains("hash to")), "{refused:?}");
    assert!(net.nodes[0].store.get(&id.into()).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_lies_to_each_owner_in_part_is_shown_to_nobody_and_gives_way() {
    let net = net(4, 2, ALL).await;
    let bytes = noise(5, 3 * CHUNK_LEN);
    let (id, made_up) = (BlobId::of(&bytes), noise(6, 3 * CHUNK_LEN));
    let manifest = lie(id, &made_up);
    for node in 0..4 {
        let parts = [0, 1, 2].into_iter().filter(|n| *n as usize % 2 == node % 2).collect::<Vec<_>>();
        commit(&net.nodes[node], &manifest, &made_up, &parts).await.unwrap();
    }
    for node in &net.nodes {
        let shown = range(node, id, ByteRange::new(0, 10)).await;
        assert!(shown.is_err(), "{shown:?}");
    }
    // Who knows that it is false takes the true one in its place.
    net.nodes[0].put(&bytes).await.unwrap();
    net.assert_readable(0..4, id, &bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_have_hashed_others_need_not() {
    // Some nodes own nothing of it.
    let net = net(12, 3, ALL).await;
    let bytes = noise(7, 2 * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let owners = net.owners(Point::of_blob(&id));
    let proven = |node: usize| net.nodes[node].swarm.local_manifest(id).is_ok_and(|(_, proven)| proven);
    eventually("two owners have hashed it", || owners.iter().filter(|node| proven(**node)).count() >= 2).await;
    let reader = (0..12).find(|node| net.nodes[*node].store.get(&id.into()).is_none()).unwrap();
    assert_eq!(range(&net.nodes[reader], id, ByteRange::new(0, 9)).await.unwrap(), bytes[..9]);
    let entry = net.nodes[reader].store.get(&id.into()).unwrap();
    eventually("what was read is kept", || entry.present_count() > 0).await;
    assert_eq!(entry.present_count(), 1, "nothing but what was read was fetched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_right_is_shown_after_a_restart() {
    let mut net = net(2, 1, ALL).await;
    let bytes = noise(8, 5 * CHUNK_LEN + 1);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    for node in 0..2 {
        net.restart(node).await;
    }
    net.assert_readable(0..2, id, &bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_owners_were_made_to_believe_is_found_out_by_who_reads_all_of_it() {
    let net = net(4, 2, NONE).await;
    let (id, made_up) = (BlobId::of(b"never put"), noise(20, 3 * CHUNK_LEN));
    let owners = net.owners(Point::of_blob(&id));
    for owner in &owners {
        plant(&net.nodes[*owner], id, &made_up).await;
    }
    let reader = &net.nodes[(0..4).find(|node| !owners.contains(node)).unwrap()];
    let content = reader.swarm.open_blob(id).await.unwrap();
    assert_eq!(reader.swarm.read(&content, ByteRange::new(0, 9)).await.unwrap(), made_up[..9], "a part of it says nothing");
    assert!(matches!(reader.drain(&content).await, Err(ReadError::False { .. })));
    eventually("it is hashed once more, and not shown then", || reader.store.get(&id.into()).is_none()).await;
    let after = reader.swarm.read(&content, ByteRange::new(0, 9)).await;
    assert!(matches!(after, Err(ReadError::False { .. })), "{after:?}");
    // An owner keeps it, and its own word counts for nothing once it has looked.
    let owner = &net.nodes[owners[0]];
    let content = owner.swarm.open_blob(id).await.unwrap();
    assert!(matches!(owner.drain(&content).await, Err(ReadError::False { .. })));
    eventually("it is hashed once more", || owner.swarm.open_blob_now(id).is_none()).await;
    assert!(matches!(owner.swarm.read(&content, ByteRange::new(0, 9)).await, Err(ReadError::False { .. })));
}

/// The bytes are right, and the manifest that is committed with them is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn right_bytes_prove_nothing_for_a_wrong_manifest() {
    let net = net(3, 2, ALL).await;
    let bytes = noise(9, 3 * CHUNK_LEN);
    let (id, made_up) = (BlobId::of(&bytes), noise(10, 3 * CHUNK_LEN));
    let (right, wrong) = (lie(id, &bytes), lie(id, &made_up));
    for node in &net.nodes {
        commit(node, &wrong, &made_up, &[0]).await.unwrap();
        let upload = Uuid::new_v4();
        for (n, chunk) in (0..).zip(bytes.chunks(CHUNK_LEN)) {
            node.swarm.upload_chunk(upload, CHUNK, n, right.digest(n).unwrap(), body(chunk)).await.unwrap();
        }
        assert!(node.swarm.commit_upload(upload, Arc::clone(&wrong), None).await.is_err());
        assert!(!node.swarm.local_manifest(id).is_ok_and(|(_, proven)| proven), "nothing was proven by that");
    }
    for node in &net.nodes {
        let shown = range(node, id, ByteRange::new(0, 10)).await;
        assert!(shown.as_ref().is_ok_and(|shown| *shown == bytes[..10]) || shown.is_err(), "{shown:?}");
    }
}

/// What was opened once is what is read, whatever the disk is given under the same id afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_on_is_not_given_what_came_under_the_same_id() {
    for prove_first in [NONE, ALL] {
        let net = net(3, 1, prove_first).await;
        let (bytes, made_up) = (noise(11, 4 * CHUNK_LEN), noise(12, 4 * CHUNK_LEN));
        let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
        let reader = (0..3).find(|node| !net.owners(Point::of_blob(&id)).contains(node)).unwrap();
        let reader = &net.nodes[reader];
        let content = reader.swarm.open_blob(id).await.unwrap();
        assert_eq!(reader.swarm.read(&content, ByteRange::new(0, 10)).await.unwrap(), bytes[..10]);
        plant(reader, id, &made_up).await;
        let mut buffer = [0; 10];
        assert!(!reader.swarm.read_into_now(&content, 0, &mut buffer) || buffer == bytes[..10]);
        assert!(!reader.swarm.read_into_local(&content, 0, &mut buffer) || buffer == bytes[..10]);
        // Chunks that were here alone went with the entry: others have them, or nobody has.
        if let Ok(read) = reader.swarm.read(&content, ByteRange::new(0, 10)).await {
            assert_eq!(read, bytes[..10]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_under_two_names_has_one_voice() {
    let net = net(4, 3, ALL).await;
    let id = BlobId::of(b"never put");
    let made_up = noise(13, 2 * CHUNK_LEN);
    plant(&net.nodes[1], id, &made_up).await;
    // Everyone but the reader is at the liar's address.
    let mut members = net.members();
    for ghost in [2, 3] {
        members[ghost].http = members[1].http;
    }
    net.publish_to(|node| node == 0, &members);
    assert!(range(&net.nodes[0], id, ByteRange::new(0, 10)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_that_keeps_back_a_chunk_is_given_up_for_the_truth() {
    let net = net(4, 3, ALL).await;
    let (bytes, made_up) = (noise(14, 3 * CHUNK_LEN), noise(15, 3 * CHUNK_LEN));
    let id = BlobId::of(&bytes);
    // A node holds a part of the lie, and nobody has the rest.
    let partly = net.owners(Point::of_blob(&id))[0];
    commit(&net.nodes[partly], &lie(id, &made_up), &made_up, &[1]).await.unwrap();
    let putter = (0..4).find(|node| *node != partly).unwrap();
    net.nodes[putter].put(&bytes).await.unwrap();
    net.assert_readable(0..4, id, &bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_another_manifest_for_a_replica() {
    let net = net(3, 3, ALL).await;
    let (bytes, made_up) = (noise(16, 2 * CHUNK_LEN), noise(17, 2 * CHUNK_LEN));
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    plant(&net.nodes[1], id, &made_up).await;
    let me = &net.nodes[0].swarm;
    let right = me.local_manifest(id).unwrap().0;
    let print = u64::try_from(right.print() & u128::from(u64::MAX)).unwrap();
    let blobs = vec![BlobParts { id, manifest: true, chunks: Presence::of([0, 1]), replicas: None, print: Some(print) }];
    let call = RepairCall::Offer { epoch: me.view().epoch().to_string(), blobs: blobs.clone() };
    let told = net.nodes[1].swarm.answer_repair("n0".to_owned(), call).await.unwrap();
    let RepairReply::Lacking { blobs: lacking } = told else { panic!("{told:?}") };
    assert_eq!(lacking[0].chunks, blobs[0].chunks, "what is here is of something else");
}
