//! Both ends over TLS, as it should be and not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use herring_blob::{BlobId, Pieces};
use herring_http_api::client::{ApiClient, Ask, ClientError, PeerClient, PeerConfig, PeerError};
use herring_http_api::peer::{Asker, ChunkRequest};
use herring_http_api::server::{Server, ServerConfig};
use herring_http_api::tls::{ClientTls, Identity, ServerTls, TlsError};
use herring_http_api::types::NodeUsage;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::audits::Events;
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
    Running::with(fake, server_tls(&authority.issue("n1"), Some(authority.ca()))).await
}

fn peers(ca: &Path, own: Option<&Pair>) -> PeerClient {
    let tls = ClientTls::load(ca, own.map(|pair| (pair.cert.as_path(), pair.key.as_path()))).unwrap();
    PeerClient::new(PeerConfig { tls: Some(tls), ..PeerConfig::patient() })
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
    let client = peers(&authority.ca(), Some(&authority.issue("n2")));
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
    let usage = peers(&authority.ca(), Some(&authority.issue("n2"))).usage(server.addr, &ask()).await.unwrap();
    assert_eq!(usage, NodeUsage { bytes_used: 1, bytes_capacity: 2, ..NodeUsage::default() });
}

#[tokio::test]
async fn where_nobody_is_asked_for_a_certificate_all_are_peers() {
    let authority = Authority::new();
    let server = Running::with(&Fake::default(), server_tls(&authority.issue("n2"), None)).await;
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
        let why = refusal(peers(&ours.ca(), Some(&theirs.issue("n2"))), &server).await;
        assert!(why.starts_with("it refused the certificate of this side"), "{why}");
        let told = people(&server, &theirs.ca()).cluster().await.unwrap_err().to_string();
        assert!(told.contains("not of the authority"), "{told}");
    }
    let why = refusal(peers(&ours.ca(), Some(&ours.issue_expired("n2"))), &server).await;
    assert!(why.starts_with("it refused the certificate of this side"), "{why}");
}

#[tokio::test]
async fn a_certificate_counts_for_its_time_and_its_address() {
    let authority = Authority::new();
    let cases = [
        (authority.issue_expired("n1"), "has expired"),
        (authority.issue_early("n1"), "is not good yet"),
        (authority.issue_for(&["n1", "10.0.0.7"]), "its certificate is for n1, 10.0.0.7, not for 127.0.0.1"),
    ];
    for (pair, expected) in cases {
        let server = Running::with(&Fake::default(), server_tls(&pair, None)).await;
        let why = refusal(peers(&authority.ca(), None), &server).await;
        assert!(why.contains(expected), "{why}");
    }
}

/// Who is known to be there must be there, and its certificate needs no address.
#[tokio::test]
async fn a_peer_is_who_its_certificate_says() {
    let authority = Authority::new();
    let server = Running::with(&Fake::default(), server_tls(&authority.issue_for(&["n1"]), Some(authority.ca()))).await;
    let client = peers(&authority.ca(), Some(&authority.issue_for(&["n2"])));
    let why = refusal(client.clone(), &server).await;
    assert_eq!(why, "its certificate is for n1, not for 127.0.0.1");
    client.members([(server.addr, "n1".to_owned())].into());
    client.usage(server.addr, &ask()).await.unwrap();
    // The connection that is open is another node's now.
    client.members([(server.addr, "n3".to_owned())].into());
    assert_eq!(refusal(client.clone(), &server).await, "its certificate is for n1, not for n3");
    client.members([(server.addr, "no name".to_owned())].into());
    assert!(refusal(client, &server).await.contains("no name"));
}

#[tokio::test]
async fn who_asks_as_another_node_is_refused() {
    let authority = Authority::new();
    let server = mutual(&Fake::default(), &authority).await;
    let told = async |names: &[&str], from: &str| {
        let asker = Asker { from: from.into(), background: false };
        let client = peers(&authority.ca(), Some(&authority.issue_for(names)));
        match client.usage(server.addr, &Ask { asker, ..ask() }).await {
            Err(PeerError::Refused { status: 403, detail }) => Some(detail),
            Ok(_) => None,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(told(&["n9"], "n9").await, None);
    assert_eq!(told(&["host.example", "n9"], "n9").await, None);
    let why = told(&["n9", "10.0.0.9"], "n1").await.unwrap();
    assert!(why.contains("is for n9, 10.0.0.9, and not for \"n1\""), "{why}");
    // Names of certificates are names of hosts, ids are not.
    for from in ["N9", "n9.", "10.0.0.9", ""] {
        assert!(told(&["n9", "10.0.0.9"], from).await.is_some(), "{from}");
    }
    assert!(told(&["*.example"], "n9.example").await.is_some());
    assert!(told(&["10.0.0.9"], "n9").await.unwrap().contains("is for 10.0.0.9, and not for"));
}

/// The wire without our client: who says nothing of itself, or several things.
#[tokio::test]
async fn a_peers_question_says_whose_it_is() {
    let authority = Authority::new();
    let server = mutual(&Fake::default(), &authority).await;
    let own = authority.issue("n9");
    let asked = async |headers: &str| {
        let request =
            format!("GET /peer/v1/usage HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nherring-hop: 1\r\n{headers}\r\n");
        over_tls(&server, &authority.ca(), Some(&own), &request).await
    };
    assert!(asked("herring-from: n9\r\n").await.starts_with("HTTP/1.1 200 "));
    for headers in ["", "herring-from: n1\r\n", "herring-from: é\r\n", "herring-from: n1\r\nherring-from: n9\r\n"] {
        let answer = asked(headers).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("is for n9, 127.0.0.1"), "{headers}: {answer}");
    }
}

/// What is answered to one request that is written as it stands.
async fn over_tls(server: &Running, ca: &Path, own: Option<&Pair>, request: &str) -> String {
    let mut roots = RootCertStore::empty();
    CertificateDer::pem_file_iter(ca).unwrap().for_each(|ca| roots.add(ca.unwrap()).unwrap());
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into()).with_protocol_versions(&[&TLS13]);
    let builder = builder.unwrap().with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_file_iter(&own.cert).unwrap().collect::<Result<_, _>>().unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&own.key).unwrap()).unwrap()
        }
    };
    let socket = TcpStream::connect(server.addr).await.unwrap();
    let name = ServerName::IpAddress(server.addr.ip().into());
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn identity(pair: &Pair, ca: &Path) -> Identity {
    Identity::read(&pair.cert, &pair.key, ca).unwrap()
}

/// A node of this identity, and how it is asked.
async fn node(fake: &Fake, identity: &Identity) -> Running {
    Running::with(fake, ServerConfig { tls: Some(identity.server().clone()), ..ServerConfig::default() }).await
}

/// A peer with tickets of its own, so that handshakes are full.
async fn usage(identity: &Identity, server: &Running, whom: &str) -> Result<NodeUsage, PeerError> {
    let client = PeerClient::new(PeerConfig { tls: Some(identity.client().clone()), ..PeerConfig::patient() });
    client.members([(server.addr, whom.to_owned())].into());
    client.usage(server.addr, &ask()).await
}

/// Neither a body that flows nor those who come next notice.
#[tokio::test]
async fn a_certificate_is_replaced_under_open_connections() {
    let bytes = noise(64 << 20);
    let (fake, id) = Fake::with(bytes.clone());
    let authority = Authority::new();
    let own = identity(&authority.issue("n1"), &authority.ca());
    let server = node(&fake, &own).await;
    let (_, mut body) = people(&server, &authority.ca()).get(id, None).await.unwrap();
    let mut whole = body.next().await.unwrap().unwrap().to_vec();

    own.server().replace(identity(&authority.issue_for(&["renamed", "127.0.0.1"]), &authority.ca()).server());
    let peer = identity(&authority.issue("n2"), &authority.ca());
    assert!(usage(&peer, &server, "n1").await.unwrap_err().to_string().contains("its certificate is for renamed, 127.0.0.1"));
    usage(&peer, &server, "renamed").await.unwrap();

    while let Some(piece) = body.next().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    assert!(whole == bytes);
}

/// Both sides: who shows the client's certificate is another then.
#[tokio::test]
async fn what_a_client_shows_is_replaced() {
    let authority = Authority::new();
    let server = mutual(&Fake::default(), &authority).await;
    let own = identity(&authority.issue("n9"), &authority.ca());
    assert!(matches!(usage(&own, &server, "n1").await, Err(PeerError::Refused { status: 403, .. })));
    own.client().replace(identity(&authority.issue("n2"), &authority.ca()).client());
    usage(&own, &server, "n1").await.unwrap();
}

/// One root, both, the other: who is trusted at each step, also by a ticket of an earlier one.
#[tokio::test]
async fn authorities_are_replaced() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let (old, new) = (Authority::named("old"), Authority::named("new"));
    let both = old.ca_with(&new);
    let own = identity(&old.issue("n1"), &old.ca());
    let server = node(&Fake::default(), &own).await;
    let of_old = identity(&old.issue("n2"), &both);
    let of_new = identity(&new.issue("n2"), &both);
    usage(&of_old, &server, "n1").await.unwrap();
    assert!(usage(&of_new, &server, "n1").await.is_err());

    own.server().replace(identity(&old.issue("n1"), &both).server());
    usage(&of_new, &server, "n1").await.unwrap();
    usage(&of_old, &server, "n1").await.unwrap();
    // A new certificate alone: those who were here come back at half the price.
    own.server().replace(identity(&new.issue("n1"), &both).server());
    usage(&of_old, &server, "n1").await.unwrap();
    usage(&of_new, &server, "n1").await.unwrap();

    own.server().replace(identity(&new.issue("n1"), &new.ca()).server());
    usage(&of_new, &server, "n1").await.unwrap();
    let why = usage(&of_old, &server, "n1").await.unwrap_err().to_string();
    assert!(why.contains("it refused the certificate of this side"), "{why}");
    server.stop().await;
    let text = recorder.handle().render();
    for (kind, count) in [("full", 4), ("resumed", 2), ("failed", 2)] {
        let line = format!("herring_http_tls_handshakes_total{{kind=\"{kind}\"}} {count}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

fn keeping(identity: &Identity, server: &Running) -> PeerClient {
    let client = PeerClient::new(PeerConfig { tls: Some(identity.client().clone()), ..PeerConfig::patient() });
    client.members([(server.addr, "n1".to_owned())].into());
    client
}

/// A new authority for all others, then the old one taken away: on the connections that are open too.
#[tokio::test]
async fn a_node_that_is_thrown_out_is_out_at_once() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let (events, _recording) = Events::record();
    let (old, new) = (Authority::named("old"), Authority::named("new"));
    let both = old.ca_with(&new);
    let bytes = noise(64 << 20);
    let (fake, id) = Fake::with(bytes.clone());
    let own = identity(&old.issue("n1"), &both);
    let server = node(&fake, &own).await;
    let (thrown, stays) = (identity(&old.issue("n9"), &both), identity(&new.issue("n2"), &both));
    let (bad, good) = (keeping(&thrown, &server), keeping(&stays, &server));
    let ask = |from: &str| Ask { asker: Asker { from: from.into(), background: false }, ..ask() };
    bad.usage(server.addr, &ask("n9")).await.unwrap();
    good.usage(server.addr, &ask("n2")).await.unwrap();
    let config = PeerConfig { tls: Some(thrown.client().clone()), ..PeerConfig::patient() };
    let admin = ApiClient::with_config(&format!("https://{}", server.addr), &config).unwrap();
    let (_, mut body) = admin.get(id, None).await.unwrap();
    let mut whole = body.next().await.unwrap().unwrap().to_vec();

    own.server().replace(identity(&new.issue("n1"), &new.ca()).server());
    let refused = bad.usage(server.addr, &ask("n9")).await.unwrap_err();
    let is_told = |detail: &str| detail.contains("for n9, 127.0.0.1, is not of an authority that is trusted here now");
    assert!(matches!(&refused, PeerError::Refused { status: 403, detail } if is_told(detail)), "{refused}");
    let gone = bad.usage(server.addr, &ask("n9")).await.unwrap_err().to_string();
    assert!(gone.contains("connect again") || gone.contains("refused") || gone.contains("not of the authority"), "{gone}");
    // Nor is it an admin any more; what it was reading comes to its end.
    assert!(admin.drain().await.is_err());
    assert!(!*fake.drains.lock().unwrap());
    while let Some(piece) = body.next().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    assert!(whole == bytes);
    good.usage(server.addr, &ask("n2")).await.unwrap();
    drop((bad, good, admin));
    server.stop().await;
    let (text, told) = (recorder.handle().render(), events.audits());
    assert!(text.contains("herring_http_auth_failures_total{reason=\"certificate\"}"), "{text}");
    assert!(told.iter().any(|told| told.contains("who=node n9") && told.contains("/peer/v1/usage status=403")), "{told:?}");
}

/// Where what it shows was replaced, a client asks on a new connection, and what is under way on the old one goes on.
#[tokio::test]
async fn a_client_that_was_replaced_asks_nothing_more_on_its_old_connections() {
    let (old, new) = (Authority::named("old"), Authority::named("new"));
    let both = old.ca_with(&new);
    let bytes = noise(64 << 20);
    let (fake, id) = Fake::with(bytes.clone());
    let (one, own) = (identity(&old.issue("n1"), &both), identity(&old.issue("n2"), &both));
    let server = node(&fake, &one).await;
    let client = keeping(&own, &server);
    client.usage(server.addr, &ask()).await.unwrap();
    let config = PeerConfig { tls: Some(own.client().clone()), ..PeerConfig::patient() };
    let reader = ApiClient::with_config(&format!("https://{}", server.addr), &config).unwrap();
    let (_, mut body) = reader.get(id, None).await.unwrap();
    let mut whole = body.next().await.unwrap().unwrap().to_vec();

    // As each node does, one after the other: a certificate of the new authority, and then the old one away.
    own.client().replace(identity(&new.issue("n2"), &both).client());
    one.server().replace(identity(&new.issue("n1"), &new.ca()).server());
    client.usage(server.addr, &ask()).await.unwrap();
    while let Some(piece) = body.next().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    assert!(whole == bytes);
    // A server of an authority that is not trusted any more is not asked, though the connection is open.
    own.client().replace(identity(&old.issue("n2"), &old.ca()).client());
    let why = client.usage(server.addr, &ask()).await.unwrap_err().to_string();
    assert!(why.contains("not of the authority that is trusted here"), "{why}");
}

#[tokio::test]
async fn what_peers_are_refused_and_what_they_delete_is_told() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let (events, _recording) = Events::record();
    let (fake, id) = Fake::with("bytes");
    let authority = Authority::new();
    let server = mutual(&fake, &authority).await;
    let stranger = peers(&authority.ca(), None);
    for _ in 0..20 {
        assert!(matches!(stranger.usage(server.addr, &ask()).await, Err(PeerError::Refused { status: 403, .. })));
    }
    let client = peers(&authority.ca(), Some(&authority.issue("n2")));
    client.usage(server.addr, &ask()).await.unwrap();
    client.delete(server.addr, id, &ask()).await.unwrap();
    let told = events.audits();
    let refused = |told: &&String| told.contains("who=anyone") && told.ends_with("resource=/peer/v1/usage status=403");
    assert_eq!((told.iter().filter(refused).count(), told.len()), (10, 11), "{told:?}");
    assert!(told[10].contains("who=node n2 ") && told[10].ends_with(&format!("/peer/v1/blobs/{id} status=204")), "{told:?}");
    drop((stranger, client));
    server.stop().await;
    let text = recorder.handle().render();
    assert!(text.contains("herring_http_auth_failures_total{reason=\"peer\"} 20\n"), "{text}");
}

#[test]
fn an_identity_that_no_peer_would_believe_is_none() {
    let (ours, theirs) = (Authority::new(), Authority::named("theirs"));
    let why = |pair: &Pair, ca: &Path| Identity::read(&pair.cert, &pair.key, ca).unwrap_err().to_string();
    let pair = ours.issue("n1");
    assert!(why(&pair, &theirs.ca()).contains("is not of the authority in"));
    assert!(why(&pair, &Authority::new().ca()).contains("is not of the authority in"), "one of the same name");
    assert!(why(&ours.issue_expired("n1"), &ours.ca()).contains("expired on Wed, 01 Jan 2020 00:00:00 GMT"));
    assert!(why(&ours.issue_early("n1"), &ours.ca()).contains("is good from Sat, 01 Jan 4000"));
    let identity = identity(&pair, &ours.ca_with(&theirs));
    assert!(identity.card().is_for("n1") && !identity.card().is_for("N1") && !identity.card().is_for("127.0.0.1"));
    assert_eq!(identity.card().to_string(), "n1, 127.0.0.1");
    assert!(!format!("{identity:?}").to_lowercase().contains("key"));
}

#[tokio::test]
async fn who_speaks_in_clear_is_told_so() {
    let authority = Authority::new();
    let server = mutual(&Fake::default(), &authority).await;
    let raw = server.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let text = read_to_end(raw).await;
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("problem+json") && text.contains("https://"), "{text}");
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let told = client.cluster().await.unwrap_err();
    assert!(matches!(&told, ClientError::Problem(problem) if problem.detail.contains("--ca FILE")), "{told}");
    let peer = PeerClient::new(PeerConfig::patient()).usage(server.addr, &ask()).await.unwrap_err();
    assert!(matches!(peer, PeerError::Refused { status: 400, .. }), "{peer}");
}

#[tokio::test]
async fn who_speaks_tls_to_clear_text_is_told_so() {
    let authority = Authority::new();
    let server = Running::of(&Fake::default()).await;
    let why = refusal(peers(&authority.ca(), Some(&authority.issue("n2"))), &server).await;
    assert!(why.starts_with("it does not speak TLS there"), "{why}");
}

/// A ticket stands for the certificate that was shown when it was given.
#[tokio::test]
async fn who_comes_again_is_resumed_and_known() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let authority = Authority::new();
    let server = mutual(&Fake::default(), &authority).await;
    let own = authority.issue("n2");
    let tls = ClientTls::load(&authority.ca(), Some((&own.cert, &own.key))).unwrap();
    for _ in 0..3 {
        let client = PeerClient::new(PeerConfig { tls: Some(tls.clone()), ..PeerConfig::patient() });
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
    let impatient = ServerConfig { header_timeout: Duration::from_millis(20), ..server_tls(&authority.issue("n2"), None) };
    let server = Running::with(&Fake::default(), impatient).await;
    for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00", b"P"] {
        let text = read_to_end(server.raw(said).await).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
    let server = Running::with(&Fake::default(), server_tls(&authority.issue("n2"), None)).await;
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
    let (pair, other) = (authority.issue("n2"), authority.issue_for(&["10.0.0.7"]));
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
    let config = PeerConfig { congestion: Some("no such control".into()), ..PeerConfig::patient() };
    let client = ApiClient::with_config(&format!("http://{}", server.addr), &config).unwrap();
    assert_eq!(within(client.blob_info(id)).await.unwrap().id, BlobId::of(b"bytes"));
}

/// Handshakes that never end, and people who only look in, take no place of a node's.
#[tokio::test]
async fn a_nodes_connection_outlives_a_flood_of_others() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let authority = Authority::new();
    let config = ServerConfig { max_connections: 1, ..server_tls(&authority.issue("n1"), Some(authority.ca())) };
    let server = Running::with(&Fake::default(), config).await;
    let node = peers(&authority.ca(), Some(&authority.issue("n2")));
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
