//! Who has a chunk is asked for it, and not its owner alone.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use herring_blob::{BlobId, Chunk};
use herring_http_api::arriving::{Arriving, GivenChunk};
use herring_http_api::peer::{Asker, ChunkRequest, Urge};

use crate::net::{CHUNK, CHUNK_LEN, Net, noise};

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
    assert_eq!(whole(ask(&net, 0, 4, id, Urge::Any).await).slice(0..CHUNK), bytes, "idle again");
    let behind = named(ask_as(&net, 0, 5, true, id, Urge::Any).await);
    assert!(behind.contains(&"n4".to_owned()), "which asked just now, so others will: {behind:?}");
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
