//! Our own clients against our own server: the seam between them, over sockets.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use herring_blob::{Arrival, BlobId, ByteRange, Chunk, Manifest, ObjectRef, Pieces};
use herring_http_api::ByteStream;
use herring_http_api::client::{ApiClient, Ask, ClientError, PeerClient, PeerConfig, PeerError, Piece};
use herring_http_api::peer::{Asker, ChunkOf, ChunkRequest, Urge};
use herring_http_api::types::{DrainState, NodeUsage, Presence, PutWish, Stored};
use uuid::Uuid;

use crate::fake::{CHUNK, Fake, Object, noise};
use crate::sockets::Running;

const MIB: u32 = 1 << 20;

/// Longer than any test waits.
const PATIENT: Duration = Duration::from_secs(60);

/// A piece as it comes of a chunk that the peer has.
fn held(index: u32, bytes: impl Into<Bytes>) -> Piece {
    Piece { index, bytes: bytes.into(), digest: None }
}

fn body(bytes: &Bytes) -> ByteStream {
    stream::iter(bytes.chunks(CHUNK).map(|piece| Ok(bytes.slice_ref(piece))).collect::<Vec<_>>()).boxed()
}

async fn read(body: ByteStream) -> Vec<u8> {
    body.try_fold(Vec::new(), |mut all, piece| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn people() {
    let fake = Fake::default();
    fake.objects.lock().unwrap().insert("hub/a b/c?".into(), Object { bytes: "0123456789".into(), version: "v", modified_ms: 0 });
    let server = Running::of(&fake).await;
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let bytes = Bytes::from(vec![5; 3 * CHUNK + 1]);
    let (id, size) = (BlobId::of(&bytes), bytes.len() as u64);
    assert_eq!(client.put(None, None, body(&bytes)).await.unwrap(), (Stored { id, size, replicas: 3, wanted: 3 }, true));
    assert!(!client.put(Some(id), Some(size), body(&bytes)).await.unwrap().1);
    assert_eq!(client.blob_info(id).await.unwrap().size, size);
    assert_eq!(client.manifest(id).await.unwrap().chunks().len(), 4);
    assert_eq!(client.owners(id, Some(2)).await.unwrap().chunk, Some(2));
    assert_eq!(client.explain(id, None).await.unwrap().size, size);
    let cluster = client.cluster().await.unwrap();
    assert_eq!((cluster.node.as_str(), cluster.degraded, cluster.missing), ("n1", true, vec!["n2".to_owned()]));
    assert_eq!((cluster.under_replicated_chunks, cluster.moving_bytes, cluster.eta_ms), (7, 9, Some(11)));
    let (length, whole) = client.get(id, None).await.unwrap();
    assert_eq!((length, read(whole).await.len() as u64), (size, size));
    let (length, part) = client.get_object("hub", "a b/c?", Some(ByteRange::new(2, 5))).await.unwrap();
    assert_eq!((length, read(part).await.as_slice()), (3, &b"234"[..]));
    client.delete(id).await.unwrap();
    let gone = client.get(id, None).await.err().expect("it is deleted");
    assert!(matches!(&gone, ClientError::Problem(problem) if problem.kind == "urn:herring:problem:not-found"), "{gone}");
    assert_eq!(client.ready().await.unwrap(), "ready");
    *fake.lacks.lock().unwrap() = "missing n2".into();
    assert_eq!(client.ready().await.unwrap(), "ready: missing n2");
    *fake.waits_for.lock().unwrap() = Some("a seed".into());
    assert_eq!(client.ready().await.unwrap_err(), "a seed");
    assert_eq!(client.metrics().await.unwrap(), "herring_up 1\n");
}

#[tokio::test]
async fn people_who_say_how_a_blob_is_kept_and_whether_a_node_leaves() {
    let fake = Fake::default();
    let server = Running::of(&fake).await;
    let client = ApiClient::new(&format!("http://{}", server.addr)).unwrap();
    let wish = PutWish { replicas: Some(5), ack: Some(3) };
    client.clone().wishing(wish).put(None, None, body(&"bytes".into())).await.unwrap();
    assert_eq!(*fake.wish.lock().unwrap(), wish);
    client.put(Some(BlobId::of(b"others")), None, body(&"others".into())).await.unwrap();
    assert_eq!(*fake.wish.lock().unwrap(), PutWish::default(), "only that one wished");
    assert_eq!(client.drain().await.unwrap().state, DrainState::Draining);
    let drain = client.drained().await.unwrap();
    assert_eq!((drain.state, drain.left_chunks, drain.left_bytes), (DrainState::Draining, 2, 3));
    client.cancel_drain().await.unwrap();
    assert_eq!(client.drained().await.unwrap().state, DrainState::No);
}

#[tokio::test]
async fn peers() {
    let bytes = Bytes::from(vec![5; CHUNK + 10]);
    let (fake, id) = Fake::with(bytes.clone());
    let server = Running::of(&fake).await;
    let (client, peer) = (PeerClient::new(PeerConfig::patient()), server.addr);
    let ask = Ask { epoch: "e".into(), deadline: PATIENT, asker: Asker::default() };
    let absent = client.chunk(peer, &ChunkRequest::blob(id, 2), Pieces::new(10, MIB), PATIENT, &ask).await;
    assert_eq!(absent.unwrap_err(), PeerError::NotFound);
    let object = ObjectRef { origin: "hub".into(), key: "a b/ä&c".into(), version: "\"v+1\"".into(), size: 9 };
    let said = format!("{object:?} s3://b?x&y 3 Held 4 2");
    let size = u32::try_from(said.len()).unwrap();
    let request = ChunkRequest {
        of: ChunkOf::Object { object, identity: "s3://b?x&y".into(), chunk_size: 4, wanted: 3 },
        index: 2,
        first: 0,
        urge: Urge::Held,
    };
    let mut chunk = client.chunk(peer, &request, Pieces::new(size, 4), PATIENT, &ask).await.unwrap();
    assert_eq!(chunk.next().await, Ok(Some(held(0, said))));
    assert_eq!(chunk.next().await, Ok(None));
    assert_eq!(client.manifest(peer, id, &ask).await.unwrap().0.id(), id);
    assert_eq!(client.presence(peer, id, &ask).await.unwrap(), Presence::of([0]));
    assert_eq!(client.usage(peer, &ask).await.unwrap(), NodeUsage { bytes_used: 1, bytes_capacity: 2, ..NodeUsage::default() });
    client.delete(peer, id, &ask).await.unwrap();
    assert_eq!(client.manifest(peer, id, &ask).await.unwrap_err(), PeerError::NotFound);
}

/// The server waits 3 s before each piece, longer than the 2.7 s after which a body that pauses is given up here.
#[tokio::test]
async fn a_chunk_that_arrives_is_passed_on_piece_by_piece() {
    let server = Running::of(&Fake::default()).await;
    let client = PeerClient::new(PeerConfig { stall: Duration::from_millis(2700), ..PeerConfig::patient() });
    let ask = Ask { epoch: "e".into(), deadline: PATIENT, asker: Asker::default() };
    let size = u64::from(3 * MIB / 16 - 5);
    let expected = Chunk::of(noise(size), MIB);
    let pieces = expected.digests().pieces();
    let asked = |key: &str| {
        let object = ObjectRef { origin: "slow".into(), key: key.into(), version: "v".into(), size };
        ChunkRequest::object(object, MIB, 0)
    };
    let (well, changed) = (asked("k"), asked("changed"));
    let mut stream = client.chunk(server.addr, &well, pieces, PATIENT, &ask).await.unwrap();
    let mut broken = client.chunk(server.addr, &changed, pieces, PATIENT, &ask).await.unwrap();
    let read = async {
        let mut arrival = Arrival::hashing(pieces);
        while let Some(Piece { index, bytes, digest }) = stream.next().await.unwrap() {
            arrival.land_as(index, bytes, digest.expect("nothing was said in front")).unwrap();
        }
        assert_eq!(arrival.chunk().unwrap().digest(), expected.digest());
    };
    let fail = async {
        for _ in 1..pieces.count() {
            broken.next().await.unwrap().unwrap();
        }
        assert_eq!(broken.next().await, Err(PeerError::Changed("it is another".into())));
    };
    tokio::join!(read, fail);
}

/// Of all lengths: a chunk of 16 pieces, of several and a short one, and of one.
#[tokio::test]
async fn chunks_begin_with_any_piece() {
    let client = PeerClient::new(PeerConfig::patient());
    let ask = Ask { epoch: "e".into(), deadline: PATIENT, asker: Asker::default() };
    for len in [CHUNK, CHUNK / 3, 5] {
        let bytes: Bytes = (0..len).map(|at| (at / 1000).to_le_bytes()[0]).collect();
        let (fake, id) = Fake::with(bytes.clone());
        let server = Running::of(&fake).await;
        let expected = Chunk::of(bytes.clone(), MIB);
        let pieces = expected.digests().pieces();
        for first in 0..=pieces.count() {
            let request = ChunkRequest { first, ..ChunkRequest::blob(id, 0) };
            let mut stream = client.chunk(server.addr, &request, pieces, PATIENT, &ask).await.unwrap();
            assert_eq!(stream.digests(), Some(expected.digests()));
            let mut arrival = Arrival::verifying(expected.digests().clone());
            for n in 0..pieces.count() {
                let Piece { index, bytes: piece, .. } = stream.next().await.unwrap().expect("all of them come");
                assert_eq!(index, (first + n) % pieces.count());
                arrival.land(index, piece).unwrap();
            }
            assert_eq!(stream.next().await, Ok(None));
            assert_eq!(arrival.chunk().unwrap().slice(0..expected.len()), bytes);
        }
    }
}

#[tokio::test]
async fn uploads() {
    let fake = Fake::default();
    let server = Running::of(&fake).await;
    let (client, peer, upload) = (PeerClient::new(PeerConfig::patient()), server.addr, Uuid::from_u128(7));
    let ask = Ask { epoch: "e".into(), deadline: PATIENT, asker: Asker::default() };
    let of_four = Chunk::of("four".into(), 4);
    let segments = |segments: [&'static str; 3]| Chunk::known(of_four.digests().clone(), segments.map(Bytes::from).to_vec());
    client.upload_chunk(peer, upload, 4, 3, &segments(["fo", "", "ur"]), &ask).await.unwrap();
    assert_eq!(fake.uploads.lock().unwrap().get(&(upload, 3)), Some(&(4, "four".into())));
    let wrong = client.upload_chunk(peer, upload, 4, 3, &segments(["fo", "r", "e"]), &ask).await.unwrap_err();
    assert!(matches!(wrong, PeerError::Refused { status: 422, .. }), "{wrong}");
    let manifest = Manifest::new(BlobId::of(b"four"), 4, 4, vec![of_four.digest()]).unwrap();
    assert!(client.commit_upload(peer, upload, &manifest, None, &ask).await.unwrap().has(0));
    assert_eq!(*fake.committed.lock().unwrap(), [manifest]);
    client.abort_upload(peer, upload, &ask).await.unwrap();
    assert!(fake.uploads.lock().unwrap().is_empty());
}
