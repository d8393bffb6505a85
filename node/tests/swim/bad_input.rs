use std::process::Command;

use herring_blob::BlobId;

use crate::swarm::{HERRING, Plan, Swarm, free_port, noise, request, wait_until};

#[test]
fn bad_requests_get_their_status_and_keep_nothing() {
    let swarm = Swarm::start(Plan::default());
    let id = swarm.put(0, b"twelve bytes");
    let other = BlobId::of(b"something else");
    let cases = [
        (format!("GET /v1/blobs/{other} HTTP/1.1"), &b""[..], 404, "not-found"),
        ("GET /v1/blobs/xyz HTTP/1.1".into(), b"", 400, "bad-request"),
        (format!("GET /v1/blobs/{id} HTTP/1.1\r\nRange: bytes=12-"), b"", 416, "range"),
        (format!("PUT /v1/blobs/{other} HTTP/1.1"), b"not those bytes", 422, "mismatch"),
        ("GET /v1/origins/none/key HTTP/1.1".into(), b"", 404, "not-found"),
        ("GET /nothing/here HTTP/1.1".into(), b"", 404, "not-found"),
        ("PATCH /v1/blobs HTTP/1.1".into(), b"", 405, "method"),
    ];
    for (head, body, status, kind) in cases {
        let (got, answer) = request(swarm.nodes[1].http, &head, body);
        assert_eq!(got, status, "{head}: {answer}");
        assert!(answer.contains("application/problem+json") && answer.contains(kind), "{head}: {answer}");
    }
    for n in 0..3 {
        assert_eq!(
            request(swarm.nodes[n].http, &format!("HEAD /v1/blobs/{other} HTTP/1.1"), b"").0,
            404,
            "a mismatch keeps nothing"
        );
        let uploads = swarm.nodes[n].dir.join("data/uploads");
        wait_until("the uploads of the failed put to be dropped", || std::fs::read_dir(&uploads).unwrap().next().is_none());
    }
}

#[test]
fn a_full_disk_is_507_and_what_was_there_stays() {
    let swarm = Swarm::start(Plan { capacity: "24MiB", ..Plan::default() });
    let bytes = noise(10 << 20, 1);
    let id = swarm.put(0, &bytes);
    let large = noise(80 << 20, 2);
    let (status, answer) = request(swarm.nodes[0].http, "POST /v1/blobs HTTP/1.1", &large);
    assert_eq!(status, 507, "{answer}");
    assert!((0..3).all(|n| swarm.get(n, id) == bytes));
    assert_eq!(request(swarm.nodes[1].http, &format!("HEAD /v1/blobs/{} HTTP/1.1", BlobId::of(&large)), b"").0, 404);
}

fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(HERRING).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_be_is_told_in_one_sentence_before_anything_is_bound() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let cases = [
        (vec!["--replicas", "0"], "replicas"),
        (vec!["--origin", "a=ftp://host/x"], "scheme"),
        (vec!["--origin", "a=file:///no/such/directory"], "/no/such/directory"),
        (vec!["--listen", "0.0.0.0:7070", "--advertise", "127.0.0.1:7070"], "--insecure"),
        (vec!["--config", "/no/such/file"], "/no/such/file"),
        (vec!["--tls-cert", "c.pem"], "--tls-key"),
        (vec!["--tls-cert", "/no/such/c.pem", "--tls-key", "/no/such/k.pem", "--tls-ca", "/no/such/ca.pem"], "/no/such/k.pem"),
    ];
    for (args, named) in cases {
        let (code, stderr) = refused(&[&["node", "--data-dir", data], &args[..]].concat());
        assert!(matches!(code, Some(1 | 2)), "{args:?} ended with {code:?}: {stderr}");
        assert!(stderr.contains(named) && stderr.trim().lines().count() == 1, "{args:?}: {stderr}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let (code, stderr) = refused(&["node", "--data-dir", dir.path().to_str().unwrap(), "--listen", &address]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
}

#[test]
fn two_nodes_do_not_share_a_directory() {
    let swarm = Swarm::start(Plan { nodes: 1, replicas: 1, ..Plan::default() });
    let data = swarm.nodes[0].dir.join("data");
    let (listen, gossip) = (free_port().to_string(), free_port().to_string());
    let (code, stderr) = refused(&["node", "--data-dir", data.to_str().unwrap(), "--listen", &listen, "--gossip", &gossip]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(data.to_str().unwrap()), "{stderr}");
}
