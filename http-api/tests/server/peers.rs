use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use herring_blob::{BlobId, Chunk, ChunkDigest, Manifest};
use herring_http_api::peer::{DEADLINE, DIGEST, HOP, PIECES, PROTOCOL, VERSION};
use herring_http_api::types::{NodeUsage, Presence};
use std::io;

use crate::fake::{CHUNK, Fake};
use crate::{Answer, ask, get};

const UPLOAD: &str = "/peer/v1/uploads/67e55044-10b1-426f-9247-bb680e5fe0c8";

async fn peer(fake: &Fake, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let headers: Vec<_> = headers.iter().copied().chain([(HOP, "1")]).collect();
    ask(fake, method, uri, &headers, body).await
}

#[tokio::test]
async fn who_is_no_peer_or_asks_for_another_is_refused() {
    let fake = Fake::default();
    assert_eq!(get(&fake, "/peer/v1/usage", &[]).await.kind(), "bad-request");
    assert_eq!(get(&fake, "/peer/v1/usage", &[(HOP, "2")]).await.kind(), "bad-request");
    let usage: NodeUsage = serde_json::from_slice(&get(&fake, "/peer/v1/usage", &[(HOP, "1")]).await.body).unwrap();
    assert_eq!(usage, NodeUsage { bytes_used: 1, bytes_capacity: 2, ..NodeUsage::default() });
}

/// A swarm is renewed node by node: two versions side by side work, three do not.
#[tokio::test]
async fn who_is_a_version_apart_is_served_and_who_is_further_is_not() {
    let fake = Fake::default();
    let usage = async |version: u32| peer(&fake, "GET", "/peer/v1/usage", &[(VERSION, &version.to_string())], "").await;
    for version in [PROTOCOL - 1, PROTOCOL, PROTOCOL + 1] {
        assert_eq!(usage(version).await.status.as_u16(), 200, "{version}");
    }
    for (version, older) in [(PROTOCOL - 2, "you must be renewed"), (PROTOCOL + 2, "this node must be renewed")] {
        let refused = usage(version).await;
        assert_eq!((refused.status.as_u16(), refused.kind().as_str()), (426, "protocol"));
        assert!(refused.problem().detail.contains(older), "{}", refused.problem().detail);
    }
    assert_eq!(peer(&fake, "GET", "/peer/v1/usage", &[(VERSION, "new")], "").await.kind(), "bad-request");
    assert_eq!(get(&fake, "/v1/cluster", &[(VERSION, "9")]).await.status.as_u16(), 200, "it is about peers only");
}

#[tokio::test]
async fn chunks_and_manifests_of_what_is_here() {
    let bytes = vec![7; CHUNK + 3];
    let (fake, id) = Fake::with(bytes.clone());
    let answer = peer(&fake, "GET", &format!("/peer/v1/blobs/{id}/chunks/1"), &[], "").await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &bytes[CHUNK..]));
    assert_eq!(answer.header(DIGEST), ChunkDigest::of(&bytes[CHUNK..]).to_string());
    assert_eq!(answer.header(PIECES), answer.header(DIGEST), "of a single piece they are the same");
    assert_eq!(answer.header("content-length"), "3");
    assert_eq!(peer(&fake, "GET", &format!("/peer/v1/blobs/{id}/chunks/2"), &[], "").await.kind(), "not-found");
    let manifest = peer(&fake, "GET", &format!("/peer/v1/blobs/{id}/manifest"), &[], "").await;
    assert_eq!(serde_json::from_slice::<Manifest>(&manifest.body).unwrap().id(), id);
    let presence = peer(&fake, "GET", &format!("/peer/v1/blobs/{id}/presence"), &[], "").await;
    assert_eq!(serde_json::from_slice::<Presence>(&presence.body).unwrap().chunks, [(0, 1)]);
    for _ in 0..2 {
        assert_eq!(peer(&fake, "DELETE", &format!("/peer/v1/blobs/{id}"), &[], "").await.status.as_u16(), 204);
    }
}

#[tokio::test]
async fn a_chunk_begins_with_the_piece_that_was_asked_for() {
    let bytes: Vec<u8> = (0..CHUNK).map(|at| (at / 1000).to_le_bytes()[0]).collect();
    let (fake, id) = Fake::with(bytes.clone());
    let chunk = Chunk::of(bytes.clone().into(), u32::try_from(CHUNK).unwrap());
    for (first, start) in [("0", 0), ("3", 3 * CHUNK / 16), ("15", 15 * CHUNK / 16), ("16", 0), ("4294967295", 0)] {
        let answer = peer(&fake, "GET", &format!("/peer/v1/blobs/{id}/chunks/0?first={first}"), &[], "").await;
        assert_eq!(answer.body, [&bytes[start..], &bytes[..start]].concat(), "{first}");
        assert_eq!(answer.header(PIECES), chunk.digests().to_hex());
        assert_eq!(answer.header("content-length"), CHUNK.to_string());
    }
    for wrong in ["-1", "4294967296", "x"] {
        let uri = format!("/peer/v1/blobs/{id}/chunks/0?first={wrong}");
        assert_eq!(peer(&fake, "GET", &uri, &[], "").await.kind(), "bad-request", "{wrong}");
    }
}

#[tokio::test]
async fn an_objects_chunk_is_named_in_the_query() {
    let fake = Fake::default();
    let uri = "/peer/v1/objects/chunks/3?origin=hub&key=a%2Fb%26c&version=%22v%22&size=10&chunk_size=4";
    let answer = peer(&fake, "GET", uri, &[], "").await;
    let text = String::from_utf8_lossy(&answer.body);
    assert!(text.contains("a/b&c") && text.ends_with("4 3"), "{text}");
    for wrong in [uri.replace("chunk_size=4", "chunk_size=0"), uri.replace("size=10", "size=x"), uri.replace("origin=hub&", "")] {
        assert_eq!(peer(&fake, "GET", &wrong, &[], "").await.kind(), "bad-request", "{wrong}");
    }
}

/// The clock is paused, so it tells exactly how long was waited.
#[tokio::test(start_paused = true)]
async fn an_asker_is_not_kept_longer_than_it_waits() {
    let uri = "/peer/v1/objects/chunks/0?origin=hangs&key=k&version=v&size=10&chunk_size=4";
    let started = tokio::time::Instant::now();
    assert_eq!(peer(&Fake::default(), "GET", uri, &[(DEADLINE, "250")], "").await.kind(), "timed-out");
    assert_eq!(started.elapsed().as_millis(), 250);
}

#[tokio::test]
async fn a_chunk_is_taken_within_its_bound() {
    let fake = Fake::default();
    let digest = ChunkDigest::of(b"four").to_string();
    let uri = format!("{UPLOAD}/chunks/2?chunk_size=4");
    assert_eq!(peer(&fake, "PUT", &uri, &[(DIGEST, &digest)], "four").await.status.as_u16(), 204);
    assert_eq!(fake.uploads.lock().unwrap().values().next(), Some(&(4, Bytes::from("four"))));
    assert_eq!(peer(&fake, "PUT", &uri, &[(DIGEST, &digest)], "fore").await.kind(), "mismatch");
    assert_eq!(peer(&fake, "PUT", &uri, &[(DIGEST, &digest)], "fourfour").await.kind(), "too-large");
    let unannounced = stream::iter(["four", "four"].map(|piece| Ok::<_, io::Error>(Bytes::from(piece))));
    assert_eq!(peer(&fake, "PUT", &uri, &[(DIGEST, &digest)], Body::from_stream(unannounced)).await.kind(), "too-large");
    assert_eq!(peer(&fake, "PUT", &uri, &[], "four").await.kind(), "bad-request");
    let vast = format!("{UPLOAD}/chunks/2?chunk_size=4294967295");
    assert_eq!(peer(&fake, "PUT", &vast, &[(DIGEST, &digest)], "four").await.kind(), "bad-request");
    assert_eq!(peer(&fake, "DELETE", UPLOAD, &[], "").await.status.as_u16(), 204);
    assert!(fake.uploads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_commit_brings_a_manifest() {
    let fake = Fake::default();
    let manifest = Manifest::new(BlobId::of(b"four"), 4, 4, vec![ChunkDigest::of(b"four")]).unwrap();
    let commit = format!("{UPLOAD}/commit");
    let answer = peer(&fake, "POST", &commit, &[], serde_json::to_vec(&manifest).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &br#"{"chunks":[[0,1]]}"#[..]));
    assert_eq!(*fake.committed.lock().unwrap(), [manifest]);
    assert_eq!(peer(&fake, "POST", &commit, &[], "{}").await.kind(), "bad-request");
    let announced = [("content-length", "67108865")];
    assert_eq!(peer(&fake, "POST", &commit, &announced, "").await.kind(), "too-large");
}

#[tokio::test]
async fn calls_that_cannot_be_read_are_problems() {
    for path in ["/peer/v1/names", "/peer/v1/meta"] {
        let call = async |body: String| ask(&Fake::default(), "POST", path, &[(HOP, "1")], body).await;
        assert_eq!(call("{}".into()).await.kind(), "bad-request");
        assert_eq!(call(" ".repeat((4 << 20) + 1)).await.kind(), "too-large");
    }
}
