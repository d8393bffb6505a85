//! Who has a chunk is asked for it, and not its owner alone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use herring_blob::{BlobId, ByteRange, Chunk};
use herring_http_api::arriving::{Arriving, GivenChunk};
use herring_http_api::peer::{Asker, ChunkOf, ChunkRequest, Urge};
use herring_swarm::Source;
use tempfile::TempDir;

use crate::count::origin_bytes;
use crate::net::{CHUNK, CHUNK_LEN, Net, Setup, eventually, noise};

/// What a node says when another asks it for a chunk of a blob that nobody waits for yet.
async fn ask(net: &Net, node: usize, asker: usize, id: BlobId, urge: Urge) -> GivenChunk {
    ask_as(net, node, asker, false, id, urge).await
}

/// `background`: nobody waits for it yet.
async fn ask_as(net: &Net, node: usize, asker: usize, background: bool, id: BlobId, urge: Urge) -> GivenChunk {
    let asker = Asker { from: net.nodes[asker].info.id.to_string(), background };
    net.nodes[node].swarm.give(ChunkRequest { urge, ..ChunkRequest::blob(id, 0) }, asker).await.unwrap()
}

fn whole(given: GivenChunk) -> Chunk {
    match given {
        GivenChunk::Whole(chunk) => chunk,
        GivenChunk::Arriving(_) => panic!("it is here"),
        GivenChunk::Busy { holders } => panic!("busy, and names {holders:?}"),
    }
}

fn named(given: GivenChunk) -> Vec<String> {
    match given {
        GivenChunk::Busy { holders } => holders,
        _ => panic!("it was to name others"),
    }
}

/// The chunk that the pieces make.
fn pieces(frames: Vec<Arriving>) -> Vec<u8> {
    let piece = |frame| if let Arriving::Piece { index, bytes, .. } = frame { Some((index, bytes)) } else { None };
    let mut pieces: Vec<_> = frames.into_iter().filter_map(piece).collect();
    pieces.sort_by_key(|(index, _)| *index);
    pieces.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect()
}

/// A net in which node 0 owns all and has a blob of one chunk.
async fn net_of_one_owner(nodes: usize, zone: impl Fn(usize) -> &'static str) -> (Net, BlobId, Bytes) {
    let net = Net::start(nodes, 1).await;
    let mut members = net.members();
    for (index, member) in members.iter_mut().enumerate() {
        member.zone = zone(index).to_owned();
        member.weight = if index == 0 { 100 } else { 0 };
    }
    net.publish(&members);
    let bytes = noise(90, CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    (net, id, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_points_at_those_who_asked_before_and_serves_who_insists() {
    let (net, id, bytes) = net_of_one_owner(6, |_| "").await;
    let mut sending = vec![whole(ask(&net, 0, 1, id, Urge::Any).await)];
    assert_eq!(net.nodes[0].swarm.promised(), u64::from(CHUNK));
    for _ in 1..64 {
        sending.push(whole(ask(&net, 0, 1, id, Urge::Insist).await));
    }
    assert_eq!(named(ask(&net, 0, 2, id, Urge::Any).await), ["n1"]);
    assert_eq!(named(ask(&net, 0, 3, id, Urge::Any).await), ["n2", "n1"], "nobody was pointed at n2 yet");
    assert_eq!(named(ask(&net, 0, 2, id, Urge::Any).await), ["n1"], "n3 may wait for n2");
    let GivenChunk::Arriving(frames) = ask(&net, 0, 2, id, Urge::Insist).await else { panic!("in its turn") };
    assert_eq!(pieces(frames.collect().await), bytes);
    drop(sending);
    assert_eq!(net.nodes[0].swarm.promised(), 0);
    let began = Instant::now();
    assert_eq!(whole(ask(&net, 0, 4, id, Urge::Any).await).slice(0..CHUNK), bytes, "idle again");
    let behind = ask_as(&net, 0, 5, true, id, Urge::Any).await;
    // For a second others are taken to want it too.
    if began.elapsed() < Duration::from_secs(1) {
        let behind = named(behind);
        assert!(behind.contains(&"n4".to_owned()), "which asked just now: {behind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_comes_into_a_zone_once() {
    let (net, id, _) = net_of_one_owner(5, |index| if index < 2 { "here" } else { "there" }).await;
    drop(whole(ask(&net, 0, 2, id, Urge::Any).await));
    assert_eq!(named(ask(&net, 0, 3, id, Urge::Any).await), ["n2"], "idle, but far");
    drop(whole(ask(&net, 0, 1, id, Urge::Any).await));
    drop(whole(ask(&net, 0, 3, id, Urge::Insist).await));
    assert_eq!(named(ask(&net, 0, 4, id, Urge::Any).await), ["n3", "n2", "n1"], "those of its own zone first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_is_passed_on_to_one() {
    let (net, id, bytes) = net_of_one_owner(4, |_| "").await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    net.nodes[0].peer.set(crate::peer::Fault::Hold(gate.clone()));
    let reading = net.nodes[1].get(id);
    let asking = async {
        net.nodes[0].peer.until(|asked| !asked.chunks.is_empty()).await;
        assert!(
            net.nodes[1]
                .swarm
                .give(ChunkRequest { urge: Urge::Held, ..ChunkRequest::blob(id, 0) }, Asker::default())
                .await
                .is_err()
        );
        let GivenChunk::Arriving(frames) = ask(&net, 1, 2, id, Urge::Named).await else { panic!("it is on its way") };
        assert!(named(ask(&net, 1, 3, id, Urge::Named).await).contains(&"n2".to_owned()));
        assert!(named(ask(&net, 1, 0, id, Urge::Named).await).is_empty(), "it is asked for it itself");
        gate.add_permits(1);
        let frames: Vec<Arriving> = frames.collect().await;
        assert!(matches!(frames.first(), Some(Arriving::Digests(_))), "what it is comes first");
        assert_eq!(pieces(frames), bytes);
    };
    let (read, ()) = tokio::join!(reading, asking);
    assert!(read.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_read_at_once_and_each_byte_is_right() {
    let (net, _, _) = net_of_one_owner(8, |_| "").await;
    let bytes = noise(91, CHUNK_LEN * 20 + 7);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let reads = join_all((1..8).map(|node| net.nodes[node].get(id))).await;
    assert!(reads.into_iter().all(|read| read.unwrap() == bytes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_who_is_pointed_elsewhere_the_origin_is_not_asked() {
    let dir = TempDir::new().unwrap();
    let net = Setup::new(3, 1).origin("pointed", &dir).start().await;
    let mut members = net.members();
    for (index, member) in members.iter_mut().enumerate() {
        (member.zone, member.weight) = if index == 0 { ("here".to_owned(), 100) } else { ("there".to_owned(), 0) };
    }
    net.publish(&members);
    std::fs::write(dir.path().join("o"), noise(92, 2 * CHUNK_LEN)).unwrap();
    let (owner, one) = (&net.nodes[0], &net.nodes[1]);
    let content = owner.swarm.open_object("pointed", "o").await.unwrap();
    let Source::Object(object) = content.source() else { panic!("{content} is no object") };
    let ask = |asker: usize, index| {
        let of = ChunkOf::Object { object: object.clone(), identity: String::new(), chunk_size: CHUNK, wanted: 1 };
        let asker = Asker { from: net.nodes[asker].info.id.to_string(), background: false };
        owner.swarm.give(ChunkRequest { of, index, first: 0, urge: Urge::Any }, asker)
    };
    one.swarm.read(&content, ByteRange::at(0, 10)).await.unwrap();
    let has = |chunk| owner.store.get(&content.id()).is_some_and(|entry| entry.has(chunk));
    eventually("the owner has it on its disk", || has(0)).await;
    owner.store.remove(&content.id()).await.unwrap();
    assert_eq!(named(ask(2, 0).await.unwrap()), ["n1"], "which is near it, and has it");
    // Behind it, so that it would have come by now.
    let GivenChunk::Arriving(frames) = ask(2, 1).await.unwrap() else { panic!("it comes from the origin") };
    assert_eq!(pieces(frames.collect().await).len(), CHUNK_LEN);
    assert_eq!(origin_bytes("pointed"), 2 * CHUNK_LEN as u64);
}
