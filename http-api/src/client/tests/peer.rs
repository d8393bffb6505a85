use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use herring_blob::{BlobHasher, BlobId, CHUNK_SIZE, Chunk, ChunkDigest, Manifest, ObjectRef, Pieces};
use http_body_util::BodyExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use uuid::Uuid;

use super::raw::{Raw, Script, frame, settings};
use super::server::{Reply, Server, With, problem, reply};
use super::{PATIENT, held};
use crate::client::{Ask, PeerClient, PeerConfig, PeerError, Piece};
use crate::peer::{
    Asker, BACKGROUND, ChunkRequest, DEADLINE, DIGEST, EPOCH, FROM, HOLDERS, HOP, PIECES, PROTOCOL, Urge, VERSION,
};
use crate::types::Presence;

const MS: Duration = Duration::from_millis(1);

fn client() -> PeerClient {
    PeerClient::new(PeerConfig::patient())
}

/// With a deadline that no test reaches, unless it says so.
fn ask() -> Ask {
    Ask { epoch: "e1".to_owned(), deadline: Duration::from_secs(60), asker: Asker { from: "n1".to_owned(), background: true } }
}

fn id() -> BlobId {
    BlobId::of(b"herring")
}

fn first_chunk() -> ChunkRequest {
    ChunkRequest::blob(id(), 0)
}

fn herring() -> Chunk {
    Chunk::of("herring".into(), CHUNK_SIZE)
}

/// What says which chunk `reply` is.
fn announced(reply: Reply, chunk: &Chunk) -> Reply {
    reply.with(DIGEST, chunk.digest()).with(PIECES, chunk.digests().to_hex())
}

fn chunk_reply(bytes: impl Into<Bytes>) -> Reply {
    let bytes = bytes.into();
    announced(reply(200, bytes.clone()), &Chunk::of(bytes, CHUNK_SIZE))
}

/// A chunk of `size` bytes, all of it.
async fn whole(client: &PeerClient, peer: SocketAddr, request: &ChunkRequest, size: u32, ask: &Ask) -> Result<Bytes, PeerError> {
    let mut stream = client.chunk(peer, request, Pieces::new(size, CHUNK_SIZE), PATIENT, ask).await?;
    let mut whole = Vec::new();
    while let Some(Piece { bytes: piece, .. }) = stream.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

async fn fetch(client: &PeerClient, peer: SocketAddr, size: u32) -> Result<Bytes, PeerError> {
    whole(client, peer, &first_chunk(), size, &ask()).await
}

#[tokio::test]
async fn a_chunk_comes_with_its_digests_and_the_request_with_its_headers() {
    let server = Server::start(|request| async move {
        let (head, _) = request.into_parts();
        assert_eq!(head.uri.path_and_query().unwrap().as_str(), format!("/peer/v1/blobs/{}/chunks/0?first=3&urge=insist", id()));
        assert_eq!((&head.headers[FROM], &head.headers[BACKGROUND]), (&"n1".parse().unwrap(), &"1".parse().unwrap()));
        assert_eq!((&head.headers[EPOCH], &head.headers[HOP]), (&"e1".parse().unwrap(), &"1".parse().unwrap()));
        assert_eq!(head.headers[VERSION], PROTOCOL.to_string());
        let left: u64 = head.headers[DEADLINE].to_str().unwrap().parse().unwrap();
        assert!((1..=60_000).contains(&left));
        chunk_reply("herring")
    })
    .await;
    let pieces = Pieces::new(7, CHUNK_SIZE);
    let request = ChunkRequest { first: 3, urge: Urge::Insist, ..first_chunk() };
    let mut stream = client().chunk(server.address, &request, pieces, PATIENT, &ask()).await.unwrap();
    assert_eq!(stream.digests(), Some(herring().digests()));
    assert_eq!(stream.next().await, Ok(Some(held(0, "herring"))));
    assert_eq!(stream.next().await, Ok(None));
}

#[tokio::test]
async fn a_busy_peer_names_others() {
    let busy = |holders: &'static str| async move {
        let server = Server::start(move |_| std::future::ready(problem(503, "busy").with(HOLDERS, holders))).await;
        fetch(&client(), server.address, 7).await.unwrap_err()
    };
    assert_eq!(busy("n3, n5").await, PeerError::Busy { holders: vec!["n3".into(), "n5".into()] });
    assert_eq!(busy("").await, PeerError::Busy { holders: Vec::new() });
}

#[tokio::test]
async fn an_objects_names_survive_the_query() {
    let object = ObjectRef { origin: "o&o".into(), key: "a b/ü?=#".into(), version: "\"W/1+2\"".into(), size: 7 };
    let server = Server::start(|request| async move {
        let query = request.uri().query().unwrap().to_owned();
        let pairs: HashMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        chunk_reply(["origin", "key", "version", "size", "chunk_size"].map(|name| pairs[name].clone()).join("|"))
    })
    .await;
    let request = ChunkRequest::object(object, 4, 1);
    let expected = "o&o|a b/ü?=#|\"W/1+2\"|7|4";
    let size = u32::try_from(expected.len()).unwrap();
    assert_eq!(whole(&client(), server.address, &request, size, &ask()).await.unwrap(), expected);
}

#[tokio::test]
async fn a_manifest_is_that_of_the_id() {
    let mut hasher = BlobHasher::new(4);
    hasher.chunk(b"herr");
    hasher.chunk(b"ing");
    let manifest = hasher.finish().unwrap();
    let json = serde_json::to_vec(&manifest).unwrap();
    let server = Server::start(move |_| std::future::ready(reply(200, json.clone()))).await;
    assert_eq!(client().manifest(server.address, id(), &ask()).await, Ok((manifest, false)));
    let other = client().manifest(server.address, BlobId::of(b"cod"), &ask()).await;
    assert!(matches!(other, Err(PeerError::Garbage(_))), "{other:?}");
}

#[tokio::test]
async fn an_upload_carries_its_bytes_digest_and_manifest() {
    let server = Server::start(|request| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path_and_query().unwrap().as_str();
        match (head.method.as_str(), path.rsplit('/').next().unwrap()) {
            ("PUT", "3?chunk_size=8") => {
                assert_eq!(head.headers[DIGEST], ChunkDigest::of(&body).to_string());
                assert_eq!(head.headers["content-length"], body.len().to_string());
            }
            ("POST", "commit") => {
                assert_eq!(serde_json::from_slice::<Manifest>(&body).unwrap().id(), BlobId::of(b""));
                return reply(200, r#"{"chunks":[[3,4]]}"#);
            }
            ("DELETE", _) => {}
            other => panic!("{other:?}"),
        }
        reply(204, "")
    })
    .await;
    let (client, upload, bytes) = (client(), Uuid::new_v4(), Bytes::from(vec![7; 3 << 20]));
    let manifest = Manifest::new(BlobId::of(b""), 0, 4, vec![]).unwrap();
    let segments = bytes.chunks(1_000_000).map(|segment| bytes.slice_ref(segment)).collect();
    let chunk = Chunk::known(Chunk::of(bytes.clone(), CHUNK_SIZE).digests().clone(), segments);
    assert_eq!(client.upload_chunk(server.address, upload, 8, 3, &chunk, &ask()).await, Ok(()));
    assert_eq!(client.commit_upload(server.address, upload, &manifest, None, &ask()).await, Ok(Presence::of([3])));
    assert_eq!(client.abort_upload(server.address, upload, &ask()).await, Ok(()));
}

#[tokio::test]
async fn a_refusal_says_which() {
    let server = Server::start(|request| async move {
        let status: u16 = request.headers()[EPOCH].to_str().unwrap().parse().unwrap();
        if status == 418 { reply(status, "short and stout") } else { problem(status, "because") }
    })
    .await;
    let client = client();
    let refused = async |status: u16| {
        let ask = Ask { epoch: status.to_string(), ..ask() };
        whole(&client, server.address, &first_chunk(), 7, &ask).await.unwrap_err()
    };
    assert_eq!(refused(404).await, PeerError::NotFound);
    assert_eq!(refused(409).await, PeerError::Changed("because".to_owned()));
    assert_eq!(refused(507).await, PeerError::Full("because".to_owned()));
    assert_eq!(refused(503).await, PeerError::Refused { status: 503, detail: "because".to_owned() });
    assert_eq!(refused(426).await, PeerError::Refused { status: 426, detail: "because".to_owned() });
    assert_eq!(refused(418).await, PeerError::Refused { status: 418, detail: "short and stout".to_owned() });
}

#[tokio::test]
async fn a_head_that_does_not_come_costs_the_deadline() {
    let server = Server::start(|_| std::future::pending()).await;
    let late = client().presence(server.address, id(), &Ask { deadline: 50 * MS, ..ask() }).await;
    assert_eq!(late, Err(PeerError::TimedOut(50)));
}

#[tokio::test]
async fn what_is_not_http_is_an_error() {
    let server = Raw::start(Script { hello: b"220 ftp.example.org ready\r\n".to_vec(), ..Script::default() }).await;
    let error = fetch(&client(), server.address, 7).await.unwrap_err();
    assert!(matches!(error, PeerError::Broken(_) | PeerError::Connect(_)), "{error:?}");
    assert!(server.accepts() <= 2);
}

#[tokio::test]
async fn a_peer_whose_process_stops_fails_what_is_under_way() {
    let server = Raw::start(Script { hello: settings(), ..Script::default() }).await;
    let client = PeerClient::new(PeerConfig { ping_interval: 20 * MS, ping_timeout: 3000 * MS, ..PeerConfig::patient() });
    let error = fetch(&client, server.address, 7).await.unwrap_err();
    assert!(matches!(&error, PeerError::Broken(_)), "{error:?}");
}

#[tokio::test]
async fn a_dead_peer_costs_one_dial() {
    let server = Raw::start(Script { hang_up: true, ..Script::default() }).await;
    let client = PeerClient::new(PeerConfig { redial_after: Duration::from_secs(600), ..PeerConfig::patient() });
    let asks = join_all((0..8).map(|_| fetch(&client, server.address, 7))).await;
    assert!(asks.iter().all(|asked| matches!(asked, Err(PeerError::Connect(_)))), "{asks:?}");
    let small = client.presence(server.address, id(), &ask()).await;
    assert!(matches!(&small, Err(PeerError::Connect(detail)) if detail.starts_with("failed ")), "{small:?}");
    assert_eq!(server.accepts(), 1);
}

#[tokio::test]
async fn a_peer_that_comes_back_is_dialled_again() {
    // Bound, so that nobody else is there, and never listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gone = socket.local_addr().unwrap();
    let client = PeerClient::new(PeerConfig { redial_after: Duration::ZERO, ..PeerConfig::patient() });
    for _ in 0..2 {
        let error = fetch(&client, gone, 7).await.unwrap_err();
        assert!(matches!(&error, PeerError::Connect(detail) if !detail.starts_with("failed ")), "{error:?}");
    }
}

#[tokio::test]
async fn a_black_hole_costs_the_deadline_and_one_dial() {
    // Nobody accepts: the kernel does, as for a stopped process.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = listener.local_addr().unwrap();
    let config = PeerConfig { ping_timeout: 500 * MS, redial_after: Duration::from_secs(600), ..PeerConfig::patient() };
    let client = PeerClient::new(config);
    let hurried = Ask { deadline: 10 * MS, ..ask() };
    assert_eq!(client.presence(peer, id(), &hurried).await, Err(PeerError::TimedOut(10)));
    // The dial goes on without the one who gave up, and tells the next.
    for _ in 0..2 {
        let error = client.presence(peer, id(), &ask()).await.unwrap_err();
        assert!(matches!(&error, PeerError::Connect(detail) if detail.contains("says nothing")), "{error:?}");
    }
    listener.accept().await.unwrap();
    let more = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(more.is_err(), "a second dial");
}

#[tokio::test]
async fn chunks_share_few_connections_and_wait_for_their_turn() {
    let (open, gate) = watch::channel(false);
    let (arrived, mut arrivals) = watch::channel(0);
    let arrived = Arc::new(arrived);
    let server = Server::start(move |request| {
        let (arrived, mut gate) = (arrived.clone(), gate.clone());
        async move {
            if request.uri().path().ends_with("presence") {
                return reply(200, r#"{"chunks":[]}"#);
            }
            arrived.send_modify(|count| *count += 1);
            gate.wait_for(|open| *open).await.unwrap();
            chunk_reply("herring")
        }
    })
    .await;
    let client = PeerClient::new(PeerConfig { bulk_connections: 2, bulk_streams: 2, ..PeerConfig::patient() });
    let fetches = join_all((0..12).map(|_| fetch(&client, server.address, 7)));
    let watcher = async {
        arrivals.wait_for(|&count| count == 4).await.unwrap();
        // Small requests pass by, and in their time no further chunk's request comes.
        for _ in 0..10 {
            client.presence(server.address, id(), &ask()).await.unwrap();
        }
        assert_eq!(*arrivals.borrow(), 4);
        open.send_replace(true);
    };
    let (fetched, ()) = tokio::join!(fetches, watcher);
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    assert_eq!(server.accepts(), 2 + 1, "two for chunks, one for small requests");
}

/// Disks flush for minutes; there are more commits than any kind of request has turns.
#[tokio::test]
async fn nothing_waits_behind_commits() {
    let (arrived, mut arrivals) = watch::channel(0);
    let arrived = Arc::new(arrived);
    let server = Server::start(move |request| {
        let arrived = arrived.clone();
        async move {
            match request.uri().path() {
                path if path.ends_with("commit") => {
                    arrived.send_modify(|count| *count += 1);
                    std::future::pending().await
                }
                path if path.ends_with("presence") => reply(200, r#"{"chunks":[]}"#),
                _ => chunk_reply("herring"),
            }
        }
    })
    .await;
    let client = client();
    let manifest = Manifest::new(BlobId::of(b""), 0, 4, vec![]).unwrap();
    let (peer, asked) = (server.address, ask());
    let commits = join_all((0..100).map(|_| client.commit_upload(peer, Uuid::nil(), &manifest, None, &asked)));
    let others = async {
        let all_turns = PeerConfig::default().commit_streams;
        arrivals.wait_for(|&count| count == all_turns).await.unwrap();
        client.presence(peer, id(), &ask()).await.unwrap();
        fetch(&client, peer, 7).await.unwrap();
        assert_eq!(*arrivals.borrow(), all_turns);
    };
    tokio::select! {
        committed = commits => panic!("{committed:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn a_presence_that_cannot_be_is_garbage() {
    let server = Server::start(|_| std::future::ready(reply(200, r#"{"chunks":[[4,6],[0,5]]}"#))).await;
    let garbage = client().presence(server.address, id(), &ask()).await;
    assert!(matches!(garbage, Err(PeerError::Garbage(_))), "{garbage:?}");
}

#[tokio::test]
async fn a_closed_connection_is_replaced() {
    let server = Server::start(|_| std::future::ready(chunk_reply("herring"))).await;
    let client = client();
    for round in 1..=20 {
        assert_eq!(fetch(&client, server.address, 7).await.unwrap(), "herring");
        assert_eq!(server.accepts(), round);
        server.hang_up();
        server.ended(round).await;
    }
}

/// Something under way keeps the connection open after its GOAWAY, so the client learns of it only by sending.
#[tokio::test]
async fn a_request_that_comes_too_late_goes_to_a_fresh_connection() {
    let (arrived, mut arrivals) = watch::channel(0);
    let arrived = Arc::new(arrived);
    let server = Server::start(move |request| {
        let (slow, arrived) = (request.headers()[EPOCH] == "slow", arrived.clone());
        async move {
            if slow {
                arrived.send_modify(|count| *count += 1);
                return std::future::pending().await;
            }
            chunk_reply("herring")
        }
    })
    .await;
    let client = PeerClient::new(PeerConfig { bulk_connections: 1, ..PeerConfig::patient() });
    let (slow, chunk) = (Ask { epoch: "slow".to_owned(), ..ask() }, first_chunk());
    let others = async {
        arrivals.wait_for(|&count| count == 1).await.unwrap();
        server.hang_up();
        while server.accepts() < 2 {
            assert_eq!(fetch(&client, server.address, 7).await.unwrap(), "herring");
        }
    };
    tokio::select! {
        slow = whole(&client, server.address, &chunk, 7, &slow) => panic!("{slow:?}"),
        () = others => {}
    }
}

/// The peer reads nothing, and its windows are wide open: the socket is full, and a polite goodbye would wait for ever.
#[tokio::test]
async fn a_connection_stuck_in_writing_ends_with_the_client() {
    let window = frame(8, 0, 0, &[0x7f, 0xff, 0, 0]);
    let settings = frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    let server = Raw::start(Script { hello: [settings, window].concat(), ..Script::default() }).await;
    let client = PeerClient::new(PeerConfig { ping_interval: Duration::from_secs(600), ..PeerConfig::patient() });
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let chunk = Chunk::known(herring().digests().clone(), vec![Bytes::from(vec![0; 64 << 20])]);
    let hurried = Ask { deadline: 100 * MS, ..ask() };
    let late = client.upload_chunk(server.address, Uuid::nil(), 4, 0, &chunk, &hurried).await;
    assert_eq!(late, Err(PeerError::TimedOut(100)));
    drop(client);
    // The accepting task and the one that plays the peer.
    while tasks() > 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_end_with_the_last_client_and_with_the_peer() {
    let server = Server::start(|_| std::future::ready(chunk_reply("herring"))).await;
    let (client, peer) = (client(), server.address);
    let clone = client.clone();
    // Also: a request can run in a task of its own.
    tokio::spawn(async move { fetch(&clone, peer, 7).await }).await.unwrap().unwrap();
    // Until then nobody said who is there.
    client.members([(peer, "n1".to_owned())].into());
    server.ended(1).await;
    fetch(&client, server.address, 7).await.unwrap();
    client.members([(peer, "n1".to_owned())].into());
    fetch(&client, server.address, 7).await.unwrap();
    assert_eq!(server.accepts(), 2);
    client.members([(peer, "n2".to_owned())].into());
    server.ended(2).await;
    fetch(&client, server.address, 7).await.unwrap();
    client.members(HashMap::new());
    server.ended(3).await;
    fetch(&client, server.address, 7).await.unwrap();
    drop(client);
    server.ended(4).await;
}

#[tokio::test]
async fn frames_are_of_a_mebibyte() {
    let body = Bytes::from(vec![1; 4 << 20]);
    let server = Server::start(move |_| std::future::ready(chunk_reply(body.clone()))).await;
    let route = crate::client::route::Route::new(server.address.to_string(), None, &PeerConfig::patient());
    let request = http::Request::get(format!("http://{}/", server.address));
    let request = request.body(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap();
    let answer = route.seat(crate::client::route::Turn::Bulk).await.send(request, PATIENT).await.unwrap();
    let sizes: Vec<usize> = answer.stream().map(|piece| piece.unwrap().len()).collect().await;
    assert_eq!(sizes.iter().sum::<usize>(), 4 << 20);
    assert_eq!(sizes.iter().max(), Some(&(1 << 20)), "{sizes:?}");
}
