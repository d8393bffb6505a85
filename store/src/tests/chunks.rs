use super::*;
use crate::ReadError;

#[tokio::test]
async fn sizes_at_the_edges_are_read_back_before_and_after_reopen() {
    let room = Room::new();
    let things: Vec<_> =
        [0, 1, 63, 64, 65, 128, 129].into_iter().flat_map(|n| [Thing::blob(n, 7), Thing::object(n, n as u64)]).collect();
    let store = room.open();
    for thing in &things {
        let entry = thing.fill(&store).await;
        assert!(entry.is_complete());
        assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
    }
    drop(store);
    let store = room.open();
    for thing in &things {
        let entry = store.get(&thing.id()).unwrap();
        assert_eq!(*entry.description(), thing.description);
        assert!(entry.is_complete());
        for start in 0..thing.bytes.len() as u64 {
            let range = ByteRange::at(start, 66);
            assert_eq!(entry.read(range).await.unwrap(), thing.slice(range), "{range} of {entry:?}");
        }
    }
    room.assert_weighed(&store, 20);
    assert_eq!((store.usage().blobs, store.usage().objects, store.usage().chunks), (7, 7, 20));
}

#[tokio::test]
async fn what_is_not_the_chunk_is_refused_and_leaves_nothing() {
    let room = Room::new();
    let store = room.open();
    for thing in [Thing::blob(100, 1), Thing::object(100, 1)] {
        let entry = thing.create(&store).await;
        let (first, short) = (thing.chunk(0), thing.chunk(1));
        // Cut otherwise, or with fewer bytes than its digests are of.
        let (recut, less) = (Chunk::of(thing.slice(thing.range(0)), 1 << 20), Chunk::known(first.digests().clone(), vec![]));
        let mut wrong =
            vec![(0, short), (1, first.clone()), (2, first), (0, recut), (0, less), (0, Chunk::of(Bytes::new(), CHUNK))];
        if matches!(thing.description, Description::Blob(_)) {
            wrong.push((0, Chunk::of(noise(64, 9), CHUNK)));
        }
        for (n, chunk) in wrong {
            let refused = entry.write_chunk(n, chunk).await;
            assert!(matches!(refused, Err(WriteError::Mismatch { chunk }) if chunk == n), "{refused:?}");
        }
        assert_eq!((entry.present_count(), store.usage().chunks), (0, 0));
        room.assert_weighed(&store, 0);
        assert!(matches!(entry.read(thing.whole()).await, Err(ReadError::Missing { chunk: 0 })));
    }
}

#[tokio::test]
async fn an_objects_chunk_keeps_the_digest_that_it_came_with() {
    let room = Room::new();
    let thing = Thing::object(100, 1);
    let entry = thing.create(&room.open()).await;
    assert_eq!(entry.digest(0), None);
    thing.write(&entry, 0).await.unwrap();
    let digest = thing.chunk(0).digest();
    assert_eq!(entry.digest(0), Some(digest));
    let other = noise(CHUNK as usize, 99);
    let refused = entry.write_chunk(0, Chunk::of(other, CHUNK)).await;
    assert!(matches!(refused, Err(WriteError::Mismatch { chunk: 0 })));
    drop(entry);
    let entry = room.open().get(&thing.id()).unwrap();
    assert_eq!((entry.digest(0), entry.digest(1)), (Some(digest), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creators_at_the_same_time_get_one_entry_and_writers_of_it_run_together() {
    let room = Room::new();
    let store = room.open();
    let thing = Thing::blob(64 * 40, 1);
    let tasks = (0..8).map(|_| {
        let (store, thing) = (store.clone(), thing.clone());
        tokio::spawn(async move { thing.fill(&store).await })
    });
    let entries: Vec<Entry> = futures(tasks).await;
    assert!(entries.iter().all(|entry| Arc::ptr_eq(&entry.0, &entries[0].0)));
    assert_eq!(entries[0].read(thing.whole()).await.unwrap(), thing.bytes);
    assert_eq!(store.usage().chunks, 40);
    room.assert_weighed(&store, 40);
}

pub(super) async fn futures<T>(tasks: impl Iterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    let tasks: Vec<_> = tasks.collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

#[tokio::test]
async fn a_removed_entry_is_dead_and_does_not_touch_its_successor() {
    let room = Room::new();
    let store = room.open();
    let thing = Thing::blob(100, 1);
    let dead = thing.fill(&store).await;
    assert!(store.remove(&thing.id()).await.unwrap());
    assert!(!store.remove(&thing.id()).await.unwrap());
    assert_eq!((room.files(), store.usage().chunks), (0, 0));
    room.assert_weighed(&store, 0);
    let heir = thing.create(&store).await;
    assert!(matches!(thing.write(&dead, 0).await, Err(WriteError::Gone)));
    assert!(matches!(dead.read(thing.whole()).await, Err(ReadError::Missing { .. })));
    assert_eq!(dead.read_now(thing.whole()), None);
    assert_eq!((dead.present_count(), heir.present_count()), (0, 0));
    thing.write(&heir, 1).await.unwrap();
    assert_eq!((heir.present(), dead.present()), (vec![false, true], vec![false, false]));
}

#[tokio::test]
async fn a_flipped_byte_is_missing_after_reopen_and_the_rest_is_fine() {
    let room = Room::new();
    for thing in [Thing::blob(300, 1), Thing::object(300, 1)] {
        drop(thing.fill(&room.open()).await);
        room.flip(&thing.id(), 130);
        let store = room.open();
        let entry = store.get(&thing.id()).unwrap();
        let before = store.usage().chunks;
        assert_eq!(entry.read_now(thing.range(2)), None, "nothing is read unverified");
        assert!(matches!(entry.read(ByteRange::new(140, 141)).await, Err(ReadError::Missing { chunk: 2 })));
        assert_eq!(entry.present(), [true, true, false, true, true]);
        assert_eq!(store.usage().chunks, before - 1);
        for n in [0, 1, 3, 4] {
            assert_eq!(entry.read(thing.range(n)).await.unwrap(), thing.slice(thing.range(n)));
        }
        thing.write(&entry, 2).await.unwrap();
        assert_eq!(entry.read(thing.whole()).await.unwrap(), thing.bytes);
        drop((store, entry));
        assert_eq!(room.open().get(&thing.id()).unwrap().read(thing.whole()).await.unwrap(), thing.bytes);
    }
}

#[tokio::test]
async fn read_now_gives_the_right_bytes_or_none() {
    let room = Room::new();
    let thing = Thing::blob(300, 1);
    let store = room.open();
    let entry = thing.create(&store).await;
    assert_eq!(entry.read_now(ByteRange::new(300, 400)), Some(Bytes::new()));
    for n in 0..4 {
        thing.write(&entry, n).await.unwrap();
    }
    assert_eq!(entry.read_now(thing.whole()), None, "chunk 4 is not here");
    let range = ByteRange::new(60, 250);
    // Some where the file system can tell, which not all can.
    assert!(entry.read_now(range).is_none_or(|bytes| bytes == thing.slice(range)));
}

#[tokio::test]
async fn shapes_that_no_store_could_hold_are_refused() {
    let store = Room::new().open();
    let object = ObjectRef { origin: "o".into(), key: "k".into(), version: "1".into(), size: 1 << 40 };
    for chunk_size in [0, 1] {
        let refused = store.create(Description::Object { object: object.clone(), chunk_size }).await;
        assert!(matches!(refused, Err(WriteError::Shape { .. })), "{refused:?}");
    }
}
