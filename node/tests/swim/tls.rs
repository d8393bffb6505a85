//! A swarm that speaks TLS.

use std::process::Command;
use std::sync::Arc;

use crate::authority::Authority;
use crate::swarm::{HERRING, Plan, Swarm, noise, request};

#[test]
fn a_blob_is_read_over_tls() {
    let authority = Some(Arc::new(Authority::new()));
    let swarm = Swarm::start(Plan { nodes: 2, replicas: 1, authority, ..Plan::default() });
    let bytes = noise(33 << 20, 18);
    let id = swarm.put(0, &bytes);
    for n in 0..2 {
        // Of nine chunks, each node has its share alone.
        assert!(swarm.get(n, id) == bytes);
        assert!(swarm.metric(n, "herring_swarm_bytes_fetched_total") > 0);
    }
    assert_eq!(swarm.ask(1, &["stat", &id.to_string()]).unwrap()["size"], bytes.len());
}

#[test]
fn who_does_not_speak_it_rightly_is_told_how() {
    let authority = Some(Arc::new(Authority::new()));
    let swarm = Swarm::start(Plan { nodes: 1, replicas: 1, authority, ..Plan::default() });
    let (status, answer) = request(swarm.nodes[0].http, "GET /v1/cluster HTTP/1.1", b"");
    assert!(status == 400 && answer.contains("--ca FILE"), "{answer}");
    let status = |node: String, ca: Option<&Authority>| {
        let mut command = Command::new(HERRING);
        command.args(["status", "--node", &node]);
        ca.into_iter().for_each(|authority| {
            command.env("HERRING_CA", authority.ca());
        });
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let (secure, clear) = (swarm.nodes[0].url(), format!("http://{}", swarm.nodes[0].http));
    assert!(status(secure.clone(), None).contains("--ca FILE"));
    assert!(status(clear, None).contains("--ca FILE"));
    assert!(status(secure, Some(&Authority::new())).contains("not of the authority"));
}
