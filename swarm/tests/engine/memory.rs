//! The budget of memory bounds what is held, and stops nobody for good.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use herring_blob::{BlobId, ByteRange};
use herring_swarm::ReadError;
use tokio::time::sleep;

use crate::net::{CHUNK, CHUNK_LEN, Node, Setup, noise};

fn four_chunks(nodes: usize, replicas: usize) -> Setup {
    Setup::new(nodes, replicas).tune(|config| {
        config.memory = 4 * CHUNK as usize;
        config.peer_memory = 4 * CHUNK as usize;
    })
}

/// Who is told that too many wait comes again.
async fn get(node: &Node, id: BlobId) -> Vec<u8> {
    loop {
        match node.get(id).await {
            Err(ReadError::Overloaded { waited_ms: 0, .. }) => sleep(Duration::from_millis(5)).await,
            read => return read.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_puts_and_reads_share_four_chunks() {
    let net = four_chunks(3, 2).tune(|config| config.read_ahead = 4 * u64::from(CHUNK)).start().await;
    let old = noise(110, 10 * CHUNK_LEN);
    let id = net.nodes[0].put(&old).await.unwrap().stored.id;
    let turns = (0..32u64).map(|turn| {
        let (net, old) = (&net, &old);
        let node = &net.nodes[usize::try_from(turn).unwrap() % 3];
        async move {
            let bytes = noise(200 + turn, 6 * CHUNK_LEN + 1);
            let put = node.put(&bytes).await.unwrap();
            assert!(get(node, id).await == *old);
            assert!(get(&net.nodes[0], put.stored.id).await == bytes);
        }
    });
    join_all(turns).await;
}

#[tokio::test]
async fn slow_streams_do_not_wait_for_each_others_memory() {
    let net = four_chunks(2, 1).start().await;
    let reader = &net.nodes[1];
    let mut streams = Vec::new();
    for seed in 0.. {
        let bytes = noise(300 + seed, 2 * CHUNK_LEN);
        let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
        if net.holders(id, |entry| entry.has(0)) != [0].into() || net.holders(id, |entry| entry.has(1)) != [0].into() {
            continue;
        }
        let content = reader.swarm.open_blob(id).await.unwrap();
        streams.push((Box::pin(reader.swarm.stream(&content, ByteRange::new(0, content.size()))), bytes));
        if streams.len() == 4 {
            break;
        }
    }
    // Each has its first chunk, and all the memory is taken …
    for (stream, bytes) in &mut streams {
        assert!(stream.next().await.unwrap().unwrap() == bytes[..CHUNK_LEN]);
    }
    // … and given back for the second.
    let seconds = join_all(streams.iter_mut().map(|(stream, _)| stream.next()));
    let seconds = pin!(seconds).await;
    for (second, (_, bytes)) in seconds.into_iter().zip(&streams) {
        assert!(second.unwrap().unwrap() == bytes[CHUNK_LEN..]);
    }
}
