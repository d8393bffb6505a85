use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_committed_blob_is_durable_and_there_after_reopen() {
    let room = Room::new();
    for size in [0, 1, 64, 65, 300] {
        let thing = Thing::blob(size, 3);
        let all: Vec<u32> = (0..thing.count()).collect();
        let entry = thing.upload(&room.open(), &all).await.unwrap();
        assert!(entry.is_kept() && entry.is_complete());
        drop(entry);
        let entry = room.open().get(&thing.id()).unwrap();
        assert!(entry.is_kept() && all.iter().all(|&n| entry.is_durable(n)));
        assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
    }
}

#[tokio::test]
async fn without_chunks_the_manifest_is_kept() {
    let room = Room::new();
    let thing = Thing::blob(200, 3);
    drop(thing.upload(&room.open(), &[]).await.unwrap());
    let entry = room.open().get(&thing.id()).unwrap();
    assert!(entry.is_kept() && !entry.is_complete());
    assert_eq!(*entry.description(), thing.description);
}

#[tokio::test]
async fn a_commit_merges_into_a_partly_cached_blob() {
    let room = Room::new();
    let thing = Thing::blob(400, 3);
    {
        let store = room.open();
        let entry = thing.create(&store).await;
        for n in [0, 1, 2] {
            thing.write(&entry, n).await.unwrap();
        }
    }
    // Chunk 1 is rotten, chunk 2 sound, both recorded and not yet read; the upload brings both, and chunk 3.
    room.flip(&thing.id(), 70);
    let store = room.open();
    let before = store.get(&thing.id()).unwrap();
    let entry = thing.upload(&store, &[1, 2, 3]).await.unwrap();
    assert!(Arc::ptr_eq(&before.0, &entry.0));
    let state = |entry: &Entry| (0..thing.count()).map(|n| (entry.has(n), entry.is_durable(n))).collect::<Vec<_>>();
    let expected = [(true, false), (true, true), (true, true), (true, true), (false, false), (false, false), (false, false)];
    assert_eq!(state(&entry), expected);
    assert_eq!((store.usage().chunks, room.files()), (4, 2));
    drop((store, before, entry));
    let store = room.open();
    let entry = store.get(&thing.id()).unwrap();
    assert_eq!(state(&entry), expected);
    assert_eq!(entry.read(ByteRange::new(0, 256)).await.unwrap(), thing.slice(ByteRange::new(0, 256)));
    // And once more, now that it is there.
    assert!(thing.upload(&store, &[0, 4, 5, 6]).await.unwrap().is_complete());
}

#[tokio::test]
async fn chunks_of_another_blob_are_not_committed_and_the_upload_lives_on() {
    let room = Room::new();
    let store = room.open();
    let (thing, other) = (Thing::blob(100, 1), Thing::blob(100, 2));
    let upload = store.begin_upload(CHUNK).await.unwrap();
    upload.write_chunk(0, thing.chunk(0)).await.unwrap();
    let recut = Chunk::of(thing.slice(thing.range(1)), 1 << 20);
    assert!(matches!(upload.write_chunk(1, recut).await, Err(WriteError::Mismatch { chunk: 1 })));
    assert!(matches!(upload.write_chunk(0, thing.chunk(1)).await, Err(WriteError::Mismatch { chunk: 0 })));
    assert!(matches!(upload.commit(other.manifest(), None).await, Err(WriteError::Mismatch { chunk: 0 })));
    assert!(store.get(&other.id()).is_none());
    assert!(upload.commit(thing.manifest(), None).await.unwrap().is_durable(0));
    assert!(matches!(upload.write_chunk(0, thing.chunk(0)).await, Err(WriteError::Gone)));
    assert!(matches!(upload.commit(thing.manifest(), None).await, Err(WriteError::Gone)));
}

#[tokio::test]
async fn a_blob_that_is_here_in_other_chunks_is_a_conflict() {
    let room = Room::new();
    let store = room.open();
    let thing = Thing::blob(100, 1);
    thing.fill(&store).await;
    let mut hasher = BlobHasher::new(100);
    hasher.chunk(&thing.bytes);
    let upload = store.begin_upload(100).await.unwrap();
    upload.write_chunk(0, Chunk::of(thing.bytes.clone(), 100)).await.unwrap();
    let refused = upload.commit(Arc::new(hasher.finish().unwrap()), None).await;
    assert!(matches!(refused, Err(WriteError::Conflict { id }) if id == thing.id()), "{refused:?}");
}

#[tokio::test]
async fn what_is_not_committed_gives_its_room_back() {
    let room = Room::new();
    let store = room.open();
    let thing = Thing::blob(100, 1);
    let begin = async || {
        let upload = store.begin_upload(CHUNK).await.unwrap();
        upload.write_chunk(0, thing.chunk(0)).await.unwrap();
        assert_eq!((store.usage().chunks, room.files()), (1, 1));
        upload
    };
    begin().await.abort().await;
    assert_eq!((store.usage().chunks, room.files()), (0, 0));
    room.assert_weighed(&store, 0);
    drop(begin().await);
    assert_eq!((store.usage().chunks, room.files()), (0, 0));
    room.assert_weighed(&store, 0);
}

#[tokio::test]
async fn requests_of_one_put_meet_in_one_upload() {
    let room = Room::new();
    let store = room.open();
    let thing = Thing::blob(300, 1);
    let id = uuid::Uuid::new_v4();
    for n in 0..thing.count() {
        store.upload(id, CHUNK).await.unwrap().write_chunk(n, thing.chunk(n)).await.unwrap();
    }
    assert!(matches!(store.upload(id, 7).await, Err(WriteError::ChunkSize { begun: CHUNK, asked: 7 })));
    assert!(store.upload(id, CHUNK).await.unwrap().commit(thing.manifest(), None).await.unwrap().is_complete());
    assert_eq!(store.upload(id, CHUNK).await.unwrap().received_count(), 0, "the id is free again");
}

#[tokio::test]
async fn idle_uploads_are_swept_and_fresh_ones_stay() {
    let room = Room::new();
    let store = room.open();
    let id = uuid::Uuid::new_v4();
    let upload = store.upload(id, CHUNK).await.unwrap();
    assert_eq!(store.sweep_uploads(Duration::from_secs(3600)).await, 0);
    assert_eq!((store.sweep_uploads(Duration::ZERO).await, room.files()), (1, 0));
    let thing = Thing::blob(10, 1);
    assert!(matches!(upload.write_chunk(0, thing.chunk(0)).await, Err(WriteError::Gone)));
}

#[tokio::test]
async fn uploads_are_bounded() {
    let room = Room::new();
    let store = room.open();
    let mut uploads = Vec::new();
    for _ in 0..crate::MAX_UPLOADS {
        uploads.push(store.begin_upload(CHUNK).await.unwrap());
    }
    assert!(matches!(store.begin_upload(CHUNK).await, Err(WriteError::Busy)));
    uploads.pop();
    assert!(store.begin_upload(CHUNK).await.is_ok());
}

/// Re-putting what is here costs no writing: the chunks that were checked stay as they are.
#[tokio::test]
async fn a_merge_leaves_what_was_verified_alone() {
    let room = Room::new();
    let store = room.open();
    let thing = Thing::blob(200, 1);
    thing.fill(&store).await;
    let changed = || std::fs::metadata(room.data(&thing.id())).unwrap().modified().unwrap();
    let before = changed();
    for _ in 0..2 {
        let entry = thing.upload(&store, &[0, 1, 2]).await.unwrap();
        assert!((0..3).all(|n| entry.is_durable(n)) && !entry.is_durable(3));
        assert_eq!((changed(), store.usage().chunks), (before, 4));
    }
}

#[tokio::test]
async fn an_upload_that_the_disk_failed_takes_nothing_more() {
    let room = Room::new();
    let store = room.open();
    let thing = Thing::blob(200, 1);
    let upload = store.begin_upload(CHUNK).await.unwrap();
    upload.write_chunk(0, thing.chunk(0)).await.unwrap();
    upload.draft().spoil();
    assert!(matches!(upload.write_chunk(1, thing.chunk(1)).await, Err(WriteError::Gone)));
    assert!(matches!(upload.write_chunk(0, thing.chunk(0)).await, Err(WriteError::Gone)));
    assert!(matches!(upload.commit(thing.manifest(), None).await, Err(WriteError::Gone)));
    drop(upload);
    assert_eq!((store.usage().chunks, room.files()), (0, 0));
}

/// The flush runs beside the writes, and a commit or an abort waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_is_flushed_while_it_comes() {
    let room = Room::new();
    let store = room.open();
    let thing = Thing::blob_in(1 << 20, 10, 1);
    let filler = Chunk::of(noise(1 << 20, 1), 1 << 20);
    let upload = store.begin_upload(1 << 20).await.unwrap();
    for n in 0..66 {
        upload.write_chunk(n, filler.clone()).await.unwrap();
    }
    assert!(matches!(upload.commit(thing.manifest(), None).await, Err(WriteError::Mismatch { .. })));
    let manifest = {
        let mut hasher = BlobHasher::new(1 << 20);
        (0..66).for_each(|_| {
            hasher.chunk(&filler.segments()[0]);
        });
        Arc::new(hasher.finish().unwrap())
    };
    let entry = upload.commit(manifest, None).await.unwrap();
    assert!((0..66).all(|n| entry.is_durable(n)) && entry.native_path().is_some());
    assert_eq!(entry.read(ByteRange::at(65 << 20, 1 << 20)).await.unwrap(), filler.segments()[0]);
}
