//! Chunks as they come, piece by piece, from servers that do as they like.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use herring_blob::{BlobId, Chunk, Pieces};
use http::Request;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::server::{Reply, Server, With, reply, streamed};
use super::{PATIENT, held};
use crate::client::{Ask, ChunkStream, PeerClient, PeerConfig, PeerError, Piece};
use crate::peer::{Asker, ChunkRequest, DIGEST, EPOCH, PIECES};

const CHUNK: u32 = 16 << 10;
const PIECE: usize = 1 << 10;

/// Four pieces, the last of them 5 bytes.
fn chunk() -> Chunk {
    Chunk::of((0..3 * PIECE + 5).map(|at| (at / 3).to_le_bytes()[0]).collect(), CHUNK)
}

fn pieces() -> Pieces {
    chunk().digests().pieces()
}

fn piece(index: u32) -> Bytes {
    chunk().slice(pieces().range(index))
}

fn bytes() -> Bytes {
    chunk().slice(0..chunk().len())
}

fn announced(reply: Reply) -> Reply {
    reply.with(DIGEST, chunk().digest()).with(PIECES, chunk().digests().to_hex())
}

/// The chunk's bytes from `start` on, and then `rest`, without saying how many they are.
fn body(start: Bytes, rest: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Reply {
    announced(streamed(stream::iter([Ok(start)]).chain(rest)))
}

/// What the test wants of the server.
fn wish(request: &Request<Incoming>) -> String {
    request.headers()[EPOCH].to_str().unwrap().to_owned()
}

async fn ask(client: &PeerClient, server: &Server, wish: &str) -> Result<ChunkStream, PeerError> {
    let request = ChunkRequest::blob(BlobId::of(b"herring"), 0);
    let ask = Ask { epoch: wish.to_owned(), deadline: Duration::from_secs(60), asker: Asker::default() };
    client.chunk(server.address, &request, pieces(), PATIENT, &ask).await
}

/// All that comes, and how it ends.
async fn drain(mut stream: ChunkStream) -> (Vec<u32>, Result<(), PeerError>) {
    let mut came = Vec::new();
    loop {
        match stream.next().await {
            Ok(Some(Piece { index, bytes, .. })) => {
                assert_eq!(bytes, piece(index));
                came.push(index);
            }
            Ok(None) => return (came, Ok(())),
            Err(error) => return (came, Err(error)),
        }
    }
}

fn client() -> PeerClient {
    PeerClient::new(PeerConfig::patient())
}

#[tokio::test]
async fn pieces_are_cut_from_whatever_frames_come() {
    let server = Server::start(|request| async move {
        let step: usize = wish(&request).parse().unwrap();
        let frames: Vec<_> = bytes().chunks(step).map(|frame| Ok(Bytes::copy_from_slice(frame))).collect();
        announced(streamed(stream::iter(frames)))
    })
    .await;
    for step in [7, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, CHUNK as usize] {
        let stream = ask(&client(), &server, &step.to_string()).await.unwrap();
        assert_eq!(stream.digests(), Some(chunk().digests()));
        assert_eq!(drain(stream).await, (vec![0, 1, 2, 3], Ok(())), "{step}");
    }
}

#[tokio::test]
async fn digests_that_do_not_make_the_chunks_are_garbage() {
    let server = Server::start(|request| async move {
        let (digest, digests) = (chunk().digest().to_string(), chunk().digests().to_hex());
        let other = Chunk::of(vec![1; bytes().len()].into(), CHUNK);
        let reply = reply(200, bytes());
        match wish(&request).as_str() {
            "no digest" => reply.with(PIECES, digests),
            "no digests" => reply.with(DIGEST, digest),
            "no hexadecimal digest" => reply.with(DIGEST, "herring").with(PIECES, digests),
            "another digest" => reply.with(DIGEST, other.digest()).with(PIECES, digests),
            "another's digests" => reply.with(DIGEST, digest).with(PIECES, other.digests().to_hex()),
            "one digest too few" => reply.with(DIGEST, digest).with(PIECES, &digests[64..]),
            _ => reply.with(DIGEST, digest).with(PIECES, digests.replace(|digit| digit != 'a', "z")),
        }
    })
    .await;
    let wishes =
        ["no digest", "no digests", "no hexadecimal digest", "another digest", "another's digests", "one digest too few"];
    for wish in wishes.into_iter().chain(["no hexadecimal digests"]) {
        let garbage = ask(&client(), &server, wish).await;
        assert!(matches!(garbage, Err(PeerError::Garbage(_))), "{wish}: {garbage:?}");
    }
}

#[tokio::test]
async fn a_chunk_of_another_length_is_garbage() {
    let server = Server::start(|request| async move {
        let all = bytes();
        match wish(&request).as_str() {
            "told short" => announced(reply(200, all.slice(1..))),
            "told long" => announced(reply(200, [&all[..], b"x"].concat())),
            "short" => body(all.slice(..PIECE), stream::iter([Ok(all.slice(PIECE..all.len() - 1))])),
            "empty" => announced(streamed(stream::empty())),
            "long" => body(all, stream::iter([Ok("x".into())])),
            _ => body([&all[..], b"x"].concat().into(), stream::empty()),
        }
    })
    .await;
    for wish in ["told short", "told long"] {
        let garbage = ask(&client(), &server, wish).await;
        assert!(matches!(garbage, Err(PeerError::Garbage(_))), "{wish}: {garbage:?}");
    }
    for (wish, whole) in
        [("short", vec![0, 1, 2]), ("empty", vec![]), ("long", vec![0, 1, 2, 3]), ("long in one", vec![0, 1, 2, 3])]
    {
        let (came, end) = drain(ask(&client(), &server, wish).await.unwrap()).await;
        assert_eq!(came, whole, "{wish}");
        assert!(matches!(end, Err(PeerError::Garbage(_))), "{wish}: {end:?}");
    }
}

#[tokio::test]
async fn a_body_that_pauses_or_breaks_off_is_broken_behind_its_first_pieces() {
    let server = Server::start(|request| async move {
        let start = bytes().slice(..PIECE + 1);
        match wish(&request).as_str() {
            "pause" => body(start, stream::pending()),
            _ => body(start, stream::iter([Err(io::Error::other("disk on fire"))])),
        }
    })
    .await;
    let client = PeerClient::new(PeerConfig { stall: Duration::from_millis(50), ..PeerConfig::patient() });
    let (came, end) = drain(ask(&client, &server, "pause").await.unwrap()).await;
    assert_eq!(came, [0]);
    assert!(matches!(end, Err(PeerError::Broken(_))), "{end:?}");
    // A reset may overtake what was sent before it.
    let end = match ask(&client, &server, "reset").await {
        Ok(stream) => drain(stream).await.1,
        Err(error) => Err(error),
    };
    assert!(matches!(end, Err(PeerError::Broken(_))), "{end:?}");
    assert_eq!(server.accepts(), 1, "one stream's end leaves the connection as it is");
}

/// The clock stands still once the head is here, so that it jumps to the first thing that is waited for.
#[tokio::test]
async fn the_deadline_covers_the_body() {
    let server = Server::start(|_| async { body(piece(0), stream::pending()) }).await;
    let hour = Duration::from_secs(3600);
    let client = PeerClient::new(PeerConfig { stall: hour, ping_interval: hour, ..PeerConfig::patient() });
    let mut stream = ask(&client, &server, "").await.unwrap();
    assert_eq!(stream.next().await, Ok(Some(held(0, piece(0)))));
    tokio::time::pause();
    assert_eq!(stream.next().await, Err(PeerError::TimedOut(60_000)));
}

#[tokio::test]
async fn the_first_piece_is_there_before_the_rest_is_sent() {
    let shown = Arc::new(Notify::new());
    let go_on = shown.clone();
    let server = Server::start(move |_| {
        let go_on = go_on.clone();
        let rest = stream::once(async move {
            go_on.notified().await;
            Ok(bytes().slice(PIECE..))
        });
        std::future::ready(body(piece(0), rest))
    })
    .await;
    let mut stream = ask(&client(), &server, "").await.unwrap();
    assert_eq!(stream.next().await, Ok(Some(held(0, piece(0)))));
    shown.notify_one();
    assert_eq!(drain(stream).await, (vec![1, 2, 3], Ok(())));
}

/// Whoever waits in a `select!` asks again, and has lost nothing.
#[tokio::test]
async fn an_asker_may_stop_waiting_and_ask_again() {
    let server = Server::start(|_| async {
        let frames: Vec<_> = bytes().chunks(7).map(|frame| Ok(Bytes::copy_from_slice(frame))).collect();
        announced(streamed(stream::iter(frames).then(|frame| async {
            tokio::task::yield_now().await;
            frame
        })))
    })
    .await;
    let mut stream = ask(&client(), &server, "").await.unwrap();
    let (mut came, mut given_up) = (0, 0);
    loop {
        match futures_util::poll!(pin!(stream.next())) {
            Poll::Ready(Ok(Some(next))) => assert_eq!(next, held(came, piece(came))),
            Poll::Ready(end) => break assert_eq!(end, Ok(None)),
            Poll::Pending => {
                given_up += 1;
                tokio::task::yield_now().await;
                continue;
            }
        }
        came += 1;
    }
    assert_eq!(came, 4);
    assert!(given_up > 0, "it never had to wait");
}

/// With one turn for chunks, the next one comes only if the dropped one gave its turn back.
#[tokio::test]
async fn a_stream_that_is_dropped_is_cancelled() {
    let cancelled = CancellationToken::new();
    let guard = Mutex::new(Some(cancelled.clone().drop_guard()));
    let server = Server::start(move |request| {
        let endless = (wish(&request) == "endless").then(|| guard.lock().unwrap().take());
        std::future::ready(match endless {
            Some(guard) => {
                let rest = stream::once(async move {
                    let _until_dropped = guard;
                    std::future::pending().await
                });
                body(piece(0), rest)
            }
            None => announced(reply(200, bytes())),
        })
    })
    .await;
    let client = PeerClient::new(PeerConfig { bulk_connections: 1, bulk_streams: 1, ..PeerConfig::patient() });
    let mut stream = ask(&client, &server, "endless").await.unwrap();
    assert_eq!(stream.next().await, Ok(Some(held(0, piece(0)))));
    assert!(!cancelled.is_cancelled());
    drop(stream);
    cancelled.cancelled().await;
    assert_eq!(drain(ask(&client, &server, "").await.unwrap()).await.1, Ok(()));
    assert_eq!(server.accepts(), 1);
}
