//! What is put on one node is read through every other, bit for bit.

use futures_util::TryStreamExt;
use herring_blob::{BlobId, ByteRange};
use herring_swarm::OpenError;

use crate::door::nobody;
use crate::net::{CHUNK, CHUNK_LEN, Net, Numbers, Setup, eventually, manifest_of, noise};
use crate::peer::Fault;

const SIZES: [usize; 6] = [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 9 * CHUNK_LEN + 17];

async fn all_sizes(nodes: usize, replicas: usize) {
    let net = Net::start(nodes, replicas).await;
    for (seed, size) in (0..).zip(SIZES) {
        let (bytes, writer) = (noise(seed, size), &net.nodes[size % nodes]);
        let put = writer.put(&bytes).await.unwrap();
        assert_eq!((put.created, put.stored.size, put.stored.replicas), (true, size as u64, replicas));
        assert_eq!(put.stored.id, BlobId::of(&bytes));
        net.assert_placed(&manifest_of(&writer.swarm.open_blob(put.stored.id).await.unwrap()));
        net.assert_readable(0..nodes, put.stored.id, &bytes).await;
        let again = net.nodes[0].put(&bytes).await.unwrap();
        assert_eq!((again.created, again.stored), (false, put.stored));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_with_one_replica() {
    all_sizes(3, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_with_two_replicas() {
    all_sizes(4, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_with_three_replicas() {
    all_sizes(5, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_where_all_own_all() {
    all_sizes(3, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_range_is_the_same_range_of_the_bytes() {
    let net = Setup::new(3, 1).tune(|config| config.read_ahead = 3 * u64::from(CHUNK)).start().await;
    let bytes = noise(7, 12 * CHUNK_LEN + 345);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    let mut numbers = Numbers(11);
    for turn in 0..150 {
        let node = &net.nodes[turn % 3];
        let content = node.swarm.open_blob(id).await.unwrap();
        let (start, len) = (numbers.below(bytes.len() as u64 + 100), numbers.below(3 * CHUNK_LEN as u64));
        let range = ByteRange::at(start, len);
        let within = range.clamp_to(bytes.len() as u64);
        let expected = &bytes[usize::try_from(within.start).unwrap().min(bytes.len())..usize::try_from(within.end).unwrap()];
        assert!(node.swarm.read(&content, range).await.unwrap() == expected, "read {range}");
        let pieces: Vec<_> = node.swarm.stream(&content, range).try_collect().await.unwrap();
        assert!(pieces.concat() == expected, "stream {range}");
    }
}

#[tokio::test]
async fn what_was_read_is_on_the_disk_and_nobody_is_asked_again() {
    let mut net = Net::start(3, 1).await;
    let bytes = noise(8, 5 * CHUNK_LEN);
    let id = net.nodes[0].put(&bytes).await.unwrap().stored.id;
    net.assert_readable(0..3, id, &bytes).await;
    let entry = net.nodes[0].store.get(&id.into()).unwrap();
    eventually("all is kept", || entry.is_complete()).await;
    for gone in 1..3 {
        net.nodes[gone].crash().await;
    }
    let content = net.nodes[0].swarm.open_blob(id).await.unwrap();
    let mut buffer = vec![0; bytes.len()];
    assert!(net.nodes[0].swarm.read_into_now(&content, 0, &mut buffer) && buffer == bytes);
}

#[tokio::test]
async fn a_blob_that_nobody_has_is_not_found_and_all_were_asked() {
    let net = Net::start(4, 2).await;
    let Err(OpenError::NotFound { tried, .. }) = net.nodes[0].swarm.open_blob(BlobId::of(b"never put")).await else {
        panic!("all answered, and nobody has it");
    };
    let mut asked: Vec<_> = tried.0.iter().map(|attempt| attempt.whom.as_str()).collect();
    asked.sort_unstable();
    assert_eq!(asked, ["n1", "n2", "n3"]);
}

#[tokio::test]
async fn who_did_not_answer_for_a_moment_is_asked_for_a_blob_again() {
    let net = Net::start(2, 1).await;
    net.publish(&net.without(&[1]));
    let id = net.nodes[0].put(b"something").await.unwrap().stored.id;
    net.publish(&net.members());
    let owner = &net.nodes[0].peer;
    owner.set(Fault::Refuse);
    let better = async {
        owner.until(|asked| asked.manifests > 0).await;
        owner.set(Fault::None);
    };
    let (opened, ()) = tokio::join!(net.nodes[1].swarm.open_blob(id), better);
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test]
async fn a_blob_is_not_said_to_be_missing_while_one_that_may_have_it_is_silent() {
    let net = Net::start(4, 2).await;
    net.detour(2, nobody().await);
    let Err(OpenError::Unavailable { tried, .. }) = net.nodes[0].swarm.open_blob(BlobId::of(b"never put")).await else {
        panic!("one did not answer");
    };
    assert_eq!(tried.0.len(), 3);
    assert!(tried.0.iter().any(|attempt| attempt.whom == "n2" && attempt.outcome.starts_with("cannot be reached")));
}
