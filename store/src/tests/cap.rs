//! The cap, by what is counted. By what is on the disk: `evict.rs`.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::chunks::futures;
use super::*;
use crate::weight::BLOCK;

/// Chunks of one block.
const SIZE: u32 = 4096;

/// Room for so many blocks beside what an empty store takes, the shelves of two entries and what a percentage of it is.
fn room_for(blocks: u64) -> Room {
    let empty = Room::new();
    let base = empty.open().usage().bytes;
    Room::with_capacity(base + blocks * BLOCK)
}

fn chunks(thing: &Thing) -> Vec<u32> {
    (0..thing.count()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_writers_never_pass_the_cap() {
    let room = room_for(60);
    let store = room.open();
    let done = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (store, done) = (store.clone(), done.clone());
        std::thread::spawn(move || {
            let mut most = 0;
            while !done.load(Relaxed) {
                most = store.usage().bytes.max(most);
            }
            most
        })
    };
    let writers = (0..8).map(|seed| {
        let store = store.clone();
        tokio::spawn(async move {
            let size = 20 * SIZE as usize;
            let thing = if seed % 2 == 0 { Thing::blob_in(SIZE, size, seed) } else { Thing::object_in(SIZE, size, seed) };
            let mut entry = thing.create(&store).await;
            for n in 0..thing.count() {
                // Its last chunk may be evicted, and the entry with it, before the next comes.
                while let Err(error) = thing.write(&entry, n).await {
                    assert!(matches!(error, WriteError::Gone), "{error}");
                    entry = thing.create(&store).await;
                }
            }
        })
    });
    futures(writers).await;
    done.store(true, Relaxed);
    // Shelves are counted when they are there.
    let most = watcher.join().unwrap();
    assert!(most <= room.capacity + 8 * BLOCK, "{most} of {}", room.capacity);
    // How much of that is chunks depends on which entries are left: each has a meta.
    assert!(store.usage().bytes + 8 * BLOCK > room.capacity, "{:?}", store.usage());
    // A file with many holes has a block for its extents once the kernel has written it.
    room.assert_weighed_but(&store, 8, 0);
    let before = store.usage();
    drop(store);
    let store = room.open();
    assert_eq!(store.usage(), before);
    room.assert_weighed_but(&store, 8, 0);
}

#[tokio::test]
async fn what_is_durable_leaves_no_room_until_it_is_removed() {
    let room = room_for(20);
    let store = room.open();
    let (first, second) = (Thing::blob_in(SIZE, 12 * SIZE as usize, 1), Thing::blob_in(SIZE, 6 * SIZE as usize, 2));
    first.upload(&store, &chunks(&first)).await.unwrap();
    let refused = second.upload(&store, &chunks(&second)).await;
    assert!(matches!(refused, Err(WriteError::Full { needed: BLOCK, free }) if free < BLOCK), "{refused:?}");
    assert!(store.room() < 8 * BLOCK);
    store.remove(&first.id()).await.unwrap();
    assert!(second.upload(&store, &chunks(&second)).await.unwrap().is_complete());
    room.assert_weighed(&store, 0);
}

/// A cap that was lowered below what is there: what is cached goes when room is needed, what is durable stays.
#[tokio::test]
async fn a_lowered_cap_costs_only_what_is_cached() {
    let mut room = room_for(100);
    let [durable, cached, new, newer] = [1, 2, 3, 4].map(|seed| Thing::blob_in(SIZE, 10 * SIZE as usize, seed));
    {
        let store = room.open();
        durable.upload(&store, &chunks(&durable)).await.unwrap();
        cached.fill(&store).await;
    }
    room.capacity -= 80 * BLOCK;
    let store = room.open();
    let entry = new.create(&store).await;
    new.write(&entry, 0).await.unwrap();
    assert!(store.usage().bytes <= room.capacity + BLOCK, "{:?}", store.usage());
    assert_eq!(store.get(&durable.id()).unwrap().read(durable.whole()).await.unwrap(), durable.bytes);
    drop((store, entry));
    room.capacity = 10;
    let store = room.open();
    assert_eq!(store.room(), 0);
    assert!(matches!(store.create(newer.description.clone()).await, Err(WriteError::Full { free: 0, .. })));
    assert_eq!(store.get(&durable.id()).unwrap().read(durable.whole()).await.unwrap(), durable.bytes);
}

/// A merge needs the room twice for a moment. Without it, nothing is lost and it can be tried again.
#[tokio::test]
async fn a_merge_without_room_can_be_tried_again() {
    let room = room_for(20);
    let store = room.open();
    let (thing, other) = (Thing::blob_in(SIZE, 4 * SIZE as usize, 1), Thing::blob_in(SIZE, 8 * SIZE as usize, 2));
    thing.create(&store).await;
    other.upload(&store, &chunks(&other)).await.unwrap();
    let upload = store.begin_upload(SIZE).await.unwrap();
    for n in 0..4 {
        upload.write_chunk(n, thing.chunk(n)).await.unwrap();
    }
    let refused = upload.commit(thing.manifest(), None).await;
    assert!(matches!(refused, Err(WriteError::Full { .. })), "{refused:?}");
    store.remove(&other.id()).await.unwrap();
    assert!(upload.commit(thing.manifest(), None).await.unwrap().is_durable(3));
    assert_eq!(store.usage().chunks, 4);
    room.assert_weighed(&store, 0);
}
