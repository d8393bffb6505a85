//! Peers that fail, each in its way. Whatever they do, what is read is right, or an error that names them.

use std::time::Duration;

use herring_blob::BlobId;
use herring_blob::Chunk;
use herring_ring::Point;
use herring_swarm::ReadError;

use crate::door::{Door, Manner, nobody};
use crate::net::{CHUNK, CHUNK_LEN, Net, Setup, eventually, manifest_of, noise};
use crate::peer::Fault;

/// Three nodes and a blob of one chunk: two own it, the third reads.
struct Trio {
    net: Net,
    first: usize,
    second: usize,
    reader: usize,
    id: BlobId,
    bytes: Vec<u8>,
}

impl Trio {
    async fn start(setup: Setup) -> Self {
        let net = setup.start().await;
        let bytes = noise(21, CHUNK_LEN - 100).to_vec();
        let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
        let owners = net.owners(Point::of_blob(&id));
        let reader = (0..3).find(|node| !owners.contains(node)).unwrap();
        Self { net, first: owners[0], second: owners[1], reader, id, bytes }
    }

    /// With the hedge: only the peer that hangs needs it.
    async fn hedged() -> Self {
        Self::start(Setup::new(3, 2).tune(|config| config.hedge = Duration::from_millis(30))).await
    }

    async fn assert_second_gives(&self) {
        self.net.nodes[self.second].peer.forget_asked();
        self.net.assert_readable([self.reader], self.id, &self.bytes).await;
        assert_eq!(self.net.nodes[self.second].peer.asked().chunks, [0]);
        let entry = self.net.nodes[self.reader].store.get(&self.id.into()).unwrap();
        eventually("the chunk is kept", || entry.has(0)).await;
        let kept = entry.read(herring_blob::ByteRange::new(0, self.bytes.len() as u64)).await.unwrap();
        assert!(kept == self.bytes, "what is kept is right");
    }
}

#[tokio::test]
async fn the_next_owner_gives_what_the_first_does_not() {
    for fault in [Fault::lie(true), Fault::lie(false), Fault::Refuse, Fault::Forget] {
        let trio = Trio::start(Setup::new(3, 2)).await;
        trio.net.nodes[trio.first].peer.set(fault);
        trio.assert_second_gives().await;
        assert_eq!(trio.net.nodes[trio.first].peer.asked().chunks, [0], "the first was asked first");
    }
}

#[tokio::test]
async fn the_next_owner_is_asked_while_the_first_hangs() {
    let trio = Trio::hedged().await;
    trio.net.nodes[trio.first].peer.set(Fault::Hang);
    trio.assert_second_gives().await;
    assert_eq!(trio.net.nodes[trio.first].peer.asked().chunks, [0]);
}

#[tokio::test]
async fn the_next_owner_gives_what_is_cut_off_in_the_middle() {
    let trio = Trio::start(Setup::new(3, 2)).await;
    // The reader knows the manifest, so all that passes here is the chunk, and half of it does.
    trio.net.nodes[trio.reader].swarm.open_blob(trio.id).await.unwrap();
    let peer = trio.net.nodes[trio.first].info.http;
    let door = Door::open(Manner::Cut { peer, after: CHUNK_LEN / 2 }).await;
    trio.net.detour(trio.first, door.addr);
    trio.assert_second_gives().await;
    assert_eq!(trio.net.nodes[trio.first].peer.asked().chunks, [0]);
}

#[tokio::test]
async fn the_next_owner_gives_where_no_peer_answers_at_the_firsts_address() {
    for manner in [Manner::Silent, Manner::Garbage] {
        let trio = Trio::start(Setup::new(3, 2)).await;
        let door = Door::open(manner).await;
        trio.net.detour(trio.first, door.addr);
        trio.assert_second_gives().await;
        assert!(door.visits() > 0, "it was asked: {manner:?}");
    }
    let trio = Trio::start(Setup::new(3, 2)).await;
    trio.net.detour(trio.first, nobody().await);
    trio.assert_second_gives().await;
}

#[tokio::test]
async fn what_liars_say_is_kept_nowhere() {
    let trio = Trio::start(Setup::new(3, 2)).await;
    for (liar, right_header) in [(trio.first, true), (trio.second, false)] {
        trio.net.nodes[liar].peer.set(Fault::lie(right_header));
    }
    let reader = &trio.net.nodes[trio.reader];
    let Err(ReadError::Unavailable { tried, .. }) = reader.get(trio.id).await else { panic!("both lied") };
    assert_eq!(tried.0.len(), 2);
    assert!(tried.0.iter().all(|attempt| attempt.outcome.contains("wrong bytes")), "{tried}");
    assert_eq!(reader.store.usage().chunks, 0);
}

#[tokio::test]
async fn a_liar_is_not_believed_because_the_chunk_came_by_another_way_meanwhile() {
    let trio = Trio::start(Setup::new(3, 2)).await;
    let hold = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    trio.net.nodes[trio.first].peer.set(Fault::Lie { right_header: true, hold: hold.clone() });
    let reader = &trio.net.nodes[trio.reader];
    let reading = reader.get(trio.id);
    let meanwhile = async {
        trio.net.nodes[trio.first].peer.until(|asked| asked.chunks == [0]).await;
        let entry = reader.store.get(&trio.id.into()).expect("opened, so the manifest is here");
        entry.write_chunk(0, Chunk::of(trio.bytes.clone().into(), CHUNK)).await.unwrap();
        hold.add_permits(1);
    };
    let (read, ()) = tokio::join!(reading, meanwhile);
    assert!(read.unwrap() == trio.bytes);
}

#[tokio::test]
async fn where_all_owners_are_lost_the_error_names_each() {
    let net = Net::start(4, 2).await;
    let bytes = noise(22, 100);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let owners = net.owners(Point::of_blob(&id));
    let reader = (0..4).find(|node| !owners.contains(node)).unwrap();
    net.nodes[reader].swarm.open_blob(id).await.unwrap();
    let mut members = net.members();
    for owner in &owners {
        members[*owner].http = nobody().await;
    }
    net.publish(&members);
    let Err(ReadError::Unavailable { chunk: 0, tried, .. }) = net.nodes[reader].get(id).await else {
        panic!("nobody can have it")
    };
    for node in (0..4).filter(|node| *node != reader) {
        let name = format!("n{node}");
        assert!(tried.0.iter().any(|attempt| attempt.whom == name), "{name} was asked: {tried}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_chunks_are_right_with_any_one_node_at_fault() {
    let faults = [Fault::lie(true), Fault::lie(false), Fault::Hang, Fault::Refuse, Fault::Forget];
    for (seed, fault) in (30..).zip(faults) {
        let net = Setup::new(5, 2)
            .tune(|config| {
                config.hedge = Duration::from_millis(20);
                config.read_ahead = 4 * u64::from(CHUNK);
            })
            .start()
            .await;
        let bytes = noise(seed, 20 * CHUNK_LEN + 3);
        let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
        net.nodes[2].peer.set(fault);
        net.assert_readable([0, 1, 3, 4], id, &bytes).await;
    }
}

#[tokio::test]
async fn who_lost_the_race_is_not_asked_first_for_every_chunk() {
    // Long enough that the one that answers is seldom hedged with the one that hangs.
    let net = Setup::new(3, 2).tune(|config| config.hedge = Duration::from_millis(500)).start().await;
    let bytes = noise(40, 40 * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    net.nodes[1].peer.set(Fault::Hang);
    net.assert_readable([2], id, &bytes).await;
    let manifest = manifest_of(&net.nodes[2].swarm.open_blob(id).await.unwrap());
    let owners = |chunk| net.owners(Point::of_chunk(&manifest, chunk));
    let could = (0..40).filter(|chunk| owners(*chunk).contains(&1) && !owners(*chunk).contains(&2)).count();
    let asked = net.nodes[1].peer.asked().chunks.len();
    assert!(could > 8, "otherwise this proves nothing: {could}");
    assert!(asked >= 1 && asked <= could / 4, "asked {asked} times for {could} chunks");
}
