//! Both ends over TLS, as it should be and not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use herring_blob::{BlobId, Pieces};
use herring_http_api::client::{ApiClient, Ask, ClientError, PeerClient, PeerConfig, PeerError};
use herring_http_api::peer::{Asker, ChunkRequest};
use herring_http_api::server::{Server, ServerConfig};
use herring_http_api::tls::{ClientTls, ServerTls, TlsError};
use herring_http_api::types::NodeUsage;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::authority::{Authority, Pair};
use crate::fake::{CHUNK, Fake, noise};
use crate::sockets::{Running, read_to_end, within};

fn ask() -> Ask {
    Ask { epoch: "e".into(), deadline: Duration::from_secs(60), asker: Asker { from: "n2".into(), background: false } }
}

fn server_tls(pair: &Pair, clients_ca: Option<PathBuf>) -> ServerConfig {
    let tls = ServerTls::load(&pair.cert, &pair.key, clients_ca.as_deref()).unwrap();
    ServerConfig { tls: Some(tls), ..ServerConfig::default() }
}

/// A node that asks its peers who they are.
async fn mutual(fake: &Fake, authority: &Authority) -> Running {
    Running::with(fake, server_tls(&authority.issue(), Some(authority.ca()))).await
}

fn peers(ca: &Path, own: Option<&Pair>) -> PeerClient {
    let tls = ClientTls::load(ca, own.map(|pair| (pair.cert.as_path(), pair.key.as_path()))).unwrap();
    PeerClient::new(PeerConfig { tls: Some(tls), ..PeerConfig::default() })
}

fn people(server: &Running, ca: &Path) -> ApiClient {
    let tls = Some(ClientTls::load(ca, None).unwrap());
    ApiClient::with_config(&format!("https://{}", server.addr), &PeerConfig { tls, ..PeerConfig::patient() }).unwrap()
}

/// Why a peer that is asked cannot be reached.
async fn refusal(client: PeerClient, server: &Running) -> String {
    match client.usage(server.addr, &ask()).await {
        Err(PeerError::Connect(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn chunks_come_whole() {
    let bytes = noise(5 * CHUNK as u64 / 2);
    let (fake, id) = Fake::with(bytes.clone());
    let authority = Authority::new();
    let server = mutual(&fake, &authority).await;
    let client = peers(&authority.ca(), Some(&authority.issue()));
    for index in 0..3 {
        let at = usize::try_from(index).unwrap() * CHUNK;
        let wanted = bytes.slice(at..bytes.len().min(at + CHUNK));
        let request = ChunkRequest::blob(id, index);
        let pieces = Pieces::new(u32::try_from(wanted.len()).unwrap(), u32::try_from(CHUNK).unwrap());
        let mut stream = client.chunk(server.addr, &request, pieces, Duration::from_secs(60), &ask()).await.unwrap();
        let mut whole = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            whole.extend_from_slice(&piece.bytes);
        }
        assert_eq!(Bytes::from(whole), wanted);
    }
}

#[tokio::test]
async fn people_need_no_certificate_and_peers_do() {
    let (fake, id) = Fake::with("bytes");
    let authority = Authority::new();
    let server = mutual(&fake, &authority).await;
    assert_eq!(people(&server, &authority.ca()).blob_info(id).await.unwrap().size, 5);
    let nobody = peers(&authority.ca(), None).usage(server.addr, &ask()).await.unwrap_err();
    assert!(matches!(&nobody, PeerError::Refused { status: 403, detail } if detail.contains("certificate")), "{nobody}");
    let usage = peers(&authority.ca(), Some(&authority.issue())).usage(server.addr, &ask()).await.unwrap();
    assert_eq!(usage, NodeUsage { bytes_used: 1, bytes_capacity: 2, custody: None });
}

#[tokio::test]
async fn where_nobody_is_asked_for_a_certificate_all_are_peers() {
    let authority = Authority::new();
    let server = Running::with(&Fake::default(), server_tls(&authority.issue(), None)).await;
    assert!(peers(&authority.ca(), None).usage(server.addr, &ask()).await.is_ok());
}

#[tokio::test]
async fn a_stranger_is_told_which_certificate_is_wrong() {
    let ours = Authority::new();
    let server = mutual(&Fake::default(), &ours).await;
    // Of the same name, and of another.
    for theirs in [Authority::new(), Authority::named("another swarm")] {
        let why = refusal(peers(&theirs.ca(), None), &server).await;
        assert!(why.starts_with("its certificate is not of the authority"), "{why}");
        let why = refusal(peers(&ours.ca(), Some(&theirs.issue())), &server).await;
        assert!(why.starts_with("it refused the certificate of this side"), "{why}");
        let told = people(&server, &theirs.ca()).cluster().await.unwrap_err().to_string();
        assert!(told.contains("not of the authority"), "{told}");
    }
    let why = refusal(peers(&ours.ca(), Some(&ours.issue_expired())), &server).await;
    assert!(why.starts_with("it refused the certificate of this side"), "{why}");
}

#[tokio::test]
async fn a_certificate_counts_for_its_time_and_its_address() {
    let authority = Authority::new();
    let cases =
        [(authority.issue_expired(), "has expired"), (authority.issue_for([10, 0, 0, 7].into()), "is for another address")];
    for (pair, expected) in cases {
        let server = Running::with(&Fake::default(), server_tls(&pair, None)).await;
        let why = refusal(peers(&authority.ca(), None), &server).await;
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn who_speaks_in_clear_is_told_so() {
    let authority = Authority::new();
    let server = mutual(&Fake::default(), &authority).await;
    let raw = server.raw(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    let text = read_to_end(raw).await;
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("problem+json") && text.contains("https://"), "{text}");
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let told = client.cluster().await.unwrap_err();
    assert!(matches!(&told, ClientError::Problem(problem) if problem.detail.contains("--ca FILE")), "{told}");
    let peer = PeerClient::new(PeerConfig::default()).usage(server.addr, &ask()).await.unwrap_err();
    assert!(matches!(peer, PeerError::Refused { status: 400, .. }), "{peer}");
}

#[tokio::test]
async fn who_speaks_tls_to_clear_text_is_told_so() {
    let authority = Authority::new();
    let server = Running::of(&Fake::default()).await;
    let why = refusal(peers(&authority.ca(), Some(&authority.issue())), &server).await;
    assert!(why.starts_with("it does not speak TLS there"), "{why}");
}

/// A ticket stands for the certificate that was shown when it was given.
#[tokio::test]
async fn who_comes_again_is_resumed_and_known() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let authority = Authority::new();
    let server = mutual(&Fake::default(), &authority).await;
    let own = authority.issue();
    let tls = ClientTls::load(&authority.ca(), Some((&own.cert, &own.key))).unwrap();
    for _ in 0..3 {
        let client = PeerClient::new(PeerConfig { tls: Some(tls.clone()), ..PeerConfig::default() });
        client.usage(server.addr, &ask()).await.unwrap();
    }
    refusal(peers(&Authority::new().ca(), None), &server).await;
    server.stop().await;
    let text = recorder.handle().render();
    for (kind, count) in [("full", 1), ("resumed", 2), ("failed", 1)] {
        let line = format!("herring_http_tls_handshakes_total{{kind=\"{kind}\"}} {count}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn who_begins_no_handshake_is_not_kept_and_not_waited_for() {
    let authority = Authority::new();
    let impatient = ServerConfig { header_timeout: Duration::from_millis(20), ..server_tls(&authority.issue(), None) };
    let server = Running::with(&Fake::default(), impatient).await;
    for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00", b"P"] {
        let text = read_to_end(server.raw(said).await).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
    let server = Running::with(&Fake::default(), server_tls(&authority.issue(), None)).await;
    let silent = server.raw(b"\x16").await;
    server.stop().await;
    assert_eq!(read_to_end(silent).await, "");
}

#[tokio::test]
async fn https_needs_an_authority_to_trust() {
    let told = ApiClient::new("https://127.0.0.1:7070").err().expect("nobody is trusted").to_string();
    assert!(told.contains("--ca FILE"), "{told}");
    assert!(ApiClient::new("http://127.0.0.1:7070").is_ok());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let (pair, other) = (authority.issue(), authority.issue_for([10, 0, 0, 7].into()));
    let none = authority.dir().join("none.pem");
    let broken = authority.dir().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    let server = |cert: &Path, key: &Path| ServerTls::load(cert, key, None).unwrap_err();
    assert!(matches!(server(&none, &pair.key), TlsError::Read { path, .. } if path == none));
    assert!(matches!(server(&pair.key, &pair.key), TlsError::Missing { path, what: "certificate", .. } if path == pair.key));
    assert!(matches!(server(&pair.cert, &pair.cert), TlsError::Missing { path, what: "private key", .. } if path == pair.cert));
    assert!(matches!(server(&broken, &pair.key), TlsError::Broken { path, .. } if path == broken));
    assert!(matches!(server(&pair.cert, &other.key), TlsError::Mismatch { cert, key } if cert == pair.cert && key == other.key));
    let client = ClientTls::load(&authority.ca(), Some((&pair.cert, &other.key))).unwrap_err();
    assert!(matches!(client, TlsError::Mismatch { .. }), "{client}");
    assert!(matches!(ClientTls::load(&pair.key, None).unwrap_err(), TlsError::Missing { .. }));
}

#[tokio::test]
async fn congestion_control_is_what_the_kernel_gives() {
    let bind = async |name: Option<&str>| {
        let config = ServerConfig { congestion: name.map(str::to_owned), ..ServerConfig::default() };
        Server::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap().congestion()
    };
    let default = bind(None).await;
    assert!(!default.is_empty());
    assert_eq!(bind(Some("no such control")).await, default, "it is told, and left");
    // Part of every kernel.
    assert_eq!(bind(Some("reno")).await, "reno");
    let (fake, id) = Fake::with("bytes");
    let server = Running::of(&fake).await;
    let config = PeerConfig { congestion: Some("no such control".into()), ..PeerConfig::default() };
    let client = ApiClient::with_config(&format!("http://{}", server.addr), &config).unwrap();
    assert_eq!(within(client.blob_info(id)).await.unwrap().id, BlobId::of(b"bytes"));
}

/// Handshakes that never end, and people who only look in, take no place of a node's.
#[tokio::test]
async fn a_nodes_connection_outlives_a_flood_of_others() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let authority = Authority::new();
    let config = ServerConfig { max_connections: 1, ..server_tls(&authority.issue(), Some(authority.ca())) };
    let server = Running::with(&Fake::default(), config).await;
    let node = peers(&authority.ca(), Some(&authority.issue()));
    node.usage(server.addr, &ask()).await.unwrap();
    for _ in 0..5 {
        let _silent = server.raw(b"\x16\x03\x01\x02\x00\x01\x00").await;
        people(&server, &authority.ca()).cluster().await.unwrap();
    }
    node.usage(server.addr, &ask()).await.unwrap();
    drop(node);
    server.stop().await;
    let text = recorder.handle().render();
    assert!(text.contains("herring_http_tls_handshakes_total{kind=\"full\"} 6\n"), "the node shook hands once:\n{text}");
    assert!(text.contains("herring_http_connections_ended_total{why=\"idle\"}"), "{text}");
}
