use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::chunks::futures;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_writers_never_pass_the_cap() {
    let room = Room::with_capacity(64 * 50 + 10);
    let store = room.open();
    let done = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (store, done) = (store.clone(), done.clone());
        std::thread::spawn(move || {
            let mut most = 0;
            while !done.load(Relaxed) {
                most = store.usage().bytes.max(most);
                assert!(store.room() <= 64 * 50 + 10);
            }
            most
        })
    };
    let written = Arc::new(AtomicU64::new(0));
    let writers = (0..8).map(|seed| {
        let (store, written) = (store.clone(), written.clone());
        tokio::spawn(async move {
            let thing = if seed % 2 == 0 { Thing::blob(64 * 20, seed) } else { Thing::object(64 * 20, seed) };
            let entry = thing.create(&store).await;
            for n in 0..thing.count() {
                match thing.write(&entry, n).await {
                    Ok(()) => written.fetch_add(64, Relaxed),
                    Err(WriteError::Full { needed: 64, free }) if free < 64 => 0,
                    Err(error) => panic!("{error}"),
                };
            }
        })
    });
    futures(writers).await;
    done.store(true, Relaxed);
    assert!(watcher.join().unwrap() <= room.capacity);
    assert_eq!((written.load(Relaxed), store.usage().bytes, store.usage().chunks), (64 * 50, 64 * 50, 50));
    assert_eq!(store.room(), 10);
    drop(store);
    let store = room.open();
    assert_eq!((store.usage().bytes, store.room()), (64 * 50, 10));
}

#[tokio::test]
async fn what_is_removed_makes_room() {
    let room = Room::with_capacity(100);
    let store = room.open();
    let (first, second) = (Thing::blob(100, 1), Thing::blob(100, 2));
    first.fill(&store).await;
    let refused = second.upload(&store, &[0]).await;
    assert!(matches!(refused, Err(WriteError::Full { needed: 64, free: 0 })), "{refused:?}");
    store.remove(&first.id()).await.unwrap();
    assert!(second.upload(&store, &[0, 1]).await.unwrap().is_complete());
}

/// A cap that was lowered below what is there: nothing is lost, nothing more is taken.
#[tokio::test]
async fn a_lowered_cap_only_refuses() {
    let mut room = Room::new();
    let (first, second) = (Thing::blob(100, 1), Thing::blob(1, 2));
    first.fill(&room.open()).await;
    room.capacity = 10;
    let store = room.open();
    assert_eq!(store.get(&first.id()).unwrap().read(first.whole()).await.unwrap(), first.bytes);
    let entry = second.create(&store).await;
    assert!(matches!(second.write(&entry, 0).await, Err(WriteError::Full { needed: 1, free: 0 })));
}

/// A merge needs the room twice for a moment. Without it, nothing is lost and it can be tried again.
#[tokio::test]
async fn a_merge_without_room_can_be_tried_again() {
    let room = Room::with_capacity(64 * 4);
    let store = room.open();
    let (thing, other) = (Thing::blob(64 * 2, 1), Thing::blob(64 * 2, 2));
    thing.create(&store).await;
    other.fill(&store).await;
    let upload = store.begin_upload(CHUNK).await.unwrap();
    for n in 0..2 {
        upload.write_chunk(n, thing.chunk(n)).await.unwrap();
    }
    assert!(matches!(upload.commit(thing.manifest(), None).await, Err(WriteError::Full { needed: 64, free: 0 })));
    store.remove(&other.id()).await.unwrap();
    assert!(upload.commit(thing.manifest(), None).await.unwrap().is_durable(1));
    assert_eq!(store.usage().bytes, 64 * 2);
}
