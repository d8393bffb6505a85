//! A swarm that speaks TLS.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use herring_http_api::client::{Ask, PeerClient, PeerConfig, PeerError};
use herring_http_api::peer::Asker;
use herring_http_api::tls::ClientTls;

use crate::authority::{Authority, Pair};
use crate::swarm::{HERRING, Plan, Swarm, free_port, noise, request, wait_until};

#[test]
fn a_blob_is_read_over_tls() {
    let authority = Some(Arc::new(Authority::new()));
    let swarm = Swarm::start(Plan { nodes: 2, replicas: 1, authority, ..Plan::default() });
    let bytes = noise(33 << 20, 18);
    let id = swarm.put(0, &bytes);
    assert!((0..2).all(|n| swarm.get(n, id) == bytes));
    // Of nine chunks, each node has its share alone, unless one was passed by when they came.
    assert!((0..2).map(|n| swarm.metric(n, "herring_swarm_bytes_fetched_total")).sum::<u64>() > 0);
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

/// What node `n` says to one that shows `own` and calls itself `from`.
fn ask_as_peer(swarm: &Swarm, n: usize, own: Option<&Pair>, from: &str) -> Result<(), PeerError> {
    let own = own.map(|pair| (pair.cert.as_path(), pair.key.as_path()));
    let tls = ClientTls::load(swarm.nodes[n].ca.as_ref().unwrap(), own).unwrap();
    let client = PeerClient::new(PeerConfig { tls: Some(tls), ..PeerConfig::patient() });
    let asker = Asker { from: from.into(), background: false };
    let ask = Ask { epoch: "e".into(), deadline: Duration::from_secs(30), asker };
    swarm.block(async { client.usage(swarm.nodes[n].http, &ask).await }).map(drop)
}

#[test]
fn a_node_asks_in_its_own_name_alone() {
    let authority = Arc::new(Authority::new());
    let swarm = Swarm::start(Plan { nodes: 1, replicas: 1, authority: Some(authority.clone()), ..Plan::default() });
    let rogue = authority.issue("n9");
    ask_as_peer(&swarm, 0, Some(&rogue), "n9").unwrap();
    for (own, from, why) in [(Some(&rogue), "n1", "is for n9, 127.0.0.1, and not for"), (None, "n1", "showed none")] {
        let refused = ask_as_peer(&swarm, 0, own, from).unwrap_err();
        assert!(matches!(&refused, PeerError::Refused { status: 403, detail } if detail.contains(why)), "{refused}");
    }
    let foreign = ask_as_peer(&swarm, 0, Some(&Authority::new().issue("n9")), "n9").unwrap_err().to_string();
    assert!(foreign.contains("it refused the certificate of this side"), "{foreign}");
}

/// From one authority to another, by files alone: both are trusted, certificates are of the new one, the old one is trusted no more.
#[test]
fn certificates_and_authorities_are_replaced_while_all_is_read() {
    let (old, new) = (Arc::new(Authority::named("old")), Authority::named("new"));
    let mut swarm = Swarm::start(Plan { nodes: 2, replicas: 1, authority: Some(old.clone()), ..Plan::default() });
    let bytes = noise(9 << 20, 7);
    let id = swarm.put(0, &bytes);
    let both = old.ca_with(&new);
    // As all people have from the beginning.
    let people = old.dir().join("people.pem");
    std::fs::copy(&both, &people).unwrap();
    let ca = swarm.nodes[0].ca.replace(people.clone()).unwrap();
    swarm.nodes[1].ca = Some(people);
    let trusted = |peer: &Pair| (0..2).all(|n| ask_as_peer(&swarm, n, Some(peer), "n9").is_ok());
    let nobody = |peer: &Pair| (0..2).all(|n| matches!(ask_as_peer(&swarm, n, Some(peer), "n9"), Err(PeerError::Connect(_))));
    let (of_old, of_new) = (old.issue("n9"), new.issue("n9"));

    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let kept = swarm.api(1);
            while !stop.load(Ordering::Acquire) {
                // Over a connection that is older than all, and over new ones.
                assert_eq!(swarm.block(async { kept.blob_info(id).await }).unwrap().size, bytes.len() as u64);
                assert!((0..2).all(|n| swarm.get(n, id) == bytes));
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(nobody(&of_new));
        std::fs::rename(&both, &ca).unwrap();
        wait_until("the new authority to be trusted too", || trusted(&of_new));
        assert!(trusted(&of_old));
        for (n, node) in swarm.nodes.iter().enumerate() {
            let (own, renewed) = (node.own.as_ref().unwrap(), new.issue_until(&format!("n{}", n + 1), 3000));
            std::fs::rename(renewed.key, &own.key).unwrap();
            std::fs::rename(renewed.cert, &own.cert).unwrap();
        }
        let ends = |n| swarm.metric(n, "herring_tls_certificate_expiry_seconds");
        // The first second of the year 3000.
        wait_until("the new certificates to be shown", || (0..2).all(|n| ends(n) == 32_503_680_000));
        std::fs::copy(new.ca(), old.dir().join("new.pem")).unwrap();
        std::fs::rename(old.dir().join("new.pem"), &ca).unwrap();
        wait_until("the old authority to be trusted no more", || nobody(&of_old));
        assert!(trusted(&of_new));
        let before = reads.load(Ordering::Relaxed);
        wait_until("a whole read after all that", || reads.load(Ordering::Relaxed) > before + 1 || reader.is_finished());
        stop.store(true, Ordering::Release);
        reader.join().expect("no read failed");
    });

    swarm.nodes[0].kill();
    swarm.launch(0);
    swarm.wait_for_members(2);
    assert!(swarm.get(1, id) == bytes, "they believe each other on new connections");
}

#[test]
fn a_node_that_nobody_would_believe_does_not_start() {
    let (ours, theirs) = (Authority::new(), Authority::named("theirs"));
    let room = tempfile::tempdir().unwrap();
    let node = |pair: &Pair| {
        let mut command = Command::new(HERRING);
        command.args(["node", "--listen", &free_port().to_string(), "--gossip", &free_port().to_string()]);
        command.arg("--data-dir").arg(room.path()).arg("--tls-cert").arg(&pair.cert).arg("--tls-key").arg(&pair.key);
        command.arg("--tls-ca").arg(ours.ca()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let cases = [
        (ours.issue("n9"), "is for n9, 127.0.0.1, not for this node, n1"),
        (ours.issue_expired("n1"), "expired on Wed, 01 Jan 2020"),
        (ours.issue_early("n1"), "is good from"),
        (theirs.issue("n1"), "is not of the authority in"),
    ];
    for (pair, expected) in cases {
        let output = node(&pair).args(["--id", "n1"]).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && told.contains(expected), "{told}");
    }
    // Who has no name takes that of the certificate, and keeps it.
    let mut named = node(&ours.issue("n9")).stderr(Stdio::null()).spawn().unwrap();
    let kept = room.path().join("node-id");
    wait_until("the node to have a name", || std::fs::read_to_string(&kept).is_ok_and(|id| id == "n9"));
    named.kill().unwrap();
    named.wait().unwrap();
}
