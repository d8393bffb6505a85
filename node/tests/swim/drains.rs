use herring_blob::BlobId;
use herring_http_api::types::{Cluster, DrainState};
use rustix::process::Signal;

use crate::swarm::{Plan, Swarm, noise, request, wait_until};

impl Swarm {
    fn cluster(&self, n: usize) -> Cluster {
        self.block(async { self.api(n).cluster().await }).unwrap()
    }

    /// How `of` is, as node `n` sees it.
    fn state(&self, n: usize, of: &str) -> Option<String> {
        self.cluster(n).members.into_iter().find(|member| member.id == of).map(|member| member.state)
    }
}

#[test]
fn a_drained_node_serves_reads_and_can_be_stopped() {
    let mut swarm = Swarm::start(Plan::default());
    let blobs: Vec<Vec<u8>> = (0..4).map(|n| noise(3 << 20, n)).collect();
    let ids: Vec<BlobId> = blobs.iter().map(|bytes| swarm.put(0, bytes)).collect();
    let drained = swarm.ask(0, &["drain"]).unwrap();
    assert_eq!(drained["state"], "drained");
    assert_eq!((&drained["left_chunks"], &drained["left_bytes"]), (&0.into(), &0.into()));
    wait_until("the others to hear of it", || swarm.state(1, "n1").as_deref() == Some("draining"));
    let (status, answer) = request(swarm.nodes[0].http, "GET /readyz HTTP/1.1", b"");
    assert!(status == 503 && answer.contains("draining"), "{answer}");
    assert_eq!(request(swarm.nodes[0].http, "GET /healthz HTTP/1.1", b"").0, 200);
    assert!(ids.iter().zip(&blobs).all(|(id, bytes)| swarm.get(0, *id) == *bytes), "it serves reads");
    let late = swarm.put(0, b"put through a node that leaves");
    assert_eq!(swarm.nodes[0].end(Signal::TERM).code(), Some(0));
    wait_until("it to be gone", || swarm.state(1, "n1").is_none());
    assert!(!swarm.cluster(1).missing.iter().any(|id| id == "n1"), "who left as he should is not missed");
    assert!(ids.iter().zip(&blobs).all(|(id, bytes)| (1..3).all(|n| swarm.get(n, *id) == *bytes)));
    assert_eq!(swarm.get(2, late), b"put through a node that leaves");
    swarm.launch(0);
    swarm.wait_for_members(3);
    assert_eq!(swarm.block(async { swarm.api(0).drained().await }).unwrap().state, DrainState::No, "it takes part again");
}

#[test]
fn a_drain_is_taken_back_and_does_not_keep_a_node_from_stopping() {
    let mut swarm = Swarm::start(Plan::default());
    let before = swarm.wait_for_members(3);
    swarm.block(async { swarm.api(0).drain().await }).unwrap();
    wait_until("the others to hear of it", || swarm.state(1, "n1").as_deref() == Some("draining"));
    assert_eq!(swarm.ask(0, &["drain", "--cancel"]).unwrap()["state"], "no");
    assert_eq!(swarm.wait_for_members(3), before);
    swarm.block(async { swarm.api(0).drain().await }).unwrap();
    assert_eq!(swarm.nodes[0].end(Signal::TERM).code(), Some(0));
}

#[test]
fn who_is_alone_cannot_drain_and_who_dies_is_missing() {
    let mut swarm = Swarm::start(Plan { nodes: 2, ..Plan::default() });
    wait_until("each to say what it keeps", || {
        let whole = swarm.cluster(0);
        !whole.degraded && whole.missing.is_empty() && whole.members.iter().all(|member| member.custody.is_some())
    });
    swarm.nodes[1].kill();
    wait_until("it to be missed", || swarm.cluster(0).missing == ["n2"]);
    assert!(swarm.cluster(0).degraded);
    wait_until("it to be gone", || swarm.state(0, "n2").is_none());
    let ready = swarm.ask(0, &["status", "--ready"]).expect("readiness is about this node alone");
    assert_eq!(ready["but"], "missing n2");
    let refused = swarm.ask(0, &["drain"]).unwrap_err();
    assert!(refused.contains("no other node"), "{refused}");
}

#[test]
fn a_put_says_how_many_keep_it_and_how_many_confirm() {
    let swarm = Swarm::start(Plan::default());
    let file = swarm.nodes[0].dir.join("file");
    std::fs::write(&file, noise(100, 1)).unwrap();
    let put = |more: &[&str]| swarm.ask(0, &[&["put", file.to_str().unwrap()], more].concat());
    assert_eq!(put(&["--replicas", "2", "--ack", "2"]).unwrap()[0]["replicas"], 2);
    assert!(put(&["--replicas", "1", "--ack", "2"]).unwrap_err().contains("than keep it, 1"));
    assert!(put(&["--ack", "3"]).unwrap_err().contains("than keep it, 2"), "the node knows how many there are");
    assert!(put(&["--replicas", "0"]).unwrap_err().contains("from 1 to 200"));
    let (status, answer) = request(swarm.nodes[0].http, "POST /v1/blobs?replicas=2&ack=3 HTTP/1.1", b"bytes");
    assert!(status == 400 && answer.contains("application/problem+json"), "{answer}");
}
